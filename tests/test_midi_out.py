"""MIDI out: what is written reads back the same, lengths too; and what the file says."""

import io

import mido
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from midi_helpers import strike

from minigen.errors import MinigenError
from minigen.metre import METRES
from minigen.music.midi import read_midi, read_song
from minigen.music.midi_out import ringing, write_midi


@st.composite
def music(draw, low=1):
    """What is struck, and what sounds: any cells, led to by a strike or not."""
    T = draw(st.integers(1, 70))
    cells = st.tuples(st.integers(0, T - 1), st.integers(0, 87), st.integers(low, 127))
    roll = np.zeros((T, 88), np.uint8)
    for t, k, velocity in draw(st.lists(cells, min_size=1, max_size=40)):
        roll[t, k] = velocity
    sounding = np.random.default_rng(draw(st.integers(0, 99))).random(roll.shape) < draw(
        st.sampled_from([0, 0.5, 0.9, 1])
    )
    return roll, sounding


def led_to(roll, sounding) -> np.ndarray:
    """The cells that a strike leads to: struck, or sounding after a cell that is one."""
    out = roll > 0
    for t in range(1, len(roll)):
        out[t] |= (sounding[t] > 0) & out[t - 1]
    return out


def same_again(path, roll, sounding, metre="4/4") -> None:
    write_midi(path, roll, sounding=sounding, metre=metre)
    song = read_song(path, metre=metre)
    np.testing.assert_array_equal(song.roll, roll)
    np.testing.assert_array_equal(song.sounding, led_to(roll, sounding))
    assert (song.metre, song.broken, song.foreign) == (metre, [], {})


@settings(max_examples=100, deadline=None)
@given(music(low=2), st.sampled_from(list(METRES)))
def test_what_is_written_reads_back_the_same_lengths_too(tmp_path_factory, written, metre):
    same_again(tmp_path_factory.mktemp("midi") / "song.mid", *written, metre)


@settings(max_examples=40, deadline=None)
@given(music(low=2), st.sampled_from([None, 1, 3, 1000]))
def test_without_lengths_too(tmp_path_factory, written, ring):
    path, (roll, _) = tmp_path_factory.mktemp("midi") / "song.mid", written
    write_midi(path, roll, ring=ring)
    song = read_song(path)
    np.testing.assert_array_equal(song.roll, roll)
    np.testing.assert_array_equal(song.sounding, led_to(roll, ringing(roll, ring)))


@pytest.mark.parametrize("metre", METRES)
def test_short_music_and_long_silence_read_back_the_same(tmp_path, metre):
    for T in (1, 2, 13):
        roll = np.zeros((T, 88), np.uint8)
        roll[-1, 3] = 90
        same_again(tmp_path / "song.mid", roll, np.ones((T, 88)), metre)
    silent = np.zeros((66 * 16 + 5, 88), np.uint8)
    silent[[0, 65 * 16], 40] = 80  # 64 silent bars inside, and some at the end
    for sounding in (silent, np.ones_like(silent)):
        same_again(tmp_path / "song.mid", silent, sounding, metre)
    silent[0] = 0  # or at the start
    same_again(tmp_path / "song.mid", silent, silent, metre)


def test_the_longest_music_reads_back_the_same(tmp_path):
    rng = np.random.default_rng(0)
    for T, metre in ((32_768, "4/4"), (32_767, "3/4")):
        roll = np.where(rng.random((T, 88)) < 0.001, rng.integers(1, 128, (T, 88)), 0).astype(np.uint8)
        same_again(tmp_path / "song.mid", roll, rng.random((T, 88)) < 0.7, metre)


def test_notes_after_the_marker_of_the_end_are_not_lost(tmp_path):
    write_midi(tmp_path / "song.mid", np.eye(8, 88, dtype=np.uint8))
    song = mido.MidiFile(tmp_path / "song.mid")
    song.tracks.append(mido.MidiTrack([strike(90).copy(time=20 * 120)]))
    out = io.BytesIO()
    mido.MidiFile(type=1, ticks_per_beat=480, tracks=song.tracks).save(file=out)
    roll = read_midi(out.getvalue())
    assert len(roll) == 32 and roll[20, 90 - 21] == 64


def test_ones_are_written_with_velocity_64(tmp_path):
    ones = np.eye(16, 88, dtype=bool)
    for roll in (ones, ones.astype(np.uint8)):
        write_midi(tmp_path / "song.mid", roll)
        np.testing.assert_array_equal(read_midi(tmp_path / "song.mid"), 64 * ones)


def held(path) -> dict[tuple[int, int], int]:
    """(step, MIDI note) of each strike -> the step of its release; every key is released before it is struck again."""
    now, sounding, out = 0, {}, {}
    for message in mido.MidiFile(path).tracks[0]:
        now += message.time
        if message.type != "note_on":
            continue
        if message.velocity:
            assert message.note not in sounding
            sounding[message.note] = now
        else:
            begin = sounding.pop(message.note)
            out[begin // 120, message.note] = now // 120
    assert not sounding and now % 120 == 0
    return out


def test_a_note_rings_until_anything_is_struck_or_for_so_many_steps(tmp_path):
    roll = np.zeros((32, 88), np.uint8)
    roll[0, [0, 10]], roll[3, 10], roll[4, 20], roll[20, 30] = 1, 1, 1, 1
    path = tmp_path / "song.mid"
    write_midi(path, roll)
    assert held(path) == {(0, 21): 3, (0, 31): 3, (3, 31): 4, (4, 41): 20, (20, 51): 32}
    write_midi(path, roll, ring=8)  # but not into the next strike of the same key, or over the end
    assert held(path) == {(0, 21): 8, (0, 31): 3, (3, 31): 11, (4, 41): 12, (20, 51): 28}
    write_midi(path, roll, ring=100)
    assert held(path)[20, 51] == 32


def test_the_file_says_what_it_is(tmp_path):
    path = tmp_path / "song.mid"
    write_midi(path, np.eye(16, 88), bpm=90, metre="3/4", title="Песня")
    song = mido.MidiFile(path, charset="utf-8")
    said = {message.type: message for message in song.tracks[0]}
    assert (song.type, song.ticks_per_beat, len(song.tracks)) == (0, 480, 1)
    assert said["set_tempo"].tempo == 666_667 and said["program_change"].program == 0
    assert (said["time_signature"].numerator, said["time_signature"].denominator) == (3, 4)
    assert said["track_name"].name == "Песня" and said["marker"].text == "minigen end"
    assert song.tracks[0][-1].type == "end_of_track" and song.tracks[0][-1].time == 0
    assert sum(message.time for message in song.tracks[0]) == 16 * 120


def test_the_same_roll_gives_the_same_bytes(tmp_path):
    roll = np.eye(16, 88) * 70
    write_midi(tmp_path / "a.mid", roll)
    write_midi(tmp_path / "b.mid", roll)
    assert (tmp_path / "a.mid").read_bytes() == (tmp_path / "b.mid").read_bytes()


@pytest.mark.parametrize(
    "roll, options",
    [
        (np.zeros((0, 88)), {}),
        (np.zeros((4, 87)), {}),
        (np.zeros(88), {}),
        (np.full((1, 88), 128), {}),
        (np.full((1, 88), -1), {}),
        (np.eye(4, 88), {"bpm": 3}),
        (np.eye(4, 88), {"bpm": float("nan")}),
        (np.eye(4, 88), {"bpm": 1001}),
        (np.eye(4, 88), {"ring": 0}),
        (np.eye(4, 88), {"metre": "5/4"}),
        (np.eye(4, 88), {"sounding": np.ones((5, 88))}),
    ],
)
def test_what_cannot_be_written_is_said(tmp_path, roll, options):
    with pytest.raises(MinigenError):
        write_midi(tmp_path / "song.mid", roll, **options)
    assert not (tmp_path / "song.mid").exists()
