"""Fragments with their real past, padding, shifts of key, whole songs, and a split by song."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minigen.draws import uniforms
from minigen.errors import MinigenError
from minigen.music.dataset import ENDLESS, Dataset, opening, split, trim, whole_songs
from minigen.music.songset import SongSet
from minigen.ops import NO_END


def song(T: int, seed: int = 0) -> np.ndarray:
    """A roll of T steps; a note is struck in the first bar, and no two rows are the same."""
    rng = np.random.default_rng([seed, T])
    roll = (rng.random((T, 88)) < 0.1).astype(np.uint8)
    roll[:, 40:56] = (np.arange(1, T + 1)[:, None] >> np.arange(16)) & 1
    return roll


def padded(roll, first: int, last: int) -> np.ndarray:
    """Rows first..last-1, zeros before the song and after it."""
    return np.stack([roll[t] if 0 <= t < len(roll) else np.zeros(88, np.uint8) for t in range(first, last)])


def shifted(rows, shift: int) -> np.ndarray:
    out = np.zeros_like(rows)
    for k in range(88):
        if 0 <= k + shift < 88:
            out[:, k + shift] = rows[:, k]
    return out


def test_trim_drops_whole_silent_bars_at_the_start_alone():
    for silent, left in [(0, 40), (15, 40), (16, 24), (31, 24), (32, 8)]:
        roll = np.zeros((40, 88), np.uint8)
        roll[silent, 5] = 90
        assert len(trim(roll)) == left and trim(roll)[silent - 40 + left, 5] == 90
    assert len(trim(roll, bar=12)) == 16
    assert len(trim(np.zeros((32, 88)))) == 32


def test_an_opening_is_so_many_bars_and_an_upbeat_is_counted_with_its_bar():
    for bar in (16, 12):
        for first, upbeat in [(0, 0), (bar // 2 - 1, 0), (bar // 2, 1), (bar - 1, 1)]:
            roll = np.zeros((8 * bar, 88), np.uint8)
            roll[[2 * bar + first, 3 * bar, 7 * bar], 5] = 90  # after two silent bars
            for bars in (1, 2, 4, 9):
                np.testing.assert_array_equal(opening(roll, bars, bar), roll[2 * bar : (2 + bars + upbeat) * bar])


def test_fragments_begin_every_two_bars_while_they_fit():
    for T, starts in [
        (16, [0]),
        (255, [0]),
        (256, [0]),
        (287, [0]),
        (288, [0, 32]),
        (400, [0, 32, 64, 96, 128]),
    ]:
        data = Dataset([song(T)])
        assert [s for _, s in data.fragments] == starts and len(data) == len(starts)
    assert Dataset([song(288), song(16), song(320)]).fragments == [(0, 0), (0, 32), (1, 0), (2, 0), (2, 32), (2, 64)]
    assert [s for _, s in Dataset([song(100)], steps=40, hop=16).fragments] == [0, 16, 32, 48]


def test_a_batch_is_fragments_with_their_real_past_and_a_mask():
    songs = [song(512, 1), song(100, 2), song(300, 3)]
    data = Dataset(songs, past=128, key_shift=False)
    batch = data.batch(7, "batch", 3, range(32))
    assert (batch["roll"].shape, batch["roll"].dtype) == ((384, 32, 88), np.uint8)
    assert (batch["start"].shape, batch["start"].dtype) == ((32,), np.int64)
    assert (batch["mask"].shape, batch["mask"].dtype) == ((256, 32), bool)
    u = uniforms(7, "batch", 3, range(32), (2,), np.float64)
    seen = set()
    for b in range(32):
        number, s = data.fragments[int(u[b, 0] * len(data))]
        assert batch["start"][b] == s
        np.testing.assert_array_equal(batch["roll"][:, b], padded(songs[number], s - 128, s + 256))
        np.testing.assert_array_equal(batch["mask"][:, b], np.arange(s, s + 256) < len(songs[number]))
        seen.add((number, s))
    assert {number for number, _ in seen} == {0, 1, 2} and any(0 < s < 128 for _, s in seen)
    assert any(s >= 128 for _, s in seen)


def test_a_fragment_and_its_past_are_moved_by_minus_6_to_plus_5_semitones():
    roll = song(512)
    roll[:, :3] = roll[:, 86:] = 0  # so that some shifts are left
    data, plain = Dataset([roll], stay=True), Dataset([roll], key_shift=False)
    batch, unmoved = data.batch(0, "batch", 0, range(200)), plain.batch(0, "batch", 0, range(200))
    dropping = Dataset([roll]).batch(0, "batch", 0, range(200))
    np.testing.assert_array_equal(batch["start"], unmoved["start"])
    u = uniforms(0, "batch", 0, range(200), (3,), np.float64)
    shifts = []
    for b in range(200):
        rows, s = unmoved["roll"][:, b], unmoved["start"][b]
        keys = np.flatnonzero(roll[max(s - 128, 0) : s + 256].any(axis=0))
        kept = [shift for shift in range(-6, 6) if keys.min() + shift >= 0 and keys.max() + shift < 88]
        shifts.append(kept[int(u[b, 1] * len(kept))])
        assert shifted(rows, shifts[-1]).sum() == rows.sum()  # every note stays on the keyboard
    for b, shift in enumerate(shifts):
        np.testing.assert_array_equal(batch["roll"][:, b], shifted(unmoved["roll"][:, b], shift))
        any_shift = int(u[b, 1] * 12) - 6
        np.testing.assert_array_equal(dropping["roll"][:, b], shifted(unmoved["roll"][:, b], any_shift))


def plain_batch(rolls, past, steps, hop, key_shift, ends, sounding, stay, u) -> dict:
    """What `Dataset.batch` makes of the uniforms u (B, 3), fragment by fragment and key by key."""
    fragments = [(n, s) for n, roll in enumerate(rolls) for s in range(0, max(len(roll) - steps, 0) + 1, hop)]
    rows, starts, masks, sounds, known = [], [], [], [], []
    for fragment, key, end in u:
        n, s = fragments[int(fragment * len(fragments))]
        struck = (padded(rolls[n], s - past, s + steps) > 0).astype(np.uint8)
        keys = np.flatnonzero(struck.any(axis=0)).tolist()
        shifts = [m for m in range(-6, 6) if not stay or all(0 <= k + m < 88 for k in keys)] if key_shift else [0]
        shift = shifts[int(key * len(shifts))]
        known_roll = np.zeros((0, 88), np.uint8) if sounding is None or sounding[n] is None else sounding[n]
        rows.append(shifted(struck, shift))
        sounds.append(shifted((padded(known_roll, s - 1, s + steps) > 0).astype(np.uint8), shift))
        starts.append(s)
        masks.append([t < len(rolls[n]) for t in range(s, s + steps)])
        known.append(NO_END if end < ENDLESS else len(rolls[n]))
    batch = {"roll": np.stack(rows, 1), "start": np.array(starts, np.int64), "mask": np.array(masks).T}
    batch |= {"sounding": np.stack(sounds, 1)} if sounding else {}
    return batch | ({"end": np.array(known, np.int64)} if ends else {})


@pytest.mark.parametrize("stay", [False, True])
@pytest.mark.parametrize("key_shift", [False, True])
@pytest.mark.parametrize("ends, with_sounding", [(False, False), (True, False), (False, True), (True, True)])
@pytest.mark.parametrize("past, steps, hop", [(8, 16, 4), (100, 16, 8), (1, 40, 40)])  # 100: longer than any song
def test_a_batch_is_what_plain_loops_make(past, steps, hop, ends, with_sounding, key_shift, stay):
    """Of songs with velocities, bool ones, short ones, empty ones, one in which nothing is struck, one as wide as the
    keyboard; what sounds is not known in all."""
    rng = np.random.default_rng(1)
    rolls = [(rng.random((T, 88)) < 0.02) * rng.integers(1, 128, (T, 88)) for T in (60, 7, 0, 33, 16)]
    rolls += [
        rolls[0] > 0,
        np.zeros((20, 88), np.uint8),
        np.eye(88, dtype=np.uint8)[::3],
        (rolls[3] > 0).view(np.uint8),
    ]
    for roll in rolls[:4]:
        roll[:, :4] = roll[:, 85:] = 0  # so that with `stay` some shifts are left
    sounding = [None if n % 3 == 1 else (roll > 0) | (rng.random(roll.shape) < 0.1) for n, roll in enumerate(rolls)]
    sounding[3] = 90 * sounding[3].astype(np.uint8)
    case = rolls, past, steps, hop, key_shift, ends, sounding if with_sounding else None, stay
    data, rows = Dataset(*case), [*range(100), 2**40]
    found, expected = (
        data.batch(3, "batch", 9, rows),
        plain_batch(*case, uniforms(3, "batch", 9, rows, (3,), np.float64)),
    )
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        assert found[name].dtype == array.dtype and found[name].flags.c_contiguous
        np.testing.assert_array_equal(found[name], array)


def test_songs_of_0_and_1_are_not_copied():
    """Memory for the songs is taken once."""
    songs = [song(64), song(40)]
    data = Dataset(songs, sounding=[songs[0], None])
    assert all(roll is given for roll, given in zip(data.rolls, songs, strict=True))
    assert data.sounding[0] is songs[0] and data.sounding[1] is None


def test_a_batch_is_a_pure_function_row_by_row():
    data = Dataset([song(512, 1), song(400, 2)])
    whole = data.batch(5, "batch", 9, range(8))
    alone = data.batch(5, "batch", 9, (3,))
    for name, axis in [("roll", 1), ("start", 0), ("mask", 1)]:
        np.testing.assert_array_equal(alone[name], whole[name].take([3], axis))
    for other in [(6, "batch", 9), (5, "other", 9), (5, "batch", 10)]:
        assert (data.batch(*other, range(8))["roll"] != whole["roll"]).any()


def test_velocities_become_ones_and_the_songs_are_not_touched():
    roll = 90 * song(256)
    before = roll.copy()
    batch = Dataset([roll]).batch(0, "batch", 0, range(4))
    assert set(np.unique(batch["roll"])) == {0, 1}
    batch["roll"][:] = 7
    np.testing.assert_array_equal(roll, before)


def test_silent_bars_at_the_start_are_trimmed_so_that_time_starts_with_the_music():
    late = np.concatenate([np.zeros((36, 88), np.uint8), song(252)])
    batch = Dataset([trim(late)], key_shift=False).batch(0, "batch", 0, [0])
    np.testing.assert_array_equal(batch["roll"][128:, 0], late[32:288])
    assert batch["start"][0] == 0 and batch["mask"].all()


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.integers(1, 130), min_size=1, max_size=9),
    st.integers(1, 40),
    st.integers(1, 50),
    st.integers(1, 4),
)
def test_whole_songs_count_every_step_once(lengths, past, chunk, rows):
    songs = [song(T, i) for i, T in enumerate(lengths)]
    found, expected_start = [], 0
    for first, batch in whole_songs(songs, past, chunk, rows):
        (T, B), s = batch["mask"].shape, int(batch["start"][0])
        assert max(B - rows, T - chunk) <= 0 and batch["roll"].shape == (past + T, B, 88)
        assert (batch["start"] == s).all() and (s == 0) == first
        if first:
            found += [[] for _ in range(B)]
            pasts = np.zeros((past, B, 88), np.uint8)
        else:
            assert s == expected_start
        np.testing.assert_array_equal(batch["roll"][:past], pasts)  # what the chunk before ended with
        pasts, expected_start = batch["roll"][T:], s + T
        for b in range(B):
            found[b - B] += list(batch["roll"][past:, b][batch["mask"][:, b]])
        assert not batch["roll"][past:][~batch["mask"]].any()
    assert sorted(len(steps) for steps in found) == sorted(lengths)
    assert sorted(np.array(steps).tobytes() for steps in found) == sorted(roll.tobytes() for roll in songs)


def test_songs_of_similar_length_run_side_by_side():
    lengths = [300, 16, 280, 32]
    groups = [batch["mask"].shape for first, batch in whole_songs([song(T) for T in lengths], 128, 256, 2) if first]
    assert groups == [(32, 2), (256, 2)]


def test_a_split_is_by_song_and_both_sides_have_one():
    for n, share, held_out in [(2, 0.1, 1), (10, 0.1, 1), (30, 0.1, 3), (5, 0.5, 2), (3, 0.99, 2), (3, 0.0, 1)]:
        songs = SongSet([song(16, i) for i in range(n)], [f"{i:02}" for i in range(n)], refused=[("x", "y")])
        train, valid = split(songs, 1, share)
        assert len(valid) == held_out and sorted(train.names + valid.names) == songs.names
        assert not set(train.names) & set(valid.names)
        for part in (train, valid):
            for roll, name in zip(part.rolls, part.names, strict=True):
                assert roll is songs.rolls[int(name)]


def test_a_split_follows_its_seed():
    songs = SongSet([song(16, i) for i in range(40)], [f"{i:02}" for i in range(40)], metre="3/4", held=True)
    held_out = [tuple(split(songs, seed)[1].names) for seed in range(20)]
    assert held_out[3] == tuple(split(songs, 3)[1].names) and len(set(held_out)) > 15
    assert len({name for names in held_out for name in names}) > 25
    assert all((part.metre, part.held) == ("3/4", True) for part in split(songs, 0))


@pytest.mark.parametrize("share", [0.1, 0.3, 0.5, 0.8])
def test_nine_copies_of_one_song_and_another_song_are_learned_and_held_out_in_this_order(share):
    """The other order would learn one song only. Where so much is held out that no other is possible, it is taken."""
    copies, other = song(64), song(64, 1)
    for place in (0, 4, 9):
        rolls = [copies] * place + [other] + [copies] * (9 - place)
        songs = SongSet(rolls, [f"{i}" for i in range(10)])
        for seed in range(50):
            train, valid = split(songs, seed, share)
            assert valid.names == [f"{place}"] and len(train) == 9, seed
    pair = SongSet([song(64), song(64, 1)], ["a", "b"])
    assert {tuple(split(pair, seed)[1].names) for seed in range(50)} == {("a",), ("b",)}
    two = SongSet([song(64)] * 3 + [song(64, 1)] * 2 + [song(64, 2)] * 5, list("aaabbccccc"))
    for seed in range(50):  # every song has more copies than the one that is wanted
        assert split(two, seed)[1].names == ["b", "b"]


def test_one_song_cannot_be_split():
    with pytest.raises(MinigenError, match="one song cannot be both .* add at least a second song"):
        split(SongSet([song(16)], ["a"]), 0)
    with pytest.raises(MinigenError, match="one song in 3 copies cannot be both .* add at least a second song"):
        split(SongSet([song(64), 9 * song(64), song(64)[:48]], ["a", "b", "c"]), 0)
