"""minigen's training and playing beside PyTorch's, in one run: who is how many times as fast.

    python scripts/benchmark.py --out samples/benchmark.md     all of it (about 5 minutes; needs torch)
    python scripts/benchmark.py --check                        the same, and exit code 1 where a bound is missed
    python scripts/benchmark.py --playing                      only how fast it plays, and learns while playing
    python scripts/benchmark.py --device cuda --out samples/benchmark-gpu.md     on a GPU (needs CuPy and torch there)

Every peer runs in a process of its own and is asked in turn for two steps, of which the second counts, so that what
else the machine does meets all alike; the figures are medians, with the smallest and the largest. The PyTorch peer is
the model of the parity test. It is given the notes, where minigen draws them. One step is loss, gradients and Adam;
`pause-loss`, T = 256. `memory kept`: the same program, its malloc set to keep what is freed, as minigen sets it.
OPENBLAS_* and MALLOC_* in the environment are left out.
"""

import os
import platform
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from minigen.errors import until_run

until_run()

import numpy as np
from benchmarks.peers import KEPT, LEARNING, PEERS, PLAYED, PLAYING, WHOLE, T, alternate

from minigen.backend import use_device
from minigen.errors import MinigenError, Parser, number, run
from minigen.kernels import cores

TIMES = {WHOLE: 1.6, KEPT: 1.6}  # at B=128: at least this many times as fast
GIVEN = "PyTorch runs eagerly, is the model of the parity test, and is given the notes, which minigen draws."


def spread(times, digits: int = 1) -> str:
    low, middle, high = (f"{1e3 * value:.{digits}f}" for value in (min(times), np.median(times), max(times)))
    return f"{middle} ({low} to {high})"


def playing(threads: int, rounds: int) -> tuple[list[str], list[str]]:
    """Milliseconds a step of playing, one stream, beside PyTorch's, and the bounds missed."""
    lines, missed = [], []
    for peers, bound, goal, what in (
        (PLAYING, 40, 80, "A step of `pause-loss`, one stream"),
        (LEARNING, 3, 5, f"The same with one update on the last {T} steps before each (`--finetune reset`)"),
    ):
        found = alternate(peers, threads, 1, rounds)
        found = {peer: np.array(times) / PLAYED for peer, (times, _) in found.items()}
        lines += [f"{what}; {PLAYED} steps timed together, {rounds} rounds.", ""]
        lines += ["| | ms per step: median (min to max) | minigen is so many times as fast |", "| --- | --- | --- |"]
        for peer, times in found.items():
            ratio = np.median(times) / np.median(found[peers[0]])
            lines.append(f"| {peer} | {spread(times, 3)} | {ratio:.1f} |")
        ratio = np.median(found[peers[-1]]) / np.median(found[peers[0]])  # PyTorch stands last
        lines += ["", f"The bound is {bound} times, the goal {goal}.", ""]
        if ratio < bound:
            missed.append(f"{ratio:.1f} times as fast as {peers[-1]}, not {bound}")
    return lines, missed


def machine(threads: int) -> str:
    """The processor and the versions, in one line."""
    import numba
    import torch

    name = platform.processor() or platform.machine()
    if Path("/proc/cpuinfo").exists():
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        name = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), name)
    versions = f"Python {platform.python_version()}, NumPy {np.__version__}, Numba {numba.__version__}"
    return f"{name}, {threads} threads; {versions}, PyTorch {torch.__version__}"


def main():
    parser = Parser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--threads", type=number(1, 4096, int), default=cores())
    add("--batch", type=number(1, 4096, int), default=128)
    add("--rounds", type=number(1, 1000, int), default=9)
    add("--playing", action="store_true", help="only how fast it plays, and learns while playing")
    add("--device", choices=["cpu", "cuda"], default="cpu", help="cuda: only what runs there, by CUDA events")
    add("--check", action="store_true", help="exit 1 where a bound is missed")
    add("--out", type=Path, help="write the tables into this file too")
    args = parser.parse_args()
    left_out = [name for name in os.environ if name.startswith(("OPENBLAS_", "MALLOC_"))]
    if left_out:  # they were read when NumPy was loaded: start again without
        print(f"without {', '.join(left_out)}", flush=True)
        chosen = {name: value for name, value in os.environ.items() if name not in left_out}
        return subprocess.call([sys.executable, *sys.orig_argv[1:]], env=chosen)
    if args.device == "cuda" and args.playing:
        raise MinigenError("--playing is of a CPU: leave it out with --device cuda")
    if find_spec("torch") is None or not Path("/proc/self/clear_refs").exists():
        raise MinigenError("the comparison needs PyTorch, on Linux: pip install torch")
    if args.device == "cuda":
        from benchmarks import gpu

        lines, missed = gpu.report(use_device("cuda")[0], args.rounds)
        return write(lines, args, missed)
    lines, missed = ["# Training and playing, beside PyTorch", "", machine(args.threads), ""], []
    played, missed_playing = playing(args.threads, args.rounds)
    if args.playing:
        print("\n".join([*lines, *played, *(f"missed: {words}" for words in missed_playing)]))
        return 1 if args.check and missed_playing else 0
    for B in (args.batch, 1):
        found = alternate(PEERS, args.threads, B, args.rounds)
        mine = np.array(found[PEERS[0]][0])
        lines += [f"## B = {B}, T = {T}, {args.rounds} rounds", "", GIVEN, ""]
        lines += ["| | ms per step: median (min to max) | minigen is so many times as fast | memory, MiB |"]
        lines += ["| --- | --- | --- | --- |"]
        for peer, (times, memory) in found.items():
            ratio = np.median(times) / np.median(mine)
            lines.append(f"| {peer} | {spread(times)} | {ratio:.2f} | {memory:.0f} |")
            if B > 1 and ratio < TIMES.get(peer, 0):
                missed.append(f"{ratio:.2f} times as fast as {peer}, not {TIMES[peer]}")
        if found[PEERS[0]][1] > min(found[peer][1] for peer in (WHOLE, KEPT)):
            missed.append(f"memory at B = {B} is above PyTorch's")
        lines.append("")
    lines += ["## Playing", "", *played]
    missed += missed_playing
    lines += ["", "## Bounds missed", "", *(f"* {sentence}" for sentence in missed or ["none"])]
    return write(lines, args, missed)


def write(lines: list[str], args, missed: list[str]) -> int:
    print("\n".join(lines))
    if args.out:
        args.out.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return 1 if args.check and missed else 0


if __name__ == "__main__":
    run(main)
