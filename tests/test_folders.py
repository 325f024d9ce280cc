"""Folders, files and song sets to one song set: what is found, what is said, and what the cache may and may not do."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
from helpers import ROOT
from midi_helpers import midi

from minigen.errors import MinigenError
from minigen.music import folders
from minigen.music.folders import cache_folder, midi_files, read_songs
from minigen.music.midi import read_song
from minigen.music.midi_out import write_midi
from minigen.music.songset import SongSet


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("MINIGEN_CACHE", str(tmp_path / "cache"))


def song(key: int, bars: int = 1) -> np.ndarray:
    """No two are alike."""
    roll = np.zeros((16 * bars, 88), np.uint8)
    roll[np.flatnonzero(np.random.default_rng(key).random(16 * bars) < 0.5), key] = 1
    roll[0, key] = 1
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


BROKEN = "it is MIDI without a track, or cut short before the first (save it as MIDI again)"


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
    assert songs.refused == [("a broken.mid", BROKEN)] and songs.warnings == []
    assert (songs.metre, songs.held, len(songs)) == ("4/4", False, 3)
    assert all(songs.sounding(i)[roll > 0].all() for i, roll in enumerate(songs.rolls))


def test_files_folders_and_song_sets_can_be_mixed_and_each_song_is_used_once(folder, tmp_path):
    SongSet([song(4), song(3)], ["four", "three again"]).save(tmp_path / "set.npz")
    songs = read_songs([tmp_path / "set.npz", str(folder / "z.MID"), folder])
    assert songs.names == ["four", "three again", "z.MID", "b/deep/y.kar"]
    assert ("b/x.midi", "it has the same notes as three again") in songs.refused
    assert ("z.MID", "it has the same notes as z.MID") in songs.refused and len(songs.refused) == 3


def test_the_options_of_the_reader_reach_it(folder, monkeypatch):
    asked = []
    found = read_song(folder / "z.MID")
    monkeypatch.setattr(folders, "read_song", lambda path, *options: asked.append(options) or found)
    read_songs([folder / "z.MID"], max_tracks=2, max_tempos=3)
    read_songs([folder], max_tracks=4, max_tempos=5, metre="3/4")
    assert asked == [(2, 3, "4/4")] + 4 * [(4, 5, "3/4")]


def test_warnings_of_the_reader_come_with_the_songs(tmp_path):
    (tmp_path / "low.mid").write_bytes(midi([(0, 60), (0, 9)]))
    (tmp_path / "plain.mid").write_bytes(midi([(0, 62), (480, 70)]))
    (tmp_path / "triplets.mid").write_bytes(midi([(160 * n, 60 + n % 7 * n % 5) for n in range(48)]))
    for cache in (True, True, False):
        found = read_songs([tmp_path], cache=cache)
        assert [name for name, _ in found.warnings] == ["low.mid", "triplets.mid"]
        assert "1 note outside the piano" in found.warnings[0][1] and "in triplets" in found.warnings[1][1]


def test_a_metre_takes_its_songs_and_the_others_are_refused_with_the_flag(folder):
    write_midi(folder / "waltz.mid", song(9)[:12], metre="3/4")
    assert read_songs([folder], metre="3/4").names == ["waltz.mid"]
    assert read_songs([folder], metre="3/4").metre == "3/4"
    told = ("waltz.mid", "its metre is 3/4 and not 4/4 (train on it with --metre 3/4)")
    assert told in read_songs([folder]).refused and len(read_songs([folder])) == 3
    assert "no song can be used" in sentence(lambda: read_songs([folder], metre="6/8"))


def test_names_that_would_move_the_cursor_and_a_set_without_songs(tmp_path):
    (tmp_path / "a\x1b[31m\nb.mid").write_bytes(b"MThd nonsense")
    assert r"no song can be used; a\x1b[31m\nb.mid: " in sentence(lambda: read_songs([tmp_path]))
    SongSet([], []).save(tmp_path / "empty.npz")
    told = "there is no song in what was named: name other music for the piano"
    assert sentence(lambda: read_songs([tmp_path / "empty.npz"])) == told


def test_a_song_that_repeats_another_is_left_out_unless_all_are_asked_for(folder):
    write_midi(folder / "again.mid", 99 * np.concatenate([np.zeros((16, 88), int), song(3)]))
    write_midi(folder / "transposed.mid", np.roll(song(1), 5, axis=1))
    songs = read_songs([folder])
    assert songs.names == ["again.mid", "b/deep/y.kar", "transposed.mid", "z.MID"]
    assert ("b/x.midi", "it has the same notes as again.mid") in songs.refused
    told = "it is transposed.mid once more, transposed or in part: never learned and held out at once"
    assert songs.warnings == [("z.MID", told)]
    every = read_songs([folder], once=False)
    assert len(every) == 5 and every.warnings == [] and [name for name, _ in every.refused] == ["a broken.mid"]


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
    assert "0.mid and 4 more: it is not MIDI" in told and "1.mid" not in told
    assert f"a broken.mid: {BROKEN}" in sentence(lambda: read_songs([folder / "a broken.mid"]))


def test_sets_of_different_grids_are_not_mixed(tmp_path):
    SongSet([song(1)], ["struck"]).save(tmp_path / "struck.npz")
    SongSet([song(2)], ["held"], held=True).save(tmp_path / "held.npz")
    SongSet([song(2)], ["waltz"], metre="3/4").save(tmp_path / "waltz.npz")
    for other in ("held.npz", "waltz.npz"):
        assert "another grid" in sentence(lambda other=other: read_songs([tmp_path / "struck.npz", tmp_path / other]))


# which files


def names_in(folder) -> tuple[list, list]:
    files, refused = midi_files(folder)
    return [name for name, _ in files], refused


def test_linked_folders_are_read_once(tmp_path):
    root, elsewhere = tmp_path / "music", tmp_path / "elsewhere"
    for place in (root / "a" / "deep", elsewhere):
        place.mkdir(parents=True)
        write_midi(place / "song.mid", song(1))
    (root / "loop").symlink_to(root)
    (root / "a" / "deep" / "up").symlink_to(root / "a")
    (root / "link").symlink_to(elsewhere)
    (root / "m link again").symlink_to(elsewhere)
    (root / "nowhere").symlink_to(tmp_path / "none")
    assert names_in(root) == (["a/deep/song.mid", "link/song.mid"], [])
    (tmp_path / "to music").symlink_to(root)
    assert names_in(tmp_path / "to music")[0] == ["a/deep/song.mid", "link/song.mid"]


def test_twins_of_a_mac_are_no_files_and_broken_links_are_named(folder):
    for name in ("._z.MID", "b/._x.midi", ".hidden.mid"):
        (folder / name).write_bytes(b"\0\5\x16\7")
    (folder / "lost.mid").symlink_to(folder / "none.mid")
    (folder / "a folder.mid").mkdir()
    names = [".hidden.mid", "a broken.mid", "b/deep/y.kar", "b/x.midi", "lost.mid", "z.MID"]
    assert names_in(folder) == (names, [])
    assert ("lost.mid", "there is no such file (name a MIDI file)") in read_songs([folder]).refused


@pytest.fixture
def open_to_all():
    """A folder that every user can open, as pytest's own are not."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


@pytest.mark.skipif(not hasattr(os, "setuid"), reason="Windows has other rights")
def test_folders_and_files_without_rights_are_named(open_to_all):
    """By a process of a user who may not open them: tests may run as root, who may."""
    folder = open_to_all
    for n, name in enumerate(["closed/song.mid", "listed/song.mid", "closed.mid", "open/song.mid"]):
        (folder / name).parent.mkdir(exist_ok=True)
        write_midi(folder / name, song(n))
    for name, mode in (("closed", 0), ("listed", 0o444), ("closed.mid", 0)):
        (folder / name).chmod(mode)
    code = f"""
import os, sys
import numpy.ma  # np.unique loads it late, perhaps from a folder without rights
from minigen.music.folders import read_songs
if os.getuid() == 0:
    os.setuid(65534)
songs = read_songs([{str(folder)!r}], cache=False)
print(songs.names, *songs.refused, sep="\\n")
"""
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    ended = subprocess.run([sys.executable, "-c", code], cwd=folder, env=env, capture_output=True, text=True)
    for name in ("closed", "listed"):
        (folder / name).chmod(0o755)
    names, *refused = ended.stdout.splitlines()
    assert names == "['open/song.mid']", ended.stderr
    denied = "it cannot be opened: Permission denied (give yourself the right to read it)"
    assert refused == [
        "('closed', 'the folder cannot be opened: Permission denied')",
        f"('closed.mid', '{denied}')",
        f"('listed/song.mid', '{denied}')",
    ]


# the cache


@pytest.fixture
def parsed(monkeypatch):
    """Counts the files that are parsed."""
    files = []
    read = folders.read_song
    monkeypatch.setattr(folders, "read_song", lambda path, *options: files.append(path) or read(path, *options))
    return files


def test_a_folder_is_parsed_once(folder, parsed):
    first, again = read_songs([folder]), read_songs([folder])
    assert len(parsed) == 4
    assert (again.names, again.refused) == (first.names, first.refused)
    for i, (a, b) in enumerate(zip(first.rolls, again.rolls, strict=True)):
        np.testing.assert_array_equal(a, b)
        np.testing.assert_array_equal(first.sounding(i), again.sounding(i))
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
    write_midi(folder / "waltz.mid", song(9), metre="3/4")
    assert parses_again() and parses_again(metre="3/4")
    (folder / "waltz.mid").unlink()
    monkeypatch.setattr(folders, "CODE", 999)
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
