"""A run folder, and all that training writes into it."""

import csv
import io
import itertools
import json
from pathlib import Path

from minigen.adam import Moments
from minigen.backend import array_module, to_host
from minigen.errors import MinigenError
from minigen.files import write_atomically
from minigen.music import metrics
from minigen.music.dataset import Dataset
from minigen.music.midi import write_midi
from minigen.music.songset import SongSet
from minigen.run import checkpoint, sample
from minigen.run.plots import plot_loss
from minigen.run.ranks import Ranks
from minigen.run.train import Run

SHOWN = 8  # refused files named on the screen


def run_folder(args, name: str, config: dict) -> Path:
    """The run's folder: the one resumed; or the one asked for, or runs/NAME, runs/NAME-2, ..., with its config.json."""
    if args.resume:
        return args.resume
    if args.out and (args.out / "last.npz").exists():
        raise MinigenError(f"{args.out} holds a run already: --resume {args.out}, or choose another --out")
    names = (Path("runs") / (name if n == 1 else f"{name}-{n}") for n in itertools.count(1))
    path = args.out or next(path for path in names if not path.exists())
    for source in map(Path, args.sources):
        if source.is_dir() and source.resolve() in (path.resolve(), *path.resolve().parents):
            raise MinigenError(f"{path} lies in {source}, whose music is searched: its samples would be learned. "
                               "Choose another --out")  # fmt: skip
    path.mkdir(parents=True, exist_ok=True)
    (path / "config.json").write_text(json.dumps(config, indent=1) + "\n", encoding="utf-8")
    return path


def print_refused(songs: SongSet) -> None:
    for refused, reason in songs.refused[:SHOWN]:
        print(f"refused {refused}: {reason}")
    if songs.refused[SHOWN:]:
        print(f"... and {len(songs.refused) - SHOWN} more")


def print_songs(songs: SongSet, train: SongSet, valid: SongSet, data: Dataset, c, path: Path) -> None:
    """What was found; every refused file with its reason goes into the run folder."""
    if songs.refused[SHOWN:]:
        print(f"all that were refused are listed in {path / 'refused.txt'}")
    lines = "".join(f"{refused}: {reason}\n" for refused, reason in songs.refused)
    (path / "refused.txt").write_text(lines, encoding="utf-8", errors="backslashreplace")
    print(f"{len(songs)} songs: {len(train)} to train on give {len(data)} fragments, {len(valid)} are held out")
    share = metrics.too_large(songs.rolls, c.voices, c.keys) if c.voices else 0
    if share:
        print(f"{share:.2%} of the struck steps have more than {c.voices} different notes, which cannot be played")


class Folder:
    """The run folder, and all that is written into it."""

    def __init__(self, path: Path, model, state: Run, about: dict, baselines: dict, song, ranks: Ranks):
        self.path, self.model, self.state, self.about, self.baselines = path, model, state, about, baselines
        self.ranks = ranks  # the first of which writes
        self.song = song if model.needs_classes else None  # whose classes are played

    def save_all(self, verdict: str) -> None:
        """The weights, after `report`: metrics.csv has the row of whatever last.npz a killed run leaves.

        judged.npz is where `judge` found a best, and a lower rate goes on from it; best.npz has the lowest held-out
        loss of all rows, also of one that was not judged because the run ended there.
        """
        *before, last = (row["valid_loss"] for row in self.state.rows)
        if verdict == "best" or not before:
            self.save("judged.npz")
        if last < min(before, default=float("inf")):
            self.save("best.npz")
        self.save("last.npz")

    def save(self, name: str) -> None:
        params, moments = self.state.params, self.state.moments
        about = self.about | {
            "metrics": self.state.rows[-1] | {"baselines": self.baselines},
            "training": self.state.counters(),
        }
        moments = Moments(to_host(moments.m), to_host(moments.v), moments.step)
        checkpoint.save(self.path / name, self.model, params.with_flat(to_host(params.flat)), moments, **about)

    def back_to_best(self) -> None:
        """A lower rate goes on from the best weights and their moments: what came after them was not learning.
        For all ranks to call together: the first reads and sends it to the others."""
        judged = self.path / "judged.npz"  # best.npz in the folders of older runs
        best = None if self.ranks.rank else checkpoint.load(judged if judged.exists() else judged.with_name("best.npz"))
        flat, moments = self.ranks.broadcast(best and (best.params.flat, best.moments))
        xp = array_module(self.state.params.flat)
        self.state.params = self.state.params.with_flat(xp.asarray(flat))
        self.state.moments = Moments(xp.asarray(moments.m), xp.asarray(moments.v), moments.step)

    def report(self) -> None:
        text = io.StringIO()
        writer = csv.DictWriter(text, self.state.rows[0])
        writer.writeheader()
        writer.writerows(self.state.rows)
        write_atomically(self.path / "metrics.csv", lambda file: file.write(text.getvalue().encode()))
        plot_loss(self.path / "loss.png", self.state.rows, self.baselines, "nats per cell")

    def play(self, seed: int) -> None:
        """A piece of 16 bars by the weights as they are, where they are."""
        trained = checkpoint.Trained(self.model, self.state.params, {}, None)
        write_midi(self.path / f"sample-{self.state.step:06}.mid", sample.generate(trained, 16, seed, self.song))
