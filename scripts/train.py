"""Train a model on your own MIDI, or on what minigen brings along.

    python scripts/train.py                                   the songs in samples/songs
    python scripts/train.py --corpus bach --minutes 3         the chorales that music21 carries
    python scripts/train.py my_midi/ --model pause-loss       a folder (searched recursively), a file, a song set (.npz)
    python scripts/train.py my_midi/ --metre 3/4              its waltzes; without it, its songs in 4/4
    python scripts/train.py TRAIN --held-out VALID            an official split, taken as it is
    python scripts/train.py --resume runs/bach-ordered          go on where a run stopped, to the end that was asked for
    python scripts/train.py --resume runs/bach-ordered/crash.npz    repeat the step at which the numbers blew up
    python scripts/train.py my_midi/ --init samples/chorales.npz    go on from a checkpoint, with other music
    python scripts/train.py --model pause-loss --meta 1 --batch 8   weights that know they will be finetuned
    mpiexec -n 2 python scripts/train.py                      two processes, half of every batch each

It prints a line every 25 steps or more: training loss and held-out loss (of `ordered` nats per step; of the others nats
per cell, and + nats per key of the octave decoder), that of the lengths (nats per key), rate, speed:

    step   150  training 3.0581  held-out 3.0123  lengths 0.0067  rate 0.0027  3.11 steps/s  best

--schedule linear, the default where an end is asked for: the rate rises over 50 steps, then falls to 0 at the end.
--schedule plateau, the diary's: it is multiplied by 0.3 when the last six held-out losses (of 150 steps at least) were
no best, and training then goes on from the best weights; at 1e-5 it ends. What is judged, and plays, is a running mean
of the weights. The run folder holds report.html, all of it for a browser; config.json, metrics.csv, last.npz, best.npz,
judged.npz, refused.txt, warnings.txt; after every ten held-out losses loss.png, gradients.png, a picture of what the
network makes of a held-out song, and a piece, which is also played before the first step and after 100, 1,000, ....
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from minigen.errors import until_run

until_run()

from dataclasses import replace

import numpy as np

from minigen.adam import Moments
from minigen.backend import use_device
from minigen.errors import MinigenError, Stop, command, quoted, run
from minigen.kernels import use_kernels
from minigen.ladder import rung
from minigen.music import baseline
from minigen.music.alike import digest_of
from minigen.music.corpus import LICENCES, find_songs
from minigen.music.dataset import Dataset, split, trimmed
from minigen.run import checkpoint, memory
from minigen.run.crash import load_crash, repeat
from minigen.run.folder import (
    Folder,
    check_grid,
    check_out,
    new_folder,
    print_found,
    print_songs,
    take,
)
from minigen.run.loop import loop
from minigen.run.meta import AHEAD, Meta, check
from minigen.run.options import ANEW, BESIDE, KEPT, arguments
from minigen.run.ranks import Ranks, together
from minigen.run.resume import resumed
from minigen.run.train import NotFinite, Run, ahead_of, batch_of


def start(args, xp):
    """The model, the run where it stopped (None: not begun), and what music the checkpoint was trained on."""
    if args.resume:
        model, state, header = resumed(args.resume, xp)
        if args.asked:
            args.minutes = args.asked + state.seconds / 60
        if args.steps and args.steps <= state.step:
            raise MinigenError(f"this run has {state.step} steps already: ask for more of them with --steps")
        if args.minutes and args.minutes * 60 <= state.seconds:
            raise MinigenError(f"this run has had its {args.minutes:g} minutes: ask for more with --minutes")
        return model, state, header.get("split", {})
    if not args.init:
        model = rung(args.model)
        settings = [*BESIDE * (not model.needs_classes), *(args.set or [])]
        model = rung(args.model, model.config.in_metre(args.metre or "4/4").with_settings(settings))
        return model, None, {}
    model, params, header, *_ = checkpoint.load(args.init)
    params = params.with_flat(xp.asarray(params.flat))
    if args.model not in (None, model.name):
        raise MinigenError(f"{args.init} is a {model.name} and not a {args.model}: leave out --model")
    if args.metre not in (None, model.config.metre):
        raise MinigenError(f"{args.init} plays {model.config.metre} and not {args.metre}: leave out --metre or --init")
    if args.set:
        raise MinigenError(f"{args.init} has a configuration of its own: leave out --set")
    return model, Run(params, Moments.of(params.flat), args.rate or model.rate), header.get("split", {})


def music(args, c):
    """The songs found, those to train on and those held out, both as rolls and what sounds in each, a name for them,
    and what tells this split apart."""
    limits = {"max_tracks": args.max_tracks, "max_tempos": args.max_tempos}
    asked = limits | {"metre": c.metre, "once": not args.held_out, "log": print}
    songs, name = find_songs(args.sources, args.corpus, **asked)
    found = [songs, *([find_songs([args.held_out], None, **asked)[0]] if args.held_out else [])]
    for part in found:
        check_grid(part, c, "use a model that was made for them" if args.init or args.resume else "")
        print_found(part)
    train, valid = found if args.held_out else split(songs, args.seed, args.valid)
    identity = {"seed": args.seed, "valid": args.valid, **limits, "digest": songs.digest()}
    identity |= {"held_out": valid.digest(), "official": bool(args.held_out)}
    parts = (trimmed(part, None if args.held_out else c.bar) for part in (train, valid))
    return found, *parts, name, identity


def main(ranks: Ranks):
    args = arguments(__doc__.splitlines()[0])
    if args.meta and ranks.size > 1:
        raise MinigenError("--meta learns in one process so far: leave mpiexec out")
    xp, device = use_device(args.device)
    if args.resume and args.resume.is_file():
        crash = load_crash(args.resume)
        print(f"kernels {use_kernels(args.kernels, args.threads, print)}")
        lines, finite = repeat(crash)
        print("\n".join(lines))
        return 0 if finite else 3
    if args.resume and not ranks.rank:
        take(args.resume)
    searched = [*args.sources, *filter(None, [args.held_out])]
    if args.resume and (gone := [source for source in searched if not Path(source).exists()]):
        again = quoted("--resume", args.resume, "FOLDER")
        raise MinigenError(f"{gone[0]} is no longer there: name where the music is now, {again}")
    if args.out:
        check_out(args.out, searched)
    model, state, before = start(args, xp)
    args.rate, args.meta_rate = args.rate or model.rate, args.meta_rate or model.meta_rate
    if args.meta:
        check(model, xp)
    c = model.config
    found, train, valid, name, identity = music(args, c)
    if args.resume and any(identity[name] != value for name, value in before.items()):
        raise MinigenError("the music is not what this run was trained on: name where it is now (--resume RUN FOLDER), "
                           "or go on with --init")  # fmt: skip
    if before.get("digest") == identity["digest"] and any(identity[name] != value for name, value in before.items()):
        print("take care: the checkpoint was trained on some of the songs that are held out now")
    if state is None:
        if c.sustain and all(known is None for known in train[1]):
            print("these songs have no lengths: the sustain decoder is left out")
            model = type(model)(replace(c, sustain=0))
        if not any(setting.startswith("pause_bias=") for setting in args.set or []):
            model = model.quiet(train[0])  # the diary's voices begin as uniform: --set pause_bias=0
        params = model.init(args.seed)
        params, c = params.with_flat(xp.asarray(params.flat)), model.config
        state = Run(params, Moments.of(params.flat), args.rate)
    data = Dataset.of(train[0], c, train[1])
    args.batch = args.batch or batch_of(len(data), model.batch)
    rows = ranks.share(range(args.batch))
    kernels = use_kernels(args.kernels, args.threads or ranks.threads(), print, xp)
    if args.meta and min(max(map(len, rolls)) for rolls in (valid[0], data.rolls)) <= AHEAD:
        raise MinigenError(f"--meta looks {AHEAD} steps ahead, and no song is longer: use longer songs")

    meta = Meta(args.meta, args.meta_rate, not args.first_order) if args.meta else None
    takes = ""
    if xp is np:
        sounding = valid[1] if c.sustain else None
        needed = memory.expected(model, state.params, data, valid[0], sounding, args.seed, len(rows), meta)
        takes = memory.in_words(needed, args.batch, bool(args.resume), ranks.beside)
    metre = "" if c.metre == "4/4" else f"-{c.metre.replace('/', '')}"
    path = args.resume or ranks.broadcast(
        None if ranks.rank else new_folder(args.out, f"{name}{metre}-{model.name}", searched)
    )
    if not ranks.rank:
        print_songs(found, train[0], valid[0], data, c, model.in_order, path)
    print(f"model {model.name}, {state.params.flat.size:,} parameters; batches of {args.batch}; ", end="")
    print(f"device {device}; kernels {kernels}{takes}")
    baselines = {}
    if not model.needs_classes:
        baselines = baseline.baselines(data.rolls, valid[0], c.keys, c.loss == "pause", c.bar, model.in_order)
        values = ", ".join(f"{name} {value:.4f}" for name, value in baselines.items())
        print(f"held-out {model.unit} to beat: {values}")
    about = {
        "data": f"{name}: {len(train[0])} songs to train on, {len(valid[0])} held out",
        "split": identity,
        "licence": "that of the music it was trained on" if args.sources else LICENCES[name],
        "command": args.command,
        "corpus": None if args.sources else name,
        "learned": [digest_of(roll) for roll in train[0]],
    }
    state.ledger.ranks, earlier = ranks, state.seconds
    with Stop() as stop, ahead_of(model, state, data, args.seed, rows, meta) as ahead:
        folder = Folder(path, model, state, about, baselines, valid[0][0], ranks)
        if not ranks.rank:
            kept = {name: getattr(args, name) for name in (*KEPT, *ANEW)}
            folder.begin({"command": args.command, "arguments": kept, "config": c.as_json()})
        try:
            ended, code = loop(args, model, state, folder, ahead, valid, stop, ranks, meta)
        except NotFinite as error:
            raise folder.crashed(error, data, args.seed, args.batch, meta, args.kernels) from error
    took = ranks.timing()
    if ranks.rank:
        return code
    if ended == "flat":
        print("the held-out loss no longer falls, at the lowest rate")
    share = ahead.waited / max(state.seconds - earlier, 1e-3)
    print(f"batches and draws: {share:.1%} of the time was spent making or awaiting them")
    best = checkpoint.load(path / "best.npz").header["metrics"]
    unit = model.unit + " and, of octaves, per key" * (c.keys == 12)
    print(f"best held-out loss {best['valid_loss']:.4f} ({unit}) at step {best['step']}; it is in {path}")
    better = [name for name, value in baselines.items() if value <= best["valid_cells"]]
    if better:
        print(f"take care: simple guesses do better than this ({', '.join(better)}): train longer, or on more songs")
    print(f"look at it: {path / 'report.html'}; hear it: {command('sample', path / 'best.npz')}")
    if ended == "stopped":
        print(f"stopped and saved; go on: {command('train', '--resume', path)}")
    if took:
        print(took)
    return code


if __name__ == "__main__":
    run(together(main))
