"""What the README says is so: its code runs, its commands exist, its tree is the tree, its counts are the counts."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from test_mutants import MUTANTS

from minigen.ladder import LADDER

ROOT = Path(__file__).resolve().parents[1]
sys.path.append(str(ROOT / "scripts"))

import diary  # noqa: E402

README = (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("block", re.findall(r"```python\n(.*?)```", README, re.S))
def test_python_blocks_run(block, tmp_path):
    (tmp_path / "samples").mkdir()
    shutil.copy(ROOT / "samples" / "chorales.npz", tmp_path / "samples")
    done = subprocess.run(
        [sys.executable, "-c", block], cwd=tmp_path, capture_output=True, text=True, env=_with_minigen()
    )
    assert done.returncode == 0, done.stderr


def _with_minigen():
    import os

    return os.environ | {"PYTHONPATH": str(ROOT)}


def test_every_flag_shown_exists():
    lines = re.findall(r"python (scripts/\w+\.py)([^#\n&]*)", README)
    assert len(lines) > 8
    for script in {script for script, _ in lines}:
        done = subprocess.run([sys.executable, str(ROOT / script), "--help"], capture_output=True, text=True)
        assert done.returncode == 0
        flags = {flag for name, rest in lines if name == script for flag in re.findall(r"--[\w-]+", rest)}
        assert flags <= set(re.findall(r"--[\w-]+", done.stdout)), script


def test_every_file_is_in_the_tree():
    tree = README[README.index("## How to read it") : README.index("Imports run one way")]
    for path in [*(ROOT / "minigen").glob("*.py"), *(ROOT / "scripts").glob("*.py")]:
        assert path.name in tree, path.name
    for name in re.findall(r"\b\w+\.py\b", tree):
        assert list(ROOT.glob(f"*/{name}")) or list(ROOT.glob(f"*/*/{name}")), name


def test_the_two_commands():
    """The lines that continuous integration runs, word for word."""
    commands = re.findall(r"^pip install -e .*$", README, re.M)
    assert commands == [
        'pip install -e ".[corpus]" && python scripts/sample.py && python scripts/train.py --corpus bach --minutes 3',
        'pip install -e ".[test]" && pytest',
    ]


def test_what_ranks_took_is_given():
    sentence = r"\d ranks: median step [\d.]+ ms, of which the Allreduce of [\d.]+ MB takes [\d.]+ ms"
    assert re.search(sentence, " ".join(README.split()))


def test_counts():
    faults = sum(len(some) for some in MUTANTS.values())
    assert f"{faults} single-line faults" in README
    songs = len(list((ROOT / "samples" / "songs").glob("*.mid")))
    assert f"own {songs} songs" in README and f"{songs} tunes" in README


def test_the_speed_shown_is_the_speed_measured():
    shown = README.partition("<!-- speed: begin -->")[2].partition("<!-- speed: end -->")[0].strip()
    measured = (ROOT / "samples" / "benchmark.md").read_text(encoding="utf-8")
    assert shown.count("\n") == 6 and shown in measured.partition("## B = 128")[2].partition("## B = 1,")[0]


def test_the_verdicts_shown_are_the_verdicts_reached():
    """Every claim that was run has its report, its picture, and its own last sentence in the table."""
    shown = README.partition("<!-- diary: begin -->\n")[2].partition("<!-- diary: end -->")[0].splitlines()
    assert shown == diary.verdicts(ROOT / "samples" / "diary")
    claims = re.findall(r"^\| \[(\w+)\]", "\n".join(shown), re.M)
    assert len(claims) >= 10 and set(claims) <= set(diary.CLAIMS)
    for claim in claims:
        assert (ROOT / "samples" / "diary" / f"{claim}.png").exists()


def test_the_table_of_learning_to_be_finetuned_is_the_measured_one():
    report = (ROOT / "samples" / "diary" / "meta.md").read_text(encoding="utf-8")
    assert report[report.index("| loss on") : report.index("Rates of")].strip() in README


def test_the_ladder_shown_is_the_ladder_measured():
    shown, kept = (
        text.partition("<!-- ladder: begin -->")[2].partition("<!-- ladder: end -->")[0]
        for text in (README, (ROOT / "samples" / "results.md").read_text(encoding="utf-8"))
    )
    assert shown == kept
    assert re.findall(r"^\| \d\d/\d\d \| `([\w-]+)`", shown, re.M) == list(LADDER)
