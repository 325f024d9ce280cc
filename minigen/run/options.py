"""The arguments of scripts/train.py, and what a resumed run keeps of them."""

import os
import shlex
import sys
from pathlib import Path

from minigen.errors import MinigenError, Parser, number
from minigen.kernels import CHOICES
from minigen.ladder import LADDER
from minigen.metre import METRES
from minigen.music.corpus import CORPORA
from minigen.run.folder import kept_arguments

BESIDE = ["sustain=100"]  # trained beside every model, if --set says nothing else
DEFAULTS = {"model": "ordered", "seed": 0, "valid": 0.1}
WHERE = {"device": "auto", "kernels": "auto"}
# what a resumed run takes from its config.json, and what it may be told anew
KEPT = (
    "corpus",
    "max_tracks",
    "max_tempos",
    "meta",
    "first_order",
    "batch",
    "rate",
    "schedule",
    "meta_rate",
    *DEFAULTS,
)
ANEW = ("sources", "held_out", "steps", "minutes", "threads", *WHERE)


def arguments(description: str):
    """The arguments of the command line; of a resumed run those that it was started with, and what it is told anew."""
    parser = Parser(description=description)
    add = parser.add_argument
    add("sources", nargs="*", metavar="FOLDER|FILE|SONGSET", help="MIDI, or song sets (.npz)")
    add("--corpus", choices=CORPORA, help="a corpus instead of files (default: songs)")
    add("--held-out", metavar="FOLDER", help="hold out this music, and use both as they are, repeats too")
    add("--metre", choices=list(METRES), help="of the songs (default: 4/4; none: they have no bars)")
    add("--model", choices=list(LADDER), help="default: ordered")
    add("--set", action="append", metavar="NAME=VALUE", help="another configuration: hidden=50, delays=4,8, loss=pause")
    add("--steps", type=number(1, 1e9, int), help="stop after this many steps in all")
    add("--minutes", type=number(0.001, 1e6), help="stop after this long; of a resumed run: this much more")
    add(
        "--batch",
        type=number(1, 4096, int),
        help="fragments per step (default: 4; of the diary's models a quarter of all, 8 to 64)",
    )
    add("--rate", type=number(1e-8, 1), help="Adam's rate (default: 0.01)")
    add(
        "--schedule", choices=["linear", "plateau"], help="how the rate falls (default: linear to --steps or --minutes)"
    )
    add("--seed", type=number(0, 2**63 - 1, int), help="default: 0")
    add("--device", choices=["auto", "cpu", "cuda"], help="default: auto")
    add("--kernels", choices=CHOICES[:3], help="the array code, or a kernel behind each layer (default: auto)")
    add("--threads", type=number(1, 4096, int), help="default: one per core; ranks share the cores")
    add("--valid", type=number(0.001, 0.9), help="share of the songs held out (default: 0.1)")
    add("--max-tracks", type=number(1, 10**4, int), help="refuse files with more parts (a channel and a program)")
    add("--max-tempos", type=number(0, 10**6, int), help="refuse files with more tempo changes")
    add("--out", type=Path, help="run folder (default runs/NAME)")
    add("--resume", type=Path, metavar="RUN", help="go on where this run stopped (if the music moved: name it too)")
    add("--init", type=Path, metavar="CHECKPOINT", help="start from these weights")
    add("--meta", type=number(1, 100, int), metavar="STEPS", help="learn to be finetuned: through so many inner steps")
    add("--meta-rate", type=number(1e-6, 1e3), help="rate of the inner steps (default: 1, of ordered 0.01)")
    add("--first-order", action="store_true", default=None, help="with --meta: leave the Hessian out")
    args = parser.parse_args()
    if not args.meta and (args.meta_rate or args.first_order) and not args.resume:
        raise MinigenError("--meta-rate and --first-order are for --meta: say through how many inner steps")
    if args.sources and args.corpus:
        raise MinigenError("files and --corpus were both given: choose one")
    if args.held_out and args.valid:
        raise MinigenError("--held-out names what is held out, and --valid a share: leave one of the two out")
    if args.held_out and not args.sources and not args.resume:
        raise MinigenError("--held-out is the other part of the music that is named: name the part to train on too")
    args.command = shlex.join(["python", "scripts/train.py", *sys.argv[1:]])
    # a run may be resumed from another folder
    args.sources = [os.path.realpath(source) for source in args.sources]
    args.held_out = args.held_out and os.path.realpath(args.held_out)
    if args.resume and args.resume.is_file():  # one step, with what is in the file
        names = {*KEPT, *ANEW, "metre", "set", "init", "out"} - {"kernels", "threads"}
        if others := sorted(name for name in names if getattr(args, name) not in (None, [])):
            raise MinigenError(f"{args.resume} is one step with all that it takes: leave out {others[0]}")
        args.device = "cpu"
    elif args.resume:
        given = [name for name in (*KEPT, "metre", "set", "init", "out") if getattr(args, name) not in (None, [])]
        if given:
            raise MinigenError(f"--resume goes on with the run's own {given[0]}: leave it out, or use --init")
        kept, command = kept_arguments(args.resume, (*KEPT, *ANEW))
        kept = _parsed(parser, kept, args.resume / "config.json")
        args.asked = args.minutes  # from now on, while the minutes kept are from the beginning
        new = {name: getattr(args, name) for name in ANEW}
        if new["steps"] or new["minutes"]:
            kept |= {"steps": None, "minutes": None}
        vars(args).update(kept | {name: value for name, value in new.items() if value})
        args.command = f"{command}; then {args.command}"
    limited = args.steps or args.minutes
    args.schedule = args.schedule or ("linear" if limited and not args.resume else "plateau")  # an older run's
    if args.schedule == "linear" and not limited:
        raise MinigenError("--schedule linear falls to 0 at an end: give one, --steps or --minutes")
    defaults = WHERE | DEFAULTS | ({"model": None} if args.init else {})  # with --init the checkpoint says which model
    vars(args).update({name: value for name, value in defaults.items() if getattr(args, name) is None})
    return args


def _parsed(parser: Parser, kept: dict, path: Path) -> dict:
    """The arguments of a run as the command line would take them: a file may hold anything."""
    given = {name: value for name, value in kept.items() if value not in (None, [])}
    sources = given.pop("sources", [])
    flags = [f"--{name.replace('_', '-')}" + f"={value}" * (value is not True) for name, value in given.items()]
    try:
        if not isinstance(sources, list):
            raise MinigenError("sources are no list")
        found = vars(parser.parse_args([*flags, "--", *map(str, sources)]))
    except MinigenError as error:
        raise MinigenError(f"{path} is damaged ({error}): go on with --init from the run's last.npz") from None
    return {name: found[name] for name in kept}
