"""The longest copy from other songs, in any transposition. Knows no network."""

import hashlib

import numpy as np

BASE = np.uint64(0x9E3779B97F4A7C15)  # odd, so that it has an inverse modulo 2^64
INVERSE = np.uint64(pow(int(BASE), -1, 1 << 64))


def _powers(base, n: int):
    return np.cumprod(np.concatenate([np.ones(1, np.uint64), np.full(n, base)]), dtype=np.uint64)


class Events:
    """A song as its struck steps: each a number for its chord, up to transposition, and one that says too how many
    steps and how many semitones it lies from the one before."""

    def __init__(self, roll):
        struck = np.asarray(roll) > 0
        self.times = np.flatnonzero(struck.any(axis=1))
        lowest = struck[self.times].argmax(axis=1)
        chords = [np.flatnonzero(row) - low for row, low in zip(struck[self.times], lowest, strict=True)]
        moves = zip(np.diff(self.times, prepend=0), np.diff(lowest, prepend=0), strict=True)
        self.chords = np.array([self.number(chord) for chord in chords], np.uint64)
        self.moved = np.array(
            [self.number(np.append(chord, move)) for chord, move in zip(chords, moves, strict=True)], np.uint64
        )
        self.sums = np.concatenate([np.zeros(1, np.uint64), np.cumsum(self.moved * _powers(BASE, len(chords))[:-1])])
        self.back = _powers(INVERSE, len(chords))

    @staticmethod
    def number(values) -> int:
        return int.from_bytes(hashlib.blake2b(np.asarray(values, np.int32).tobytes(), digest_size=8).digest(), "little")

    def windows(self, n: int) -> np.ndarray:
        """A number for each run of n struck steps, the same for the same music in any key: a polynomial modulo 2^64."""
        starts = np.arange(max(len(self.times) - n + 1, 0))
        inside = (self.sums[starts + n] - self.sums[starts]) * self.back[starts]
        return inside - self.moved[starts] + self.chords[starts]  # where the first one comes from does not matter


class Library:
    """Songs (T, 88) in which copies are looked for."""

    def __init__(self, rolls):
        self.songs, self.known = [Events(roll) for roll in rolls], {}

    def windows(self, n: int) -> np.ndarray:
        if n not in self.known:
            self.known[n] = np.unique(np.concatenate([np.zeros(0, np.uint64), *(e.windows(n) for e in self.songs)]))
        return self.known[n]

    def longest_copy(self, roll) -> tuple[int, int | None]:
        """The run of struck steps that stands in one of the songs, in any transposition, and is the longest in steps,
        from its first strike to its last -> how long, and which song it is (0 and None: nothing)."""
        piece, best, song, n = Events(roll), 0, None, 1
        starts = np.arange(len(piece.times))
        while len(starts := starts[starts + n <= len(piece.times)]):
            own = piece.windows(n)
            starts = starts[np.isin(own[starts], self.windows(n))]  # only what begins a copy can begin a longer one
            steps = piece.times[starts + n - 1] - piece.times[starts] + 1
            if len(starts) and steps.max() > best:
                best, window = int(steps.max()), own[starts[steps.argmax()]]
                song = next(i for i, events in enumerate(self.songs) if window in events.windows(n))
            n += 1
        return best, song
