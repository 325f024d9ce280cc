"""Claim 1: independent keys are a bad way to sample, voices a little better, conditional voices better, none adequate.

The toy: C-E-G or F-A-C follows, with equal odds. With the right chance for each key, independent keys play one of the
two 1/8 of the time; voices at once at most 1/2, since their keys are never positively correlated; conditional voices up
to always. Each head learns from a bias alone, 12 times, and is judged by its best start: the loss depends only on how
often each key sounds, so it is chance whether two voices at once share E-G and F-A out, or E-F and G-A.

Then the same heads over one body, the history reader on 12 classes, learn the chorales, voices with a quiet start. They
are judged by the exact likelihood of held-out steps. Conditional voices train with the stop-gradient trick, as the
diary's did, and once more without it. "None adequate" is left to the ear.
"""

from dataclasses import replace

import numpy as np
from claims.common import DARK, bars, over_seeds, picture, trained

from minigen.adam import Moments, adam
from minigen.heads import head_backward, head_forward, head_shapes
from minigen.ladder import Conditional, History
from minigen.params import Params, initialise
from minigen.run.likelihood import independent_keys, linear_voices, nats_per_step, voices_at_once
from minigen.run.verdict import above, judge, lower, spread, table
from minigen.union import cross_entropy_backward, cross_entropy_forward

TWELVE = {"keys": 12, "key_shift": True, "voices": 5}
HEADS = {
    "independent keys": History(replace(History.config, **TWELVE | {"voices": 0})),
    "voices at once": History(replace(History.config, **TWELVE)),
    "conditional voices": Conditional(replace(Conditional.config, **TWELVE)),
    "conditional, without the trick": Conditional(replace(Conditional.config, **TWELVE, loss="plain")),
}
PARTS, MINUTES = tuple(HEADS), 2.0
CHORDS = np.zeros((2, 12))
CHORDS[0, [3, 7, 10]] = CHORDS[1, [8, 0, 3]] = 1  # C-E-G, F-A-C; class 0 is A
V, STEPS, ROWS, TOYS = 3, 3000, 64, 12  # of the toy: voices, steps of training, batch, fresh starts for each seed


def toy(head: str, seed: int) -> float:
    """Learn the two chords -> the chance that one of them, and nothing else, is played."""
    rng, conditional, config = np.random.default_rng(seed), HEADS[head].conditional, HEADS[head].config
    config = replace(config, voices=min(config.voices, V))
    params = Params(head_shapes(config, conditional, 1), dtype=np.float64)
    initialise(params, rng)
    moments, features, mask = Moments.of(params.flat), np.ones((1, ROWS, 1)), np.ones((1, ROWS), bool)
    for step in range(STEPS):
        x = CHORDS[rng.integers(0, 2, ROWS)][None]
        given = {"voices.u": rng.random((ROWS, V)).T[:, None], "truth": x} if conditional else {}
        (P, _, _), cache = head_forward(params, features, config, conditional, {}, given)
        dP = cross_entropy_backward(cross_entropy_forward(P, x, mask)[1])
        grads = params.gradients(head_backward(dP, cache)[1])
        flat, moments = adam(params.flat, grads.flat, moments, 0.02 * (1 - step / STEPS))
        params = params.with_flat(flat)
    if conditional:
        return float(np.exp(linear_voices(params, np.ones((2, 1)), CHORDS, V)).sum())
    trace = head_forward(params, np.ones((1, 2, 1)), config, False, {}, {})[0][1]
    if config.voices:
        return float(np.exp(voices_at_once(trace["voices.p"][:, 0], CHORDS)).sum())
    return float(np.exp(independent_keys(trace["cells.z"][0], CHORDS)).sum())


def one(claim: str, part: str, seed: int, minutes: float) -> dict:
    run, _, held_out = trained(HEADS[part], seed, minutes)
    nats = nats_per_step(HEADS[part], run.params, held_out, by_all=True)["own"]
    return {"toys": [toy(part, TOYS * seed + n) for n in range(TOYS)], "nats": nats, "steps": run.step}


def conclude(claim: str, results: list[dict]):
    of = over_seeds(results)
    best, nats = {part: np.max(of[part]["toys"], axis=1) for part in of}, {part: of[part]["nats"] for part in of}
    rows = [[part, *map(spread, (best[part], nats[part], of[part]["steps"]))] for part in of]
    first, second, third, _ = PARTS
    parts = {
        "in the toy voices at once can play more pure chords than independent keys": lower(best[first], best[second]),
        "and conditional voices more than half": above(best[third], 0.5),
        "on the chorales voices at once are likelier than independent keys": lower(nats[second], nats[first]),
        "conditional voices are likelier than voices at once": lower(nats[third], nats[second]),
    }
    head = ["", f"toy: a pure chord, the best of {TOYS} starts", "nats per step, chorales", "steps"]
    return table(head, rows), judge("Claim 1", parts)


def draw(claim: str, results: list[dict], path) -> None:
    of, toys = over_seeds(results), {"title": "toy: chance of a pure chord; 1/8 and 1/2 dotted", "ylim": (0, 1.05)}
    with picture(path, (11, 4), toys, {"title": "nats per step, held-out chorales"}) as (left, right):
        bars(left, {part: np.concatenate(of[part]["toys"]) for part in of})
        bars(right, {part: of[part]["nats"] for part in of})
        for bound in (1 / 8, 1 / 2):
            left.axhline(bound, ls=":", color=DARK)
