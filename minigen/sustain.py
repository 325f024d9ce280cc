"""The sustain decoder: how long the keys that were struck go on sounding. The octave decoder's sibling.

    P[k] = sigmoid(LSTM([88 keys struck at t+1, 88 keys sounding at t, time bits]) W + b)[k]

It is asked, and trained, only on the keys that sound at t and are not struck at t+1: does the key go on? The loss is
that of the octave decoder, masked to these keys (minigen/decoder.py). It is trained beside any rung, with no gradient
between them, and plays after it: it needs nothing but what was struck.
"""

from minigen.backend import array_module
from minigen.decoder import masked_loss_backward, masked_loss_forward
from minigen.linear import linear_backward, linear_forward, sigmoid
from minigen.lstm import lstm_layer, lstm_layer_backward
from minigen.ops import join
from minigen.params import linear_shapes, lstm_shapes


def sustain_shapes(bits: int, H: int) -> dict[str, tuple]:
    """An LSTM named sustain and a linear layer named goes_on."""
    return lstm_shapes("sustain", 88 + 88 + bits, H) | linear_shapes("goes_on", H, 88)


def goes_on(params, struck, sounding, bits, state):
    """struck (T, B, 88) at each step, sounding (T, B, 88) at the step before, bits (T, B, n)
    -> (z (T, B, 88) logits, state), cache."""
    (h, new_state), lstm = lstm_layer(params, "sustain", join(struck, sounding, bits), state)
    z, linear = linear_forward(h, *params.layer("goes_on"))
    return (z, new_state), (lstm, linear)


def sustain_forward(params, struck, sounding, bits, mask, state):
    """struck (T, B, 88) and bits (T, B, n) of the steps predicted, sounding (T+1, B, 88) from the step before them on,
    mask (T, B) -> (loss (nats per key), state), cache."""
    before, after = sounding[:-1], sounding[1:]
    (z, new_state), layers = goes_on(params, struck, before, bits, state)
    (loss, _), masked = masked_loss_forward(z, after, before * (1 - struck), mask)
    return (loss, new_state), (layers, masked)


def sustain_backward(cache) -> dict:
    """-> gradients by layer: {"sustain": (dWx, dWh, db), "goes_on": (dW, db)}."""
    (lstm, linear), masked = cache
    dh, *dgoes_on = linear_backward(masked_loss_backward(masked), linear)
    _, dsustain = lstm_layer_backward(dh, lstm, need_dx=False)
    return {"sustain": dsustain, "goes_on": dgoes_on}


def sustain_step(params, struck, sounding, bits, state, u):
    """struck (1, B, 88) now, sounding (1, B, 88) a step ago, uniforms u (1, B, 88) -> what sounds now, state."""
    (z, new_state), _ = goes_on(params, struck, sounding, bits, state)
    on = (struck > 0) | ((sounding > 0) & (u < sigmoid(z)))
    return on.astype(struck.dtype), new_state


def empty_state(params, B: int) -> dict:
    """Before a song."""
    xp, H = array_module(params.flat), params["sustain.Wh"].shape[0]
    return {f"sustain.{part}": xp.zeros((B, H), params.dtype) for part in "hc"}
