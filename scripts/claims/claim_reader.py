"""Claim 2: the reader's weights settle on one lag over whole passages, and the loss falls there; a clear gain over no
reader; yet in generation no long copying.

`history` on 12 classes learns the chorales, its voices with a quiet start, with its eight lags and with lag 1 alone: a
reader that can only repeat the input. A passage is a run of at least 16 steps on which the same lag has more than half
of the weight; the loss inside and outside is of sounding steps. A copy is the longest run of steps that equal the step
one of the lags of a bar or more before, and counts its sounding steps, loops left out: in held-out songs (their first
16 bars), in generated pieces of 16 bars, and in pieces of the same network with every lag given the same weight. "No
long copying": generated copies are shorter than the songs' mean. Tried before: 1.2 minutes and no quiet start; the
losses were 1.86 (1.80 to 1.97) and 1.94 (1.83 to 1.99), and as much was left open.
"""

from dataclasses import replace

import numpy as np
from claims.common import QUIET, above, judge, lower, table, trained
from matplotlib.figure import Figure

from minigen.ladder import History
from minigen.music.corpus import learned_and_held_out
from minigen.music.dataset import whole_songs
from minigen.music.metrics import longest_repeat
from minigen.ops import pitch_classes
from minigen.run.checkpoint import Trained
from minigen.run.likelihood import nats_per_step
from minigen.run.plots import save
from minigen.run.sample import generate
from minigen.union import CLIP

PIECES, STEPS, PASSAGE = 8, 256, 16
WITH = History(replace(History.config, keys=12, voices=5, key_shift=True, pause_bias=QUIET))
COPIED = [lag for lag in WITH.config.lags if lag >= 16]
BODIES = {"eight lags": WITH, "lag 1 alone": History(replace(WITH.config, lags=(1,)))}
PARTS = tuple(BODIES)
MINUTES = 4.0


def passages(w):
    """w (T, L) -> bool (T,): the steps inside a run of 16 or more on which one lag has over half of the weight."""
    best = np.where(w.max(axis=1) > 0.5, w.argmax(axis=1), -1)
    edges = np.flatnonzero(np.diff(best)) + 1
    settled = np.zeros(len(w), bool)
    for run in np.split(np.arange(len(w)), edges):
        settled[run] = best[run[0]] >= 0 and len(run) >= PASSAGE
    return settled


def mean(values) -> float:
    """Not a number where nothing ever settled: then no comparison is decided."""
    return float(values.mean()) if values.size else np.nan


def copies(params, pieces=None) -> list[int]:
    """The longest copy in each piece that the network plays, or in each piece given."""
    learned = Trained(WITH, params, {}, None)
    pieces = pieces or [generate(learned, STEPS // 16, n) for n in range(PIECES)]
    return [
        longest_repeat(pitch_classes((piece[:STEPS] > 0).astype(np.uint8)), COPIED, loops=False) for piece in pieces
    ]


def one(claim: str, part: str, seed: int, minutes: float) -> dict:
    learned, held_out = learned_and_held_out("bach")
    run = trained(BODIES[part], learned, seed, minutes)
    params = run.params
    found = {"nats": nats_per_step(BODIES[part], params, held_out)["own"], "steps": run.step}
    if part != "eight lags":
        return found
    _, batch = next(iter(whole_songs(held_out, WITH.config.past, chunk=max(map(len, held_out)))))
    trace = WITH.loss(params, batch, {}, grad=False)[2]
    P = trace["cells.P"].clip(CLIP, 1 - CLIP)
    x, w, mask = pitch_classes(batch["roll"][-len(P) :]) > 0, trace["reader.w"], batch["mask"]
    nats = -np.log(np.where(x, P, 1 - P)).mean(axis=2)
    settled = np.zeros_like(mask)
    for b, length in enumerate(mask.sum(axis=0)):
        settled[:length, b] = passages(w[:length, b])
    sounding = mask & x.any(axis=2)
    knocked = params.with_flat(params.flat.copy())
    knocked["weights.W"][...], knocked["weights.b"][...] = 0, 0
    runs = {"as it is": copies(params), "knocked out": copies(knocked)}
    runs["songs"] = copies(params, [song for song in held_out if len(song) >= STEPS])
    return found | {
        "settled": float(settled[mask].mean()),
        "loss": [mean(nats[sounding & where]) for where in (settled, ~settled)],
        "runs": {name: float(np.mean(values)) for name, values in runs.items()},
        "example": (w[:STEPS, -1], nats[:STEPS, -1]),
    }


def conclude(claim: str, found: list[dict]):
    nats = {part: [seed[part]["nats"] for seed in found] for part in PARTS}
    seeds = [seed["eight lags"] for seed in found]
    inside, outside = zip(*[seed["loss"] for seed in seeds], strict=True)
    shown = {f"nats per step, held out, {part}": nats[part] for part in PARTS}
    shown |= {"steps inside a passage": [seed["settled"] for seed in seeds]}
    shown |= {"nats per cell, sounding steps inside": inside, "nats per cell, sounding steps outside": outside}
    rows = [[words, *("" if np.isnan(x) else f"{x:.3f}" for x in values)] for words, values in shown.items()]
    runs = {name: [seed["runs"][name] for seed in seeds] for name in ("songs", "as it is", "knocked out")}
    for (_, values), words in zip(runs.items(), ("songs", "generated", "generated, equal weights"), strict=True):
        rows += [[f"longest copy, sounding steps: {words}", *(f"{x:.1f}" for x in values)]]
    parts = {
        "the weights settle on one lag on over a tenth of the steps": above([seed["settled"] for seed in seeds], 0.1),
        "and the loss is lower there": lower(inside, outside),
        "a clear gain over no reader": lower(nats["eight lags"], nats["lag 1 alone"]),
        "no long copying in generation": lower(runs["as it is"], runs["songs"]),
    }
    return table(["", *(f"seed {n}" for n in range(len(found)))], rows), judge("Claim 2", parts)


def draw(claim: str, found: list[dict], path) -> None:
    w, nats = found[0]["eight lags"]["example"]
    figure = Figure(figsize=(12, 4.5))
    upper, lower = figure.subplots(2, 1, sharex=True)
    upper.imshow(w.T, aspect="auto", cmap="Blues", vmin=0, vmax=1, interpolation="nearest")
    upper.set_yticks(range(len(WITH.config.lags)), WITH.config.lags)
    upper.set(ylabel="lag", title="the reader's weights over a held-out chorale, and the loss")
    lower.plot(nats, color="#1f4e79", lw=0.8)
    lower.set(xlabel="step", ylabel="nats per cell")
    save(figure, path)
