"""Claim 4: an LSTM whose states are delayed does not see repeats.

The diary's reason: to use a delay of P-1 for the period P, a unit must have stored the sought step unchanged exactly
when it should have been predicting. With a delay of P the sought step is not in the state that is read at all. The
music: a pattern of P random chords over 12 keys, again and again; the loss is counted from its third time on. A network
that does not see the repeat is left with the entropy of the chords, 0.500 nats per cell; to see nothing is to be left
with 0.9 of it or more. Beside the two delays: a plain LSTM, which has to remember; groups with delays 1, 4, 8, 16 in
which every gate reads every group; and the step one period ago as an input.

In 1,000 steps the lagged input too leaves a third of the entropy, or more. `--long` asks what limits each, training or
what is in reach: a period of 8, twice the units, 4,000 steps, two rates.
"""

from dataclasses import replace

import numpy as np
from claims.common import curves, over_seeds, picture

from minigen.adam import Moments, adam
from minigen.ladder import Latency, Simple
from minigen.run.verdict import above, agreed, judge, lower, spread, table
from minigen.union import cross_entropy_forward

PERIODS, DENSITY = (4, 8, 16), 0.2
T, B, STEPS, RATE = 96, 32, 1000, 0.03
ENTROPY = -DENSITY * np.log(DENSITY) - (1 - DENSITY) * np.log(1 - DENSITY)
BLIND = 0.9  # of the entropy: a network that is left with more sees nothing
KINDS = ("plain LSTM", "delay P-1", "delay P", "linked groups", "lagged input")
PARTS, MINUTES = tuple(f"{kind}, {P}" for P in PERIODS for kind in KINDS), 0
LONG_KINDS, RATES, LONG_STEPS = ("linked groups", "lagged input"), (0.01, 0.003), 4000
LONG = {"claims": ("latency",), "parts": tuple(f"{kind}, {rate}" for kind in LONG_KINDS for rate in RATES), "seeds": 2}
SOLVED = 0.1  # of the entropy: a network that is left with less has learned it


def model_of(kind: str, P: int, hidden: int = 32):
    if kind == "linked groups":
        return Latency(replace(Latency.LINKED, delays=(1, 4, 8, 16), capsule=hidden // 2, hidden=hidden))
    if kind.startswith("delay"):
        return Latency(replace(Latency.config, capsule=hidden, delays=(P - 1 if kind == "delay P-1" else P,)))
    return Simple(replace(Simple.config, hidden=hidden, lags=(P if kind == "lagged input" else 1,)))


def music(P: int, past: int, rng) -> dict:
    """A batch of patterns, each repeated; only predictions from the third time on count."""
    pattern = rng.random((P, B, 12)) < DENSITY
    roll = np.zeros((past + T, B, 88), np.uint8)
    roll[past:, :, :12] = np.resize(pattern, (T, B, 12))
    mask = np.repeat(np.arange(T)[:, None] >= 2 * P, B, axis=1)
    return {"roll": roll, "start": np.zeros(B, np.int64), "mask": mask}


def one(claim: str, part: str, seed: int, minutes: float) -> dict:
    kind, P = part.split(", ")
    return learned(model_of(kind, int(P)), int(P), seed, STEPS, RATE)


def long(claim: str, part: str, seed: int, folder) -> dict:
    kind, rate = part.split(", ")
    return learned(model_of(kind, 8, 64), 8, seed, LONG_STEPS, float(rate))


def learned(model, P: int, seed: int, steps: int, rate: float) -> dict:
    """-> the losses in nats per cell of the 12 keys, means over 20 steps; the share of the entropy left in the last."""
    rng, losses = np.random.default_rng([seed, P]), []
    params = model.init(seed)
    moments = Moments.of(params.flat)
    for step in range(steps):
        batch = music(P, model.config.past, rng)
        _, grads, trace, _ = model.loss(params, batch, {})
        predicted, truth = (array[-T:, :, :12] for array in (trace["cells.P"], batch["roll"]))
        losses.append(float(cross_entropy_forward(predicted, truth, batch["mask"])[0]))
        flat, moments = adam(params.flat, grads.flat, moments, rate * (1 - step / steps))
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


def conclude_long(claim: str, results: list[dict]):
    of = over_seeds(results)
    rows = [[*part.split(", "), *(f"{left:.3f}" for left in of[part]["left"])] for part in LONG["parts"]]
    low, high = (np.array([of[f"{kind}, {rate}"]["left"] for rate in RATES]) for kind in reversed(LONG_KINDS))
    parts = {
        "linked groups see nothing of it, at any rate": agreed(high.min(axis=0) > BLIND),
        "while lagged input learns it, at some rate": agreed(low.min(axis=0) < SOLVED),
    }
    head = ["share of the entropy that is left", "rate", *(f"seed {seed}" for seed in range(len(results)))]
    return table(head, rows), judge("Claim 4, at length", parts)


def draw_long(claim: str, results: list[dict], path) -> None:
    of, panel = over_seeds(results), {"title": "P = 8: nats per cell", "xlabel": "step", "ylim": (0, 0.75)}
    with picture(path, (7, 4), panel) as (axes,):
        curves(axes, {part: of[part]["losses"] for part in LONG["parts"]}, range(20, LONG_STEPS + 1, 20), lw=0.7)
        axes.axhline(ENTROPY, ls=":", color="0.5")


def draw(claim: str, results: list[dict], path) -> None:
    panels = [{"title": f"P = {P}: nats per cell", "xlabel": "step", "ylim": (0, 0.75)} for P in PERIODS]
    of = over_seeds(results)
    with picture(path, (12, 3.8), *panels) as axes:
        for panel, P in zip(axes, PERIODS, strict=True):
            curves(panel, {kind: of[f"{kind}, {P}"]["losses"] for kind in KINDS}, range(20, STEPS + 1, 20), lw=0.9)
            panel.axhline(ENTROPY, ls=":", color="0.5")
