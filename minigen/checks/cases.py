"""A gradient case for every layer: `check(**vars(CASES["lstm"]()))`, with the layer's module or an edited copy of it.

What they are made of is in minigen/checks/inputs.py.
"""

import numpy as np

from minigen import banning, decoder, delayed, heads, linear, lstm, ordered, reader, sustain, union, voices
from minigen.checks.inputs import (
    BITS,
    LAGS,
    B,
    Case,
    F,
    H,
    K,
    T,
    V,
    fresh,
    in_order,
    over_features,
    params_of,
    state_of,
    struck,
    weights_of,
)  # fmt: skip
from minigen.params import lstm_shapes


def linear_case(m=linear, kind="linear"):
    rng = fresh()
    inputs = {"x": rng.normal(size=(T, B, F)), "W": rng.normal(size=(F, H)), "b": rng.normal(size=H)}
    return Case(forward=getattr(m, f"{kind}_forward"), backward=getattr(m, f"{kind}_backward"), inputs=inputs)


def softmax_case(m=linear):
    return Case(forward=m.softmax_forward, backward=m.softmax_backward, inputs={"z": fresh().normal(size=(T, B, K))})


def lstm_case(m=lstm):
    rng = fresh()

    def forward(*inputs):
        (h, c), cache = m.lstm_forward(*inputs)
        return (h[1:], c[-1]), cache

    shapes = {"x": (T, B, F), "h0": (B, H), "c0": (B, H), "Wx": (F, 4 * H), "Wh": (H, 4 * H), "b": (4 * H,)}
    inputs = {name: rng.normal(size=shape) * 0.5 for name, shape in shapes.items()}
    return Case(forward=forward, backward=lambda dout, cache: m.lstm_backward(*dout, cache), inputs=inputs)


def read_case(m=reader):
    x = struck(max(LAGS) + T, B, K)
    inputs = {"w": fresh().normal(size=(T, B, len(LAGS)))}
    return Case(forward=lambda w: m.read_forward(w, x, LAGS), backward=m.read_backward, inputs=inputs)


def history_case(m=reader, skip=False):
    """With `skip` also LSTMs of other sizes, and units dropped by half."""
    shapes = m.history_shapes(K, BITS, LAGS, H, 4 * skip, 3 * skip, skip)
    x, bits, keep = struck(max(LAGS) + T, B, K), struck(T, B, BITS), fresh().random((T, B, H)) if skip else None

    def forward(*arrays):
        params, state = params_of(shapes, arrays), state_of(shapes)
        (features, _, _), cache = m.history_forward(params, x, bits, LAGS, state, skip, keep)
        return features, cache

    def backward(dfeatures, cache):
        return in_order(shapes, m.history_backward(dfeatures, cache))

    return Case(forward=forward, backward=backward, inputs=weights_of(shapes))


def voices_case(m=voices, linear_voices=False):
    shapes = m.voices_shapes(V, K, F, 0 if linear_voices else H)
    given, state = {"voices.notes": fresh().integers(0, K + 1, (V, T, B))}, state_of(shapes)
    return over_features(shapes, lambda *inputs: m.voices_forward(*inputs, V, state, given), m.voices_backward)


def decisions() -> np.ndarray:
    """Outcomes of banning voices (V, T, B): no key is decided twice in a step."""
    rng = fresh()
    keys = rng.permuted(np.broadcast_to(np.arange(K), (T, B, K)), axis=2)[..., :V]
    return np.moveaxis(keys + K * rng.integers(0, 2, keys.shape), 2, 0)


def banning_state() -> dict:
    rng = fresh()
    return {f"voice{v + 1}.{part}": rng.normal(size=(B, H)) for v in range(V) for part in "hc"}


def banning_case(m=banning):
    shapes, given = m.banning_shapes(K, F, H), {"voices.notes": decisions()}
    return over_features(
        shapes, lambda *inputs: m.banning_forward(*inputs, V, banning_state(), given), m.banning_backward
    )


def marginal_case(m=banning):
    p = linear.softmax_forward(fresh().normal(size=(V, T, B, 2 * K)))[0]
    return Case(forward=m.marginal_forward, backward=m.marginal_backward, inputs={"p": p})


def decide_case(m=ordered):
    """The masked logits are left out: they are -inf."""
    shapes, played = m.ordered_shapes(K, F, H), struck(T, B, K)
    top = played.argmax(axis=-1)[..., None]
    last = (np.arange(K) == top) * played
    seen = m.open_outcomes(last)

    def run(params, features):
        z, cache = m.decide_forward(params, features, played, last)
        return (np.where(seen, z, 0),), cache

    return over_features(shapes, run, lambda dz, cache: m.decide_backward(dz * seen, cache))


def ordered_case(m=ordered):
    shapes, x, mask = m.ordered_shapes(K, F, H), struck(T, B, K), struck(T, B) == 0

    def run_back(dloss, cache):
        dfeatures, grads = m.ordered_backward(cache)
        return dloss * dfeatures, {name: [dloss * a for a in arrays] for name, arrays in grads.items()}

    return over_features(shapes, lambda *inputs: m.ordered_forward(*inputs, x, mask), run_back)


def keys_case(m=heads):
    return over_features(m.keys_shapes(K, F), lambda *inputs: m.keys_forward(*inputs, {}), m.keys_backward)


def at_once_case(m=heads):
    shapes = m.at_once_shapes(V, K, F)
    return over_features(shapes, lambda *inputs: m.at_once_forward(*inputs, V, {}), m.at_once_backward)


def delayed_case(m=delayed, delays=(3,)):
    """T is no multiple of the delay; a capsule for one delay, linked groups for several."""
    units = 2 * len(delays)
    shapes = lstm_shapes("a", F, units)
    state = {f"a.{part}": fresh().normal(size=(max(delays), B, units)) for part in "hc"}

    def forward(x, *arrays):
        params = params_of(shapes, arrays)
        if len(delays) == 1:
            (h, _), cache = m.capsule_forward(params, "a", x, state)
        else:
            (h, _), cache = m.linked_forward(params, "a", x, delays, state)
        return h, cache

    def backward(dh, cache):
        dx, dweights = (m.capsule_backward if len(delays) == 1 else m.linked_backward)(dh, cache)
        return dx, *dweights

    return Case(forward=forward, backward=backward, inputs={"x": fresh().normal(size=(T, B, F))} | weights_of(shapes))


def distributions():
    return linear.softmax_forward(fresh().normal(size=(V, T, B, K + 1)))[0]


def union_case(m=union, pause_cell=False, stop_gradient=False):
    p = distributions()
    factors = m.union_forward(p, False)[1][1] if stop_gradient else None
    return Case(
        forward=lambda p: m.union_forward(p, pause_cell, factors),
        backward=lambda dcells, cache: m.union_backward(dcells, cache, stop_gradient),
        inputs={"p": p},
    )


def cross_entropy_case(m=union):
    P, x, mask = fresh().uniform(0.01, 0.99, (T, B, K)), struck(T, B, K), struck(T, B) == 0
    return Case(
        forward=lambda P: m.cross_entropy_forward(P, x, mask),
        backward=lambda dloss, cache: dloss * m.cross_entropy_backward(cache),
        inputs={"P": P},
    )


def decoder_case(m=decoder):
    shapes = m.decoder_shapes(BITS, H)
    keys, classes, bits = struck(T, B, 88), struck(T, B, 12), struck(T, B, BITS)

    def forward(*arrays):
        (z, _), cache = m.decoder_forward(params_of(shapes, arrays), keys, classes, bits, state_of(shapes))
        return z, cache

    def backward(dz, cache):
        return in_order(shapes, m.decoder_backward(dz, cache))

    return Case(forward=forward, backward=backward, inputs=weights_of(shapes))


def sustain_case(m=sustain):
    shapes = m.sustain_shapes(BITS, H)
    now, mask = struck(T, B, 88), struck(T, B) == 0
    sounding = (np.random.default_rng(2).random((T + 1, B, 88)) < 0.4).astype(np.float64)
    bits, state = struck(T, B, BITS), state_of(shapes)

    def forward(*arrays):
        (loss, _), cache = m.sustain_forward(params_of(shapes, arrays), now, sounding, bits, mask, state)
        return loss, cache

    def backward(dloss, cache):
        return [dloss * array for array in in_order(shapes, m.sustain_backward(cache))]

    return Case(forward=forward, backward=backward, inputs=weights_of(shapes))


def octave_loss_case(m=decoder):
    def loss_alone(out, cache):
        return out[0], cache

    keys, mask = struck(T, B, 88), struck(T, B) == 0
    classes = m.pitch_classes(keys)
    return Case(
        forward=lambda z: loss_alone(*m.masked_loss_forward(z, keys, classes, mask)),
        backward=lambda dloss, cache: dloss * m.masked_loss_backward(cache),
        inputs={"z": fresh().normal(size=(T, B, 88))},
    )


CASES = {
    "linear": linear_case,
    "silu": lambda m=linear: linear_case(m, "silu"),
    "softmax": softmax_case,
    "lstm": lstm_case,
    "read": read_case,
    "history reader": history_case,
    "history reader, input and dropout": lambda m=reader: history_case(m, skip=True),
    "voices": voices_case,
    "voices, linear": lambda m=voices: voices_case(m, linear_voices=True),
    "banning voices": banning_case,
    "what banning voices play": marginal_case,
    "an ordered decision": decide_case,
    "ordered voices": ordered_case,
    "independent keys": keys_case,
    "voices at once": at_once_case,
    "capsule": delayed_case,
    "linked groups": lambda m=delayed: delayed_case(m, (1, 3, 9)),
    "union": union_case,
    "union, pause cell": lambda m=union: union_case(m, pause_cell=True),
    "union, stop-gradient": lambda m=union: union_case(m, stop_gradient=True),
    "cross-entropy": cross_entropy_case,
    "octave decoder": decoder_case,
    "octave loss": octave_loss_case,
    "sustain decoder": sustain_case,
}
