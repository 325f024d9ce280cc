"""minigen on a GPU beside PyTorch and cuDNN there, in one process; `python scripts/benchmark.py --device cuda`.

A figure is the median of rounds, with the smallest and the largest, in milliseconds between two CUDA events around
several calls; in every round each peer is run in turn. A large product is queued before the first event, so that what
Python does before the first launch is not counted, and before each table products warm the clock.
"""

import functools
import sys
import time
from collections.abc import Iterator
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[2]), str(Path(__file__).resolve().parents[1])]

import numpy as np
from benchmarks import peers
from benchmarks.peers import PLAYED, T, problem

from minigen.adam import Moments
from minigen.kernels import use_kernels
from minigen.music.dataset import Dataset
from minigen.run.ahead import Ahead
from minigen.run.train import READ, Run, inputs_of, update_on

NAMES = ("minigen, reference", "minigen, kernels", "PyTorch, TF32 off", "PyTorch, TF32 on")
WARM = 0.2  # seconds
CALLS = 20  # that are timed together
BIASES = """PyTorch is the model of the parity test, run eagerly: no `torch.compile`, no CUDA graph; cuDNN copies the
weights of an LSTM into one block at each call, and the voices run one after the other: a tuned program would be faster.
It is given the notes, where minigen draws them. Its products are TF32 or float32, as the row says; ours float32."""
BOUNDS = {NAMES[2]: 3.0}  # at B = 128: the kernels are at least this many times as fast; the goal is 5
RECURRENCE = {"forward": 0.130, "backward": 0.200}  # ms, of 112 -> 100 at B = 128, T = 256, without its products
WAYS = {NAMES[0]: "reference", NAMES[1]: "fast"}
WHOLE = {"minigen, whole training": True, "the same, no thread for batches": False}


def floor(H: int, B: int, processors: int, kilohertz: int) -> float:
    """Milliseconds below which a recurrence of T steps cannot come, H up to 108: 4 H^2 multiply-adds per step and
    row, 128 per clock on each multiprocessor, a row on one of them at a time."""
    waves = -(-B // processors)
    return T * waves * 4 * H * H / 128 / kilohertz


def in_turn(xp, calls: dict, rounds: int, times: int = CALLS, size: int = 4096) -> dict:
    """{name: milliseconds a call in each round}, `times` calls timed together; a first round, in which kernels are
    compiled, is not counted. Products of `size` warm the clock and are queued ahead."""
    found, square = {name: [] for name in calls}, xp.ones((size, size), "float32")
    end = time.monotonic() + WARM
    while time.monotonic() < end:
        float((square @ square)[0, 0])
    for n in range(rounds + 1):
        for name, call in calls.items():
            use_kernels(WAYS.get(name, "fast"), xp=xp)
            began, ended = xp.cuda.Event(), xp.cuda.Event()
            square @ square
            began.record()
            for _ in range(times):
                call()
            ended.record()
            ended.synchronize()
            if n:
                found[name].append(xp.cuda.get_elapsed_time(began, ended) / times)
    return found


def minigen_training(xp, B: int, thread: bool):
    """CALLS steps as scripts/train.py takes them: batches are made, by a thread or not, and uploaded; losses are read
    every READ steps."""
    model, params, batch, _ = problem(T, B)
    data = Dataset.of(list(batch["roll"].swapaxes(0, 1)), model.config)
    flat = xp.asarray(params.flat)
    state = Run(params.with_flat(flat), Moments.of(flat), 1e-4)
    ahead = Ahead(lambda step: inputs_of(model, data, 0, step, range(B)), thread)

    def steps():
        for _ in range(CALLS):
            update_on(ahead.take(state.step), model, state)
            if state.step % READ == 0:
                state.read()

    return steps


def on_card(make, tf32: bool = True):
    """What `make()` gives, a function of PyTorch's, made and called with the card as the place of new tensors."""
    import torch

    def call():
        torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = tf32
        with torch.device("cuda"):
            once()

    with torch.device("cuda"):
        once = make()
    return call


def recurrences(xp, B: int) -> dict:
    """The recurrence alone of 112 -> 100, without the products around it."""
    from minigen.kernels.cuda.lstm import run, run_back

    rng, H = np.random.default_rng(0), 100

    def random(*shape):
        return xp.asarray(rng.normal(size=shape, scale=0.1).astype(np.float32))

    gates, Wh, b, h0, c0 = (
        random(T, B, 1, 4 * H),
        random(1, H, 4 * H),
        random(1, 4 * H),
        *(random(1, B, H) for _ in "hc"),
    )
    h, c, dh = random(1, T + 1, B, H), random(1, T + 1, B, H), random(1, T, B, H)
    forward = functools.partial(run, gates, Wh, b, h0, c0, h, c)
    return {"forward": forward, "backward": lambda: run_back(dh, None, gates, c, Wh)}


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
    lines += [f"{card['name'].decode()}, driver {driver}; {versions}; T = {T}, {rounds} rounds.", "", BIASES, ""]
    pool = xp.get_default_memory_pool()
    for B in (128, 1024):
        calls = {name: peers.minigen_step(WAYS[name], 1, T, B, xp) for name in NAMES[:2]}
        calls |= {name: on_card(lambda B=B: peers.torch_step(1, T, B), name == NAMES[3]) for name in NAMES[2:]}
        found, memory = in_turn(xp, calls, rounds), {}
        whole = {name: minigen_training(xp, B, thread) for name, thread in WHOLE.items()}
        found |= {name: np.divide(times, CALLS) for name, times in in_turn(xp, whole, rounds, 1).items()}
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
        lines += [*table(found, mine, lambda name, of=memory: (f"{of[name] / 2**20:.0f}" if name in of else "",)), ""]
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
        alone = on_card(lambda: peers.torch_play(1, learning=False))  # its program plays one stream
        calls = {name: playing(xp, B) for name in NAMES[:2]} | ({"PyTorch": alone} if B == 1 else {})
        found = {name: np.divide(times, PLAYED) for name, times in in_turn(xp, calls, rounds, 1).items()}
        lines += ["", f"## A step of playing, {B} streams" if B > 1 else "## A step of playing, one stream", ""]
        lines += [*HEAD, *table(found, mine)]
    lines += ["", "## Bounds missed", "", *(f"* {sentence}" for sentence in missed or ["none"])]
    return lines, missed
