"""Playing and judging from the command line: primers, metres, official splits, and pictures that cannot be drawn."""

import os
import re
import subprocess
import sys
from pathlib import Path

import helpers
import mido
import numpy as np
import pytest
from helpers import SONGS, done, one_after_the_other, script, small, songs_of

import minigen
from minigen.ladder import LADDER
from minigen.metre import METRES
from minigen.music.dataset import opening
from minigen.music.midi import read_song
from minigen.run import checkpoint
from minigen.run.train import validate

CASES = Path(os.environ.get("MINIGEN_DATA", "nowhere"), "cases")
cases = pytest.mark.skipif(not CASES.is_dir(), reason="MINIGEN_DATA names no folder that has cases")
BRIEFLY = ["--batch", "2", "--kernels", "reference", "--steps", "1"]
SMALL = BRIEFLY + [word for name in ("hidden", "voice_hidden", "decoder_hidden") for word in ("--set", f"{name}=8")]


def saved(path, metre: str = "4/4"):
    """A checkpoint that has learned nothing, of a small model in this metre."""
    model = LADDER["final"](small("final").config.in_metre(metre))
    trained = helpers.fresh(model)
    checkpoint.save(path, model, trained.params, trained.moments)
    return str(path)


def metre_of(path) -> list[str]:
    return [f"{m.numerator}/{m.denominator}" for m in mido.MidiFile(path).tracks[0] if m.type == "time_signature"]


def bpm_of(path) -> float:
    (tempo,) = (message.tempo for message in mido.MidiFile(path).tracks[0] if message.type == "set_tempo")
    return mido.tempo2bpm(tempo)


# primers


def made(folder) -> np.ndarray:
    (path,) = Path(folder).glob("*.mid")
    return minigen.read_midi(path)


@cases
def test_a_piece_begins_with_as_many_bars_of_its_primer_as_asked_for(tmp_path):
    """At the primer's tempo unless another is asked for; an upbeat is counted with its bar."""
    model, primers = saved(tmp_path / "m.npz"), CASES / "primer"
    asked = {
        "one": ("long_64_bars", [], 1, 100),
        "four": ("long_64_bars", ["--primer-bars", "4"], 4, 100),
        "all": ("long_64_bars", ["--primer-bars", "9999"], 64, 100),
        "upbeat": ("upbeat", [], 2, 72),
        "upbeat and two": ("upbeat", ["--primer-bars", "2"], 3, 72),
        "slow": ("slow60", [], 1, 60),
        "faster": ("slow60", ["--bpm", "90"], 1, 90),
        "half a bar": ("half_bar", [], 1, 100),
        "thick": ("thick", [], 1, 100),
    }
    place = [model, "--bars", "1", "--primer"]
    commands = [
        ("sample", [*place, str(primers / f"{name}.mid"), *more, "--out", out])
        for out, (name, more, _, _) in asked.items()
    ]
    for (out, (name, _, bars, bpm)), (code, said, err) in zip(
        asked.items(), one_after_the_other(commands, tmp_path), strict=True
    ):
        assert code == 0 and not err, err
        assert f"the primer ends at step {16 * bars} (after bar {bars})" in said
        roll, primer = made(tmp_path / out), minigen.read_midi(primers / f"{name}.mid")
        assert len(roll) == 16 * (bars + 1)
        assert ((roll[: 16 * bars] > 0) == (primer[: 16 * bars] > 0)).all(), out
        assert bpm_of(next((tmp_path / out).glob("*.mid"))) == pytest.approx(bpm, rel=1e-3)


@cases
def test_a_primer_that_cannot_be_one_is_refused_with_a_remedy(tmp_path):
    model, asked = saved(tmp_path / "m.npz"), {"waltz": "--metre 3/4", "drums_only": "no note", "empty": "no note"}
    asked["zero"] = "it is empty"
    commands = [
        ("sample", [model, "--primer", str(CASES / "primer" / f"{name}.mid"), "--out", "out"]) for name in asked
    ]
    for (name, said), (code, _, err) in zip(asked.items(), one_after_the_other(commands, tmp_path), strict=True):
        assert code == 2 and len(err.splitlines()) == 1, err
        assert f"{name}.mid cannot be a primer, " in err and said in err and "name a MIDI file in 4/4" in err
    assert not (tmp_path / "out").exists()


def test_an_upbeat_is_counted_with_its_bar_wherever_it_begins():
    """A first bar is an upbeat if nothing is struck in its first half; silent bars before it are none."""
    for first, bar in ((0, 16), (7, 16), (8, 16), (15, 16), (5, 12), (6, 12), (11, 12)):
        roll = np.zeros((3 * bar + 10 * bar, 88), np.uint8)
        roll[3 * bar + first :, 40] = 1
        upbeat = first >= bar // 2
        found = opening(roll, 2, bar)
        assert len(found) == (2 + upbeat) * bar and (found == roll[3 * bar :][: len(found)]).all()


# metres


def write_songs(folder, metre: str, n: int = 3) -> Path:
    """Made-up songs of eight bars."""
    folder.mkdir()
    for i, roll in enumerate(songs_of(*[8 * METRES[metre][0]] * n, seed=5)):
        minigen.write_midi(folder / f"{i}.mid", roll, metre=metre)
    return folder


def in_its_metre(folder, metre: str, primer, primer_44, tmp_path) -> None:
    """A folder in one metre: refused without --metre, trained on with it; what is played is in that metre."""
    other = saved(tmp_path / "m.npz")
    trained, run = [str(folder), *SMALL, "--out", "run"], tmp_path / "run"
    ended = one_after_the_other(
        [
            ("train", trained),
            ("train", [*trained, "--metre", metre]),
            ("sample", [str(run), "--bars", "3", "--out", "silence"]),
            ("sample", [str(run), "--bars", "3", "--primer", str(primer), "--primer-bars", "2", "--out", "primed"]),
            ("sample", [str(run), "--primer", str(primer_44), "--out", "refused"]),
            ("train", [str(folder), *BRIEFLY, "--metre", metre, "--init", other]),
            ("train", [str(folder), *BRIEFLY, "--init", other]),
            ("train", [str(primer_44), *BRIEFLY, "--init", str(run / "best.npz")]),
            ("evaluate", [str(run), str(folder), "--seeds", "2", "--bars", "8", "--particles", "2"]),
        ],
        tmp_path,
    )
    refused, went, silence, primed, wrong_primer, wrong_metre, wrong_init, wrong_music, judged = ended
    assert [code for code, _, _ in ended] == [2, 0, 0, 0, 2, 2, 2, 2, 0], [err for _, _, err in ended]
    assert f"--metre {metre}" in refused[2] and "--metre 4/4" in wrong_primer[2] and "--metre 4/4" in wrong_music[2]
    assert f"plays 4/4 and not {metre}" in wrong_metre[2] and f"--metre {metre}" in wrong_init[2]
    config = checkpoint.load(run / "last.npz").model.config
    assert config.metre == metre and config.bar == 12
    for out, bars in (("silence", 3), ("primed", 5)):
        (path,) = (tmp_path / out).glob("*.mid")
        assert metre_of(path) == [metre]
        assert read_song(path, metre=metre).roll.shape == (12 * bars, 88)
    played, given = (read_song(path, metre=metre).roll for path in (path, primer))
    assert ((played[:24] > 0) == (given[:24] > 0)).all()
    assert metre_of(run / "sample-000001.mid") == [metre]
    assert "1 held-out songs" in judged[1]


@cases
def test_a_folder_of_waltzes(tmp_path):
    in_its_metre(CASES / "waltz", "3/4", CASES / "primer" / "waltz.mid", CASES / "primer" / "slow60.mid", tmp_path)


@pytest.mark.slow
def test_a_folder_in_six_eight(tmp_path):
    folder = write_songs(tmp_path / "jigs", "6/8")
    in_its_metre(folder, "6/8", folder / "0.mid", SONGS[0], tmp_path)


# official splits


@pytest.mark.slow
def test_an_official_split_is_taken_as_it_is(tmp_path):
    """Silent bars at the beginning and a song that is there twice count, in the loss that is printed too."""
    for name, lengths in (("train", (200, 160)), ("valid", (150, 90)), ("test", (100, 40))):
        (tmp_path / name).mkdir()
        rolls = songs_of(*lengths, seed=len(name))
        for i, roll in enumerate([*rolls, rolls[0]]):
            silent = np.zeros((48 * (i == 1), 88), np.uint8)  # three bars
            minigen.write_midi(tmp_path / name / f"{i}.mid", np.concatenate([silent, roll]))
    rolls = {
        name: [minigen.read_midi(path) for path in sorted((tmp_path / name).iterdir())]
        for name in ("train", "valid", "test")
    }
    judge = ["--seeds", 2, "--bars", 8, "--particles", 2]
    out = done("train", tmp_path / "train", *SMALL, "--held-out", tmp_path / "valid", "--out", tmp_path / "run")
    assert "6 songs: 3 to train on" in out and "3 are held out" in out
    trained = checkpoint.load(tmp_path / "run" / "best.npz")

    def loss(songs):
        return validate(trained.model, trained.params, songs, 0)

    assert trained.header["metrics"]["valid_loss"] == pytest.approx(loss(rolls["valid"])["loss"], rel=1e-6)
    assert list(map(len, rolls["valid"])) == [150, 138, 150]
    for name, what in (("test", "other than its own"), ("valid", "its official held-out part")):
        out = done("evaluate", tmp_path / "run", tmp_path / name, *judge)
        assert f"ordered: 3 songs, {what}, " in out
        assert f"ordered              {loss(rolls[name])['cells']:.3f} (exact)" in out
    inside = script(
        "train", tmp_path / "train", *SMALL, "--held-out", tmp_path / "valid", "--out", tmp_path / "valid/r"
    )
    assert inside.returncode == 2 and "--out" in inside.stderr
    # without an official split, the folder that it was trained on is split as it was then
    done("train", tmp_path / "train", *SMALL, "--out", tmp_path / "other")
    out = done("evaluate", tmp_path / "other", tmp_path / "train", *judge)
    assert "ordered: 1 held-out songs" in out and "class frequency" in out


@pytest.mark.slow
def test_what_music_a_checkpoint_is_judged_on_is_said(tmp_path):
    """Also of one from before the header said which split was official; and refused files of both parts are listed."""
    for name, lengths in (("train", (70, 60)), ("valid", (50, 90)), ("test", (40, 64))):
        (tmp_path / name).mkdir()
        for i, roll in enumerate(songs_of(*lengths, seed=len(name))):
            minigen.write_midi(tmp_path / name / f"{i}.mid", roll)
        (tmp_path / name / f"broken {name}.mid").write_bytes(b"MThd")
    (tmp_path / "old").mkdir()
    judged = ["--seeds", "1", "--bars", "8", "--particles", "1", "--kernels", "reference"]
    official = [("train", ["train", *SMALL, "--held-out", "valid", "--out", "run"])]
    assert [code for code, _, _ in one_after_the_other(official, tmp_path)] == [0]
    refused = (tmp_path / "run" / "refused.txt").read_text().splitlines()
    assert [line.partition(": ")[0] for line in refused] == ["broken train.mid", "broken valid.mid"]
    model, params, header, moments, _ = checkpoint.load(tmp_path / "run" / "best.npz")
    split = header["split"]
    assert split.pop("official") is True and len(split["held_out"]) == len(split["digest"]) == 64
    checkpoint.save(tmp_path / "old" / "best.npz", model, params, moments, data=header["data"], split=split)
    asked = [
        *((run, name) for run in ("run", "old") for name in ("train", "valid", "test")),
        ("own", "train"),
        ("own", "test"),
    ]
    commands = [("train", ["train", *SMALL, "--out", "own"])]
    commands += [("evaluate", [run, name, *judged]) for run, name in asked]
    trained, *ended = one_after_the_other(commands, tmp_path)
    assert trained[0] == 0 and checkpoint.load(tmp_path / "own" / "best.npz").header["split"]["official"] is False
    words = ["on which it was trained", "its official held-out part", "other than its own"]
    for (run, name), (code, out, err), what in zip(asked, ended, [*words * 2, "", words[2]], strict=True):
        assert code == 0, err
        assert (f"ordered: 2 songs, {what}, " if what else "ordered: 1 held-out songs, ") in out, (run, name, out)
        assert ("no baselines" in out) == (run != "own" or name == "test"), (run, name)


# pictures

NAMES = ["a$$b", "$x", r"$\nosuch{$", "音楽", "a%b {c}"]


def test_a_piece_is_written_whatever_becomes_of_its_picture(tmp_path):
    """Names that are no formula, letters that the font lacks, a folder in the picture's place."""
    for name in NAMES:
        saved(tmp_path / f"{name}.npz")
    blocked = tmp_path / "blocked" / "a$$b-final-seed0.png"
    blocked.mkdir(parents=True)
    commands = [("sample", [f"{name}.npz", "--bars", "1", "--out", f"out{i}"]) for i, name in enumerate(NAMES)]
    commands.append(("sample", ["a$$b.npz", "--bars", "1", "--out", "blocked"]))
    *ended, (code, said, err) = one_after_the_other(commands, tmp_path)
    for i, (name, (good, out, errors)) in enumerate(zip(NAMES, ended, strict=True)):
        assert good == 0 and not errors, errors
        assert {path.suffix for path in (tmp_path / f"out{i}").glob(f"{name}-final-seed0.*")} == {".mid", ".png"}
        assert out.count(".png") == 1
    assert code == 0 and len(err.splitlines()) == 1 and err.startswith("take care: the picture ")
    assert (tmp_path / "blocked" / "a$$b-final-seed0.mid").exists()
    assert not re.search("wrote .*png", said)


@pytest.mark.parametrize(
    "backend", ["nonsense", pytest.param("module://matplotlib_inline.backend_inline", marks=pytest.mark.slow)]
)
def test_a_backend_that_a_notebook_left_behind(backend, tmp_path):
    model = saved(tmp_path / "m.npz")
    ended = script("sample", model, "--bars", 1, "--out", tmp_path, MPLBACKEND=backend)
    assert ended.returncode == 0 and not ended.stderr, ended.stderr
    assert len(list(tmp_path.glob("m-final-seed0.*"))) == 2


def test_training_goes_on_without_its_picture_and_says_so_once(tmp_path):
    (tmp_path / "run" / "loss.png").mkdir(parents=True)
    (tmp_path / "run" / "sample-000002.mid").mkdir()
    often = "import minigen.run.loop as loop; loop.interval = lambda *_: 1"
    ended = script("train", *SMALL, "--steps", 2, "--out", tmp_path / "run", code=often)
    assert ended.returncode == 0
    lines = ended.stderr.splitlines()
    assert len(lines) == 2 and "sample-000002.mid" in lines[0] and "loss.png" in lines[1]


LONG = """
import sys, time
import numpy as np
from minigen.run.plots import plot_roll
roll = (np.random.default_rng(0).random((160_000, 88)) < 0.05).astype(np.uint8)
began = time.process_time()
plot_roll(sys.argv[1], roll, 16)
peak = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(time.process_time() - began, int(peak.split()[1]) / 1024)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="there is no /proc elsewhere")
def test_the_picture_of_ten_thousand_bars_costs_no_more_than_that_of_some(tmp_path):
    """Seconds, and MB of the process. Its ru_maxrss would count what the tests' own process held when it began it."""
    command = [sys.executable, "-c", LONG, str(tmp_path / "long.png")]
    ended = subprocess.run(command, capture_output=True, text=True, cwd=helpers.ROOT)
    assert ended.returncode == 0, ended.stderr
    seconds, megabytes = map(float, ended.stdout.split())
    assert seconds < 5 and megabytes < 500 and (tmp_path / "long.png").stat().st_size > 10_000
