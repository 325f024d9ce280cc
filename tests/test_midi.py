"""MIDI in and out: the grid, what is kept, every reason to refuse, and a zoo of broken files."""

import csv
import gzip
import io
import os
import time
from pathlib import Path

import mido
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minigen.errors import MinigenError
from minigen.music.midi import LARGEST, Refused, read_midi
from minigen.music.midi_out import write_midi

ZOO = Path(os.environ.get("MINIGEN_DATA", "nowhere")) / "midi_zoo"
METRE = mido.MetaMessage("time_signature", numerator=4, denominator=4)


def midi(*tracks, type=1, ticks_per_beat=480) -> bytes:
    """A file of tracks of (tick, message), or (tick, MIDI note) for a strike of velocity 64."""
    made = []
    for track in tracks:
        now, messages = 0, []
        for tick, message in track:
            if isinstance(message, int):
                message = mido.Message("note_on", note=message, velocity=64)
            messages.append(message.copy(time=tick - now))
            now = tick
        made.append(mido.MidiTrack(messages))
    out = io.BytesIO()
    mido.MidiFile(type=type, ticks_per_beat=ticks_per_beat, tracks=made).save(file=out)
    return out.getvalue()


def strike(note=60, velocity=64, channel=0):
    return mido.Message("note_on", note=note, velocity=velocity, channel=channel)


def struck(roll) -> list[tuple[int, int, int]]:
    """(step, MIDI note, velocity) of every cell that is on."""
    return [(int(t), int(k) + 21, int(roll[t, k])) for t, k in np.argwhere(roll)]


def reason(data, **options) -> str:
    with pytest.raises(Refused) as refused:
        read_midi(data, **options)
    assert "\n" not in str(refused.value)
    return str(refused.value)


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
    releases = [strike(velocity=0), mido.Message("note_off", note=60, velocity=99)]
    for release in releases:
        assert struck(read_midi(midi([(0, 60), (20, release)]))) == [(0, 60, 64)]


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


def test_metres_of_2_4_8_and_16_are_read_and_none_means_four_four():
    for numerator, denominator in [(2, 4), (4, 4), (2, 2), (4, 8), (16, 16), (8, 8)]:
        metre = mido.MetaMessage("time_signature", numerator=numerator, denominator=denominator)
        assert len(read_midi(midi([(0, metre), (0, 60)]))) == 16
    assert len(read_midi(midi([(0, 60)]))) == 16


# refusals


def test_it_refuses_another_metre_wherever_it_stands():
    for numerator, denominator in [(3, 4), (6, 8), (4, 1), (1, 4), (4, 32), (0, 4)]:
        metre = mido.MetaMessage("time_signature", numerator=numerator, denominator=denominator)
        assert f"metre is {numerator}/{denominator}" in reason(midi([(0, METRE), (0, 60), (1920, metre)]))


def test_it_refuses_smpte_time_type_2_and_no_ticks():
    assert "SMPTE" in reason(midi([(0, 60)], ticks_per_beat=-25 * 256 + 40))
    assert "type 2" in reason(midi([(0, 60)], type=2))
    assert "no ticks" in reason(midi([(0, 60)], ticks_per_beat=0))


def test_it_refuses_notes_outside_the_keyboard():
    assert "note 20 is outside" in reason(midi([(0, 60), (0, 20)]))
    assert "note 109 is outside" in reason(midi([(0, 109)]))
    assert "note 20" in reason(midi([(0, strike(20, velocity=1))]))
    assert len(read_midi(midi([(0, 60), (0, strike(20, velocity=0))]))) == 16  # only a release


def test_it_refuses_a_file_without_a_note():
    assert "no note" in reason(midi([(0, METRE)]))
    assert "no note" in reason(midi([(0, strike(velocity=0)), (0, strike(channel=9))]))


def test_it_counts_tracks_that_have_notes():
    hands = [(0, 60)], [(0, 48)], [(0, METRE)], [(0, strike(channel=9)), (10, strike(velocity=0))]
    assert struck(read_midi(midi(*hands), max_tracks=2)) == [(0, 48, 64), (0, 60, 64)]
    assert "2 tracks have notes, more than 1" in reason(midi(*hands), max_tracks=1)


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


def test_it_refuses_16_empty_bars_in_a_row():
    assert len(read_midi(midi([(0, 60), (16 * 1920, 60)]))) == 17 * 16
    assert "16 bars in a row are empty" in reason(midi([(0, 60), (17 * 1920, 60)]))
    assert "16 bars in a row are empty" in reason(midi([(16 * 1920, 60)]))
    assert len(read_midi(midi([(15 * 1920, 60)]))) == 16 * 16


def test_silent_bars_at_the_end_of_a_written_file_count(tmp_path):
    roll = np.zeros((17 * 16, 88), np.uint8)
    roll[0, 40] = 1
    write_midi(tmp_path / "song.mid", roll[: 16 * 16])
    assert len(read_midi(tmp_path / "song.mid")) == 16 * 16
    write_midi(tmp_path / "song.mid", roll)
    assert "16 bars in a row are empty" in reason(tmp_path / "song.mid")


def test_it_refuses_what_is_no_midi_or_broken():
    good = midi([(0, 60), (480, 62)])
    assert reason(b"") == "it is empty"
    assert "not MIDI" in reason(b"<html>404</html>")
    assert "not MIDI" in reason(gzip.compress(good))
    for cut in range(4, len(good)):
        assert reason(good[:cut]) == "it is cut short"
    assert "broken MIDI" in reason(good.replace(b"MTrk", b"XTrk"))
    assert "data byte" in reason(good.replace(b"\x90\x3c\x40", b"\x90\x3c\xd0"))


def test_it_refuses_what_cannot_be_opened(tmp_path):
    assert "no such file" in reason(tmp_path / "none.mid")
    assert "no file" in reason(tmp_path)


def test_hostile_files_cost_little():
    track = b"MThd\0\0\0\6\0\0\0\1\0\x60MTrk\xff\xff\xff\xff"
    began = time.monotonic()
    assert "in a row" in reason(track + b"\xff" * 2_000_000)  # one number of two million bytes
    reason(track + (b"\xff" * 4096 + b"\x00") * 500)  # numbers as long as they may be
    far = midi([(0, 60), (0, mido.MetaMessage("marker", text="minigen end"))])
    for event in (b"\x90\x3c\x40", b"\xff\x06\x0bminigen end"):
        assert far.count(b"\0" + event) == 1
        far_off = far.replace(b"\0" + event, b"\xff" * 4000 + b"\0" + event)  # at tick 2 ** 28000 or so
        far_off = far_off[:18] + (len(far_off) - 22).to_bytes(4, "big") + far_off[22:]
        assert "longer than" in reason(far_off)
    assert "larger than 2 MiB" in reason(track.ljust(LARGEST + 1, b"\0"))
    assert time.monotonic() - began < 10


@settings(max_examples=300, deadline=None)
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


# writing


@st.composite
def rolls(draw, low=1, high=127):
    T = draw(st.integers(1, 70))
    cells = st.tuples(st.integers(0, T - 1), st.integers(0, 87), st.integers(low, high))
    roll = np.zeros((T, 88), np.uint8)
    for t, k, velocity in draw(st.lists(cells, min_size=1, max_size=40)):
        roll[t, k] = velocity
    return roll


@settings(max_examples=100, deadline=None)
@given(rolls(low=2), st.sampled_from([None, 1, 3, 1000]))
def test_what_is_written_reads_back_the_same(tmp_path_factory, roll, ring):
    path = tmp_path_factory.mktemp("midi") / "song.mid"
    write_midi(path, roll, ring=ring)
    np.testing.assert_array_equal(read_midi(path), roll)


def test_silence_at_both_ends_is_kept(tmp_path):
    roll = np.zeros((16 * 12, 88), np.uint8)
    roll[16 * 5 + 12, 40] = 80
    write_midi(tmp_path / "song.mid", roll)
    np.testing.assert_array_equal(read_midi(tmp_path / "song.mid"), roll)


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
    write_midi(path, np.eye(16, 88), bpm=90, steps_a_bar=12, title="Песня")
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
    ],
)
def test_what_cannot_be_written_is_said(tmp_path, roll, options):
    with pytest.raises(MinigenError):
        write_midi(tmp_path / "song.mid", roll, **options)
    assert not (tmp_path / "song.mid").exists()


# the zoo


def test_every_animal_of_the_zoo_gets_one_verdict():
    if not ZOO.is_dir():
        pytest.skip("MINIGEN_DATA does not name a folder with midi_zoo in it")
    own_rules = ("SMPTE", "type 2", "metre", "outside", "no note", "longer than", "bars in a row")
    with open(ZOO / "manifest.csv", newline="", encoding="utf-8") as file:
        animals = list(csv.DictReader(file))
    assert len(animals) >= 100
    for animal in animals:
        began, verdict = time.monotonic(), "read"
        try:
            roll = read_midi(ZOO / animal["file"])
            assert roll.any() and len(roll) % 16 == 0
        except Refused as refused:
            verdict = str(refused)
        assert time.monotonic() - began < 2, animal["file"]
        if animal["expected"] == "parse":
            assert verdict == "read" or any(rule in verdict for rule in own_rules), (animal["file"], verdict)
        if animal["expected"] == "refuse":
            assert verdict != "read", animal["file"]
