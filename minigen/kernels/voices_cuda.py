"""Voices that hear each other, and their union, for CUDA: minigen/voices.py and minigen/union.py, around voices.cu.

  1. the features meet the Wx of every voice before the first one plays; a voice that has drawn adds the rows of the
     next voice's Wx for what was heard: notes never become an input of zeros and ones
  2. head, softmax, restriction and draw are one kernel
  3. nothing flows back through a draw, so all voices go back through time in one launch

Voices without an LSTM, and draws that are steered or restricted by a function, are left to the reference, whose parts
have kernels of their own.
"""

from typing import Any, NamedTuple

from minigen import union, voices
from minigen.backend import array_module
from minigen.kernels.launch import NULL, launch, launch_over, packed
from minigen.kernels.lstm_cuda import run, run_back
from minigen.kernels.pointwise_cuda import softmax_backward

ROWS, THREADS = 64, 256  # of a block of voice_forward


class Sung(NamedTuple):
    """What backward needs, of all voices: N = T B rows, x (N, F), heard (V+1, N, K), the rest (V, ...)."""

    x: Any
    heard: Any
    h: Any
    c: Any
    gates: Any
    Wx: Any
    Wh: Any
    W: Any
    p: Any


def voices_forward(params, features, V: int, state, draws, allowed=None, temperature=1.0):
    if callable(allowed) or "allowed" in draws or "voice1.Wh" not in params.views:
        return voices.voices_forward.reference(params, features, V, state, draws, allowed, temperature)
    xp = array_module(features)
    layers = [params.layer(f"voice{v + 1}") + params.layer(f"head{v + 1}") for v in range(V)]
    Wx, Wh, b, W, head_b = (xp.stack(arrays) for arrays in zip(*layers, strict=True))
    (T, B, F), H, K = features.shape, Wh.shape[1], W.shape[2] - 1
    N, x = T * B, packed(features).reshape(T * B, F)
    assert V <= 32, "a warp fetches the notes of all voices at once"
    h, c = xp.empty((V, T + 1, B, H), "float32"), xp.empty((V, T + 1, B, H), "float32")
    gates = xp.empty((V, T, B, 4 * H), "float32")
    for v in range(V):
        h[v, 0], c[v, 0] = state[f"voice{v + 1}.h"], state[f"voice{v + 1}.c"]
        xp.matmul(x, Wx[v, :F], out=gates[v].reshape(N, 4 * H))
    p, notes = xp.empty((V, T, B, K + 1), "float32"), xp.empty((V, T, B), "int64")
    fresh, heard = xp.empty((V, N), "int32"), xp.zeros((V + 1, N, K), "float32")
    u = NULL if "notes" in draws else packed(draws["voices"])
    given = packed(draws["notes"], "int64") if "notes" in draws else NULL
    allowed = NULL if allowed is None else packed(allowed, "bool")
    for v in range(V):
        run(*(array[v : v + 1] for array in (gates, Wh, b, h, c)))
        rows = (h[v, 1:], W[v], head_b[v], u, given, allowed, p, notes, fresh, heard)
        following = (4 * H, Wx[v + 1, F:], gates[v + 1]) if v + 1 < V else (0, NULL, NULL)
        sizes = (N, V, v, H, float(temperature))
        launch("voices.cu", "voice_forward", (-(-N // ROWS),), THREADS, *sizes, *rows, *following, OUTCOMES=K + 1)
    after = {f"voice{v + 1}.{part}": array[v, -1] for v in range(V) for part, array in (("h", h), ("c", c))}
    return (p, notes, after), Sung(x, heard, h, c, gates, Wx, Wh, W, p)


def voices_backward(dp, cache):
    if not isinstance(cache, Sung):
        return voices.voices_backward.reference(dp, cache)
    x, heard, h, c, gates, Wx, Wh, W, p = cache
    xp = array_module(dp)
    (V, T, B, H4), F = gates.shape, x.shape[1]
    N, H = T * B, H4 // 4
    dz = softmax_backward(dp, p).reshape(V, N, -1)
    # in the forward pass this was: z = h @ W + b
    dh = xp.matmul(dz, W.swapaxes(1, 2)).reshape(V, T, B, H)
    da, db, _ = run_back(dh, xp.zeros((V, B, H), "float32"), gates, c, Wh)
    grads, dfeatures = {}, xp.zeros((N, F), "float32")
    for v in range(V):
        h_in, h_out, da_v = h[v, :-1].reshape(N, H), h[v, 1:].reshape(N, H), da[v].reshape(N, 4 * H)
        # in the forward pass this was: join(features, heard) @ Wx; nothing flows into what was drawn
        dfeatures += da_v @ Wx[v, :F].T
        dWx = xp.concatenate([x.T @ da_v, heard[v].T @ da_v])
        grads[f"voice{v + 1}"] = (dWx, h_in.T @ da_v, db[v])
        grads[f"head{v + 1}"] = (h_out.T @ dz[v], dz[v].sum(axis=0))
    return dfeatures.reshape(T, B, F), grads


def draw(z, u, allowed=None):
    notes = array_module(z).empty(u.shape, "int64")
    allowed = NULL if allowed is None else packed(allowed, "bool")
    rows = 1 if allowed is NULL else allowed.size // z.shape[-1]
    launch_over(u.size, "voices.cu", "draw", u.size, rows, packed(z), packed(u), allowed, notes, OUTCOMES=z.shape[-1])
    return notes


def union_forward(p, pause_cell: bool, held=None):
    if held is not None:
        return union.union_forward.reference(p, pause_cell, held)
    xp, p = array_module(p), packed(p)
    V, T, B, outcomes = p.shape
    cells = xp.empty((T, B, outcomes - 1 + pause_cell), "float32")
    factors = xp.empty((V, T, B, outcomes - 1), "float32")
    arrays = (T * B, V, cells.shape[-1], p, cells, factors)
    launch_over(T * B * outcomes, "voices.cu", "union_forward", *arrays, OUTCOMES=outcomes)
    return cells, (p, factors)


def union_backward(dcells, cache, stop_gradient: bool):
    p, factors = cache
    V, T, B, outcomes = p.shape
    dp = array_module(p).empty_like(p)
    arrays = (T * B, V, dcells.shape[-1], bool(stop_gradient), packed(dcells), p, factors, dp)
    launch_over(T * B * outcomes, "voices.cu", "union_backward", *arrays, OUTCOMES=outcomes)
    return dp
