"""The octave decoder (diary 28/12): from 12 pitch classes back to 88 keys.

    P[k] = sigmoid(LSTM([88 keys of step t, 12 classes of step t+1, time bits]) W + b)[k]

Only keys whose class is on can sound, in sampling and in the loss, so a mistake of the decoder is a mistake of octave.
Each allowed key is drawn on its own; a class that is on and got no key takes its likeliest octave.

It is trained beside a rung of 12 classes: `octaves_forward` and `octaves_backward` are its half of the rung's loss,
`octaves_step` plays.

Translations of this file: kernels/cpu/pointwise.py and kernels/cuda/pointwise.py (its loss).
"""

from minigen.backend import array_module, replaceable
from minigen.linear import linear_backward, linear_forward, sigmoid
from minigen.lstm import lstm_layer, lstm_layer_backward
from minigen.ops import by_octave, counted, join, of_class, pitch_classes
from minigen.params import linear_shapes, lstm_shapes


def decoder_shapes(bits: int, H: int) -> dict[str, tuple]:
    """An LSTM named octave and a linear layer named keys."""
    return lstm_shapes("octave", 88 + 12 + bits, H) | linear_shapes("keys", H, 88)


def decoder_forward(params, keys, classes, bits, state):
    """keys (T, B, 88) of step t, classes (T, B, 12) of step t+1, bits (T, B, n)
    -> (z (T, B, 88) logits, state), cache."""
    (h, new_state), lstm = lstm_layer(params, "octave", join(keys, classes, bits), state)
    z, linear = linear_forward(h, *params.layer("keys"))
    return (z, new_state), (lstm, linear)


def decoder_backward(dz, cache):
    """dz (T, B, 88) -> gradients by layer: {"octave": (dWx, dWh, db), "keys": (dW, db)}."""
    lstm, linear = cache
    dh, *dkeys = linear_backward(dz, linear)
    _, doctave = lstm_layer_backward(dh, lstm, need_dx=False)
    return {"octave": doctave, "keys": dkeys}


@replaceable
def masked_loss_forward(z, keys, allowed, mask):
    """`sum over allowed keys of softplus(z) - x z, / (counted steps * 88)`.

    z and keys (T, B, 88), allowed (T, B, C) of 0/1: the C = 12 classes that are on, or the 88 keys that are asked;
    mask (T, B) -> (loss (nats per key), p (T, B, 88)), cache; p is sigmoid(z) where the key is allowed, else 0, for the
    trace: no gradient is taken through it.
    """
    xp = array_module(z)
    of_keys = of_class(allowed) > 0
    positive = z.real > 0
    softplus = xp.where(positive, z, 0) + xp.log1p(xp.exp(xp.where(positive, -z, z)))
    cells = counted(mask) * keys.shape[-1]
    nats = (softplus - keys * z) * (of_keys & mask[..., None])
    p = sigmoid(z) * of_keys
    return (nats.sum() / cells, p), (p, keys, allowed, mask, cells)


@replaceable
def masked_loss_backward(cache):
    """-> dz (T, B, 88)."""
    p, keys, allowed, mask, cells = cache
    # in the forward pass this was: softplus(z) - keys * z
    return (p - keys) * ((of_class(allowed) > 0) & mask[..., None]) / cells


def draw_keys(P, u, classes):
    """P and u (..., 88), classes (..., 12) of 0/1 -> keys (..., 88) bool, whose classes are exactly `classes`."""
    xp = array_module(P)
    allowed = of_class(classes) > 0
    drawn = allowed & (u < P.real)
    best = by_octave(P.real).argmax(axis=-2)  # beyond the keyboard stands a 0, after every octave that there is
    likeliest = (xp.arange(88) // 12) == of_class(best)
    missed = of_class(pitch_classes(drawn)) == 0
    return drawn | (allowed & missed & likeliest)


def octaves_forward(params, roll, classes, bits, mask, state):
    """Half of a rung's loss: roll (T+1 or more, B, 88) of 0/1 whose last T rows are the truth, its classes (T, B, 12),
    bits (T, B, n), mask (T, B) -> (loss (nats per key), trace, state), cache."""
    keys = roll[-len(mask) - 1 :].astype(classes.dtype)
    (z, new_state), decoder = decoder_forward(params, keys[:-1], classes, bits, state)
    (loss, p), octave = masked_loss_forward(z, keys[1:], classes, mask)
    return (loss, {"decoder.p": p, "decoder.z": z, "loss.decoder": loss}, new_state), (decoder, octave)


def octaves_backward(cache):
    """-> gradients by layer."""
    decoder, octave = cache
    return decoder_backward(masked_loss_backward(octave), decoder)


def octaves_step(params, x, classes, bits, state, given, temperature=1.0):
    """One step of playing: x (1, B, 88), the step before, classes (1, B, 12); given (minigen/draws.py): `decoder.u` and
    `inject`, or `keys` -> (keys (1, B, 88), trace, state)."""
    (z, new_state), _ = decoder_forward(params, x.astype(classes.dtype), classes, bits, state)
    p = sigmoid(z / temperature) * of_class(classes)
    keys = given["keys"] if "keys" in given else draw_keys(p, given["decoder.u"], classes)
    if "inject" in given:
        injected = given["inject"]
        keys = array_module(p).where(of_class(pitch_classes(injected)) > 0, injected > 0, keys)
    return keys, {"decoder.p": p, "decoder.z": z}, new_state
