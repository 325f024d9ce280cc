"""Steering: what may sound, by a key, by one chord per bar, or around a melody that is given. Knows no network.

The voices draw among the classes that may sound, and pause (or stop) as often as they would have. Where a melody
strikes, its classes are played by the first voices, so that the later ones read and harmonise them (those of `feedback`
do not read each other's notes), and its keys sound in their own octaves.

Ordered voices go down from the melody, so of a melody its top line is used: where it strikes it is what voice 1 plays,
and while it sounds no key is played above it, or at it: what such keys would have had is shared by all that is left.
"""

import re
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from minigen.errors import MinigenError
from minigen.ops import of_class, pitch_classes

ROOTS = {"A": 0, "B": 2, "C": 3, "D": 5, "E": 7, "F": 8, "G": 10}  # class 0 is A
SCALES = {"": (0, 2, 4, 5, 7, 9, 11), "m": (0, 2, 3, 5, 7, 8, 10, 11)}  # minor with both sevenths
CHORDS = {
    "": (0, 4, 7),
    "m": (0, 3, 7),
    "7": (0, 4, 7, 10),
    "maj7": (0, 4, 7, 11),
    "m7": (0, 3, 7, 10),
    "6": (0, 4, 7, 9),
    "m6": (0, 3, 7, 9),
    "dim": (0, 3, 6),
    "dim7": (0, 3, 6, 9),
    "m7b5": (0, 3, 6, 10),
    "aug": (0, 4, 8),
    "sus2": (0, 2, 7),
    "sus4": (0, 5, 7),
}


class Steering(NamedTuple):
    """What may sound at each new step: classes (T, 12) bool; melody (T, 88) of 0/1; chords (T, 12) bool or None; of
    ordered voices the ceiling (T,), the lowest key that may not, or None."""

    classes: np.ndarray
    melody: np.ndarray
    chords: np.ndarray | None
    ceiling: np.ndarray | None = None
    held: np.ndarray | None = None  # (T, 88) bool: the notes of the melody, as long as they sound


def classes_of(name: str, kinds: dict, what: str) -> np.ndarray:
    """The pitch classes of a key or chord such as "F#m" -> (12,) bool. Raises MinigenError for an unknown one."""
    root, accidental, kind = re.fullmatch(r"([A-G]?)([#b]?)(.*)", name.strip(), re.S).groups()
    if not root or kind not in kinds:
        known = ", ".join("C" + kind for kind in kinds)
        raise MinigenError(f"{name!r} is no {what}: name one as {known}, on any of C C# Db D ... B")
    classes = np.zeros(12, bool)
    classes[(ROOTS[root] + {"#": 1, "b": -1, "": 0}[accidental] + np.array(kinds[kind])) % 12] = True
    return classes


def top_line(roll, sounding) -> tuple[np.ndarray, np.ndarray]:
    """The struck keys that are the highest sounding: roll and sounding (T, 88) -> the line (T, 88) of 0/1, and the
    ceiling (T,), its key as long as that sounds after its strike, else 88."""
    struck, sounds = np.asarray(roll) > 0, (np.asarray(sounding) > 0) | (np.asarray(roll) > 0)
    top = 87 - sounds[:, ::-1].argmax(axis=1)
    line, ceiling, key = np.zeros(struck.shape, np.uint8), np.full(len(struck), 88), 88
    for t in range(len(struck)):
        if sounds[t].any() and struck[t, top[t]]:
            key = top[t]
            line[t, key] = 1
        elif key < 88 and not sounds[t, key]:
            key = 88
        ceiling[t] = 88 if line[t].any() else key
    return line, ceiling


def held_notes(struck, sounding) -> np.ndarray:
    """The notes struck, as long as they sound: struck and sounding (T, 88) -> (T, 88) bool."""
    held, rows = np.zeros(88, bool), []
    for strikes, sounds in zip(np.asarray(struck) > 0, np.asarray(sounding) > 0, strict=True):
        held = strikes | (held & sounds)
        rows.append(held)
    return np.array(rows).reshape(-1, 88)


def steer(
    steps: int, voices: int, key=None, chords=None, melody=None, steps_a_bar: int = 16, ceiling=None, sounding=None
) -> Steering:
    """key "Am", chords "C|Am|F|G7" (one chord per bar, again and again), melody and what sounds in it (n, 88) -> for so
    many steps. Of ordered voices melody and ceiling are a top line.

    Raises MinigenError for a key or chord that is unknown, a melody that is empty, longer than the piece, or has more
    classes at once than there are voices.
    """
    classes, played, by_bar = np.ones((steps, 12), bool), np.zeros((steps, 88), np.uint8), None
    if key is not None:
        classes &= classes_of(key, SCALES, "key")
    if chords is not None:
        each = np.stack([classes_of(chord, CHORDS, "chord") for chord in chords.split("|")])
        by_bar = each[np.arange(steps) // steps_a_bar % len(each)]
        classes &= by_bar
        if not classes.any(axis=1).all():
            raise MinigenError(f"a chord of {chords!r} has no note of the key {key}: leave one of the two out")
    if melody is not None:
        struck = np.flatnonzero((melody > 0).any(axis=1))
        if not len(struck):
            raise MinigenError("the melody has no notes: choose another file")
        if struck[-1] >= steps:
            bars = struck[-1] // steps_a_bar + 1
            raise MinigenError(f"the melody is longer than the piece: ask for --bars {bars}")
        played[: struck[-1] + 1] = melody[: struck[-1] + 1] > 0
        sizes = pitch_classes(played).sum(axis=1)
        if sizes.max() > voices:
            raise MinigenError(
                f"the melody has {sizes.max()} different notes at step {sizes.argmax()} and there are {voices} voices: "
                "choose a thinner one"
            )
    held = None
    if melody is not None and sounding is not None:
        held = held_notes(played, np.concatenate([sounding, np.zeros((steps, 88))])[:steps])
    if ceiling is not None:
        ceiling = np.append(ceiling, np.full(steps, 88))[:steps]
    return Steering(classes, played, by_bar, ceiling, held)


def given_steps(steering: Steering, voices: int) -> Iterator[dict]:
    """For each step what a rung is given beside its uniforms (minigen/draws.py): {"voices.allowed": (V, 1, 13),
    "inject": (1, 88)}; ordered voices {"voices.allowed": (V, 1, 89), "inject": (1, 88), "ceiling": (1,)}."""
    if steering.ceiling is not None:
        for classes, melody, ceiling in zip(steering.classes, steering.melody, steering.ceiling, strict=True):
            allowed = np.tile(np.append(of_class(classes), True), (voices, 1, 1))
            yield {"voices.allowed": allowed, "inject": melody[None], "ceiling": ceiling[None]}
        return
    for classes, melody in zip(steering.classes, steering.melody, strict=True):
        allowed = np.tile(np.append(classes, True), (voices, 1, 1))
        for v, of_melody in enumerate(np.flatnonzero(pitch_classes(melody))):
            allowed[v, 0] = np.arange(13) == of_melody
        yield {"voices.allowed": allowed, "inject": melody[None]}


def satisfied(roll, steering: Steering, steps_a_bar: int = 16) -> dict[str, float]:
    """How far a piece (T, 88), its new steps, does what was asked: shares by name, of what sounds."""
    classes, melody = steering.classes[: len(roll)], steering.melody[: len(roll)]  # a piece may have ended early
    own, found = (roll > 0) & (melody == 0), {}
    if not steering.classes.all() and own.any():
        fits = pitch_classes(own.astype(np.uint8)) <= classes
        found["sounding steps within the key or chord"] = float(fits.all(axis=1)[own.any(axis=1)].mean())
    if steering.chords is not None:
        bars = range(0, len(roll), steps_a_bar)
        sounding = np.array([pitch_classes(roll[bar : bar + steps_a_bar] > 0).any(axis=0) for bar in bars])
        asked = steering.chords[: len(roll) : steps_a_bar]
        found["bars that sound their whole chord"] = float((sounding >= asked).all(axis=1).mean())
    if melody.any():
        found["notes of the melody that sound"] = float((roll > 0)[melody > 0].mean())
        found["of its steps with other notes beside them"] = float(own[melody.any(axis=1)].any(axis=1).mean())
    return found
