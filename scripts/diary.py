"""What the diary claims, one claim at a time: trained, measured, drawn, and judged by the figures.

    python scripts/diary.py chords       1. independent keys sample badly, voices better, conditional voices best
    python scripts/diary.py reader       2. the reader settles on one lag, the loss falls there; no long copying
    python scripts/diary.py crutch       3. without the stop-gradient trick training collapses to one playing voice
    python scripts/diary.py latency      4. an LSTM with delayed states does not see repeats
    python scripts/diary.py finetuning   5. finetuning while generating raises the risk of trivial loops
    python scripts/diary.py octaves      6. decoding mistakes are octave mistakes; 12 classes cost a tenth
    python scripts/diary.py voices       7. later voices repeat earlier ones; pause begets pause
    python scripts/diary.py meta         what its author wished for: weights that know they will be finetuned
    python scripts/diary.py copy         the reader's own tasks: also rolled, distance
    python scripts/diary.py reader --corpus toys     (finetuning, voices) on music that repeats itself: also songs
    python scripts/diary.py crutch --long            (latency, distance) at length: 10 to 60 minutes

Each trains on the chorales (latency and the tasks on patterns and random bits) with 3 seeds, in about 15 minutes on two
cores. It prints its figures, writes them and a picture into generated/ (with --write into samples/diary/, and its
sentence into the table in samples/diary/README.md), and ends in one sentence: the claim holds, does not hold here, or
is not decided.
"""

import re
import sys
import time
from importlib import import_module
from itertools import product
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "scripts")]

from minigen.errors import until_run

until_run()

from minigen.errors import MinigenError, Parser, number, run
from minigen.files import write_atomically, write_between
from minigen.kernels import CHOICES, cores, use_kernels
from minigen.run.jobs import processes

TASKS = ("copy", "rolled", "distance")
CLAIMS = ("chords", "reader", "crutch", "latency", "finetuning", "octaves", "voices", "meta", *TASKS)
ANSWERS = ("yes", "no", "not decided", "not decided at this length")
VARIANTS = {
    "": "",
    "-songs": " *(minigen's own songs)*",
    "-toys": " *(toy worlds)*",
    "-long": " *(at length)*",
}


def module_of(claim: str):
    return import_module(f"claims.claim_{'tasks' if claim in TASKS else claim}")


def one(claim: str, part: str, seed: int, minutes: float, args) -> tuple[dict, float]:
    """One seed of one part of a claim, on one core -> what was found, the minutes of processor time it took."""
    words = use_kernels(args.kernels, 1)
    if seed == 0:
        print(f"{part}: trains and plays by {words}", flush=True)
    began = time.process_time()
    module, folder = module_of(claim), Path("runs") / f"{claim}-long"
    if args.long:
        found = module.long(claim, part, seed, folder)
    else:
        found = module.one(claim, part, seed, minutes, *([args.corpus] if hasattr(module, "MUSIC") else []))
    return found, (time.process_time() - began) / 60


def report(claim: str, found: list[dict], minutes: float, folder: Path, variant: str = "") -> None:
    """Conclude, draw, write and print: found[seed][part] is what `one` found. `variant` is "-long", "-songs", ..."""
    module = module_of(claim)
    long = variant == "-long"
    lines, verdict = (module.conclude_long if long else module.conclude)(claim, found)
    folder.mkdir(parents=True, exist_ok=True)
    name = claim + variant
    (module.draw_long if long and hasattr(module, "draw_long") else module.draw)(claim, found, folder / f"{name}.png")
    took = f"{len(found)} seeds, {minutes:.0f} minutes of processor time"
    whole = "\n".join([f"# {name}", "", module.__doc__.strip(), "", *lines, "", f"**{verdict}** ({took})", ""])
    write_atomically(folder / f"{name}.md", lambda file: file.write(whole.encode()))
    print("\n".join(["", *lines, "", verdict, f"wrote {folder / name}.md and .png ({took})"]))


def verdicts(folder: Path) -> list[str]:
    """A table of the claims in a folder's reports: in words, what became of each, and of its parts; on what music, if
    not on the chorales; how many seeds, and how long."""
    lines = ["| | the claim | here | its parts | how long |", "| --- | --- | --- | --- | --- |"]
    for claim, (variant, where) in product(CLAIMS, VARIANTS.items()):
        if not (path := folder / f"{claim}{variant}.md").exists():
            continue
        text = path.read_text(encoding="utf-8")
        line = re.search(rf"^{claim}  +(.+)$", text, re.M)  # a task's, among those of its file
        words = line[1] if line else re.sub(r"^Claim \d: ", "", " ".join(text.split("\n\n")[1].split()))
        verdict, _, parts = text.rpartition("\n**")[2].partition(".**")[0].partition(": ")
        outcome = re.search(r"holds|does not hold|is not decided", verdict)[0].removeprefix("is ")
        answers = [part.rpartition(": ")[::2] for part in parts.split("; ")]
        by_kind = {kind: [part for part, answer in answers if answer == kind] for kind in ANSWERS}
        outcomes = [f"*{kind}:* {'; '.join(parts)}" for kind, parts in by_kind.items() if parts]
        took = text.rpartition("** (")[2].rstrip().removesuffix(")")
        lines.append(f"| [{path.stem}]({path.name}) | {words}{where} | {outcome} | {'. '.join(outcomes)} | {took} |")
    return lines


def main():
    parser = Parser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("claim", choices=CLAIMS)
    add("--seeds", type=number(1, 100, int), help="default: 3, or what the long form takes")
    add("--minutes", type=number(0.01, 1000), help="of one core, for every model and seed (default: the claim's own)")
    add("--long", action="store_true", help="crutch, latency, distance: at length, 10 to 60 minutes")
    add("--corpus", choices=("bach", "songs", "toys"), default="bach", help="reader, finetuning, voices: other music")
    add("--kernels", choices=CHOICES, default="auto", help="default: a kernel behind each layer")
    add("--jobs", type=number(1, 64, int), default=cores(), help="trained side by side (default: one per core)")
    add("--out", type=Path, default=Path("generated"), metavar="FOLDER")
    add("--write", action="store_true", help="into samples/diary, and its sentence into the README.md there")
    args = parser.parse_args()
    args.out = ROOT / "samples" / "diary" if args.write else args.out
    module = module_of(args.claim)
    long = getattr(module, "LONG", {"claims": ()})
    if args.long and (args.claim not in long["claims"] or args.minutes):
        raise MinigenError("--long is for crutch, latency and distance, without --minutes: leave it out")
    if args.corpus != "bach" and args.corpus not in getattr(module, "MUSIC", ()):
        raise MinigenError(f"{args.claim} has its own music: leave out --corpus")
    if args.minutes and not module.MINUTES:
        raise MinigenError(f"{args.claim} trains for a number of steps of its own: leave out --minutes")
    print(module.__doc__.strip(), flush=True)
    use_kernels(args.kernels, 1, print)  # compiled here, once, and not in every process
    with processes(args.jobs) as pool:
        waiting = [
            {
                part: pool.submit(one, args.claim, part, seed, args.minutes or module.MINUTES, args)
                for part in (long["parts"] if args.long else module.PARTS)
            }
            for seed in range(args.seeds or (long["seeds"] if args.long else 3))
        ]
        done = [{part: task.result() for part, task in seed.items()} for seed in waiting]
    found = [{part: what for part, (what, _) in seed.items()} for seed in done]
    spent = sum(minutes for seed in done for _, minutes in seed.values())
    variant = "-long" if args.long else "" if args.corpus == "bach" else f"-{args.corpus}"
    report(args.claim, found, spent, args.out, variant)
    if args.write:
        write_between(args.out / "README.md", "diary", verdicts(args.out))


if __name__ == "__main__":
    run(main)
