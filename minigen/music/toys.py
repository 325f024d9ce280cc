"""Toy worlds: songs made by a seeded generator, whose repeats are known. For lessons, and for claims about repeats.

ostinato   a bass of one bar, again and again (it comes back after 16 steps), under a melody that does not come back
canon      a melody, and itself an octave lower 32 steps later
alberti    broken chords, one chord per bar, under a melody of their notes
aaba       phrases of four bars: A A B A (A comes back after 64 steps, and after 128)
"""

import numpy as np

from minigen.music.songset import SongSet

KINDS = ("ostinato", "canon", "alberti", "aaba")
BARS, BAR, EACH = 16, 16, 12
SCALE = np.array([0, 2, 4, 5, 7, 9, 11])  # major, above the tonic
MIDDLE_C = 39
CHORDS = ((0, 2, 4), (3, 5, 7), (4, 6, 8), (5, 7, 9))  # I IV V vi, degrees of the scale


def pitch(degree, tonic: int):
    """The key of a degree of the major scale, 0 the tonic, 7 its octave."""
    return tonic + 12 * (np.asarray(degree) // 7) + SCALE[np.asarray(degree) % 7]


def melody(rng, steps: int, low: int = 4, high: int = 12) -> list[tuple[int, int]]:
    """(step, degree): a random walk by up to two degrees, in quarters and eighths."""
    notes, t, degree = [], 0, int(rng.integers(low, high + 1))
    while t < steps:
        notes.append((t, degree))
        degree = int(np.clip(degree + rng.integers(-2, 3), low, high))
        t += int(rng.choice([2, 4]))
    return notes


def toy(kind: str, rng) -> np.ndarray:
    """One song of a kind, 16 bars (T, 88) of 0/1, in a key of its own."""
    roll, tonic = np.zeros((BARS * BAR, 88), np.uint8), MIDDLE_C + int(rng.integers(-6, 6))

    def strike(notes, begin: int = 0, octave: int = 0):
        for t, degree in notes:
            if begin + t < len(roll):
                roll[begin + t, pitch(degree + 7 * octave, tonic)] = 1

    if kind == "canon":
        voice = melody(rng, len(roll))
        strike(voice)
        strike(voice, 32, -1)
    elif kind == "ostinato":
        bass = [(t, int(rng.integers(0, 7))) for t in sorted(rng.choice(range(0, BAR, 2), 5, replace=False))]
        strike(melody(rng, len(roll)))
        for bar in range(BARS):
            strike(bass, bar * BAR, -2)
    elif kind == "alberti":
        for bar in range(BARS):
            low, middle, high = CHORDS[int(rng.integers(len(CHORDS)))]
            strike([(2 * i, degree) for i, degree in enumerate((low, high, middle, high) * 2)], bar * BAR, -1)
            strike([(t, int(rng.choice((low, middle, high)))) for t in (0, 4, 8, 12)], bar * BAR, 1)
    else:
        phrases = {name: (melody(rng, 4 * BAR), rng.integers(0, 5, 8).tolist()) for name in "AB"}
        for n, name in enumerate("AABA"):
            tune, bass = phrases[name]
            strike(tune, n * 4 * BAR)
            strike([(8 * i, degree) for i, degree in enumerate(bass)], n * 4 * BAR, -2)
    return roll


def toy_songs(each: int = EACH, seed: int = 0) -> SongSet:
    """So many songs of each kind, named canon-00, canon-01, ..."""
    songs = SongSet([], [])
    for n, kind in enumerate(KINDS):
        for i in range(each):
            songs.add(f"{kind}-{i:02}", toy(kind, np.random.default_rng([seed, n, i])))
    return songs
