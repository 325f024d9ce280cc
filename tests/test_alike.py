"""Songs that are one song: copies are found, others are not, and no split has them on both sides."""

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minigen.draws import uniforms
from minigen.music.alike import groups, notes_of, repeats, windows
from minigen.music.dataset import split
from minigen.music.folders import each_once
from minigen.music.midi import read_midi
from minigen.music.songset import SongSet

SCALE = np.array([0, 2, 4, 5, 7, 9, 11])
CADENCE = [(0, 4, 7), (5, 9, 12), (7, 11, 14), (0, 4, 7)]


def chorale(seed: int, bars: int = 12) -> np.ndarray:
    """Like the chorales: four voices in one key, a chord each beat, some passing notes, and every one ends alike."""
    rng = np.random.default_rng(seed)
    roll, tune = np.zeros((16 * bars, 88), np.uint8), 3
    for t in range(0, len(roll) - 16, 4):
        tune = int(np.clip(tune + rng.integers(-2, 3), 0, 7))
        degrees = [tune + 7, tune + 5 - rng.integers(0, 2), tune + 2, rng.integers(0, 7) - 7]
        roll[t, [39 + 12 * (d // 7) + SCALE[d % 7] for d in degrees]] = 70
        if rng.random() < 0.3:
            roll[t + 2, 39 + 12 * ((tune + 8) // 7) + SCALE[(tune + 8) % 7]] = 60
    for beat, chord in enumerate(CADENCE):
        roll[len(roll) - 16 + 4 * beat, [39 + key for key in chord]] = 70
    return roll


def later(roll, steps: int) -> np.ndarray:
    return np.concatenate([np.zeros((steps, 88), np.uint8), roll])


COPIES = {
    "the same": lambda roll: roll,
    "louder": lambda roll: roll // 2 + 50 * (roll > 0),
    "a bar later": lambda roll: later(roll, 16),
    "three steps later": lambda roll: later(roll, 3),
    "a tone higher": lambda roll: np.roll(roll, 2, axis=1),
    "a tritone lower, later and quieter": lambda roll: later(np.roll(roll, -6, axis=1) // 3, 16),
    "without its last bars": lambda roll: roll[: len(roll) * 2 // 3],
    "without its first bars": lambda roll: roll[len(roll) // 3 :],
    "the middle, transposed": lambda roll: np.roll(roll[32:-48], 5, axis=1),
    "with another ending": lambda roll: np.concatenate([roll[:-32], chorale(99)[:32]]),
    "with a note more": lambda roll: (
        roll + 50 * (np.arange(roll.size).reshape(roll.shape) == 88 * 84 + 12).astype(np.uint8)
    ),
}


@pytest.mark.parametrize("name", COPIES)
def test_a_copy_is_found_whichever_comes_first(name):
    original, others = chorale(0), [chorale(seed) for seed in range(1, 6)]
    copy = COPIES[name](original)
    assert groups([*others, original, copy]) == [0, 1, 2, 3, 4, 5, 5]
    assert groups([copy, *others, original]) == [0, 1, 2, 3, 4, 5, 0]


def test_songs_of_one_style_are_not_one_song(songs_of_minigen):
    """Chorales of one key and one cadence; minigen's own songs; a song and the same backwards."""
    for rolls in ([chorale(seed) for seed in range(150)], songs_of_minigen, [chorale(0), chorale(0)[::-1]]):
        assert groups(rolls) == list(range(len(rolls)))


@pytest.fixture(scope="module")
def songs_of_minigen():
    from helpers import SONGS

    return list(map(read_midi, SONGS))


def test_a_chain_of_parts_has_one_leader():
    whole = chorale(3, bars=20)
    assert groups([whole, whole[:160], whole[:80], whole[160:]]) == [0, 0, 0, 0]
    assert groups([whole[:240], chorale(4), whole[80:], later(whole, 16)]) == [0, 1, 0, 0]


@pytest.mark.parametrize("overlap", [0, 16])
def test_two_halves_and_the_whole_are_one_song_in_any_order_and_never_parted(overlap):
    whole = chorale(3, bars=20)
    songs, others = [whole[: 160 + overlap], whole[160 - overlap :], whole], [chorale(seed) for seed in range(4, 8)]
    for order in permutations(range(3)):
        rolls = [*others[:1], *(songs[i] for i in order), *others[1:]]
        assert groups(rolls) == [0, 1, 1, 1, 4, 5, 6]
        assert repeats(rolls) == [None, None, ("like", 1), ("like", 1), None, None, None]
        assert groups([songs[i] for i in order]) == [0, 0, 0]
        found = SongSet(rolls, [f"{i}" for i in range(len(rolls))])
        for seed in range(50):
            for share in (0.1, 0.5):
                assert all(len({"1", "2", "3"} & set(side.names)) in (0, 3) for side in split(found, seed, share))


def test_a_song_of_two_others_joins_their_groups():
    one, two = chorale(1), chorale(2)
    for rolls in permutations([one, two, COPIES["a tone higher"](two), np.concatenate([one, two])]):
        assert groups(rolls) == [0, 0, 0, 0]


def test_the_same_notes_are_told_from_much_the_same():
    roll = chorale(0)
    for name in ("the same", "louder", "a bar later", "three steps later"):
        assert notes_of(COPIES[name](roll)) == notes_of(roll)
    for name in ("a tone higher", "with a note more", "without its last bars"):
        assert notes_of(COPIES[name](roll)) != notes_of(roll)
    songs = SongSet([], [])
    for name in ("the same", "a bar later", "a tone higher", "without its last bars"):
        songs.add(name, COPIES[name](roll))
    songs.add("other", chorale(1))
    found = each_once(songs)
    assert found.names == ["the same", "a tone higher", "without its last bars", "other"]
    assert found.refused == [("a bar later", "it has the same notes as the same")]
    assert [name for name, _ in found.warnings] == ["a tone higher", "without its last bars"]
    assert all("it is the same once more, transposed or in part" in told for _, told in found.warnings)


def test_short_and_empty_songs():
    note, empty = np.zeros((16, 88), np.uint8), np.zeros((16, 88), np.uint8)
    note[3, 40] = 9
    assert groups([empty, note, empty, np.roll(note, 2), chorale(0), note[3:]]) == [0, 1, 2, 1, 4, 1]
    assert len(windows(empty)) == 0 and len(windows(note)) == 1
    assert notes_of(empty) == b"" and notes_of(note) == notes_of(note[3:4])


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 999), st.lists(st.integers(0, 9), max_size=6), st.sampled_from([0.1, 0.3, 0.5, 0.9]))
def test_no_split_has_copies_on_both_sides(seed, copied, share):
    makers = list(COPIES.values())
    rolls = [chorale(song) for song in range(6)] + [makers[i](chorale(i % 3)) for i in copied]
    of_song = [*range(6), *(i % 3 for i in copied)]
    songs = SongSet(rolls, [f"{i:02}" for i in range(len(rolls))])
    sides = [{of_song[int(name)] for name in side.names} for side in split(songs, seed, share)]
    assert not sides[0] & sides[1] and sides[0] and sides[1]
    assert sorted(songs.names) == sorted(name for side in split(songs, seed, share) for name in side.names)


@given(st.integers(2, 40), st.integers(0, 999), st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.99]))
@settings(max_examples=40, deadline=None)
def test_without_copies_the_split_is_what_it_was(n, seed, share):
    """The first songs of a random order are held out, as before there were copies to think of."""
    songs = SongSet(ALL[:n], [f"{i:02}" for i in range(n)])
    order = uniforms(seed, "split", 0, range(n), (1,), np.float64)[:, 0].argsort(kind="stable")
    held_out = sorted(order[: min(max(1, round(share * n)), n - 1)])
    train, valid = split(songs, seed, share)
    assert valid.names == [songs.names[i] for i in held_out]
    assert train.names == [name for name in songs.names if name not in valid.names]


ALL = [chorale(seed, bars=4) for seed in range(40)]
