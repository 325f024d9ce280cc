"""A run folder, and all that training writes into it."""

import csv
import io
from pathlib import Path

from minigen import checkpoint, sample
from minigen.adam import Moments
from minigen.backend import array_module, to_host
from minigen.files import write_atomically
from minigen.midi import write_midi
from minigen.plots import plot_loss
from minigen.train import Run


class Folder:
    """The run folder, and all that is written into it."""

    def __init__(self, path: Path, model, state: Run, about: dict, baselines: dict, song):
        self.path, self.model, self.state, self.about, self.baselines = path, model, state, about, baselines
        self.song = song if model.follows else None  # whose classes are played

    def save(self, name: str) -> None:
        params, moments = self.state.params, self.state.moments
        about = self.about | {
            "metrics": self.state.rows[-1] | {"baselines": self.baselines},
            "training": self.state.counters(),
        }
        moments = Moments(to_host(moments.m), to_host(moments.v), moments.step)
        checkpoint.save(self.path / name, self.model, params.with_flat(to_host(params.flat)), moments, **about)

    def back_to_best(self) -> None:
        """A lower rate goes on from the best weights and their moments: what came after them was not learning."""
        best, xp = checkpoint.load(self.path / "best.npz"), array_module(self.state.params.flat)
        self.state.params = best.params.with_flat(xp.asarray(best.params.flat))
        self.state.moments = Moments(xp.asarray(best.moments.m), xp.asarray(best.moments.v), best.moments.step)

    def report(self) -> None:
        text = io.StringIO()
        writer = csv.DictWriter(text, self.state.rows[0])
        writer.writeheader()
        writer.writerows(self.state.rows)
        write_atomically(self.path / "metrics.csv", lambda file: file.write(text.getvalue().encode()))
        plot_loss(self.path / "loss.png", self.state.rows, self.baselines, "nats a cell")

    def play(self, seed: int) -> None:
        """A piece of 16 bars by the weights as they are, where they are."""
        trained = checkpoint.Trained(self.model, self.state.params, {}, None)
        write_midi(self.path / f"sample-{self.state.step:06}.mid", sample.generate(trained, 16, seed, self.song))
