"""The loss on one song and its gradients, for the rungs that stream.py plays: what learning while playing takes twice
a step.

The equations and their order are those of `loss` and what it calls, at B = 1. What makes it fast, in the order of what
it brings:
  1. LSTMs that do not hear each other run side by side, a core each: reader and local, aggregator and octave decoder
  2. voices.py: the voices as a wave
  3. between them one pass over the cells, which gives a loss and its gradient at once
"""

import math

import numpy as np

from minigen.kernels.activations import serial, sigmoid
from minigen.kernels.lstm import two_backward, two_forward
from minigen.kernels.rows import softmax, softmax_back
from minigen.kernels.voices import voices_backward, voices_forward
from minigen.linear import linear_backward, linear_forward
from minigen.ops import join, time_bits
from minigen.union import CLIP
from minigen.voices import allow_truth


@serial
def _read(z, music, lags, w, reading):
    """Logits z (T, L) and all the music that is known (P+T, K) -> w (T, L), reading (T, K)."""
    P = len(music) - len(w)
    for t in range(len(w)):
        softmax(z[t], w[t])
        reading[t] = 0
        for l in range(len(lags)):
            for k in range(music.shape[1]):
                reading[t, k] += w[t, l] * music[P + t - lags[l], k]


@serial
def _read_back(dreading, music, lags, w, dz):
    P, dw = len(music) - len(w), np.empty(len(lags), w.dtype)
    for t in range(len(w)):
        dw[:] = 0
        for l in range(len(lags)):
            for k in range(music.shape[1]):
                dw[l] += dreading[t, k] * music[P + t - lags[l], k]
        softmax_back(dw, w[t], dz[t])


@serial
def _octave_loss(z, keys, classes, dz):
    """z and keys (T, 88), classes (T, 12) -> nats a key; dz (T, 88) is filled."""
    total, scale = 0.0, z.dtype.type(1 / z.size)
    for t in range(len(z)):
        for k in range(z.shape[1]):
            a = z[t, k]
            dz[t, k] = 0
            if classes[t, k % 12] > 0:
                total += max(a, a * 0) + math.log1p(math.exp(-abs(a))) - keys[t, k] * a
                dz[t, k] = (sigmoid(a) - keys[t, k]) * scale
    return total / z.size


@serial
def _cross_entropy(P, on, low, high):
    """The nats of one cell, and their derivative by P."""
    inside = P > low and P < high
    clipped = low if P <= low else (high if P >= high else P)
    if on:
        return -math.log(clipped), -inside / clipped
    return -math.log(1 - clipped), inside / (1 - clipped)


@serial
def _union_loss(p, truth, pause, stop_gradient, dp):
    """p (V, T, K+1), truth (T, K) -> nats a cell; dp (V, T, K+1) is filled."""
    (V, T, _), K, one = p.shape, truth.shape[1], p.dtype.type(1)
    low, high, cells = p.dtype.type(CLIP), p.dtype.type(1 - CLIP), T * (K + pause)
    before, total = np.empty(V, p.dtype), 0.0
    for t in range(T):
        empty = True
        for k in range(K):
            empty &= truth[t, k] == 0
            P = p.dtype.type(0)
            for v in range(V):
                before[v] = one - P
                P += before[v] * p[v, t, k]
            nats, dP = _cross_entropy(P, truth[t, k] > 0, low, high)
            total += nats
            after = p.dtype.type(dP / cells)
            for v in range(V - 1, -1, -1):
                dp[v, t, k] = before[v] * after
                after *= one if stop_gradient else one - p[v, t, k]
        Q = one
        for v in range(V):
            before[v] = Q
            Q *= p[v, t, K]
        nats, dQ = _cross_entropy(Q, empty, low, high)
        total += pause * nats
        after = p.dtype.type(pause * dQ / cells)
        for v in range(V - 1, -1, -1):
            dp[v, t, K] = before[v] * after
            after *= p[v, t, K]
    return total / cells


def loss(model, params, batch: dict, draws: dict, state: dict, grad: bool = True):
    """`model.loss` on one song of which every prediction counts -> loss, gradients (or None), state; None where it
    is another case, or the rung of another form."""
    c, (T, B) = model.config, batch["mask"].shape
    if not (model.hears and c.keys == 12 and c.voice_hidden and B == 1 and batch["mask"].all()):
        return None
    roll, dtype, layer, after = batch["roll"], params.dtype, params.layer, {}
    x, bits, lags = model.music(roll, dtype), time_bits(batch["start"], T, c.time_bits, dtype), np.array(c.lags)
    music, truth, keys = x[:, 0], x[-T:, 0], roll[-T - 1 :].astype(dtype)

    def lstm(name, *inputs):
        return join(*inputs), state[f"{name}.h"], state[f"{name}.c"], *layer(name)

    def outputs(name, h, c):
        after.update({f"{name}.h": h[-1].copy(), f"{name}.c": c[-1].copy()})
        return h[1:]

    now = x[-T - 1 : -1], bits
    (on_reader, reader), (on_local, local) = two_forward(lstm("reader", *now), lstm("local", *now))
    z, weights = linear_forward(outputs("reader", *on_reader), *layer("weights"))
    w, reading = np.empty_like(z), np.empty((T, 1, c.keys), dtype)
    _read(z[:, 0], music, lags, w[:, 0], reading[:, 0])
    (on_both, aggregator), (on_octave, octave) = two_forward(
        lstm("aggregator", reading, outputs("local", *on_local)), lstm("octave", keys[:-1], x[-T:], bits)
    )
    z, to_keys = linear_forward(outputs("octave", *on_octave), *layer("keys"))
    dz_keys = np.empty_like(z)
    loss = _octave_loss(z[:, 0], keys[1:, 0], truth, dz_keys[:, 0])
    features = outputs("aggregator", *on_both)
    (p, _, on), voices = voices_forward(params, features, c.voices, state, draws, allow_truth(x[-T:]))
    dp = np.empty_like(p)
    loss += _union_loss(p[:, :, 0], truth, c.loss == "pause", c.loss == "stop-gradient", dp[:, :, 0])
    after |= on | {"past": roll[-c.past - 1 : -1], "time": batch["start"] + T}
    if not grad:
        return dtype.type(loss), None, after

    dfeatures, layers = voices_backward(dp, voices)
    dh_octave, *layers["keys"] = linear_backward(dz_keys, to_keys)
    (djoined, _, _, *layers["aggregator"]), (_, _, _, *layers["octave"]) = two_backward(
        (dfeatures, aggregator, True), (dh_octave, octave, False)
    )
    # in the forward pass this was: the aggregator reads join(reading, h_local) and nothing else
    dreading, dh_local = djoined[..., : c.keys], djoined[..., c.keys :]
    dz = np.empty_like(w)
    _read_back(dreading[:, 0], music, lags, w[:, 0], dz[:, 0])
    dh_reader, *layers["weights"] = linear_backward(dz, weights)
    (_, _, _, *layers["reader"]), (_, _, _, *layers["local"]) = two_backward(
        (dh_reader, reader, False), (dh_local, local, False)
    )
    grads = params.with_flat(np.empty_like(params.flat))
    for name, arrays in layers.items():
        for view, array in zip(grads.layer(name), arrays, strict=True):
            view[...] = array
    return dtype.type(loss), grads, after
