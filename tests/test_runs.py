"""A run can be trusted overnight: killed, stopped, moved, started twice, on a full disk, from an older minigen."""

import csv
import json
import os
import re
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pytest
from helpers import SONGS, done, one_after_the_other, script, start

import minigen
from minigen.ladder import LADDER
from minigen.run import checkpoint
from minigen.run.train import batch_of, interval

KILLS = int(os.environ.get("MINIGEN_KILLS", 6))
SMALL = ["--batch", 2, "--kernels", "reference", "--threads", 1]
SMALL += [word for name in ("hidden", "voice_hidden", "reader", "sustain") for word in ("--set", f"{name}=8")]
SMALL += ["--set", "fragment=32"]
# validations come often, and the rate falls soon
OFTEN = "import minigen.run.loop as loop; loop.interval, loop.PATIENCE = lambda *_: 10, (0, 20)"
TWICE = "import minigen.run.loop as loop; loop.interval = lambda *_: 5"
LAST = "last.npz", "after"
unix = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals, locks and limits")


@pytest.fixture(scope="module")
def music(tmp_path_factory):
    """Four of minigen's songs."""
    folder = tmp_path_factory.mktemp("music")
    for path in SONGS[:4]:
        shutil.copy(path, folder / path.name)
    return folder


def state(run: Path, name: str = "last") -> tuple:
    """What a checkpoint of a run holds: bytes of both kinds of weights and of moments, counters but for the seconds."""
    _, params, header, moments, raw = checkpoint.load(run / f"{name}.npz")
    counters = {name: value for name, value in header["training"].items() if name != "seconds"}
    raw = None if raw is None else raw.tobytes()
    return params.flat.tobytes(), raw, moments.m.tobytes(), moments.v.tobytes(), moments.step, counters


def rows(run: Path) -> list[dict]:
    """metrics.csv but for the seconds."""
    with open(run / "metrics.csv", newline="") as file:
        found = list(csv.DictReader(file))
    return [{name: float(value) for name, value in row.items() if name != "seconds"} for row in found]


def seconds(run: Path) -> float:
    return checkpoint.load(run / "last.npz").header["training"]["seconds"]


def seconds_of_rows(run: Path) -> float:
    with open(run / "metrics.csv", newline="") as file:
        return float(list(csv.DictReader(file))[-1]["seconds"])


def wait_for(process, line: str) -> None:
    assert any(text.startswith(line) for text in process.stdout), process.stderr.read()


# killed


def kill(process, folder: Path, after: float, saving: bool) -> bool:
    """SIGKILL after so many seconds, or then as soon as a file is being written -> whether it was still running."""
    begun = time.monotonic()
    while time.monotonic() < begun + after and process.poll() is None:
        time.sleep(0.001)
    while saving and process.poll() is None and not (folder.exists() and parts(folder)):
        pass
    ended = process.poll() is not None
    process.kill()
    process.communicate(timeout=60)
    return not ended


def parts(folder: Path) -> list[str]:
    return [name for name in os.listdir(folder) if name.endswith(".part")]


def what_is_left_is_whole(run: Path) -> None:
    """After a kill: every checkpoint that is there loads; a run that says it is one has its weights."""
    for path in run.glob("*.npz"):
        checkpoint.load(path)
    if (run / "config.json").exists():
        json.loads((run / "config.json").read_text())
        step = checkpoint.load(run / "last.npz").header["training"]["step"]
        assert not step or [row["step"] for row in rows(run)].count(step) == 1


@unix
@pytest.mark.slow
def test_killed_at_any_moment_and_resumed_it_is_as_if_it_had_never_been(music, tmp_path):
    """MINIGEN_KILLS processes, every second one inside saving; some runs are killed more than once."""
    begin = [music, *SMALL, "--rate", 0.03, "--steps", 80, "--out"]
    begun = time.monotonic()
    done("train", *begin, tmp_path / "whole", code=OFTEN)
    took = time.monotonic() - begun
    whole, best, table = state(tmp_path / "whole"), state(tmp_path / "whole", "best"), rows(tmp_path / "whole")
    assert whole[-1]["rate"] < 0.03 and len(table) == 8  # it fell, and there were several validations
    rng, counts = np.random.default_rng(0), dict.fromkeys(("random", "saving", "part left", "no config", "runs"), 0)
    while counts["random"] + counts["saving"] < KILLS:
        run, ended = tmp_path / f"run{counts['runs']}", False
        counts["runs"] += 1
        for again in range(1000):
            kills = counts["random"] + counts["saving"]
            saving, wanted = bool(kills % 2), kills < KILLS and not (again and rng.random() < 0.6)
            resumed = (run / "config.json").exists()
            args = ["--resume", run] if resumed else [*begin, run]
            if not wanted:
                last = script("train", *args, code=OFTEN)
                ended = last.returncode == 0 or "80 steps already" in last.stderr
                assert ended, last.stderr
                break
            after = rng.uniform(0, took * (0.9 if saving else 1))
            if not kill(start("train", *args, code=OFTEN), run, after, saving):
                continue  # it was too fast
            counts["saving" if saving else "random"] += 1
            if run.exists():
                what_is_left_is_whole(run)
                counts["part left"] += bool(parts(run))
            counts["no config"] += not (run / "config.json").exists()
        assert ended
        assert state(run) == whole and state(run, "best") == best and rows(run) == table
        assert not parts(run)
        shutil.rmtree(run)
    print(f"\nkills: {counts}; {took:.1f} s a run")


DIES = """
import os, signal
replace, count = os.replace, 0
def dying(source, path):
    global count
    count += str(path).endswith("{name}")
    if count < {number}:
        return replace(source, path)
    {first}
    os.kill(os.getpid(), signal.SIGKILL)
os.replace = dying"""


@pytest.fixture(scope="module")
def stopped_never(music, tmp_path_factory):
    """A run of ten steps and two validations, and how it was started, but for --out."""
    begin, run = [music, *SMALL, "--steps", 10], tmp_path_factory.mktemp("whole") / "run"
    done("train", *begin, "--out", run, code=TWICE)
    return run, begin


@unix
@pytest.mark.parametrize(
    "name, at",
    [("judged.npz", "before")]
    + [
        pytest.param(name, at, marks=pytest.mark.slow)
        for name in ("metrics.csv", "judged.npz", "best.npz", "last.npz")
        for at in ("before", "after")
        if (name, at) != ("judged.npz", "before")
    ],
)
def test_killed_between_two_files_of_one_saving(name, at, stopped_never, tmp_path):
    """Right before, or right after, a file of the second validation is put in its place; last.npz is the last one."""
    (whole, begin), run = stopped_never, tmp_path / "run"
    first = "pass" if at == "before" else "replace(source, path)"
    dies = TWICE + DIES.format(name=name, number=3 if name == "last.npz" else 2, first=first)
    died = script("train", *begin, "--out", run, code=dies)
    assert died.returncode == -signal.SIGKILL, died.stderr
    assert bool(parts(run)) == (at == "before")
    what_is_left_is_whole(run)
    assert checkpoint.load(run / "last.npz").header["training"]["step"] == (10 if (name, at) == LAST else 5)
    if (name, at) == LAST:
        assert "10 steps already" in script("train", "--resume", run).stderr
    else:
        done("train", "--resume", run, code=TWICE)
    assert state(run) == state(whole) and state(run, "best") == state(whole, "best") and rows(run) == rows(whole)
    assert not parts(run)


# started twice, stopped, moved


@unix
def test_a_run_folder_is_of_one_process_and_free_when_that_is_killed(music, tmp_path):
    """What was asked for at the beginning is where it ends."""
    run, asked = tmp_path / "run", [*map(str, [music, *SMALL, "--steps", 20, "--out", tmp_path / "run"])]
    first = start("train", *asked, code=TWICE)
    wait_for(first, "step     5")
    first.send_signal(signal.SIGSTOP)
    for code, _, err in one_after_the_other([("train", ["--resume", str(run)]), ("train", asked)], tmp_path):
        assert code == 2 and err.startswith(f"error: {run} ") and len(err.splitlines()) == 1, err
    first.kill()
    first.communicate()
    done("train", "--resume", run)
    assert state(run)[-1]["step"] == 20


@unix
@pytest.mark.slow
def test_a_folder_is_taken_before_there_is_a_run_in_it(music, tmp_path):
    run, asked = tmp_path / "run", [music, *SMALL, "--steps", 1, "--out", tmp_path / "run"]
    waits = "import minigen.music.baseline as baseline, time\nbaseline.baselines = lambda *_: time.sleep(100)"
    first = start("train", *asked, code=waits)
    wait_for(first, "model ordered")
    again = script("train", *asked)
    first.kill()
    first.communicate()
    assert again.returncode == 2 and again.stderr.startswith(f"error: {run} is in use by another process: ")
    assert not (run / "config.json").exists()
    done("train", *asked)


@pytest.mark.slow
def test_a_run_goes_on_from_any_folder_and_with_its_music_somewhere_else(music, tmp_path):
    shutil.copytree(music, tmp_path / "here")
    run = tmp_path / "run"
    done("train", "here", *SMALL, "--steps", 1, "--out", "run", cwd=tmp_path)
    (tmp_path / "elsewhere").mkdir()
    done("train", "--resume", run, "--steps", 2, cwd=tmp_path / "elsewhere")
    (tmp_path / "here").rename(tmp_path / "there")
    lost = script("train", "--resume", run, "--steps", 3)
    assert lost.returncode == 2 and str(tmp_path / "here") in lost.stderr
    done("train", "--resume", run, "there", "--steps", 3, cwd=tmp_path)
    done("train", "--resume", "run", "--steps", 4, cwd=tmp_path)  # where it was told last
    (tmp_path / "there" / SONGS[0].name).unlink()
    changed = script("train", "--resume", run, "--steps", 5)
    assert changed.returncode == 2 and changed.stderr.startswith("error: the music is not what this run was trained on")
    assert "--resume RUN FOLDER" in changed.stderr and state(run)[-1]["step"] == 4
    done("train", "--resume", run, music, "--steps", 5)


@unix
@pytest.mark.slow
def test_minutes_are_kept_and_counted_over_all_processes(music, tmp_path):
    run, stopped = tmp_path / "run", start("train", music, *SMALL, "--minutes", 0.05, "--out", tmp_path / "run")
    wait_for(stopped, "step    25")
    stopped.terminate()
    out, err = stopped.communicate(timeout=60)
    assert stopped.returncode == 143 and f"scripts/train.py --resume {run}\n" in out, err
    assert 0 < seconds(run) < 3
    done("train", "--resume", run)
    assert 3 <= seconds(run) < 4 and rows(run)[-1]["step"] == state(run)[-1]["step"]
    over = script("train", "--resume", run)
    assert over.returncode == 2 and "has had its 0.05 minutes: ask for more with --minutes" in over.stderr
    done("train", "--resume", run, "--minutes", 0.01)  # from now on
    assert 3.6 <= seconds(run) < 4.6
    step = state(run)[-1]["step"]
    done("train", "--resume", run, "--steps", step + 3)  # instead of the minutes
    over = script("train", "--resume", run)
    assert over.returncode == 2 and f"{step + 3} steps already: ask for more of them with --steps" in over.stderr
    done("train", "--resume", run, "--steps", step + 4)


# no room, no right


@unix
def test_a_full_disk_is_said_and_the_old_files_are_whole(stopped_never, tmp_path):
    """A limit on the size of a file stands in for the disk: the system refuses to write more, in the middle of it."""
    run, full = tmp_path / "run", "import resource\nresource.setrlimit(resource.RLIMIT_FSIZE, ({0}, {0}))"
    shutil.copytree(stopped_never[0], run)
    before = {path.name: path.read_bytes() for path in run.glob("*.npz")}
    ended = script("train", "--resume", run, "--steps", 11, code=full.format(100_000))
    assert ended.returncode == 1 and re.fullmatch(f"error: {run}/[a-z]+.npz: File too large\n", ended.stderr)
    assert before == {path.name: path.read_bytes() for path in run.glob("*.npz")} and not parts(run)
    song = tmp_path / "out" / "run-best-ordered-seed0.mid"
    minigen.write_midi(song, minigen.read_midi(SONGS[0]))
    before = song.read_bytes()
    ended = script("sample", run, "--bars", 1, "--out", tmp_path / "out", code=full.format(20))
    assert ended.returncode == 1 and ended.stderr == f"error: {song}: File too large\n"
    assert song.read_bytes() == before and not parts(tmp_path / "out")


AS_NOBODY = """
import encodings.cp437, os, minigen.errors, minigen.run.plots  # what can no longer be read then
run = minigen.errors.run
def as_nobody(main):
    if os.getuid() == 0:
        os.setuid(65534)
    run(main)
minigen.errors.run = as_nobody"""


@unix
@pytest.mark.slow
def test_a_place_that_cannot_be_written_to(music, tmp_path):
    """A file in the way, and a folder without rights, for a user that is not root."""
    (tmp_path / "file").write_text("not a folder")
    with tempfile.TemporaryDirectory() as folder:  # the folders above tmp_path cannot be opened by others
        os.chmod(folder, 0o555)
        for out, code in ((tmp_path / "file", ""), (tmp_path / "file" / "below", ""), (f"{folder}/run", AS_NOBODY)):
            for name, *args in (("train", *SMALL), ("sample", "--bars", 1)):
                ended = script(name, *args, "--out", out, code=code)
                assert ended.returncode == 2 and str(out) in ended.stderr, ended.stderr
                assert re.fullmatch(
                    "error: .* cannot be used .*: name another place, with --out if it was to be written\n",
                    ended.stderr,
                )
        assert not os.listdir(folder)


@pytest.mark.slow
def test_minutes_are_kept_where_a_validation_takes_long(tmp_path):
    """To 5%, or one step."""
    run = tmp_path / "run"
    done("train", "--minutes", 0.1, "--valid", 0.9, "--batch", 2, "--kernels", "reference", "--out", run)
    assert 6 <= seconds_of_rows(run) < 6 + max(0.3, 1.5 * seconds_of_rows(run) / state(run)[-1]["step"])


# of a stranger


STRANGE = {
    "a batch that is a word": {"arguments": {"batch": "x"}},
    "kernels that are none": {"arguments": {"kernels": "magic"}},
    "sources that are a number": {"arguments": {"sources": 3}},
    "a number too large": {"arguments": {"seed": 2**70}},
    "a list for a number": {"arguments": {"rate": [0.1]}},
    "no arguments": {"arguments": 7},
}


def test_a_run_of_a_stranger_is_resumed_or_refused(tmp_path):
    """Whatever its config.json or metrics.csv holds: one sentence, exit code 2."""
    done(
        "train",
        *["--model", "simple", "--set", "hidden=8", "--batch", "2", "--kernels", "reference", "--steps", "1", "--out"],
        tmp_path / "run",
    )
    text, wanted = (tmp_path / "run" / "config.json").read_text(), ["train", ["--steps", "2", "--resume"]]
    config, calls = json.loads(text), []
    for n, changes in enumerate(STRANGE.values()):
        shutil.copytree(tmp_path / "run", tmp_path / f"{n}")
        other = changes["arguments"]
        other = config["arguments"] | other if isinstance(other, dict) else other
        (tmp_path / f"{n}" / "config.json").write_text(json.dumps(config | {"arguments": other}))
        calls.append((wanted[0], [*wanted[1], f"{n}"]))
    for n, csv_text in enumerate(("step,valid_loss\r\nx,1\r\n", 'step\r\n"[1]"\r\n', "step,seconds\r\n1,1\r\n")):
        shutil.copytree(tmp_path / "run", tmp_path / f"rows{n}")
        (tmp_path / f"rows{n}" / "metrics.csv").write_text(csv_text)
        calls.append((wanted[0], [*wanted[1], f"rows{n}"]))
    for (_, (*_, name)), (code, _, err) in zip(calls, one_after_the_other(calls, tmp_path), strict=True):
        assert code == 2 and err.startswith("error: ") and err.count("\n") == 1 and name[-1] in err, err


# of an older minigen


def test_a_run_of_an_older_minigen_goes_on(stopped_never, tmp_path):
    """Its configuration says steps_a_bar; neither it nor its counters nor config.json know what is new."""
    run = tmp_path / "run"
    shutil.copytree(stopped_never[0], run)
    whole = checkpoint.load(run / "last.npz")
    kept = json.loads((run / "config.json").read_text())
    for name in ("held_out", "steps", "minutes", "device", "kernels", "threads"):
        del kept["arguments"][name]
    (run / "config.json").write_text(json.dumps(kept))
    for name in ("last.npz", "best.npz", "judged.npz"):
        with np.load(run / name) as file:
            arrays = {name: file[name] for name in file.files}
        header = json.loads(arrays["header"].tobytes())
        for new in ("metre", "time_order", "time_of"):
            del header["config"][new]
        header["config"]["steps_a_bar"] = 16
        del header["training"]["seconds"]
        np.savez(run / name, **arrays | {"header": np.frombuffer(json.dumps(header).encode(), np.uint8)})
    old = checkpoint.load(run / "last.npz")
    assert old.model.config == whole.model.config and (old.params.flat == whole.params.flat).all()
    before = seconds_of_rows(run)
    done("train", "--resume", run, "--steps", 12, *SMALL[2:6])
    assert state(run)[-1]["step"] == 12 and seconds(run) > before > 0


# small folders


def test_a_batch_is_a_power_of_two_from_8_to_64():
    batches = [batch_of(fragments) for fragments in range(1, 2000)]
    assert set(batches) == {8, 16, 32, 64} and batches == sorted(batches)
    for fragments, batch in enumerate(batches, start=1):
        assert batch <= max(8, fragments / 4) and (batch == 64 or fragments < 8 * batch)


@pytest.mark.parametrize("lengths, batch", [([16], 8), ([256] * 4, 8), ([256] * 100, 8), ([4096] * 64, 64)])
def test_validating_takes_a_fifth_of_the_predictions_at_most(lengths, batch):
    """One without a backward pass counts as a third."""
    config = LADDER["final"].config
    steps = interval([np.zeros((length, 88), np.uint8) for length in lengths], batch, config)
    training, validating = steps * batch * config.fragment, sum(lengths) / 3
    assert steps >= 25 and steps % 5 == 0
    assert validating / (training + validating) <= 0.2
    assert steps == 25 or validating / (training + validating) > 0.15  # and not much less


def a_song(rng) -> np.ndarray:
    """16 bars: three-note chords, four in turn, under a melody that walks up and down a scale."""
    roll, scale = np.zeros((256, 88), np.uint8), np.array([0, 2, 4, 5, 7, 9, 11])
    chords, tonic, place = rng.integers(0, 7, 4), 39 + int(rng.integers(-5, 7)), 7
    for t in range(0, 256, 2):
        if t % 8 == 0:
            degrees = chords[t // 16 % 4] + np.array([0, 2, 4])
            roll[t, tonic - 12 + scale[degrees % 7] + 12 * (degrees // 7)] = 1
        place = int(np.clip(place + rng.integers(-2, 3), 0, 13))
        if t % 4 == 0 or rng.random() < 0.4:
            roll[t, tonic + scale[place % 7] + 12 * (place // 7)] = 1
    return roll


def few_songs(folder: Path, seed: int, n: int = 35) -> Path:
    folder.mkdir()
    rng = np.random.default_rng(seed)
    for i in range(n):
        minigen.write_midi(folder / f"{i:02}.mid", a_song(rng))
    return folder


@pytest.mark.slow
@pytest.mark.usefixtures("compiled")
def test_35_songs_of_one_fragment_each_are_learned(tmp_path):
    """In batches that follow from their number: better than the frequencies after 100 steps. After five steps it is
    not, and that is said."""
    songs = few_songs(tmp_path / "songs", 0)
    out = done("train", songs, "--steps", 5, "--out", tmp_path / "run")
    assert "give 31 fragments" in out and "batches of 4;" in out
    assert re.search(
        "^take care: simple guesses do better than this .*class frequency.*: train longer, or on more songs$", out, re.M
    )
    done("train", "--resume", tmp_path / "run", "--steps", 100)
    metrics = checkpoint.load(tmp_path / "run" / "best.npz").header["metrics"]
    assert metrics["valid_cells"] < 0.9 * metrics["baselines"]["class frequency"]
