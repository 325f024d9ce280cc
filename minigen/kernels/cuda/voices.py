"""Conditional voices, and the union of any voices, for CUDA: minigen/voices.py and minigen/union.py, around voices.cu.

  1. the features meet the Wx of all voices, side by side, before the first one plays; a voice that has drawn adds the
     rows of the next voice's Wx for the keys played: notes never become an input of zeros and ones
  2. head, softmax, restriction and draw are one kernel
  3. nothing flows back through a draw, so all voices go back through time in one launch

Voices without an LSTM or with a large one, more than 32 of them (a warp fetches the notes of all at once), and draws
that are steered or forced are left to the array code, whose LSTMs and softmax have kernels of their own.
"""

from typing import Any, NamedTuple

from minigen import union, voices
from minigen.backend import array_module
from minigen.kernels.cuda.launch import NULL, launch, launch_over, packed
from minigen.kernels.cuda.lstm import LARGEST, run, run_back
from minigen.kernels.cuda.pointwise import softmax_backward

ROWS, THREADS = 64, 256  # of a block of voice_forward


class VoicesCache(NamedTuple):
    """What backward needs, of all voices: N = T B rows, x (N, F), played (N, V, K) before each voice, gates
    (T, B, V, 4H), Wx (F+K, V, 4H), the rest (V, ...)."""

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
    steered = "voices.allowed" in given or "forced" in given
    if steered or "voice1.Wh" not in params.views or len(params["voice1.Wh"]) > LARGEST or V > 32:
        return voices.voices_forward.reference(params, features, V, state, given, temperature)
    xp = array_module(features)
    layers = zip(*(params.layer(f"voice{v + 1}") + params.layer(f"head{v + 1}") for v in range(V)), strict=True)
    Wx, Wh, b, W, head_b = (xp.stack(arrays, axis=0 if n else 1) for n, arrays in enumerate(layers))  # Wx (F+K, V, 4H)
    h0, c0 = (xp.stack([state[f"voice{v + 1}.{part}"] for v in range(V)]) for part in "hc")
    (T, B, F), H, K = features.shape, Wh.shape[1], W.shape[2] - 1
    N, x = T * B, packed(features).reshape(T * B, F)
    h, c = xp.empty((V, T + 1, B, H), "float32"), xp.empty((V, T + 1, B, H), "float32")
    gates = (x @ Wx[:F].reshape(F, V * 4 * H)).reshape(T, B, V, 4 * H)
    p, notes = xp.empty((V, T, B, K + 1), "float32"), xp.empty((V, T, B), "int64")
    fresh, played = xp.empty((V, N), "int32"), xp.zeros((N, V, K), "float32")
    u = NULL if "voices.notes" in given else packed(given["voices.u"])
    known = packed(given["voices.notes"], "int64") if "voices.notes" in given else NULL
    allowed = packed(voices.allow_truth(given["truth"]), "bool") if "truth" in given else NULL
    for v in range(V):
        run(gates, Wh, b, h0, c0, h, c, first=v)
        rows = (h[v, 1:], W[v], head_b[v], u, known, allowed, p, notes, fresh, played, 4 * H, Wx[F:], gates)
        sizes = (N, V, v, H, float(temperature))
        launch("voices.cu", "voice_forward", (-(-N // ROWS),), THREADS, *sizes, *rows, OUTCOMES=K + 1)
    new_state = {f"voice{v + 1}.{part}": array[v, -1] for v in range(V) for part, array in (("h", h), ("c", c))}
    return (p, notes, new_state), VoicesCache(x, played, h, c, gates, Wx, Wh, W, p)


def voices_backward(dp, cache):
    if not isinstance(cache, VoicesCache):
        return voices.voices_backward.reference(dp, cache)
    x, played, h, c, gates, Wx, Wh, W, p = cache
    xp = array_module(dp)
    (T, B, V, H4), F, K = gates.shape, x.shape[1], played.shape[2]
    N, H = T * B, H4 // 4
    dz = softmax_backward(dp, p).reshape(V, N, K + 1)
    # in the forward pass this was: z = h @ W + b
    dh, db_head = xp.matmul(dz, W.swapaxes(1, 2)).reshape(V, T, B, H), dz.reshape(V, T, B, -1).sum(axis=1).sum(axis=1)
    da, db, _, _ = run_back(dh, None, gates, c, Wh)
    db = db.sum(axis=1)
    # in the forward pass this was: join(features, played) @ Wx; nothing flows into what was drawn
    side = da.reshape(N, V * H4)
    dfeatures = (side @ Wx[:F].reshape(F, V * H4).T).reshape(T, B, F)
    dWx, pairs = xp.empty((V, F + K, H4), "float32"), played.reshape(N, V * K).T @ side  # of voice v its own: v, v
    dWx[:, :F] = (x.T @ side).reshape(F, V, H4).swapaxes(0, 1)
    dWx[:, F:] = pairs.reshape(V, K, V, H4).diagonal(0, 0, 2).transpose(2, 0, 1)
    grads = {}
    for v in range(V):
        h_in, h_out = h[v, :-1].reshape(N, H), h[v, 1:].reshape(N, H)
        grads[f"voice{v + 1}"] = (dWx[v], h_in.T @ da[:, :, v].reshape(N, H4), db[v])
        grads[f"head{v + 1}"] = (h_out.T @ dz[v], db_head[v])
    return dfeatures, grads


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
