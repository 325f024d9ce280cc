"""How much memory a training takes is said before its first step, and too much of it is refused."""

import re
import sys

import pytest
from helpers import script

from minigen.errors import MinigenError
from minigen.run import memory

linux = pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells how large a process was")
SIZE = "import atexit\natexit.register(lambda: print(open('/proc/self/status').read()))"


@linux
@pytest.mark.slow
@pytest.mark.parametrize("args", [["--batch", 2], ["--model", "final", "--batch", 48, "--kernels", "reference"]])
def test_what_is_said_is_what_it_takes(args, tmp_path):
    """Within 30%."""
    ended = script("train", "--steps", 3, "--threads", 1, "--out", tmp_path / "run", *args, code=SIZE)
    assert ended.returncode == 0, ended.stderr
    said = 2**30 * float(re.search(r"memory: about (\d+\.\d) GB", ended.stdout)[1])
    took = 1024 * int(re.search(r"VmHWM:\s+(\d+) kB", ended.stdout)[1])
    assert 0.7 < said / took < 1.3


def test_more_than_there_is_is_refused(monkeypatch):
    monkeypatch.setattr(memory, "room", lambda: 3 * 2**30)
    assert memory.in_words((2 * 2**30, 2**30), 64) == "; memory: about 2.0 GB"
    assert memory.in_words(None, 64) == ""
    for needed, rest, remedy in (
        ((4, 3), (64,), "take --batch 32"),  # 2.7 - 1 GB are there for them
        ((16, 15), (64,), "take --batch 4"),
        ((4, 3), (3,), "take --batch 1"),
        ((4, 3), (1,), "use a machine with more memory, songs that are shorter, or a smaller model"),
        ((4, 3), (64, True), "use a machine with more memory$"),  # a resumed run has its batch
        ((4, 1), (64,), "use a machine with more memory, songs"),  # it is the songs that are validated
        ((2, 2), (64, False, 2), "take --batch 32"),  # of two processes
        ((2, 2), (2, False, 2), "use a machine with more memory, songs"),  # one fragment for both
    ):
        with pytest.raises(MinigenError, match=rf"about {needed[0]}\.0 GB, .* {remedy}"):
            memory.in_words(tuple(size * 2**30 for size in needed), *rest)


@linux
@pytest.mark.slow
def test_the_batch_that_is_advised_fits(tmp_path):
    narrow = "import minigen.run.memory\nminigen.run.memory.room = lambda: 350 << 20"
    args = ["--kernels", "reference", "--threads", 1, "--steps", 1, "--out", tmp_path / "run", "--batch"]
    ended = script("train", *args, 64, code=narrow)
    batch = re.search(r": take --batch (\d+)\n$", ended.stderr)[1]
    assert 1 < int(batch) < 32 and script("train", *args, batch, code=narrow).returncode == 0


@linux
def test_nothing_is_left_of_a_training_that_is_refused(tmp_path):
    tiny = "import minigen.run.memory\nminigen.run.memory.room = lambda: 2**20"
    args = ["--model", "final", "--set", "hidden=8", "--batch", 4, "--kernels", "reference", "--steps", 1]
    ended = script("train", *args, "--out", tmp_path / "run", code=tiny)
    assert ended.returncode == 2 and ended.stderr.endswith(
        ": use a machine with more memory, songs that are shorter, or a smaller model (--set hidden=50)\n"
    )
    assert not (tmp_path / "run").exists()
