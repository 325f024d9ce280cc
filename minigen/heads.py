"""How a rung plays from its features: every key by itself, several voices at once, or voices that hear each other.

    P = sigmoid(features W + b)                      independent keys (diary 03/12)
    p_v = softmax(features W_v + b_v)                V voices at once, each over K keys and the pause (diary 11/12)
    minigen/voices.py                                voices that hear those before them (26/12)

Independent keys mix the notes of chords that never sound together; the voices' keys at least compete within a voice.
"""

from minigen.backend import array_module
from minigen.linear import linear_backward, linear_forward, sigmoid, softmax_backward, softmax_forward
from minigen.params import linear_shapes
from minigen.voices import draw, leave_the_pause, voices_backward, voices_forward, voices_shapes


def keys_shapes(K: int, features: int) -> dict[str, tuple]:
    """One linear layer, named cells."""
    return linear_shapes("cells", features, K)


def keys_forward(params, features, draws, temperature=1.0):
    """features (T, B, F), draws {"cells": uniforms (T, B, K)} or nothing of the kind
    -> (P (T, B, K), struck (T, B, K) of 0/1 or None, z (T, B, K) the logits), cache."""
    z, linear = linear_forward(features, *params.layer("cells"))
    P = sigmoid(z / temperature)
    struck = (draws["cells"] < P.real).astype(P.real.dtype) if "cells" in draws else None
    return (P, struck, z), (P, linear)


def keys_backward(dP, cache):
    """dP (T, B, K) at temperature 1 -> dfeatures (T, B, F), gradients by layer: {"cells": (dW, db)}."""
    P, linear = cache
    # in the forward pass this was: P = sigmoid(z)
    dfeatures, *dcells = linear_backward(dP * P * (1 - P), linear)
    return dfeatures, {"cells": dcells}


def at_once_shapes(V: int, K: int, features: int) -> dict[str, tuple]:
    """One linear layer, named heads, whose columns are the voices', side by side."""
    return linear_shapes("heads", features, V * (K + 1))


def draw_at_once(z, draws):
    """z (V, T, B, K+1) logits of voices that hear nobody -> outcomes (V, T, B): those in draws["notes"], or drawn with
    draws["voices"] (steered by draws["allowed"], as in minigen/voices.py), or None where there is neither."""
    xp = array_module(z)
    if "notes" in draws:
        return xp.moveaxis(draws["notes"], 2, 0)
    if "voices" not in draws:
        return None
    u = xp.moveaxis(draws["voices"], 2, 0)
    if "allowed" not in draws:
        return draw(z, u)
    allowed = xp.moveaxis(draws["allowed"], 2, 0)
    return draw(leave_the_pause(z, allowed), u, allowed)


def at_once_forward(params, features, V: int, draws, temperature=1.0):
    """features (T, B, F), draws {"voices": uniforms (T, B, V)}, {"notes": outcomes (T, B, V)} or nothing of the kind
    -> (p (V, T, B, K+1), notes (V, T, B) or None), cache. Nothing that is drawn is heard by anybody."""
    xp = array_module(features)
    z, linear = linear_forward(features, *params.layer("heads"))
    z = xp.moveaxis(z.reshape(*z.shape[:2], V, -1), 2, 0) / temperature
    p, softmax = softmax_forward(z)
    return (p, draw_at_once(z, draws)), (linear, softmax)


def at_once_backward(dp, cache):
    """dp (V, T, B, K+1) at temperature 1 -> dfeatures (T, B, F), gradients by layer: {"heads": (dW, db)}."""
    linear, softmax = cache
    V, T, B, _ = dp.shape
    # in the forward pass this was: z = moveaxis(features W + b)
    dz = array_module(dp).moveaxis(softmax_backward(dp, softmax), 0, 2).reshape(T, B, -1)
    dfeatures, *dheads = linear_backward(dz, linear)
    return dfeatures, {"heads": dheads}


def head_shapes(c, hears: bool, features: int) -> dict[str, tuple]:
    """The weights of the head that a configuration asks for."""
    if not c.voices:
        return keys_shapes(c.keys, features)
    if hears:
        return voices_shapes(c.voices, c.keys, features, c.voice_hidden)
    return at_once_shapes(c.voices, c.keys, features)


def head_forward(params, features, c, hears: bool, state, draws, allowed=None, temperature=1.0):
    """features (T, B, F) -> (P (T, B, K) or p (V, T, B, K+1), what was played, trace, state), cache."""
    if not c.voices:
        (P, struck, z), cache = keys_forward(params, features, draws, temperature)
        return (P, struck, {"cells.z": z}, {}), (keys_backward, cache)
    if hears:
        (p, notes, after), cache = voices_forward(params, features, c.voices, state, draws, allowed, temperature)
        return (p, notes, {"features": features}, after), (voices_backward, cache)
    (p, notes), cache = at_once_forward(params, features, c.voices, draws, temperature)
    return (p, notes, {}, {}), (at_once_backward, cache)


def head_backward(dp, cache):
    """dP or dp at temperature 1 -> dfeatures (T, B, F), gradients by layer."""
    backward, cache = cache
    return backward(dp, cache)
