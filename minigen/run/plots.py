"""The pictures. The only file that imports matplotlib, and without its global state."""

import os
import warnings

import numpy as np

notebook = os.environ.pop("MPLBACKEND", None)  # which may not exist where this program runs, and is not needed
from matplotlib.collections import PolyCollection  # noqa: E402
from matplotlib.figure import Figure  # noqa: E402
from matplotlib.ticker import MaxNLocator  # noqa: E402

from minigen.music.midi_out import releases, ringing  # noqa: E402

if notebook:
    os.environ["MPLBACKEND"] = notebook
BARS = 256  # of a piece that are drawn


def save(figure: Figure, path) -> None:
    """Write a figure as a PNG, the same bytes for the same figure."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # a letter that the font lacks is drawn as a box
        # no date and no version in the file
        figure.savefig(path, dpi=120, bbox_inches="tight", metadata={"Software": None})


def plot_roll(path, roll, primer_steps: int = 0, bar: int = 16, title: str = "", sounding=None) -> None:
    """A piano roll (T, 88) as a PNG: time to the right in bars, pitch upwards, strikes dark, the primer shaded; of a
    long piece its beginning. Notes are as long as `sounding` (T, 88) says, or until anything is struck again."""
    if len(roll) > BARS * bar:
        title = f"{title} (the first {BARS} of {len(roll) / bar:g} bars)"
    roll = np.asarray(roll)[: BARS * bar] > 0
    ends = releases(roll, ringing(roll) if sounding is None else np.asarray(sounding)[: BARS * bar] > 0)
    T = len(roll)
    bars = max(1, T // bar)
    figure = Figure(figsize=(min(16, 2 + 0.6 * bars), 4))
    axes = figure.subplots()
    t, key = np.nonzero(roll)
    for end, colour in ((ends[t, key], "#b7cadd"), (t + 0.8, "#1f4e79")):
        left, right, low, high = t / bar, end / bar, key + 20.6, key + 21.4
        corners = np.array([[left, low], [right, low], [right, high], [left, high]])  # (4, 2, N)
        axes.add_collection(PolyCollection(corners.transpose(2, 0, 1), facecolors=colour, lw=0))
    if primer_steps:
        axes.axvspan(0, primer_steps / bar, color="#f2c14e", alpha=0.35, lw=0)
    low, high = (key.min() + 21, key.max() + 21) if len(key) else (48, 72)
    octaves = [note for note in range(0, 128, 12) if low - 7 <= note <= high + 7]
    axes.set_yticks(octaves, [f"C{note // 12 - 1}" for note in octaves])
    axes.set_ylim(low - 3, high + 3)
    axes.set_xlim(0, T / bar)
    axes.set_xticks(range(0, bars + 1, 1 if bars <= 20 else 4 * (bars // 80 + 1)))
    axes.set_xlabel("bar")
    axes.grid(axis="both", color="#dddddd", lw=0.5)
    axes.set_axisbelow(True)
    axes.set_title(title, fontsize=10, loc="left", parse_math=False)
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


def plot_step(path, trace: dict, n: int, outcomes: list[str]) -> None:
    """One step of a trace: the music before it, the reader's weights, each voice's distribution, the octaves.

    outcomes names the columns of a voice's distribution. What was decided is marked.
    """
    config, at = trace["header"]["config"], len(trace["roll"]) - len(trace["keys"]) + n
    figure = Figure(figsize=(13, 8))
    music, reader, voices, octaves = figure.subplots(2, 2).ravel()
    t, key = np.nonzero(trace["roll"][max(0, at - 128) : at + 1])
    music.plot(t + max(0, at - 128), key + 21, "s", ms=2.5, color="#1f4e79")
    music.axvline(at, color="#f2a541", lw=1)
    music.set(title="what was struck, up to this step", xlabel="step of the piece", ylabel="MIDI note")
    if "reader.w" in trace:
        lags = [str(lag) for lag in config["lags"]]
        reader.bar(lags, trace["reader.w"][n, 0], color="#b7cadd")
        reader.set(title="the reader's weight on each lag", ylim=(0, 1), xlabel="lag, steps")
    if "voices.p" in trace:
        p = trace["voices.p"][n, :, 0]
        voices.imshow(p, aspect="auto", cmap="Blues", vmin=0, vmax=1)
        voices.plot(trace["voices.notes"][n, :, 0], range(len(p)), "o", mfc="none", color="#f2a541", ms=12)
        voices.set_yticks(range(len(p)), [f"voice {v + 1}" for v in range(len(p))])
        step = 1 if len(outcomes) < 20 else 12
        voices.set_xticks(range(0, len(outcomes), step), outcomes[::step])
        voices.set_title("each voice's distribution; rings: what it played")
    elif "cells.P" in trace:
        voices.bar(range(len(trace["cells.P"][n, 0])), trace["cells.P"][n, 0], color="#b7cadd")
        voices.set(title="the chance of each key", xlabel="key")
    if "decoder.p" in trace:
        keys = np.arange(88) + 21
        octaves.bar(keys, trace["decoder.p"][n, 0], color="#b7cadd")
        struck = np.flatnonzero(trace["keys"][n, 0])
        octaves.plot(struck + 21, trace["decoder.p"][n, 0][struck], "o", color="#f2a541")
        octaves.set(title="the octaves; dots: what is struck", xlabel="MIDI note", ylim=(0, 1.05))
    for axes in (reader, voices, octaves):
        if not axes.has_data():
            axes.set_axis_off()
    figure.tight_layout()
    save(figure, path)
