"""Claim 6: decoding mistakes are octave mistakes; 12 classes cut the cost by an order of magnitude.

The first is a property: the classes of what is decoded are the classes that were to be decoded, so a mistake can only
be one of octave. How often is the octave right? On held-out chorales, where a class sounds in one octave alone: is
that the decoder's likeliest, and is it the octave in which the class sounded most often in the training songs? The
cost is that of a training step of `final` as it is, and on 88 keys without a decoder, with five and seven voices, one
core, batches of 16; "an order of magnitude" is taken as five times or more.
"""

import time
from dataclasses import replace

import numpy as np
from claims.common import BATCH, above, judge, lower, spread, table, trained
from matplotlib.figure import Figure

from minigen.adam import Moments
from minigen.ladder import Final
from minigen.music.corpus import learned_and_held_out
from minigen.music.dataset import Dataset, whole_songs
from minigen.ops import by_octave, one_hot, pitch_classes
from minigen.run.checkpoint import Trained
from minigen.run.plots import save
from minigen.run.sample import play
from minigen.run.train import Run, update

PARTS = ("final",)
MINUTES = 1.2
PIECES, STEPS = 8, 256


def cost(model, songs, seed: int) -> float:
    """Median milliseconds of a training step, of processor time."""
    c, params = model.config, model.init(seed)
    run, times = Run(params, Moments.of(params.flat), 1e-4), []
    data = Dataset(songs, c.past, c.fragment, c.hop, c.key_shift)
    for _ in range(8):
        began = time.process_time()
        update(model, run, data, seed, range(BATCH))
        times.append(time.process_time() - began)
    return 1e3 * float(np.median(times[2:]))


def one(claim: str, part: str, seed: int, minutes: float) -> dict:
    train, valid = learned_and_held_out("bach")
    wide = replace(Final.config, keys=88, key_shift=False)
    costs = [cost(model, train, seed) for model in (Final(), Final(wide), Final(replace(wide, voices=7)))]
    model = Final()
    params = trained(model, train, seed, minutes).params

    other = decoded = 0
    for n in range(PIECES):
        steps = play(Trained(model, params, {}, None), seed=n)
        for (keys, trace), _ in zip(steps, range(STEPS), strict=False):
            played = one_hot(trace["voices.notes"][:, 0], 12, int).max(axis=0)
            other, decoded = other + int((pitch_classes(keys) != played).sum()), decoded + int(played.sum())

    habit = sum(by_octave((song > 0).astype(int)).sum(axis=0) for song in train).argmax(axis=0)  # (12,)
    right = usual = single = 0
    state = None
    for first, batch in whole_songs(valid, model.config.past):
        state = None if first else state
        T, B = batch["mask"].shape
        _, _, trace, state = model.loss(params, batch, model.draws(0, "x", 0, range(B), T), state, grad=False)
        x = by_octave(batch["roll"][-T:] * batch["mask"][..., None])
        alone, where = x.sum(axis=-2) == 1, x.argmax(axis=-2)
        single += int(alone.sum())
        right += int((by_octave(trace["decoder.p"]).argmax(axis=-2) == where)[alone].sum())
        usual += int((np.broadcast_to(habit, where.shape) == where)[alone].sum())
    return {"other": other, "decoded": decoded, "right": right / single, "usual": usual / single, "cost": costs}


def conclude(claim: str, found: list[dict]):
    found = [seed["final"] for seed in found]
    ratio = [seed["cost"][2] / seed["cost"][0] for seed in found]
    rows = [["classes decoded", str(sum(seed["decoded"] for seed in found))]]
    rows += [["of them to another class", str(sum(seed["other"] for seed in found))]]
    rows += [["octave right, decoder", spread([seed["right"] for seed in found])]]
    rows += [["octave right, the class's usual one", spread([seed["usual"] for seed in found])]]
    rows += [["a step on 12 classes, ms", spread([seed["cost"][0] for seed in found], 0)]]
    rows += [["a step on 88 keys, five voices, ms", spread([seed["cost"][1] for seed in found], 0)]]
    rows += [["a step on 88 keys, seven voices, ms", spread([seed["cost"][2] for seed in found], 0)]]
    rows += [["so many times the cost", spread(ratio, 1)]]
    parts = {
        "mistakes are mistakes of octave alone": "no" if any(seed["other"] for seed in found) else "yes",
        "the octave is right more often than the class's usual one": lower(
            [seed["usual"] for seed in found], [seed["right"] for seed in found]
        ),
        "12 classes cut the cost by an order of magnitude": above(ratio, 5),
    }
    return table(["", "mean (smallest to largest)"], rows), judge("Claim 6", parts)


def draw(claim: str, found: list[dict], path) -> None:
    found = [seed["final"] for seed in found]
    figure = Figure(figsize=(8, 3.5))
    left, right = figure.subplots(1, 2)
    for axes, values, names in (
        (left, [[seed["right"], seed["usual"]] for seed in found], ("decoder", "usual octave")),
        (right, [seed["cost"] for seed in found], ("12 classes", "88 keys", "7 voices")),
    ):
        axes.bar(names, np.mean(values, axis=0), color="#b7cadd")
        for row in values:
            axes.plot(names, row, "o", color="#1f4e79")
    left.set(title="octave right, held out", ylim=(0, 1))
    right.set(title="ms per training step")
    save(figure, path)
