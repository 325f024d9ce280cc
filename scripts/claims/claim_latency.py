"""Claim 4: an LSTM whose states are delayed does not see repeats.

The diary's reason: to use a delay of P-1 for the period P, a unit must have stored the sought step unchanged exactly
when it should have been predicting. With a delay of P the sought step is not in the state that is read at all. The
music: a pattern of P random chords over 12 keys, again and again; the loss is counted from its third time on, in nats
a cell of those 12 keys. Who cannot see the repeat is left with the entropy of the chords, 0.500. Beside the two delays:
a plain LSTM, which has to remember; groups with delays 1, 4, 8, 16 in which every gate reads every group; and the step
one period ago as an input. To see nothing is to be left with 0.9 of the entropy or more.
"""

from dataclasses import replace

import numpy as np
from claims.common import above, judge, lower, spread, table
from matplotlib.figure import Figure

from minigen.adam import Moments, adam
from minigen.ladder import Latency, Simple
from minigen.run.plots import save
from minigen.union import cross_entropy_forward

PERIODS, DENSITY = (4, 8, 16), 0.2
T, B, STEPS, RATE = 96, 32, 1000, 0.03
ENTROPY = -DENSITY * np.log(DENSITY) - (1 - DENSITY) * np.log(1 - DENSITY)
BLIND = 0.9  # of the entropy: who is left with more sees nothing
KINDS = ("plain LSTM", "delay P-1", "delay P", "linked groups", "lagged input")
PARTS, MINUTES = tuple(f"{kind}, {P}" for P in PERIODS for kind in KINDS), 0


def model_of(kind: str, P: int):
    small = replace(Simple.config, hidden=32, lags=(1,))
    late = replace(Latency.config, capsule=32)
    linked = replace(Latency.LINKED, delays=(1, 4, 8, 16), capsule=16, hidden=32)
    return {
        "plain LSTM": lambda: Simple(small),
        "delay P-1": lambda: Latency(replace(late, delays=(P - 1,))),
        "delay P": lambda: Latency(replace(late, delays=(P,))),
        "linked groups": lambda: Latency(linked),
        "lagged input": lambda: Simple(replace(small, lags=(P,))),
    }[kind]()


def music(P: int, past: int, rng) -> dict:
    """A batch of patterns, each repeated; only predictions from the third time on count."""
    pattern = rng.random((P, B, 12)) < DENSITY
    roll = np.zeros((past + T, B, 88), np.uint8)
    roll[past:, :, :12] = np.resize(pattern, (T, B, 12))
    mask = np.repeat(np.arange(T)[:, None] >= 2 * P, B, axis=1)
    return {"roll": roll, "start": np.zeros(B, np.int64), "mask": mask}


def learn(kind: str, P: int, seed: int) -> list[float]:
    """-> the loss at every step, in nats per cell of the 12 keys."""
    model, rng = model_of(kind, P), np.random.default_rng([seed, P])
    params = model.init(seed)
    moments, losses = Moments.of(params.flat), []
    for step in range(STEPS):
        batch = music(P, model.config.past, rng)
        _, grads, trace, _ = model.loss(params, batch, {})
        flat, moments = adam(params.flat, grads.flat, moments, RATE * (1 - step / STEPS))
        params = params.with_flat(flat)
        live, truth = (cells[-T:, :, :12] for cells in (trace["cells.P"], batch["roll"]))
        losses.append(float(cross_entropy_forward(live, truth, batch["mask"])[0]))
    return losses


def one(claim: str, part: str, seed: int, minutes: float) -> list[float]:
    kind, P = part.split(", ")
    return learn(kind, int(P), seed)


def last(found, kind: str, P: int) -> list[float]:
    """What is left of the entropy at the end, a number a seed: 1 for who sees nothing, 0 for who sees the repeat."""
    return [float(np.mean(seed[f"{kind}, {P}"][-20:]) / ENTROPY) for seed in found]


def conclude(claim: str, found: list[dict]):
    rows = [[kind, *(spread(last(found, kind, P), 2) for P in PERIODS)] for kind in KINDS]
    lines = table(["share of the entropy that is left", *(f"P = {P}" for P in PERIODS)], rows)
    left = {kind: np.array([last(found, kind, P) for P in PERIODS]) for kind in KINDS}  # (periods, seeds)
    parts = {
        "a delay of P-1 sees nothing of it, at any period": above(left["delay P-1"].min(axis=0), BLIND),
        "nor does a delay of P": above(left["delay P"].min(axis=0), BLIND),
        "while lagged input sees it, at every period": lower(left["lagged input"].max(axis=0), [BLIND] * len(found)),
    }
    return lines, judge("Claim 4", parts)


def draw(claim: str, found: list[dict], path) -> None:
    figure = Figure(figsize=(12, 3.8))
    for axes, P in zip(figure.subplots(1, 3, sharey=True), PERIODS, strict=True):
        for n, kind in enumerate(KINDS):
            for seed in found:
                curve = np.convolve(seed[f"{kind}, {P}"], np.ones(10) / 10, "valid")
                axes.plot(curve, color=f"C{n}", lw=0.9, label=kind if seed is found[0] else None)
        axes.axhline(ENTROPY, ls=":", color="0.5")
        axes.set(xlabel="step", title=f"P = {P}", ylim=(0, 0.75))
    axes.legend(frameon=False, fontsize=8)
    save(figure, path)
