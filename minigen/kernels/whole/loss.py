"""The loss on one song and its gradients: a copy of `loss` of `final` and `pause-loss` at B = 1, without its trace.

The functions that `loss` calls; but independent LSTMs run side by side, a core each: reader and local, aggregator and
octave decoder. The union of the voices takes one pass over the cells, which gives its loss and the gradient at once: at
B = 1 the array code is mostly calls.
"""

import math

import numpy as np

from minigen.kernels.cpu.activations import serial
from minigen.kernels.cpu.pointwise import masked_loss_backward, masked_loss_forward, softmax_backward, softmax_forward
from minigen.kernels.cpu.voices import voices_backward_into, voices_block, voices_forward
from minigen.kernels.whole.pairs import two_backward, two_forward
from minigen.linear import linear_backward, linear_forward
from minigen.ops import join
from minigen.reader import read_backward, read_forward
from minigen.union import CLIP


@serial
def _cross_entropy(P, struck, low, high):
    """The nats of one cell, and their derivative with respect to P."""
    inside = P > low and P < high
    clipped = low if P <= low else (high if P >= high else P)
    if struck:
        return -math.log(clipped), inside * -1 / clipped
    return -math.log(1 - clipped), inside / (1 - clipped)


@serial
def _union_loss(p, truth, pause, stop_gradient, clip, dp):
    """p (V, T, K+1), truth (T, K) -> nats per cell; dp (V, T, K+1) is filled."""
    (V, T, _), K, one = p.shape, truth.shape[1], p.dtype.type(1)
    low, high, cells = p.dtype.type(clip), p.dtype.type(1 - clip), T * (K + pause)
    prefix, total = np.empty(V, p.dtype), 0.0
    for t in range(T):
        empty = True
        for k in range(K):
            empty &= truth[t, k] == 0
            P = p.dtype.type(0)
            for v in range(V):
                prefix[v] = one - P
                P += prefix[v] * p[v, t, k]
            nats, dP = _cross_entropy(P, truth[t, k] > 0, low, high)
            total += nats
            suffix = p.dtype.type(dP / cells)
            for v in range(V - 1, -1, -1):
                dp[v, t, k] = prefix[v] * suffix
                suffix *= one if stop_gradient else one - p[v, t, k]
        if not pause:
            dp[:, t, K] = 0
            continue
        Q = one
        for v in range(V):
            prefix[v] = Q
            Q *= p[v, t, K]
        nats, dQ = _cross_entropy(Q, empty, low, high)
        total += nats
        suffix = p.dtype.type(dQ / cells)
        for v in range(V - 1, -1, -1):
            dp[v, t, K] = prefix[v] * suffix
            suffix *= p[v, t, K]
    return total / cells


def loss(model, params, batch: dict, given: dict, state: dict, grad: bool = True):
    """`model.loss` without its trace, on one song of which every prediction counts, draws not steered
    -> loss, gradients (or None), state."""
    c, mask = model.config, batch["mask"]
    T, B = mask.shape
    assert B == 1 and "voices.allowed" not in given
    roll, dtype, layer, new_state = batch["roll"], params.dtype, params.layer, {}
    x, bits = model.music(roll, dtype), model.time_bits(batch["start"], T, dtype)
    truth, keys = x[-T:], roll[-T - 1 :].astype(dtype)

    def lstm(name, inputs):
        return inputs, state[f"{name}.h"], state[f"{name}.c"], *layer(name)

    def outputs(name, h, cell):
        new_state.update({f"{name}.h": h[-1].copy(), f"{name}.c": cell[-1].copy()})
        return h[1:]

    inputs = join(x[-T - 1 : -1], bits)
    (reader_hc, reader), (local_hc, local) = two_forward(lstm("reader", inputs), lstm("local", inputs))
    z, weights = linear_forward(outputs("reader", *reader_hc), *layer("weights"))
    w, softmax = softmax_forward(z)
    reading, read = read_forward(w, x[:-1], c.lags)
    (aggregator_hc, aggregator), (octave_hc, octave) = two_forward(
        lstm("aggregator", join(reading, outputs("local", *local_hc))), lstm("octave", join(keys[:-1], truth, bits))
    )
    z, to_keys = linear_forward(outputs("octave", *octave_hc), *layer("keys"))
    (decoder_loss, _), octave_loss = masked_loss_forward(z, keys[1:], truth, mask)
    features = outputs("aggregator", *aggregator_hc)
    (p, _, voices_state), voices = voices_forward(params, features, c.voices, state, given | {"truth": truth})
    dp = np.empty_like(p)
    cells_loss = _union_loss(p[:, :, 0], truth[:, 0], c.loss == "pause", c.loss == "stop-gradient", CLIP, dp[:, :, 0])
    loss = dtype.type(cells_loss + decoder_loss)
    new_state |= voices_state | {"past": roll[-c.past - 1 : -1], "time": batch["start"] + T}
    if not grad:
        return loss, None, new_state

    grads = params.with_flat(np.empty_like(params.flat))  # every part of it is filled, but the sustain decoder's
    grads.flat[
        sum(params[name].size for name in params if not name.startswith(("sustain.", "near.", "goes_on."))) :
    ] = 0

    def dlstm(name, dh, cache, need_dx=False):
        # what `two_backward` takes: dW is the place of Wx and Wh, which lie one after the other
        db = grads[f"{name}.b"]
        return dh, cache, need_dx, grads.between(f"{name}.Wx", f"{name}.Wh").reshape(-1, len(db)), db

    def linear_back(name, dz, cache):
        dh, grads[f"{name}.W"][...], grads[f"{name}.b"][...] = linear_backward(dz, cache)
        return dh

    dfeatures = voices_backward_into(dp, voices, voices_block(grads, c.voices))
    dh_octave = linear_back("keys", masked_loss_backward(octave_loss), to_keys)
    djoined, _ = two_backward(
        dlstm("aggregator", dfeatures, aggregator, need_dx=True), dlstm("octave", dh_octave, octave)
    )
    # in the forward pass this was: the aggregator reads join(reading, h_local) and nothing else
    dreading, dh_local = djoined[..., : c.keys], djoined[..., c.keys :]
    dh_reader = linear_back("weights", softmax_backward(read_backward(dreading, read), softmax), weights)
    two_backward(dlstm("reader", dh_reader, reader), dlstm("local", dh_local, local))
    return loss, grads, new_state
