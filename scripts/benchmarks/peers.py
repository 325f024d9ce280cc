"""The programs that the benchmark compares: each in a process of its own, asked in turn.

Run by scripts/benchmark.py, as `python scripts/benchmarks/peers.py NAME THREADS BATCH`; not meant to be run by hand.
"""

import json
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np

from minigen.adam import Moments, adam
from minigen.backend import on_device
from minigen.draws import uniforms
from minigen.errors import MinigenError, run
from minigen.kernels import keep_memory, use_kernels
from minigen.ladder import LADDER

T = 256
PLAYED = 64  # steps of a piece that are timed together
WHOLE, KEPT = "PyTorch", "PyTorch, memory kept"
PEERS = ("minigen, fast", "minigen, reference", WHOLE, KEPT)
PLAYING = ("minigen, playing, whole", "minigen, playing, fast", "minigen, playing, reference", "PyTorch, playing")
LEARNING = ("minigen, learning, whole", "minigen, learning, fast", "PyTorch, learning")


def problem(T: int, B: int):
    """A model, weights, a batch and its uniforms, with the density of real music."""
    model, rng = LADDER["pause-loss"](), np.random.default_rng(0)
    c = model.config
    roll = (rng.random((c.past + T, B, 88)) < 0.02).astype(np.uint8)
    batch = {"roll": roll, "start": np.zeros(B, np.int64), "mask": np.ones((T, B), bool)}
    u = uniforms(0, "benchmark", 0, range(B), (T, c.voices)).transpose(2, 1, 0)
    return model, model.init(0), batch, {"voices.u": u}


def minigen_step(kernels: str, threads: int, T: int, B: int, xp=np):
    """A function that takes one training step, its batch already where the weights are."""
    use_kernels(kernels, threads, xp=xp)
    model, params, *inputs = problem(T, B)
    flat, inputs = xp.asarray(params.flat), [on_device(xp, arrays) for arrays in inputs]
    state = [params.with_flat(flat), Moments.of(flat)]

    def step():
        _, grads, _, _ = model.loss(state[0], *inputs)
        flat, state[1] = adam(state[0].flat, grads.flat, state[1], 1e-4)
        state[0] = state[0].with_flat(flat)

    return step


def notes_for_torch(model, given: dict):
    """Outcomes made of the uniforms, (T, B, V) as the PyTorch program has them."""
    return np.moveaxis((given["voices.u"] * (model.config.keys + 1)).astype(np.int64), 0, 2)


def torch_step(threads: int, T: int, B: int):
    """The same in PyTorch, given the notes."""
    import torch

    from minigen.checks import torch_model

    torch.set_num_threads(threads)
    model, params, batch, given = problem(T, B)
    notes = notes_for_torch(model, given)
    tensors = {name: torch.tensor(array) for name, array in (batch | {"notes": notes}).items()}
    weights = torch_model.prepare({name: torch.tensor(params[name]) for name in params})
    weights = {name: w.detach().clone().requires_grad_() for name, w in weights.items()}
    optimiser = torch_model.optimiser(weights, 1e-4)
    options = {"lags": model.config.lags, "pause_loss": True, "stop_gradient": False}
    return lambda: torch_model.step(weights, optimiser, tensors, **options)


def minigen_play(kernels: str, threads: int, learning: bool):
    """A function that plays PLAYED steps of a piece; learning: the last T steps trained on, once, before each."""
    from minigen.run.checkpoint import Trained
    from minigen.run.finetune import Finetune, play_learning
    from minigen.run.sample import play

    use_kernels(kernels, threads)
    model, params, _, _ = problem(1, 1)
    trained, primer = Trained(model, params, {}, None), problem(T, 1)[2]["roll"][-T:, 0]
    steps = play_learning(trained, Finetune("reset"), 0, primer) if learning else play(trained)

    def play_some():
        for _ in range(PLAYED):
            next(steps)

    return play_some


def torch_play(threads: int, learning: bool):
    """The same in PyTorch; what it trains on is given, notes and all, and the states are run again with new weights."""
    import torch

    from minigen.checks import torch_model

    torch.set_num_threads(threads)
    model, params, batch, given = problem(T, 1)
    c, past = model.config, model.config.past
    learned = {
        name: w.detach() for name, w in torch_model.prepare({n: torch.tensor(params[n]) for n in params}).items()
    }
    notes = notes_for_torch(model, given)
    window = {name: torch.tensor(array) for name, array in (batch | {"notes": notes}).items()}
    options = {"lags": c.lags, "pause_loss": True, "stop_gradient": False}
    roll, state, rng, time = torch.zeros(past, 88), {}, np.random.default_rng(0), 0

    def play_some():
        nonlocal roll, state, time
        for _ in range(PLAYED):
            weights = learned
            if learning:
                weights = {name: w.clone().requires_grad_() for name, w in learned.items()}
                torch_model.step(weights, torch_model.optimiser(weights, 1e-4), window, **options)
                with torch.no_grad():
                    state = torch_model.loss(weights, **window, **options)["state"]
            u, u_keys = (torch.tensor(rng.random(n, np.float32)) for n in (c.voices, 88))
            keys, state, _ = torch_model.play(weights, roll, time, state, u, u_keys, lags=c.lags)
            roll, time = torch.cat([roll[1:], keys[None]]), time + 1

    return play_some


def make(peer: str, threads: int, T: int, B: int):
    if peer in PLAYING + LEARNING:
        learning = peer in LEARNING
        if peer.startswith("PyTorch"):
            return torch_play(threads, learning)
        return minigen_play(peer.rpartition(", ")[2], threads, learning)
    if peer.startswith("minigen"):
        return minigen_step(peer.partition(", ")[2], threads, T, B)
    if peer == KEPT and not keep_memory():
        raise MinigenError("this system's malloc cannot be set to keep memory: run the benchmark on Linux with glibc")
    return torch_step(threads, T, B)


def peak_memory() -> float:
    """MiB that this process has had in memory at most, since 5 was written to `/proc/self/clear_refs`."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024


def serve(peer: str, threads: int, B: int) -> None:
    """In a process of its own: warm up on a small batch, then for every line that comes two steps, the second timed."""
    make(peer, threads, 4, 2)()  # the peers that play know no other size
    Path("/proc/self/clear_refs").write_text("5")
    before = peak_memory()
    step = make(peer, threads, T, B)
    print("ready", flush=True)
    for _ in sys.stdin:
        step()
        began = time.perf_counter()
        step()
        took = time.perf_counter() - began
        print(json.dumps([took, peak_memory() - before]), flush=True)


def alternate(peers, threads: int, B: int, rounds: int) -> dict:
    """{peer: (seconds of each step, MiB of growth)}; the first turn of each is not counted."""
    arguments = [str(threads), str(B)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    served = {peer: subprocess.Popen([sys.executable, __file__, peer, *arguments], **pipes) for peer in peers}
    found = {peer: ([], []) for peer in peers}
    try:
        if any(process.stdout.readline().strip() != "ready" for process in served.values()):
            raise MinigenError("one of the programs could not start: see its message above")
        for n in range(rounds + 1):
            for peer, process in served.items():
                print("go", file=process.stdin, flush=True)
                took, growth = json.loads(process.stdout.readline())
                if n:
                    found[peer][0].append(took)
                found[peer][1].append(growth)
    finally:
        for process in served.values():
            process.stdin.close()
            process.wait()
    return {peer: (times, max(growth)) for peer, (times, growth) in found.items()}


if __name__ == "__main__":
    run(lambda: serve(sys.argv[1], *map(int, sys.argv[2:])))
