"""The pictures. The only file that imports matplotlib, and without its global state."""

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator


def save(figure: Figure, path) -> None:
    """Write a figure as a PNG, the same bytes for the same figure."""
    # no date and no version in the file
    figure.savefig(path, dpi=120, bbox_inches="tight", metadata={"Software": None})


def plot_roll(path, roll, primer_steps: int = 0, steps_a_bar: int = 16, title: str = "") -> None:
    """A piano roll (T, 88) as a PNG: time to the right in bars, pitch upwards, strikes dark, the primer shaded."""
    T = len(roll)
    bars = max(1, T // steps_a_bar)
    figure = Figure(figsize=(min(16, 2 + 0.6 * bars), 4))
    axes = figure.subplots()
    t, key = np.nonzero(np.asarray(roll) > 0)
    struck = np.append(np.unique(t), T)
    rings = struck[np.searchsorted(struck, t, side="right")] - t  # until anything is struck again
    axes.barh(key + 21, rings / steps_a_bar, left=t / steps_a_bar, height=0.8, color="#b7cadd")
    axes.barh(key + 21, 0.8 / steps_a_bar, left=t / steps_a_bar, height=0.8, color="#1f4e79")
    if primer_steps:
        axes.axvspan(0, primer_steps / steps_a_bar, color="#f2c14e", alpha=0.35, lw=0)
    low, high = (key.min() + 21, key.max() + 21) if len(key) else (48, 72)
    octaves = [note for note in range(0, 128, 12) if low - 7 <= note <= high + 7]
    axes.set_yticks(octaves, [f"C{note // 12 - 1}" for note in octaves])
    axes.set_ylim(low - 3, high + 3)
    axes.set_xlim(0, T / steps_a_bar)
    axes.set_xticks(range(0, bars + 1, 1 if bars <= 20 else 4 * (bars // 80 + 1)))
    axes.set_xlabel("bar")
    axes.grid(axis="both", color="#dddddd", lw=0.5)
    axes.set_axisbelow(True)
    axes.set_title(title, fontsize=10, loc="left")
    save(figure, path)


def plot_loss(path, rows: list[dict], baselines: dict[str, float], unit: str) -> None:
    """Loss over steps, training and validation, with the baselines as dotted lines."""
    figure = Figure(figsize=(8, 4.5))
    axes = figure.subplots()
    steps = [row["step"] for row in rows]
    part = "cells" if "train_cells" in rows[0] else "decoder"
    axes.plot(steps, [row[f"train_{part}"] for row in rows], color="#9db4c0", label="training")
    axes.plot(steps, [row[f"valid_{part}"] for row in rows], color="#1f4e79", label="held-out songs")
    for (name, value), shade in zip(baselines.items(), np.linspace(0.2, 0.7, len(baselines)), strict=True):
        axes.axhline(value, ls=":", lw=1, color=str(shade), label=f"{name}: {value:.3f}")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("step")
    axes.set_ylabel(unit)
    axes.legend(frameon=False, fontsize=8)
    axes.set_title(f"loss of the {part}", fontsize=10, loc="left")
    save(figure, path)
