"""A run folder that has lost a file is resumed, and what is best in it is not replaced by what is worse."""

import numpy as np
import pytest
from helpers import run_of, small, songs_of

from minigen.run import checkpoint
from minigen.run.crash import load_crash
from minigen.run.folder import Folder, kept_arguments
from minigen.run.ranks import Ranks
from minigen.run.resume import resumed
from minigen.run.trace import load_trace


def saved(path, losses, state=None) -> Folder:
    """A run folder after validations with these losses, or after more of them."""
    state = state or run_of(small("simple"))
    folder = Folder(path, small("simple"), state, {}, {"copy": 1.0}, songs_of(16)[0], Ranks())
    for loss in losses:
        state.step += 10
        state.mean = {"loss": loss}
        state.rows.append({"step": state.step, "seconds": 1.0 * state.step, "valid_loss": loss})
        folder.report()
        folder.save_all("")
    return folder


def best(path) -> float:
    return checkpoint.load(path / "best.npz").header["metrics"]["valid_loss"]


def test_a_best_that_is_missing_is_written_again(tmp_path):
    saved(tmp_path, (0.5, 0.7))
    (tmp_path / "best.npz").unlink()
    saved(tmp_path, (0.6,), resumed(tmp_path, np)[1])
    assert best(tmp_path) == 0.6


@pytest.mark.parametrize("left", [None, "", "step,seconds,valid_loss\r\n"])
def test_without_its_losses_a_run_still_knows_its_best(left, tmp_path, capsys):
    saved(tmp_path, (0.7, 0.5, 0.6))
    (tmp_path / "metrics.csv").unlink() if left is None else (tmp_path / "metrics.csv").write_text(left)
    _, state, _ = resumed(tmp_path, np)
    assert f"take care: {tmp_path / 'metrics.csv'} is missing or empty: " in capsys.readouterr().out
    assert [(row["step"], row["valid_loss"]) for row in state.rows] == [(20, 0.5), (30, 0.6)]
    saved(tmp_path, (0.55,), state)
    assert best(tmp_path) == 0.5
    resumed(tmp_path, np)
    assert not capsys.readouterr().out


def test_a_file_that_may_not_be_read_is_not_called_another(tmp_path, monkeypatch):
    """A user that is root may read all: the system's answer is made up."""

    def refused(path, *_, **__):
        raise PermissionError(13, "Permission denied", str(path))

    for name in ("crash.read_arrays", "trace.read_arrays", "folder.opened"):
        monkeypatch.setattr(f"minigen.run.{name}", refused)
    for read in (load_crash, load_trace, lambda path: kept_arguments(path, ())):
        with pytest.raises(PermissionError):
            read(tmp_path)
