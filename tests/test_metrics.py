"""Figures with answers that can be worked out by hand."""

import numpy as np
import pytest

from minigen.music.baseline import baseline, baselines, chord_frequency, too_large
from minigen.music.metrics import likeness, longest_repeat, longest_stuck, looped, notes_per_step, stuck


def roll_of(*steps):
    """A roll from a list of keys a step."""
    roll = np.zeros((len(steps), 88), np.uint8)
    for t, keys in enumerate(steps):
        roll[t, list(keys)] = 1
    return roll


def test_class_frequency():
    """Class 0 sounds in 1 of 4 steps: counted with half a note more, (1 + 0.5) / (4 + 1)."""
    train, valid = roll_of([0], [], [], []), roll_of([12], [])
    p, silent = 1.5 / 5, 0.5 / 5
    expected = -(np.log(p) + np.log(1 - p) + 22 * np.log(1 - silent)) / 24
    assert baseline([train], [valid], ()) == pytest.approx(expected)


def test_a_copy_knows_what_repeats():
    """A pattern of period 4: the copy of 4 ago is nearly sure, that of 1 ago is not, and all together are no worse."""
    song = roll_of(*[[0], [4], [7], []] * 50)
    found = baselines([song], [song])
    assert found["copy of 4 ago"] < 0.02 < found["copy of 1 ago"] < found["class frequency"]
    assert found["copies together"] < 0.02
    per_step = baselines([song], [song], keys=88, per_step=True)
    assert per_step["class frequency"] == pytest.approx(88 * baselines([song], [song], keys=88)["class frequency"])


def test_the_pause_cell_is_one_more():
    song = roll_of(*[[0], []] * 50)
    assert baseline([song], [song], (), pause_cell=True) > baseline([song], [song], ())
    assert baseline([song], [song], (1,), pause_cell=True) < 0.05


def test_frequency_of_chords():
    """Two of four steps have the chord, one has none; p = 1 adds 2^88 chords that were never seen."""
    train, valid = roll_of([0, 4], [0, 4], [], [7]), roll_of([0, 4], [], [9])
    whole = 4 + 2.0**88
    assert chord_frequency([train], [valid], 0) == pytest.approx(-np.log(np.array([3, 2, 1]) / whole).mean())
    assert chord_frequency([train], [valid[:2]], -300) == pytest.approx(-np.log(np.array([2, 1]) / 4).mean())


def test_longest_stuck():
    a, b = [0, 4], [7]
    assert longest_stuck(roll_of(a, a, [], a, b, b)) == 4  # b's run begins after a's last strike: b b
    assert longest_stuck(roll_of([], [], [], a)) == 4
    assert longest_stuck(roll_of(a, [], [], b, [], [])) == 5  # from after a to the end: [] [] b [] []
    assert longest_stuck(roll_of(*[a, b] * 40)) <= 2
    assert longest_stuck(roll_of(*[[]] * 70)) == 70


def test_notes_a_step_and_chords_too_large():
    songs = [roll_of([0, 1, 2], []), roll_of([5], [0, 12, 24])]
    assert notes_per_step(songs) == 7 / 4
    assert too_large(songs, 2) == pytest.approx(1 / 3)
    assert too_large(songs, 2, keys=88) == pytest.approx(2 / 3)


def test_longest_repeat_counts_sounding_steps():
    """A figure of three steps, played three times, then silence: two repeats, and the silence adds nothing."""
    roll = np.zeros((30, 88), np.uint8)
    for t in range(9):
        roll[t, 40 + t % 3] = 1
    assert longest_repeat(roll, range(1, 17)) == longest_repeat(roll, [3]) == 6
    assert longest_repeat(roll, [4]) == 0
    assert longest_repeat(roll * 0, range(1, 17)) == 0
    roll[4, 50] = 1  # it differs from the step before, and the step after differs from it
    assert longest_repeat(roll, [3]) == 2


def test_copies_without_loops():
    """Twenty steps that come again after 32 are a copy of 20; a loop of one chord is a copy only where loops count."""
    rng = np.random.default_rng(0)
    verse = np.eye(88, dtype=np.uint8)[rng.permutation(88)[:32]]
    again = np.concatenate([verse, verse[:20]])
    assert longest_repeat(again, [16, 32]) == longest_repeat(again, [16, 32], loops=False) == 20
    loop = np.tile(verse[:1], (40, 1))
    assert longest_repeat(loop, [16]) == 24 and longest_repeat(loop, [16], loops=False) == 0
    assert looped(loop).sum() == 39 and not looped(loop[:8]).any() and looped(loop[:9]).sum() == 8


def test_likeness_beyond_a_bar():
    rng = np.random.default_rng(0)
    verse = np.eye(88, dtype=np.uint8)[rng.permutation(88)[:40]]
    assert likeness(np.concatenate([verse, verse])) == 1  # at lag 40, and nothing by chance
    assert likeness(np.eye(88, dtype=np.uint8)[rng.permutation(88)]) == 0
    loop = np.tile(verse[:4], (40, 1))
    assert likeness(loop) == 0  # a loop of four steps repeats beyond a bar, too
    loop[[10, 90]] = verse[[30, 30]]
    assert likeness(loop) == 0  # and one odd chord struck twice is too little to judge by
    half = np.concatenate([verse, verse])
    half[40:60] = np.roll(half[40:60], 1, axis=1)
    assert likeness(half) == 20 / (80 - 40)
    assert likeness(rng.permutation(np.eye(4, 88, dtype=np.uint8)[rng.integers(0, 4, 256)])) < 0.15  # by chance 1 in 4


def test_where_music_is_stuck():
    rng = np.random.default_rng(0)
    lively = np.eye(88, dtype=np.uint8)[rng.permutation(88)]
    assert stuck(lively) == stuck(lively[:0]) == []
    silent = np.concatenate([lively[:20], np.zeros((70, 88), np.uint8), lively[20:40]])
    assert stuck(silent) == [(20, "silence for 70 steps")]
    chord = np.concatenate([lively[:20], np.tile(lively[50:51], (80, 1))])
    assert stuck(chord) == [(20, "one chord for 79 steps")]
    assert stuck(chord[:60]) == []
    loop = np.concatenate([lively[:20], np.tile(lively[60:63], (30, 1))])
    assert stuck(loop) == [(20, "a loop of 3 steps for 90")]
    falling = np.concatenate([np.full(100, 2.0), np.full(100, 0.1)])
    assert stuck(np.concatenate([lively, lively[::-1]])[:170], falling[:170])[0][1] == "the voices are all but certain"
    assert stuck(lively, falling[:88]) == []
