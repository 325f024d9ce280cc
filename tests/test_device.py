"""The array-module code on a stand-in for CuPy (tests/standin): the same numbers, and none read before it is shown.

The stand-in computes with NumPy, so that all that is compared here is compared to the last bit.
"""

import os
import shutil
import subprocess
import sys
from itertools import islice

import numpy as np
import pytest
import shim
from helpers import CONFIGS, HERE, PRIMER, ROOT, SONGS, STANDIN, done, draws_of, fresh, run_of, small, songs_of

import minigen
from minigen.backend import on_device, to_host, use_device
from minigen.errors import MinigenError
from minigen.gradcheck import toy_batch
from minigen.kernels import use_kernels
from minigen.ladder import LADDER
from minigen.music import steering
from minigen.music.dataset import Dataset
from minigen.run import checkpoint
from minigen.run.finetune import MODES, Finetune, play_learning
from minigen.run.likelihood import nats_per_step
from minigen.run.meta import Meta
from minigen.run.sample import generate, play
from minigen.run.trace import fingerprint
from minigen.run.train import Run, update, validate

needs_a_compiler = pytest.mark.skipif(shutil.which("g++") is None, reason="no g++ on the PATH, which the shim needs")
rungs = pytest.mark.parametrize("name", CONFIGS)
playing = pytest.mark.parametrize("name", [name for name in CONFIGS if name != "decoder"])
ROLLS = songs_of(70, 40, 24)


def data_of(model, rolls=ROLLS):
    return Dataset(rolls, model.config.past, 24, 8, model.config.key_shift)


def trained(name):
    return fresh(small(name, fragment=24, hop=8))


def same(here: dict, there: dict):
    """The same names, and under each the same bits of the same type, wherever they are."""
    assert here.keys() == there.keys()
    for name in here:
        a, b = np.asarray(to_host(here[name])), np.asarray(to_host(there[name]))
        assert a.dtype == b.dtype and a.tobytes() == b.tobytes(), name


def same_steps(here, there, n: int):
    for (keys, trace), (others, other) in zip(islice(here, n), islice(there, n), strict=True):
        assert isinstance(others, np.ndarray) and (keys == others).all()
        same(trace, other)


def same_run(here: Run, there: Run):
    arrays = [{"flat": run.params.flat, "m": run.moments.m, "v": run.moments.v} for run in (here, there)]
    same(*arrays)
    assert here.moments.step == there.moments.step and here.counters() == there.counters()


@rungs
def test_loss_and_gradients(name, cupy):
    model = small(name)
    params, batch = model.init(1), toy_batch(model, 24, 3)
    draws = draws_of(model, 24, 3) | model.prepared(batch)
    loss, grads, trace, state = model.loss(params, batch, draws)
    uploaded = params.with_flat(cupy.asarray(params.flat)), on_device(cupy, batch), on_device(cupy, draws)
    its_loss, its_grads, its_trace, its_state = model.loss(*uploaded)
    assert cupy.reads == 0
    same({"loss": loss, "grads": grads.flat} | state, {"loss": its_loss, "grads": its_grads.flat} | its_state)
    same(trace, its_trace)


@rungs
def test_five_steps_of_training_read_nothing(name, cupy):
    model = small(name)
    here, there, data = run_of(model), run_of(model, xp=cupy), data_of(model)
    for _ in range(5):
        losses, its_losses = (update(model, run, data, 0, range(2)) for run in (here, there))
    assert cupy.reads == 0 and len(there.ledger.unread) == 5 and not there.mean
    assert there.read() == here.mean and cupy.reads == 1
    same(losses, its_losses)
    same_run(here, there)


@pytest.mark.parametrize("what", ["loss", "gradient"])
def test_a_step_that_blows_up_changes_nothing_and_is_told_when_it_is_read(what, cupy):
    """Step 2 of 5 gives NaN: the weights of step 2 stay, and training can go on from them."""
    calls = {np: 0, cupy: 0}

    class Poisoned(LADDER["final"]):
        def loss(self, params, batch, draws, *args, **named):
            loss, grads, *rest = super().loss(params, batch, draws, *args, **named)
            xp = np if isinstance(loss, np.generic) else cupy
            calls[xp] += 1
            if calls[xp] == 3 and what == "loss":
                loss = loss + float("nan")
            elif calls[xp] == 3:
                grads.flat[7] = float("nan")
            return loss, grads, *rest

    model = Poisoned(small("final").config)
    data, here, there = data_of(model), run_of(model), run_of(model, xp=cupy)
    for _ in range(2):
        update(model, here, data, 0, range(2))
    with pytest.raises(MinigenError, match="at step 2: train again") as on_cpu:
        update(model, here, data, 0, range(2))
    for _ in range(5):
        update(model, there, data, 0, range(2))
    assert cupy.reads == 0 and there.step == 5
    with pytest.raises(MinigenError) as caught:
        there.read()
    assert caught.value.code == on_cpu.value.code == 3 and str(caught.value) == str(on_cpu.value)
    assert there.step == 2
    same_run(here, there)
    for run in (here, there):
        update(model, run, data, 0, range(2))
    same_run(here, there)


def test_learning_through_inner_steps_is_refused(cupy):
    model = small("pause-loss")
    with pytest.raises(MinigenError, match="--device cpu"):
        update(model, run_of(model, xp=cupy), data_of(model), 0, range(2), Meta(1, 1.0))


@rungs
def test_validation(name, cupy):
    here = trained(name)
    assert validate(here.model, here.params, ROLLS, 3) == validate(here.model, here.on(cupy).params, ROLLS, 3)


@rungs
def test_likelihood(name, cupy):
    here = trained(name)
    there, how = here.on(cupy), {"N": 4, "runs": 2}
    found, its = (nats_per_step(at.model, at.params, ROLLS[1:], **how) for at in (here, there))
    assert found == its


@rungs
def test_playing(name, cupy):
    here = trained(name)
    same_steps(play(here, 3, PRIMER, 0.9), play(here.on(cupy), 3, PRIMER, 0.9), 40)


def test_playing_without_the_kernels_for_a_cpu(cupy, fast):
    here = trained("final")
    made = list(islice(play(here.on(cupy), 3, PRIMER), 20))
    use_kernels("reference", 1)
    same_steps(play(here, 3, PRIMER), made, 20)


def test_steering(cupy):
    here, asked = trained("final"), steering.steer(32, 5, "Am", "Am|E7", PRIMER)
    same_steps(*(play(at, 3, extra=steering.given_steps(asked, 5)) for at in (here, here.on(cupy))), 32)


@pytest.mark.slow
@pytest.mark.parametrize("mode", MODES)
@playing
def test_learning_while_playing(name, mode, cupy):
    here, tune = trained(name), Finetune(mode, 1e-2, 2, window=12)
    there = here.on(cupy)
    same_steps(*(play_learning(at, tune, 3, PRIMER, watch=lambda _: {}) for at in (here, there)), 6)
    assert fingerprint(here, tune) == fingerprint(there, tune)


def test_loading(cupy, tmp_path):
    here = trained("final")
    checkpoint.save(tmp_path / "a.npz", here.model, here.params, here.moments)
    there = minigen.load(tmp_path / "a.npz", device="cuda")
    assert {type(x) for x in (there.params.flat, there.moments.m, there.params["octave.Wx"])} == {cupy.ndarray}
    assert (generate(there, 2, 1) == generate(here, 2, 1)).all()
    with pytest.raises(MinigenError, match="'gpu'"):
        minigen.load(tmp_path / "a.npz", device="gpu")


def test_the_device_is_what_was_asked_for_and_is_told(cupy, monkeypatch):
    assert use_device("auto") == use_device("cuda") == (cupy, "cuda (no card, NumPy inside)")
    assert use_device("cpu") == (np, "cpu")
    monkeypatch.setattr(cupy, "ones", lambda *args: 1 / 0, raising=False)  # a card that does not work
    assert use_device("auto") == (np, "cpu (CuPy finds no working CUDA device)")
    with pytest.raises(MinigenError, match="use --device cpu"):
        use_device("cuda")


@needs_a_compiler
@pytest.mark.parametrize("name, most", [("pause-loss", 180), ("history", 110), ("simple", 105)])
def test_launches_of_a_training_step(name, most, cupy):
    """By the kernels, whatever T and B: products, kernels, copies, sums. A launch costs the host some microseconds."""
    model = small(name, voices=5) if name == "pause-loss" else small(name)
    data, run = data_of(model), run_of(model, xp=cupy)
    use_kernels("fast", 1, xp=cupy)
    cupy.runner = shim.beneath(cupy)
    update(model, run, data, 0, range(2))
    cupy.launches = 0
    update(model, run, data, 0, range(2))
    assert 0 < cupy.launches <= most


@needs_a_compiler
@pytest.mark.parametrize("name", ["simple", "conditional", "final", "feedback interleaved", "latency linked"])
def test_training_by_the_kernels(name, cupy):
    """The CUDA kernels, which the shim runs here: three updates as by the array code, but for rounding, and no number
    read."""
    model = small(name)
    shim.launched.clear()
    data, runs = data_of(model), [run_of(model, xp=cupy) for _ in range(2)]
    for choice, run in zip(("reference", "fast"), runs, strict=True):
        use_kernels(choice, 1, xp=cupy)
        cupy.runner, cupy.reads = shim.beneath(cupy), 0
        for _ in range(3):
            update(model, run, data, 0, range(2))
        assert cupy.reads == 0
    plain, fast = runs
    assert fast.read()["loss"] == pytest.approx(plain.read()["loss"], rel=1e-5)
    way, apart = plain.params.flat.get() - model.init(0).flat, fast.params.flat.get() - plain.params.flat.get()
    assert np.linalg.norm(apart) < 0.01 * np.linalg.norm(way)
    expected = {"adam"}
    expected |= {"lstm_forward", "lstm_backward"} if "latency linked" != name else set()
    expected |= {"voice_forward"} if model.conditional and model.config.voice_hidden else set()
    expected |= {"masked_loss_forward"} if model.config.keys == 12 else set()
    assert shim.launched >= expected


BENCHMARK = """
import cupy, shim
from benchmarks import gpu
from minigen.kernels import use_kernels

gpu.T, gpu.PLAYED, cupy.runner = 4, 2, shim.beneath(cupy)
use_kernels("fast", 1, xp=cupy)
calls = [gpu.minigen_step(cupy, 2), *gpu.recurrences(cupy, 2).values(), gpu.playing(cupy, 2)]
for call in calls * 2:
    call()
gpu.minigen_training(cupy, 2)()

class Event:
    now = 0

    def record(self):
        self.at, Event.now = Event.now, Event.now + 1

    def synchronize(self):
        pass

cupy.cuda.Event, cupy.cuda.get_elapsed_time = Event, lambda began, ended: 40.0 * (ended.at - began.at)
assert gpu.in_turn(cupy, {"a": lambda: None, "b": lambda: None}, 3, size=2) == {"a": [2.0] * 3, "b": [2.0] * 3}
assert abs(gpu.floor(100, 133, 132, 10**6) - 4 * 2 * 40_000 / 128 / 10**6) < 1e-12
rows = list(gpu.table({"a": [1.0, 2.0, 4.0], "b": [4.0]}, "a"))
assert rows == ["| a | 2.000 (1.000 to 4.000) | 1.00 |", "| b | 4.000 (4.000 to 4.000) | 2.00 |"]
"""


@needs_a_compiler
def test_what_the_benchmark_for_a_gpu_times():
    """Its own peers run, two steps each, in small; its floor and its table are what they say."""
    path = os.pathsep.join(map(str, (ROOT, ROOT / "scripts", HERE, STANDIN)))
    command, env = [sys.executable, "-c", BENCHMARK], os.environ | {"PYTHONPATH": path}
    ended = subprocess.run(command, env=env, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr


@pytest.mark.slow
@needs_a_compiler
def test_scripts_without_numba(tmp_path):
    """Training, resumed, as on the CPU to the last bit; then evaluating and playing."""
    songs = tmp_path / "songs"
    songs.mkdir()
    for path in SONGS[:3]:
        shutil.copy(path, songs)
    sizes = ["fragment=32", "hidden=20", "voice_hidden=6", "decoder_hidden=12"]
    asked = [songs, "--batch", 2, "--model", "pause-loss", "--schedule", "plateau"]
    asked += [*(word for size in sizes for word in ("--set", size))]
    there, alone = {"PYTHONPATH": str(STANDIN)}, "sys.modules['numba'] = None"
    cpu = "import atexit; atexit.register(lambda: print('cupy' in sys.modules))"
    plain = [*asked, "--device", "cuda", "--kernels", "reference", "--steps", 3, "--out", tmp_path / "cuda"]
    said = done("train", *plain, code=alone, **there)
    assert "device cuda (no card" in said and "kernels reference" in said
    more = ["--device", "auto", "--kernels", "reference", "--steps", 8]
    done("train", "--resume", tmp_path / "cuda", *more, code=alone, **there)
    asked += ["--device", "cpu", "--kernels", "reference", "--steps", 8, "--out", tmp_path / "cpu"]
    assert done("train", *asked, code=cpu, **there).endswith("False\n")
    cuda, cpu = (checkpoint.load(tmp_path / name / "last.npz") for name in ("cuda", "cpu"))
    assert (cuda.params.flat == cpu.params.flat).all() and (cuda.moments.v == cpu.moments.v).all()
    assert cuda.header["training"] | {"seconds": 0} == cpu.header["training"] | {"seconds": 0}
    best = tmp_path / "cuda" / "best.npz"
    asked = ["--device", "cuda", "--seeds", 1, "--bars", 8, "--particles", 2]
    by_shim = f"{alone}; sys.path.insert(0, {str(HERE)!r}); import cupy, shim; cupy.runner = shim.beneath(cupy)"
    assert "fast (CUDA)" in done("evaluate", best, songs, *asked, code=by_shim, **there)
    asked = [best, "--device", "cuda", "--bars", 2, "--out", tmp_path / "music"]
    said = done("sample", *asked, code=by_shim, **there)
    assert said.startswith("device cuda (no card")
    (made,) = (tmp_path / "music").glob("*.mid")
    assert ((minigen.read_midi(made)[:32] > 0) == (generate(checkpoint.load(best), 2) > 0)).all()
