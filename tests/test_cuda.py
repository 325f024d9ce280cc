"""On a GPU: every rung against the CPU. Skipped, with the reason, where there is no CuPy or no card.

Rounding differs, so that what is compared to a bound is made from the same notes; a draw that falls within rounding of
its edge may fall the other way, about one in a million.
"""

import os
import shutil
import subprocess
import sys
import warnings
from itertools import islice

import numpy as np
import pytest
from helpers import HERE, PRIMER, ROOT, done, draws_of, fresh, notes_of, songs_of

import minigen
from minigen.backend import on_device, to_host, use_device
from minigen.errors import MinigenError
from minigen.gradcheck import toy_batch
from minigen.kernels import use_kernels
from minigen.ladder import LADDER
from minigen.music.dataset import Dataset
from minigen.run import checkpoint
from minigen.run.checkpoint import Trained
from minigen.run.finetune import Finetune, play_learning
from minigen.run.likelihood import nats_per_step
from minigen.run.sample import play
from minigen.run.train import Run, update, validate


def filled(size: int):
    """Memory in which what is not written shows: floats are NaN."""
    memory = cupy.get_default_memory_pool().malloc(size)
    memory.memset(0xFF, size)
    return memory


try:
    cupy, MISSING = use_device("cuda")[0], None
except MinigenError as error:
    MISSING = str(error)
pytestmark = [pytest.mark.cuda, pytest.mark.skipif(MISSING is not None, reason=f"no GPU here: {MISSING}")]

rungs = pytest.mark.parametrize("name", LADDER)
ROLLS = songs_of(300, 200, 64)


@pytest.fixture(autouse=True, params=["reference", "fast"])
def cuda_kernels(request):
    """On the GPU; on the CPU the array code."""
    cupy.cuda.set_allocator(filled)
    use_kernels(request.param, xp=cupy)


def trained(name):
    return fresh(LADDER[name]())


def error(there, here) -> float:
    """max|a - b| / max|b|."""
    a, b = to_host(there).astype(np.float64), np.asarray(here, np.float64)
    return float(abs(a - b).max() / max(abs(b).max(), 1e-30))


def runs_of(name):
    """The same run on the CPU and on the GPU, and the fragments to train on -> model, run, run, fragments."""
    here = trained(name)
    runs = [Run(at.params, at.moments, 0.003) for at in (here, here.on(cupy))]
    return here.model, *runs, Dataset(ROLLS, here.model.config.past, 64, 8, here.model.config.key_shift)


@rungs
def test_loss_and_gradients_given_the_notes(name):
    here = trained(name)
    model, there = here.model, here.on(cupy)
    batch = toy_batch(model, 128, 4)
    notes = notes_of(model, model.loss(here.params, batch, draws_of(model, 128, 4), grad=False)[2])
    loss, grads, _, _ = model.loss(here.params, batch, notes)
    its_loss, its_grads, _, _ = model.loss(there.params, on_device(cupy, batch), on_device(cupy, notes))
    assert type(its_loss) is cupy.ndarray and its_loss.dtype == its_grads.dtype == np.float32
    errors = {"loss": error(its_loss, loss)} | {name: error(its_grads[name], grads[name]) for name in grads}
    assert max(errors.values()) <= 1e-5, errors


@rungs
def test_twenty_steps_of_training_agree(name):
    """Two codes in float32 on one CPU drift apart by up to 7e-4 of the loss and 1.2% of the way (`one-shot`)."""
    model, here, there, data = runs_of(name)
    began = here.params.flat
    for _ in range(20):
        losses, its_losses = (update(model, run, data, 0, range(4)) for run in (here, there))
        assert error(its_losses["loss"], losses["loss"]) < 3e-3
    assert there.read().keys() == here.mean.keys()
    way = np.linalg.norm(here.params.flat - began)
    assert np.linalg.norm(to_host(there.params.flat) - here.params.flat) < 0.05 * way


@rungs
def test_a_training_step_copies_nothing_back(name):
    """As far as CuPy can tell: it notices its own copies and waits, not those of a library."""
    cupyx = pytest.importorskip("cupyx")
    if not hasattr(cupyx, "allow_synchronize"):
        pytest.skip("this CuPy cannot tell when it waits for the device")
    model, _, there, data = runs_of(name)
    update(model, there, data, 0, range(2))  # kernels are compiled and loaded
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with cupyx.allow_synchronize(False):
            update(model, there, data, 0, range(2))
            with pytest.raises(cupyx.DeviceSynchronized):
                float(there.params.flat[0])
    assert there.read()["loss"] > 0


def test_a_step_that_blows_up_changes_nothing_and_is_told_when_it_is_read():
    model, _, run, data = runs_of("final")
    run.params.flat[5] = np.nan
    before = run.params.flat.get()
    for _ in range(3):
        update(model, run, data, 0, range(2))
    assert np.array_equal(run.params.flat.get(), before, equal_nan=True) and not run.moments.m.any()
    with pytest.raises(MinigenError, match="at step 0: train again") as caught:
        run.read()
    assert caught.value.code == 3 and run.step == 0


@rungs
def test_playing_agrees(name):
    here = trained(name)
    steps = zip(*(islice(play(at, 3, PRIMER), 64) for at in (here, here.on(cupy))), strict=True)
    for (keys, trace), (its_keys, its_trace) in steps:
        assert (keys == its_keys).all() and trace.keys() == its_trace.keys()
        assert all(error(its_trace[name], trace[name]) < 1e-4 for name in ("cells.P", "decoder.p") if name in trace)


@pytest.mark.parametrize("name", [name for name in LADDER if not LADDER[name].needs_classes])
def test_learning_while_playing_agrees(name):
    here, tune = trained(name), Finetune("moving", 1e-4, 2, window=64)
    steps = zip(*(islice(play_learning(at, tune, 3, PRIMER), 8) for at in (here, here.on(cupy))), strict=True)
    for (keys, trace), (its_keys, its_trace) in steps:
        assert (keys == its_keys).all()
        assert its_trace["finetune.loss_after"] == pytest.approx(trace["finetune.loss_after"], rel=1e-3)


@rungs
def test_what_it_is_worth_agrees(name):
    here = trained(name)
    there = here.on(cupy)
    for key, value in validate(here.model, here.params, ROLLS, 3).items():
        assert validate(there.model, there.params, ROLLS, 3)[key] == pytest.approx(value, rel=1e-4)
    found, its = (nats_per_step(at.model, at.params, ROLLS[2:], N=16, runs=2) for at in (here, there))
    assert its["both"] == pytest.approx(found["both"], rel=1e-3) and its["left out"] == found["left out"]


def test_scripts(tmp_path):
    def script(name, *args):
        return done(name, *args, "--device", "cuda", CUDA_VISIBLE_DEVICES=os.environ.get("CUDA_VISIBLE_DEVICES", "0"))

    assert "device cuda (" in script("train", "--batch", 4, "--steps", 3, "--out", tmp_path / "run")
    script("train", "--resume", tmp_path / "run", "--steps", 6)
    best = tmp_path / "run" / "best.npz"
    assert "device cuda (" in script("sample", best, "--bars", 2, "--finetune", "reset", "--out", tmp_path / "music")
    assert minigen.read_midi(next((tmp_path / "music").glob("*.mid"))).any()
    assert "device cuda (" in script("evaluate", best, "--seeds", 1, "--bars", 8, "--particles", 2)
    assert checkpoint.load(tmp_path / "run" / "last.npz").header["training"]["step"] == 6


@pytest.mark.parametrize("tool", ["memcheck", "racecheck", "initcheck"])
def test_compute_sanitizer_finds_nothing(tool):
    """On one rung, which has a kernel of every kind, with memory that is not taken out of a pool."""
    sanitizer = shutil.which("compute-sanitizer")
    if sanitizer is None:
        pytest.skip("not run: there is no compute-sanitizer on the PATH")
    command = [sanitizer, "--tool", tool, "--error-exitcode", "9"]
    command += [sys.executable, "-c", "import test_cuda; test_cuda.for_the_sanitizer()"]
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    ended = subprocess.run(command, cwd=HERE, env=env, capture_output=True, text=True, timeout=600)
    assert ended.returncode == 0, ended.stdout[-3000:] + ended.stderr[-3000:]


def for_the_sanitizer():
    """A step of training on two fragments of eight steps, and two of playing, by the kernels."""
    cupy.cuda.set_allocator(None)
    use_kernels("fast", xp=cupy)
    here = trained("pause-loss")
    model, there = here.model, Run(here.on(cupy).params, here.on(cupy).moments, 0.003)
    update(model, there, Dataset(ROLLS, model.config.past, 8, 8), 0, range(2))
    there.read()
    list(islice(play(Trained(model, there.params, {}, None), 0, PRIMER[-4:]), 2))
