"""Conditional voices, and the union of any voices, for CUDA: minigen/voices.py and minigen/union.py, around voices.cu.

  1. the features meet the Wx of every voice before the first one plays; a voice that has drawn adds the rows of the
     next voice's Wx for the keys played: notes never become an input of zeros and ones
  2. head, softmax, restriction and draw are one kernel
  3. nothing flows back through a draw, so all voices go back through time in one launch

Voices without an LSTM, more than 32 of them (a warp fetches the notes of all at once), and draws that are steered or
forced are left to the array code, whose parts have kernels of their own.
"""

from typing import Any, NamedTuple

from minigen import union, voices
from minigen.backend import array_module
from minigen.kernels.cuda.launch import NULL, launch, launch_over, packed
from minigen.kernels.cuda.lstm import run, run_back
from minigen.kernels.cuda.pointwise import softmax_backward

ROWS, THREADS = 64, 256  # of a block of voice_forward


class VoicesCache(NamedTuple):
    """What backward needs, of all voices: N = T B rows, x (N, F), played (V+1, N, K), the rest (V, ...)."""

    x: Any
    played: Any
    h: Any
    c: Any
    gates: Any
    Wx: Any
    Wh: Any
    W: Any
    p: Any


def voices_forward(params, features, V: int, state, given, temperature=1.0):
    if "voices.allowed" in given or "forced" in given or "voice1.Wh" not in params.views or V > 32:
        return voices.voices_forward.reference(params, features, V, state, given, temperature)
    xp = array_module(features)
    layers = [params.layer(f"voice{v + 1}") + params.layer(f"head{v + 1}") for v in range(V)]
    Wx, Wh, b, W, head_b = (xp.stack(arrays) for arrays in zip(*layers, strict=True))
    (T, B, F), H, K = features.shape, Wh.shape[1], W.shape[2] - 1
    N, x = T * B, packed(features).reshape(T * B, F)
    h, c = xp.empty((V, T + 1, B, H), "float32"), xp.empty((V, T + 1, B, H), "float32")
    gates = xp.empty((V, T, B, 4 * H), "float32")
    for v in range(V):
        h[v, 0], c[v, 0] = state[f"voice{v + 1}.h"], state[f"voice{v + 1}.c"]
        xp.matmul(x, Wx[v, :F], out=gates[v].reshape(N, 4 * H))
    p, notes = xp.empty((V, T, B, K + 1), "float32"), xp.empty((V, T, B), "int64")
    fresh, played = xp.empty((V, N), "int32"), xp.zeros((V + 1, N, K), "float32")
    u = NULL if "voices.notes" in given else packed(given["voices.u"])
    known = packed(given["voices.notes"], "int64") if "voices.notes" in given else NULL
    allowed = packed(voices.allow_truth(given["truth"]), "bool") if "truth" in given else NULL
    for v in range(V):
        run(*(array[v : v + 1] for array in (gates, Wh, b, h, c)))
        rows = (h[v, 1:], W[v], head_b[v], u, known, allowed, p, notes, fresh, played)
        following = (4 * H, Wx[v + 1, F:], gates[v + 1]) if v + 1 < V else (0, NULL, NULL)
        sizes = (N, V, v, H, float(temperature))
        launch("voices.cu", "voice_forward", (-(-N // ROWS),), THREADS, *sizes, *rows, *following, OUTCOMES=K + 1)
    new_state = {f"voice{v + 1}.{part}": array[v, -1] for v in range(V) for part, array in (("h", h), ("c", c))}
    return (p, notes, new_state), VoicesCache(x, played, h, c, gates, Wx, Wh, W, p)


def voices_backward(dp, cache):
    if not isinstance(cache, VoicesCache):
        return voices.voices_backward.reference(dp, cache)
    x, played, h, c, gates, Wx, Wh, W, p = cache
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
        # in the forward pass this was: join(features, played) @ Wx; nothing flows into what was drawn
        dfeatures += da_v @ Wx[v, :F].T
        dWx = xp.concatenate([x.T @ da_v, played[v].T @ da_v])
        grads[f"voice{v + 1}"] = (dWx, h_in.T @ da_v, db[v])
        grads[f"head{v + 1}"] = (h_out.T @ dz[v], dz[v].sum(axis=0))
    return dfeatures.reshape(T, B, F), grads


def draw(z, u, allowed=None):
    notes = array_module(z).empty(u.shape, "int64")
    allowed = NULL if allowed is None else packed(allowed, "bool")
    rows = 1 if allowed is NULL else allowed.size // z.shape[-1]
    launch_over(u.size, "voices.cu", "draw", u.size, rows, packed(z), packed(u), allowed, notes, OUTCOMES=z.shape[-1])
    return notes


def union_forward(p, pause_cell: bool, constants=None):
    if constants is not None:
        return union.union_forward.reference(p, pause_cell, constants)
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
