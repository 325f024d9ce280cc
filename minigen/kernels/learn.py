"""The loss on one song and its gradients, for the rungs that stream.py plays: what learning while playing takes twice
a step.

The functions that `loss` calls, at B = 1; but LSTMs that do not hear each other run side by side, a core
each: reader and local, aggregator and octave decoder. The voices run as a wave (voices.py), and their union takes one
pass over the cells, which gives its loss and the gradient at once: at B = 1 the array code is mostly calls.
"""

import math

import numpy as np

from minigen.kernels.activations import serial
from minigen.kernels.lstm import two_backward, two_forward
from minigen.kernels.pointwise import octave_loss_backward, octave_loss_forward, softmax_backward, softmax_forward
from minigen.kernels.stream import of_this_form
from minigen.kernels.voices import voices_backward_into, voices_block, voices_forward
from minigen.linear import linear_backward, linear_forward
from minigen.ops import join, time_bits
from minigen.reader import read_backward, read_forward
from minigen.union import CLIP
from minigen.voices import allow_truth


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
        if not pause:
            dp[:, t, K] = 0
            continue
        Q = one
        for v in range(V):
            before[v] = Q
            Q *= p[v, t, K]
        nats, dQ = _cross_entropy(Q, empty, low, high)
        total += nats
        after = p.dtype.type(dQ / cells)
        for v in range(V - 1, -1, -1):
            dp[v, t, K] = before[v] * after
            after *= p[v, t, K]
    return total / cells


def loss(model, params, batch: dict, draws: dict, state: dict, grad: bool = True):
    """`model.loss` without its trace -> loss, gradients (or None), state; None where there are several songs or
    predictions that do not count, draws are steered, or the rung is of another form."""
    c, mask = model.config, batch["mask"]
    T, B = mask.shape
    if not of_this_form(model) or B > 1 or "allowed" in draws or not mask.all():
        return None
    roll, dtype, layer, after = batch["roll"], params.dtype, params.layer, {}
    x, bits = model.music(roll, dtype), time_bits(batch["start"], T, c.time_bits, dtype)
    truth, keys = x[-T:], roll[-T - 1 :].astype(dtype)

    def lstm(name, inputs):
        return inputs, state[f"{name}.h"], state[f"{name}.c"], *layer(name)

    def outputs(name, h, cell):
        after.update({f"{name}.h": h[-1].copy(), f"{name}.c": cell[-1].copy()})
        return h[1:]

    inputs = join(x[-T - 1 : -1], bits)
    (on_reader, reader), (on_local, local) = two_forward(lstm("reader", inputs), lstm("local", inputs))
    z, weights = linear_forward(outputs("reader", *on_reader), *layer("weights"))
    w, softmax = softmax_forward(z)
    reading, read = read_forward(w, x[:-1], c.lags)
    (on_both, aggregator), (on_octave, octave) = two_forward(
        lstm("aggregator", join(reading, outputs("local", *on_local))), lstm("octave", join(keys[:-1], truth, bits))
    )
    z, to_keys = linear_forward(outputs("octave", *on_octave), *layer("keys"))
    (decoder_loss, _), octave_loss = octave_loss_forward(z, keys[1:], truth, mask)
    features = outputs("aggregator", *on_both)
    (p, _, on_voices), voices = voices_forward(params, features, c.voices, state, draws, allow_truth(truth))
    dp = np.empty_like(p)
    cells_loss = _union_loss(p[:, :, 0], truth[:, 0], c.loss == "pause", c.loss == "stop-gradient", dp[:, :, 0])
    loss = dtype.type(cells_loss + decoder_loss)
    after |= on_voices | {"past": roll[-c.past - 1 : -1], "time": batch["start"] + T}
    if not grad:
        return loss, None, after

    grads = params.with_flat(np.empty_like(params.flat))  # every part of it is filled

    def dlstm(name, dh, cache, need_dx=False):
        # what `two_backward` takes: dW is the place of Wx and Wh, which lie one after the other
        db = grads[f"{name}.b"]
        return dh, cache, need_dx, grads.between(f"{name}.Wx", f"{name}.Wh").reshape(-1, len(db)), db

    def linear_back(name, dz, cache):
        dh, grads[f"{name}.W"][...], grads[f"{name}.b"][...] = linear_backward(dz, cache)
        return dh

    dfeatures = voices_backward_into(dp, voices, voices_block(grads, c.voices))
    dh_octave = linear_back("keys", octave_loss_backward(octave_loss), to_keys)
    djoined, _ = two_backward(
        dlstm("aggregator", dfeatures, aggregator, need_dx=True), dlstm("octave", dh_octave, octave)
    )
    # in the forward pass this was: the aggregator reads join(reading, h_local) and nothing else
    dreading, dh_local = djoined[..., : c.keys], djoined[..., c.keys :]
    dh_reader = linear_back("weights", softmax_backward(read_backward(dreading, read), softmax), weights)
    two_backward(dlstm("reader", dh_reader, reader), dlstm("local", dh_local, local))
    return loss, grads, after
