"""The claims of the diary: the rule and the measures by hand, and the scripts that test the claims, in small."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
from helpers import ROOT

from minigen.run.verdict import above, given_a_note, in_every, judge, lower, more, opposite, passages

CLAIMS = ("chords", "reader", "crutch", "latency", "finetuning", "octaves", "voices", "meta")
TASKS = ("copy", "rolled", "distance")


def test_the_rule():
    """Three seeds that do not overlap decide; two never do. One "no" refutes a claim, one open part leaves it open."""
    assert lower([1, 2, 3], [4, 5, 6]) == "yes" and lower([4, 5, 6], [1, 2, 3]) == "no"
    assert lower([1, 2, 5], [4, 5, 6]) == lower([1, 2], [4, 5]) == "not decided"
    assert [above(values, 2) for values in ([3, 4, 5], [0, 1, 1], [1, 3, 4])] == ["yes", "no", "not decided"]
    assert lower([1, np.nan, 2], [4, 5, 6]) == lower([1, 2, 3], [np.nan] * 3) == "not decided"
    assert [in_every(seeds) for seeds in ([True] * 3, [True, False, True], [True] * 2)] == ["yes", "no", "not decided"]
    assert [opposite(answer) for answer in ("yes", "no", "not decided")] == ["no", "yes", "not decided"]
    assert judge("It", {"a": "yes", "b": "yes"}) == "It holds: a: yes; b: yes."
    assert judge("It", {"a": "yes", "b": "not decided"}).startswith("It is not decided")
    assert judge("It", {"a": "not decided", "b": "no"}).startswith("It does not hold here")


def test_pairs():
    values = np.arange(12.0)
    assert more(values + 1 + values / 10, values, 0.05) == "yes"
    assert more(values - 1 - values / 10, values, 0.05) == "no"
    assert more(values, values, 0.05) == more(values + [1, -1] * 6, values, 0.05) == "not decided"


def test_a_passage_is_a_bar_with_one_lag_over_half():
    w = np.full((50, 3), 1 / 3)
    w[5:25] = [0.8, 0.1, 0.1]  # 20 steps
    w[25:40] = [0.1, 0.8, 0.1]  # 15 steps, one too few
    assert np.flatnonzero(passages(w)).tolist() == list(range(5, 25))


def test_given_a_note():
    """A step that is sure to pause has no say."""
    p = np.array([[0.1, 0.3, 0.0, 0.6], [1e-9, 0, 0, 1 - 1e-9]])
    assert given_a_note(p, np.array([[0, 1, 1], [0, 1, 1]])) == pytest.approx(0.75)


def figures(program: str, *args):
    """The JSON that a program prints last, run in a process where the scripts can be imported."""
    env = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "scripts")])}
    command = [sys.executable, "-c", "import json, sys\n" + program, *map(str, args)]
    ended = subprocess.run(command, env=env, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    return json.loads(ended.stdout.splitlines()[-1])


MUSIC = """
import numpy as np
from claims import claim_latency, claim_tasks

copied = []
for task in ("copy", "rolled", "distance"):
    x, y = claim_tasks.music(task, np.random.default_rng(0))
    t, b = 100, 7  # x has 80 rows of silence before step 0
    d = 64 if task != "distance" else claim_tasks.DISTANCES[int(x[80 + t, b].sum())]
    copied.append(bool((y[t, b] == np.roll(x[80 + t - d, b], task != "copy")).all()))
    copied.append(x[80 + claim_tasks.T - claim_tasks.SILENT :].any() == (task == "distance") and not x[:80].any())
batch = claim_latency.music(8, 5, np.random.default_rng(0))
roll, counted = batch["roll"][5:], batch["mask"].sum(axis=0)
copied.append(bool((roll[8:] == roll[:-8]).all() and (counted == claim_latency.T - 2 * 8).all()))

from claims.claim_tasks import loss, music, shapes
from minigen.gradcheck import relative_error, slope
from minigen.params import Params, initialise

errors = []
for task, net in (("copy", True), ("rolled", False)):
    params, rng = Params(shapes(task, net), dtype=np.float64), np.random.default_rng(0)
    initialise(params, rng)
    x, y = (array[:, :1].astype(float) for array in music(task, rng))
    grads = loss(params, x, y)[1].flat
    direction = rng.normal(size=grads.shape)
    measured = slope(lambda flat: loss(params.with_flat(flat), x, y)[0].sum(axis=0).mean(), params.flat, direction)
    errors.append(relative_error(measured, grads @ direction))
print(json.dumps([copied, errors]))
"""


def test_the_readers_tasks_and_patterns_that_repeat():
    """What the tasks ask for is in their music; gradients are slopes."""
    copied, errors = figures(MUSIC)
    assert copied == [True] * 7 and max(errors) < 1e-6


LONG = """
from claims import claim_crutch, claim_latency

def run(busiest):
    return [{"steps": n, "nats": 5.0, "plays": [busiest, 1 - busiest] + 5 * [0.0]} for n in (1, 100, 2000)]

verdicts = []
for plain, trick in (((0.9, 0.9), (0.5, 0.5)), ((0.9, 0.5), (0.5, 0.5)), ((0.5, 0.5), (0.9, 0.9))):
    found = [{"plain": run(p), "stop-gradient": run(t), "pause": run(0.5)} for p, t in zip(plain, trick)]
    lines, verdict = claim_crutch.conclude_long("crutch", found)
    verdicts.append([len(lines), verdict.partition(": ")[0], verdict.count(": yes"), verdict.count("at this length")])
for linked, lagged in ((1.0, 0.01), (0.5, 0.01), (1.0, 0.5)):
    parts = {part: {"left": linked if "linked" in part else lagged} for part in claim_latency.LONG["parts"]}
    lines, verdict = claim_latency.conclude_long("latency", [parts, parts])
    verdicts.append([len(lines), verdict.partition(": ")[0], verdict.count(": yes"), verdict.count("at this length")])
print(json.dumps(verdicts))
"""


def test_a_long_claim_holds_where_both_seeds_agree():
    """Of the crutch three parts, two seeds, three lines of figures each; seeds that differ decide nothing. Of the
    latency two networks at two rates."""
    name, latency = "Claim 3, the diary's length", "Claim 4, at length"
    assert figures(LONG) == [
        [20, f"{name} holds", 3, 0],
        [20, f"{name} is not decided", 2, 1],
        [20, f"{name} does not hold here", 1, 0],
        [6, f"{latency} holds", 2, 0],
        [6, f"{latency} does not hold here", 1, 0],
        [6, f"{latency} does not hold here", 1, 0],
    ]


TOY = """
from claims.claim_chords import PARTS, toy
print(json.dumps([[toy(part, seed) for seed in range(3)] for part in PARTS[:3]]))
"""


@pytest.mark.slow
def test_the_toy_is_played_as_the_theory_says():
    """Independent keys with the right chances: 1/8. Voices at once: at most 1/2. Conditional voices: more."""
    independent, at_once, conditional = figures(TOY)
    assert independent == pytest.approx([1 / 8] * 3, abs=0.01)
    assert max(at_once) <= 0.5 + 1e-6 and max(conditional) > 0.5


COPY = """
from claims import claim_tasks
from minigen.kernels import use_kernels

use_kernels("fast", 1)
print(json.dumps(claim_tasks.one("copy", sys.argv[1], 0, 0, int(sys.argv[2]))["errors"]))
"""


@pytest.mark.slow
@pytest.mark.usefixtures("compiled")
def test_the_reader_solves_copy_and_a_plain_lstm_does_not():
    """At the diary's sizes: under 1% of the first error within 60 steps of the 500 that it may take."""
    errors, plain = figures(COPY, "reader", 60), figures(COPY, "plain", 60)
    assert errors[0] == pytest.approx(32, abs=3) and min(errors) < 0.01 * errors[0]
    assert min(plain) > 0.9 * 32


RUN = """
from pathlib import Path

import diary
from minigen.kernels import use_kernels
from minigen.music import corpus

claim, folder = sys.argv[1:]
songs = tuple(part[:6] for part in corpus.learned_and_held_out("songs"))
corpus.learned_and_held_out = lambda name: songs
module = diary.module_of(claim)
for name, value in {"TOYS": 1, "STEPS": 20, "PIECES": 2, "B": 8, "UPDATES": 1, "ROWS": 1}.items():
    if hasattr(module, name):
        setattr(module, name, value)
use_kernels("fast", 1)
results = [{part: module.one(claim, part, seed, 0.002) for part in module.PARTS} for seed in (0, 1)]
diary.report(claim, results, 0, Path(folder))
print(json.dumps(list(diary.CLAIMS)))
"""


@pytest.mark.slow
@pytest.mark.usefixtures("compiled")
@pytest.mark.parametrize("claim", CLAIMS + TASKS)
def test_every_claim_runs(claim, tmp_path):
    """Small, on minigen's own songs, with two seeds, which decide no comparison: figures, a picture, a sentence."""
    assert figures(RUN, claim, tmp_path) == [*CLAIMS, *TASKS]
    report = (tmp_path / f"{claim}.md").read_text()
    assert any(line.startswith("| ") for line in report.splitlines())
    assert any(outcome in report for outcome in (" holds: ", " does not hold here: ", " is not decided: "))
    assert (tmp_path / f"{claim}.png").read_bytes().startswith(b"\x89PNG")
