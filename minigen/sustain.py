"""The sustain decoder: how long the keys that were struck go on sounding.

It is asked, and trained, only about the keys that sound at step t and are not struck at t+1, from the top down: does
the key go on? All keys share their weights, and each is seen from where it lies, so that it need not be learned key by
key that a voice ends where it moves:

    h = LSTM([88 keys struck at t+1, 88 keys sounding at t, time bits])
    near = silu([h, struck at t+1 around k, sounding at t around k, sounding at t+1 above k] W1 + b1)
    Pr(k goes on) = sigmoid(near W2 + b2)

"Around" is NEAR keys to each side. Each answer reads those above it, so the loss is exact. It is trained beside any
rung, with no gradient between them, and plays after it: it needs nothing but what was struck.
"""

from minigen.backend import array_module
from minigen.decoder import masked_loss_backward, masked_loss_forward
from minigen.linear import linear_backward, linear_forward, sigmoid, silu_backward, silu_forward
from minigen.lstm import lstm_layer, lstm_layer_backward
from minigen.ops import join
from minigen.params import linear_shapes, lstm_shapes
from minigen.places import Places, by_step, from_top, places_of

NEAR, HIDDEN = 16, 64


def sustain_shapes(bits: int, H: int) -> dict[str, tuple]:
    """An LSTM, and the two layers that all keys share."""
    seen = H + 2 * (2 * NEAR + 1) + NEAR
    return (
        lstm_shapes("sustain", 88 + 88 + bits, H)
        | linear_shapes("near", seen, HIDDEN)
        | linear_shapes("goes_on", HIDDEN, 1)
    )


def questions(struck, sounding, mask) -> Places:
    """struck (T, B, 88), sounding (T+1, B, 88) from a step before, mask (T, B) -> a decision for each key asked."""
    asked = (sounding[:-1] > 0) & (struck == 0) & mask[..., None]
    return places_of(asked.reshape(-1, 88), stop=False)


def around(x, step, key):
    """x (M, 88), N steps and N keys -> (N, 2 NEAR + 1), that row from NEAR keys under that key to NEAR above it."""
    xp = array_module(x)
    edge = xp.zeros((len(x), NEAR), x.dtype)
    return join(edge, x, edge)[step[:, None], key[:, None] + xp.arange(2 * NEAR + 1)]


def goes_on_forward(params, h, struck, before, after, step, key):
    """h (M, H), rolls (M, 88): struck now, sounding a step before, sounding now (read above the keys alone); N steps
    and keys -> z (N,) logits, cache."""
    above = around(after, step, key)[:, NEAR + 1 :]
    inputs = join(h[step], around(struck, step, key), around(before, step, key), above)
    near, hidden = silu_forward(inputs, *params.layer("near"))
    z, linear = linear_forward(near, *params.layer("goes_on"))
    return z[:, 0], (hidden, linear, h.shape[1])


def goes_on_backward(dz, cache):
    """dz (N,) -> dh of each of the N answers (N, H), gradients by layer. Music needs no gradient."""
    hidden, linear, H = cache
    dnear, *dgoes_on = linear_backward(dz[:, None], linear)
    # in the forward pass this was: join(h[step], ...)
    dinputs, *dhidden = silu_backward(dnear, hidden)
    return dinputs[:, :H], {"near": dhidden, "goes_on": dgoes_on}


def sustain_forward(params, struck, sounding, bits, mask, state, places: Places | None = None):
    """struck (T, B, 88) and bits (T, B, n) of the steps predicted, sounding (T+1, B, 88) from the step before them on,
    mask (T, B); places, where they are known -> (loss (nats per key), state), cache."""
    xp, before, after = array_module(struck), sounding[:-1], sounding[1:]
    (h, new_state), lstm = lstm_layer(params, "sustain", join(struck, before, bits), state)
    places = places or questions(struck, sounding, mask)
    asked = before * (1 - struck)
    rows = [array.reshape(mask.size, -1) for array in (h, struck, before, after, asked)]
    key = (from_top(rows[4])[places.step] * rows[4][places.step] == places.voice[:, None] + 1).argmax(axis=1)
    answers, layers = goes_on_forward(params, *rows[:4], places.step, key)
    z = xp.zeros(rows[3].shape, answers.dtype)
    z[places.step, key] = answers
    (loss, _), masked = masked_loss_forward(z.reshape(after.shape), after, asked, mask)
    return (loss, new_state), (lstm, layers, masked, places, key)


def sustain_backward(cache) -> dict:
    """-> gradients by layer: {"sustain": (dWx, dWh, db), "near": (dW, db), "goes_on": (dW, db)}."""
    lstm, layers, masked, places, key = cache
    dz = masked_loss_backward(masked)
    # in the forward pass this was: z[places.step, key] = answers
    dh, grads = goes_on_backward(dz.reshape(-1, 88)[places.step, key], layers)
    _, dsustain = lstm_layer_backward(by_step(dh, places).reshape(*dz.shape[:2], -1), lstm, need_dx=False)
    return {"sustain": dsustain} | grads


def sustain_step(params, struck, sounding, bits, state, u):
    """struck (1, B, 88) now, sounding (1, B, 88) a step ago, uniforms u (1, B, 88) -> what sounds now, state."""
    xp = array_module(struck)
    (h, new_state), _ = lstm_layer(params, "sustain", join(struck, sounding, bits), state)
    asked, after, step = sounding * (1 - struck), 1 * struck, xp.arange(struck.shape[1])
    rank = from_top(asked) * asked
    for voice in range(1, int(rank.max()) + 1):
        own = rank == voice
        z, _ = goes_on_forward(params, h[0], struck[0], sounding[0], after[0], step, own[0].argmax(axis=1))
        after = xp.where(own & (u < sigmoid(z)[:, None]), 1, after)
    return after.astype(struck.dtype), new_state


def empty_state(params, B: int) -> dict:
    """Before a song."""
    xp, H = array_module(params.flat), params["sustain.Wh"].shape[0]
    return {f"sustain.{part}": xp.zeros((B, H), params.dtype) for part in "hc"}
