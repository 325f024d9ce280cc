"""Song sets, the file that holds them, and the chorales of music21."""

import importlib.util
import io
import json
from pathlib import Path

import numpy as np
import pytest

from minigen.errors import MinigenError
from minigen.music import corpus
from minigen.music.corpus import bach_chorales
from minigen.music.songset import SongSet


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("MINIGEN_CACHE", str(tmp_path / "cache"))


def song(key: int, bars: int = 1) -> np.ndarray:
    roll = np.zeros((16 * bars, 88), np.uint8)
    roll[::4, key] = 1
    return roll


def sentence(call) -> str:
    with pytest.raises(MinigenError) as error:
        call()
    assert error.value.code == 2 and "\n" not in str(error.value)
    return str(error.value)


def test_a_song_set_survives_its_file(tmp_path):
    rolls = [song(0), song(87, bars=3), (np.arange(88 * 5).reshape(5, 88) % 7 == 0).astype(np.uint8)]
    songs = SongSet([], [], metre="3/4", held=True, refused=[("d.mid", "it is empty")])
    held = (np.cumsum(rolls[1], axis=0) > 0).astype(np.uint8)
    for name, roll, sounding, warnings in zip(
        ["a", "b/c", "Песня"], rolls, [None, held, rolls[2]], [[], ["it is odd", "and even"], ["x"]], strict=True
    ):
        songs.add(name, roll, sounding, warnings)
    songs.save(tmp_path / "set.npz")
    again = SongSet.load(tmp_path / "set.npz")
    assert (again.names, again.refused) == (songs.names, songs.refused)
    assert again.warnings == [("b/c", "it is odd"), ("b/c", "and even"), ("Песня", "x")]
    assert (again.metre, again.held) == ("3/4", True)
    assert again.sounding(0) is None  # its lengths are not known
    np.testing.assert_array_equal(again.sounding(1), held)
    np.testing.assert_array_equal(again.sounding(2), rolls[2])
    for a, b in zip(rolls, again.rolls, strict=True):
        np.testing.assert_array_equal(a, b)
        assert b.dtype == np.uint8
    again.save(tmp_path / "again.npz")
    assert (tmp_path / "set.npz").read_bytes() == (tmp_path / "again.npz").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["again.npz", "set.npz"]


def test_velocities_are_stored_as_struck_and_an_empty_set_is_a_set(tmp_path):
    SongSet([64 * song(5)], ["loud"]).save(tmp_path / "set.npz")
    np.testing.assert_array_equal(SongSet.load(tmp_path / "set.npz").rolls[0], song(5))
    SongSet([], [], refused=[("a", "b")]).save(tmp_path / "set.npz")
    assert len(SongSet.load(tmp_path / "set.npz")) == 0


def header(**changes):
    fields = {"magic": "minigen song set", "version": 2, "metre": "4/4", "held": False}
    fields |= {"names": ["a"], "refused": [], "warnings": []}
    return np.frombuffer(json.dumps(fields | changes).encode(), np.uint8)


ROWS, OFFSETS = np.zeros((16, 11), np.uint8), np.array([0, 16])
HELD = np.full((16, 11), 7, np.uint8)


def archive(**arrays) -> bytes:
    out = io.BytesIO()
    np.savez(out, **{"header": header(), "rows": ROWS, "sounding": HELD, "offsets": OFFSETS} | arrays)
    return out.getvalue()


def test_the_archive_of_these_tests_is_a_song_set(tmp_path):
    (tmp_path / "set.npz").write_bytes(archive())
    songs = SongSet.load(tmp_path / "set.npz")
    assert songs.names == ["a"] and songs.sounding(0).sum() == 16 * 11 * 3


@pytest.mark.parametrize("steps_a_bar, metre", [(16, "4/4"), (12, "3/4"), (1, "none")])
def test_a_song_set_of_version_1_still_loads(tmp_path, steps_a_bar, metre):
    """It had no metre, no lengths and no warnings."""
    fields = {"magic": "minigen song set", "version": 1, "steps_a_bar": steps_a_bar, "held": True}
    old = np.frombuffer(json.dumps(fields | {"names": ["a"], "refused": [["b", "c"]]}).encode(), np.uint8)
    rows = np.packbits(song(7), axis=1)
    np.savez(tmp_path / "old.npz", header=old, rows=rows, offsets=OFFSETS)
    songs = SongSet.load(tmp_path / "old.npz")
    assert (songs.metre, songs.held, songs.names, songs.warnings) == (metre, True, ["a"], [])
    assert songs.refused == [("b", "c")] and songs.sounding(0) is None
    np.testing.assert_array_equal(songs.rolls[0], song(7))
    songs.save(tmp_path / "new.npz")
    assert SongSet.load(tmp_path / "new.npz").sounding(0) is None


def test_songs_that_are_taken_keep_their_lengths_and_warnings():
    songs = SongSet([], [], refused=[("x", "y")])
    for key in range(4):
        songs.add(str(key), song(key), song(key + 10), ["w"])
    taken = songs.take([3, 1])
    assert (taken.names, taken.refused, taken.warnings) == (["3", "1"], [], [("1", "w"), ("3", "w")])
    np.testing.assert_array_equal(taken.rolls[0], song(3))
    np.testing.assert_array_equal(taken.sounding(1), song(11))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"not a zip",
        archive()[:-1],
        archive()[:300],
        archive(header=header(magic="minigen checkpoint")),
        archive(header=header(names=["a", "b"])),
        archive(header=header(names=[1])),
        archive(header=header(refused=[["a"]])),
        archive(header=header(refused=[["a", 1]])),
        archive(header=header(warnings=[["a", 1]])),
        archive(header=header(warnings=None)),
        archive(header=header(metre="5/4")),
        archive(header=header(metre=16)),
        archive(header=header(version=1, steps_a_bar=0)),
        archive(header=header(version=1, steps_a_bar="16")),
        archive(header=header(held=1)),
        archive(header=np.array([1, 2, 3], np.uint8)),
        archive(header=np.frombuffer(b"[1]", np.uint8)),
        archive(rows=ROWS[:15]),
        archive(rows=ROWS.astype(int)),
        archive(rows=ROWS[:, :10]),
        archive(rows=np.array([object()])),
        archive(sounding=HELD[:15]),
        archive(sounding=HELD.astype(int)),
        archive(offsets=np.array([0, 17])),
        archive(offsets=np.array([1, 16])),
        archive(offsets=np.array([0, 0, 16]), header=header(names=["a", "b"])),
        archive(offsets=np.array([0, 20, 16]), header=header(names=["a", "b"])),
        archive(offsets=np.array([0.0, 16.0])),
        archive(offsets=np.array([0, 20, 16], np.uint64), header=header(names=["a", "b"])),
        archive(offsets=np.zeros(0, int), header=header(names=[])),
    ],
)
def test_a_foreign_or_damaged_file_is_said(tmp_path, content):
    (tmp_path / "set.npz").write_bytes(content)
    assert "is not a song set, or is cut short" in sentence(lambda: SongSet.load(tmp_path / "set.npz"))


def test_a_plain_array_another_version_and_a_missing_file_are_said(tmp_path):
    np.save(tmp_path / "array.npy", ROWS)
    (tmp_path / "array.npy").rename(tmp_path / "set.npz")
    assert "is not a song set" in sentence(lambda: SongSet.load(tmp_path / "set.npz"))
    (tmp_path / "set.npz").write_bytes(archive(header=header(version=3)))
    assert "version 3" in sentence(lambda: SongSet.load(tmp_path / "set.npz"))
    assert "cannot be opened" in sentence(lambda: SongSet.load(tmp_path / "none.npz"))


# the chorales


def test_without_music21_the_remedy_is_said(monkeypatch):
    def missing(name):
        raise corpus.PackageNotFoundError(name)

    monkeypatch.setattr(corpus, "version", missing)
    assert 'pip install -e ".[corpus]"' in sentence(bach_chorales)


def xml(notes: str, beats: int = 4) -> bytes:
    """One measure of a quarter's upbeat and one whole bar of `notes`, as MusicXML of one part."""
    return f"""<score-partwise version="3.0"><part-list><score-part id="P"><part-name/></score-part></part-list>
    <part id="P"><measure number="0" implicit="yes"><attributes><divisions>8</divisions>
    <time><beats>{beats}</beats><beat-type>4</beat-type></time></attributes>
    {note("C", 8)}</measure><measure number="1">{notes}</measure></part></score-partwise>""".encode()


def note(step: str, length: int, more: str = "", grace: bool = False) -> str:
    """A note of octave 4 of so many 32nds."""
    pitch = f"<pitch><step>{step}</step><octave>4</octave></pitch>"
    return f"<note>{'<grace/>' if grace else ''}{pitch}{'' if grace else f'<duration>{length}</duration>'}{more}</note>"


def four_parts(notes, **options):
    from music21 import converter, stream

    parts = [converter.parseData(xml(notes, **options).decode(), format="musicxml").parts[0] for _ in range(4)]
    return stream.Score(parts)


@pytest.mark.skipif(importlib.util.find_spec("music21") is None, reason="music21 is not installed")
def test_a_score_becomes_struck_notes_with_its_upbeat_in_place():
    tied = note("D", 8, '<tie type="start"/>') + note("D", 8, '<tie type="stop"/>')
    score = four_parts(tied + note("G", 0, grace=True) + note("E", 2) + note("F", 14))
    roll, sounding = corpus._rolls(score)
    assert roll.shape == (32, 88) and roll.dtype == np.uint8 and roll.max() == 1
    notes = [(int(t), int(k) + 21) for t, k in np.argwhere(roll)]
    assert notes == [(12, 60), (16, 62), (24, 64), (25, 65)]
    ends = {60: (12, 16), 62: (16, 24), 64: (24, 25), 65: (25, 32)}  # tied notes are one; the last has 7 steps
    for key, (begin, end) in ends.items():
        assert np.flatnonzero(sounding[:, key - 21]).tolist() == list(range(begin, end))
    assert sounding.shape == roll.shape and sounding.sum() == sum(end - begin for begin, end in ends.values())
    for wrong, told in [
        (four_parts(note("E", 16) + note("F", 15)), "leaves the grid"),  # it ends between two steps
        (four_parts("<note><rest/><duration>1</duration></note>" + note("F", 8)), "leaves the grid"),
        (four_parts(note("E", 8), beats=3), "metre is 3/4"),
    ]:
        assert told in sentence(lambda wrong=wrong: corpus._rolls(wrong))
    waltz, _ = corpus._rolls(four_parts(note("E", 8), beats=3), "3/4")
    assert waltz.shape == (24, 88) and np.flatnonzero(waltz.any(axis=1)).tolist() == [8, 12]  # an upbeat, a bar of 12
    three = four_parts(note("E", 8))
    three.remove(three.parts[0])
    assert "3 parts" in sentence(lambda: corpus._rolls(three))


@pytest.mark.skipif(importlib.util.find_spec("music21") is None, reason="music21 is not installed")
def test_the_chorales_are_read_once(monkeypatch):
    from music21 import corpus as carried

    few = [path for path in carried.getComposer("bach") if Path(path).name in ("bwv10.7.mxl", "bwv108.6.mxl")]
    assert len(few) == 2
    monkeypatch.setattr(carried, "getComposer", lambda name: few)
    told = []
    songs = bach_chorales(log=told.append)
    assert len(told) == 1 and "minute" in told[0]
    again = bach_chorales(log=told.append)
    assert len(told) == 1 and (again.names, again.refused) == (songs.names, songs.refused)
    assert (songs.names, songs.refused) == (["bwv10.7.mxl", "bwv108.6.mxl"], [])
    whole, upbeat = songs.rolls
    assert [len(roll) % 16 for roll in songs.rolls] == [0, 0]
    assert np.flatnonzero(upbeat.any(axis=1))[0] == 12 and whole[0].any()
    for i, roll in enumerate(songs.rolls):  # four voices sound nearly all the time
        assert songs.sounding(i)[roll > 0].all() and 3 < songs.sounding(i)[16:].sum(axis=1).mean() <= 4
        np.testing.assert_array_equal(songs.sounding(i), again.sounding(i))
    assert all(2 < roll.sum(axis=1)[roll.any(axis=1)].mean() <= 4 for roll in songs.rolls)
