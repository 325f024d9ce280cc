"""minigen's training step beside PyTorch's, in one run: who is how many times as fast, and where the time goes.

    python scripts/benchmark.py                 all of it, into samples/benchmark.md (about 10 minutes; needs torch)
    python scripts/benchmark.py --check         the same, and exit code 1 where a bound is missed
    python scripts/benchmark.py --parts         only where a step of the fast kernels spends its time

Every peer runs in a process of its own and is asked for one step in turn, so that what else the machine does meets all
alike; the figures are medians, with the smallest and the largest. The PyTorch peer is the model of the parity test. It
is given the notes, where minigen draws them. One step is loss, gradients and Adam; `pause-loss`, T = 256.
"""

import cProfile
import json
import os
import platform
import pstats
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

import numpy as np
from threadpoolctl import threadpool_limits

from minigen.adam import Moments, adam
from minigen.draws import uniforms
from minigen.errors import MinigenError, Parser, finite, run
from minigen.kernels import use_kernels
from minigen.ladder import LADDER

T = 256
PEERS = ("minigen, fast", "minigen, reference", "PyTorch, whole sequence", "PyTorch, step by step")
TIMES = {"PyTorch, whole sequence": 1.6, "PyTorch, step by step": 6.0}  # at B=128: at least this many times as fast
PEAK_SHARE = 0.55


def problem(T: int, B: int, hidden: int = 100):
    """A model, weights, a batch and its uniforms, with the density of real music."""
    import dataclasses

    c = LADDER["pause-loss"].config
    c = dataclasses.replace(c, hidden=hidden, decoder_hidden=hidden)
    model, rng = LADDER["pause-loss"](c), np.random.default_rng(0)
    roll = (rng.random((c.past + T, B, 88)) < 0.02).astype(np.uint8)
    batch = {"roll": roll, "start": np.zeros(B, np.int64), "mask": np.ones((T, B), bool)}
    u = uniforms(0, "benchmark", 0, range(B), (T, c.voices)).swapaxes(0, 1)
    return model, model.init(0), batch, {"voices": u}


def minigen_step(kernels: str, threads: int, T: int, B: int, hidden: int = 100):
    """A function that takes one training step."""
    use_kernels(kernels, threads)
    model, params, batch, draws = problem(T, B, hidden)
    state = [params, Moments.of(params.flat)]

    def step():
        _, grads, _, _ = model.loss(state[0], batch, draws)
        flat, state[1] = adam(state[0].flat, grads.flat, state[1], 1e-4)
        state[0] = state[0].with_flat(flat)

    return step


def torch_step(whole_sequence: bool, threads: int, T: int, B: int):
    """The same in PyTorch, given the notes."""
    import torch
    import torch_model

    torch.set_num_threads(threads)
    model, params, batch, draws = problem(T, B)
    notes = model.loss(params, batch, draws, grad=False)[2]["voices.notes"]
    tensors = {name: torch.tensor(array) for name, array in (batch | {"notes": notes}).items()}
    weights = {name: torch.tensor(params[name]) for name in params}
    weights = torch_model.prepare(weights) if whole_sequence else weights
    weights = {name: w.detach().clone().requires_grad_() for name, w in weights.items()}
    optimiser = torch_model.optimiser(weights, 1e-4)
    options = {"lags": model.config.lags, "pause_loss": True, "stop_gradient": False, "whole_sequence": whole_sequence}
    return lambda: torch_model.step(weights, optimiser, tensors, **options)


def make(peer: str, threads: int, T: int, B: int):
    program, form = peer.split(", ")
    if program == "minigen":
        return minigen_step(form, threads, T, B)
    return torch_step(form == "whole sequence", threads, T, B)


def resident() -> float:
    """MiB of this process that are in memory now."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def serve(peer: str, threads: int, B: int) -> None:
    """In a process of its own: warm up on a small batch, then one step for every line that comes in."""
    import resource

    make(peer, threads, 4, 2)()
    before = resident()
    step = make(peer, threads, T, B)
    print("ready", flush=True)
    for _ in sys.stdin:
        began = time.perf_counter()
        step()
        took = time.perf_counter() - began
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(json.dumps([took, peak - before]), flush=True)


def alternate(peers, threads: int, B: int, rounds: int) -> dict:
    """{peer: (seconds of each step, MiB of growth)}; the first step of each is not counted."""
    command = [sys.executable, __file__, "--threads", str(threads), "--batch", str(B), "--serve"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    served = {peer: subprocess.Popen([*command, peer], **pipes) for peer in peers}
    found = {peer: ([], []) for peer in peers}
    for process in served.values():
        if process.stdout.readline().strip() != "ready":
            raise MinigenError("a peer could not start: pip install torch (on Linux), or see its message above")
    for n in range(rounds + 1):
        for peer, process in served.items():
            print("go", file=process.stdin, flush=True)
            took, growth = json.loads(process.stdout.readline())
            if n:
                found[peer][0].append(took)
            found[peer][1].append(growth)
    for process in served.values():
        process.stdin.close()
        process.wait()
    return {peer: (times, max(growth)) for peer, (times, growth) in found.items()}


def sgemm_peak(threads: int) -> float:
    """The best of 20 products of 2048 x 2048 in float32, in operations a second."""
    a = np.ones((2048, 2048), np.float32)
    best = np.inf
    with threadpool_limits(threads):
        for _ in range(20):
            began = time.perf_counter()
            a @ a
            best = min(best, time.perf_counter() - began)
    return 2 * 2048**3 / best


def operations(model, T: int, B: int) -> float:
    """Of the products of one step: 2 T B times, for each layer of I inputs and O outputs,
    forward I O, its weights' gradient I O, its inputs' gradient I O (not for inputs that are music)."""
    music = ("reader.Wx", "local.Wx", "octave.Wx")
    matrices = {name: shape for name, shape in model.shapes().items() if not name.endswith(".b")}
    return 2 * T * B * sum((2 if name in music else 3) * I * O for name, (I, O) in matrices.items())


def spread(times) -> str:
    return f"{1e3 * np.median(times):.1f} ({1e3 * min(times):.1f} to {1e3 * max(times):.1f})"


def growth(threads: int, rounds: int = 5) -> list[str]:
    """How the fast step grows with T, B and H, one at a time."""
    lines = ["| T | B | H | ms | GFLOP | GFLOP/s |", "| --- | --- | --- | --- | --- | --- |"]
    for T, B, H in ((64, 128, 100), (256, 128, 100), (1024, 128, 100), (256, 1, 100), (256, 16, 100), (256, 512, 100),
                    (256, 128, 50), (256, 128, 200)):  # fmt: skip
        step, times = minigen_step("fast", threads, T, B, H), []
        step()
        for _ in range(rounds):
            began = time.perf_counter()
            step()
            times.append(time.perf_counter() - began)
        work = operations(problem(1, 1, H)[0], T, B)
        lines.append(f"| {T} | {B} | {H} | {spread(times)} | {work / 1e9:.1f} | {work / np.median(times) / 1e9:.0f} |")
    return lines


def parts(threads: int, B: int) -> list[str]:
    """Where a step of the fast kernels spends its time, by function, without what it calls."""
    step = minigen_step("fast", threads, T, B)
    step()
    profile = cProfile.Profile()
    profile.enable()
    for _ in range(5):
        step()
    profile.disable()
    stats = pstats.Stats(profile)
    total = stats.total_tt
    lines = [f"| B = {B}: function | calls | ms | share |", "| --- | --- | --- | --- |"]
    for (file, _, name), (_, calls, own, _, _) in sorted(stats.stats.items(), key=lambda item: -item[1][2])[:14]:
        where = f"{Path(file).parent.name}/{Path(file).name}" if "minigen" in file else "numpy"
        lines.append(f"| {where} {name.replace('|', ' ')} | {calls // 5} | {own / 5 * 1e3:.1f} | {own / total:.1%} |")
    return lines


def imports() -> float:
    """Milliseconds that `import minigen` takes over `import numpy`: the difference of medians of 10."""
    medians = []
    for module in ("numpy, minigen", "numpy"):
        program = f"import time; t = time.perf_counter(); import {module}; print(time.perf_counter() - t)"
        runs = [subprocess.run([sys.executable, "-c", program], capture_output=True, cwd=ROOT) for _ in range(10)]
        medians.append(np.median([float(done.stdout) for done in runs]) * 1e3)
    return medians[0] - medians[1]


def loading() -> list[float]:
    """Seconds to compile all float32 kernels into an empty cache, and to load them from it."""
    import tempfile

    program = "import time; t = time.perf_counter(); from minigen.kernels import use_kernels; use_kernels('fast'); "
    program += "print(time.perf_counter() - t)"
    with tempfile.TemporaryDirectory() as cache:
        env = os.environ | {"NUMBA_CACHE_DIR": cache}
        runs = [subprocess.run([sys.executable, "-c", program], capture_output=True, cwd=ROOT, env=env) for _ in "ab"]
    return [float(done.stdout) for done in runs]


def machine(threads: int) -> str:
    """The processor and the versions, in one line."""
    import numba
    import torch

    name = platform.processor() or platform.machine()
    if Path("/proc/cpuinfo").exists():
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        name = next(line for line in lines if line.startswith("model name")).split(":")[1].strip()
    versions = f"Python {platform.python_version()}, NumPy {np.__version__}, Numba {numba.__version__}"
    return f"{name}, {threads} threads; {versions}, PyTorch {torch.__version__}"


def main():
    parser = Parser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--threads", type=finite(1, 4096, int), default=len(os.sched_getaffinity(0)))
    add("--batch", type=finite(1, 4096, int), default=128)
    add("--rounds", type=finite(1, 1000, int), default=9)
    add("--parts", action="store_true", help="only where a step spends its time")
    add("--check", action="store_true", help="exit 1 where a bound is missed")
    add("--out", type=Path, default=ROOT / "samples" / "benchmark.md")
    add("--serve", metavar="PEER", help="used by the script itself: be one of the processes that it asks")
    args = parser.parse_args()
    if args.serve:
        return serve(args.serve, args.threads, args.batch)
    if args.parts:
        print("\n".join(parts(args.threads, args.batch)))
        return 0
    lines, missed = ["# The training step, beside PyTorch", "", machine(args.threads), ""], []
    for B in (args.batch, 1):
        found = alternate(PEERS, args.threads, B, args.rounds)
        mine = np.array(found[PEERS[0]][0])
        lines += [f"## B = {B}, T = {T}, {args.rounds} rounds", ""]
        lines += ["| | ms a step: median (min to max) | minigen is so many times as fast | memory, MiB |"]
        lines += ["| --- | --- | --- | --- |"]
        for peer, (times, memory) in found.items():
            ratio = np.median(times) / np.median(mine)
            lines.append(f"| {peer} | {spread(times)} | {ratio:.2f} | {memory:.0f} |")
            if B > 1 and ratio < TIMES.get(peer, 0):
                missed.append(f"{ratio:.2f} times as fast as {peer}, not {TIMES[peer]}")
        if found[PEERS[0]][1] > found["PyTorch, whole sequence"][1]:
            missed.append(f"memory at B = {B} is above PyTorch's")
        if B > 1:
            peak, work = sgemm_peak(args.threads), operations(problem(1, 1)[0], T, B)
            share = work / np.median(mine) / peak
            lines += ["", f"Products: {work / 1e9:.1f} GFLOP a step ({operations.__doc__.split(':')[0].strip()}: "
                      f"{' '.join(operations.__doc__.split(':')[1].split())}). Measured sgemm peak "
                      f"{peak / 1e9:.0f} GFLOP/s; the fast step reaches {share:.0%} of it."]  # fmt: skip
            if share < PEAK_SHARE:
                missed.append(f"{share:.0%} of the sgemm peak, not {PEAK_SHARE:.0%}")
        lines.append("")
    extra, (compiled, loaded) = imports(), loading()
    lines += ["## How the fast step grows", "", *growth(args.threads), ""]
    lines += ["## Where its time goes", "", *parts(args.threads, args.batch), "", *parts(args.threads, 1), ""]
    lines += ["## Starting", "", f"`import minigen` takes {extra:.0f} ms over `import numpy`; the float32 kernels "
              f"compile in {compiled:.0f} s and load from the cache in {loaded:.2f} s."]  # fmt: skip
    for value, bound, words in ((extra, 50, "ms of import"), (compiled, 60, "s to compile"), (loaded, 1, "s to load")):
        if value > bound:
            missed.append(f"{value:.2f} {words}, not {bound}")
    print("\n".join(lines))
    args.out.write_text("\n".join(lines) + "\n", encoding="utf-8")
    for sentence in missed:
        print(f"missed: {sentence}")
    return 1 if args.check and missed else 0


if __name__ == "__main__":
    run(main)
