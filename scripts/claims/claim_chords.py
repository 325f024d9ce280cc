"""Claim 1: independent keys are a bad way to sample, voices a little better, conditional voices better, none adequate.

The toy: C-E-G or F-A-C follows, with equal odds. With the right chance for each key, independent keys play one of the
two 1/8 of the time; voices at once at most 1/2, since their keys are never positively correlated;
conditional ones up to always. The heads learn it from nothing but a bias, each from 12 fresh starts. The loss sees no
more than how often each key sounds: whether two voices at once share E-G and F-A out, and never
play a chord, or E-F and G-A, is chance; so what a head can do is judged by its best start.

Then the same heads over one body, the history reader on 12 classes, learn the chorales, voices with a quiet start; what
they say about held-out steps is exact likelihood. Conditional voices train with the stop-gradient trick, as the
diary's did, and a fourth time without it, as the others do. "None adequate" is left to the ear.
"""

from dataclasses import replace

import numpy as np
from claims.common import QUIET, above, judge, lower, spread, table, trained
from matplotlib.figure import Figure

from minigen.adam import Moments, adam
from minigen.heads import head_backward, head_forward, head_shapes
from minigen.ladder import Conditional, History
from minigen.music.corpus import learned_and_held_out
from minigen.params import Params, initialise
from minigen.run.likelihood import independent_keys, linear_voices, nats_per_step, voices_at_once
from minigen.run.plots import save
from minigen.union import cross_entropy_backward, cross_entropy_forward

PARTS = HEADS = ("independent keys", "voices at once", "conditional voices", "conditional, without the trick")
MINUTES = 2.0
CHORDS = np.zeros((2, 12))
CHORDS[0, [3, 7, 10]] = CHORDS[1, [8, 0, 3]] = 1  # C-E-G, F-A-C; class 0 is A
V, STEPS, ROWS = 3, 3000, 64
TOYS = 12  # fresh starts of the toy, each seed


TWELVE = {"keys": 12, "key_shift": True, "voices": 5, "pause_bias": QUIET}
BODIES = {
    HEADS[0]: History(replace(History.config, **TWELVE | {"voices": 0})),
    HEADS[1]: History(replace(History.config, **TWELVE)),
    HEADS[2]: Conditional(replace(Conditional.config, **TWELVE)),
    HEADS[3]: Conditional(replace(Conditional.config, **TWELVE | {"loss": "plain"})),
}


def toy(head: str, seed: int) -> float:
    """Learn the two chords -> the chance that one of them, and nothing else, is played."""
    rng = np.random.default_rng(seed)
    config = replace(BODIES[head].config, voices=V if BODIES[head].config.voices else 0)
    params = Params(head_shapes(config, BODIES[head].conditional, 1), dtype=np.float64)
    initialise(params, rng)
    moments, features, mask = Moments.of(params.flat), np.ones((1, ROWS, 1)), np.ones((1, ROWS), bool)
    for step in range(STEPS):
        x = CHORDS[rng.integers(0, 2, ROWS)][None]
        given = (
            {"voices.u": rng.random((1, ROWS, V)).transpose(2, 0, 1), "truth": x} if BODIES[head].conditional else {}
        )
        (P, _, _), cache = head_forward(params, features, config, BODIES[head].conditional, {}, given)
        dP = cross_entropy_backward(cross_entropy_forward(P, x, mask)[1])
        grads = params.gradients(head_backward(dP, cache)[1])
        flat, moments = adam(params.flat, grads.flat, moments, 0.02 * (1 - step / STEPS))
        params = params.with_flat(flat)
    two = np.ones((1, 2, 1))
    if BODIES[head].conditional:
        chances = linear_voices(params, two[0], CHORDS, V)
    else:
        trace = head_forward(params, two, config, False, {}, {})[0][1]
        if config.voices:
            chances = voices_at_once(trace["voices.p"][:, 0], CHORDS)
        else:
            chances = independent_keys(trace["cells.z"][0], CHORDS)
    return float(np.exp(chances).sum())


def one(claim: str, part: str, seed: int, minutes: float) -> dict:
    learned, held_out = learned_and_held_out("bach")
    run = trained(BODIES[part], learned, seed, minutes)
    toys = [toy(part, TOYS * seed + n) for n in range(TOYS)]
    return {"toys": toys, "nats": nats_per_step(BODIES[part], run.params, held_out)["own"], "steps": run.step}


def conclude(claim: str, found: list[dict]):
    keys = ("toys", "nats", "steps")
    toys, nats, steps = ({head: [seed[head][key] for seed in found] for head in HEADS} for key in keys)
    pure = {head: [np.mean(starts) for starts in toys[head]] for head in HEADS}
    best = {head: [max(starts) for starts in toys[head]] for head in HEADS}
    rows = [
        [head, spread(pure[head]), spread(best[head]), spread(nats[head], 2), spread(steps[head], 0)] for head in HEADS
    ]
    head = ["", f"toy: a pure chord, mean of {TOYS} starts", "the best start", "nats per step, chorales", "steps"]
    first, second, third, _ = HEADS
    parts = {
        "in the toy voices at once can play more pure chords than independent keys": lower(best[first], best[second]),
        "and conditional voices more than half": above(best[third], 0.5),
        "on the chorales voices at once are likelier than independent keys": lower(nats[second], nats[first]),
        "conditional voices are likelier than voices at once": lower(nats[third], nats[second]),
    }
    return table(head, rows), judge("Claim 1", parts)


def draw(claim: str, found: list[dict], path) -> None:
    figure = Figure(figsize=(10, 4))
    toys, nats = figure.subplots(1, 2)
    for n, head in enumerate(HEADS):
        starts = np.concatenate([seed[head]["toys"] for seed in found])
        toys.plot(n + np.linspace(-0.2, 0.2, len(starts)), np.sort(starts), ".", color="#1f4e79")
        nats.bar(n, np.mean([seed[head]["nats"] for seed in found]), color="#b7cadd")
        nats.plot([n] * len(found), [seed[head]["nats"] for seed in found], "o", color="#1f4e79")
    for bound in (1 / 8, 1 / 2):
        toys.axhline(bound, ls=":", color="0.5")
    toys.set_title("chance of a pure chord: every start; 1/8 and 1/2 dotted", fontsize=10, loc="left")
    nats.set_title("nats per step, held-out chorales", fontsize=10, loc="left")
    for axes in (toys, nats):
        axes.set_xticks(
            range(len(HEADS)), [head.replace(" ", "\n", 1).replace(", ", ",\n") for head in HEADS], fontsize=8
        )
    save(figure, path)
