"""Claim 4: an LSTM whose states are delayed does not see repeats.

The diary's reason: to use a delay of P-1 for the period P, a unit must have stored the sought step unchanged exactly
when it should have been predicting. With a delay of P the sought step is not in the state that is read at all. The
music: a pattern of P random chords over 12 keys, again and again; the loss is counted from its third time on. A network
that does not see the repeat is left with the entropy of the chords, 0.500 nats per cell; to see nothing is to be left
with 0.9 of it or more. Beside the two delays: a plain LSTM, which has to remember; groups with delays 1, 4, 8, 16 in
which every gate reads every group; and the step one period ago as an input.
"""

from dataclasses import replace

import numpy as np
from claims.common import curves, over_seeds, picture

from minigen.adam import Moments, adam
from minigen.ladder import Latency, Simple
from minigen.run.verdict import above, judge, lower, spread, table
from minigen.union import cross_entropy_forward

PERIODS, DENSITY = (4, 8, 16), 0.2
T, B, STEPS, RATE = 96, 32, 1000, 0.03
ENTROPY = -DENSITY * np.log(DENSITY) - (1 - DENSITY) * np.log(1 - DENSITY)
BLIND = 0.9  # of the entropy: a network that is left with more sees nothing
KINDS = ("plain LSTM", "delay P-1", "delay P", "linked groups", "lagged input")
PARTS, MINUTES = tuple(f"{kind}, {P}" for P in PERIODS for kind in KINDS), 0


def model_of(kind: str, P: int):
    if kind == "linked groups":
        return Latency(replace(Latency.LINKED, delays=(1, 4, 8, 16), capsule=16, hidden=32))
    if kind.startswith("delay"):
        return Latency(replace(Latency.config, capsule=32, delays=(P - 1 if kind == "delay P-1" else P,)))
    return Simple(replace(Simple.config, hidden=32, lags=(P if kind == "lagged input" else 1,)))


def music(P: int, past: int, rng) -> dict:
    """A batch of patterns, each repeated; only predictions from the third time on count."""
    pattern = rng.random((P, B, 12)) < DENSITY
    roll = np.zeros((past + T, B, 88), np.uint8)
    roll[past:, :, :12] = np.resize(pattern, (T, B, 12))
    mask = np.repeat(np.arange(T)[:, None] >= 2 * P, B, axis=1)
    return {"roll": roll, "start": np.zeros(B, np.int64), "mask": mask}


def one(claim: str, part: str, seed: int, minutes: float) -> dict:
    """-> the losses in nats per cell of the 12 keys, means over 20 steps; the share of the entropy left in the last."""
    kind, P = part.split(", ")
    model, rng, losses = model_of(kind, int(P)), np.random.default_rng([seed, int(P)]), []
    params = model.init(seed)
    moments = Moments.of(params.flat)
    for step in range(STEPS):
        batch = music(int(P), model.config.past, rng)
        _, grads, trace, _ = model.loss(params, batch, {})
        predicted, truth = (array[-T:, :, :12] for array in (trace["cells.P"], batch["roll"]))
        losses.append(float(cross_entropy_forward(predicted, truth, batch["mask"])[0]))
        flat, moments = adam(params.flat, grads.flat, moments, RATE * (1 - step / STEPS))
        params = params.with_flat(flat)
    losses = np.reshape(losses, (-1, 20)).mean(axis=1)
    return {"losses": losses, "left": losses[-1] / ENTROPY}


def conclude(claim: str, results: list[dict]):
    of = over_seeds(results)
    left = {kind: np.array([of[f"{kind}, {P}"]["left"] for P in PERIODS]) for kind in KINDS}  # (periods, seeds)
    rows = [[kind, *map(spread, left[kind])] for kind in KINDS]
    parts = {
        "a delay of P-1 sees nothing of it, at any period": above(left["delay P-1"].min(axis=0), BLIND),
        "nor does a delay of P": above(left["delay P"].min(axis=0), BLIND),
        "while lagged input sees it, at every period": lower(left["lagged input"].max(axis=0), [BLIND] * len(results)),
    }
    return table(["share of the entropy that is left", *(f"P = {P}" for P in PERIODS)], rows), judge("Claim 4", parts)


def draw(claim: str, results: list[dict], path) -> None:
    panels = [{"title": f"P = {P}: nats per cell", "xlabel": "step", "ylim": (0, 0.75)} for P in PERIODS]
    of = over_seeds(results)
    with picture(path, (12, 3.8), *panels) as axes:
        for panel, P in zip(axes, PERIODS, strict=True):
            curves(panel, {kind: of[f"{kind}, {P}"]["losses"] for kind in KINDS}, range(20, STEPS + 1, 20), lw=0.9)
            panel.axhline(ENTROPY, ls=":", color="0.5")
