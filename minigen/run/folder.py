"""A run folder: how it begins, and all that training writes into it."""

import itertools
import json
from pathlib import Path

from minigen.adam import Moments
from minigen.backend import array_module, to_host
from minigen.errors import MinigenError, attempt, command, plural, printable, quoted
from minigen.files import lock, opened, write_atomically, write_csv
from minigen.music.alike import repeats
from minigen.music.baseline import too_large
from minigen.music.dataset import Dataset
from minigen.music.grid import MOVED
from minigen.music.midi_out import write_midi
from minigen.music.songset import SongSet
from minigen.run import checkpoint, sample
from minigen.run.crash import save_crash
from minigen.run.passage import read
from minigen.run.ranks import Ranks
from minigen.run.train import NotFinite, Run, inputs_of
from minigen.run.web import report_page

SHOWN = 8  # refused files, and warnings, on the screen


def new_folder(asked: Path | None, name: str, sources) -> Path:
    """The folder asked for, or runs/NAME, runs/NAME-2, ..., made and locked (`check_out`)."""
    names = (Path("runs") / (name if n == 1 else f"{name}-{n}") for n in itertools.count(1))
    path = asked or next(path for path in names if not path.exists())
    check_out(path, sources)
    path.mkdir(parents=True, exist_ok=True)
    take(path)
    return path


def check_out(path: Path, sources) -> None:
    """Raises MinigenError where a folder holds a run, or lies in a folder whose music is learned."""
    if (path / "config.json").exists():
        raise MinigenError(f"{path} holds a run already: {quoted('--resume', path)}, or choose another --out")
    for source in map(Path, sources):
        if source.is_dir() and source.resolve() in (path.resolve(), *path.resolve().parents):
            raise MinigenError(f"{path} lies in {source}, whose music is searched: its samples would be learned. "
                               "Choose another --out")  # fmt: skip


def take(folder: Path) -> None:
    """Lock a run folder for this process, and clear away what one that was killed left in it."""
    lock(folder)
    for part in folder.glob("*.part"):
        part.unlink()


def kept_arguments(folder: Path, names) -> tuple[dict, str]:
    """The arguments that a run was started with, and its command."""
    try:
        with opened(folder / "config.json", 2**20) as file:
            kept = json.load(file)
        return {name: kept["arguments"].get(name) for name in names}, str(kept["command"])
    except PermissionError:
        raise
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise MinigenError(f"{folder} is not a run folder: name one that scripts/train.py wrote") from error


def check_grid(songs: SongSet, config, remedy: str) -> None:
    """Raises MinigenError, with this remedy or the flags that are wanted, where songs are not what a model plays."""
    if (songs.metre, songs.held) == (config.metre, config.held):
        return
    theirs, its = (f"{'held' if grid.held else 'struck'} notes in {grid.metre}" for grid in (songs, config))
    flags = [f"--metre {songs.metre}"] * (songs.metre != config.metre)
    flags += [f"--set held={str(songs.held).lower()}"] * (songs.held != config.held)
    raise MinigenError(
        f"these songs are {theirs} and the model plays {its}: {remedy or 'train with ' + ' '.join(flags)}"
    )


def print_found(songs: SongSet) -> None:
    """What was refused, and what to know about the songs that are used."""
    for refused, reason in songs.refused[:SHOWN]:
        print(printable(f"refused {refused}: {reason}"))
    if songs.refused[SHOWN:]:
        print(f"... and {len(songs.refused) - SHOWN} more")
    for name, warning in songs.warnings[:SHOWN]:
        print(printable(f"take care, {name}: {warning}"))
    if songs.warnings[SHOWN:]:
        print(f"... and {len(songs.warnings) - SHOWN} more such lines")
    moved = sum(MOVED in warning for _, warning in songs.warnings)
    if moved:
        print(f"take care: {moved} of {len(songs)} songs do not fit the grid of 16ths; their onsets are moved onto it")


def print_songs(parts: list[SongSet], train: list, valid: list, data: Dataset, c, in_order: bool, path: Path) -> None:
    """What is learned and held out; every refused file of these parts of the music with its reason, and every warning,
    goes into the run folder."""
    for kind in ("refused", "warnings"):
        listed = sum((getattr(part, kind) for part in parts), [])
        lines = "".join(f"{name}: {sentence}\n" for name, sentence in listed).encode("utf-8", "backslashreplace")
        write_atomically(path / f"{kind}.txt", lambda file, lines=lines: file.write(lines))
        if listed[SHOWN:]:
            print(f"all {kind} are listed in {path / kind}.txt")
    songs, fragments = plural(len(train) + len(valid), "song"), plural(len(data), "fragment")
    print(f"{songs}: {len(train)} to train on give {fragments}, {len(valid)} are held out")
    print(f"run folder {path}")
    both = repeats([*train, *valid])[len(train) :] if parts[1:] else []  # `split` has seen to it otherwise
    learned = sum(of is not None and of[1] < len(train) for of in both)
    if learned:
        print(f"take care: {plural(learned, 'held-out song')} of {len(valid)} are songs to train on too")
    most = c.voices - in_order  # of ordered voices the last can only stop
    share = too_large(train + valid, most, c.keys) if c.voices else 0
    if share:
        print(f"{share:.2%} of the struck steps have more than {most} different notes, which cannot be played")


class Folder:
    """What training writes into its run folder."""

    def __init__(self, path: Path, model, state: Run, about: dict, baselines: dict, song, ranks: Ranks):
        self.path, self.model, self.state, self.about, self.baselines = path, model, state, about, baselines
        self.ranks = ranks  # the first of which writes
        self.example = song
        self.song = song if model.needs_classes else None  # whose classes are played
        self.drawn = self.played = self.reported = True  # so far: what cannot be written is said once

    def begin(self, config: dict) -> None:
        """The weights before the first step, then config.json: a folder that has it can be resumed."""
        if not (self.path / "last.npz").exists() or not (self.path / "config.json").exists():
            self.save("last.npz")
        text = (json.dumps(config, indent=1) + "\n").encode()
        write_atomically(self.path / "config.json", lambda file: file.write(text))

    def save_all(self, verdict: str) -> None:
        """The weights, after `report`: metrics.csv has the row of whatever last.npz a killed run leaves.

        judged.npz is where `judge` found a best, and a lower rate goes on from it; best.npz has the lowest held-out
        loss of all rows, also of one that was not judged because the run ended there, or of those since it was lost.
        """
        *before, last = (row["valid_loss"] for row in self.state.rows)
        if verdict == "best" or not before:
            self.save("judged.npz")
        if last < min(before, default=float("inf")) or not (self.path / "best.npz").exists():
            self.save("best.npz")
        self.save("last.npz")

    def save(self, name: str) -> None:
        params, moments = self.state.average, self.state.moments
        raw = None if name == "best.npz" else to_host(self.state.params.flat)  # it plays, and need not be resumed
        row = self.state.rows[-1] if self.state.rows else {}
        about = self.about | {"metrics": row | {"baselines": self.baselines}, "training": self.state.counters()}
        moments = Moments(to_host(moments.m), to_host(moments.v), moments.step)
        checkpoint.save(self.path / name, self.model, params.with_flat(to_host(params.flat)), moments, raw, **about)

    def back_to_best(self) -> None:
        """A lower rate goes on from the best weights and their moments: what came after them was not learning.
        For all ranks to call together: the first reads and sends it to the others."""
        judged = self.path / "judged.npz"  # best.npz in the folders of older runs
        best = None if self.ranks.rank else checkpoint.load(judged if judged.exists() else judged.with_name("best.npz"))
        mean, raw, moments = self.ranks.broadcast(best and (best.params.flat, best.raw, best.moments))
        xp = array_module(self.state.params.flat)
        self.state.average = self.state.params.with_flat(xp.asarray(mean))
        self.state.params = self.state.params.with_flat(xp.asarray(mean if raw is None else raw))
        self.state.moments = Moments(xp.asarray(moments.m), xp.asarray(moments.v), moments.step)

    def crashed(self, error: NotFinite, data: Dataset, seed: int, batch: int, meta, kernels: str) -> MinigenError:
        """What to raise where numbers blew up: the first rank leaves the step, the whole batch of it, in crash.npz."""
        state, path, kept = self.state, self.path / "crash.npz", False
        if not self.ranks.rank:
            inputs = inputs_of(self.model, data, seed, state.step, range(batch), meta)
            about = seed, state.step, state.rate, meta
            kept = attempt(f"the step {path}", lambda: save_crash(path, self.model, state.params, *inputs, *about))
        if not self.ranks.broadcast(kept):  # the others wait until it is written
            return error
        again = command("train", "--resume", path, *["--kernels", kernels] * (kernels != "auto"))
        return MinigenError(f"{error}. Look into this step: {again}", code=3)

    def report(self) -> None:
        write_csv(self.path / "metrics.csv", self.state.rows)

    def draw(self) -> None:
        """The pictures: of the losses, of the gradients, of what the weights make of a held-out song."""
        c, step = self.model.config, self.state.step
        loss, passage = self.path / "loss.png", self.path / f"passage-{step:06}.png"
        title = f"{self.model.name} after {step} steps: the beginning of a held-out song"

        def pictures():
            # loaded for the first picture: matplotlib takes longer to load than all the rest
            from minigen.run.plots import plot_gradients, plot_loss, plot_passage

            plot_loss(loss, self.state.rows, self.baselines, self.model.unit)
            plot_gradients(self.path / "gradients.png", self.state.rows)
            plot_passage(passage, read(self.model, self.state.average, self.example, c.fragment), c, title)

        self.drawn = attempt(f"the picture {loss} or {passage}", pictures, quiet=not self.drawn)

    def play(self, seed: int) -> None:
        """A piece of 16 bars by the weights as they are, where they are, with the same uniforms each time."""
        trained = checkpoint.Trained(self.model, self.state.average, {}, None)
        path, metre = self.path / f"sample-{self.state.step:06}.mid", self.model.config.metre

        def write():
            roll = sample.generate(trained, 16, seed, self.song)
            write_midi(path, roll, sounding=sample.sounding_of(trained, roll, seed), metre=metre)

        self.played = attempt(f"the piece {path}", write, quiet=not self.played)

    def write_page(self) -> None:
        """report.html, for a browser."""
        path = self.path / "report.html"

        def write():
            page = report_page(self.path, self.model, self.about, self.state.rows, self.baselines).encode()
            write_atomically(path, lambda file: file.write(page))

        self.reported = attempt(f"the report {path}", write, quiet=not self.reported)
