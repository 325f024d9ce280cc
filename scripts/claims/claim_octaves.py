"""Claim 6: decoding mistakes are octave mistakes; 12 classes cut the cost by an order of magnitude.

The first is a property: the classes of what is decoded are the classes that were to be decoded, so a mistake can only
be one of octave. How often is the octave right? On held-out chorales, where a class sounds in one octave alone: is that
the decoder's likeliest, and is it the octave in which the class sounded most often in the training songs? The cost is
that of a training step of `final` as it is, and on 88 keys with seven voices and no decoder; "an order of magnitude" is
taken as five times or more.
"""

import time
from dataclasses import replace
from itertools import islice

import numpy as np
from claims.common import BATCH, RATE, bars, evaluate, over_seeds, picture, trained

from minigen.ladder import Final
from minigen.music.dataset import Dataset
from minigen.ops import by_octave, one_hot, pitch_classes
from minigen.run.checkpoint import Trained
from minigen.run.sample import play
from minigen.run.train import learn
from minigen.run.verdict import above, judge, lower, spread, table

PARTS, MINUTES = ("final",), 1.2
PIECES, STEPS = 8, 256
WIDE = replace(Final.config, keys=88, key_shift=False, voices=7)


def cost(model, songs, seed: int) -> float:
    """Median milliseconds of a training step, of processor time."""
    times = []
    learn(
        model,
        Dataset.of(songs, model.config),
        seed,
        BATCH,
        RATE,
        steps=8,
        each=lambda *_: times.append(time.process_time()),
    )
    return 1e3 * float(np.median(np.diff(times)[1:]))


def one(claim: str, part: str, seed: int, minutes: float) -> dict:
    model = Final()
    run, learned, held_out = trained(model, seed, minutes)
    decoded = other = 0
    for n in range(PIECES):
        for keys, trace in islice(play(Trained(model, run.params, {}, None), seed=n), STEPS):
            classes = one_hot(trace["voices.notes"][:, 0], 12, int).max(axis=0)
            decoded, other = decoded + classes.sum(), other + (pitch_classes(keys) != classes).sum()
    usual = sum(by_octave((song > 0).astype(int)).sum(axis=0) for song in learned).argmax(axis=0)  # (12,)
    batch, _, _, trace = evaluate(model, run.params, held_out)
    likeliest = by_octave(trace["decoder.p"]).argmax(axis=-2)
    x = by_octave(batch["roll"][-len(likeliest) :])
    alone, octave = x.sum(axis=-2) == 1, x.argmax(axis=-2)
    return {
        "classes decoded": decoded,
        "of them to another class": other,
        "octave right, decoder": (likeliest == octave)[alone].mean(),
        "octave right, the class's usual one": (usual == octave)[alone].mean(),
        "a step on 12 classes, ms": cost(Final(), learned, seed),
        "a step on 88 keys, ms": cost(Final(WIDE), learned, seed),
    }


def conclude(claim: str, results: list[dict]):
    of = over_seeds(results)["final"]
    _, other, right, usual, classes, keys = of.values()
    of["so many times the cost"] = np.divide(keys, classes)
    parts = {
        "mistakes are mistakes of octave alone": "no" if any(other) else "yes",
        "the octave is right more often than the class's usual one": lower(usual, right),
        "12 classes cut the cost by an order of magnitude": above(of["so many times the cost"], 5),
    }
    rows = [[words, spread(values)] for words, values in of.items()]
    return table(["", "mean (smallest to largest)"], rows), judge("Claim 6", parts)


def draw(claim: str, results: list[dict], path) -> None:
    _, _, right, usual, classes, keys = over_seeds(results)["final"].values()
    panels = {"title": "octave right, held out", "ylim": (0, 1)}, {"title": "ms per training step"}
    with picture(path, (8, 3.5), *panels) as axes:
        bars(axes[0], {"decoder": right, "usual octave": usual})
        bars(axes[1], {"12 classes": classes, "88 keys": keys})
