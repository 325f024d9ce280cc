"""Conditional voices, on one song (B = 1), for a CPU: the equations of minigen/voices.py. What makes them fast:

  1. a wave over the cores: voice v is at one chunk of steps while voice v+1 is at the chunk before it
  2. the features meet a voice's Wx in products of half the steps; a note that was played adds a row of Wx
  3. nothing flows back through a draw, so all voices go back side by side

A batch, voices without an LSTM, and draws that are steered or forced are left to the array code, whose parts have
kernels of their own. Weights are read, and gradients written, where they lie in the flat vector: a cache keeps a view
of the weights, which nobody may edit in between.
"""

from typing import NamedTuple

import numpy as np
from numba import prange

from minigen import voices
from minigen.kernels.cpu.activations import compiled, serial
from minigen.kernels.cpu.rows import add, cell, cell_back, copy, outcome, softmax, softmax_back, times_column
from minigen.kernels.cpu.threads import share

CHUNK = 32  # steps of a voice at a time


def voices_block(params, V: int):
    """The weights of all voices as they lie in the flat vector, (V, n), a view; or their gradients."""
    return params.between("voice1.Wx", f"head{V}.b").reshape(V, -1)


@serial
def of_voice(row, F, K, H):
    """The layers of one voice, views of its row: Wx (F+K, 4H), Wh (H, 4H), b (4, H), W (H, K+1), b_head (K+1,)."""
    x, n = (F + K) * 4 * H, 4 * H
    h = x + H * n
    head = h + n
    end = head + H * (K + 1)
    Wx, Wh, W = row[:x].reshape(F + K, n), row[x:h].reshape(H, n), row[head:end].reshape(H, K + 1)
    return Wx, Wh, row[h:head].reshape(4, H), W, row[end : end + K + 1]


class VoicesCache(NamedTuple):
    """What backward needs, of all voices: features (T, F), played (V+1, T, K), h and c (V, T+1, H), gates (V, T, 4, H),
    p (V, T, K+1) and weights (V, n), the rows that `of_voice` reads."""

    features: np.ndarray
    played: np.ndarray
    h: np.ndarray
    c: np.ndarray
    gates: np.ndarray
    p: np.ndarray
    weights: np.ndarray


@serial
def _steps_of_voice(v, first, end, cache, allowed, u, notes, drawn, temperature):
    """Some steps of voice v."""
    features, played, h, c, gates, p, weights = cache
    F, K, H = features.shape[1], played.shape[2], h.shape[2]
    Wx, Wh, b, W, b_head = of_voice(weights[v], F, K, H)
    a_h, z = np.empty_like(b), np.empty_like(b_head)
    for t in range(first, end):
        np.dot(h[v, t], Wh, a_h.reshape(4 * H))
        for k in range(K):
            if played[v, t, k] > 0:
                add(Wx[F + k], a_h.reshape(4 * H))
        cell(gates[v, t], a_h, b, c[v, t], c[v, t + 1], h[v, t + 1])
    np.dot(h[v, first + 1 : end + 1], W, p[v, first:end])
    for t in range(first, end):
        for k in range(K + 1):
            z[k] = (p[v, t, k] + b_head[k]) / temperature
        if drawn:
            notes[v, t] = outcome(z, u[v, t], allowed[t % len(allowed)])
        softmax(z, p[v, t])
        copy(played[v, t], played[v + 1, t])
        if notes[v, t] < K:
            played[v + 1, t, notes[v, t]] = 1


@serial
def _product_with_features(v, first, end, cache):
    """gates = features Wx, of some steps of voice v, before its first step is made."""
    features, played, h, _, gates, _, weights = cache
    (T, F), K, H = features.shape, played.shape[2], h.shape[2]
    Wx = of_voice(weights[v], F, K, H)[0]
    np.dot(features[first:end], Wx[:F], gates[v].reshape(T, 4 * H)[first:end])


@compiled
def _forward(cache, V, T, allowed, u, notes, drawn, temperature):
    chunks = -(-T // CHUNK)
    for n in prange(2 * V):  # in halves, so that two cores share an odd number of voices evenly
        _product_with_features(n // 2, n % 2 * T // 2, (n % 2 + 1) * T // 2, cache)
    for wave in range(V + chunks - 1):
        for v in prange(max(0, wave - chunks + 1), min(V, wave + 1)):
            first = (wave - v) * CHUNK
            _steps_of_voice(v, first, min(T, first + CHUNK), cache, allowed, u, notes, drawn, temperature)


def voices_forward(params, features, V: int, state, given, temperature=1.0):
    T, B, F = features.shape
    if B > 1 or "voices.allowed" in given or "forced" in given or "voice1.Wh" not in params.views:
        return voices.voices_forward.reference(params, features, V, state, given, temperature)
    H, K, dtype = params["voice1.Wh"].shape[0], params["head1.b"].shape[0] - 1, params.dtype
    h, c, gates = np.empty((V, T + 1, H), dtype), np.empty((V, T + 1, H), dtype), np.empty((V, T, 4, H), dtype)
    for v in range(V):
        h[v, 0], c[v, 0] = state[f"voice{v + 1}.h"], state[f"voice{v + 1}.c"]
    drawn, p, played = "voices.notes" not in given, np.empty((V, T, K + 1), dtype), np.zeros((V + 1, T, K), dtype)
    notes = np.empty((V, T), np.int64) if drawn else np.ascontiguousarray(given["voices.notes"][..., 0], np.int64)
    u = np.ascontiguousarray(given["voices.u"][..., 0]) if drawn else np.empty((V, 0), np.float32)
    allowed = voices.allow_truth(given["truth"][:, 0]) if "truth" in given else np.ones((1, K + 1), bool)
    features, weights = np.ascontiguousarray(features[:, 0], dtype), voices_block(params, V)
    assert weights.shape[1] == (F + K + H + 1) * 4 * H + (H + 1) * (K + 1), (weights.shape, F, K, H)
    cache = VoicesCache(features, played, h, c, gates, p, weights)
    share(gates.size)
    _forward(tuple(cache), V, T, allowed, u, notes, drawn, dtype.type(temperature))
    new_state = {f"voice{v + 1}.{part}": of[v, -1:].copy() for v in range(V) for part, of in (("h", h), ("c", c))}
    return (p[:, :, None], notes[:, :, None], new_state), cache


@serial
def _back(v, dp, cache, da, dweights, dfeatures):
    """Voice v back through all steps: filled are its rows of da (V, T, 4H), dweights (V, n), dfeatures (V, T, F)."""
    features, played, h, c, gates, p, weights = cache
    F, (_, T, K), H = features.shape[1], played.shape, h.shape[2]
    Wx, Wh, _, W, _ = of_voice(weights[v], F, K, H)
    dWx, dWh, db, dW, db_head = of_voice(dweights[v], F, K, H)
    dz, dh = np.empty_like(p[v]), np.empty((T, H), p.dtype)
    dh_next, dc, tanh_c = np.zeros(H, p.dtype), np.zeros(H, p.dtype), np.empty(H, p.dtype)
    dWx[F:], db[:], db_head[:] = 0, 0, 0
    for t in range(T):
        softmax_back(dp[v, t], p[v, t], dz[t])
        add(dz[t], db_head)
    # in the forward pass this was: z = h @ W + b
    np.dot(dz, W.T, dh)
    np.dot(h[v, 1:].T, dz, dW)
    for t in range(T - 1, -1, -1):
        da_t = da[v, t]
        copy(gates[v, t].reshape(4 * H), da_t)
        cell_back(dh[t], dh_next, dc, da_t.reshape(4, H), c[v, t], c[v, t + 1], tanh_c)
        add(da_t, db.reshape(4 * H))
        # in the forward pass this was: a += h[t] @ Wh
        times_column(Wh, da_t, dh_next, t % 2)
        for k in range(K):
            if played[v, t, k] > 0:
                add(da_t, dWx[F + k])
    np.dot(h[v, :T].T, da[v], dWh)
    # in the forward pass this was: gates[v] = join(features, played[v]) @ Wx; nothing flows into what was drawn
    np.dot(features.T, da[v], dWx[:F])
    np.dot(da[v], Wx[:F].T, dfeatures[v])


@compiled
def _backward(dp, cache, da, dweights, dfeatures):
    for v in prange(len(dp)):
        _back(v, dp, cache, da, dweights, dfeatures)


def voices_backward_into(dp, cache, dweights):
    """`voices_backward` whose gradients fill dweights (V, n), laid out as the weights are -> dfeatures (T, 1, F)."""
    (V, T, _, H), dtype = cache.gates.shape, cache.p.dtype
    da, dfeatures = np.empty((V, T, 4 * H), dtype), np.empty((V, *cache.features.shape), dtype)
    share(cache.gates.size)
    _backward(np.ascontiguousarray(dp[:, :, 0], dtype), tuple(cache), da, dweights, dfeatures)
    return dfeatures.sum(axis=0)[:, None]


def voices_backward(dp, cache):
    if not isinstance(cache, VoicesCache):
        return voices.voices_backward.reference(dp, cache)
    dweights, grads = np.empty_like(cache.weights), {}
    dfeatures = voices_backward_into(dp, cache, dweights)
    F, K, H = cache.features.shape[1], cache.played.shape[2], cache.h.shape[2]
    for v, row in enumerate(dweights):
        dWx, dWh, db, *head = of_voice(row, F, K, H)
        grads |= {f"voice{v + 1}": (dWx, dWh, db.reshape(-1)), f"head{v + 1}": head}
    return dfeatures, grads
