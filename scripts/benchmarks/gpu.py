"""minigen on a GPU beside PyTorch and cuDNN there, in one process; `python scripts/benchmark.py --device cuda`.

A figure is the median of rounds, with the smallest and the largest, in milliseconds between two CUDA events; in every
round each peer is run in turn. PyTorch is the model of the parity test, without `torch.compile`; its LSTM is cuDNN's,
whose products may be TF32, as the table states; minigen's are float32 as CuPy makes them. PyTorch is given the notes,
which minigen draws.
"""

import sys
from collections.abc import Iterator
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[2]), str(Path(__file__).resolve().parents[1])]

import numpy as np
from benchmarks import peers
from benchmarks.peers import PLAYED, T, problem

from minigen.adam import Moments, adam, all_finite
from minigen.backend import on_device
from minigen.kernels import use_kernels

NAMES = ("minigen, reference", "minigen, kernels", "PyTorch, TF32 off", "PyTorch, TF32 on")
BOUNDS = {NAMES[2]: 5.0, NAMES[3]: 3.0}  # at B = 128: the kernels are at least this many times as fast
RECURRENCE = {"forward": 0.130, "backward": 0.200}  # ms, of 112 -> 100 at B = 128, T = 256, without its products
WAYS = {NAMES[0]: "reference", NAMES[1]: "fast"}


def floor(H: int, B: int, processors: int, kilohertz: int) -> float:
    """Milliseconds below which a recurrence of T steps cannot come, H up to 108: 4 H^2 multiply-adds per step and
    row, 128 per clock on each multiprocessor, a row on one of them at a time."""
    waves = -(-B // processors)
    return T * waves * 4 * H * H / 128 / kilohertz


def in_turn(xp, calls: dict, rounds: int) -> dict:
    """{name: milliseconds of each round}; a first round, in which kernels are compiled, is not counted."""
    found = {name: [] for name in calls}
    for n in range(rounds + 1):
        for name, call in calls.items():
            use_kernels(WAYS.get(name, "fast"), xp=xp)
            began, ended = xp.cuda.Event(), xp.cuda.Event()
            began.record()
            call()
            ended.record()
            ended.synchronize()
            if n:
                found[name].append(xp.cuda.get_elapsed_time(began, ended))
    return found


def minigen_step(xp, B: int):
    """A training step, nothing copied back."""
    model, params, batch, given = problem(T, B)
    batch, given = on_device(xp, batch), on_device(xp, given)
    params = params.with_flat(xp.asarray(params.flat))
    state = [params, Moments.of(params.flat)]

    def step():
        loss, grads, _, _ = model.loss(state[0], batch, given)
        finite = all_finite(grads.flat, loss)
        flat, state[1] = adam(state[0].flat, grads.flat, state[1], 1e-4, finite)
        state[0] = state[0].with_flat(flat)

    return step


def torch_step(name: str, B: int):
    import torch

    with torch.device("cuda"):
        once = peers.torch_step(1, T, B)

    def step():
        tf32(name == NAMES[3])
        with torch.device("cuda"):
            once()

    return step


def tf32(allowed: bool) -> None:
    import torch

    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = allowed


def recurrences(xp, B: int) -> dict:
    """The recurrence alone of 112 -> 100, without the products around it."""
    from minigen.kernels.cuda.lstm import run, run_back

    rng, H = np.random.default_rng(0), 100

    def random(*shape):
        return xp.asarray(rng.normal(size=shape, scale=0.1).astype(np.float32))

    gates, Wh, b, h, c = (random(1, *shape) for shape in ((T, B, 4 * H), (H, 4 * H), (4 * H,), *((T + 1, B, H),) * 2))
    dh, dc = random(1, T, B, H), random(1, B, H)
    return {"forward": lambda: run(gates, Wh, b, h, c), "backward": lambda: run_back(dh, dc, gates, c, Wh)}


def playing(xp, B: int):
    """PLAYED steps of B streams, with uniforms that are uploaded; the state is carried."""
    model, params, _, _ = problem(1, 1)
    params = params.with_flat(xp.asarray(params.flat))
    rng, now = np.random.default_rng(0), [model.initial_state(params, B), xp.zeros((B, 88), np.uint8)]

    def play_some():
        for _ in range(PLAYED):
            shapes = model.draw_shapes(B).items()
            u = {name: xp.asarray(rng.random(shape, np.float32)) for name, shape in shapes}
            now[1], _, now[0] = model.step(params, now[0], now[1], u)

    return play_some


def torch_playing():
    """The same of one stream, the only number that the model of the parity test plays."""
    import torch

    with torch.device("cuda"):
        play = peers.torch_play(1, learning=False)

    def play_some():
        with torch.device("cuda"):
            play()

    return play_some


def table(found: dict, beside: str, more=lambda name: ()) -> Iterator[str]:
    """Rows of medians, and how many times as long as `beside` each takes."""
    mine = np.median(found[beside])
    for name, times in found.items():
        middle = np.median(times)
        row = (name, f"{middle:.3f} ({min(times):.3f} to {max(times):.3f})", f"{middle / mine:.2f}", *more(name))
        yield f"| {' | '.join(row)} |"


HEAD = ["| | ms: median (min to max) | minigen's kernels are so many times as fast |", "| --- | --- | --- |"]


def report(xp, rounds: int) -> tuple[list[str], list[str]]:
    """The tables, and the bounds missed."""
    import torch

    card, mine, missed = xp.cuda.runtime.getDeviceProperties(0), NAMES[1], []
    lines = ["# minigen on a GPU, beside PyTorch", ""]
    versions = f"CuPy {xp.__version__}, PyTorch {torch.__version__}, cuDNN {torch.backends.cudnn.version()}"
    driver = xp.cuda.runtime.driverGetVersion()
    lines += [f"{card['name'].decode()}, driver {driver}; {versions}; T = {T}, {rounds} rounds.", ""]
    pool = xp.get_default_memory_pool()
    for B in (128, 1024):
        calls = {name: minigen_step(xp, B) for name in NAMES[:2]}
        calls |= {name: torch_step(name, B) for name in NAMES[2:]}
        found, memory = in_turn(xp, calls, rounds), {}
        for name, call in calls.items():
            use_kernels(WAYS.get(name, "fast"), xp=xp)
            pool.free_all_blocks()
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
            before = pool.total_bytes(), torch.cuda.memory_allocated()
            call()
            after = pool.total_bytes(), torch.cuda.max_memory_allocated()
            memory[name] = sum(after) - sum(before)
        lines += [f"## A training step of `pause-loss`, B = {B}", ""]
        lines += [f"{HEAD[0]} memory it takes, MiB |", f"{HEAD[1]} --- |"]
        lines += [*table(found, mine, lambda name, of=memory: (f"{of[name] / 2**20:.0f}",)), ""]
        for name, bound in BOUNDS.items():
            times = np.median(found[name]) / np.median(found[mine])
            if B == 128 and times < bound:
                missed.append(f"{times:.2f} times as fast as {name} at B = {B}, not {bound}")
    least = floor(100, 128, *(xp.cuda.Device().attributes[name] for name in ("MultiProcessorCount", "ClockRate")))
    lines += ["## The recurrence alone, 112 -> 100, B = 128", ""]
    lines += [f"Its floor by arithmetic, 4 H^2 multiply-adds per step and row, is {least:.3f} ms.", ""]
    lines += ["| | ms: median (min to max) | share of the floor | bound, ms |", "| --- | --- | --- | --- |"]
    for way, times in in_turn(xp, recurrences(xp, 128), rounds).items():
        middle, bound = np.median(times), RECURRENCE[way]
        spread = f"{middle:.3f} ({min(times):.3f} to {max(times):.3f})"
        lines.append(f"| {way} | {spread} | {least / middle:.0%} | {bound} |")
        if middle > bound:
            missed.append(f"{middle:.3f} ms for the recurrence {way}, not {bound}")
    for B in (1, 1024):
        calls = {name: playing(xp, B) for name in NAMES[:2]} | ({"PyTorch": torch_playing()} if B == 1 else {})
        found = {name: np.divide(times, PLAYED) for name, times in in_turn(xp, calls, rounds).items()}
        lines += ["", f"## A step of playing, {B} streams" if B > 1 else "## A step of playing, one stream", ""]
        lines += [*HEAD, *table(found, mine)]
    lines += ["", "## Bounds missed", "", *(f"* {sentence}" for sentence in missed or ["none"])]
    return lines, missed
