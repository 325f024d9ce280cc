"""The metrics of a piece against slow loops, on a zoo; the longest copy against a search; telling two sets apart."""

from collections import Counter
from itertools import pairwise
from math import log2

import numpy as np
import pytest
from helpers import SONGS, songs_of

from minigen.music.compare import Windows, auc, band, means, shuffled, tell, windows_of
from minigen.music.copies import Library
from minigen.music.metrics import METRICS, closes, measure
from minigen.music.midi import read_song
from minigen.music.midi_out import ringing

NAN = float("nan")


# slow loops: notes as (step, key, length), sounding keys as a list of sets


def notes_of(struck, sounding):
    found = []
    for t, k in np.argwhere(struck).tolist():
        n = 1
        while t + n < len(struck) and sounding[t + n][k] and not struck[t + n][k]:
            n += 1
        found.append((t, k, n))
    return found


def outer(struck, sounding):
    chords = [[k for k in range(88) if sounding[t][k]] for t in range(len(struck)) if struck[t].any()]
    return [(min(chord), max(chord)) for chord in chords]


def mean(values):
    values = list(values)
    return sum(values) / len(values) if values else NAN


def entropy(struck, sounding, bar):
    counts = Counter(k % 12 for _, k, _ in notes_of(struck, sounding))
    total = sum(counts.values())
    return -sum(n / total * log2(n / total) for n in counts.values()) if total else NAN


def in_scale(struck, sounding, bar):
    keys = [k for _, k, _ in notes_of(struck, sounding)]
    scales = [{(root + step) % 12 for step in (0, 2, 4, 5, 7, 9, 11)} for root in range(12)]
    return max(mean(k % 12 in scale for k in keys) for scale in scales) if keys else NAN


def groove(struck, sounding, bar):
    bars = [[bool(struck[b + t].any()) for t in range(bar)] for b in range(0, len(struck) - bar + 1, bar)]
    return mean(1 - sum(x != y for x, y in zip(a, b, strict=True)) / bar for a, b in pairwise(bars))


def consonant(struck, sounding, bar):
    found = []
    for row in sounding:
        keys = [k for k in range(88) if row[k]]
        found += [(high - low) % 12 in (0, 3, 4, 5, 7, 8, 9) for i, low in enumerate(keys) for high in keys[i + 1 :]]
    return mean(found)


def parallel(struck, sounding, bar):
    found = []
    for (low, high), (low2, high2) in pairwise(outer(struck, sounding)):
        if low2 != low and high2 != high:
            same_way = (low2 > low) == (high2 > high) and high > low and high2 > low2
            found.append(same_way and (high - low) % 12 == (high2 - low2) % 12 and (high - low) % 12 in (0, 7))
    return mean(found)


def loop(struck, sounding, bar):
    best = 0
    for period in range(1, bar + 1):
        run = 0
        for t in range(period, len(struck)):
            same = (struck[t] == struck[t - period]).all()
            run = run + bool(struck[t].any()) if same else 0
            best = max(best, run)
    return best


def chords(struck):
    return [tuple(np.flatnonzero(row)) for row in struck if row.any()]


ORACLES = {
    "struck notes per step": lambda s, o, bar: len(notes_of(s, o)) / len(s),
    "notes of a struck chord": lambda s, o, bar: mean(map(len, chords(s))),
    "sounding keys (polyphony)": lambda s, o, bar: mean(sum(row) for row in o if row.any()),
    "empty steps": lambda s, o, bar: mean(not row.any() for row in o),
    "note length, steps": lambda s, o, bar: mean(n for _, _, n in notes_of(s, o)),
    "pitch-class entropy, bits": entropy,
    "notes in one scale": in_scale,
    "groove consistency": groove,
    "leap of the top line, semitones": lambda s, o, bar: mean(abs(b[1] - a[1]) for a, b in pairwise(outer(s, o))),
    "leap of the bass, semitones": lambda s, o, bar: mean(abs(b[0] - a[0]) for a, b in pairwise(outer(s, o))),
    "bass leaps over a fifth": lambda s, o, bar: mean(abs(b[0] - a[0]) > 7 for a, b in pairwise(outer(s, o))),
    "consonant pairs": consonant,
    "parallel fifths and octaves": parallel,
    "longest loop, sounding steps": loop,
    "distinct chords": lambda s, o, bar: len(set(chords(s))) / len(chords(s)) if chords(s) else NAN,
}


def zoo() -> dict:
    rng, steps = np.random.default_rng(0), 64
    empty = np.zeros((steps, 88), bool)
    one, scale, noise = empty.copy(), empty.copy(), rng.random((steps, 88)) < 0.05
    one[3, 40] = True
    for t, step in enumerate([0, 2, 4, 5, 7, 9, 11, 12] * 4):
        scale[2 * t, 39 + step] = True
    two = scale.copy()
    two[:, :76] |= scale[:, 12:]  # the scale an octave lower beside it: all octaves are parallel
    songs = [read_song(path) for path in SONGS[:2]]
    animals = {"silence": empty, "one note": one, "noise": noise, "scale": scale, "two voices": two}
    found = {name: (roll, ringing(roll)) for name, roll in animals.items()}
    found["corpus"] = (songs[0].roll[:steps] > 0, songs[0].sounding[:steps])
    found["another"] = (songs[1].roll[:steps] > 0, songs[1].sounding[:steps])
    return found | {"shuffled corpus": shuffled([found["corpus"]], rng)[0]}


@pytest.mark.parametrize("animal", zoo())
def test_every_metric_is_what_its_formula_says(animal):
    struck, sounding = zoo()[animal]
    found = dict(zip(METRICS, measure(struck, sounding), strict=True))
    sounding = sounding | struck
    for name, oracle in ORACLES.items():
        assert found[name] == pytest.approx(oracle(struck, sounding, 16), nan_ok=True), name
    assert ORACLES.keys() | {"likeness beyond a bar"} == METRICS.keys()  # which tests/test_metrics.py has


def test_what_is_known_of_the_zoo():
    """What public libraries get wrong: a scale is seven classes, emptiness is no fullness, two voices are two."""
    values = {animal: dict(zip(METRICS, measure(*piece), strict=True)) for animal, piece in zoo().items()}
    assert values["silence"]["empty steps"] == 1 and values["two voices"]["empty steps"] == 0
    assert values["scale"]["notes in one scale"] == 1 and values["noise"]["notes in one scale"] < 0.8
    assert values["one note"]["pitch-class entropy, bits"] == 0 and values["scale"]["pitch-class entropy, bits"] > 2.7
    assert values["scale"]["sounding keys (polyphony)"] == 1 and values["two voices"]["sounding keys (polyphony)"] == 2
    assert values["two voices"]["parallel fifths and octaves"] == 1 == values["two voices"]["consonant pairs"]
    assert values["scale"]["groove consistency"] == 1 and values["one note"]["note length, steps"] == 61
    assert np.isnan(values["silence"]["note length, steps"]) and np.isnan(values["one note"]["bass leaps over a fifth"])


def test_a_piece_closes_on_a_long_triad_over_its_root():
    struck, sounding = np.zeros((20, 88), bool), np.zeros((20, 88), bool)
    struck[12, [20, 27, 36, 48]] = sounding[12:, [20, 27, 36, 48]] = True  # a root, its fifth, thirds above
    assert closes(struck, sounding) and not closes(struck[:19], sounding[:19])  # a half note is 8 steps
    sounding[18:, 48] = False
    assert not closes(struck, sounding)
    sounding[18:, 48] = True
    for wrong in (19, 22):  # another bass; a seventh
        other, held = struck.copy(), sounding.copy()
        other[12, wrong] = held[12:, wrong] = True
        assert not closes(other, held)
    assert not closes(struck * 0 > 0, sounding)


# copies


def slow_copy(piece, songs) -> int:
    """The longest run of struck steps of the piece that stands in a song, moved by any number of keys: its steps."""
    best = 0
    for song in songs:
        own, theirs = ([t for t in range(len(roll)) if roll[t].any()] for roll in (piece, song))
        for i in range(len(own)):
            for j in range(len(theirs)):
                move = piece[own[i]].argmax() - song[theirs[j]].argmax()
                n = 0
                while i + n < len(own) and j + n < len(theirs):
                    a, b = piece[own[i + n]], song[theirs[j + n]]
                    if own[i + n] - own[i] != theirs[j + n] - theirs[j]:
                        break
                    if set(np.flatnonzero(a) - move) != set(np.flatnonzero(b)):
                        break
                    n += 1
                best = max(best, own[i + n - 1] - own[i] + 1 if n else 0)
    return best


def test_the_longest_copy_is_found_in_any_key():
    rng = np.random.default_rng(1)
    songs = [(rng.random((50, 88)) < 0.004).astype(np.uint8) for _ in range(3)]
    piece = (rng.random((60, 88)) < 0.004).astype(np.uint8)
    piece[5:35] = np.roll(songs[2][10:40], 7, axis=1)
    library = Library(songs)
    assert library.longest_copy(piece)[1] == 2
    for roll in (piece, (rng.random((40, 88)) < 0.004).astype(np.uint8)):
        steps, song = library.longest_copy(roll)
        assert steps == slow_copy(roll, [songs[song]]) > 0
        assert max(slow_copy(roll, [other]) for other in songs) >= steps
    assert library.longest_copy(songs[1]) == (int(np.ptp(np.flatnonzero(songs[1].any(axis=1)))) + 1, 1)
    assert library.longest_copy(np.zeros((8, 88))) == (0, None)
    slow, fast = np.zeros((60, 88)), np.zeros((60, 88))  # few strikes over many steps, many over few
    slow[[0, 20, 50], [40, 44, 47]] = 1
    fast[range(12), 60 + np.arange(12) * 7 % 12] = 1
    both = np.concatenate([slow, fast])
    assert Library([slow, fast]).longest_copy(both) == (51, 0)


# two sets


def test_windows_are_whole_and_know_their_piece():
    rolls = [roll > 0 for roll in songs_of(300, 100, 256)]
    found = windows_of([(roll, roll) for roll in rolls], 8, 16)
    assert found.piece.tolist() == [0, 0, 2, 2]
    np.testing.assert_array_equal(found.values[1], measure(rolls[0][128:256], rolls[0][128:256]))
    np.testing.assert_allclose(means(found)[1], found.values[2:].mean(axis=0))
    assert windows_of([(rolls[1], rolls[1])], 8, 16).values.shape == (0, len(METRICS))


def test_one_set_cannot_be_told_from_itself_and_another_can():
    rng = np.random.default_rng(0)
    values = rng.normal(size=(3, 120, len(METRICS)))
    values[1, :, 4] += 3
    values[2, ::7, 2] = NAN
    piece = np.repeat(np.arange(60), 2)
    alike, other, again = (Windows(v, piece) for v in values)
    told = tell(other, alike, np.random.default_rng(1))
    assert told.auc > 0.95 and told.low > 0.9 and next(iter(told.alone)) == list(METRICS)[4]
    told = tell(again, alike, np.random.default_rng(1))
    assert told.low < 0.5 < told.high and told.counts == (120, 120)
    assert auc([1, 2, 3], [0, 0]) == 1 and auc([1, 1], [1, 1]) == 0.5 and auc([0, 1], [0.5]) == 0.5
    low, high = band(means(alike), 60, np.random.default_rng(0))
    assert (low < 0).all() and (high > 0).all() and (high - low < 2).all()
