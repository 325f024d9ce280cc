"""Train a model on your own MIDI, or on what minigen brings along.

    python scripts/train.py                                   the songs in samples/songs
    python scripts/train.py --corpus bach --minutes 3         the chorales that music21 carries
    python scripts/train.py my_midi/ --model pause-loss       a folder (searched recursively), a file, a song set (.npz)
    python scripts/train.py --resume runs/bach-final          go on where a run stopped
    python scripts/train.py my_midi/ --init samples/chorales.npz    go on from a checkpoint, with other music
    python scripts/train.py --model pause-loss --meta 1 --batch 8   weights that know they will be finetuned
    mpiexec -n 2 python scripts/train.py                      two processes, half of every batch each

It prints a line every 25 steps: training loss and held-out loss (cells + decoder, nats per cell), the rate, the speed:

    step   150  training 0.1703 + 0.0186  held-out 0.1623 + 0.0173  rate 0.01  3.11 steps/s  best

The rate is multiplied by 0.3 when no held-out loss of 150 steps was the best so far, and training then goes on from
the best weights; at 1e-5 it ends. The run folder holds config.json, metrics.csv, last.npz, best.npz, judged.npz,
loss.png, refused.txt and a piece every 250 steps.
"""

import csv
import json
import shlex
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tqdm import tqdm

from minigen.adam import Moments
from minigen.backend import use_device
from minigen.errors import MinigenError, Parser, Stop, number, run
from minigen.kernels import CHOICES, use_kernels
from minigen.ladder import LADDER, rung
from minigen.music import metrics
from minigen.music.corpus import CORPORA, find_songs
from minigen.music.dataset import Dataset, split, trim
from minigen.run import checkpoint
from minigen.run.folder import Folder, print_refused, print_songs, run_folder
from minigen.run.meta import AHEAD, Meta, check
from minigen.run.ranks import Ranks, together
from minigen.run.train import COUNTERS, Run, judge, update, validate

READ = 5  # steps from one reading of the losses to the next, for which a GPU is waited for; divides EVERY
EVERY = 25  # steps from one validation to the next
PATIENCE = 150  # steps without a better validation before the rate falls
LICENCES = {
    "songs": "CC0 1.0 (trained on minigen's own songs)",
    "bach": "weights CC0 1.0; trained on chorales encoded in music21, none of which is stored here",
}
DEFAULTS = {"model": "final", "batch": 64, "rate": 0.01, "seed": 0, "valid": 0.1, "meta_rate": 1.0}
# what a resumed run takes from its config.json
KEPT = ("sources", "corpus", "max_tracks", "max_tempos", "meta", "first_order", *DEFAULTS)


def arguments():
    parser = Parser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("sources", nargs="*", metavar="FOLDER|FILE|SONGSET", help="MIDI, or song sets (.npz)")
    add("--corpus", choices=CORPORA, help="a corpus instead of files (default: songs)")
    add("--model", choices=list(LADDER), help="default: final")
    add("--set", action="append", metavar="NAME=VALUE", help="another configuration: hidden=50, delays=4,8, loss=pause")
    add("--steps", type=number(1, 1e9, int), help="stop after this many steps in all")
    add("--minutes", type=number(0.001, 1e6), help="stop after this long from the first step (default: when flat)")
    add("--batch", type=number(1, 4096, int), help="fragments per step (default: 64)")
    add("--rate", type=number(1e-8, 1), help="Adam's rate at the start (default: 0.01)")
    add("--seed", type=number(0, 2**63 - 1, int), help="default: 0")
    add("--device", choices=["auto", "cpu", "cuda"], default="auto")
    add("--kernels", choices=CHOICES[:3], default="auto", help="the array code, or a kernel behind each layer")
    add("--threads", type=number(1, 4096, int), help="default: one per core; ranks share the cores")
    add("--valid", type=number(0.001, 0.9), help="share of the songs held out (default: 0.1)")
    add("--max-tracks", type=number(1, 10**4, int), help="refuse files with more tracks that have notes")
    add("--max-tempos", type=number(0, 10**6, int), help="refuse files with more tempo changes")
    add("--out", type=Path, help="run folder (default runs/NAME)")
    add("--resume", type=Path, metavar="RUN", help="go on where this run stopped, with its own settings")
    add("--init", type=Path, metavar="CHECKPOINT", help="start from these weights")
    add("--meta", type=number(1, 100, int), metavar="STEPS", help="learn to be finetuned: through so many inner steps")
    add("--meta-rate", type=number(1e-6, 1e3), help="rate of the inner steps (default: 1)")
    add("--first-order", action="store_true", default=None, help="with --meta: leave the Hessian out")
    args = parser.parse_args()
    if not args.meta and (args.meta_rate or args.first_order) and not args.resume:
        raise MinigenError("--meta-rate and --first-order are for --meta: say through how many inner steps")
    if args.sources and args.corpus:
        raise MinigenError("files and --corpus were both given: choose one")
    args.command = shlex.join(["python", "scripts/train.py", *sys.argv[1:]])
    if args.resume:
        given = [name for name in (*KEPT, "set", "init", "out") if getattr(args, name) not in (None, [])]
        if given:
            raise MinigenError(f"--resume goes on with the run's own {given[0]}: leave it out, or use --init")
        try:
            kept = json.loads((args.resume / "config.json").read_text(encoding="utf-8"))
            vars(args).update({name: kept["arguments"][name] for name in KEPT})
            args.command = f"{kept['command']}; then {args.command}"
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise MinigenError(f"{args.resume} is not a run folder: name one that scripts/train.py wrote") from error
    defaults = DEFAULTS | ({"model": None} if args.init else {})  # with --init the checkpoint says which model
    vars(args).update({name: value for name, value in defaults.items() if getattr(args, name) is None})
    return args


def start(args, xp):
    """The model, a run at its beginning or where it stopped, and what music the checkpoint was trained on."""
    if not (args.resume or args.init):
        model = rung(args.model)
        model = rung(args.model, model.config.with_settings(args.set or []))
        params = model.init(args.seed)
        params = params.with_flat(xp.asarray(params.flat))
        return model, Run(params, Moments.of(params.flat), args.rate), {}
    path = args.resume / "last.npz" if args.resume else args.init
    model, params, header, moments = checkpoint.load(path)
    params = params.with_flat(xp.asarray(params.flat))
    if not args.resume:
        if args.model not in (None, model.name):
            raise MinigenError(f"{path} is a {model.name} and not a {args.model}: leave out --model")
        if args.set:
            raise MinigenError(f"{path} has a configuration of its own: leave out --set")
        return model, Run(params, Moments.of(params.flat), args.rate), header.get("split", {})
    try:
        moments = Moments(xp.asarray(moments.m), xp.asarray(moments.v), moments.step)
        counters = {name: header["training"][name] for name in (*COUNTERS, "mean")}
        with open(args.resume / "metrics.csv", newline="", encoding="utf-8") as file:
            rows = [{name: json.loads(value) for name, value in row.items()} for row in csv.DictReader(file)]
    except (OSError, AttributeError, KeyError, ValueError, TypeError) as error:
        raise MinigenError(f"{args.resume} cannot be resumed, a part of it is damaged: use --init {path}") from error
    if args.steps and args.steps <= counters["step"]:
        raise MinigenError(f"this run has {counters['step']} steps already: ask for more of them with --steps")
    rows = [row for row in rows if row["step"] <= counters["step"]]
    return model, Run(params, moments, **counters, rows=rows), header.get("split", {})


def loop(args, model, state: Run, folder: Folder, data: Dataset, valid: list, stop: Stop, ranks: Ranks, rows: range):
    """Train on `rows` of each batch until the budget, the lowest rate or a signal ends it, on all ranks after the same
    step -> which, the signal's exit code or 0."""
    meta = Meta(args.meta, args.meta_rate, not args.first_order) if args.meta else None
    began, before = time.monotonic(), sum(row["seconds"] for row in state.rows[-1:])
    first, shown, ended = state.step, state.rows[-1]["valid_loss"] if state.rows else float("nan"), ""
    form, quiet = "{percentage:3.0f}%|{bar:20}| {postfix}", True if ranks.rank else None
    bar = tqdm(total=100, bar_format=form, disable=quiet, leave=False)
    while not ended:
        update(model, state, data, args.seed, rows, meta)
        spent = time.monotonic() - began
        of_steps = (state.step - first) / (args.steps - first) if args.steps else 0
        of_time = spent / 60 / (args.minutes or 1e9)  # by this rank's clock
        done = max(of_steps, of_time)
        agreed = ranks.agree(stop.code or of_time >= 1)
        ended = "stopped" if agreed > 1 else "done" if agreed or of_steps >= 1 else ""
        mean = state.read() if state.step % READ == 0 or ended or not state.mean else state.mean
        speed = (state.step - first) / spent
        bar.n = min(100, 100 * done)
        left = f", {spent / done - spent:.0f} s left" if args.steps or args.minutes else ""
        bar.set_postfix_str(f"step {state.step} loss {mean['loss']:.4f} held-out {shown:.4f}, {speed:.2f}/s{left}")
        if state.step % EVERY and not ended:
            continue
        found = None if ranks.rank else validate(model, state.params, valid, args.seed, meta)
        found, rate = ranks.broadcast(found), state.rate
        # nothing is judged where a run is stopped between two validations: see `Folder.save_all`
        verdict = "" if state.step % EVERY else judge(state, found["loss"], PATIENCE)
        shown = found["loss"]
        row = {"step": state.step, "seconds": round(before + spent, 3), "rate": rate}
        row |= {f"train_{name}": value for name, value in mean.items()}
        state.rows.append(row | {f"valid_{name}": value for name, value in found.items()})
        training, held_out = (" + ".join(f"{p[n]:.4f}" for n in p if n != "loss") for p in (mean, found))
        line = f"step {state.step:5}  training {training}  held-out {held_out}  rate {rate:g}  {speed:.2f} steps/s"
        bar.write(f"{line}  {verdict}".rstrip(), file=sys.stdout)
        if verdict == "lowered":
            folder.back_to_best()
        if not ranks.rank:
            folder.report()
            folder.save_all(verdict)
            if state.step % (10 * EVERY) == 0 or ended:
                folder.play(args.seed)
        ended = ended or ("flat" if verdict == "over" else "")
    bar.close()
    return ended, agreed if ended == "stopped" else 0


def main(ranks: Ranks):
    args = arguments()
    rows = ranks.share(range(args.batch))
    if args.meta and ranks.size > 1:
        raise MinigenError("--meta learns in one process so far: leave mpiexec out")
    xp, device = use_device(args.device)
    model, state, before = start(args, xp)
    if args.meta:
        check(model, xp)
    limits = {"max_tracks": args.max_tracks, "max_tempos": args.max_tempos}
    songs, name = find_songs(args.sources, args.corpus, **limits, log=print)
    print_refused(songs)
    kernels = use_kernels(args.kernels, args.threads or ranks.threads(), print, xp)
    c = model.config
    if (songs.steps_a_bar, songs.held) != (c.steps_a_bar, c.held):
        raise MinigenError(f"these songs have another grid than {model.name} was made for: convert them first")
    held_out = {"seed": args.seed, "valid": args.valid, **limits, "digest": songs.digest()}
    if args.resume and before != held_out:
        raise MinigenError("the music is not what this run was trained on: bring it back, or go on with --init")
    if before.get("digest") == held_out["digest"] and before != held_out:
        print("take care: the checkpoint was trained on some of the songs that are held out now")
    train, valid = split(songs, args.seed, args.valid)
    data = Dataset(train.rolls, c.past, c.fragment, c.hop, c.key_shift, c.steps_a_bar)
    valid_rolls = [trim(roll, c.steps_a_bar) for roll in valid.rolls]

    if args.meta and min(max(map(len, rolls)) for rolls in (valid_rolls, data.rolls)) <= AHEAD:
        raise MinigenError(f"--meta looks {AHEAD} steps ahead, and no song is longer: use longer songs")
    kept = {name: getattr(args, name) for name in KEPT}
    config = {"command": args.command, "arguments": kept, "config": c.as_json()}
    path = ranks.broadcast(None if ranks.rank else run_folder(args, f"{name}-{model.name}", config))
    if not ranks.rank:
        print_songs(songs, train, valid, data, c, path)
    print(f"model {model.name}, {state.params.flat.size:,} parameters; device {device}; kernels {kernels}")
    baselines = {} if model.needs_classes else metrics.baselines(data.rolls, valid_rolls, c.keys, c.loss == "pause")
    if baselines:
        values = ", ".join(f"{name} {value:.4f}" for name, value in baselines.items())
        print(f"held-out nats per cell to beat: {values}")
    about = {
        "data": f"{name}: {len(train)} songs to train on, {len(valid)} held out",
        "split": held_out,
        "licence": "that of the music it was trained on" if args.sources else LICENCES[name],
        "command": args.command,
    }
    state.ledger.ranks = ranks
    with Stop() as stop:
        folder = Folder(path, model, state, about, baselines, valid_rolls[0], ranks)
        ended, code = loop(args, model, state, folder, data, valid_rolls, stop, ranks, rows)
    took = ranks.timing()
    if ranks.rank:
        return code
    if ended == "flat":
        print("the held-out loss no longer falls, at the lowest rate")
    best = checkpoint.load(path / "best.npz").header["metrics"]
    print(f"best held-out loss {best['valid_loss']:.4f} (all parts together) at step {best['step']}; it is in {path}")
    print(f"hear it: python scripts/sample.py {path / 'best.npz'}")
    if ended == "stopped":
        print(f"stopped and saved; go on: python scripts/train.py --resume {path}")
    if took:
        print(took)
    return code


if __name__ == "__main__":
    run(together(main))
