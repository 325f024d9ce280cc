"""report.html of a run: what is trained on what, how it goes, and what it plays."""

import csv
import json
import re
import shutil

import numpy as np
import pytest
from helpers import SONGS, done

import minigen
from minigen.ladder import LADDER
from minigen.params import Params
from minigen.run.train import norms_of
from minigen.run.web import report_page

SMALL = ["--set", "hidden=8", "--set", "reader=8", "--set", "voice_hidden=8", "--set", "sustain=8", "--batch", 2]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A short run, in a folder with markup in its name."""
    folder = tmp_path_factory.mktemp("runs") / "a<b> & c"
    done("train", SONGS[0], SONGS[1], SONGS[2], *SMALL, "--steps", 101, "--out", folder)
    return folder


@pytest.mark.slow
def test_it_tells_the_run(run):
    page = (run / "report.html").read_text(encoding="utf-8")
    assert "<title>a&lt;b&gt; &amp; c: ordered</title>" in page and "<b>" not in page
    pieces = json.loads(re.search(r"const PIECES = (.*);", page)[1])
    assert [piece["step"] for piece in pieces] == [0, 100, 101]
    roll = minigen.read_midi(run / "sample-000100.mid")
    assert {(key, begin) for key, begin, _ in pieces[1]["notes"]} == {
        (key, step) for step, key in zip(*roll.nonzero(), strict=True)
    }
    for words in ("step 101", "--steps 101", "class frequency", "loss.png", "gradients.png", "passage-000101.png"):
        assert words in page, words
    assert "/* " not in page.partition("<script>")[0]
    header = (run / "metrics.csv").read_text().splitlines()[0].split(",")
    assert {"grad_reader", "grad_aggregator", "grad_outcome", "grad_sustain"} <= set(header)


@pytest.mark.slow
def test_a_silent_piece_is_silent_and_other_files_are_left_alone(run):
    minigen.write_midi(run / "sample-000102.mid", np.zeros((256, 88), np.uint8))
    shutil.copy(SONGS[0], run / "sample-x.mid")
    rows = [{"step": 102, "seconds": 1.0, "valid_loss": 3.0}]
    page = report_page(run, LADDER["ordered"](), {"command": "", "data": "", "licence": ""}, rows, {})
    pieces = json.loads(re.search(r"const PIECES = (.*);", page)[1])
    assert [piece["step"] for piece in pieces] == [0, 100, 101, 102] and pieces[-1]["notes"] == []
    for name in ("sample-000102.mid", "sample-x.mid"):
        (run / name).unlink()


def test_names_of_files_in_a_run_folder_are_text(tmp_path):
    for name in ('passage-1"><img src=x onerror=alert(1)>.png', "passage-2.png", "sample-\u00b2.mid"):
        (tmp_path / name).touch()
    rows = [{"step": 1, "seconds": 1.0, "valid_loss": 3.0}]
    page = report_page(tmp_path, LADDER["ordered"](), {"command": "", "data": "", "licence": ""}, rows, {})
    assert "<img src=x" not in page and "passage-2.png" in page and "const PIECES = [];" in page


def test_the_norms_are_those_of_the_gradient():
    grads = Params({"a.W": (2, 2), "a.b": (2,), "b.W": (1, 1)}, dtype=np.float64)
    grads.flat[:] = [1, 2, 2, 4, 4, 2, 3]
    assert norms_of(grads) == {"grad_a": np.sqrt(1 + 4 + 4 + 16 + 16 + 4), "grad_b": 3.0}


@pytest.mark.slow
def test_a_run_that_began_without_norms_goes_on(run, tmp_path):
    folder = tmp_path / "older"
    shutil.copytree(run, folder)
    with open(folder / "metrics.csv", newline="") as file:
        rows = [
            {name: value for name, value in row.items() if not name.startswith("grad_")} for row in csv.DictReader(file)
        ]
    with open(folder / "metrics.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    done("train", "--resume", folder, "--steps", 103)
    with open(folder / "metrics.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert rows[0]["grad_reader"] == "" and float(rows[-1]["grad_reader"]) > 0


@pytest.mark.browser
def test_a_browser_plays_its_pieces(run):
    playwright = pytest.importorskip("playwright.sync_api")
    complaints = []
    with playwright.sync_playwright() as running:
        try:
            browser = running.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
        except playwright.Error:
            pytest.skip("no Chromium")
        page = browser.new_page()
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto((run / "report.html").as_uri())
        button = page.locator("#pieces button").nth(1)
        button.click()
        assert button.inner_text() == "Stop: after step 100"
        page.locator("#pieces button").nth(2).click()
        assert button.inner_text() == "Play: after step 100"
        assert (
            page.evaluate("[...document.images].filter((one) => one.loading !== 'lazy' && !one.naturalWidth).length")
            == 0
        )
        browser.close()
    assert not complaints
