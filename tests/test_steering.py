"""Steering: what a key, a chord and a melody mean, and that the music does as it was told."""

from itertools import islice

import numpy as np
import pytest
from helpers import fresh, small

from minigen.errors import MinigenError
from minigen.music.steering import CHORDS, SCALES, classes_of, given_steps, satisfied, steer
from minigen.ops import pitch_classes
from minigen.run.sample import play
from minigen.voices import draw, keep_pause_probability

NAMES = ["A", "Bb", "B", "C", "C#", "D", "Eb", "E", "F", "F#", "G", "Ab"]


def named(classes):
    return [NAMES[k] for k in np.flatnonzero(classes)]


def test_keys_and_chords():
    assert named(classes_of("C", SCALES, "key")) == ["A", "B", "C", "D", "E", "F", "G"]
    assert named(classes_of("Am", SCALES, "key")) == ["A", "B", "C", "D", "E", "F", "G", "Ab"]
    assert named(classes_of("G7", CHORDS, "chord")) == ["B", "D", "F", "G"]
    assert (classes_of("F#m7b5", CHORDS, "chord") == classes_of("Gbm7b5", CHORDS, "chord")).all()
    assert (classes_of("Cb", CHORDS, "chord") == classes_of(" B ", CHORDS, "chord")).all()


@pytest.mark.parametrize("wrong", ["", "H", "c", "C|", "Csus9", "Am|X"])
def test_a_chord_that_is_none(wrong):
    with pytest.raises(MinigenError, match="is no chord"):
        steer(32, 5, chords=wrong)


def test_what_cannot_be_done():
    melody = np.zeros((40, 88), np.uint8)
    with pytest.raises(MinigenError, match="no notes"):
        steer(32, 5, melody=melody)
    melody[33, 40] = 1
    with pytest.raises(MinigenError, match="--bars 3"):
        steer(32, 5, melody=melody)
    melody[3, :6] = 1
    with pytest.raises(MinigenError, match="6 different notes at step 3"):
        steer(48, 5, melody=melody)
    with pytest.raises(MinigenError, match="no note of the key"):
        steer(48, 5, key="C", chords="C|F#")  # F#, A#, C#
    with pytest.raises(MinigenError, match="is no key"):
        steer(48, 5, key="C7")


def test_what_a_step_is_given():
    melody = np.zeros((20, 88), np.uint8)
    melody[2, [39, 51, 43]] = 1  # C, the C above it, E
    steps = list(given_steps(steer(32, 3, chords="C|Am", melody=melody), 3))
    assert len(steps) == 32 and not steps[0]["inject"].any() and steps[2]["inject"].sum() == 3
    assert [named(row[:12]) for row in steps[0]["voices.allowed"][:, 0]] == [["C", "E", "G"]] * 3
    assert [named(row[:12]) for row in steps[2]["voices.allowed"][:, 0]] == [["C"], ["E"], ["C", "E", "G"]]
    assert steps[2]["voices.allowed"][:, 0, 12].tolist() == [False, False, True]
    assert named(steps[16]["voices.allowed"][0, 0, :12]) == ["A", "C", "E"]


def test_the_pause_keeps_its_chance():
    """Exactly, also where all that may sound is unlikely; a voice that may not pause plays."""
    z = np.array([0.5, -1.0, 2.0, -60.0, 0.3])
    p = np.exp(z) / np.exp(z).sum()
    for some in ([0, 1], [3], [0, 1, 2, 3], []):
        allowed = np.isin(np.arange(5), [*some, 4])
        chances = np.exp(keep_pause_probability(z, allowed)) * allowed
        chances /= chances.sum()
        assert chances[4] == pytest.approx(p[4] if some else 1)
        assert chances[some] == pytest.approx((1 - p[4]) * np.exp(z[some]) / np.exp(z[some]).sum())
    must = np.arange(5) == 3
    assert draw(keep_pause_probability(z, must), np.array(0.99), must) == 3


@pytest.mark.parametrize("name", ["feedback", "final", "pause-loss", "history"])
def test_the_music_does_as_it_was_told(name):
    """Every rung on 12 classes, whether its voices hear each other or not."""
    trained, rng = fresh(small(name, keys=12), seed=0), np.random.default_rng(0)
    V = trained.model.config.voices
    melody = (rng.random((48, 88)) < 0.01).astype(np.uint8)
    asked = steer(64, V, key="Am", chords="Am|Dm|E7", melody=melody)
    music = islice(play(trained, 1, extra=given_steps(asked, V)), 64)
    roll = np.array([keys for keys, _ in music])
    assert len(roll) == 64
    own = np.where(asked.melody > 0, 0, roll)
    for t in range(64):
        classes, sung = pitch_classes(own[t]) > 0, pitch_classes(asked.melody[t]) > 0
        assert (classes <= asked.classes[t]).all(), t
        assert not (classes & sung).any(), t  # a class of the melody sounds in the melody's octave alone
    found = satisfied(roll, asked)
    assert found["sounding steps within the key or chord"] == found["notes of the melody that sound"] == 1
    assert 0 < found["of its steps with other notes beside them"] <= 1


def test_how_far_it_was_satisfied():
    roll = np.zeros((32, 88), np.uint8)
    roll[0, [39, 43]] = roll[8, 46] = 1  # C and E, then G: the first bar sounds its whole chord
    roll[16, [36, 39]] = roll[20, 44] = 1  # A and C, then F, which is not in the second bar's
    found = satisfied(roll, steer(32, 5, chords="C|Am"))
    assert found == {"sounding steps within the key or chord": 3 / 4, "bars that sound their whole chord": 0.5}
    early = satisfied(roll[:20], steer(32, 5, chords="C|Am", melody=np.eye(32, 88, dtype=np.uint8)))
    assert early["bars that sound their whole chord"] == 0.5 and "notes of the melody that sound" in early
