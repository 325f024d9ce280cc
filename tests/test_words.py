"""Sentences and commands on the screen, whatever the files are called; signals that are noted or not."""

import os
import signal
from pathlib import Path

import pytest

from minigen.errors import MinigenError, Stop, command, quoted

RAW, SHOWN = "a\x1b[31m\nb\u202e.mid", r"a\x1b[31m\nb\u202e.mid"


def test_a_command_can_be_pasted_whatever_its_path_is_called():
    words = ["--resume", Path("-run/last one.npz"), "--step", 3]
    assert quoted(*words) == "--resume './-run/last one.npz' --step 3"
    assert command("sample", *words).endswith(f"sample.py {quoted(*words)}")
    assert quoted(Path("/-run"), Path("a/-b")) == "/-run a/-b"


def test_a_sentence_can_be_shown_whatever_a_file_is_called():
    assert str(MinigenError(f"{RAW} is none: name another")) == f"{SHOWN} is none: name another"


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="Windows has no such signal")
def test_a_terminal_that_is_closed_stops_a_run_unless_that_is_ignored():
    before = signal.getsignal(signal.SIGHUP)
    try:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        with Stop() as stop:
            os.kill(os.getpid(), signal.SIGHUP)
        assert stop.code == 0 and signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
        with Stop() as stop:
            os.kill(os.getpid(), signal.SIGHUP)
        assert stop.code == 129 and signal.getsignal(signal.SIGHUP) is signal.SIG_DFL
    finally:
        signal.signal(signal.SIGHUP, before)
