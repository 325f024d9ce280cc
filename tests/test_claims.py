"""The claims of the diary: their rules and measures by hand, and the reader's own task at its full size."""

import sys
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest

from minigen.gradcheck import BOUND, relative_error, slope
from minigen.kernels import use_kernels
from minigen.music.corpus import learned_and_held_out
from minigen.params import Params, initialise

ROOT = Path(__file__).resolve().parents[1]
sys.path.append(str(ROOT / "scripts"))

import diary  # noqa: E402
from claims import chords, common, finetuning, latency, reader, tasks, voices  # noqa: E402


def test_the_rule():
    """Three seeds that do not overlap decide; two never do. One "no" refutes a claim, one open part leaves it open."""
    assert common.lower([1, 2, 3], [4, 5, 6]) == "yes" and common.lower([4, 5, 6], [1, 2, 3]) == "no"
    assert common.lower([1, 2, 5], [4, 5, 6]) == common.lower([1, 2], [4, 5]) == "not decided"
    assert [common.above(values, 2) for values in ([3, 4, 5], [0, 1, 1], [1, 3, 4])] == ["yes", "no", "not decided"]
    assert common.lower([1, np.nan, 2], [4, 5, 6]) == common.lower([1, 2, 3], [np.nan] * 3) == "not decided"
    assert [common.in_every(seeds) for seeds in ([True] * 3, [True, False, True], [True] * 2)] == [
        "yes",
        "no",
        "not decided",
    ]
    assert common.judge("It", {"a": "yes", "b": "yes"}) == "It holds: a: yes; b: yes."
    assert common.judge("It", {"a": "yes", "b": "not decided"}).startswith("It is not decided")
    assert common.judge("It", {"a": "not decided", "b": "no"}).startswith("It does not hold here")


def test_pairs():
    values = np.arange(12.0)
    assert finetuning.more(values + 1 + values / 10, values, 0.05) == "yes"
    assert finetuning.more(values - 1 - values / 10, values, 0.05) == "no"
    assert finetuning.more(values, values, 0.05) == "not decided"
    assert finetuning.more(values + [1, -1] * 6, values, 0.05) == "not decided"


def test_a_passage_is_a_bar_with_one_lag_over_half():
    w = np.full((50, 3), 1 / 3)
    w[5:25] = [0.8, 0.1, 0.1]  # 20 steps
    w[25:40] = [0.1, 0.8, 0.1]  # 15 steps, one too few
    assert np.flatnonzero(reader.passages(w)).tolist() == list(range(5, 25))


def test_the_toy_is_played_as_the_theory_says():
    """Independent keys with the right chances: 1/8. Voices that do not hear each other: at most 1/2. Others: more."""
    independent, at_once, conditional, _ = chords.HEADS
    assert chords.toy(independent, 0) == pytest.approx(1 / 8, abs=0.01)
    assert max(chords.toy(at_once, seed) for seed in range(3)) <= 0.5 + 1e-6
    assert chords.toy(conditional, 0) > 0.5


def test_patterns_repeat_and_count_from_their_third_time():
    P = 8
    batch = latency.music(P, 5, np.random.default_rng(0))
    roll = batch["roll"][5:]
    assert (roll[P:] == roll[:-P]).all() and not roll[..., 12:].any() and not batch["roll"][:5].any()
    assert batch["mask"].sum(axis=0).tolist() == [latency.T - 2 * P] * latency.B
    assert roll[..., :12].mean() == pytest.approx(latency.DENSITY, abs=0.03)


def test_given_a_note():
    """A step that is sure to pause has no say."""
    p = np.array([[0.1, 0.3, 0.0, 0.6], [1e-9, 0, 0, 1 - 1e-9]])
    assert voices.given_a_note(p, np.array([[0, 1, 1], [0, 1, 1]])) == pytest.approx(0.75)


def test_what_the_tasks_ask_for():
    for task in ("copy", "rolled", "distance"):
        x, y = tasks.music(task, np.random.default_rng(0))
        t, b = 100, 7  # x has 80 rows of silence before step 0
        d = 64 if task != "distance" else tasks.DISTANCES[int(x[80 + t, b].sum())]
        assert (y[t, b] == np.roll(x[80 + t - d, b], task == "rolled")).all()
        assert not x[80 + tasks.T - tasks.SILENT :].any() and not x[:80].any()


@pytest.mark.parametrize("task, net", [("copy", True), ("copy", False), ("rolled", True), ("rolled", False)])
def test_gradients_of_the_tasks(task, net):
    rng = np.random.default_rng(0)
    params = Params(tasks.shapes(task, net), dtype=np.float64)
    initialise(params, rng)
    x, y = (array[:, :2].astype(float) for array in tasks.music(task, rng))
    grads = tasks.loss(params, x, y)[1].flat
    direction = rng.normal(size=grads.shape)
    measured = slope(
        lambda flat: tasks.loss(params.with_flat(flat), x, y)[0].sum(axis=0).mean(), params.flat, direction
    )
    assert relative_error(measured, grads @ direction) < BOUND


@pytest.fixture
def fast():
    use_kernels("fast", 1)
    yield
    use_kernels("reference", 1)


@pytest.mark.slow
def test_the_reader_solves_copy(fast):
    """At the diary's sizes, under 1% of the first error: within 60 steps of the 500 that it may take."""
    errors, _ = tasks.learn("copy", True, 0, 60)
    assert errors[0] == pytest.approx(32, abs=3)
    assert min(errors) < tasks.SOLVED * errors[0]


@pytest.mark.slow
def test_a_plain_lstm_of_its_size_does_not(fast):
    errors, _ = tasks.learn("copy", False, 0, 500)
    assert min(errors) > 0.9 * 32


@pytest.mark.slow
@pytest.mark.parametrize("claim", diary.CLAIMS)
def test_every_claim_runs(claim, fast, monkeypatch, tmp_path):
    """Small, on minigen's own songs, with two seeds, which decide no comparison: figures, a picture, a sentence."""
    module = import_module(f"claims.{diary.CLAIMS[claim]}")
    songs = tuple(part[:6] for part in learned_and_held_out("songs"))
    for name, value in {
        "learned_and_held_out": lambda _: songs,
        "TOYS": 1,
        "STEPS": 20,
        "PIECES": 2,
        "B": 8,
        "UPDATES": 1,
        "ROWS": 1,
    }.items():
        if hasattr(module, name):
            monkeypatch.setattr(module, name, value)
    found = [{part: module.one(claim, part, seed, 0.002) for part in module.PARTS} for seed in (0, 1)]
    lines, verdict = module.conclude(claim, found)
    assert any(line.startswith("| ") for line in lines) and verdict.endswith(".")
    assert any(outcome in verdict for outcome in (" holds: ", " does not hold here: ", " is not decided: "))
    module.draw(claim, found, tmp_path / "claim.png")
    assert (tmp_path / "claim.png").read_bytes().startswith(b"\x89PNG")
