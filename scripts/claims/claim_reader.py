"""Claim 2: the reader's weights settle on one lag over whole passages, and the loss falls there; a clear gain over no
reader; yet in generation no long copying.

`history` on 12 classes learns the chorales (or with `--corpus` music that repeats itself more), with its eight lags and
with lag 1 alone: a reader that can only repeat the input. A passage is a run of at least 16 steps on which the same lag
has more than half of the weight. A copy is the longest run of steps that equal the step one of the lags of a bar or
more before, and counts its sounding steps, loops left out: in held-out songs (their first 16 bars), in generated pieces
of 16 bars, and in pieces of the same network with every lag given the same weight. "No long copying": generated copies
are shorter than the songs' mean. Tried before: 1.2 minutes and no quiet start; the losses were 1.86 (1.80 to 1.97) and
1.94 (1.83 to 1.99), and as much was left open.
"""

from dataclasses import replace

import numpy as np
from claims.common import DARK, evaluate, over_seeds, picture, trained

from minigen.ladder import History
from minigen.music.metrics import longest_repeat
from minigen.ops import pitch_classes
from minigen.run.checkpoint import Trained
from minigen.run.likelihood import nats_per_step
from minigen.run.sample import generate
from minigen.run.verdict import above, judge, lower, passages, table
from minigen.union import CLIP

PIECES, STEPS = 8, 256
WITH = History(replace(History.config, keys=12, voices=5, key_shift=True))
COPIED = [lag for lag in WITH.config.lags if lag >= 16]
BODIES = {"eight lags": WITH, "lag 1 alone": History(replace(WITH.config, lags=(1,)))}
PARTS, MINUTES, MUSIC = tuple(BODIES), 4.0, ("bach", "songs", "toys")


def longest_copy(pieces) -> float:
    """The longest copy in each piece, in sounding steps: the mean over pieces."""
    music = [pitch_classes((piece[:STEPS] > 0).astype(np.uint8)) for piece in pieces]
    return float(np.mean([longest_repeat(classes, COPIED, loops=False) for classes in music]))


def one(claim: str, part: str, seed: int, minutes: float, corpus: str = "bach") -> dict:
    run, _, held_out = trained(BODIES[part], seed, minutes, corpus)
    results = {"nats per step, held out": nats_per_step(BODIES[part], run.params, held_out, by_all=True)["own"]}
    if part == "lag 1 alone":
        return results
    batch, _, _, trace = evaluate(WITH, run.params, held_out)
    P = trace["cells.P"].clip(CLIP, 1 - CLIP)
    x, w, mask = pitch_classes(batch["roll"][-len(P) :]) > 0, trace["reader.w"], batch["mask"]
    nats = -np.log(np.where(x, P, 1 - P)).mean(axis=2)
    inside = np.zeros_like(mask)
    for b, length in enumerate(mask.sum(axis=0)):
        inside[:length, b] = passages(w[:length, b])
    results |= {"example": (w[:STEPS, -1], nats[:STEPS, -1]), "steps inside a passage": inside[mask].mean()}
    for words, where in (("inside", inside), ("outside", ~inside)):
        there = nats[where & mask & x.any(axis=2)]  # none where nothing settled: then no comparison is decided
        results[f"nats per cell, sounding steps {words}"] = there.mean() if len(there) else np.nan
    equal = run.params.with_flat(run.params.flat.copy())
    equal["weights.W"][...], equal["weights.b"][...] = 0, 0
    music = {"songs": [song for song in held_out if len(song) >= STEPS]}
    for words, params in (("generated", run.params), ("generated, equal weights", equal)):
        music[words] = [generate(Trained(WITH, params, {}, None), STEPS // 16, n) for n in range(PIECES)]
    return results | {f"longest copy, sounding steps: {words}": longest_copy(music[words]) for words in music}


def conclude(claim: str, results: list[dict]):
    eight, one_lag = over_seeds(results).values()
    del eight["example"]
    nats, settled, inside, outside, songs, generated, _ = eight.values()
    parts = {
        "the weights settle on one lag on over a tenth of the steps": above(settled, 0.1),
        "and the loss is lower there": lower(inside, outside),
        "a clear gain over no reader": lower(nats, one_lag["nats per step, held out"]),
        "no long copying in generation": lower(generated, songs),
    }
    eight["nats per step, held out, lag 1 alone"] = one_lag["nats per step, held out"]
    rows = [[words, *(f"{value:.4g}" for value in values)] for words, values in eight.items()]
    return table(["", *(f"seed {n}" for n in range(len(results)))], rows), judge("Claim 2", parts)


def draw(claim: str, results: list[dict], path) -> None:
    w, nats = results[0]["eight lags"]["example"]
    below = {"xlabel": "step", "ylabel": "nats per cell", "xlim": (-0.5, len(w) - 0.5)}
    with picture(path, (12, 4.5), {"ylabel": "lag", "title": "the reader's weights"}, below, rows=2) as (weights, loss):
        weights.imshow(w.T, aspect="auto", cmap="Blues", vmin=0, vmax=1, interpolation="nearest")
        weights.set_yticks(range(len(WITH.config.lags)), WITH.config.lags)
        loss.plot(nats, color=DARK, lw=0.8)
