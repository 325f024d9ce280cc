"""A slice of tests/fuzz.py: files from strangers, mutated by a fixed seed."""

import os
import subprocess
import sys

import pytest
from helpers import HERE, ROOT


@pytest.mark.slow
@pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="the limit of memory is measured on Linux")
def test_what_a_stranger_sends_is_used_or_refused(tmp_path):
    command = [sys.executable, str(HERE / "fuzz.py"), "--midi", "400", "--archives", "150", "--seed", "1"]
    env = os.environ | {"PYTHONPATH": str(ROOT), "TMPDIR": str(tmp_path)}
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("; 0 wrong;") == 4
