"""What people bring (shared/cases), and what its README says is right; and the MIDI doctor, who looks at it all."""

import csv
import shutil

import numpy as np
import pytest
from helpers import fresh, one_after_the_other, small
from midi_helpers import CASES, metre, midi, needs_cases, reason, refusal

import minigen
from minigen.errors import printable
from minigen.music.dataset import opening, split
from minigen.music.folders import read_songs
from minigen.music.midi import read_midi, read_song
from minigen.music.midi_out import write_midi
from minigen.run import checkpoint

RED = "red\x1b[31m.mid"  # what turns a terminal red, in a name


def of(folder: str) -> list:
    return sorted((CASES / folder).iterdir())


def plain(path):
    """The song, about which nothing is to be said."""
    song = read_song(path)
    assert song.roll.any() and song.metre == "4/4" and song.warnings == [] and song.fit.off_grid < 0.02, path
    return song


@needs_cases
@pytest.mark.parametrize("folder, count", [("keysig", 3), ("riff", 2), ("band", 2), ("duplicates", 8)])
def test_songs_that_are_simply_read(folder, count):
    songs = [plain(path) for path in of(folder)]
    assert len(songs) == count and min((song.roll > 0).sum() for song in songs) > 50


@needs_cases
def test_short_metadata():
    """A tempo that cannot be read leaves it at 120; a metre of two bytes says enough."""
    bpm = {path.stem: plain(path).bpm for path in of("short-meta")}
    assert bpm == {"metre_2_bytes": 100, "sequence_number_0": 100, "tempo_0_bytes": 120}


@needs_cases
def test_metres():
    pickup = read_song(CASES / "metre" / "metre_1_4_pickup.mid")
    assert pickup.foreign == {} and pickup.bars_begin == 4 and "begin on step 4" in pickup.warnings[0]
    for name, told in [("metre_0_4", "0/4"), ("denominator_2_33", "2^33"), ("denominator_2_200", "2^200")]:
        refused = refusal(CASES / "metre" / f"{name}.mid")
        assert refused.kind == "metre" and told in str(refused)


@needs_cases
def test_one_note_off_the_piano():
    song = read_song(CASES / "outside" / "one_keyswitch.mid")
    assert song.off_piano == 1 and song.warnings == ["1 note outside the piano's 88 keys left out"]
    assert (song.roll > 0).sum() > 50


@needs_cases
def test_live_music_triplets_and_swing_are_read_with_a_word():
    kinds = {path.stem: read_song(path).fit for folder in ("live", "triplets") for path in of(folder)}
    for name, fit in kinds.items():
        expected = {"take": "off the grid", "trip": "triplets", "swin": "swing"}[name[:4]]
        assert fit.kind == expected and len(fit.warnings) == 1, name
        assert fit.off_grid == pytest.approx(0.25, abs=0.02) if expected == "off the grid" else fit.off_grid < 0.15
        assert f"{fit.moved:.0%}" in fit.warnings[0]


@needs_cases
def test_waltzes():
    for path in of("waltz"):
        assert refusal(path).remedy == "train on it with --metre 3/4"
    songs = read_songs([CASES / "waltz"], metre="3/4", cache=False)
    assert len(songs) == 6 and songs.refused == [] and all(len(roll) % 12 == 0 for roll in songs.rolls)


@needs_cases
def test_a_song_made_of_the_bars_of_a_waltz_trains_and_plays_in_three_four(tmp_path):
    """Its bars in another order; a model that learned from them and from others goes on from them."""
    roll = read_midi(CASES / "waltz" / "waltz0.mid", metre="3/4")
    bars = roll.reshape(-1, 12, 88)[::-1].reshape(-1, 88)
    (tmp_path / "music").mkdir()
    shutil.copy(CASES / "waltz" / "waltz1.mid", tmp_path / "music")
    write_midi(tmp_path / "music" / "made.mid", bars, metre="3/4")
    np.testing.assert_array_equal(read_midi(tmp_path / "music" / "made.mid", metre="3/4"), bars)
    train = "music --metre 3/4 --model final --set hidden=10 --batch 2 --steps 2 --kernels reference --out run"
    sample = "run/last.npz --primer music/made.mid --primer-bars 2 --bars 5 --kernels reference --out piece"
    ended = one_after_the_other([("train", train.split()), ("sample", sample.split())], tmp_path)
    assert [code for code, _, _ in ended] == [0, 0], ended
    config, (piece,) = minigen.load(tmp_path / "run" / "last.npz").model.config, (tmp_path / "piece").glob("*.mid")
    assert (config.metre, config.lags[:4], config.fragment) == ("3/4", (4, 8, 12, 24), 192)
    assert piece.read_bytes().index(b"\xff\x58\x04\x03\x02") < piece.read_bytes().index(b"\x90")
    first = opening(bars, 2, 12) > 0
    found = read_midi(piece, metre="3/4")
    assert len(found) == len(first) + 5 * 12
    np.testing.assert_array_equal(found[: len(first)] > 0, first)


def test_a_model_knows_its_metre(tmp_path):
    model = small("final")
    trained = fresh(type(model)(model.config.in_metre("6/8")))
    checkpoint.save(tmp_path / "model.npz", trained.model, trained.params)
    assert minigen.load(tmp_path / "model.npz").model.config == trained.model.config


@needs_cases
def test_a_band_gets_one_verdict_whatever_its_type():
    """What counts is channels and programs, and not tracks."""
    for path in of("band"):
        for limit in range(1, 5):
            told = f"5 parts (a channel and a program) have notes, more than {limit}"
            assert (reason(path, max_tracks=limit), refusal(path, max_tracks=limit).kind) == (told, "parts")
        assert read_midi(path, max_tracks=5).any()


@needs_cases
def test_duplicates():
    songs = read_songs([CASES / "duplicates"], cache=False)
    assert songs.names == ["a.mid", "a_up_a_tone.mid", *(f"other{n}.mid" for n in range(4))]
    assert songs.refused == [
        (f"a_{name}.mid", "it has the same notes as a.mid") for name in ("louder", "one_bar_later")
    ]
    assert [name for name, _ in songs.warnings] == ["a_up_a_tone.mid"]
    for seed in range(20):
        for side in split(songs, seed, 0.4):
            assert len({"a.mid", "a_up_a_tone.mid"} & set(side.names)) != 1
    official = read_songs([CASES / "duplicates"], cache=False, once=False)  # nothing is dropped
    assert len(official) == 8 and official.refused == []


@needs_cases
def test_primers_as_files():
    """What sample.py makes of them is tested with the scripts."""
    read = {path.stem: path for path in of("primer")}
    assert len(read_midi(read["long_64_bars"])) == 64 * 16 and round(read_song(read["slow60"]).bpm) == 60
    assert len(read_midi(read["half_bar"])) == 16 and (read_midi(read["thick"]) > 0).sum(axis=1).max() > 7
    upbeat = read_midi(read["upbeat"])
    assert len(opening(upbeat, 1)) == 32 and not upbeat[:8].any() and upbeat[8:16].any()
    kinds = {name: refusal(read[name]).kind for name in ("drums_only", "empty", "zero", "waltz")}
    assert kinds == {"drums_only": "no note", "empty": "no note", "zero": "not MIDI", "waltz": "metre"}


# the MIDI doctor


def rows_of(path) -> list[dict]:
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def visits(tmp_path_factory):
    """What the doctor says of folders, in one process: {name: (exit code, what is printed, errors, rows)}."""
    folder = tmp_path_factory.mktemp("doctor")
    own, empty = folder / "own", folder / "empty"
    (own / "deep").mkdir(parents=True)
    empty.mkdir()
    (own / "good.mid").write_bytes(midi([(n * 480, 60 + n % 7 * n % 5) for n in range(32)]))
    (own / "deep" / "later.mid").write_bytes(midi([(1920 + n * 480, 60 + n % 7 * n % 5) for n in range(32)]))
    (own / "higher.mid").write_bytes(midi([(n * 480, 62 + n % 7 * n % 5) for n in range(32)]))
    (own / "low.mid").write_bytes(midi([(0, 9), *((n * 240, 50 + n % 11 * n % 7) for n in range(32))]))
    tune = [(1920 + n * 480, 41 + n % 13 * n % 11) for n in range(48)]
    (own / "cut.mid").write_bytes(midi([(0, 30), *((n * 480, 31 + n % 5 * n % 3) for n in range(20))])[:-4])
    (own / "waltz.mid").write_bytes(midi([(0, metre(4, 4)), (0, 40), (1920, metre(3, 4)), *tune]))
    jig = [(1200, metre(6, 8)), (1200, 40), (1920, metre(3, 4)), *((tick, note + 20) for tick, note in tune)]
    (own / "medley.mid").write_bytes(midi([(0, metre(2, 4)), (0, 43), (720, 40), (960, metre(5, 16)), *jig]))
    swapped = [(tick, 90 - note) for tick, note in tune]
    (own / "one-bar.mid").write_bytes(
        midi([(0, metre(3, 4)), (0, 40), (1440, metre(4, 4)), *((tick - 480, note) for tick, note in swapped)])
    )
    (own / "large.mid").write_bytes(b"MThd".ljust(2**21 + 1, b"\0"))
    (own / "long.mid").write_bytes(midi([(2048 * 1920, 60)]))
    (own / RED).write_bytes(b"no MIDI")
    (own / "._good.mid").write_bytes(b"\0\5\x16\7")
    shutil.copy(own / "good.mid", folder / "alone.mid")
    commands = {"own": [own], "empty": [empty], "none": [folder / "none"], "alone": [folder / "alone.mid"]}
    if CASES.is_dir():
        commands |= {
            "cases": [CASES],
            "cases in 3/4": [CASES, "--metre", "3/4"],
            "band": [CASES / "band", "--max-tracks", 2],
        }
    calls = [
        ("check_midi", [*map(str, args), "--csv", str(folder / f"{n}.csv")]) for n, args in enumerate(commands.values())
    ]
    ended = one_after_the_other(calls, folder)
    tables = [folder / f"{n}.csv" for n in range(len(calls))]
    rows = [rows_of(table) if table.exists() else None for table in tables]
    return {name: (*end, row) for name, end, row in zip(commands, ended, rows, strict=True)}


def test_a_row_a_file(visits):
    code, out, err, rows = visits["own"]
    assert code == 0 and err == ""
    assert {row["file"]: (row["parse"], row["use"], row["code"]) for row in rows} == {
        "deep/later.mid": ("yes", "yes", "ok"),
        "good.mid": ("yes", "no", "repeats"),
        "higher.mid": ("yes", "yes", "ok"),
        "large.mid": ("no", "no", "too large"),
        RED: ("no", "no", "not MIDI"),
        "long.mid": ("yes", "no", "too long"),
        "low.mid": ("yes", "yes", "notes"),
        "cut.mid": ("yes", "yes", "broken"),
        "waltz.mid": ("yes", "yes", "bars"),
        "medley.mid": ("yes", "yes", "bars"),
        "one-bar.mid": ("yes", "yes", "bars"),
    }
    by_name = {row["file"]: row for row in rows}
    assert by_name["good.mid"]["repeats"] == by_name["higher.mid"]["repeats"] == "deep/later.mid"
    assert by_name["low.mid"]["dropped_notes"] == "1" and "outside the piano" in by_name["low.mid"]["reason"]
    assert "pieces" in by_name["large.mid"]["remedy"] and "2,048 bars" in by_name["long.mid"]["remedy"]
    low = by_name["low.mid"]
    assert (low["metre"], low["bpm"], low["bars"], low["notes"], low["off_grid"]) == ("4/4", "120.0", "4", "32", "0.0")
    for row in rows:  # the readable table has a line for each as well
        assert any(line.split()[:3] == [printable(row["file"]), row["parse"], row["use"]] for line in out.splitlines())
    assert "7 of 11 can be used (bars 3, " in out and "wrote" in out


def test_the_doctor_names_the_metre_in_which_most_of_a_song_is(visits):
    by_name = {row["file"]: row for row in visits["own"][3]}
    waltz = by_name["waltz.mid"]
    assert waltz["remedy"] == "most of it is in 3/4: train on it with --metre 3/4"
    assert (waltz["dropped_notes"], waltz["dropped_bars"], waltz["notes"]) == ("48", "16", "1")
    assert by_name["medley.mid"]["remedy"] == waltz["remedy"]  # though a bar of 6/8 comes before them
    assert by_name["one-bar.mid"]["remedy"] == "none is needed, if the rest is what you want"
    assert by_name["cut.mid"]["remedy"] == "copy it again" and by_name["low.mid"]["remedy"] == "none is needed"


def test_one_file_and_nothing_at_all(visits):
    code, out, _, rows = visits["alone"]
    assert code == 0 and [row["file"] for row in rows] == ["alone.mid"] and "1 of 1 can be used (ok 1)" in out
    for name, told in (("empty", "there is no MIDI in"), ("none", "there is no folder")):
        code, out, err, rows = visits[name]
        assert code == 2 and told in err and rows is None and "Traceback" not in err


CODES = {
    "band": "ok", "keysig": "ok", "outside": "notes", "short-meta": "ok", "live": "off the grid", "waltz": "metre",
    "metre/metre_1_4": "bar lines", "metre": "metre", "triplets/triplet": "triplets", "triplets/swing": "swing",
    "duplicates/a_louder": "repeats", "duplicates/a_one_bar": "repeats", "duplicates": "ok", "riff/rmid": "ok",
    "riff": "repeats", "primer/drums": "no note", "primer/empty": "no note", "primer/zero": "not MIDI",
    "primer/waltz": "metre", "primer": "ok",
}  # fmt: skip


@needs_cases
def test_every_case_gets_its_code(visits):
    code, out, err, rows = visits["cases"]
    assert code == 0 and err == "" and len(rows) == sum(path.is_file() for path in CASES.rglob("*")) - 1
    for row in rows:
        (expected,) = [CODES[name] for name in CODES if row["file"].startswith(name)][:1]
        assert row["code"] == expected, row
        assert (row["use"] == "no") == (expected in ("metre", "repeats", "no note", "not MIDI")), row
        assert (row["parse"] == "no") == (expected == "not MIDI"), row
        assert bool(row["reason"]) or expected == "ok", row
        assert bool(row["remedy"]) == (expected != "ok"), row
        if expected in ("off the grid", "ok", "notes") and row["use"] == "yes":
            assert float(row["off_grid"]) > 0.2 if expected == "off the grid" else float(row["off_grid"]) < 0.02, row
    assert {row["file"]: row for row in rows}["duplicates/a_up_a_tone.mid"]["repeats"] == "duplicates/a.mid"
    assert "take care: 10 of them do not fit the grid of 16ths" in out


@needs_cases
def test_the_doctor_judges_as_training_with_its_flags_would(visits):
    waltzes = [row["file"] for row in visits["cases in 3/4"][3] if row["use"] == "yes"]
    assert waltzes == ["primer/waltz.mid", *(f"waltz/waltz{n}.mid" for n in range(1, 6))]  # the first is the primer's
    assert {row["code"] for row in visits["band"][3]} == {"parts"}
    assert "0 of 2 can be used (parts 2)" in visits["band"][1]
    used = read_songs([CASES], cache=False).names
    assert used == [row["file"] for row in visits["cases"][3] if row["use"] == "yes"]
