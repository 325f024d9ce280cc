"""MIDI in: the grid, what is kept, lengths, and every reason to refuse (its bytes: test_parser.py)."""

import gzip
import os

import mido
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from midi_helpers import END, C, lengths, metre, midi, raw, reason, refusal, release, strike, struck

from minigen.music.midi import Refused, read_midi, read_song

METRE = metre(4, 4)


# reading


def test_a_step_is_a_16th_and_key_k_is_note_21_plus_k():
    roll = read_midi(midi([(0, 21), (120, 60), (480, 108)]))
    assert roll.shape == (16, 88) and roll.dtype == np.uint8
    assert struck(roll) == [(0, 21, 64), (1, 60, 64), (4, 108, 64)]


def test_ties_go_to_the_even_step():
    ticks = [60, 180, 300, 420, 59, 61, 179, 181]  # 120 ticks a step: the first four lie halfway
    roll = read_midi(midi([(tick, 40 + i) for i, tick in sorted(enumerate(ticks), key=lambda pair: pair[1])]))
    steps = {note - 40: t for t, note, _ in struck(roll)}
    assert [steps[i] for i in range(8)] == [0, 2, 2, 4, 0, 1, 1, 2]


def test_two_strikes_in_a_cell_keep_the_larger_velocity():
    for velocities in ([30, 90], [90, 30]):
        roll = read_midi(midi([(0, strike(velocity=velocities[0])), (10, strike(velocity=velocities[1]))]))
        assert struck(roll) == [(0, 60, 90)]


def test_a_release_in_the_step_of_a_strike_does_not_erase_it():
    for end in (strike(velocity=0), release()):
        assert struck(read_midi(midi([(0, 60), (20, end)]))) == [(0, 60, 64)]


def test_tracks_are_merged_and_channel_10_is_left_out():
    drums = [(0, strike(10, channel=9)), (7680, strike(40, channel=9))]
    roll = read_midi(midi([(0, 60)], [(120, strike(72, 100, channel=8)), (240, strike(73, 101, channel=10))], drums))
    assert struck(roll) == [(0, 60, 64), (1, 72, 100), (2, 73, 101)]
    assert len(roll) == 16  # the drums do not lengthen it


def test_the_last_onset_and_not_the_end_of_track_gives_the_length():
    assert len(read_midi(midi([(15 * 120, 60), (99999, strike(velocity=0))]))) == 16
    assert len(read_midi(midi([(16 * 120, 60)]))) == 32


def test_an_upbeat_and_silent_bars_at_the_start_keep_their_place():
    assert struck(read_midi(midi([(28 * 120, 60), (32 * 120, 62)]))) == [(28, 60, 64), (32, 62, 64)]


def test_a_meta_event_unknown_to_mido_keeps_its_time():
    unknown = mido.UnknownMetaMessage(0x0A, data=b"x")
    data = midi([(0, METRE), (480, unknown), (960, 60)])
    assert b"\x83\x60\xff\x0a\x01x" in data  # 480 ticks, the event
    assert struck(read_midi(data)) == [(8, 60, 64)]


def test_notes_off_the_piano_are_left_out_and_counted():
    song = read_song(midi([(0, 60), (0, 20), (120, 109), (240, 127)]))
    assert struck(song.roll) == [(0, 60, 64)] and song.off_piano == 3
    assert song.warnings == ["3 notes outside the piano's 88 keys left out"]
    few = read_song(midi([(0, 60), (0, strike(20, velocity=0)), (0, strike(20, channel=9))]))
    assert few.off_piano == 0 and few.warnings == []  # a release, and a drum


def test_the_tempo_is_that_at_the_first_note():
    slow, fast = (mido.MetaMessage("set_tempo", tempo=60_000_000 // bpm) for bpm in (60, 150))
    assert read_song(midi([(0, 60)])).bpm == 120
    assert read_song(midi([(0, fast), (480, slow), (960, 60), (1920, fast)])).bpm == 60


# lengths


def test_a_note_sounds_until_its_release_rounded_as_onsets_are():
    ticks = {60: 119, 61: 181, 62: 300, 63: 420}  # 120 ticks a step; 300 and 420 lie halfway
    events = [(0, note) for note in ticks] + [(tick, release(note)) for note, tick in ticks.items()]
    song = read_song(midi(sorted(events, key=lambda event: event[0])))
    assert lengths(song) == {(0, 60): 1, (0, 61): 2, (0, 62): 2, (0, 63): 4}
    assert song.sounding.dtype == bool and song.sounding.sum() == 9


def test_a_note_sounds_for_one_step_at_least():
    song = read_song(midi([(0, 60), (10, release()), (120, 62), (120, release(62)), (960, 64), (960, release(64))]))
    assert lengths(song) == {(0, 60): 1, (1, 62): 1, (8, 64): 1}


def test_each_release_ends_the_oldest_strike_of_its_track_channel_and_key():
    song = read_song(midi([(0, 60), (240, 60), (480, release()), (960, release())]))
    assert lengths(song) == {(0, 60): 2, (2, 60): 6}  # the first to step 4, the second from 2 to 8
    other = [(480, release(channel=1)), (600, release())]
    song = read_song(midi([(0, 60), *other, (720, release())], [(0, 62), (480, release(60)), (840, release(62))]))
    assert lengths(song) == {(0, 60): 5, (0, 62): 7}


def test_sound_is_cut_at_the_end_of_the_song_and_a_note_without_a_release_goes_on_to_the_end_of_its_track():
    song = read_song(midi([(0, 60), (1800, 62), (9999, release(62))]))
    assert song.roll.shape == song.sounding.shape == (16, 88)
    assert lengths(song) == {(0, 60): 16, (15, 62): 1}
    assert lengths(read_song(midi([(0, 60), (480, METRE)]))) == {(0, 60): 4}


# files that other programs make


METADATA = """ff5902ee00 ff590200ff ff590103 ff5900  ff0000  ff5800 ff580103  ff5100 ff510207a1 ff5103000000
    ff540100 ff2000 ff7f00 ff0302fffe"""  # keys, a number, metres, tempos, and others: too short, zero, out of range


@pytest.mark.parametrize("meta", METADATA.split())
def test_metadata_never_costs_a_song(meta):
    song = read_song(raw(b"\0" + bytes.fromhex(meta) + C + END))
    assert struck(song.roll) == [(0, 60, 64)] and lengths(song) == {(0, 60): 1}
    assert (song.bpm, song.metre, song.warnings) == (120, "4/4", [])


# refusals


def test_it_refuses_smpte_time_type_2_and_no_ticks():
    assert "SMPTE" in reason(midi([(0, 60)], ticks_per_beat=-25 * 256 + 40))
    assert "type 2" in reason(midi([(0, 60)], type=2))
    assert "no ticks" in reason(midi([(0, 60)], ticks_per_beat=0))


def test_it_refuses_a_file_all_of_whose_notes_are_off_the_piano():
    assert "all its notes are outside" in reason(midi([(0, 20), (480, 109)]))


def test_it_refuses_a_file_without_a_note():
    assert "no note" in reason(midi([(0, METRE)]))
    assert "no note" in reason(midi([(0, strike(velocity=0)), (0, strike(channel=9))]))


def test_it_counts_parts_which_are_a_channel_and_a_program_whatever_track_they_stand_in():
    def program(number, channel=0):
        return mido.Message("program_change", program=number, channel=channel)

    one = [[(0, 60)], [(0, program(0)), (0, 48)], [(0, METRE)], [(0, strike(channel=9)), (0, program(7, 3))]]
    assert len(read_midi(midi(*one), max_tracks=1)) == 16
    two = [(0, program(5)), (0, 60), (0, strike(64, channel=1)), (480, program(5)), (480, 62)]
    for many in ([two], [two[:2] + two[3:], two[2:3]]):
        assert len(read_midi(midi(*many), max_tracks=2)) == 16
        assert "2 parts (a channel and a program) have notes, more than 1" in reason(midi(*many), max_tracks=1)
    three = [(0, 60), (240, program(5)), (240, 60), (480, program(0)), (480, 60), (480, program(9)), (480, 60)]
    assert "3 parts" in reason(midi(three), max_tracks=2)


def test_it_counts_tempo_changes_after_the_start():
    fast = mido.MetaMessage("set_tempo", tempo=400_000)
    data = midi([(0, fast), (0, 60), (480, fast), (960, fast)])
    assert len(read_midi(data, max_tempos=2)) == 16
    assert "tempo changes 2 times, more than 1" in reason(data, max_tempos=1)


def notes_every_bar(bars):
    return [(bar * 1920, 60) for bar in range(bars)]


def test_it_refuses_more_than_32768_steps():
    assert len(read_midi(midi(notes_every_bar(2048)))) == 32_768
    assert "longer than 32,768 steps" in reason(midi(notes_every_bar(2049)))
    assert "longer than 32,768 steps" in reason(midi([(2**28 - 1, 60)], ticks_per_beat=1))


def test_empty_bars_are_music():
    assert len(read_midi(midi([(64 * 1920, 60)]))) == 65 * 16
    assert len(read_midi(midi([(0, 60), (1000 * 1920, 60)]))) == 1001 * 16


def test_it_refuses_what_is_no_midi():
    good = midi([(0, 60), (480, 62)])
    assert reason(b"") == "it is empty"
    assert "not MIDI" in reason(b"<html>404</html>")
    assert "not MIDI" in reason(gzip.compress(good))
    assert "without a track" in reason(good.replace(b"MTrk", b"XTrk"))


def test_a_refusal_has_a_word_for_it_and_a_remedy():
    found = {refusal(data).kind for data in (b"", midi([]), midi([(0, metre(3, 4)), (0, 60)]), midi([(2**27, 60)]))}
    assert found == {"not MIDI", "no note", "metre", "too long"}


def test_it_refuses_what_cannot_be_opened(tmp_path):
    assert "no such file" in reason(tmp_path / "none.mid")
    assert "no file" in reason(tmp_path)
    if hasattr(os, "mkfifo"):  # not on Windows
        os.mkfifo(tmp_path / "pipe.mid")
        assert "no file" in reason(tmp_path / "pipe.mid")
    (tmp_path / "song.mid").write_bytes(midi([(0, 60)]))
    (tmp_path / "loop.mid").symlink_to("loop.mid")
    assert "cannot be opened" in reason(tmp_path / "loop.mid") and "cannot be opened" in reason("a\0b.mid")


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_a_mangled_file_is_read_or_refused(data):
    content = bytearray(midi([(0, METRE), (0, 60), (120, strike(64, 0)), (480, 67), (500, strike(10, channel=9))]))
    for _ in range(data.draw(st.integers(1, 6))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    try:
        roll = read_midi(bytes(content))
    except Refused:
        return
    assert roll.shape[1] == 88 and roll.any() and roll.max() <= 127
