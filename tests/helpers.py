"""What several tests share: small models, random songs, arrays compared, scripts run as processes."""

import contextlib
import io
import json
import os
import runpy
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

from minigen.adam import Moments
from minigen.kernels import use_kernels
from minigen.ladder import LADDER, Latency
from minigen.run.checkpoint import Trained
from minigen.run.train import Run

HERE = Path(__file__).resolve().parent
ROOT, STANDIN = HERE.parent, HERE / "standin"
SAMPLES = ROOT / "samples"
SONGS = sorted((SAMPLES / "songs").glob("*.mid"))
PRIMER = (np.random.default_rng(0).random((16, 88)) < 0.04).astype(np.uint8)
CONFIGS = {name: rung.config for name, rung in LADDER.items()}
CONFIGS |= {"latency linked": Latency.LINKED, "feedback interleaved": replace(CONFIGS["feedback"], interleaved=True)}


# models


def small(name: str, **fields):
    """The rung, or a variant of CONFIGS, with few units, and these fields of its configuration."""
    c = CONFIGS[name]
    sizes = {"hidden": 20, "decoder_hidden": 12, "capsule": 4, "voice_hidden": min(c.voice_hidden, 6)}
    return LADDER[name.split()[0]](replace(c, **sizes | fields))


def fresh(model, seed: int = 1) -> Trained:
    """The model with weights that have learned nothing."""
    params = model.init(seed)
    return Trained(model, params, {}, Moments.of(params.flat))


def run_of(model, rate: float = 0.01, seed: int = 0, xp=np) -> Run:
    """A training that begins, in the array module `xp`."""
    start = fresh(model, seed).on(xp)
    return Run(start.params, start.moments, rate)


def notes_of(model, trace: dict) -> dict:
    """What was played, to be played again."""
    return {"voices.notes": trace["voices.notes"]} if model.conditional else {}


def draws_of(model, T: int, B: int, seed: int = 0) -> dict:
    return model.draws(seed, "test", 0, range(B), T)


# songs


def songs_of(*lengths: int, seed: int = 0) -> list:
    """Random rolls that sound at their first step and at their last."""
    rng = np.random.default_rng(seed)
    rolls = [(rng.random((length, 88)) < 0.03).astype(np.uint8) for length in lengths]
    for roll in rolls:
        roll[[0, -1], 40] = 1
    return rolls


# arrays


def close(ours, theirs, bound: float, what: str = "") -> None:
    """max|a - b| <= bound max|b|, shapes and types alike; of arrays, numbers, None, and tuples and dicts of them."""
    if isinstance(theirs, dict):
        assert ours.keys() == theirs.keys(), what
        for name in theirs:
            close(ours[name], theirs[name], bound, f"{what} {name}")
    elif isinstance(theirs, tuple | list):
        for a, b in zip(ours, theirs, strict=True):
            close(a, b, bound, what)
    elif theirs is None:
        assert ours is None, what
    else:
        assert np.shape(ours) == np.shape(theirs), what
        assert np.result_type(ours) == np.result_type(theirs), what
        error, size = np.abs(ours - theirs).max(), np.abs(theirs).max()
        assert error <= bound * size, f"{what}: off by {error:.2e} where the largest is {size:.2e}"  # false for NaN


# kernels


def compile_kernels() -> None:
    """Compile the float32 kernels for a CPU that are not in the cache; then, whatever happened, write the file."""
    try:
        use_kernels("whole", 1)
    finally:
        Path(os.environ["MINIGEN_COMPILING"], "done").touch()


# scripts


def start(name: str, *args, cwd=None, code: str = "", **env) -> subprocess.Popen:
    """`python scripts/NAME.py ARGS` in a process of its own, after these lines of Python, if there are any; further
    environment variables by name."""
    command = [str(ROOT / "scripts" / f"{name}.py"), *map(str, args)]
    if code:
        command = ["-c", f"import runpy, sys\n{code}\nsys.argv = {command}\n"
                         "runpy.run_path(sys.argv[0], run_name='__main__')"]  # fmt: skip
    env = os.environ | {"CUDA_VISIBLE_DEVICES": ""} | env  # on a machine with a GPU too, these are tests of a CPU
    pipe = subprocess.PIPE
    return subprocess.Popen([sys.executable, *command], cwd=cwd, env=env, stdout=pipe, stderr=pipe, text=True)


def script(name: str, *args, **named) -> subprocess.CompletedProcess:
    """What `start` starts, ended."""
    with start(name, *args, **named) as process:
        try:
            out, err = process.communicate(timeout=120)
        finally:
            process.kill()
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def done(name: str, *args, **named) -> str:
    """What a script prints that ends well."""
    ended = script(name, *args, **named)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


def one_after_the_other(commands: list, cwd) -> list:
    """[exit code, stdout, stderr] of scripts, (name, arguments) each, run in one process: to import costs most."""
    command, env = [sys.executable, __file__, json.dumps(commands)], os.environ | {"PYTHONPATH": str(ROOT)}
    called = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, timeout=300)
    assert called.returncode == 0, called.stderr
    return json.loads(called.stdout)


def _main() -> None:
    found = []
    for name, args in json.loads(sys.argv[1]):
        sys.argv, code = [str(ROOT / "scripts" / f"{name}.py"), *args], 0
        out, err = (io.TextIOWrapper(io.BytesIO(), "utf-8") for _ in range(2))
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try:
                runpy.run_path(sys.argv[0], run_name="__main__")
            except SystemExit as ended:
                code = ended.code
        texts = [(stream.seek(0), stream.read())[1] for stream in (out, err)]
        found.append([code, *texts])
    print(json.dumps(found))


if __name__ == "__main__":
    _main()
