"""A slice of tests/fuzz.py: files from strangers, mutated by a fixed seed."""

import io
import os
import subprocess
import sys
import zipfile

import numpy as np
import pytest
from helpers import HERE, ROOT

from minigen.files import read_arrays


def packed(path, how=zipfile.ZIP_DEFLATED, shape=(1000,), content=bytes(8000)):
    """An archive of one array of float64, which says of itself what it wants."""
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f8", "fortran_order": False, "shape": shape})
    with zipfile.ZipFile(path, "w", how) as archive:
        archive.writestr("a.npy", header.getvalue() + content)
    return path


@pytest.mark.parametrize(
    "wrong",
    [
        {"how": zipfile.ZIP_BZIP2},  # of which more can be unpacked than is asked for
        {"shape": (10**12,)},
        {"shape": (999,)},
        {"shape": (-1000,)},
        {"content": bytes(2 * 10**6), "shape": (250_000,)},
    ],
)
def test_an_archive_is_unpacked_within_the_size_that_it_has(wrong, tmp_path):
    whole = read_arrays(packed(tmp_path / "whole.npz"), largest=10**6)
    assert whole["a"].shape == (1000,)
    with pytest.raises(ValueError):
        read_arrays(packed(tmp_path / "wrong.npz", **wrong), largest=10**6)


@pytest.mark.slow
@pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="the limit of memory is measured on Linux")
def test_what_a_stranger_sends_is_used_or_refused(tmp_path):
    command = [sys.executable, str(HERE / "fuzz.py"), "--midi", "400", "--archives", "150", "--seed", "1"]
    env = os.environ | {"PYTHONPATH": str(ROOT), "TMPDIR": str(tmp_path)}
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("; 0 wrong;") == 5
