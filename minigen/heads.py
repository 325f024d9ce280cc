"""How a rung plays from its features, and P, the probability that a key sounds: three heads.

    P = sigmoid(features W + b)                      independent keys (diary 03/12)
    p_v = softmax(features W_v + b_v)                V voices at once, each over K keys and the pause (diary 11/12)
    minigen/voices.py                                conditional voices: each reads what those before it played (26/12)

Voices play their union (minigen/union.py). Independent keys mix the notes of chords that never sound together; the keys
of one voice at least compete with each other.
"""

from minigen.backend import array_module
from minigen.linear import linear_backward, linear_forward, sigmoid, softmax_backward, softmax_forward
from minigen.params import linear_shapes
from minigen.union import union_backward, union_forward
from minigen.voices import steered_draw, voices_backward, voices_forward, voices_shapes


def keys_shapes(K: int, features: int) -> dict[str, tuple]:
    """One linear layer, named cells."""
    return linear_shapes("cells", features, K)


def keys_forward(params, features, given, temperature=1.0):
    """features (T, B, F), given (minigen/draws.py): `cells.u`, or nothing is played
    -> (P (T, B, K), struck (T, B, K) of 0/1 or None, z (T, B, K) the logits), cache."""
    z, linear = linear_forward(features, *params.layer("cells"))
    P = sigmoid(z / temperature)
    struck = (given["cells.u"] < P.real).astype(P.real.dtype) if "cells.u" in given else None
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


def play_at_once(z, given):
    """z (V, T, B, K+1) logits of voices that read no notes -> outcomes (V, T, B): `voices.notes`, or drawn with
    `voices.u` among `voices.allowed`; None where neither is given (minigen/draws.py)."""
    if "voices.notes" in given:
        return given["voices.notes"]
    return steered_draw(z, given["voices.u"], given.get("voices.allowed")) if "voices.u" in given else None


def at_once_forward(params, features, V: int, given, temperature=1.0):
    """features (T, B, F), given (minigen/draws.py) -> (p (V, T, B, K+1), notes (V, T, B) or None), cache."""
    z, linear = linear_forward(features, *params.layer("heads"))
    z = array_module(z).moveaxis(z.reshape(*z.shape[:2], V, -1), 2, 0) / temperature
    p, softmax = softmax_forward(z)
    return (p, play_at_once(z, given)), (linear, softmax)


def at_once_backward(dp, cache):
    """dp (V, T, B, K+1) at temperature 1 -> dfeatures (T, B, F), gradients by layer: {"heads": (dW, db)}."""
    linear, softmax = cache
    V, T, B, _ = dp.shape
    # in the forward pass this was: z = moveaxis(features W + b)
    dz = array_module(dp).moveaxis(softmax_backward(dp, softmax), 0, 2).reshape(T, B, -1)
    dfeatures, *dheads = linear_backward(dz, linear)
    return dfeatures, {"heads": dheads}


def head_shapes(c, conditional: bool, features: int) -> dict[str, tuple]:
    """The weights of the head that a configuration asks for."""
    if not c.voices:
        return keys_shapes(c.keys, features)
    if conditional:
        return voices_shapes(c.voices, c.keys, features, c.voice_hidden)
    return at_once_shapes(c.voices, c.keys, features)


def head_forward(params, features, c, conditional: bool, state, given, temperature=1.0):
    """features (T, B, F), given (minigen/draws.py) -> (P (T, B, C), trace, state), cache; C is K, or K+1 with the pause
    cell. What was played is in the trace: `voices.notes` (V, T, B), or `cells.struck` (T, B, K)."""
    if not c.voices:
        (P, struck, z), cache = keys_forward(params, features, given, temperature)
        return (P, {"cells.z": z} | _known("cells.struck", struck), {}), (keys_backward, cache, None)
    if conditional:
        (p, notes, new_state), cache = voices_forward(params, features, c.voices, state, given, temperature)
        trace, backward = {"features": features}, voices_backward
    else:
        (p, notes), cache = at_once_forward(params, features, c.voices, given, temperature)
        trace, new_state, backward = {}, {}, at_once_backward
    P, union = union_forward(p, c.loss == "pause", given.get("union.factors"))
    trace |= {"voices.p": p, "union.factors": union[1]} | _known("voices.notes", notes)
    return (P, trace, new_state), (backward, cache, (union, c.loss == "stop-gradient"))


def _known(name: str, array) -> dict:
    return {} if array is None else {name: array}


def head_backward(dP, cache):
    """dP (T, B, C) at temperature 1 -> dfeatures (T, B, F), gradients by layer."""
    backward, cache, voices = cache
    # in the forward pass this was: P = union of p
    return backward(dP if voices is None else union_backward(dP, *voices), cache)
