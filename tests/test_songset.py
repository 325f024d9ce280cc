"""Folders, files and song sets: what is found, what is said, and what the cache may and may not do."""

import importlib.util
import io
import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest

from minigen.errors import MinigenError
from minigen.music import corpus, songset
from minigen.music.corpus import bach_chorales
from minigen.music.midi_out import write_midi
from minigen.music.songset import SongSet, cache_folder, read_songs


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("MINIGEN_CACHE", str(tmp_path / "cache"))


def song(key: int, bars: int = 1) -> np.ndarray:
    roll = np.zeros((16 * bars, 88), np.uint8)
    roll[::4, key] = 1
    return roll


@pytest.fixture
def folder(tmp_path):
    """Three usable songs and a broken one, at several depths and in several spellings."""
    root = tmp_path / "music"
    (root / "b" / "deep").mkdir(parents=True)
    write_midi(root / "z.MID", song(1))
    write_midi(root / "b" / "deep" / "y.kar", song(2))
    write_midi(root / "b" / "x.midi", song(3))
    (root / "a broken.mid").write_bytes(b"MThd nonsense")
    (root / "notes.txt").write_text("not music")
    return root


def sentence(call) -> str:
    with pytest.raises(MinigenError) as error:
        call()
    assert error.value.code == 2 and "\n" not in str(error.value)
    return str(error.value)


def test_a_folder_is_searched_through_and_in_the_same_order_everywhere(folder):
    songs = read_songs([folder])
    assert songs.names == ["b/deep/y.kar", "b/x.midi", "z.MID"]
    assert [np.flatnonzero(roll.any(axis=0)).tolist() for roll in songs.rolls] == [[2], [3], [1]]
    assert all(roll.dtype == np.uint8 and roll.max() == 1 for roll in songs.rolls)
    assert songs.refused == [("a broken.mid", "it is cut short")]
    assert (songs.steps_a_bar, songs.held, len(songs)) == (16, False, 3)


def test_files_folders_and_song_sets_can_be_mixed_and_each_song_is_used_once(folder, tmp_path):
    SongSet([song(4), song(3)], ["four", "three again"]).save(tmp_path / "set.npz")
    songs = read_songs([tmp_path / "set.npz", str(folder / "z.MID"), folder])
    assert songs.names == ["four", "three again", "z.MID", "b/deep/y.kar"]
    assert ("b/x.midi", "it has the same notes as three again") in songs.refused
    assert ("z.MID", "it has the same notes as z.MID") in songs.refused and len(songs.refused) == 3


def test_the_options_of_the_reader_reach_it(folder, monkeypatch):
    asked = []
    monkeypatch.setattr(songset, "read_midi", lambda path, *options: asked.append(options) or song(1))
    read_songs([folder / "z.MID"], max_tracks=2, max_tempos=3)
    read_songs([folder], max_tracks=4, max_tempos=5)
    assert asked == [(2, 3)] + 4 * [(4, 5)]


def test_what_is_not_there_or_not_music_is_said(folder, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "bad").mkdir()
    for i in range(5):
        (tmp_path / "bad" / f"{i}.mid").write_bytes(b"GIF89a")
    assert "there is no file or folder" in sentence(lambda: read_songs([folder / "none"]))
    assert "there is no MIDI" in sentence(lambda: read_songs([tmp_path / "empty"]))
    assert "neither MIDI" in sentence(lambda: read_songs([folder / "notes.txt"]))
    assert "no music was named" in sentence(lambda: read_songs([]))
    told = sentence(lambda: read_songs([tmp_path / "bad"]))
    assert "0.mid: it is not MIDI" in told and "2.mid" in told and "3.mid" not in told and "and 2 more" in told
    assert "a broken.mid: it is cut short)" in sentence(lambda: read_songs([folder / "a broken.mid"]))


def test_sets_of_different_grids_are_not_mixed(tmp_path):
    SongSet([song(1)], ["struck"]).save(tmp_path / "struck.npz")
    SongSet([song(2)], ["held"], held=True).save(tmp_path / "held.npz")
    SongSet([song(2)], ["waltz"], steps_a_bar=12).save(tmp_path / "waltz.npz")
    for other in ("held.npz", "waltz.npz"):
        assert "another grid" in sentence(lambda other=other: read_songs([tmp_path / "struck.npz", tmp_path / other]))


# the cache


@pytest.fixture
def parsed(monkeypatch):
    """Counts the files that are parsed."""
    files = []
    read = songset.read_midi
    monkeypatch.setattr(songset, "read_midi", lambda path, *options: files.append(path) or read(path, *options))
    return files


def test_a_folder_is_parsed_once(folder, parsed):
    first, again = read_songs([folder]), read_songs([folder])
    assert len(parsed) == 4
    assert (again.names, again.refused) == (first.names, first.refused)
    for a, b in zip(first.rolls, again.rolls, strict=True):
        np.testing.assert_array_equal(a, b)
    read_songs([folder], cache=False)
    assert len(parsed) == 8


def test_content_names_options_and_the_readers_version_make_the_cache_anew(folder, parsed, monkeypatch):
    def parses_again(**options):
        before = len(parsed)
        read_songs([folder], **options)
        return len(parsed) > before

    assert parses_again()
    (folder / "z.MID").write_bytes((folder / "b" / "x.midi").read_bytes())
    assert parses_again()
    (folder / "z.MID").rename(folder / "w.MID")
    assert parses_again()
    assert parses_again(max_tracks=2)
    assert parses_again(max_tempos=2)
    monkeypatch.setattr(songset, "READER_VERSION", 999)
    assert parses_again() and not parses_again()
    (folder / "notes.txt").write_text("still not music")
    os.utime(folder / "w.MID", (0, 0))
    assert not parses_again()


def test_a_cache_that_cannot_be_read_or_written_is_no_error(folder, parsed, monkeypatch, tmp_path):
    read_songs([folder])
    (kept,) = cache_folder().iterdir()
    kept.write_bytes(kept.read_bytes()[:100])
    assert len(read_songs([folder])) == 3 and len(parsed) == 8
    assert len(SongSet.load(kept)) == 3
    (tmp_path / "a file").write_text("")
    monkeypatch.setenv("MINIGEN_CACHE", str(tmp_path / "a file" / "below"))
    assert len(read_songs([folder])) == 3


def test_the_cache_lies_where_the_system_keeps_caches(monkeypatch, tmp_path):
    assert cache_folder() == tmp_path / "cache"
    monkeypatch.delenv("MINIGEN_CACHE")
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(sys, "platform", "linux")
    assert cache_folder() == tmp_path / ".cache" / "minigen"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder() == tmp_path / "xdg" / "minigen"
    monkeypatch.setattr(sys, "platform", "darwin")
    assert cache_folder() == tmp_path / "Library" / "Caches" / "minigen"
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path / "local"))
    assert cache_folder() == tmp_path / "local" / "minigen"


# the file


def test_a_song_set_survives_its_file(tmp_path):
    rolls = [song(0), song(87, bars=3), (np.arange(88 * 5).reshape(5, 88) % 7 == 0).astype(np.uint8)]
    songs = SongSet(rolls, ["a", "b/c", "Песня"], steps_a_bar=12, held=True, refused=[("d.mid", "it is empty")])
    songs.save(tmp_path / "set.npz")
    again = SongSet.load(tmp_path / "set.npz")
    assert (again.names, again.refused) == (songs.names, songs.refused)
    assert (again.steps_a_bar, again.held) == (12, True)
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
    fields = {"magic": "minigen song set", "version": 1, "steps_a_bar": 16, "held": False}
    fields |= {"names": ["a"], "refused": []}
    return np.frombuffer(json.dumps(fields | changes).encode(), np.uint8)


ROWS, OFFSETS = np.zeros((16, 11), np.uint8), np.array([0, 16])


def archive(**arrays) -> bytes:
    out = io.BytesIO()
    np.savez(out, **{"header": header(), "rows": ROWS, "offsets": OFFSETS} | arrays)
    return out.getvalue()


def test_the_archive_of_these_tests_is_a_song_set(tmp_path):
    (tmp_path / "set.npz").write_bytes(archive())
    assert SongSet.load(tmp_path / "set.npz").names == ["a"]


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
        archive(header=header(steps_a_bar=0)),
        archive(header=header(steps_a_bar="16")),
        archive(header=header(held=1)),
        archive(header=np.array([1, 2, 3], np.uint8)),
        archive(header=np.frombuffer(b"[1]", np.uint8)),
        archive(rows=ROWS[:15]),
        archive(rows=ROWS.astype(int)),
        archive(rows=ROWS[:, :10]),
        archive(rows=np.array([object()])),
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
    assert "is not a song set, or is cut short" in sentence(lambda: read_songs([tmp_path / "set.npz"]))


def test_a_plain_array_another_version_and_a_missing_file_are_said(tmp_path):
    np.save(tmp_path / "array.npy", ROWS)
    (tmp_path / "array.npy").rename(tmp_path / "set.npz")
    assert "is not a song set" in sentence(lambda: SongSet.load(tmp_path / "set.npz"))
    (tmp_path / "set.npz").write_bytes(archive(header=header(version=2)))
    assert "version 2" in sentence(lambda: SongSet.load(tmp_path / "set.npz"))
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
    roll = corpus._roll(four_parts(tied + note("G", 0, grace=True) + note("E", 2) + note("F", 14)))
    assert roll.shape == (32, 88) and roll.dtype == np.uint8 and roll.max() == 1
    notes = [(int(t), int(k) + 21) for t, k in np.argwhere(roll)]
    assert notes == [(12, 60), (16, 62), (24, 64), (25, 65)]
    for wrong, told in [
        (four_parts(note("E", 16) + note("F", 15)), "leaves the grid"),  # it ends between two steps
        (four_parts("<note><rest/><duration>1</duration></note>" + note("F", 8)), "leaves the grid"),
        (four_parts(note("E", 8), beats=3), "metre is 3/4"),
    ]:
        assert told in sentence(lambda wrong=wrong: corpus._roll(wrong))
    three = four_parts(note("E", 8))
    three.remove(three.parts[0])
    assert "3 parts" in sentence(lambda: corpus._roll(three))


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
    assert all(2 < roll.sum(axis=1)[roll.any(axis=1)].mean() <= 4 for roll in songs.rolls)
