"""Every rung of the ladder on the same songs, for the same time and for the same number of fragments: one table.

    python scripts/ladder.py                                 3 minutes, and 6,400 fragments, 3 seeds; under 2 hours
    python scripts/ladder.py --minutes 0.2 --seeds 1         a taste of it
    python scripts/ladder.py --write                         ... and put the table into README.md and samples/results.md

Two rungs are trained side by side, one core each, the rate falling from 0.003 to 0 in a straight line. What is done is
kept in runs/ladder-... and not done again. Nats a step are exact, on held-out chorales (minigen/likelihood.py; a
particle estimate where voices carry states), over the steps that every rung can play: at most 5 classes and 7 keys.
"""

import json
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import numpy as np

from minigen import metrics
from minigen.checkpoint import Trained
from minigen.corpus import CORPORA, find_songs
from minigen.dataset import Dataset, split, trim
from minigen.errors import MinigenError, Parser, finite, run
from minigen.files import write_atomically
from minigen.kernels import cores, use_kernels
from minigen.ladder import LADDER
from minigen.likelihood import nats_a_step
from minigen.ops import pitch_classes
from minigen.sample import generate
from minigen.train import learn

BATCH, RATE, FRAGMENTS = 32, 0.003, 6400
CLASSES, KEYS = 5, 7  # the largest chord that every rung can play
PIECES = 8


def fits(roll):
    """The steps that every rung can play."""
    return (pitch_classes(roll).sum(axis=-1) <= CLASSES) & ((roll > 0).sum(axis=-1) <= KEYS)


def job(args, name: str, seed: int, budget: str) -> dict:
    """One rung, one seed, one budget ("time" or "fragments")."""
    use_kernels("fast", 1)
    model = LADDER[name]()
    c = model.config
    songs, _ = find_songs([], args.corpus)
    train, valid = ([trim(roll) for roll in part.rolls] for part in split(songs, 0))
    data = Dataset(train, c.past, c.fragment, c.hop, c.key_shift)
    limit = {"minutes": args.minutes} if budget == "time" else {"steps": -(-args.fragments // BATCH)}
    ended = [time.perf_counter()]
    state = learn(model, data, seed, BATCH, RATE, **limit, each=lambda *_: ended.append(time.perf_counter()))
    params, took = state.params, float(np.median(np.diff(ended)))
    use_kernels("reference", 1)
    trained = Trained(model, params, {}, None)
    primers = valid if model.follows else [None] * len(valid)
    pieces = [generate(trained, 16, n, primer) for n, primer in zip(range(PIECES), primers, strict=False)]
    found = {
        "parameters": params.flat.size,
        "steps": state.step,
        "ms": 1e3 * took,
        "notes": metrics.notes_a_step(pieces),
    }
    return found | nats_a_step(model, params, valid, fits, args.particles, seed)


def all_jobs(args, folder: Path) -> None:
    """Run what has not been run, a process each, as many at a time as there are cores."""
    tasks = [(b, n, s) for b in ("time", "fragments") for s in range(args.seeds) for n in args.only or LADDER]
    tasks = [task for task in tasks if not path_of(folder, *task).exists()]

    def start(task):
        budget, name, seed = task
        began = time.monotonic()
        done = subprocess.run([sys.executable, *sys.argv, "--job", name, str(seed), budget], check=False)
        said = f"{time.monotonic() - began:.0f} s" if done.returncode == 0 else "failed"
        print(f"{name}, seed {seed}, {budget}: {said}", flush=True)
        return done.returncode

    with ThreadPoolExecutor(args.jobs) as pool:
        if any(list(pool.map(start, tasks))):
            raise MinigenError("a rung could not be trained: see its message above, and run this again to go on")


def path_of(folder: Path, budget: str, name: str, seed: int) -> Path:
    return folder / f"{budget}-{name}-{seed}.json"


def mean_and_range(values, digits: int) -> str:
    """The mean over seeds, and half the distance from the smallest to the largest."""
    half = (max(values) - min(values)) / 2
    return f"{np.mean(values):.{digits}f}" + (f" ± {half:.{digits}f}" if len(values) > 1 else "")


def table(args, folder: Path) -> list[str]:
    """The whole table, a line a rung, in the order of the diary."""
    head = ["date", "rung", "parameters", "ms a step"]
    head += [f"{of}, {budget}" for budget in ("time", "fragments") for of in ("12 classes", "88 keys", "notes a step")]
    lines, left_out = [f"| {' | '.join(head)} |", "|" + " --- |" * len(head)], 0.0
    for name in args.only or LADDER:
        model = LADDER[name]()
        row, first = [model.date, f"`{name}`"], True
        for budget in ("time", "fragments"):
            found = [json.loads(path_of(folder, budget, name, seed).read_text()) for seed in range(args.seeds)]
            if first:
                row += [f"{found[0]['parameters']:,}", f"{np.median([f['ms'] for f in found]):.0f}"]
            own, both, notes = ([f[key] for f in found] for key in ("own", "both", "notes"))
            twelve = model.config.keys == 12 and not model.follows
            row += [
                mean_and_range(own, 2) if twelve else "",
                mean_and_range(both, 2) + (" (octaves alone)" if model.follows else ""),
            ]
            row, first, left_out = [*row, mean_and_range(notes, 2)], False, found[0]["left out"]
        lines.append(f"| {' | '.join(row)} |")
    words = f"{left_out:.2%} of the held-out steps have more than {CLASSES} classes or {KEYS} keys: they are left out. "
    words += f"Means over {args.seeds} seeds ± half the distance from the smallest to the largest; {args.particles} "
    words += "particles where voices carry states."
    return [*lines, "", words]


def write_between(path: Path, lines: list[str]) -> None:
    """Put the table between the file's two markers, which stay."""
    text = path.read_text(encoding="utf-8")
    before, begin, rest = text.partition("<!-- ladder: begin -->\n")
    _, end, after = rest.partition("<!-- ladder: end -->")
    if not (begin and end):
        raise MinigenError(f"{path} has no markers for the ladder: put <!-- ladder: begin --> and end back")
    whole = before + begin + "\n".join(lines) + "\n" + end + after
    write_atomically(path, lambda file: file.write(whole.encode()))


def main():
    parser = Parser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--corpus", choices=CORPORA, default="bach")
    add("--minutes", type=finite(0.01, 1000), default=3.0)
    add("--fragments", type=finite(1, 10**9, int), default=FRAGMENTS)
    add("--seeds", type=finite(1, 100, int), default=3)
    add("--particles", type=finite(1, 10**5, int), default=64, help="of the likelihood's estimate")
    add("--only", nargs="+", choices=list(LADDER), help="only these rungs")
    add("--jobs", type=finite(1, 64, int), default=min(2, cores()), help="rungs trained side by side")
    add("--write", action="store_true", help="put the table into README.md and samples/results.md")
    add("--job", nargs=3, metavar=("RUNG", "SEED", "BUDGET"), help="used by the script itself")
    args = parser.parse_args()
    folder = Path("runs") / f"ladder-{args.corpus}-{args.minutes:g}min-{args.fragments}-{args.particles}"
    folder.mkdir(parents=True, exist_ok=True)
    if args.job:
        name, seed, budget = args.job[0], int(args.job[1]), args.job[2]
        found = json.dumps(job(args, name, seed, budget))
        write_atomically(path_of(folder, budget, name, seed), lambda file: file.write(found.encode()))
        return
    all_jobs(args, folder)
    lines = table(args, folder)
    print("\n".join(lines))
    for path in (ROOT / "README.md", ROOT / "samples" / "results.md") if args.write else ():
        write_between(path, lines)


if __name__ == "__main__":
    run(main)
