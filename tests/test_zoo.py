"""All files at hand against a second reader, and a zoo of strange ones against its manifest."""

import csv

import numpy as np
import second_reader
from helpers import SAMPLES, SONGS
from hypothesis import given, settings
from hypothesis import strategies as st
from midi_helpers import CASES, METRES_OF_MIDI, ZOO, midi, needs_cases, needs_zoo, release, strike, verdicts_in_500_mb

from minigen.music.midi import Refused, read_song

NOT_USED = ("SMPTE", "type", "no ticks", "metre", "no note", "too long")  # codes of files that parse

# where it takes the number of tracks that is promised for the number that there are
MISREAD_BY_MIDO = {"bad_ntrks_65535.mid", "bad_extra_track.mid"}


def animals() -> list[dict]:
    with open(ZOO / "manifest.csv", newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def agrees(song, theirs, name) -> None:
    roll, sounding, left_out = theirs
    np.testing.assert_array_equal(song.roll, roll, str(name))
    np.testing.assert_array_equal(song.sounding, sounding, str(name))
    assert song.off_piano == left_out["off the piano"], name
    assert song.foreign_notes == left_out["in bars of another metre"], name


def compare(path) -> int:
    """In two metres, with the second reader and with mido where it can read the file -> how often it could."""
    by_mido = 0
    for metre in ("4/4", "3/4"):
        try:
            song = read_song(path, metre=metre)
        except Refused as refused:
            if refused.kind in ("metre", "no note"):
                assert second_reader.read(path.read_bytes(), metre) is None, path
            continue
        agrees(song, second_reader.read(path.read_bytes(), metre), path)
        try:
            theirs = second_reader.read_mido(path, metre)
        except Exception:  # mido raises whatever it stumbles over
            continue
        if path.name not in MISREAD_BY_MIDO:
            agrees(song, theirs, path)
            by_mido += 1
    return by_mido


@needs_zoo
def test_no_animal_of_the_zoo_is_read_otherwise_by_a_second_reader():
    by_mido = sum(compare(ZOO / animal["file"]) for animal in animals() if animal["expected"] != "refuse")
    assert by_mido > 60


@needs_cases
def test_no_case_is_read_otherwise_by_a_second_reader():
    files = [path for path in CASES.rglob("*.*") if path.suffix in (".mid", ".midi", ".rmi") and path.stat().st_size]
    assert sum(map(compare, files)) > 30


def test_no_song_of_minigen_is_read_otherwise_by_a_second_reader():
    """Its own songs, and pieces that its models played."""
    pieces = sorted(SAMPLES.glob("*.mid"))
    assert len(pieces) >= 6 and sum(map(compare, SONGS + pieces)) == len(SONGS + pieces)


EVENTS = st.one_of(
    st.builds(strike, st.integers(18, 112), st.integers(0, 127), st.sampled_from([0, 1, 9])),
    st.builds(strike, st.integers(60, 62), st.integers(0, 2)),
    st.builds(release, st.integers(60, 62)),
    st.sampled_from(list(METRES_OF_MIDI.values())),
)


TRACKS = st.lists(st.tuples(st.integers(0, 9000), EVENTS))


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.lists(st.tuples(st.integers(0, 9000), EVENTS)), min_size=1, max_size=3), st.sampled_from([480, 96, 7])
)
def test_no_file_that_is_made_up_is_read_otherwise(tracks, ticks):
    data = midi(*(sorted(track, key=lambda event: event[0]) for track in tracks), ticks_per_beat=ticks)
    for metre in METRES_OF_MIDI:
        theirs = second_reader.read(data, metre)
        try:
            song = read_song(data, metre=metre)
        except Refused as refused:
            assert theirs is None, refused
        else:
            agrees(song, theirs, metre)


@needs_zoo
def test_every_animal_of_the_zoo_gets_its_verdict():
    """No verdict of the manifest is revised. `parse` is about parsing alone: some are not used, by other rules of
    minigen's."""
    either, found = [], animals()
    assert len(found) >= 100
    verdicts = verdicts_in_500_mb(ZOO / animal["file"] for animal in found)
    for animal, (verdict, seconds) in zip(found, verdicts, strict=True):
        assert seconds < 5, animal["file"]
        if animal["expected"] == "parse":
            assert verdict in ("read", *NOT_USED), (animal["file"], verdict)
        elif animal["expected"] == "refuse":
            assert verdict == "not MIDI", (animal["file"], verdict)
        elif verdict != "read":
            either.append(animal["file"].partition("/")[2])
    assert not set(either) & set(OTHERS.split())


# of `either`, what holds notes that can be used, though other readers refuse most of it
OTHERS = """test-corrupt-file-extra-byte.mid test-corrupt-file-missing-byte.mid test-non-midi-track.mid
    test-illegal-message-all.mid test-running-status-sysex.mid MIDIBadHeaderTracksNum.mid MIDIBadTrackLength.mid
    Beethoven.rmi PiDamaged.mid ok_running_status_across_meta.mid ok_zero_length_notes.mid ok_hanging_note.mid
    ok_outside_piano.mid ok_tempo_zero.mid ok_unknown_chunk.mid ok_rmi.mid bad_track_len_short.mid
    bad_track_len_long.mid bad_track_len_ffffffff.mid bad_ntrks_65535.mid bad_extra_track.mid
    bad_truncated_at_060.mid bad_truncated_at_314.mid bad_truncated_at_625.mid bad_truncated_at_628.mid
    bad_no_eot.mid bad_data_over_127.mid bad_meta_len_overrun.mid bad_tempo_len_2.mid bad_keysig_sf_99.mid
    bad_trailing_garbage.mid bad_leading_garbage.mid"""
