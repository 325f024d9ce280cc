"""Long work says how far it is."""

import sys
import time

from minigen import progress as module
from minigen.progress import progress


def test_lines_where_there_is_no_terminal(capsys, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    seen = []
    for item in progress(range(10), "reading"):
        seen.append(item)
        now[0] += 20
    assert seen == list(range(10))
    told = capsys.readouterr().err.splitlines()
    assert told == [f"reading: {n} of 10, {20 * (10 - n)} s left" for n in (2, 4, 6, 8)]


def test_short_work_says_nothing(capsys):
    assert list(progress(iter("abc"), "reading", 3)) == ["a", "b", "c"]
    assert capsys.readouterr() == ("", "")


def test_a_bar_on_a_terminal(capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    monkeypatch.setattr(module, "SOON", 0)
    assert list(progress(range(3), "reading")) == [0, 1, 2]
    assert "reading" in capsys.readouterr().err
