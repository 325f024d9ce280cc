"""The scripts as a user runs them: real processes, real files, exit codes."""

import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace

import helpers
import numpy as np
import pytest
from helpers import ROOT, SONGS, done, one_after_the_other, script, small, songs_of

import minigen
from minigen.ladder import LADDER
from minigen.music.songset import SongSet
from minigen.run import checkpoint
from minigen.run.perform import perform
from minigen.run.trace import save_trace

compiled = pytest.mark.usefixtures("compiled")
BRIEFLY = "--batch", 2, "--kernels", "reference"


def save(path, trained):
    checkpoint.save(path, trained.model, trained.params, trained.moments)
    return path


@pytest.fixture(scope="module")
def music(tmp_path_factory):
    """Three of minigen's songs in a folder and one below it."""
    folder = tmp_path_factory.mktemp("music")
    (folder / "more").mkdir()
    for i, path in enumerate(SONGS[:3]):
        shutil.copy(path, folder / ("more" if i == 2 else ".") / path.name)
    return folder


@pytest.fixture(scope="module")
def fresh(tmp_path_factory):
    """A checkpoint of weights that have learned nothing."""
    return save(tmp_path_factory.mktemp("fresh") / "fresh.npz", helpers.fresh(LADDER["final"](), seed=0))


@pytest.mark.slow
def test_resume_is_as_if_it_had_never_stopped(music, tmp_path):
    """Stopped between two validations (one every 25 steps), and resumed: the same to the last bit."""
    args = "train", music, "--model", "final", "--batch", 2, "--schedule", "plateau"
    done(*args, "--steps", 55, "--out", tmp_path / "whole")
    done(*args, "--steps", 30, "--out", tmp_path / "cut")
    done("train", "--resume", tmp_path / "cut", "--steps", 55)
    whole, cut = (checkpoint.load(tmp_path / name / "last.npz") for name in ("whole", "cut"))
    assert (whole.params.flat == cut.params.flat).all()
    assert (whole.moments.m == cut.moments.m).all() and (whole.moments.v == cut.moments.v).all()
    assert (whole.raw == cut.raw).all() and (whole.raw != whole.params.flat).any()
    bests = [checkpoint.load(tmp_path / name / "best.npz") for name in ("whole", "cut")]
    assert (bests[0].params.flat == bests[1].params.flat).all() and bests[0].raw is None and bests[0].moments
    counters = [file.header["training"] | {"seconds": 0} for file in (whole, cut)]
    assert counters[0] == counters[1] and counters[0]["step"] == 55
    rows = (tmp_path / "cut" / "metrics.csv").read_text().splitlines()
    assert [row.split(",")[0] for row in rows] == ["step", "25", "30", "50", "55"]
    command = cut.header["command"]
    assert command.count("--out") == 1 and "then python scripts/train.py --resume" in command
    again = script("train", "--resume", tmp_path / "cut", "--steps", 55)
    assert again.returncode == 2 and "55 steps already" in again.stderr
    other = script("train", "--resume", tmp_path / "cut", "--batch", 4)
    assert other.returncode == 2 and "leave it out" in other.stderr


@compiled
def test_a_run_folder_holds_what_was_promised(music, tmp_path):
    shutil.copytree(music, tmp_path / "music")
    (tmp_path / "music" / "broken.mid").write_bytes(b"MThd")
    out = done("train", tmp_path / "music", "--batch", 2, "--steps", 2, "--model", "final", "--out", tmp_path / "run")
    names = {path.name for path in (tmp_path / "run").iterdir()}
    expected = {"config.json", "metrics.csv", "last.npz", "best.npz", "judged.npz", "loss.png", "refused.txt"}
    expected |= {"warnings.txt", "sample-000000.mid", "sample-000002.mid", "passage-000002.png"}
    expected |= {"report.html", "gradients.png"}
    assert names == expected
    assert "broken.mid" in (tmp_path / "run" / "refused.txt").read_text()
    assert re.search(r"refused .*broken\.mid: ", out)
    assert "3 songs: 2 to train on" in out and "1 are held out" in out
    waited = re.search(r"\nbatches and draws: (\d+\.\d)% of the time was spent making or awaiting them\n", out)
    assert 0 <= float(waited[1]) < 50
    assert minigen.read_midi(tmp_path / "run" / "sample-000002.mid").shape == (256, 88)
    header = checkpoint.load(tmp_path / "run" / "best.npz").header
    assert header["model"] == "final" and header["command"].startswith("python scripts/train.py")
    assert header["metrics"]["baselines"].keys() >= {"class frequency", "copies together"}


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals between processes")
@pytest.mark.parametrize("number, code", [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_stop_is_saved_and_can_be_resumed(music, tmp_path, number, code):
    command = [sys.executable, ROOT / "scripts" / "train.py", music, "--batch", "2", "--out", tmp_path / "run"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while "to beat" not in process.stdout.readline():
        pass
    time.sleep(2)
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert process.returncode == code, err
    assert "--resume" in out and not err
    step = checkpoint.load(tmp_path / "run" / "last.npz").header["training"]["step"]
    assert step > 0
    done("train", "--resume", tmp_path / "run", "--steps", step + 1)


def test_training_goes_on_from_a_checkpoint(music, fresh, tmp_path):
    done("train", music, *BRIEFLY, "--init", fresh, "--steps", 1, "--rate", 1e-8, "--out", tmp_path / "run")
    begun, gone_on = checkpoint.load(fresh), checkpoint.load(tmp_path / "run" / "last.npz")
    assert gone_on.model.name == "final"
    np.testing.assert_allclose(gone_on.params.flat, begun.params.flat, atol=1e-7)


@pytest.mark.slow
def test_a_song_set_is_music_too(tmp_path):
    SongSet(songs_of(64, 64, 64), ["a", "b", "c"]).save(tmp_path / "songs.npz")
    done("train", tmp_path / "songs.npz", *BRIEFLY, "--steps", 1, "--out", tmp_path / "run")


@pytest.mark.slow
def test_held_notes_without_bars_are_learned_played_and_judged(tmp_path):
    SongSet(songs_of(200, 150, 100), ["a", "b", "c"], metre="none", held=True).save(tmp_path / "freely.npz")
    sizes = [word for name in ("hidden", "voice_hidden", "decoder_hidden") for word in ("--set", f"{name}=8")]
    grid = ["--metre", "none", "--set", "held=true"]
    ended = one_after_the_other(
        [
            ("train", ["freely.npz", *map(str, BRIEFLY), "--steps", "2", *sizes, *grid, "--out", "run"]),
            ("sample", ["run", "--bars", "40", "--out", "out"]),
            ("evaluate", ["run", "freely.npz", "--seeds", "2", "--bars", "64", "--particles", "2"]),
            ("evaluate", ["run", str(SONGS[0]), "--seeds", "2", "--bars", "64", "--particles", "2"]),
        ],
        tmp_path,
    )
    assert [code for code, _, _ in ended] == [0, 0, 0, 2], [err for _, _, err in ended]
    assert "3 songs: 2 to train on" in ended[0][1] and "ordered: 1 held-out songs" in ended[2][1]
    assert "use a model that was made for them" in ended[3][2]
    done("train", "--resume", tmp_path / "run", "--steps", 3)
    config = checkpoint.load(tmp_path / "run" / "last.npz").model.config
    assert (config.metre, config.held, config.bar) == ("none", True, 1)
    assert (config.lags, config.fragment) == (LADDER["final"].config.lags, 256)  # spans are as they are in 4/4
    (piece,) = (tmp_path / "out").glob("*.mid")
    assert len(minigen.read_midi(piece, metre="none")) == 40 and b"\xff\x58" not in piece.read_bytes()


@pytest.mark.parametrize("steps_a_bar, metre", [(16, "4/4"), (12, "3/4"), (1, "none")])
def test_a_configuration_of_an_older_file_says_steps_a_bar(steps_a_bar, metre):
    config = LADDER["final"].config
    fields = config.as_json() | {"hidden": 33, "steps_a_bar": steps_a_bar}
    del fields["metre"]
    assert config.with_fields(fields) == replace(config, hidden=33, metre=metre)


@pytest.mark.parametrize("steps_a_bar", [0, 7, 17, "16", None, [16], {}, 12.5])
def test_a_number_of_steps_a_bar_that_never_was_is_refused(steps_a_bar):
    with pytest.raises(minigen.MinigenError, match="not one of this version"):
        LADDER["final"].config.with_fields({"steps_a_bar": steps_a_bar})


@pytest.mark.slow
def test_the_same_seed_gives_the_same_bytes(fresh, tmp_path):
    def play(folder, *args):
        done("sample", fresh, "--bars", 2, "--out", tmp_path / folder, *args)
        return {path.name: path.read_bytes() for path in (tmp_path / folder).iterdir()}

    several, again = play("a", "--num-outputs", 3, "--seed", 4), play("b", "--num-outputs", 3, "--seed", 4)
    assert several == again and len(several) == 6  # each as if it were made alone
    alone = play("c", "--seed", 5)
    assert alone.items() <= several.items()
    midi = [several[name] for name in sorted(several) if name.endswith(".mid")]
    assert len(set(midi)) == 3
    assert play("d", "--seed", 5, "--temperature", 0.5) != alone
    assert set(play("e", "--seed", 5)) == {"fresh-final-seed5.mid", "fresh-final-seed5.png"}


def test_a_primer_is_kept_and_gone_on_from(fresh, tmp_path):
    out = done("sample", fresh, "--bars", 2, "--primer", SONGS[0], "--out", tmp_path)
    assert "the primer ends at step 16 (after bar 1)" in out
    roll = minigen.read_midi(tmp_path / "fresh-final-seed0.mid")
    assert len(roll) == 48
    assert ((roll[:16] > 0) == (minigen.read_midi(SONGS[0])[:16] > 0)).all()


def test_in_code(fresh, tmp_path):
    model = minigen.load(fresh)
    roll = minigen.generate(model, bars=3, seed=1)
    assert roll.shape == (48, 88) and set(np.unique(roll)) <= {0, 1}
    minigen.write_midi(tmp_path / "song.mid", roll)
    assert ((minigen.read_midi(tmp_path / "song.mid") > 0) == (roll > 0)).all()


@pytest.mark.parametrize(
    "wrong",
    [{"bars": 0}, {"bars": 1.5}, {"seed": -1}, {"temperature": 0}, {"temperature": float("nan")}]
    + [{"primer": "song.mid"}, {"primer": np.zeros((5, 12))}, {"trained": "a path"}],
)
def test_wrong_arguments_in_code(fresh, wrong):
    with pytest.raises(minigen.MinigenError):
        minigen.generate(**{"trained": minigen.load(fresh), "bars": 1} | wrong)


def test_info(fresh):
    out = done("sample", fresh, "--info")
    assert "final" in out and "397,961 parameters" in out


def test_gradcheck_prints_its_table():
    out = done("gradcheck", "--model", "pause-loss")
    assert re.search(r"aggregator\.Wh +\d\.\de-\d\d  ok", out) and out.rstrip().endswith("0 wrong")


@pytest.mark.parametrize("name", LADDER)
def test_every_rung_is_saved_and_plays(name, tmp_path):
    """With another configuration: what is loaded plays what was saved, and another piece for another seed."""
    model = small(name)
    saved, primer = helpers.fresh(model), minigen.read_midi(SONGS[0])
    loaded = checkpoint.load(save(tmp_path / "rung.npz", saved))
    assert loaded.model.config == model.config
    one, same, other = (minigen.generate(t, 2, seed, primer) for t, seed in ((saved, 1), (loaded, 1), (loaded, 2)))
    assert (one == same).all() and (one != other).any()
    assert len(one) == (32 if model.needs_classes else 48)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["latency", "decoder"])
def test_other_rungs_train_and_go_on(name, music, tmp_path):
    done("train", music, *BRIEFLY, "--set", "hidden=20", "--steps", 1, "--model", name, "--out", tmp_path / "run")
    done("train", "--resume", tmp_path / "run", "--steps", 2)
    assert checkpoint.load(tmp_path / "run" / "last.npz").model.config.hidden == 20


def test_steered_traced_and_looked_at(fresh, tmp_path):
    minigen.write_midi(tmp_path / "melody.mid", minigen.read_midi(SONGS[0])[:32])
    place = [str(fresh), "--out", "."]
    (played, step, beyond, replayed, harmonised) = one_after_the_other(
        [
            ("sample", [*place, "--key", "Am", "--chords", "Am|Dm|E7", "--bars", "3", "--trace", "t.npz"]),
            ("plot", ["t.npz", "--step", "7"]),
            ("plot", ["t.npz", "--step", "48"]),
            ("plot", ["t.npz", "--replay", str(fresh)]),
            ("sample", [*place, "--inject", "melody.mid", "--bars", "2"]),
        ],
        tmp_path,
    )
    assert [code for code, _, _ in (played, step, beyond, replayed, harmonised)] == [0, 0, 2, 0, 0]
    assert "steering: sounding steps within the key or chord 100%" in played[1]
    assert step[1].startswith("step 7 (bar 1, 16th 8)") and (tmp_path / "t-step7.png").exists()
    assert "may play A C E pause" in step[1]
    assert "48 new steps" in beyond[2]
    assert replayed[1] == "replayed: 48 of 48 steps are the same\n"
    assert "notes of the melody that sound 100%" in harmonised[1]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["simple", "one-shot", "decoder"])
def test_every_form_of_output_is_traced_and_drawn(name, tmp_path):
    rung = save(tmp_path / "rung.npz", helpers.fresh(small(name)))
    done("sample", rung, "--primer", SONGS[0], "--bars", 1, "--out", tmp_path, "--trace", tmp_path / "t.npz")
    done("plot", tmp_path / "t.npz", "--step", 3)
    assert (tmp_path / "t-step3.png").exists()


def test_a_piece_that_blows_up_is_written_and_the_others_are_played(tmp_path):
    """Exit 3, one sentence, the music so far. The weights of the lags overflow after a C in the second bar."""
    model = small("final", pause_bias=5.0)
    wild = helpers.fresh(model)
    Wx, _, b = wild.params.layer("reader")
    H = model.config.hidden
    for array in (Wx, b, *wild.params.layer("weights")):
        array[...] = 0
    Wx[[3, 12 + 4], :H] = 40  # C, and bit 4 of the time: together they open the input gate
    b[:H], b[H : 2 * H], b[2 * H :] = -60, -9, 9
    wild.params["weights.W"][:, 0] = 3e38
    asked = "--num-outputs", 2, "--seed", 1, "--bars", 2, "--key", "C", "--out", tmp_path
    ended = script("sample", save(tmp_path / "wild.npz", wild), *asked)
    assert ended.returncode == 3
    assert ended.stderr.splitlines()[-1].startswith("error: the weights give probabilities that are NaN")
    lengths = [len(minigen.read_midi(path)) for path in sorted(tmp_path.glob("*.mid"))]
    assert 16 < lengths[0] < lengths[1] == 32


@compiled
def test_learning_while_playing(fresh, tmp_path):
    """At rate 0 the same bytes as without it, at another rate another piece; the checkpoint is never written to."""
    before, learn = fresh.read_bytes(), ["--finetune", "reset", "--finetune-window", "16", "--finetune-rate"]
    ways = {"off": [], "rest": [*learn, "0"], "learn": [*learn, "0.01", "--finetune-iters", "2"]}
    place = [str(fresh), "--bars", "1", "--primer", str(SONGS[0]), "--out"]
    for code, _, err in one_after_the_other([("sample", [*place, way, *ways[way]]) for way in ways], tmp_path):
        assert code == 0, err
    off, rest, learned = (next((tmp_path / way).glob("*.mid")).read_bytes() for way in ways)
    assert off == rest != learned and fresh.read_bytes() == before


@pytest.mark.slow
def test_the_ladder_is_measured_once_and_written_between_markers(tmp_path):
    """Three rungs, briefly: what was measured is kept, and the table names every rung, its columns and its error."""
    asked = ["--corpus", "songs", "--minutes", 0.01, "--fragments", 16, "--seeds", 2, "--particles", 2]
    asked += ["--only", "simple", "decoder", "final"]
    out = done("ladder", *asked, cwd=tmp_path)
    rows = [line.split(" | ") for line in out.splitlines() if line.startswith("| ")]
    assert len({len(row) for row in rows}) == 1 and [row[1] for row in rows[2:]] == ["`simple`", "`decoder`", "`final`"]
    simple, decoder, final = rows[2:]
    assert simple[4] == decoder[4] == "" and "±" in final[4] and "octaves alone" in decoder[5]
    assert "left out" in out and "standard error" in out
    again = done("ladder", *asked, cwd=tmp_path)
    assert again[again.index("| date") :] == out[out.index("| date") :]


BAD = {
    "no such folder": ("train", ["nowhere"], "nowhere"),
    "a folder with no MIDI": ("train", ["empty"], "empty"),
    "MIDI that is all refused": ("train", ["refused"], "bad.mid"),
    "one song": ("train", ["one"], "second song"),
    "a checkpoint for music": ("train", ["fresh.npz"], "song set"),
    "no device": ("train", ["--device", "cuda"], "--device cpu"),
    "more threads than cores": ("train", ["--threads", "4000"], "threads"),
    "a rate of NaN": ("train", ["--rate", "nan"], "--rate"),
    "a batch of 0": ("train", ["--batch", "0"], "--batch"),
    "half a step": ("train", ["--steps", "0.5"], "--steps"),
    "an unknown model": ("train", ["--model", "symphony"], "--model"),
    "an unknown flag": ("train", ["--harder"], "--harder"),
    "no run to resume": ("train", ["--resume", "nowhere"], "nowhere"),
    "no checkpoint to start from": ("train", ["--init", "nowhere.npz"], "nowhere.npz"),
    "no checkpoint": ("sample", ["nowhere.npz"], "nowhere.npz"),
    "a truncated checkpoint": ("sample", ["short.npz"], "cut short"),
    "a song set for a checkpoint": ("sample", ["songs.npz"], "not a minigen checkpoint"),
    "no primer": ("sample", ["fresh.npz", "--primer", "nowhere.mid"], "nowhere.mid"),
    "a primer that is none": ("sample", ["fresh.npz", "--primer", "fresh.npz"], "fresh.npz"),
    "no bars": ("sample", ["fresh.npz", "--bars", "0"], "--bars"),
    "a temperature of 0": ("sample", ["fresh.npz", "--temperature", "0"], "--temperature"),
    "an unknown key": ("sample", ["fresh.npz", "--key", "H"], "'H'"),
    "an unknown chord": ("sample", ["fresh.npz", "--chords", "C|Xm"], "'Xm'"),
    "an 88-key model steered": ("sample", ["simple.npz", "--key", "C"], "feedback, final, pause-loss"),
    "a decoder steered": ("sample", ["decoder.npz", "--key", "C"], "cannot be steered"),
    "a melody longer than the piece": ("sample", ["fresh.npz", "--inject", "song.mid", "--bars", "2"], "--bars"),
    "a melody that is none": ("sample", ["fresh.npz", "--inject", "empty.mid"], "no note"),
    "a primer with no notes": ("sample", ["fresh.npz", "--primer", "empty.mid"], "no note"),
    "a finetuning rate of NaN": (
        "sample",
        ["fresh.npz", "--finetune", "reset", "--finetune-rate", "nan"],
        "--finetune-rate",
    ),
    "a way to finetune that is none": ("sample", ["fresh.npz", "--finetune", "hard"], "--finetune"),
    "no device to play on": ("sample", ["fresh.npz", "--device", "cuda"], "--device cpu"),
    "a window of 0": ("sample", ["fresh.npz", "--finetune", "reset", "--finetune-window", "0"], "--finetune-window"),
    "a decoder that learns": ("sample", ["decoder.npz", "--primer", "song.mid", "--finetune", "reset"], "--finetune"),
    "an empty key": ("sample", ["fresh.npz", "--key", ""], "is no key"),
    "a rate for nothing": ("sample", ["fresh.npz", "--finetune-rate", "0.1"], "--finetune"),
    "a picture that is none": ("plot", ["fresh.npz", "--out", "a.svg"], ".png"),
    "the trick meta-trained": ("train", ["two", "--model", "final", "--meta", "1"], "pause-loss"),
    "inner steps of no meta-training": ("train", ["two", "--meta-rate", "1"], "--meta"),
    "a trace of two pieces": ("sample", ["fresh.npz", "--trace", "a.npz", "--num-outputs", "2"], "--num-outputs"),
    "no trace": ("plot", ["songs.npz"], "not a minigen checkpoint"),
    "a setting that is none": ("train", ["one", "--set", "wings=2"], "NAME=VALUE"),
    "a setting of the wrong kind": ("train", ["one", "--set", "delays=4,x"], "delays=4,x"),
    "settings over a checkpoint's": ("train", ["two", "--init", "fresh.npz", "--set", "hidden=5"], "--set"),
    "a decoder with nothing to decode": ("sample", ["decoder.npz"], "--primer"),
    "an evaluation of what makes up nothing": ("evaluate", ["decoder.npz"], "evaluate a model"),
    "minutes for a claim with steps of its own": ("diary", ["copy", "--minutes", "1"], "--minutes"),
    "a part of the ladder for the whole": ("ladder", ["--only", "simple", "--write"], "--only"),
    "a claim that the diary does not make": ("diary", ["world peace"], "claim"),
    "a run folder inside the music": ("train", ["two", "--out", "two/run"], "--out"),
    "a folder that is no run": ("sample", ["empty"], "empty"),
    "an evaluation on songs of another metre": ("evaluate", ["fresh.npz", "waltz.npz"], "a model that was made for"),
    "an evaluation on held notes": ("evaluate", ["fresh.npz", "held.npz"], "use a model that was made for them"),
    "songs of another metre": ("train", ["waltz.npz"], "train with --metre 3/4"),
    "songs of held notes": ("train", ["held.npz"], "train with --set held=true"),
    "songs of held notes without bars": ("train", ["freely.npz"], "train with --metre none --set held=true"),
    "held notes for a model of struck ones": (
        "train",
        ["held.npz", "--init", "fresh.npz"],
        "use a model that was made",
    ),
    "held out of another grid": ("train", ["two", "--held-out", "held.npz"], "held notes in 4/4"),
    "two ways to hold out": ("train", ["two", "--held-out", "one", "--valid", "0.2"], "leave one of the two out"),
    "an evaluation without music": ("evaluate", ["fresh.npz"], "name it, or other music"),
    "files and a corpus": ("train", ["two", "--corpus", "bach"], "both given: choose one"),
    "a fall to an end that is not given": ("train", ["two", "--schedule", "linear"], "give one, --steps or --minutes"),
    "another metre than the checkpoint's": (
        "train",
        ["two", "--init", "fresh.npz", "--metre", "3/4"],
        "leave out --metre",
    ),
    "another model than the checkpoint's": (
        "train",
        ["two", "--init", "fresh.npz", "--model", "simple"],
        "leave out --model",
    ),
    "dropout where there is none": (
        "train",
        ["two", "--model", "final", "--set", "dropout=0.5"],
        "leave out --set dropout",
    ),
    "conditional voices without voices": ("train", ["two", "--model", "final", "--set", "voices=0"], "--set voices=5"),
    "no song to look ahead in": (
        "train",
        ["short-songs.npz", "--model", "pause-loss", "--meta", "1", "--kernels", "reference"],
        "use longer songs",
    ),
    "a checkpoint for a step to repeat": ("train", ["--resume", "fresh.npz"], "is no crash.npz"),
    "songs of its own and a corpus": ("diary", ["copy", "--corpus", "toys"], "leave out --corpus"),
    "an album and outputs": ("sample", ["fresh.npz", "--album", "2", "--num-outputs", "2"], "leave out --num-outputs"),
    "bars of no primer": ("sample", ["fresh.npz", "--primer-bars", "2"], "name one, --primer FILE.mid"),
    "updates of no finetuning": ("sample", ["fresh.npz", "--finetune-iters", "2"], "add --finetune reset"),
    "a step of music": ("plot", ["song.mid", "--wav", "--step", "3"], "has no steps to look into"),
    "a picture of music": ("plot", ["song.mid"], "hear it with --wav, or name a checkpoint before it"),
    "the sound of a checkpoint": ("plot", ["fresh.npz", "--wav"], "sample.py --wav plays a checkpoint"),
    "a step of a checkpoint": ("plot", ["fresh.npz", "song.mid", "--step", "3"], "for what sample.py --trace wrote"),
    "a trace and a song": ("plot", ["trace.npz", "song.mid"], "leave out song.mid"),
    "a step that was not played": ("plot", ["trace.npz", "--step", "7"], "has 4 new steps"),
    "weights of another model": ("plot", ["trace.npz", "--replay", "simple.npz"], "name the checkpoint it is of"),
    "no trace there": ("plot", ["nowhere.npz", "--step", "1"], "nowhere.npz"),
}


@pytest.fixture(scope="module")
def desk(tmp_path_factory, fresh):
    """A folder with everything that can be wrong in it."""
    desk = tmp_path_factory.mktemp("desk")
    for name in ("empty", "refused", "one"):
        (desk / name).mkdir()
    (desk / "empty" / "notes.txt").write_text("no music")
    (desk / "refused" / "bad.mid").write_bytes(b"MThd")
    shutil.copy(SONGS[0], desk / "one")
    (desk / "two").mkdir()
    for path in SONGS[:2]:
        shutil.copy(path, desk / "two")
    shutil.copy(fresh, desk / "fresh.npz")
    for name in ("decoder", "simple"):
        save(desk / f"{name}.npz", helpers.fresh(small(name)))
    shutil.copy(SONGS[0], desk / "song.mid")
    minigen.write_midi(desk / "empty.mid", np.zeros((16, 88), np.uint8))
    (desk / "short.npz").write_bytes(fresh.read_bytes()[:1000])
    SongSet([np.ones((16, 88), np.uint8)], ["a"]).save(desk / "songs.npz")
    SongSet(songs_of(48, 64, 64), ["a", "b", "c"]).save(desk / "short-songs.npz")
    trained = helpers.fresh(small("final"))
    piece = perform(trained, 4, 0, traced=True)
    save_trace(desk / "trace.npz", trained, piece.roll, piece.traces, 0, 1.0, 4)
    for name, grid in (("waltz", ("3/4", False)), ("held", ("4/4", True)), ("freely", ("none", True))):
        SongSet(songs_of(64, 64, 64), ["a", "b", "c"], *grid).save(desk / f"{name}.npz")
    return desk


def test_bad_input_is_one_sentence_and_exit_code_2(desk):
    """All of BAD, one after the other in one process."""
    ended = one_after_the_other([(name, args) for name, args, _ in BAD.values()], desk)
    for (what, (_, _, mentioned)), (code, out, err) in zip(BAD.items(), ended, strict=True):
        assert code == 2, (what, out, err)
        assert err.startswith("error: ") and len(err.splitlines()) == 1 and mentioned in err, (what, err)
    assert not (desk / "runs").exists()


def test_bad_input_ends_a_process_of_its_own_with_exit_code_2(desk):
    ended = script("sample", "nowhere.npz", cwd=desk)
    assert ended.returncode == 2 and ended.stderr.startswith("error: there is no checkpoint nowhere.npz")
