"""Claim 2: the reader's weights settle on one lag over whole passages, and the loss falls there; a clear gain over no
reader; yet in generation no long copying.

`history` on 12 classes learns the chorales with its eight lags, and with lag 1 alone: a reader that can only repeat
the input. A passage is a run of at least 16 steps on which the same lag has more than half of the weight. Copying is
the longest run of steps, not all silent, that equals what one lag of at least a beat before: in held-out songs, in
generated pieces, and in pieces of the same network with every lag given the same weight.
"""

from dataclasses import replace

import numpy as np
from claims.common import apart, chorales, spread, table, trained
from matplotlib.figure import Figure

from minigen.checkpoint import Trained
from minigen.dataset import whole_songs
from minigen.ladder import History
from minigen.likelihood import nats_a_step
from minigen.ops import pitch_classes
from minigen.plots import save
from minigen.sample import play
from minigen.union import CLIP

PIECES, STEPS, PASSAGE = 8, 256, 16
WITH = History(replace(History.config, keys=12, voices=5, key_shift=True))
WITHOUT = History(replace(WITH.config, lags=(1,)))


def passages(w):
    """w (T, L) -> bool (T,): the steps inside a run of 16 or more on which one lag has over half of the weight."""
    best = np.where(w.max(axis=1) > 0.5, w.argmax(axis=1), -1)
    edges = np.flatnonzero(np.diff(best)) + 1
    settled = np.zeros(len(w), bool)
    for run in np.split(np.arange(len(w)), edges):
        settled[run] = best[run[0]] >= 0 and len(run) >= PASSAGE
    return settled


def copied(classes) -> int:
    """The longest run that equals one of the network's lags, with a note in it: classes (T, 12)."""
    longest = 0
    for lag in WITH.config.lags:
        run = notes = 0
        for same, struck in zip((classes[lag:] == classes[:-lag]).all(axis=1), classes[lag:].any(axis=1), strict=True):
            run, notes = (run + 1, notes + struck) if same else (0, 0)
            longest = max(longest, run if notes else 0)
    return longest


def music(params) -> list:
    return [
        np.array([keys for (keys, _), _ in zip(play(Trained(WITH, params, {}, None), n), range(STEPS), strict=False)])
        for n in range(PIECES)
    ]


def one(claim: str, seed: int, minutes: float) -> dict:
    train, valid = chorales()
    params = trained(WITH, train, seed, minutes)
    other = trained(WITHOUT, train, seed, minutes)
    settled, losses, example = [], [], None
    for _, batch in whole_songs(valid, WITH.config.past, chunk=max(map(len, valid))):
        trace = WITH.loss(params, batch, {}, grad=False)[2]
        P = trace["cells.P"].clip(CLIP, 1 - CLIP)
        x = pitch_classes(batch["roll"][-len(P) :]) > 0
        nats = -np.log(np.where(x, P, 1 - P)).mean(axis=2)
        example = trace["reader.w"][: 16 * 16, 0], nats[: 16 * 16, 0]
        for b in range(batch["mask"].shape[1]):
            T = batch["mask"][:, b].sum()
            settled.append(passages(trace["reader.w"][:T, b]))
            losses.append(nats[:T, b])
    settled, losses = np.concatenate(settled), np.concatenate(losses)
    knocked = params.with_flat(params.flat.copy())
    knocked["weights.W"][...], knocked["weights.b"][...] = 0, 0
    runs = {
        name: [copied(pitch_classes(roll)) for roll in music(p)]
        for name, p in (("as it is", params), ("knocked out", knocked))
    }
    runs["songs"] = [copied(pitch_classes((song[:STEPS] > 0).astype(np.uint8))) for song in valid if len(song) >= STEPS]
    return {
        "nats": [nats_a_step(model, p, valid, fits)["own"] for model, p in ((WITH, params), (WITHOUT, other))],
        "settled": float(settled.mean()),
        "loss": [float(losses[settled].mean()) if settled.any() else np.nan, float(losses[~settled].mean())],
        "runs": {name: float(np.mean(values)) for name, values in runs.items()},
        "example": example,
    }


def fits(roll):
    return pitch_classes(roll).sum(axis=-1) <= 5


def conclude(claim: str, found: list[dict]):
    with_reader, without = ([seed["nats"][n] for seed in found] for n in (0, 1))
    inside, outside = ([seed["loss"][n] for seed in found] for n in (0, 1))
    rows = [["nats a step, held out, eight lags", spread(with_reader)], ["the same, lag 1 alone", spread(without)]]
    rows += [["steps inside a passage", spread([seed["settled"] for seed in found])]]
    rows += [["nats a cell inside", spread(inside, 4)], ["nats a cell outside", spread(outside, 4)]]
    for name, words in (
        ("songs", "held-out songs"),
        ("as it is", "generated"),
        ("knocked out", "generated, equal weights"),
    ):
        rows += [[f"longest copy of one lag, steps: {words}", spread([seed["runs"][name] for seed in found], 1)]]
    gain, falls = apart(with_reader, without), apart(inside, outside)
    real, made = (np.mean([seed["runs"][name] for seed in found]) for name in ("songs", "as it is"))
    parts = {
        "the weights settle and the loss falls there": falls and min(seed["settled"] for seed in found) > 0.05,
        "a clear gain over no reader": gain,
        "no long copying in generation": made < real,
    }
    outcome = "holds" if all(parts.values()) else "holds in part" if any(parts.values()) else "does not hold here"
    return table(["", "mean (smallest to largest)"], rows), (
        f"Claim 2 {outcome}: " + "; ".join(f"{words}: {'yes' if held else 'no'}" for words, held in parts.items()) + "."
    )


def draw(claim: str, found: list[dict], path) -> None:
    w, nats = found[0]["example"]
    figure = Figure(figsize=(12, 4.5))
    upper, lower = figure.subplots(2, 1, sharex=True)
    upper.imshow(w.T, aspect="auto", cmap="Blues", vmin=0, vmax=1, interpolation="nearest")
    upper.set_yticks(range(len(WITH.config.lags)), WITH.config.lags)
    upper.set(ylabel="lag", title="the reader's weights over a held-out chorale, and the loss")
    lower.plot(nats, color="#1f4e79", lw=0.8)
    lower.set(xlabel="step", ylabel="nats a cell")
    save(figure, path)
