"""What is cut off ends without a traceback and with the right exit code: a pipe, a closed stream, a signal."""

import os
import shutil
import signal
import subprocess
import sys
import time

import pytest
from helpers import ROOT, SONGS, done, start

unix = pytest.mark.skipif(os.name != "posix", reason="Windows has other signals and streams")
TINY = ["--model", "simple", "--set", "hidden=8", "--batch", 2, "--kernels", "reference"]


def ended(process, *signals, wait: float = 0.0) -> tuple[int, str]:
    """After these signals, so far apart: the exit code as a shell tells it, and what was written to stderr."""
    for number in signals:
        time.sleep(wait)
        process.send_signal(number)
    _, err = process.communicate(timeout=120)
    code = process.returncode
    return 128 - code if code < 0 else code, err


@unix
@pytest.mark.parametrize(
    "name, args",
    [("sample", ["--info"]), pytest.param("train", [*TINY, "--steps", 100], marks=pytest.mark.slow)],
)
def test_nobody_reads(name, args, tmp_path):
    """As after `| head`."""
    process = start(name, *args, cwd=tmp_path)
    process.stdout.close()
    process.stdout = None
    assert ended(process) == (141, "")


@unix
@pytest.mark.parametrize(
    "closed", [">&- 2>&-", *(pytest.param(one, marks=pytest.mark.slow) for one in (">&-", "2>&-"))]
)
def test_a_stream_that_was_closed(closed, tmp_path):
    command = f"{sys.executable} {ROOT}/scripts/sample.py --bars 1 --out {tmp_path} {closed}"
    assert subprocess.run(command, shell=True, stdin=subprocess.DEVNULL).returncode == 0
    assert list(tmp_path.glob("*.mid"))


@unix
@pytest.mark.slow
@pytest.mark.parametrize("number, code", [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
@pytest.mark.parametrize("wait", [0.1, 0.4])
def test_a_signal_in_the_first_second(number, code, wait, tmp_path):
    process = start("train", *TINY, "--steps", 10**6, "--out", tmp_path / "run")
    found, err = ended(process, number, wait=wait)
    assert found == code and err in ("", "stopped\n")


@unix
@pytest.mark.slow
@pytest.mark.parametrize("number, code", [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_signal_while_kernels_are_compiled(number, code, tmp_path):
    process = start("train", "--steps", 1, "--out", tmp_path / "run", NUMBA_CACHE_DIR=str(tmp_path))
    assert process.stdout.readline().startswith("loading the kernels")
    found, err = ended(process, number, wait=3)
    assert found == code and "Traceback" not in err


@unix
@pytest.mark.slow
def test_a_second_signal_does_not_wait(tmp_path):
    """The first one ends the step, judges and saves, which takes a minute here; the second one leaves at once."""
    slow = "import time\nimport minigen.run.loop as loop\nloop.validate = lambda *_: time.sleep(60)"
    process = start("train", *TINY, "--steps", 10**6, "--out", tmp_path / "run", code=slow)
    while "run folder" not in process.stdout.readline():
        pass
    time.sleep(2)
    began = time.monotonic()
    assert ended(process, signal.SIGINT, signal.SIGINT, wait=1) == (130, "")
    assert time.monotonic() - began < 20


@pytest.mark.slow
def test_a_name_with_points_and_spaces_is_one_name(tmp_path):
    """Of a folder of music and of its run; what is printed can be pasted."""
    music = tmp_path / "Op. 28 No. 4"
    music.mkdir()
    for song in SONGS[:3]:
        shutil.copy(song, music)
    said = done("train", music, *TINY, "--steps", 1, cwd=tmp_path)
    run = tmp_path / "runs" / "Op. 28 No. 4-simple"
    assert "it is in runs/Op. 28 No. 4-simple" in said and (run / "best.npz").exists()
    assert "sample.py 'runs/Op. 28 No. 4-simple/best.npz'" in said
    done("sample", run, "--bars", 1, "--out", tmp_path, cwd=tmp_path)
    assert (tmp_path / "Op. 28 No. 4-simple-best-simple-seed0.mid").exists()
