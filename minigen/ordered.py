"""Ordered voices: a step is told from the top down. Voice v plays the v-th highest key of the step, or stops.

    h = silu([features, played, last] W1 + b1)
    p_v = softmax((h + silu(h W2 + b2)) W3 + b3)      over K keys and the stop, outcome K
    log Pr(step) = sum_v log p_v[truth_v], up to and with the stop: exact, since a step has one path

`played` are the keys that the voices before v played at this very step, `last` the lowest of them, each a K-vector of
0/1. Keys at or above the last one are masked; after a stop nothing is told. All voices share their weights, so V is no
shape of them: as many run as the music needs. Training draws no notes.

A step with n keys has n + 1 decisions. Training and likelihood make all decisions of all steps at once
(minigen/places.py); playing goes voice by voice.
"""

from typing import Any, NamedTuple

from minigen.backend import array_module
from minigen.linear import linear_backward, linear_forward, silu_backward, silu_forward, softmax_forward
from minigen.ops import counted, join, one_hot
from minigen.params import linear_shapes
from minigen.places import Places, by_step, from_top, places_of
from minigen.voices import draw, keep_pause_probability


class Decisions(NamedTuple):
    """All decisions of M steps."""

    places: Places
    played: Any  # (N, K) of 0/1: by the voices before it
    last: Any  # (N, K) of 0/1: the lowest of these, nothing for the first voice
    truth: Any  # (N,) the outcome: a key, or the stop K


def ordered_shapes(K: int, features: int, H: int) -> dict[str, tuple]:
    """Three linear layers that all voices share."""
    return {
        **linear_shapes("hidden", features + 2 * K, H),
        **linear_shapes("deeper", H, H),
        **linear_shapes("outcome", H, K + 1),
    }


def decisions_of(x, places: Places | None = None) -> Decisions:
    """x (M, K) of 0/1 -> all decisions that tell these steps."""
    xp, K, places = array_module(x), x.shape[1], places or places_of(x)
    struck, rank, v = x[places.step] > 0, from_top(x)[places.step], places.voice[:, None]
    own = struck & (rank == v + 1)
    truth = xp.where(own.any(axis=1), own.argmax(axis=1), K)
    played, last = ((struck & which).astype(x.dtype) for which in (rank <= v, rank == v))
    return Decisions(places, played, last, truth)


def open_outcomes(last):
    """The keys under the last one played, all of them where there is none, and the stop: last (..., K) of 0/1
    -> (..., K+1) bool."""
    xp = array_module(last)
    at_or_under = from_top(last) > 0
    under = (at_or_under & (last == 0)) | ~at_or_under[..., :1]
    return join(under, xp.ones((*under.shape[:-1], 1), bool))


def decide_forward(params, features, played, last, temperature=1.0):
    """features (..., F), played and last (..., K) -> z (..., K+1), logits of which the masked are -inf; cache."""
    h, hidden = silu_forward(join(features, played, last), *params.layer("hidden"))
    more, deeper = silu_forward(h, *params.layer("deeper"))
    z, outcome = linear_forward(h + more, *params.layer("outcome"))
    xp = array_module(z)
    return xp.where(open_outcomes(last), z / temperature, -xp.inf), (hidden, deeper, outcome, features.shape[-1])


def decide_backward(dz, cache):
    """dz (..., K+1), 0 where z is masked, at temperature 1 -> dfeatures (..., F), gradients by layer."""
    hidden, deeper, outcome, F = cache
    dsum, *doutcome = linear_backward(dz, outcome)
    # in the forward pass this was: h + more, and join(features, played, last)
    dh, *ddeeper = silu_backward(dsum, deeper)
    djoined, *dhidden = silu_backward(dsum + dh, hidden)
    return djoined[..., :F], {"hidden": dhidden, "deeper": ddeeper, "outcome": doutcome}


def ordered_forward(params, features, x, mask, places: Places | None = None):
    """features (T, B, F), x (T, B, K) of 0/1 what is true, mask (T, B); places, where they are known
    -> (loss (nats per step, mean over counted steps), nats (T, B), p (N, K+1), the decisions), cache."""
    xp, (T, B, F) = array_module(features), features.shape
    made = decisions_of(x.reshape(T * B, -1), places)
    z, decided = decide_forward(params, features.reshape(T * B, F)[made.places.step], made.played, made.last)
    p, _ = softmax_forward(z)
    top = z.real.max(axis=1, keepdims=True)
    chosen = xp.take_along_axis(z, made.truth[:, None], axis=1)
    nats = xp.log(xp.exp(z - top).sum(axis=1, keepdims=True)) + top - chosen  # -log p[truth], where p may be 0
    nats = by_step(nats, made.places).reshape(T, B)
    count = counted(mask)
    return ((nats * mask).sum() / count, nats, p, made), (p, made, decided, mask, count)


def ordered_backward(cache):
    """-> dfeatures (T, B, F), gradients by layer."""
    p, made, decided, mask, count = cache
    # in the forward pass this was: -log softmax(z)[truth], mean over the counted steps
    counts = (mask.reshape(-1)[made.places.step] / count)[:, None].astype(p.real.dtype)
    dfeatures, grads = decide_backward((p - one_hot(made.truth, p.shape[1], counts.dtype)) * counts, decided)
    return by_step(dfeatures, made.places).reshape(*mask.shape, -1), grads


def paths_of(p, made: Decisions, V: int, T: int, B: int):
    """Decisions as they are drawn, at least V voices: p (N, K+1) -> p (V, T, B, K+1), notes (V, T, B). Voices after a
    stop are sure of theirs."""
    xp, K, (step, voice, at) = array_module(p), p.shape[1] - 1, made.places
    V = max(V, len(at))
    every, notes = xp.zeros((V, T * B, K + 1), p.dtype), xp.full((V, T * B), K)
    every[..., K] = 1
    every[voice, step], notes[voice, step] = p, made.truth
    return every.reshape(V, T, B, K + 1), notes.reshape(V, T, B)


def ordered_play(params, features, V: int, given, temperature=1.0):
    """features (T, B, F), given (minigen/draws.py): `voices.u`, with `voices.allowed`, `inject` and `ceiling` where it
    is steered; or `voices.notes` -> p (V, T, B, K+1), notes (V, T, B). The last voice can only stop; a voice after a
    stop is sure of its stop."""
    xp, K = array_module(features), params["outcome.b"].shape[0] - 1
    played = last = xp.zeros((*features.shape[:2], K), features.real.dtype)
    over, p, notes = xp.zeros(features.shape[:2], bool), [], []
    for v in range(V):
        z, _ = decide_forward(params, features, played, last, temperature)
        may_play = ~(over | (v == V - 1))[..., None] | (xp.arange(K + 1) == K)
        z = xp.where(may_play, z, -xp.inf)
        notes.append(given["voices.notes"][v] if "voices.notes" in given else _decide(z, v, given))
        p.append(softmax_forward(z)[0])
        last = one_hot(notes[v], K, played.dtype)
        played, over = played + last, over | (notes[v] == K)
    return xp.stack(p), xp.stack(notes)


def _decide(z, v: int, given):
    """What voice v plays: z (T, B, K+1) masked logits -> (T, B). Where a melody strikes, `inject`, the first voice
    plays it; keys from the `ceiling` on are masked; the stop keeps its probability where `voices.allowed` masks keys,
    and is what remains where they leave none."""
    xp, K = array_module(z), z.shape[-1] - 1
    if "ceiling" in given:
        keys = xp.arange(K + 1)
        z = xp.where((keys < given["ceiling"][..., None]) | (keys == K), z, -xp.inf)
    if "voices.allowed" in given:
        allowed = given["voices.allowed"][v]
        z = xp.where(allowed, keep_pause_probability(z, allowed & xp.isfinite(z)), -xp.inf)
    outcome = draw(z, given["voices.u"][v])
    if v == 0 and "inject" in given:
        injected = given["inject"]
        outcome = xp.where(injected.any(axis=-1), K - 1 - injected[..., ::-1].argmax(axis=-1), outcome)
    return outcome


def chances(p, notes):
    """The chance of each key, given the keys above it: p (V, T, B, K+1), outcomes (V, T, B) -> P (T, B, K).

    `P[k] = p_v[k] / (p_v[stop] + sum_{j <= k} p_v[j])`, v the voice that tells the first key at or under k. The nats of
    a step are the sum over its keys of -log P[k], or of -log(1 - P[k]) where k is not struck.
    """
    xp, K = array_module(p), p.shape[-1] - 1
    struck = one_hot(notes, K, "int64").sum(axis=0)
    v = from_top(struck) - struck  # how many keys above k are struck
    at_or_under = p[..., :K].cumsum(axis=-1) + p[..., K:]
    hazards = p[..., :K] / xp.where(at_or_under > 0, at_or_under, 1)
    return xp.take_along_axis(hazards, v[None], axis=0)[0]
