"""The pictures. The only file that imports matplotlib, and without its global state."""

import os
import warnings

import numpy as np

notebook = os.environ.pop("MPLBACKEND", None)  # which may not exist where this program runs, and is not needed
from matplotlib.collections import PolyCollection  # noqa: E402
from matplotlib.figure import Figure  # noqa: E402
from matplotlib.ticker import MaxNLocator  # noqa: E402

from minigen.music.midi_out import releases, ringing  # noqa: E402
from minigen.run.trace import NAMES, key_name  # noqa: E402
from minigen.union import CLIP  # noqa: E402

if notebook:
    os.environ["MPLBACKEND"] = notebook
BARS = 256  # of a piece that are drawn
DARK, AMBER, RED = "#1f4e79", "#f2a541", "#c1272d"


def save(figure: Figure, path, dpi: int = 120) -> None:
    """Write a figure as a PNG, the same bytes for the same figure."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # a letter that the font lacks is drawn as a box
        # no date and no version in the file
        figure.savefig(path, dpi=dpi, bbox_inches="tight", metadata={"Software": None})


def plot_roll(path, roll, primer_steps: int = 0, bar: int = 16, title: str = "", sounding=None) -> None:
    """A piano roll (T, 88) as a PNG: time to the right in bars, pitch upwards, strikes dark, the primer shaded; of a
    long piece its beginning. Notes are as long as `sounding` (T, 88) says, or ring until anything is struck again."""
    if len(roll) > BARS * bar:
        title = f"{title} (the first {BARS} of {len(roll) / bar:g} bars)"
    roll = np.asarray(roll)[: BARS * bar] > 0
    ends = releases(roll, ringing(roll) if sounding is None else np.asarray(sounding)[: len(roll)] > 0)
    T = len(roll)
    bars = max(1, T // bar)
    figure = Figure(figsize=(min(16, 2 + 0.6 * bars), 4))
    axes = figure.subplots()
    _draw_notes(axes, roll, ends, bar)
    if primer_steps:
        axes.axvspan(0, primer_steps / bar, color="#f2c14e", alpha=0.35, lw=0)
    axes.set_xlim(0, T / bar)
    axes.set_xticks(range(0, bars + 1, 1 if bars <= 20 else 4 * (bars // 80 + 1)))
    axes.set_xlabel("bar")
    axes.grid(axis="both", color="#dddddd", lw=0.5)
    axes.set_axisbelow(True)
    axes.set_title(title, fontsize=10, loc="left", parse_math=False)
    save(figure, path)


def _draw_notes(axes, struck, ends, bar: int) -> None:
    """Notes (T, 88) that end at steps `ends` (T, 88), as bars of a piano roll; octaves named at the side."""
    t, key = np.nonzero(struck)
    for end, colour in ((ends[t, key], "#b7cadd"), (t + 0.8, "#1f4e79")):
        left, right, low, high = t / bar, end / bar, key + 20.6, key + 21.4
        corners = np.array([[left, low], [right, low], [right, high], [left, high]])  # (4, 2, N)
        axes.add_collection(PolyCollection(corners.transpose(2, 0, 1), facecolors=colour, lw=0))
    low, high = (key.min() + 21, key.max() + 21) if len(key) else (48, 72)
    octaves = [note for note in range(0, 128, 12) if low - 7 <= note <= high + 7]
    axes.set_yticks(octaves, [f"C{note // 12 - 1}" for note in octaves])
    axes.set_ylim(low - 3, high + 3)


def plot_album(path, pieces: list, bar: int, title: str) -> None:
    """Piano rolls of pieces, each (what is struck, what sounds, ...) (T, 88), one a line, on one scale of bars."""
    figure = Figure(figsize=(10, 0.6 + 0.9 * len(pieces)), layout="constrained")
    rows = figure.subplots(len(pieces), 1, sharex=True, squeeze=False)[:, 0]
    for n, (axes, piece) in enumerate(zip(rows, pieces, strict=True)):
        _draw_notes(axes, piece[0] > 0, releases(piece[0] > 0, piece[1]), bar)
        axes.set_ylabel(str(n + 1), rotation=0, labelpad=12, va="center")
        axes.tick_params(labelsize=6)
        axes.grid(axis="both", color="#dddddd", lw=0.5)
        axes.set_axisbelow(True)
    rows[-1].set_xlim(0, max(len(piece[0]) for piece in pieces) / bar)
    rows[-1].set_xlabel("bar of the piece")
    rows[0].set_title(title, fontsize=10, loc="left", parse_math=False)
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


def plot_gradients(path, rows: list[dict]) -> None:
    """The norm of the gradient of each part of the network over steps, as it was at each validation."""
    figure = Figure(figsize=(8, 4.5))
    axes = figure.subplots()
    names = [name for name in rows[-1] if name.startswith("grad_")]
    for n, name in enumerate(names):
        points = [(row["step"], row[name]) for row in rows if row.get(name)]
        if points:  # none where a part never learned
            axes.plot(*zip(*points, strict=True), label=name[5:], ls=("-", "--", ":")[n // 10 % 3])
    axes.set_yscale("log")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("step")
    axes.set_ylabel("norm")
    axes.legend(frameon=False, fontsize=7, ncols=2)
    axes.set_title("norm of the gradient of each part", fontsize=10, loc="left")
    save(figure, path)


def plot_passage(path, passage: dict, config, title: str, read: bool = True) -> None:
    """A passage (minigen/run/passage.py) from top to bottom over its bars: the decisions, the loss of every cell, the
    reader's weights, each voice's distribution (on 88 keys the voices and keys that ever had a chance of 2%), the
    chances of the octaves. `read`: it was a song, and not played."""
    bar, T, C = config.bar, len(passage["struck"]), passage["P"].shape[1]
    at = (passage["first"] + np.arange(T)) / bar + 1
    P, x = passage["P"].clip(CLIP, 1 - CLIP), passage["cells"] > 0
    panels = [("the decisions", 2.0), ("nats of every cell", 2.0)]
    panels += [("the reader's weight on each lag", 1.3)] * ("w" in passage)
    panels += [("each voice's distribution", 3.5)] * ("voices" in passage)
    panels += [("the chances of the octaves", 2.0)] * ("octaves" in passage)
    figure = Figure(figsize=(10, 0.7 + sum(height for _, height in panels)), layout="constrained", dpi=100)
    heights = [height for _, height in panels]
    rows = figure.subplots(len(panels), 1, sharex=True, squeeze=False, height_ratios=heights)[:, 0]
    axes = dict(zip([name for name, _ in panels], rows, strict=True))
    extent = at[0], at[-1] + 1 / bar

    def shade(axes, values, top):
        """values (T, n) as an image, row 0 at the bottom."""
        axes.imshow(
            values.T, aspect="auto", origin="lower", cmap="Blues", vmin=0, vmax=top, interpolation="nearest",
            extent=(*extent, -0.5, values.shape[1] - 0.5),
        )  # fmt: skip

    words = ("right", "missed", "wrong") if read else ("played, likely", "played, unlikely", "likely, not played")
    decisions, likely = axes["the decisions"], P >= 0.5
    for where, colour, word in zip((x & likely, x & ~likely, ~x & likely), (DARK, AMBER, RED), words, strict=True):
        t, cell = np.nonzero(where)
        decisions.scatter(at[t] + 0.5 / bar, cell, s=5, marker="s", color=colour, label=word)
    decisions.legend(frameon=False, fontsize=7, ncols=3, loc="lower right", bbox_to_anchor=(1, 1), borderpad=0)
    decisions.set_ylim(-0.5, C - 0.5)
    shade(axes["nats of every cell"], -np.log(np.where(x, P, 1 - P)), 3)
    for name in ("the decisions", "nats of every cell"):
        _name_rows(axes[name], C)
    if "w" in passage:
        shade(axes["the reader's weight on each lag"], passage["w"], 1)
        axes["the reader's weight on each lag"].set_yticks(range(len(config.lags)), config.lags)
    if "voices" in passage:
        voices, outcomes = _worth_drawing(passage["voices"])
        V, O = len(voices), len(outcomes)
        panel = axes["each voice's distribution"]
        shade(panel, passage["voices"][:, voices[::-1]][..., outcomes].reshape(T, V * O), 1)
        panel.set_yticks([O * (V - 1 - n) + O / 2 for n in range(V)], [f"voice {v + 1}" for v in voices])
        names = dict(_rows_to_name(passage["voices"].shape[2]))
        named = [(O * v + row, names[k]) for v in range(V) for row, k in enumerate(outcomes) if k in names]
        panel.secondary_yaxis("right").set_yticks(*zip(*named, strict=True), fontsize=5)
        for v in range(1, V):
            panel.axhline(O * v - 0.5, color="#888888", lw=0.5)
    if "octaves" in passage:
        shade(axes["the chances of the octaves"], passage["octaves"], 1)
        _name_rows(axes["the chances of the octaves"], 88)
    for name, panel in axes.items():
        panel.set_title(name, fontsize=9, loc="left")
        panel.tick_params(labelsize=6 if name in ("the decisions", "nats of every cell") else 7)
    rows[-1].set_xlim(*extent)
    rows[-1].set_xticks(range(int(at[0]), int(at[-1]) + 2))
    rows[-1].set_xlabel("bar")
    figure.suptitle(title, fontsize=10, parse_math=False)
    save(figure, path, dpi=100)


def _worth_drawing(voices) -> tuple[list[int], list[int]]:
    """voices (T, V, n) -> which voices and outcomes to draw: on 88 keys those that ever have a chance of 2%, and the
    outcomes between them."""
    _, V, n = voices.shape
    keys = (voices[..., :88] > 0.02).any(axis=0)
    if n < 88 or not keys.any():
        return list(range(V)), list(range(n))
    low, high = np.flatnonzero(keys.any(axis=0))[[0, -1]]
    return list(np.flatnonzero(keys.any(axis=1))), [*range(low, high + 1), *range(88, n)]


def _rows_to_name(n: int) -> list[tuple[int, str]]:
    """(row, name) of some of the outcomes of a voice: n is K+1 with the pause, or 2K with the keys that are banned."""
    K = 12 if n < 88 else 88
    some = range(2, 12, 4) if K == 12 else range(15, 88, 24)
    named = [(k, NAMES[k] if K == 12 else key_name(k)) for k in some]
    return named + (
        [(K, "pause/stop" if K == 88 else "pause")] if n == K + 1 else [(K + k, f"no {name}") for k, name in named]
    )


def _name_rows(axes, cells: int) -> None:
    """Classes by their names, keys by their octaves, the cell of the empty step."""
    if cells < 88:
        axes.set_yticks(range(cells), [*NAMES, "empty"][:cells], fontsize=6)
    else:
        axes.set_yticks(range(3, 88, 12), [f"C{n + 1}" for n in range(8)])


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
