"""One step of playing in one compiled call: a copy of `step` of `final` and `pause-loss`, and of what it calls.

The equations and their order are those of the array code. What makes it fast:
  1. one call per step, its arrays made for 256 steps at once
  2. a product is a sum of rows of the weights: a row that meets a 0 is skipped, and what is struck is mostly 0
  3. where nothing is 0, four rows at a time, so that the sum is read and written once for all four
  4. weights are copied, at the second step, to where a cache line begins
"""

import math

import numpy as np

from minigen.kernels.cpu.activations import serial, sigmoid, tanh
from minigen.kernels.cpu.rows import aligned, outcome, softmax
from minigen.kernels.cpu.voices import of_voice, voices_block

BLOCK = 256  # steps whose arrays are made together


@serial
def add_sparse_product(x, W, a):
    """a += x W, for x of mostly 0."""
    for i in range(len(x)):
        if x[i] != 0:
            for j in range(len(a)):
                a[j] += x[i] * W[i, j]


@serial
def add_product(x, W, a):
    """a += x W."""
    n = len(x) // 4 * 4
    for i in range(0, n, 4):
        x0, x1, x2, x3 = x[i], x[i + 1], x[i + 2], x[i + 3]
        W0, W1, W2, W3 = W[i], W[i + 1], W[i + 2], W[i + 3]
        for j in range(len(a)):
            a[j] += x0 * W0[j] + x1 * W1[j] + (x2 * W2[j] + x3 * W3[j])
    add_sparse_product(x[n:], W[n:], a)


@serial
def cell_in_place(a, h, c):
    """The gates i f o g of one step, activated, and the new state, in place."""
    H = len(h)
    for j in range(3 * H):
        a[j] = sigmoid(a[j])
    for j in range(3 * H, 4 * H):
        a[j] = tanh(a[j])
    for j in range(H):
        c[j] = a[H + j] * c[j] + a[j] * a[3 * H + j]
        h[j] = a[2 * H + j] * tanh(c[j])


@serial
def _log_sum(z, allowed):
    """log sum exp(z) over what is allowed; -inf where nothing is."""
    top, total = z.dtype.type(-np.inf), z.dtype.type(0)
    for k in range(len(z)):
        if allowed[k]:
            top = max(top, z[k])
    for k in range(len(z)):
        if allowed[k]:
            total += math.exp(z[k] - top)
    return top + math.log(total) if total > 0 else top


@serial
def steered_outcome(z, u, allowed):
    """One outcome of softmax(z), restricted to `allowed`, the pause keeping its probability."""
    K = len(z) - 1
    shift = z.dtype.type(0)
    if not allowed.all():
        kept = _log_sum(z[:K], allowed[:K])
        if kept > -np.inf:
            shift = _log_sum(z[:K], np.ones(K, np.bool_)) - kept
    shifted = z.copy()
    shifted[:K] += shift
    return outcome(shifted, u, allowed)


@serial
def _step(roll, music, at, lags, bits, history, voices, octave, hc, hc_voices, u, u_keys, allowed, inject, temperature,
          out, n):  # fmt: skip
    """roll (N, 88) and its classes, music (N, 12), whose row `at` was just played: its classes are found here; the
    time bits; the weights; the states, edited in place; `out` the arrays to fill, their row n: reader.w, features,
    voices.p, union.factors, voices.notes, cells.P, decoder.z, decoder.p, keys. -> whether the probabilities are
    finite."""
    reader, weights, local, aggregator = history
    w, features, p, factors, notes, P = out[0][n], out[1][n], out[2][n], out[3][n], out[4][n], out[5][n]
    z_keys, p_keys, keys = out[6][n], out[7][n], out[8][n]
    V, K, H = len(voices), 12, hc_voices.shape[2]
    x, x_classes = roll[at], music[at]
    x_classes[:] = 0
    for k in range(88):
        if x[k] > 0:
            x_classes[k % K] = 1

    a = reader[2].copy()
    add_sparse_product(x_classes, reader[0][:K], a)
    add_sparse_product(bits, reader[0][K:], a)
    add_product(hc[0], reader[1], a)
    cell_in_place(a, hc[0], hc[1])
    z = weights[1].copy()
    add_product(hc[0], weights[0], z)
    softmax(z, w)
    reading = np.zeros(K, music.dtype)
    for l in range(len(lags)):
        for k in range(K):
            reading[k] += w[l] * music[at + 1 - lags[l], k]

    a[:] = local[2]
    add_sparse_product(x_classes, local[0][:K], a)
    add_sparse_product(bits, local[0][K:], a)
    add_product(hc[2], local[1], a)
    cell_in_place(a, hc[2], hc[3])

    a[:] = aggregator[2]
    add_sparse_product(reading, aggregator[0][:K], a)
    add_product(hc[2], aggregator[0][K:], a)
    add_product(hc[4], aggregator[1], a)
    cell_in_place(a, hc[4], hc[5])
    features[:] = hc[4]

    F = len(features)
    classes, z_v = np.zeros(K, music.dtype), np.empty(K + 1, music.dtype)
    P[:] = 0
    silent = music.dtype.type(1)
    for v in range(V):
        Wx, Wh, b, W, b_head = of_voice(voices[v], F, K, H)
        a_v = b.copy().reshape(4 * H)
        add_product(features, Wx[:F], a_v)
        add_sparse_product(classes, Wx[F:], a_v)
        add_product(hc_voices[0, v], Wh, a_v)
        cell_in_place(a_v, hc_voices[0, v], hc_voices[1, v])
        z_v[:] = b_head
        add_product(hc_voices[0, v], W, z_v)
        z_v /= temperature
        softmax(z_v, p[v])
        notes[v] = steered_outcome(z_v, u[v], allowed[v])
        if notes[v] < K:
            classes[notes[v]] = 1
        for k in range(K):
            factors[v, k] = 1 - P[k]
            P[k] += factors[v, k] * p[v, k]
        silent *= p[v, K]
    if len(P) > K:
        P[K] = silent

    lstm, head = octave
    a_o = lstm[2].copy()
    add_sparse_product(x, lstm[0][:88], a_o)
    add_sparse_product(classes, lstm[0][88 : 88 + K], a_o)
    add_sparse_product(bits, lstm[0][88 + K :], a_o)
    add_product(hc[6], lstm[1], a_o)
    cell_in_place(a_o, hc[6], hc[7])
    z_keys[:] = head[1]
    add_product(hc[6], head[0], z_keys)
    for k in range(88):
        p_keys[k] = sigmoid(z_keys[k] / temperature) if classes[k % K] > 0 else 0
        keys[k] = u_keys[k] < p_keys[k]
    for m in range(K):
        injected, drawn, best = False, False, m
        for k in range(m, 88, K):
            injected |= inject[k] > 0
            drawn |= keys[k] > 0
            best = k if p_keys[k] > p_keys[best] else best
        if classes[m] > 0 and not drawn:
            keys[best] = 1
        if injected:
            for k in range(m, 88, K):
                keys[k] = inject[k] > 0
    return math.isfinite(P.sum() + p_keys.sum())


class Player:
    """A copy of minigen.run.sample.Player. Until the second step the weights are read where they lie in `params.flat`,
    from then on in a copy."""

    def __init__(self, model, params, state: dict, temperature: float = 1.0):
        c, dtype = model.config, params.dtype
        V, self.past, self.model = c.voices, c.past, model
        self.history = tuple(map(params.layer, ("reader", "weights", "local", "aggregator")))
        self.octave, self.voices = tuple(map(params.layer, ("octave", "keys"))), voices_block(params, V)
        self.names = [f"{name}.{part}" for name in ("reader", "local", "aggregator", "octave") for part in "hc"]
        self.hc = tuple(state[name][0].copy() for name in self.names)
        self.hc_voices = np.stack([[state[f"voice{v + 1}.{part}"][0] for v in range(V)] for part in "hc"])
        self.lags, self.temperature = np.array(c.lags), dtype.type(temperature)
        self.all_allowed, self.none_injected = np.ones((V, 1, 13), bool), np.zeros((1, 88), np.uint8)
        self.shapes = {
            "reader.w": (1, len(c.lags)), "features": (1, c.aggregator or c.hidden), "voices.p": (V, 1, 13),
            "union.factors": (V, 1, 12), "voices.notes": (V, 1), "cells.P": (1, 12 + (c.loss == "pause")),
            "decoder.z": (1, 88), "decoder.p": (1, 88), "keys": (1, 88),
        }  # fmt: skip
        self.types = dict.fromkeys(self.shapes, dtype) | {"voices.notes": np.int64, "keys": np.uint8}
        self.roll, self.music = np.zeros((c.past + BLOCK, 88), np.uint8), np.zeros((c.past + BLOCK, 12), dtype)
        self.roll[BLOCK:] = state["past"][:, 0]
        self.music[BLOCK:] = model.music(self.roll[BLOCK:], dtype)
        self.time = self.begun = int(state["time"][0])
        self.n = BLOCK  # steps played of this block

    def begin_block(self) -> None:
        """Move the past to the front, and make the arrays of the next BLOCK steps."""
        P = self.past
        self.roll[:P], self.music[:P], self.n = self.roll[BLOCK:].copy(), self.music[BLOCK:].copy(), 0
        self.bits = self.model.time_bits(np.array([self.time]), BLOCK, self.music.dtype)[:, 0]
        self.out = {name: np.empty((BLOCK, *shape), self.types[name]) for name, shape in self.shapes.items()}
        self.filled = tuple(
            array[:, :, 0] if name.startswith(("voices.", "union.")) else array[:, 0]
            for name, array in self.out.items()
        )

    def step(self, x, given: dict):
        if self.time == self.begun + 1:  # weights that play a single step, as while learning, are left where they are
            self.history, self.octave = (
                tuple(tuple(map(aligned, layer)) for layer in layers) for layers in (self.history, self.octave)
            )
            self.voices = aligned(np.pad(self.voices, ((0, 0), (0, -self.voices.shape[1] % 16))))  # a line: 16 floats
        if self.n == BLOCK:
            self.begin_block()
        at, n = self.past + self.n, self.n
        self.roll[at] = x[0]
        allowed, injected = given.get("voices.allowed", self.all_allowed), given.get("inject", self.none_injected)
        u, u_keys = given["voices.u"], given["decoder.u"]
        finite = _step(self.roll, self.music, at, self.lags, self.bits[n], self.history, self.voices, self.octave,
                       self.hc, self.hc_voices, u[:, 0], u_keys[0], allowed[:, 0], injected[0], self.temperature,
                       self.filled, n)  # fmt: skip
        self.time, self.n = self.time + 1, n + 1
        trace = {name: array[n] for name, array in self.out.items()}
        trace["voices.u"], trace["decoder.u"] = u, u_keys
        return trace["keys"], trace, finite

    @property
    def state(self) -> dict:
        found = {"past": self.roll[self.n : self.n + self.past, None].copy(), "time": np.array([self.time])}
        found |= {name: array[None].copy() for name, array in zip(self.names, self.hc, strict=True)}
        for part, arrays in zip("hc", self.hc_voices, strict=True):
            found |= {f"voice{v + 1}.{part}": array[None].copy() for v, array in enumerate(arrays)}
        return found
