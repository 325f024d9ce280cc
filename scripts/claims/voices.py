"""Claim 7: later voices like to repeat what earlier ones played; voice 1's distribution spreads over a chord; pause
begets pause.

Counted while the network plays by itself, 8 pieces of 16 bars. A voice repeats where it plays a class that a voice
before it played at this step; beside it, how often it would by chance, drawing from its mean distribution. The width
of a distribution is the exponential of the entropy of its keys, given that a key is played: the number of keys it
hesitates between. Pause begets pause where voice 2 pauses more often after a pause of voice 1 than after a note, on
steps that are not empty.
"""

import numpy as np
from claims.common import chorales, spread, table, trained
from matplotlib.figure import Figure

from minigen.checkpoint import Trained
from minigen.ladder import Final, PauseLoss
from minigen.plots import save
from minigen.sample import play

PIECES, STEPS = 8, 256
RUNGS = {"final": Final, "pause-loss": PauseLoss}


def listen(model, params) -> dict:
    """What the voices do while they play."""
    notes, p = [], []
    for n in range(PIECES):
        for (_, trace), _ in zip(play(Trained(model, params, {}, None), seed=n), range(STEPS), strict=False):
            notes.append(trace["voices.notes"][0])
            p.append(trace["voices.p"][0])
    notes, p = np.array(notes), np.array(p, np.float64)  # (N, V), (N, V, K+1)
    N, V = notes.shape
    K = p.shape[2] - 1
    heard, repeats, chance = np.zeros((N, K), bool), [], []
    for v in range(V):
        plays = (notes[:, v] < K) & heard.any(axis=1)
        keys = np.minimum(notes[:, v], K - 1)
        usual = p[:, v, :K].mean(axis=0) / p[:, v, :K].mean(axis=0).sum()
        repeats.append(float(heard[np.arange(N), keys][plays].mean()) if plays.any() else 0.0)
        chance.append(float((heard[plays] @ usual).mean()) if plays.any() else 0.0)
        heard[np.flatnonzero(notes[:, v] < K), notes[notes[:, v] < K, v]] = True
    keys = p[..., :K] / p[..., :K].sum(axis=2, keepdims=True)
    sounding = heard.any(axis=1)
    width = np.exp(-(keys * np.log(keys + 1e-30)).sum(axis=2))[sounding].mean(axis=0)
    paused = notes[sounding] == K
    after = [
        float(paused[paused[:, 0] == first, 1].mean()) if (paused[:, 0] == first).any() else np.nan for first in (1, 0)
    ]
    return {
        "repeats": repeats,
        "chance": chance,
        "width": width.tolist(),
        "pauses": (notes == K).mean(axis=0).tolist(),
        "after": after,
        "example": p[np.flatnonzero(sounding)[:48], 0].tolist(),
    }


def one(claim: str, seed: int, minutes: float) -> dict:
    train, _ = chorales()
    return {name: listen(rung(), trained(rung(), train, seed, minutes)) for name, rung in RUNGS.items()}


def conclude(claim: str, found: list[dict]):
    lines, verdicts = [], []
    for name in RUNGS:
        seeds = [seed[name] for seed in found]
        mean = {key: np.mean([seed[key] for seed in seeds], axis=0) for key in ("repeats", "chance", "width", "pauses")}
        V = len(mean["width"])
        words = ("a note repeats an earlier voice's", "the same by chance", "keys hesitated between", "pauses")
        rows = [
            [said, *(f"{x:.2f}" for x in mean[key])]
            for said, key in zip(words, ("repeats", "chance", "width", "pauses"), strict=True)
        ]
        lines += ["", f"`{name}`", "", *table(["", *(f"voice {v + 1}" for v in range(V))], rows), ""]
        after = np.array([seed["after"] for seed in seeds])
        lines += [
            f"Voice 2 pauses after a pause of voice 1: {spread(after[:, 0], 2)}; a note: {spread(after[:, 1], 2)}."
        ]
        likes = np.mean([np.mean(np.array(s["repeats"][1:]) - s["chance"][1:]) for s in seeds]) > 0
        spreads = min(s["width"][0] for s in seeds) > 2
        begets = np.nanmin(after[:, 0] - after[:, 1]) > 0 if np.isfinite(after).any() else False
        yes = {True: "yes", False: "no"}
        verdicts.append(
            f"`{name}`: later voices repeat more than by chance {yes[bool(likes)]}, voice 1 spreads over a chord "
            f"{yes[bool(spreads)]}, pause begets pause {yes[bool(begets)]}"
        )
    held = sum(verdict.count(" yes") for verdict in verdicts)
    outcome = "holds" if held == 6 else "does not hold here" if held == 0 else "holds in part"
    return lines[1:], f"Claim 7 {outcome}. {'; '.join(verdicts)}."


def draw(claim: str, found: list[dict], path) -> None:
    figure = Figure(figsize=(11, 6))
    for axes, name in zip(figure.subplots(2, 1), RUNGS, strict=True):
        axes.imshow(np.array(found[0][name]["example"]).T, aspect="auto", cmap="Blues", origin="lower")
        axes.set(title=f"{name}: voice 1's distribution, 48 sounding steps", ylabel="class; 12: pause", xlabel="step")
    figure.tight_layout()
    save(figure, path)
