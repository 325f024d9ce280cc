"""Voices that hear each other, on one song (B = 1), for a CPU: minigen/voices.py. What makes them fast:

  1. a wave over the cores: voice v is at one chunk of steps while voice v+1 is at the chunk before it
  2. the features meet the Wx of all voices in one product; a note that is heard adds a row of Wx
  3. nothing flows back through a draw, so all voices go back side by side

A batch, voices without an LSTM, and draws that are steered or restricted by a function are left to the reference, whose
parts have kernels of their own.
"""

from typing import NamedTuple

import numpy as np
from numba import prange

from minigen import voices
from minigen.kernels.activations import compiled, serial
from minigen.kernels.rows import add, aligned, cell, cell_back, copy, outcome, softmax, softmax_back, times_column
from minigen.kernels.threads import share

CHUNK = 32  # steps of a voice at a time


class Sung(NamedTuple):
    """What backward needs, of all voices: features (T, F), heard (V+1, T, K), h and c (V, T+1, H), gates (T, V, 4, H),
    Wx (F+K, V, 4, H), Wh (V, H, 4H), W (V, H, K+1), p (V, T, K+1)."""

    features: np.ndarray
    heard: np.ndarray
    h: np.ndarray
    c: np.ndarray
    gates: np.ndarray
    Wx: np.ndarray
    Wh: np.ndarray
    W: np.ndarray
    p: np.ndarray


@serial
def _sing(v, first, end, sung, b, b_head, allowed, u, notes, drawn, temperature):
    """Some steps of voice v."""
    _, heard, h, c, gates, Wx, Wh, W, p = sung
    K, n = heard.shape[2], Wh.shape[2]
    a_h, z = np.empty_like(b[v]), np.empty_like(b_head[v])
    for t in range(first, end):
        np.dot(h[v, t], Wh[v], a_h.reshape(n))
        for k in range(K):
            if heard[v, t, k] > 0:
                add(Wx[len(Wx) - K + k, v].reshape(n), a_h.reshape(n))
        cell(gates[t, v], a_h, b[v], c[v, t], c[v, t + 1], h[v, t + 1])
    np.dot(h[v, first + 1 : end + 1], W[v], p[v, first:end])
    for t in range(first, end):
        for k in range(K + 1):
            z[k] = (p[v, t, k] + b_head[v, k]) / temperature
        if drawn:
            notes[v, t] = outcome(z, u[t, v], allowed[t % len(allowed)])
        softmax(z, p[v, t])
        copy(heard[v, t], heard[v + 1, t])
        if notes[v, t] < K:
            heard[v + 1, t, notes[v, t]] = 1


@compiled
def _forward(features, heard, h, c, gates, Wx, Wh, W, p, b, b_head, allowed, u, notes, drawn, temperature):
    sung = features, heard, h, c, gates, Wx, Wh, W, p
    (T, F), V = features.shape, len(h)
    chunks = -(-T // CHUNK)
    for s in prange(chunks):
        first, end = s * CHUNK, min(T, s * CHUNK + CHUNK)
        np.dot(features[first:end], Wx[:F].reshape(F, -1), gates[first:end].reshape(end - first, -1))
    for wave in range(V + chunks - 1):
        for v in prange(max(0, wave - chunks + 1), min(V, wave + 1)):
            first = (wave - v) * CHUNK
            _sing(v, first, min(T, first + CHUNK), sung, b, b_head, allowed, u, notes, drawn, temperature)


def voices_forward(params, features, V: int, state, draws, allowed=None, temperature=1.0):
    T, B, F = features.shape
    if callable(allowed) or "allowed" in draws or "voice1.Wh" not in params.views or B > 1:
        return voices.voices_forward.reference(params, features, V, state, draws, allowed, temperature)
    layers = [params.layer(f"voice{v + 1}") + params.layer(f"head{v + 1}") for v in range(V)]
    Wx, Wh, b, W, b_head = zip(*layers, strict=True)
    Wx, Wh = np.stack(Wx, axis=1), aligned(np.stack(Wh))
    b, W, b_head = map(np.stack, (b, W, b_head))
    H, K, dtype = W.shape[1], W.shape[2] - 1, Wh.dtype
    h, c, gates = np.empty((V, T + 1, H), dtype), np.empty((V, T + 1, H), dtype), np.empty((T, V, 4, H), dtype)
    for v in range(V):
        h[v, 0], c[v, 0] = state[f"voice{v + 1}.h"], state[f"voice{v + 1}.c"]
    drawn, p, heard = "notes" not in draws, np.empty((V, T, K + 1), dtype), np.zeros((V + 1, T, K), dtype)
    notes = np.empty((V, T), np.int64) if drawn else np.ascontiguousarray(draws["notes"][:, 0].T, np.int64)
    u = np.ascontiguousarray(draws["voices"][:, 0]) if drawn else np.empty((0, V), np.float32)
    allowed = np.ones((1, K + 1), bool) if allowed is None else np.ascontiguousarray(allowed[:, 0])
    features = np.ascontiguousarray(features[:, 0], dtype)
    sung = Sung(features, heard, h, c, gates, Wx.reshape(F + K, V, 4, H), Wh, W, p)
    share(gates.size)
    _forward(*sung, b.reshape(V, 4, H), b_head, allowed, u, notes, drawn, dtype.type(temperature))
    after = {f"voice{v + 1}.{part}": of[v, -1:].copy() for v in range(V) for part, of in (("h", h), ("c", c))}
    return (p[:, :, None], notes[:, :, None], after), sung


@serial
def _back(v, dp, sung, da_all, dWx, dWh, db, dW, db_head):
    """Voice v back through all steps, and the gradients that are its own."""
    features, heard, h, c, gates, Wx, Wh, W, p = sung
    (T, _, _, H), (_, _, K), n = gates.shape, heard.shape, Wh.shape[2]
    dz, da, dh = np.empty_like(p[v]), np.empty((T, n), p.dtype), np.empty((T, H), p.dtype)
    dh_next, dc, tanh_c = np.zeros(H, p.dtype), np.zeros(H, p.dtype), np.empty(H, p.dtype)
    for t in range(T):
        softmax_back(dp[v, t], p[v, t], dz[t])
        add(dz[t], db_head[v])
    # in the forward pass this was: z = h @ W + b
    np.dot(dz, W[v].T, dh)
    np.dot(h[v, 1:].T, dz, dW[v])
    for t in range(T - 1, -1, -1):
        copy(gates[t, v].reshape(n), da[t])
        cell_back(dh[t], dh_next, dc, da[t].reshape(4, H), c[v, t], c[v, t + 1], tanh_c)
        copy(da[t], da_all[t, v].reshape(n))
        add(da[t], db[v])
        # in the forward pass this was: a += h[t] @ Wh
        times_column(Wh[v], da[t], dh_next, t % 2)
        for k in range(K):
            if heard[v, t, k] > 0:
                add(da[t], dWx[len(dWx) - K + k, v].reshape(n))
    np.dot(h[v, :T].T, da, dWh[v])


@compiled
def _backward(dp, features, heard, h, c, gates, Wx, Wh, W, p, da, dWx, dWh, db, dW, db_head, dfeatures):
    sung = features, heard, h, c, gates, Wx, Wh, W, p
    (T, F), V = features.shape, len(h)
    for v in prange(V):
        _back(v, dp, sung, da, dWx, dWh, db, dW, db_head)
    # in the forward pass this was: gates = join(features, heard) @ Wx; nothing flows into what was drawn
    features_T, flat_da, flat_Wx = np.ascontiguousarray(features.T), da.reshape(T, -1), Wx[:F].reshape(F, -1)
    for part in prange(4):  # two products, each in halves: two cores have one whole product each
        half = part % 2
        if part < 2:
            first, end = half * T // 2, (half + 1) * T // 2
            np.dot(flat_da[first:end], flat_Wx.T, dfeatures[first:end])
        else:
            first, end = half * F // 2, (half + 1) * F // 2
            np.dot(features_T[first:end], flat_da, dWx[first:end].reshape(end - first, flat_da.shape[1]))


def voices_backward(dp, cache):
    if not isinstance(cache, Sung):
        return voices.voices_backward.reference(dp, cache)
    features, _, _, _, gates, Wx, Wh, W, p = cache
    (_, V, _, H), dtype = gates.shape, p.dtype
    dWx, dWh, db = np.zeros_like(Wx), np.empty_like(Wh), np.zeros((V, 4 * H), dtype)
    dW, db_head, dfeatures = np.empty_like(W), np.zeros((V, W.shape[2]), dtype), np.empty_like(features)
    share(gates.size)
    dp = np.ascontiguousarray(dp[:, :, 0], dtype)
    _backward(dp, *cache, np.empty_like(gates), dWx, dWh, db, dW, db_head, dfeatures)
    dWx, grads = dWx.reshape(len(Wx), V, 4 * H), {}
    for v in range(V):
        grads |= {f"voice{v + 1}": (dWx[:, v], dWh[v], db[v]), f"head{v + 1}": (dW[v], db_head[v])}
    return dfeatures[:, None], grads
