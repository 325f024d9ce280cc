"""Claim 1: independent keys are a bad way to sample, voices a little better, conditional voices better, none adequate.

The toy: C-E-G or F-A-C follows, with equal odds. With the right chance for each key, independent keys play one of the
two 1/8 of the time; voices that do not hear each other at most 1/2, since their keys are never positively correlated;
voices that do, up to always. Three heads learn it from nothing but a bias, each from 12 fresh starts. The loss sees no
more than how often each key sounds: whether two voices that do not hear each other share E-G and F-A out, and never
play a chord, or E-F and G-A, is chance. Then the same three heads over one body, the history reader on 12 classes,
learn the chorales; what they say about held-out steps is exact likelihood. Conditional voices train with the stop-
gradient trick, as the diary's did; the others do without it. "None adequate" is left to the ear.
"""

from dataclasses import replace
from functools import partial

import numpy as np
from claims.common import answer, chorales, spread, table, trained
from matplotlib.figure import Figure

from minigen.adam import Moments, adam
from minigen.heads import at_once_backward, at_once_forward, at_once_shapes, keys_backward, keys_forward, keys_shapes
from minigen.ladder import Conditional, History
from minigen.likelihood import independent_keys, linear_voices, nats_a_step, voices_at_once
from minigen.params import Params, initialise
from minigen.plots import save
from minigen.reader import history_backward, history_forward, history_shapes
from minigen.union import cross_entropy_backward, cross_entropy_forward, union_backward, union_forward
from minigen.voices import allow_truth, voices_backward, voices_forward, voices_shapes

HEADS = ("independent keys", "voices at once", "conditional voices")
CHORDS = np.zeros((2, 12))
CHORDS[0, [3, 7, 10]] = CHORDS[1, [8, 0, 3]] = 1  # C-E-G, F-A-C; class 0 is A
V, STEPS, ROWS = 3, 3000, 64
TOYS = 12  # fresh starts of the toy, each seed


class Independent(History):
    """`history` with independent keys, for this claim alone."""

    def layers(self):
        c = self.config
        return history_shapes(c.keys, c.time_bits, c.lags, c.hidden) | keys_shapes(c.keys, c.hidden)

    def forward(self, params, x, bits, state, draws, allowed=None, temperature=1.0):
        (features, w, after), history = history_forward(params, x, bits, self.config.lags, state)
        (P, struck, z), cells = keys_forward(params, features, draws, temperature)
        return (P, struck, {"reader.w": w, "cells.z": z}, after), (history, cells)

    def backward(self, dP, cache):
        history, cells = cache
        dfeatures, dcells = keys_backward(dP, cells)
        return history_backward(dfeatures, history) | dcells


TWELVE = {"keys": 12, "key_shift": True, "voices": 5}
BODIES = {
    HEADS[0]: Independent(replace(History.config, **TWELVE | {"voices": 0})),
    HEADS[1]: History(replace(History.config, **TWELVE)),
    HEADS[2]: Conditional(replace(Conditional.config, **TWELVE)),
}


def toy(head: str, seed: int) -> float:
    """Learn the two chords -> the chance that one of them, and nothing else, is played."""
    rng = np.random.default_rng(seed)
    make = {HEADS[0]: keys_shapes(12, 1), HEADS[1]: at_once_shapes(V, 12, 1), HEADS[2]: voices_shapes(V, 12, 1, 0)}
    params = Params(make[head], dtype=np.float64)
    initialise(params, rng)
    moments, features, mask = Moments.of(params.flat), np.ones((1, ROWS, 1)), np.ones((1, ROWS), bool)
    for step in range(STEPS):
        x = CHORDS[rng.integers(0, 2, ROWS)][None]
        if head == HEADS[0]:
            (P, _, _), cache = keys_forward(params, features, {})
        elif head == HEADS[1]:
            (p, _), cache = at_once_forward(params, features, V, {})
        else:
            draws = {"voices": rng.random((1, ROWS, V))}
            (p, _, _), cache = voices_forward(params, features, V, {}, draws, allow_truth(x))
        if head != HEADS[0]:
            P, union = union_forward(p, False)
        dP = cross_entropy_backward(cross_entropy_forward(P, x, mask)[1])
        dp = dP if head == HEADS[0] else union_backward(dP, union, head == HEADS[2])
        back = dict(zip(HEADS, (keys_backward, at_once_backward, voices_backward), strict=True))[head]
        grads = params.with_flat(np.zeros_like(params.flat))
        for layer, arrays in back(dp, cache)[1].items():
            grads.add(layer, *arrays)
        flat, moments = adam(params.flat, grads.flat, moments, 0.02 * (1 - step / STEPS))
        params = params.with_flat(flat)
    one = np.ones((1, 1, 1))
    if head == HEADS[0]:
        chances = independent_keys(keys_forward(params, one, {})[0][2][0], CHORDS)
    elif head == HEADS[1]:
        chances = voices_at_once(at_once_forward(params, one, V, {})[0][0][:, 0].repeat(2, axis=1), CHORDS)
    else:
        chances = linear_voices(params, np.ones((2, 1)), CHORDS, V)
    return float(np.exp(chances).sum())


def one(claim: str, seed: int, minutes: float) -> dict:
    train, valid = chorales()
    toys = {head: [toy(head, TOYS * seed + n) for n in range(TOYS)] for head in HEADS}
    found = {"toy": {head: float(np.mean(of)) for head, of in toys.items()}, "nats": {}}
    for head, model in BODIES.items():
        params = trained(model, train, seed, minutes)
        found["nats"][head] = nats_a_step(model, params, valid, partial(fits, model))["own"]
    return found


def fits(model, roll):
    return model.music(roll, int).sum(axis=-1) <= 5


def conclude(claim: str, found: list[dict]):
    toys, nats = ({head: [seed[key][head] for seed in found] for head in HEADS} for key in ("toy", "nats"))
    rows = [[head, spread(toys[head]), spread(nats[head], 2)] for head in HEADS]
    lines = table(["", "toy: one of the two chords, pure", "chorales: nats a step, held out"], rows)
    first, second, third = (nats[head] for head in HEADS)
    pure = [np.mean(toys[head]) for head in HEADS]
    ordered = pure[0] < pure[1] <= 0.5 + 1e-6 < pure[2]
    parts = {
        "in the toy": "yes" if ordered else "no",
        "on the chorales, voices at once better than independent keys": answer(second, first),
        "conditional voices better than voices at once": answer(third, second),
        "conditional voices better than independent keys": answer(third, first),
    }
    given = set(parts.values())
    outcome = "holds" if given == {"yes"} else "holds in part" if "yes" in given else "does not hold here"
    return lines, f"Claim 1 {outcome}: " + "; ".join(f"{words}: {said}" for words, said in parts.items()) + "."


def draw(claim: str, found: list[dict], path) -> None:
    figure = Figure(figsize=(10, 4))
    for axes, key, title in zip(
        figure.subplots(1, 2), ("toy", "nats"), ("one of two chords, pure", "nats a step"), strict=True
    ):
        for n, head in enumerate(HEADS):
            axes.bar(n, np.mean([seed[key][head] for seed in found]), color="#b7cadd")
            axes.plot([n] * len(found), [seed[key][head] for seed in found], "o", color="#1f4e79")
        axes.set_xticks(range(len(HEADS)), HEADS)
        axes.set_title(title, fontsize=10, loc="left")
    save(figure, path)
