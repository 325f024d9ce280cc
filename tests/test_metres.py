"""Metres: which bars a song keeps, what lags and time bits are in them; and how well music lies on the grid."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from helpers import CONFIGS, small
from hypothesis import given
from hypothesis import strategies as st
from midi_helpers import lengths, metre, midi, reason, refusal, release, struck

from minigen.metre import METRES, in_metre
from minigen.music.grid import fit_of, kept_bars
from minigen.music.midi import read_midi, read_song
from minigen.ops import time_bits

# what is read


def test_metres_of_1_2_4_8_and_16_are_read_as_four_four_and_none_means_four_four():
    numbers = (1, 2, 4, 8, 16)
    for pair in [(a, b) for a in numbers for b in numbers]:
        song = read_song(midi([(0, metre(*pair)), (0, 60)]))
        assert (len(song.roll), song.metre, song.foreign) == (16, "4/4", {})
    assert len(read_midi(midi([(0, 60)]))) == 16


def test_a_song_of_another_metre_is_refused_with_what_to_do():
    for pair in [(3, 4), (6, 8), (5, 4), (4, 32), (0, 4), (3, 8), (12, 8)]:
        refused = refusal(midi([(0, metre(*pair)), (0, 60)]))
        assert str(refused) == "its metre is {}/{} and not 4/4".format(*pair) and refused.kind == "metre"
        known = "{}/{}".format(*pair) in METRES
        assert refused.remedy.startswith("train on it with --metre" if known else "only 4/4, 3/4, 6/8 are used")
    assert "its metre is 4/2^33 and not 4/4" in reason(midi([(0, metre(4, 2**33)), (0, 60)]))
    assert "its metre is 4/4 and not 3/4" in reason(midi([(0, 60)]), metre="3/4")
    bars, notes = [(0, metre(6, 8)), (0, 60), (1440, metre(3, 4))], [(1440, 60), (1500, 62)]
    mixed = midi([*bars, *notes, (2880, metre(5, 4))])
    assert refusal(mixed).remedy == "train on it with --metre 3/4"  # in which most of its notes stand
    long = midi([*bars, (99 * 1440, metre(6, 8)), *((99 * 1440 + tick, note) for tick, note in notes)])
    assert refusal(long).remedy == "train on it with --metre 6/8"  # whatever the number of its bars


def test_bars_of_another_metre_are_taken_out_and_counted():
    """Two bars of 4/4, one of 3/4, half a bar of 2/4, two of 7/8; then 4/4 again, from a bar line."""
    bars = [(0, metre(4, 4)), (0, 60), (3840, metre(3, 4)), (3840, 61), (4200, 62), (5280, metre(2, 4)), (5280, 63)]
    bars += [(6240, metre(7, 8)), (6240, 64), (9600, metre(4, 4)), (9600, 65), (9720, 66)]
    song = read_song(midi(bars))
    assert struck(song.roll > 0) == [(0, 60, 1), (32, 63, 1), (48, 65, 1), (49, 66, 1)]
    assert (song.foreign, song.foreign_notes, len(song.roll)) == ({"3/4": 1, "7/8": 2}, 3, 64)
    assert song.warnings == ["1 bar in 3/4, 2 bars in 7/8 left out, with 3 notes"]
    waltz = read_song(midi(bars), metre="3/4")
    assert struck(waltz.roll > 0) == [(0, 61, 1), (3, 62, 1)] and waltz.foreign == {"4/4": 4, "7/8": 2}


def test_held_notes_end_where_bars_are_taken_out():
    bars = [
        (0, 60),
        (1920, metre(3, 4)),
        (2000, 62),
        (3360, metre(4, 4)),
        (3360, 64),
        (4000, release()),
        (4080, release(62)),
    ]
    song = read_song(midi([*bars, (3360 + 2400, release(64))]))
    assert lengths(song) == {(0, 60): 16, (16, 64): 16}  # the last is cut where the song ends
    assert song.foreign == {"3/4": 1} and song.foreign_notes == 1


def test_after_a_bar_that_ends_between_two_steps_the_rest_is_on_its_grid():
    """A bar of 7/32, which is three steps and a half, before music in 4/4; and such a bar in its middle."""
    tune = [(120 * step, 60 + step % 7) for step in range(0, 64, 3)]
    plain = read_song(midi([(0, metre(4, 4)), *tune, *((tick + 7680, note) for tick, note in tune)]))
    late = [(tick + 420, note) for tick, note in tune]
    first = read_song(midi([(0, metre(7, 32)), (0, 100), (240, 100), (420, metre(4, 4)), *late]))
    assert (first.foreign, first.foreign_notes, first.fit) == ({"7/32": 1}, 2, (0, 0, ""))
    assert first.warnings == ["1 bar in 7/32 left out, with 2 notes"]
    assert struck(first.roll) == struck(plain.roll[:64])
    middle = [(7680, metre(7, 32)), (7680, 100), (8100, metre(4, 4)), *((tick + 8100, note) for tick, note in tune)]
    song = read_song(midi([(0, metre(4, 4)), *tune, *middle]))
    assert struck(song.roll) == struck(plain.roll) and song.foreign == {"7/32": 1} and song.fit == (0, 0, "")


def test_a_note_that_is_early_by_less_than_half_a_step_belongs_to_the_bar_that_it_is_early_for():
    bars = [(0, 60), (1920, metre(3, 4)), (3360, metre(4, 4)), (3480, 62)]
    for tick, step in ((1859, 15), (1861, None), (3299, None), (3301, 16), (3360, 16), (3419, 16), (3421, 17)):
        song = read_song(midi(sorted([*bars, (tick, 70)], key=lambda event: event[0])))
        assert [t for t, note, _ in struck(song.roll) if note == 70] == [step] * (step is not None), tick
        assert song.foreign_notes == (step is None)


def test_metres_that_fit_the_bar_follow_each_other_without_a_gap():
    song = read_song(midi([(0, metre(1, 4)), (0, 60), (480, metre(2, 4)), (480, 62), (1440, metre(4, 4)), (1440, 64)]))
    assert [t for t, _, _ in struck(song.roll)] == [0, 4, 12]


@pytest.mark.parametrize("name, bar", [("3/4", 12), ("6/8", 12)])
def test_a_song_of_a_metre_is_read_in_its_bars(name, bar):
    numerator, denominator = map(int, name.split("/"))
    song = read_song(midi([(0, metre(numerator, denominator)), (0, 60), (13 * 120, 62)]), metre=name)
    assert (len(song.roll), song.metre) == (2 * bar, name)


def test_where_there_are_no_bars_all_is_kept():
    song = read_song(midi([(0, metre(7, 8)), (0, 60), (1680, metre(3, 4)), (2040, 62)]), metre="none")
    assert struck(song.roll > 0) == [(0, 60, 1), (17, 62, 1)] and len(song.roll) == 18 and song.foreign == {}


CHANGES = st.lists(st.tuples(st.integers(0, 90), st.sampled_from([(4, 4), (2, 4), (3, 4), (6, 8), (0, 4)])), max_size=6)


@given(CHANGES, st.integers(1, 100), st.sampled_from(["4/4", "3/4", "6/8"]))
def test_runs_of_bars_are_in_order_whole_and_at_bar_lines(changes, end, name):
    signatures = [(t, *pair) for t, pair in sorted(changes, key=lambda change: change[0])]
    runs, foreign = kept_bars(signatures, name, end, 4)  # a tick is a step
    kept = [t for run in runs for t in range(run.first, run.last)]
    at = {t: pair for t, *pair in [(-1, 4, 4), *signatures]}
    now = [at[max(s for s in at if s <= t)] for t in range(end)]
    assert kept == [t for t in range(end) if name in ("{}/{}".format(*now[t]), "4/4" if now[t] == [2, 4] else "")]
    assert all(run.place % METRES[name][0] == 0 for run in runs) and (len(kept) == end) == (not foreign)
    for a, b in pairwise(runs):
        bar_line = -(-(a.place + a.last - a.first) // METRES[name][0]) * METRES[name][0]
        assert a.last < b.first and b.place == bar_line


# what follows the metre


def test_lags_follow_the_beat_and_the_bar():
    diary = (2, 4, 8, 16, 32, 48, 64, 96, 128)  # two 16ths, one beat, two, one bar, two, three, four, six, eight
    assert [in_metre(lag, "4/4") for lag in diary] == list(diary)
    assert [in_metre(lag, "3/4") for lag in diary] == [2, 4, 8, 12, 24, 36, 48, 72, 96]
    assert [in_metre(lag, "6/8") for lag in diary] == [2, 6, 12, 12, 24, 36, 48, 72, 96]
    assert [in_metre(span, "3/4") for span in (1, 3, 20, 256)] == [1, 3, 20, 192]


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("metre", ["4/4", "3/4", "6/8"])
def test_every_rung_has_a_form_in_every_metre(name, metre):
    config = CONFIGS[name]
    other = config.in_metre(metre)
    if metre == "4/4":
        assert other == config
        return
    bar, beat = METRES[metre]
    spans = {lag: lag // 16 * bar if lag % 16 == 0 else lag // 4 * beat if lag in (4, 8) else lag for lag in range(129)}
    assert other.lags == tuple(dict.fromkeys(spans[lag] for lag in config.lags))
    short = {delay: spans[delay + 1] - 1 if delay % 4 == 3 else spans[delay] for delay in config.delays}
    assert other.delays == tuple(dict.fromkeys(short.values()))
    assert (other.metre, other.bar, other.fragment, other.hop) == (metre, 12, 192, 24)
    assert len(set(other.lags)) == len(other.lags) and other.past == max(1, *other.lags)
    same = dict.fromkeys(("metre", "lags", "delays", "fragment", "hop"))
    assert replace(other, **{field: getattr(config, field) for field in same}) == config


def bits_of(t: int, bits: int, bar: int) -> list[int]:
    """The place in the bar in four binary digits, then the number of the bar, the lowest digit first."""
    digits = f"{t // bar % 2 ** (bits - 4):0{bits - 4}b}{t % bar:04b}" if bits > 4 else f"{t % bar % 2**bits:0{bits}b}"
    return [int(digit) for digit in reversed(digits)]


@pytest.mark.parametrize("metre", ["4/4", "3/4", "6/8"])
@pytest.mark.parametrize("high_first", [False, True])
def test_time_bits_are_the_place_in_the_bar_and_the_number_of_the_bar(metre, high_first):
    bar = METRES[metre][0]
    for bits in (6, 4, 3, 9):
        found = time_bits(np.array([0, 37, 1000]), 100, bits, int, bar, high_first)
        for n, start in enumerate((0, 37, 1000)):
            for t in range(100):
                expected = bits_of(start + t, bits, bar)
                assert found[t, n].tolist() == (expected[::-1] if high_first else expected)
    if metre == "4/4":  # as ever: bit k of t
        t = np.arange(200)[:, None]
        np.testing.assert_array_equal(time_bits(np.array([0]), 200, 6, int, bar)[:, 0], (t >> np.arange(6)) & 1)


@pytest.mark.parametrize("name", ["upgraded", "final", "decoder"])
def test_a_rung_takes_the_time_of_the_step_predicted_or_of_the_input(name):
    start = np.array([0, 5])
    for bars, order in (("4/4", "low first"), ("3/4", "high first")):
        model = small(name).__class__(small(name).config.in_metre(bars))
        fields = {"time_order": order, "time_of": "input"}
        before = model.__class__(replace(model.config, **fields)).time_bits(start, 40, int)
        after = model.__class__(replace(model.config, time_order=order)).time_bits(start, 40, int)
        np.testing.assert_array_equal(before[1:], after[:-1])
        last_of_bar = bits_of(METRES[bars][0] - 1, 4, METRES[bars][0])
        in_bar = before[0, 0, :4] if order == "low first" else before[0, 0, ::-1][:4]
        assert in_bar.tolist() == last_of_bar  # before the first step, that of the bar before
        assert before[0, 0].sum() == sum(last_of_bar) + 2  # which is the last of four


# how well it lies on the grid


BEAT = 480


def of(beats) -> tuple[float, str]:
    fit = fit_of(np.rint(np.asarray(beats) * BEAT).astype(int), BEAT)
    return fit.off_grid, fit.kind


def test_what_lies_on_the_grid_needs_no_word():
    sixteenths = np.arange(400) / 4
    assert of(sixteenths) == (0, "")
    played_well = sixteenths + np.random.default_rng(0).uniform(-0.02, 0.02, 400)  # 10 ms at 120 bpm
    off_grid, kind = of(played_well)
    assert off_grid == pytest.approx(0.04, abs=0.005) and kind == ""
    assert fit_of([0, 120], 480).warnings == []


def test_live_playing_is_off_the_grid():
    for seed in range(5):
        off_grid, kind = of(np.sort(np.random.default_rng(seed).uniform(0, 100, 300)))
        assert off_grid == pytest.approx(0.25, abs=0.02) and kind == "off the grid"
    drifting = np.arange(300) * 0.2545  # a steady hand, and another tempo than the file's
    assert of(drifting)[1] == "off the grid"
    (told,) = fit_of(np.rint(drifting * BEAT), BEAT).warnings
    assert "off the grid" in told and "0.25 of a step from the grid" in told and "% were moved by over 0.2" in told


@pytest.mark.parametrize("division", [3, 6])
def test_triplets_are_named(division):
    triplets = np.arange(20 * division) / division
    mixed = np.concatenate([np.arange(120), 120 + triplets])  # a passage in a long song
    for beats in (triplets, mixed, triplets + np.random.default_rng(0).normal(0, 0.005, len(triplets))):
        assert of(beats)[1] == "triplets"


@pytest.mark.parametrize("late", [2 / 3, 0.62, 0.58])
@pytest.mark.parametrize("halves", [1, 2])
def test_swung_eighths_and_sixteenths_are_named(late, halves):
    """Light swing and heavy swing; 0.58 of half a beat is so close to the grid that nothing is moved far."""
    beats = np.sort(np.concatenate([np.arange(100), np.arange(100) + late])) / halves
    assert of(beats)[1] == ("" if halves == 2 and late < 0.6 else "swing")


def test_one_ornament_is_no_reason_for_a_word():
    beats = np.concatenate([np.arange(400) / 4, [17.33, 17.41, 17.58]])
    assert of(beats)[1] == ""
