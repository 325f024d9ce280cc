"""A slice of tests/fuzz.py: files from strangers, mutated by a fixed seed."""

import io
import os
import subprocess
import sys
import tracemalloc
import zipfile

import numpy as np
import pytest
from helpers import HERE, ROOT

from minigen.errors import MinigenError
from minigen.files import read_arrays
from minigen.music.songset import SongSet
from minigen.run import checkpoint, trace
from minigen.run.crash import load_crash
from minigen.run.trace import load_trace


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


READERS = {"checkpoint": checkpoint.load, "song set": SongSet.load, "trace": load_trace, "crash": load_crash}
readers = pytest.mark.parametrize("read", READERS.values(), ids=READERS)


@readers
@pytest.mark.parametrize("what", ["pipe", "device", "loop", "folder"])
def test_what_is_no_file_is_refused_at_once(read, what, tmp_path):
    path = tmp_path / "a.npz"
    if what == "pipe":
        os.mkfifo(path)
    elif what == "folder":
        path.mkdir()
    else:
        path.symlink_to("/dev/zero" if what == "device" else path)
    with pytest.raises(MinigenError, match="a.npz"):
        read(path)


@readers
def test_a_small_file_unpacks_to_little(read, tmp_path, monkeypatch):
    """Nothing is read where the arrays are larger than the file; a trace, compressed, has a limit."""
    monkeypatch.setattr(trace, "LARGEST", 10**6)
    np.savez_compressed(tmp_path / "a.npz", header=np.zeros(10, np.uint8), rows=np.zeros(2 * 10**6, np.uint8))
    tracemalloc.start()
    with pytest.raises(MinigenError, match="a.npz"):
        read(tmp_path / "a.npz")
    assert tracemalloc.get_traced_memory()[1] < 10**6
    tracemalloc.stop()


@pytest.mark.slow
@pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="the limit of memory is measured on Linux")
def test_what_a_stranger_sends_is_used_or_refused(tmp_path):
    command = [sys.executable, str(HERE / "fuzz.py"), "--midi", "400", "--archives", "150", "--seed", "1"]
    env = os.environ | {"PYTHONPATH": str(ROOT), "TMPDIR": str(tmp_path)}
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("; 0 wrong;") == 5
