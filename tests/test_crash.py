"""Numbers that blow up end a training, which leaves the step: it can be repeated, and says what was not finite."""

import warnings

import numpy as np
import pytest
from helpers import PRIMER, done, fresh, script, small

from minigen.errors import MinigenError
from minigen.run import checkpoint
from minigen.run.crash import load_crash
from minigen.run.finetune import Finetune
from minigen.run.perform import perform


def wild(path, name: str):
    """A checkpoint of small layers whose products are too large for float32."""
    trained = fresh(small(name, sustain=4))
    for weight, view in trained.params.views.items():
        view[...] *= np.float32(1e25) if weight.endswith(".W") else 1
    checkpoint.save(path, trained.model, trained.params, trained.moments)
    return path


@pytest.mark.parametrize(
    "name, largest, words",
    [
        ("ordered", "deeper.W", "forward: NaN or infinite first in decisions.p, of the part decisions"),
        pytest.param(
            "final",
            "head2.W",
            "gradient: NaN or infinite first in goes_on.b, of the part goes_on",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_the_step_is_kept_and_repeated(name, largest, words, tmp_path):
    start, run = wild(tmp_path / "wild.npz", name), tmp_path / "run"
    args = ["--steps", 5, "--batch", 2, "--kernels", "reference", "--out", run]
    ended = script("train", "--init", start, *args)
    assert ended.returncode == 3
    last = ended.stderr.splitlines()[-1]
    assert last.startswith("error: the loss or its gradient is NaN or infinite at step 0")
    assert "with --init, at a lower --rate. Look" in last
    assert last.endswith(f"train.py --resume {run / 'crash.npz'} --kernels reference")
    again = script("train", "--resume", run / "crash.npz", "--kernels", "reference")
    assert again.returncode == 3 and not again.stderr
    assert f"step 0 of {name}, 2 fragments" in again.stdout and f", in {largest}" in again.stdout
    assert words in again.stdout
    assert np.array_equal(checkpoint.load(run / "last.npz").params.flat, checkpoint.load(start).params.flat)


@pytest.mark.slow
def test_a_step_that_is_mended_ends_well(tmp_path):
    """The file holds all that the step takes: with other weights in it every number is finite."""
    start, run = wild(tmp_path / "wild.npz", "ordered"), tmp_path / "run"
    script("train", "--init", start, "--steps", 5, "--batch", 2, "--kernels", "reference", "--out", run)
    with np.load(run / "crash.npz") as file:
        arrays = {name: file[name] for name in file.files}
    arrays["weights"] = fresh(small("ordered", sustain=4)).params.flat
    np.savez(run / "crash.npz", **arrays)
    said = done("train", "--resume", run / "crash.npz", "--kernels", "reference")
    assert said.count("every number is finite") == 2
    for damage in ({"weights": arrays["weights"][1:]}, {"batch/mask": arrays["batch/mask"][1:]}, {"header": b"{}"}):
        np.savez(tmp_path / "damaged.npz", **arrays | damage)
        with pytest.raises(MinigenError, match="is no crash.npz of this minigen"):
            load_crash(tmp_path / "damaged.npz")


@pytest.mark.parametrize("tune", [None, Finetune("reset")])
def test_playing_by_such_weights_is_one_sentence(tune, tmp_path):
    """And no warning of NumPy's before it."""
    trained = checkpoint.load(wild(tmp_path / "wild.npz", "ordered"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(MinigenError, match=" NaN( or infinite)?: use "):
            perform(trained, 4, 0, PRIMER, tune=tune)
