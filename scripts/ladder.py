"""Every rung of the ladder on the same songs, for the same time and for the same number of fragments: one table.

    python scripts/ladder.py                                 3 minutes, and 3,200 fragments, 3 seeds; under 2 hours
    python scripts/ladder.py --minutes 0.2 --seeds 1         a taste of it
    python scripts/ladder.py --write                         ... and put the table into samples/results.md

Two rungs are trained side by side, one core each, the rate rising to 0.003 over 50 steps, then falling to 0 in a
straight line; what is judged is the running mean of the weights. Minutes and milliseconds are of processor time. What
is done is kept in runs/ladder-... and not done again until the code is edited.
Nats per step are minus the log of the chance of what is struck, on held-out chorales (exact, but a particle estimate
where voices carry states: minigen/run/likelihood.py), over the steps that every rung can play: at most 5 classes and 7
keys.
"""

import json
import sys
import time
from pathlib import Path
from zlib import crc32

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from minigen.errors import until_run

until_run()

from concurrent.futures import as_completed
from dataclasses import replace

import numpy as np

from minigen.errors import MinigenError, Parser, number, run
from minigen.files import write_atomically, write_between
from minigen.kernels import cores, use_kernels
from minigen.ladder import LADDER
from minigen.music import metrics
from minigen.music.baseline import COPY_LAGS, baseline
from minigen.music.corpus import CORPORA, learned_and_held_out
from minigen.music.dataset import Dataset
from minigen.run.checkpoint import Trained
from minigen.run.jobs import processes
from minigen.run.likelihood import CLASSES, KEYS, nats_per_step
from minigen.run.sample import generate
from minigen.run.train import learn

BATCH, RATE, FRAGMENTS = 16, 0.003, 3200
PIECES = 8
SHIFTED = ("one-shot", "history", "conditional")  # trained on 88 keys with shifts of key too, as `ordered` is
ROWS = [row for name in LADDER for row in (name, *[f"{name}, key shifts"] * (name in SHIFTED))]


def model_of(row: str):
    name, _, shifts = row.partition(", ")
    model = LADDER[name]()
    return type(model)(replace(model.config, key_shift=True)) if shifts else model


def job(args, budget: str, name: str, seed: int) -> dict:
    """One rung, one seed, one budget ("time" or "fragments")."""
    use_kernels("auto", 1)
    train, valid = learned_and_held_out(args.corpus)
    model = model_of(name).quiet(train)
    data = Dataset.of(train, model.config)
    limit = {"minutes": args.minutes} if budget == "time" else {"steps": -(-args.fragments // BATCH)}
    ended = [time.process_time()]
    state = learn(model, data, seed, BATCH, RATE, **limit, each=lambda *_: ended.append(time.process_time()))
    use_kernels("reference", 1)
    trained = Trained(model, state.average, {}, None)
    primers = valid if model.needs_classes else [None] * len(valid)
    pieces = [generate(trained, 16, n, primer) for n, primer in zip(range(PIECES), primers, strict=False)]
    found = {
        "parameters": state.params.flat.size,
        "steps": state.step,
        "ms": 1e3 * float(np.median(np.diff(ended))),
        "notes": metrics.notes_per_step(pieces),
    }
    found |= nats_per_step(model, state.average, valid, args.particles, seed=100 * seed, by_all=True)
    if found["error"]:  # has the estimate settled?
        found["quarter"] = nats_per_step(
            model, state.average, valid, -(-args.particles // 4), seed=100 * seed, by_all=True
        )["own"]
    return found


def all_jobs(args, folder: Path) -> None:
    """Run what has not been run, as many jobs at a time as there are cores, and keep what each gives."""
    tasks = [(b, n, s) for b in ("time", "fragments") for s in range(args.seeds) for n in args.only or ROWS]
    use_kernels("auto", 1, print)  # compiled here, once, and not in every process
    with processes(args.jobs, kept="; what is done is kept") as pool:
        jobs = {pool.submit(job, args, *task): task for task in tasks if not path_of(folder, *task).exists()}
        for done in as_completed(jobs):
            budget, name, seed = jobs[done]
            found = json.dumps(done.result()).encode()
            write_atomically(path_of(folder, budget, name, seed), lambda file, found=found: file.write(found))
            print(f"{name}, seed {seed}, {budget}: done", flush=True)


def path_of(folder: Path, budget: str, name: str, seed: int) -> Path:
    return folder / f"{budget}-{name}-{seed}.json"


def result_in(path: Path) -> dict:
    """What a job found. Raises MinigenError where its file is damaged."""
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError, RecursionError) as error:
        raise MinigenError(f"{path} is damaged: delete it, and the job is done again") from error


def mean_and_range(values, digits: int) -> str:
    """The mean over seeds, and half the distance from the smallest to the largest."""
    half = (max(values) - min(values)) / 2
    return f"{np.mean(values):.{digits}f}" + (f" ± {half:.{digits}f}" if len(values) > 1 else "")


def table(args, folder: Path) -> list[str]:
    """The whole table, one line per rung, in the order of the diary."""
    times = ((f"{args.minutes:g} min", "time"), (f"{args.fragments:,} fragments", "fragments"))
    head = ["date", "rung", "parameters", "ms per step"]
    head += [f"{of}, {words}" for words, _ in times for of in ("12 classes", "88 keys", "notes per step")]
    lines, left_out, settled = [f"| {' | '.join(head)} |", "|" + " --- |" * len(head)], 0.0, []
    for name in args.only or ROWS:
        model = model_of(name)
        seeds = {
            budget: [result_in(path_of(folder, budget, name, seed)) for seed in range(args.seeds)]
            for _, budget in times
        }
        every = sum(seeds.values(), [])
        rung, _, shifts = name.partition(", ")
        row = [
            model.date,
            f"`{rung}`{', ' * bool(shifts)}{shifts}",
            f"{every[0]['parameters']:,}",
            f"{np.median([f['ms'] for f in every]):.0f}",
        ]
        for found in seeds.values():
            own, both, notes = ([f[key] for f in found] for key in ("own", "both", "notes"))
            plays_classes = model.config.keys == 12 and not model.needs_classes
            row.append(mean_and_range(own, 2) if plays_classes else "")
            row.append(mean_and_range(both, 2) + (" (octaves alone)" if model.needs_classes else ""))
            row.append(mean_and_range(notes, 2))
        lines.append(f"| {' | '.join(row)} |")
        left_out = max(left_out, *(f["left out"] for f in every))
        if "quarter" in every[0]:
            change, error = np.mean([f["quarter"] - f["own"] for f in every]), max(f["error"] for f in every)
            settled.append(f"`{name}` {change:+.3f} (standard error of one estimate: at most {error:.3f})")
    train, valid = learned_and_held_out(args.corpus)
    floor = [baseline(train, valid, COPY_LAGS, keys) * keys for keys in (12, 88)]
    words = [
        f"Nats per step on held-out songs, means over {args.seeds} seeds ± half the distance from the smallest to the "
        f"largest; batches of {BATCH}, rate {RATE:g} falling to 0, one core; means of weights. A table of what was "
        f"struck 1, 4 and 16 steps ago, key by key, gives {floor[0]:.2f} (12 classes) and {floor[1]:.2f} (88 keys). "
        f"The songs have {metrics.notes_per_step(valid):.2f} notes per step; {left_out:.2%} of their steps "
        f"have more than {CLASSES} classes or {KEYS} keys: left out."
    ]
    if settled:
        words.append(
            f"Where voices carry states: {args.particles} particles. A quarter of them would change the figure by "
            f"{'; '.join(settled)}."
        )
    return [*lines, "", *words]


def main():
    parser = Parser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--corpus", choices=CORPORA, default="bach")
    add("--minutes", type=number(0.01, 1000), default=3.0)
    add("--fragments", type=number(1, 10**9, int), default=FRAGMENTS)
    add("--seeds", type=number(1, 100, int), default=3)
    add("--particles", type=number(1, 10**5, int), default=64, help="of the likelihood's estimate")
    add("--only", nargs="+", choices=ROWS, metavar="RUNG", help="only these rungs")
    add("--jobs", type=number(1, 64, int), default=min(2, cores()), help="rungs trained side by side")
    add("--write", action="store_true", help="put the table into samples/results.md")
    args = parser.parse_args()
    if args.write and args.only:
        raise MinigenError("--write is for the whole table: leave out --only")
    code = b"".join(path.read_bytes() for path in sorted((ROOT / "minigen").rglob("*.py")))
    name = f"ladder-{args.corpus}-{args.minutes:g}min-{args.fragments}of{BATCH}-{args.particles}-{crc32(code):08x}"
    folder = Path("runs") / name
    folder.mkdir(parents=True, exist_ok=True)
    all_jobs(args, folder)
    lines = table(args, folder)
    print("\n".join(lines))
    if args.write:
        write_between(ROOT / "samples" / "results.md", "ladder", lines)


if __name__ == "__main__":
    run(main)
