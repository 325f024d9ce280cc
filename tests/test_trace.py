"""A trace holds every number behind a piece: what was saved is read, replayed, and put into words."""

import json
from itertools import islice

import numpy as np
import pytest
from helpers import PRIMER, fresh, small

from minigen.errors import MinigenError
from minigen.ladder import LADDER
from minigen.music.steering import given_steps, steer
from minigen.ops import NO_END
from minigen.run.finetune import Finetune, play_learning
from minigen.run.sample import play
from minigen.run.trace import in_words, key_name, load_trace, replay, save_trace


def saved(path, trained, primer=PRIMER, steps=24, tune=None, extra=None):
    if tune:
        music = play_learning(trained, tune, 3, primer, 0.9, extra)
    else:
        music = play(trained, 3, primer, 0.9, extra)
    rows, traces = zip(*islice(music, steps), strict=True)
    head = PRIMER[:0] if primer is None or trained.model.needs_classes else primer
    save_trace(path, trained, np.concatenate([head, rows]), list(traces), 3, 0.9, NO_END, tune)
    return np.array(rows), load_trace(path)


@pytest.mark.parametrize("name", LADDER)
def test_a_replayed_trace_is_the_same_music(name, tmp_path):
    trained, steps = fresh(small(name)), 16 if LADDER[name].needs_classes else 24
    rows, trace = saved(tmp_path / "a.npz", trained, steps=steps)
    assert (replay(trained, trace) == rows).all() and (trace["keys"][:, 0] == rows).all()
    other = dict(trace)
    for part in ("voices.u", "cells.u", "decoder.u"):
        if part in trace:
            other[part] = trace[part][::-1]
    assert (replay(trained, other) != rows).any()  # it is the uniforms of the file that play
    words = "\n".join(in_words(trace, 20 % steps))
    assert "step " in words and words.splitlines()[-1].startswith("struck ")
    assert ("reader " in words) == ("reader.w" in trace) and ("voice 1" in words) == ("voices.p" in trace)


def test_from_silence_steered_and_learning(tmp_path):
    trained = fresh(small("final"))
    for settings in (
        {"primer": None},
        {"extra": list(given_steps(steer(24, 5, chords="C|Am"), 5))},
        {"tune": Finetune("moving", 1e-3)},
    ):
        rows, trace = saved(tmp_path / "a.npz", trained, **settings)
        assert (replay(trained, trace) == rows).all()
    with pytest.raises(MinigenError, match="other weights"):
        replay(trained._replace(params=trained.model.init(2)), trace)
    assert "finetune.drift" in "\n".join(in_words(trace, 5))


def test_the_words_are_the_numbers(tmp_path):
    _, trace = saved(tmp_path / "a.npz", fresh(small("final")))
    n = int(trace["keys"].any(axis=(1, 2)).argmax())
    words = in_words(trace, n)
    assert words[-1].split()[1:] == [key_name(k) for k in np.flatnonzero(trace["keys"][n, 0])]
    lags = [line.split() for line in words if line.startswith("reader")]
    assert [float(line[3]) for line in lags] == [pytest.approx(w, abs=5e-4) for w in trace["reader.w"][n, 0]]
    assert key_name(0) == "A0" and key_name(39) == "C4" and key_name(87) == "C8"


def test_a_name_of_a_strangers_trace_is_shown_and_not_obeyed(tmp_path):
    _, trace = saved(tmp_path / "a.npz", fresh(small("simple")))
    trace["finetune.\x1b[31m"] = np.zeros(24)
    assert any(line.startswith(r"finetune.\x1b[31m  ") for line in in_words(trace, 0))


@pytest.mark.parametrize("content", [b"", b"hello", None])
def test_a_file_that_is_no_trace(tmp_path, content):
    path = tmp_path / "a.npz"
    np.savez(path, keys=np.zeros(3)) if content is None else path.write_bytes(content)
    with pytest.raises(MinigenError, match="is not a trace"):
        load_trace(path)
    with pytest.raises(MinigenError, match="does not exist"):
        load_trace(tmp_path / "b.npz")


def test_a_trace_of_an_older_minigen(tmp_path):
    """Its voices stood last: it is refused with what to do."""
    saved(tmp_path / "a.npz", fresh(small("final")))
    with np.load(tmp_path / "a.npz") as file:
        arrays = {name: file[name] for name in file.files}
    header = json.loads(arrays["header"].tobytes()) | {"version": 1}
    np.savez(tmp_path / "a.npz", **arrays | {"header": np.frombuffer(json.dumps(header).encode(), np.uint8)})
    with pytest.raises(MinigenError, match="of an older minigen: play the piece again"):
        load_trace(tmp_path / "a.npz")
