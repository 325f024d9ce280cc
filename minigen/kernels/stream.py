"""One step of playing in one compiled call: the rungs with history reader, voices with states and octave decoder, one
stream.

The equations and their order are those of `step` and what it calls: reader, aggregator, voice after voice with its
draw, the octaves and their draws. What makes it fast:
  1. one call a step, its arrays made for 256 steps at once
  2. a product is a sum of rows of the weights: a row that meets a 0 is skipped, and what is struck is mostly 0
  3. where nothing is 0, four rows at a time, so that the sum is read and written once for all four
  4. weights are copied, at the second step, to where a cache line begins
"""

import math

import numpy as np

from minigen.kernels.activations import serial, sigmoid, tanh
from minigen.kernels.rows import aligned, outcome, softmax
from minigen.kernels.voices import of_voice, voices_block

BLOCK = 256  # steps whose arrays are made together


@serial
def _few(x, W, a):
    """a += x W, for x of mostly 0."""
    for i in range(len(x)):
        if x[i] != 0:
            for j in range(len(a)):
                a[j] += x[i] * W[i, j]


@serial
def _all(x, W, a):
    """a += x W."""
    n = len(x) // 4 * 4
    for i in range(0, n, 4):
        x0, x1, x2, x3 = x[i], x[i + 1], x[i + 2], x[i + 3]
        W0, W1, W2, W3 = W[i], W[i + 1], W[i + 2], W[i + 3]
        for j in range(len(a)):
            a[j] += x0 * W0[j] + x1 * W1[j] + (x2 * W2[j] + x3 * W3[j])
    _few(x[n:], W[n:], a)


@serial
def _cell(a, h, c):
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
def _draw(z, u, allowed):
    """One outcome of softmax(z), restricted to `allowed`, the pause keeping its chance."""
    K = len(z) - 1
    shift = z.dtype.type(0)
    if not allowed.all():
        some = _log_sum(z[:K], allowed[:K])
        if some > -np.inf:
            shift = _log_sum(z[:K], np.ones(K, np.bool_)) - some
    shifted = z.copy()
    shifted[:K] += shift
    return outcome(shifted, u, allowed)


@serial
def _step(roll, music, at, lags, time, history, voices, octave, hc, hc_voices, u, u_keys, allowed, inject, temperature,
          out, n):  # fmt: skip
    """roll (N, 88) and its classes, music (N, 12), whose row `at` was just heard: its classes are found here; the
    weights; the states, edited in place; `out` the arrays to fill, their row n: reader.w, features, voices.p,
    voices.notes, cells.P, decoder.z, decoder.p, keys. -> are the probabilities numbers."""
    reader, weights, local, aggregator = history
    w, features, p, notes, P = out[0][n], out[1][n], out[2][n], out[3][n], out[4][n]
    z_keys, p_keys, keys = out[5][n], out[6][n], out[7][n]
    V, K, H = len(voices), 12, hc_voices.shape[2]
    bits = np.empty(len(reader[0]) - K, music.dtype)
    for k in range(len(bits)):
        bits[k] = (time >> k) & 1
    x, heard = roll[at], music[at]
    heard[:] = 0
    for k in range(88):
        if x[k] > 0:
            heard[k % K] = 1

    a = reader[2].copy()
    _few(heard, reader[0][:K], a)
    _few(bits, reader[0][K:], a)
    _all(hc[0], reader[1], a)
    _cell(a, hc[0], hc[1])
    z = weights[1].copy()
    _all(hc[0], weights[0], z)
    softmax(z, w)
    reading = np.zeros(K, music.dtype)
    for l in range(len(lags)):
        for k in range(K):
            reading[k] += w[l] * music[at + 1 - lags[l], k]

    a[:] = local[2]
    _few(heard, local[0][:K], a)
    _few(bits, local[0][K:], a)
    _all(hc[2], local[1], a)
    _cell(a, hc[2], hc[3])

    a[:] = aggregator[2]
    _few(reading, aggregator[0][:K], a)
    _all(hc[2], aggregator[0][K:], a)
    _all(hc[4], aggregator[1], a)
    _cell(a, hc[4], hc[5])
    features[:] = hc[4]

    F = len(features)
    classes, z_v = np.zeros(K, music.dtype), np.empty(K + 1, music.dtype)
    P[:] = 0
    silent = music.dtype.type(1)
    for v in range(V):
        Wx, Wh, b, W, b_head = of_voice(voices[v], F, K, H)
        a_v = b.copy().reshape(4 * H)
        _all(features, Wx[:F], a_v)
        _few(classes, Wx[F:], a_v)
        _all(hc_voices[0, v], Wh, a_v)
        _cell(a_v, hc_voices[0, v], hc_voices[1, v])
        z_v[:] = b_head
        _all(hc_voices[0, v], W, z_v)
        z_v /= temperature
        softmax(z_v, p[v])
        notes[v] = _draw(z_v, u[v], allowed[v])
        if notes[v] < K:
            classes[notes[v]] = 1
        for k in range(K):
            P[k] += (1 - P[k]) * p[v, k]
        silent *= p[v, K]
    if len(P) > K:
        P[K] = silent

    lstm, head = octave
    a_o = lstm[2].copy()
    _few(x, lstm[0][:88], a_o)
    _few(classes, lstm[0][88 : 88 + K], a_o)
    _few(bits, lstm[0][88 + K :], a_o)
    _all(hc[6], lstm[1], a_o)
    _cell(a_o, hc[6], hc[7])
    z_keys[:] = head[1]
    _all(hc[6], head[0], z_keys)
    for k in range(88):
        p_keys[k] = sigmoid(z_keys[k] / temperature) if classes[k % K] > 0 else 0
        keys[k] = u_keys[k] < p_keys[k]
    for m in range(K):
        given, drawn, best = False, False, m
        for k in range(m, 88, K):
            given |= inject[k] > 0
            drawn |= keys[k] > 0
            best = k if p_keys[k] > p_keys[best] else best
        if classes[m] > 0 and not drawn:
            keys[best] = 1
        if given:
            for k in range(m, 88, K):
                keys[k] = inject[k]
    return math.isfinite(P.sum() + p_keys.sum())


def of_this_form(model) -> bool:
    """Whether a rung has the parts that are compiled here."""
    return bool(model.hears and model.config.keys == 12 and model.config.voice_hidden)


def stepper(model, params, state: dict, temperature: float):
    """As minigen.sample.stepper; None where the rung is of another form, or there is more than one stream.

    Until the second step the weights are read where they lie in `params.flat`, from then on in a copy.
    """
    c = model.config
    if not of_this_form(model) or len(state["time"]) > 1:
        return None
    V, P, dtype = c.voices, c.past, params.dtype
    history = tuple(map(params.layer, ("reader", "weights", "local", "aggregator")))
    octave, voices = tuple(map(params.layer, ("octave", "keys"))), voices_block(params, V)
    names = ("reader", "local", "aggregator", "octave")
    hc = tuple(state[f"{name}.{part}"][0].copy() for name in names for part in "hc")
    hc_voices = np.stack([[state[f"voice{v + 1}.{part}"][0] for v in range(V)] for part in "hc"])
    lags, scale = np.array(c.lags), dtype.type(temperature)
    everything, nothing = np.ones((V, 13), bool), np.zeros(88, np.uint8)
    cells = 12 + (c.loss == "pause")
    filled = {"reader.w": (len(lags),), "features": (c.hidden,), "voices.p": (V, 13), "voices.notes": (V,),
              "cells.P": (cells,), "decoder.z": (88,), "decoder.p": (88,), "keys": (88,)}  # fmt: skip
    types = {"voices.notes": np.int64, "keys": np.uint8}
    roll, music = np.zeros((P + BLOCK, 88), np.uint8), np.zeros((P + BLOCK, 12), dtype)
    roll[BLOCK:] = state["past"][:, 0]
    music[BLOCK:] = model.music(roll[BLOCK:], dtype)
    time = begun = int(state["time"][0])
    n, out = BLOCK, {}  # steps played of this block, whose arrays are made with its first

    def step(x, draws):
        nonlocal time, n, out, history, octave, voices
        if time == begun + 1:  # weights that play a single step, as while learning, are left where they are
            history, octave = (tuple(tuple(map(aligned, layer)) for layer in layers) for layers in (history, octave))
            voices = aligned(np.pad(voices, ((0, 0), (0, -voices.shape[1] % 16))))  # 16 floats are a cache line
        if n == BLOCK:
            roll[:P], music[:P], n = roll[BLOCK:].copy(), music[BLOCK:].copy(), 0
            out = {name: np.empty((BLOCK, *shape), types.get(name, dtype)) for name, shape in filled.items()}
        roll[P + n] = x[0]
        finite = _step(roll, music, P + n, lags, time, history, voices, octave, hc, hc_voices, draws["voices"][0],
                       draws["decoder"][0], draws["allowed"][0] if "allowed" in draws else everything,
                       draws["inject"][0] if "inject" in draws else nothing, scale, tuple(out.values()), n)  # fmt: skip
        time, n = time + 1, n + 1
        trace = {name: array[n - 1 : n] for name, array in out.items()}
        trace["voices.u"], trace["decoder.u"] = draws["voices"], draws["decoder"]
        return trace["keys"], trace, finite

    def state_now():
        found = {"past": roll[n : n + P, None].copy(), "time": np.array([time])}
        for array, (name, part) in zip(hc, ((name, part) for name in names for part in "hc"), strict=True):
            found[f"{name}.{part}"] = array[None].copy()
        for part, arrays in zip("hc", hc_voices, strict=True):
            found |= {f"voice{v + 1}.{part}": array[None].copy() for v, array in enumerate(arrays)}
        return found

    return step, state_now
