"""What the claims share: training, one batch of held-out songs, figures over seeds, and the parts of a picture."""

from contextlib import contextmanager

import numpy as np
from matplotlib.figure import Figure

from minigen.music.corpus import learned_and_held_out
from minigen.music.dataset import Dataset, whole_songs
from minigen.run.plots import save
from minigen.run.train import learn

BATCH, RATE = 16, 0.003
DARK, PALE = "#1f4e79", "#b7cadd"
COLOURS = ("#9db4c0", DARK, "#f2a541", "#a3c585", "#3b7d3b")


def trained(model, seed: int, minutes: float, corpus: str = "bach", quiet: bool = True):
    """A rung trained on a corpus for so many minutes of one core, with a quiet start if not told otherwise -> its run,
    the songs learned, those held out."""
    learned, held_out = learned_and_held_out(corpus)
    model = model.quiet(learned) if quiet else model
    return learn(model, Dataset.of(learned, model.config), seed, BATCH, RATE, minutes=minutes), learned, held_out


def evaluate(model, params, songs, grad: bool = False):
    """`model.loss` of songs side by side, with the same draws each time -> batch, loss, gradients (or None), trace."""
    _, batch = next(whole_songs(songs, model.config.past, max(map(len, songs))))
    T, B = batch["mask"].shape
    return batch, *model.loss(params, batch, model.draws(0, "claims", 0, range(B), T), grad=grad)[:3]


def over_seeds(results: list[dict]) -> dict:
    """results[seed][part][figure] -> {part: {figure: [its value for each seed]}}."""
    return {part: {name: [seed[part][name] for seed in results] for name in results[0][part]} for part in results[0]}


@contextmanager
def picture(path, size: tuple, *panels: dict, rows: int = 1):
    """A figure whose panels have these titles, labels and limits; yields the panels, and writes the PNG at the end."""
    figure = Figure(size, layout="constrained")
    axes = figure.subplots(rows, len(panels) // rows, squeeze=False).ravel()
    for panel, settings in zip(axes, panels, strict=True):
        panel.set(**settings)
        panel.title.set_fontsize(10)
    yield axes
    save(figure, path)


def curves(panel, groups: dict[str, list], x=None, **style) -> None:
    """A colour for each group, in it a curve for each seed, and a legend."""
    for (label, group), colour in zip(groups.items(), COLOURS, strict=False):
        for n, y in enumerate(group):
            panel.plot(range(len(y)) if x is None else x, y, color=colour, label=None if n else label, **style)
    panel.legend(frameon=False, fontsize=8)


def bars(panel, groups: dict[str, list]) -> None:
    """A bar for each group, its mean, and in it a dot for each value, the lowest on the left."""
    for n, group in enumerate(groups.values()):
        panel.bar(n, np.mean(group), color=PALE)
        panel.plot(n + np.linspace(-0.2, 0.2, len(group)), np.sort(group), ".", color=DARK)
    panel.set_xticks(range(len(groups)), [label.replace(" ", "\n", 1) for label in groups], fontsize=8)
