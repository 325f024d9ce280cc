"""The toy worlds: what is promised to come back comes back, and what is not does not."""

import numpy as np
import pytest

from minigen.music.alike import groups
from minigen.music.corpus import find_songs
from minigen.music.toys import KINDS, toy, toy_songs


def songs(kind: str) -> list[np.ndarray]:
    return [toy(kind, np.random.default_rng(seed)) for seed in range(8)]


def test_a_canon_is_a_melody_and_itself_an_octave_lower_32_steps_later():
    for roll in songs("canon"):
        alone = roll[:32]  # the second voice is silent
        assert alone.any() and (roll[32:64] >= np.roll(alone, -12, axis=1)).all()


def test_the_bass_of_an_ostinato_comes_back_after_a_bar_and_its_melody_does_not():
    for roll in songs("ostinato"):
        lowest = roll.any(axis=0).nonzero()[0][0]  # a key of the bass alone
        steps = roll[:16, lowest].nonzero()[0]
        assert len(steps) and roll[:, lowest].nonzero()[0].tolist() == [16 * n + t for n in range(16) for t in steps]
        assert (roll[:-16] != roll[16:]).any()


def test_alberti_is_a_broken_chord_in_eighths():
    for roll in songs("alberti"):
        assert roll.any(axis=1)[::2].all() and not roll[1::2].any()
        lows = [row.nonzero()[0][0] for row in roll[::2]]
        for bar in range(16):
            low, high, middle, again = lows[8 * bar : 8 * bar + 4]
            assert low < middle < high == again
            assert lows[8 * bar + 4 : 8 * bar + 8] == [low, high, middle, high]


def test_aaba_is_a_a_b_a():
    for roll in songs("aaba"):
        first, second, third, last = roll.reshape(4, 64, 88)
        assert (first == second).all() and (first == last).all() and (first != third).any()


@pytest.mark.parametrize("kind", KINDS)
def test_a_toy_is_16_bars_of_its_seed(kind):
    one, again, other = (toy(kind, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert one.shape == (256, 88) and (one == again).all() and (one != other).any()


def test_the_corpus_holds_as_many_of_each_and_no_song_twice():
    found, name = find_songs([], "toys")
    assert name == "toys" and len(found) == 48 == len(set(groups(found.rolls)))
    assert [sum(of.startswith(kind) for of in found.names) for kind in KINDS] == [12] * 4
    assert all((a == b).all() for a, b in zip(found.rolls, toy_songs().rolls, strict=True))
