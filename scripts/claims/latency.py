"""Claim 4: an LSTM whose states are delayed does not see repeats.

The diary's reason: to use a delay of P-1 for the period P, a unit must have stored the sought step unchanged exactly
when it should have been predicting. With a delay of P the sought step is not in the state that is read at all. The
music: a pattern of P random chords over 12 keys, again and again; the loss is counted from its third time on, in nats
a cell of those 12 keys. Who cannot see the repeat is left with the entropy of the chords, 0.500.
"""

from dataclasses import replace

import numpy as np
from claims.common import spread, table
from matplotlib.figure import Figure

from minigen.adam import Moments, adam
from minigen.ladder import Latency, Simple
from minigen.plots import save

PERIODS, DENSITY = (4, 8, 16), 0.2
T, B, STEPS, RATE = 96, 32, 1000, 0.03
ENTROPY = -DENSITY * np.log(DENSITY) - (1 - DENSITY) * np.log(1 - DENSITY)
KINDS = ("plain LSTM", "delay P-1", "delay P", "linked groups", "lagged input")


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
    """-> the loss at every step, in nats a cell of the 12 keys."""
    model, rng = model_of(kind, P), np.random.default_rng([seed, P])
    params = model.init(seed)
    moments, losses = Moments.of(params.flat), []
    for step in range(STEPS):
        loss, grads, _, _ = model.loss(params, music(P, model.config.past, rng), {})
        flat, moments = adam(params.flat, grads.flat, moments, RATE * (1 - step / STEPS))
        params = params.with_flat(flat)
        losses.append(float(loss) * 88 / 12)
    return losses


def one(claim: str, seed: int, minutes: float) -> dict:
    return {(kind, P): learn(kind, P, seed) for P in PERIODS for kind in KINDS}


def last(found, kind: str, P: int) -> list[float]:
    return [np.mean(seed[kind, P][-20:]) for seed in found]


def conclude(claim: str, found: list[dict]):
    rows = [[kind, *(spread(last(found, kind, P)) for P in PERIODS)] for kind in KINDS]
    lines = table(["nats a cell", *(f"P = {P}" for P in PERIODS)], rows)
    blind = {kind: [min(last(found, kind, P)) > 0.5 * ENTROPY for P in PERIODS] for kind in KINDS}
    seeing = [kind for kind in KINDS if not any(blind[kind])]
    words = f"who loses most of the {ENTROPY:.3f} at every period: {', '.join(seeing) or 'nobody'}"
    if all(blind["delay P-1"]) and all(blind["delay P"]) and "lagged input" in seeing:
        return lines, f"Claim 4 holds: {words}."
    if "lagged input" in seeing and any(blind["delay P-1"] + blind["delay P"]):
        return lines, f"Claim 4 holds in part; {words}."
    return lines, f"Claim 4 does not hold here; {words}."


def draw(claim: str, found: list[dict], path) -> None:
    figure = Figure(figsize=(12, 3.8))
    for axes, P in zip(figure.subplots(1, 3, sharey=True), PERIODS, strict=True):
        for n, kind in enumerate(KINDS):
            for seed in found:
                curve = np.convolve(seed[kind, P], np.ones(10) / 10, "valid")
                axes.plot(curve, color=f"C{n}", lw=0.9, label=kind if seed is found[0] else None)
        axes.axhline(ENTROPY, ls=":", color="0.5")
        axes.set(xlabel="step", title=f"P = {P}", ylim=(0, 0.75))
    axes.legend(frameon=False, fontsize=8)
    save(figure, path)
