"""Train a model on your own MIDI, or on what minigen brings along.

python scripts/train.py                                   the songs in samples/songs
python scripts/train.py --corpus bach --minutes 3         the chorales that music21 carries
python scripts/train.py my_midi/ --model final            a folder (searched recursively), a file, a song set (.npz)
python scripts/train.py --resume runs/bach                go on where a run stopped
python scripts/train.py my_midi/ --init samples/chorales.npz    go on from a checkpoint, with other music
"""

import csv
import itertools
import json
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tqdm import tqdm

from minigen import checkpoint, metrics, sample
from minigen.adam import Moments
from minigen.backend import array_module, use_device, use_kernels
from minigen.corpus import CORPORA, find_songs
from minigen.dataset import Dataset, split, trim
from minigen.errors import MinigenError, Parser, Stop, finite, run
from minigen.ladder import LADDER, rung
from minigen.midi import write_midi
from minigen.plots import plot_loss
from minigen.train import Run, judge, update, validate

SHOWN = 8  # refused files named on the screen
EVERY = 25  # steps from one validation to the next
PATIENCE = 150  # steps without a better validation before the rate falls
LICENCES = {
    "songs": "CC0 1.0 (trained on minigen's own songs)",
    "bach": "weights CC0 1.0; trained on chorales encoded in music21, none of which is stored here",
}
KEPT = ("sources", "corpus", "model", "batch", "rate", "seed", "valid", "max_tracks", "max_tempos")  # for --resume


def arguments():
    parser = Parser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("sources", nargs="*", metavar="FOLDER|FILE|SONGSET", help="MIDI, or song sets (.npz)")
    add("--corpus", choices=CORPORA, help="a corpus instead of files (default: songs)")
    add("--model", choices=list(LADDER), help="default: final")
    add("--steps", type=finite(1, 1e9, int), help="stop after this many steps in all")
    add("--minutes", type=finite(0.001, 1e6), help="stop after this long, counted from the first step")
    add("--batch", type=finite(1, 4096, int), default=64, help="fragments a step")
    add("--rate", type=finite(1e-8, 1), default=0.01, help="Adam's rate at the start")
    add("--seed", type=finite(0, 2**63 - 1, int), default=0)
    add("--device", choices=["auto", "cpu", "cuda"], default="auto")
    add("--kernels", choices=["reference", "fast", "auto"], default="auto")
    add("--threads", type=finite(1, 4096, int), help="default: one a core")
    add("--valid", type=finite(0.001, 0.9), default=0.1, help="share of the songs held out")
    add("--max-tracks", type=finite(1, 10**4, int), help="refuse files with more tracks that have notes")
    add("--max-tempos", type=finite(0, 10**6, int), help="refuse files with more tempo changes")
    add("--out", type=Path, help="run folder (default runs/NAME)")
    add("--resume", type=Path, metavar="RUN", help="go on where this run stopped, with its own settings")
    add("--init", type=Path, metavar="CHECKPOINT", help="start from these weights")
    args = parser.parse_args()
    if args.sources and args.corpus:
        raise MinigenError("files and --corpus were both given: choose one")
    if args.resume and (args.sources or args.corpus or args.init or args.out):
        raise MinigenError("--resume goes on with the run's own music and folder: leave out the rest, or use --init")
    if args.resume:
        try:
            kept = json.loads((args.resume / "config.json").read_text())["arguments"]
            vars(args).update({name: kept[name] for name in KEPT})
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise MinigenError(f"{args.resume} is not a run folder: name one that scripts/train.py wrote") from error
    return args


def start(args, xp):
    """The model, a run at its beginning or where it stopped, and what music a resumed run was trained on."""
    if args.resume or args.init:
        trained = checkpoint.load(args.resume / "last.npz" if args.resume else args.init)
        model, params = trained.model, trained.params
        if args.init and args.model not in (None, model.name):
            raise MinigenError(f"{args.init} is a {model.name} and not a {args.model}: leave out --model")
    else:
        model = rung(args.model or "final")
        params = model.init(args.seed)
    params = params.with_flat(xp.asarray(params.flat))
    state = Run(params, Moments.of(params.flat), args.rate)
    if args.resume:
        moments = trained.moments
        state = Run(params, Moments(xp.asarray(moments.m), xp.asarray(moments.v), moments.step), 0)
        vars(state).update(trained.header["training"])
        with open(args.resume / "metrics.csv", newline="") as file:
            state.rows = [{k: json.loads(v) for k, v in row.items()} for row in csv.DictReader(file)]
        state.rows = [row for row in state.rows if row["step"] <= state.step]
        return model, state, trained.header["data"]
    return model, state, None


class Folder:
    """A run folder: config.json, metrics.csv, last.npz, best.npz, loss.png, sample-STEP.mid."""

    def __init__(self, path: Path, model, state: Run, about: dict, baselines: dict):
        self.path, self.model, self.state, self.about, self.baselines = path, model, state, about, baselines

    def save(self, name: str) -> None:
        row = self.state.rows[-1] if self.state.rows else {}
        about = self.about | {"metrics": row | {"baselines": self.baselines}, "training": self.state.counters()}
        checkpoint.save(self.path / name, self.model, self.state.params, self.state.moments, **about)

    def back_to_best(self) -> None:
        """A lower rate goes on from the best weights and their moments: what came after them was not learning."""
        best, xp = checkpoint.load(self.path / "best.npz"), array_module(self.state.params.flat)
        self.state.params = best.params.with_flat(xp.asarray(best.params.flat))
        self.state.moments = Moments(xp.asarray(best.moments.m), xp.asarray(best.moments.v), best.moments.step)

    def report(self) -> None:
        rows = self.state.rows
        with open(self.path / "metrics.csv", "w", newline="") as file:
            writer = csv.DictWriter(file, rows[0])
            writer.writeheader()
            writer.writerows(rows)
        plot_loss(self.path / "loss.png", rows, self.baselines, "nats a cell")

    def play(self, seed: int) -> None:
        """A piece of 16 bars by the weights as they are."""
        trained = checkpoint.Trained(self.model, self.state.params, {}, None)
        write_midi(self.path / f"sample-{self.state.step:06}.mid", sample.generate(trained, 16, seed))


def loop(args, model, state: Run, folder: Folder, data: Dataset, valid: list) -> int:
    """Train until the budget, the lowest rate or a signal ends it; returns the exit code."""
    stop, began, before = Stop(), time.monotonic(), sum(row["seconds"] for row in state.rows[-1:])
    first, mean, shown = state.step, {}, state.rows[-1]["valid_loss"] if state.rows else float("nan")
    bar = tqdm(total=100, bar_format="{percentage:3.0f}%|{bar:20}| {postfix}", disable=None, leave=False)
    ended = ""
    while not ended:
        losses = update(model, state, data, args.seed, range(args.batch))
        spent = time.monotonic() - began
        mean = {name: 0.9 * mean.get(name, value) + 0.1 * value for name, value in losses.items()}
        done = max((state.step - first) / (args.steps - first) if args.steps else 0, spent / (args.minutes or 1e9) / 60)
        speed = (state.step - first) / spent
        bar.n = min(100, 100 * done)
        left = f", {spent / done - spent:.0f} s left" if args.steps or args.minutes else ""
        bar.set_postfix_str(
            f"step {state.step} loss {mean['loss']:.4f} held-out {shown:.4f}, {speed:.2f} steps/s{left}"
        )
        ended = "stopped" if stop.code else "done" if done >= 1 else ""
        if state.step % EVERY and not ended:
            continue
        found = validate(model, state.params, valid, args.seed)
        shown = found["loss"]
        rate = state.rate
        verdict = judge(state, shown, PATIENCE)
        train = {f"train_{name}": value for name, value in mean.items()}
        row = {"step": state.step, "seconds": before + spent, "rate": rate, **train}
        state.rows.append(row | {f"valid_{name}": value for name, value in found.items()})
        bar.write(
            f"step {state.step:5}  training {mean['voices']:.4f} + {mean['decoder']:.4f}  held-out "
            f"{found['voices']:.4f} + {found['decoder']:.4f}  rate {rate:g}  {speed:.2f} steps/s  {verdict}",
            file=sys.stdout,
        )
        if verdict == "best":
            folder.save("best.npz")
        elif verdict == "lowered":
            folder.back_to_best()
        folder.save("last.npz")
        folder.report()
        if state.step % (10 * EVERY) == 0 or ended:
            folder.play(args.seed)
        ended = ended or ("flat" if verdict == "over" else "")
    bar.close()
    if ended == "flat":
        print("validation is flat at the lowest rate")
    if stop.code:
        print(f"stopped and saved: python scripts/train.py --resume {folder.path}")
    return stop.code


def run_folder(args, name: str) -> Path:
    """The run's folder: the one resumed, the one asked for, or runs/NAME, runs/NAME-2, ..."""
    if args.resume:
        return args.resume
    if args.out and (args.out / "last.npz").exists():
        raise MinigenError(f"{args.out} holds a run already: --resume {args.out}, or choose another --out")
    names = (Path("runs") / (name if n == 1 else f"{name}-{n}") for n in itertools.count(1))
    return args.out or next(path for path in names if not path.exists())


def tell(songs, train, valid, data: Dataset, c, path: Path) -> None:
    """What was found; every refused file with its reason goes into the run folder."""
    for refused, reason in songs.refused[:SHOWN]:
        print(f"refused {refused}: {reason}")
    if songs.refused[SHOWN:]:
        print(f"... and {len(songs.refused) - SHOWN} more, listed in {path / 'refused.txt'}")
    lines = [f"{refused}: {reason}\n" for refused, reason in songs.refused]
    (path / "refused.txt").write_text("".join(lines), encoding="utf-8")
    print(f"{len(songs)} songs: {len(train)} to train on give {len(data)} fragments, {len(valid)} are held out")
    share = metrics.too_large(songs.rolls, c.voices, c.keys)
    print(f"{share:.2%} of the struck steps have more than {c.voices} different notes, which cannot be played")


def main():
    args = arguments()
    xp, device = use_device(args.device)
    kernels = use_kernels(args.kernels, args.threads, print)
    songs, name = find_songs(args.sources, args.corpus, args.max_tracks, args.max_tempos, say=print)
    model, state, before = start(args, xp)
    c = model.config
    if (songs.steps_a_bar, songs.held) != (c.steps_a_bar, c.held):
        raise MinigenError(f"these songs have another grid than {model.name} was made for: convert them first")
    train, valid = split(songs, args.seed, args.valid)
    data = Dataset(train.rolls, c.past, c.fragment, c.hop, c.key_shift, c.steps_a_bar)
    valid_rolls = [trim(roll, c.steps_a_bar) for roll in valid.rolls]

    music = f"{name}: {len(train)} songs to train on, {len(valid)} held out, {len(data)} fragments"
    if before not in (None, music):
        raise MinigenError(f"the music of this run was {before!r} and is now {music!r}: use --init to go on with other")
    path = run_folder(args, f"{name}-{model.name}")
    path.mkdir(parents=True, exist_ok=True)
    if not args.resume:
        kept = {key: getattr(args, key) for key in KEPT}
        (path / "config.json").write_text(json.dumps({"arguments": kept, "config": c.as_json()}, indent=1) + "\n")
    tell(songs, train, valid, data, c, path)
    print(f"model {model.name}, {state.params.flat.size:,} parameters; device {device}; kernels {kernels}")
    baselines = metrics.baselines(data.rolls, valid_rolls, c.keys, c.loss == "pause")
    print("held-out nats a cell to beat: " + ", ".join(f"{name} {value:.4f}" for name, value in baselines.items()))
    about = {
        "data": music,
        "split": {"seed": args.seed, "valid": args.valid},
        "licence": LICENCES.get(name, "that of the music it was trained on"),
        "command": " ".join(["python", "scripts/train.py", *sys.argv[1:]]),
    }
    code = loop(args, model, state, Folder(path, model, state, about, baselines), data, valid_rolls)
    print(f"best held-out loss {state.best:.4f} at step {state.best_step}; the run is in {path}")
    print(f"hear it: python scripts/sample.py {path / 'best.npz'}")
    return code


if __name__ == "__main__":
    run(main)
