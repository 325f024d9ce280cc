"""The array-module code elsewhere than on the host: the same numbers, and none read before it is shown.

On a stand-in for CuPy (tests/standin), which computes with NumPy: all is compared to the last bit. Where there is a
card, the same tests run there, by the array code and by the kernels, at full size (`pytest -m cuda`). Rounding differs
there: what is compared to a bound is made from the same notes, and a draw that falls within rounding of its edge may
fall the other way, about one in a million.
"""

import contextlib
import os
import shutil
import subprocess
import sys
import warnings
from itertools import islice

import numpy as np
import pytest
import shim
from helpers import (
    CONFIGS,
    HERE,
    PRIMER,
    ROOT,
    SONGS,
    STANDIN,
    done,
    draws_of,
    fresh,
    notes_of,
    run_of,
    small,
    songs_of,
)

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
LEARNING = [(name, "reset") for name in CONFIGS if name != "decoder"]
LEARNING += [(name, mode) for name in ("final", "ordered") for mode in MODES if mode != "reset"]
ROLLS = songs_of(70, 40, 24)


def data_of(model, rolls=ROLLS):
    return Dataset(rolls, model.config.past, 24, 8, model.config.key_shift)


class StandIn:
    """Where the arrays live: `xp`; `assert_same(here, there, bound)` compares to the last bit, whatever the bound."""

    exact = True

    def __init__(self, xp):
        self.xp = xp

    def model(self, name):
        return small(name, fragment=24, hop=8)

    def assert_same(self, here: dict, there: dict, bound=0.0):
        assert here.keys() == there.keys()
        for name in here:
            a, b = np.asarray(to_host(here[name])), np.asarray(to_host(there[name]))
            assert a.dtype == b.dtype, name
            self.assert_close(name, a, b, bound)

    def assert_close(self, name, a, b, bound):
        assert a.tobytes() == b.tobytes(), name

    def assert_steps_same(self, here, there, n: int, bound=1e-4):
        """n steps of playing; what is compared by a bound is what the others are drawn from."""
        for (keys, trace), (others, other) in zip(islice(here, n), islice(there, n), strict=True):
            assert isinstance(others, np.ndarray) and (keys == others).all() and trace.keys() == other.keys()
            names = trace if self.exact else trace.keys() & {"cells.P", "decoder.p", "voices.p", "finetune.loss_after"}
            self.assert_same({name: trace[name] for name in names}, {name: other[name] for name in names}, bound)

    def assert_runs_same(self, here: Run, there: Run, began=None):
        """Two runs that have come to the same weights; on a card, within a part of their way from `began`."""
        arrays = [{"flat": run.params.flat, "m": run.moments.m, "v": run.moments.v} for run in (here, there)]
        if self.exact:
            self.assert_same(*arrays)
            assert here.counters() == there.counters()
        elif began is not None:
            way, apart = here.params.flat - began, to_host(there.params.flat) - here.params.flat
            assert np.linalg.norm(apart) < 0.05 * np.linalg.norm(way)
        assert here.moments.step == there.moments.step

    @contextlib.contextmanager
    def read_nothing(self):
        before = self.xp.reads
        yield
        assert self.xp.reads == before


class Card(StandIn):
    """The same on a GPU, by a bound of the largest number."""

    exact = False

    def model(self, name):
        return LADDER[name.split()[0]](CONFIGS[name])

    def assert_close(self, name, a, b, bound):
        apart, most = np.abs(b - a.astype(np.float64)).max(initial=0), np.abs(a.astype(np.float64)).max(initial=0)
        assert apart <= bound * most, f"{name}: {apart:.2e} of {most:.2e}"

    @contextlib.contextmanager
    def read_nothing(self):
        """As far as CuPy can tell: it notices its own copies and waits, not those of a library."""
        import cupyx

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with cupyx.allow_synchronize(False):
                yield


def filled(xp, size: int):
    """Memory in which what is not written shows: floats are NaN."""
    memory = xp.get_default_memory_pool().malloc(size)
    memory.memset(0xFF, size)
    return memory


CARDS = [pytest.param(kernels, marks=pytest.mark.cuda, id=f"card-{kernels}") for kernels in ("reference", "fast")]


@pytest.fixture(params=["stand-in", *CARDS])
def at(request):
    if request.param == "stand-in":
        yield StandIn(request.getfixturevalue("cupy"))
        return
    xp = card()
    xp.cuda.set_allocator(lambda size: filled(xp, size))
    use_kernels(request.param, xp=xp)
    yield Card(xp)
    xp.cuda.set_allocator(xp.get_default_memory_pool().malloc)
    use_kernels("reference", 1)


def card():
    """CuPy, or the test is skipped with the reason."""
    try:
        return use_device("cuda")[0]
    except MinigenError as error:
        pytest.skip(f"no GPU here: {error}")


@rungs
def test_loss_and_gradients(name, at):
    model, (T, B) = at.model(name), (24, 3) if at.exact else (128, 4)
    params, batch = model.init(1), toy_batch(model, T, B)
    draws = draws_of(model, T, B) | model.prepared(batch)
    draws |= {} if at.exact else notes_of(model, model.loss(params, batch, draws, grad=False)[2])
    loss, grads, trace, state = model.loss(params, batch, draws)
    uploaded = params.with_flat(at.xp.asarray(params.flat)), on_device(at.xp, batch), on_device(at.xp, draws)
    with at.read_nothing():
        its_loss, its_grads, its_trace, its_state = model.loss(*uploaded)
    at.assert_same({"loss": loss} | grads.views | state, {"loss": its_loss} | its_grads.views | its_state, 1e-5)
    at.assert_same(trace, its_trace, 1e-4)


@rungs
def test_five_steps_of_training_read_nothing(name, at):
    model = at.model(name)
    here, there, data = run_of(model), run_of(model, xp=at.xp), data_of(model)
    update(model, run_of(model, xp=at.xp), data, 0, range(2))  # kernels are compiled and loaded
    began = here.params.flat
    for _ in range(5):
        losses = update(model, here, data, 0, range(2))
        with at.read_nothing():
            its_losses = update(model, there, data, 0, range(2))
    assert len(there.ledger.unread) == 5 and not there.mean
    read = at.xp.reads if at.exact else 0
    means = there.read()
    assert not at.exact or at.xp.reads == read + 1  # all at once
    at.assert_same(here.mean, means, 3e-3)
    at.assert_same(losses, its_losses, 3e-3)
    at.assert_runs_same(here, there, began)


@pytest.mark.parametrize("what", ["loss", "gradient"])
def test_a_step_that_blows_up_changes_nothing_and_is_told_when_it_is_read(what, at):
    """Step 2 of 5 gives NaN: the weights of step 2 stay, and training can go on from them."""
    calls = {True: 0, False: 0}

    class Poisoned(LADDER["final"]):
        def loss(self, params, batch, draws, *args, **named):
            loss, grads, *rest = super().loss(params, batch, draws, *args, **named)
            on_host = isinstance(loss, np.generic)
            calls[on_host] += 1
            if calls[on_host] == 3 and what == "loss":
                loss = loss + float("nan")
            elif calls[on_host] == 3:
                grads.flat[7] = float("nan")
            return loss, grads, *rest

    model = Poisoned(small("final").config)
    data, here, there = data_of(model), run_of(model), run_of(model, xp=at.xp)
    began = here.params.flat
    for _ in range(2):
        update(model, here, data, 0, range(2))
    with pytest.raises(MinigenError, match="at step 2: train again") as on_cpu:
        update(model, here, data, 0, range(2))
    with at.read_nothing():
        for _ in range(5):
            update(model, there, data, 0, range(2))
    assert there.step == 5
    with pytest.raises(MinigenError) as caught:
        there.read()
    assert caught.value.code == on_cpu.value.code == 3 and str(caught.value) == str(on_cpu.value)
    assert there.step == 2
    at.assert_runs_same(here, there, began)
    for run in (here, there):
        update(model, run, data, 0, range(2))
    at.assert_runs_same(here, there, began)


@pytest.mark.cuda
def test_cupy_can_tell_that_it_waits():
    """Else `read_nothing` shows nothing on a card."""
    cupyx, xp = pytest.importorskip("cupyx"), card()
    with pytest.raises(cupyx.DeviceSynchronized), Card(xp).read_nothing():
        float(xp.ones(1)[0])


@rungs
def test_what_it_is_worth(name, at):
    here = fresh(at.model(name))
    there, how = here.on(at.xp), {"N": 4, "runs": 2}
    at.assert_same(*(validate(where.model, where.params, ROLLS, 3) for where in (here, there)), 1e-4)
    found, its = (nats_per_step(where.model, where.params, ROLLS[1:], **how) for where in (here, there))
    if at.exact:
        assert found == its
    else:
        assert its["both"] == pytest.approx(found["both"], rel=1e-3) and its["left out"] == found["left out"]


@rungs
def test_playing(name, at):
    here = fresh(at.model(name))
    at.assert_steps_same(play(here, 3, PRIMER, 0.9), play(here.on(at.xp), 3, PRIMER, 0.9), 40)


def test_steering(at):
    here, asked = fresh(at.model("final")), steering.steer(32, 5, "Am", "Am|E7", PRIMER)
    at.assert_steps_same(
        *(play(where, 3, extra=steering.given_steps(asked, 5)) for where in (here, here.on(at.xp))), 32
    )


@pytest.mark.slow
@pytest.mark.parametrize("name, mode", LEARNING)
def test_learning_while_playing(name, mode, at):
    here, tune = fresh(at.model(name)), Finetune(mode, 1e-2 if at.exact else 1e-4, 2, window=12)
    there = here.on(at.xp)
    at.assert_steps_same(
        *(play_learning(where, tune, 3, PRIMER, watch=lambda _: {}) for where in (here, there)), 6, 1e-3
    )
    assert fingerprint(here, tune) == fingerprint(there, tune)


def test_learning_through_inner_steps_is_refused(cupy):
    model = small("pause-loss")
    with pytest.raises(MinigenError, match="--device cpu"):
        update(model, run_of(model, xp=cupy), data_of(model), 0, range(2), Meta(1, 1.0))


def test_playing_without_the_kernels_for_a_cpu(cupy, fast):
    here, at = fresh(small("final")), StandIn(cupy)
    made = list(islice(play(here.on(cupy), 3, PRIMER), 20))
    use_kernels("reference", 1)
    at.assert_steps_same(play(here, 3, PRIMER), made, 20)


def test_loading(cupy, tmp_path):
    here = fresh(small("final"))
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
@pytest.mark.slow
@pytest.mark.parametrize("name, most", [("pause-loss", 180), ("history", 110), ("simple", 85), ("ordered", 240)])
def test_launches_of_a_training_step(name, most, cupy):
    """By the kernels: products, kernels, copies, sums. Where T and B grow so do they, but LSTMs of over 108 units take
    two launches a step. A launch costs the host some microseconds."""
    model = small(name, voices=CONFIGS[name].voices)
    data, run = Dataset(ROLLS, model.config.past, 128, 8, False), run_of(model, xp=cupy)
    use_kernels("fast", 1, xp=cupy)
    cupy.runner = shim.beneath(cupy)
    update(model, run, data, 0, range(2))
    cupy.launches = 0
    update(model, run, data, 0, range(2))
    assert 0 < cupy.launches <= most


@needs_a_compiler
@pytest.mark.parametrize(
    "name", ["simple", "conditional", "final", "ordered", "feedback interleaved", "latency linked"]
)
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
    expected |= {"union_forward", "union_backward"} if model.config.voices and not model.in_order else set()
    expected |= (
        {"read_forward", "read_backward"} if hasattr(model.config, "lags") and "reader.Wx" in model.shapes() else set()
    )
    expected |= {"voice_forward"} if model.conditional and model.config.voice_hidden else set()
    expected |= {"masked_loss_forward"} if model.config.keys == 12 else set()
    assert shim.launched >= expected


BENCHMARK = """
import cupy, shim
from benchmarks import gpu, peers
from minigen.kernels import use_kernels

gpu.T, gpu.PLAYED, cupy.runner = 4, 2, shim.beneath(cupy)
use_kernels("fast", 1, xp=cupy)
calls = [peers.minigen_step("fast", 1, 4, 2, cupy), *gpu.recurrences(cupy, 2).values(), gpu.playing(cupy, 2)]
for call in calls * 2:
    call()
gpu.CALLS = 1
gpu.minigen_training(cupy, 2, thread=True)()

class Event:
    now = 0

    def record(self):
        self.at, Event.now = Event.now, Event.now + 1

    def synchronize(self):
        pass

cupy.cuda.Event, cupy.cuda.get_elapsed_time = Event, lambda began, ended: 40.0 * (ended.at - began.at)
assert gpu.in_turn(cupy, {"a": lambda: None}, 3, times=20, size=2) == {"a": [2.0] * 3}
assert abs(gpu.floor(100, 133, 132, 10**6) - 4 * 2 * 40_000 / 128 / 10**6) < 1e-12
rows = list(gpu.table({"a": [1.0, 2.0, 4.0], "b": [4.0]}, "a"))
assert rows == ["| a | 2.000 (1.000 to 4.000) | 1.00 |", "| b | 4.000 (4.000 to 4.000) | 2.00 |"]
"""


@pytest.mark.slow
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


@pytest.mark.cuda
def test_scripts_on_a_card(tmp_path):
    def script(name, *args):
        return done(name, *args, "--device", "cuda", CUDA_VISIBLE_DEVICES=os.environ.get("CUDA_VISIBLE_DEVICES", "0"))

    card()
    assert "device cuda (" in script("train", "--batch", 4, "--steps", 3, "--out", tmp_path / "run")
    script("train", "--resume", tmp_path / "run", "--steps", 6)
    best = tmp_path / "run" / "best.npz"
    assert "device cuda (" in script("sample", best, "--bars", 2, "--finetune", "reset", "--out", tmp_path / "music")
    assert minigen.read_midi(next((tmp_path / "music").glob("*.mid"))).any()
    assert "device cuda (" in script("evaluate", best, "--seeds", 1, "--bars", 8, "--particles", 2)
    assert checkpoint.load(tmp_path / "run" / "last.npz").header["training"]["step"] == 6


@pytest.mark.cuda
@pytest.mark.parametrize("tool", ["memcheck", "racecheck", "initcheck"])
def test_compute_sanitizer_finds_nothing(tool):
    """On two rungs, which have a kernel of every kind, with memory that is not taken out of a pool."""
    card()
    sanitizer = shutil.which("compute-sanitizer") or pytest.skip("not run: there is no compute-sanitizer on the PATH")
    command = [sanitizer, "--tool", tool, "--error-exitcode", "9"]
    command += [sys.executable, "-c", "import test_device; test_device.for_the_sanitizer()"]
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    ended = subprocess.run(command, cwd=HERE, env=env, capture_output=True, text=True, timeout=600)
    assert ended.returncode == 0, ended.stdout[-3000:] + ended.stderr[-3000:]


def for_the_sanitizer():
    """A step of training on two fragments of eight steps, of an LSTM that is too large for one launch too; two steps of
    playing, by the kernels."""
    xp = card()
    xp.cuda.set_allocator(None)
    use_kernels("fast", xp=xp)
    model = LADDER["pause-loss"]()
    run = run_of(model, xp=xp)
    update(model, run, Dataset(ROLLS, model.config.past, 8, 8), 0, range(2))
    run.read()
    list(islice(play(checkpoint.Trained(model, run.params, {}, None), 0, PRIMER[-4:]), 2))
    model = LADDER["simple"]()
    update(model, run_of(model, xp=xp), Dataset(ROLLS, model.config.past, 8, 8), 0, range(2))
