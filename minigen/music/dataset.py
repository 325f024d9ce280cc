"""Songs to batches: fragments with their real past for training, whole songs for validation, a split by song.

A batch is a dict of
    roll    (P + T, B, 88) uint8 of 0/1: P rows of past, then T predicted steps; zeros before a song's beginning
    start   (B,) int64: the absolute time, in the song, of the first predicted step
    mask    (T, B) bool: the predictions that count; padding does not
The input of predicted row r is row r-1, and lag l of it is row r-l.
"""

import numpy as np

from minigen.draws import uniforms
from minigen.errors import MinigenError
from minigen.music.alike import groups
from minigen.music.songset import SongSet


def trim(roll: np.ndarray, bar: int = 16) -> np.ndarray:
    """The roll without the whole silent bars at its start, so that an upbeat keeps its place in the bar."""
    first = int((roll > 0).any(axis=1).argmax())  # 0 also where nothing is ever struck
    return roll[first // bar * bar :]


def opening(roll: np.ndarray, bars: int, bar: int = 16) -> np.ndarray:
    """The first bars of a song, trimmed. A first bar in whose first half nothing is struck is an upbeat, and is counted
    with the bar after it."""
    roll = trim(roll, bar)
    upbeat = not (roll[: max(1, bar // 2)] > 0).any()
    return roll[: (bars + upbeat) * bar]


def split(songs: SongSet, seed: int, valid: float = 0.1) -> tuple[SongSet, SongSet]:
    """(train, valid) by song, never by fragment: a share `valid` of the songs, and at least one song each. Songs that
    are one song (minigen/music/alike.py) stay together, on the side of the one that is drawn first.

    Raises MinigenError where there is one song only.
    """
    n, alike = len(songs), np.array(groups(songs.rolls))
    if len(set(alike.tolist())) < 2:
        what = "one song" if n < 2 else f"one song in {n} copies"
        raise MinigenError(f"{what} cannot be both learned and held out: add at least a second song")
    room, held_out = min(max(1, round(valid * n)), n - 1), []
    order = uniforms(seed, "split", 0, range(n), (1,), np.float64)[:, 0].argsort(kind="stable")
    for song in order:
        copies = np.flatnonzero(alike == alike[song]).tolist()
        if alike[song] != alike[order[-1]] and song not in held_out and len(held_out) + len(copies) <= room:
            held_out += copies
    if not held_out:  # every group is larger than that
        numbers, sizes = np.unique(alike, return_counts=True)
        held_out = np.flatnonzero(alike == numbers[sizes.argmin()]).tolist()
    return songs.take(sorted(set(range(n)) - set(held_out))), songs.take(sorted(held_out))


class Dataset:
    """Fragments of `steps` predicted steps at s = 0, hop, 2 hop, ... while s + steps <= T; a shorter song gives one.

    `past` is the largest lag. `key_shift` moves every fragment of a batch by up to half an octave, its past included.
    """

    def __init__(self, rolls, past=128, steps=256, hop=32, key_shift=True):
        self.rolls = list(rolls)
        self.past, self.steps, self.key_shift = past, steps, key_shift
        self.fragments = [
            (song, s) for song, roll in enumerate(self.rolls) for s in range(0, max(len(roll) - steps, 0) + 1, hop)
        ]

    @classmethod
    def of(cls, rolls, config) -> "Dataset":
        """The fragments on which a rung with this configuration trains."""
        return cls(rolls, config.past, config.fragment, config.hop, config.key_shift)

    def __len__(self) -> int:
        return len(self.fragments)

    def batch(self, seed: int, purpose: str, step: int, rows) -> dict:
        """Rows `rows` of batch number `step`: fragments drawn uniformly, with replacement, and shifts of key.

        A pure function of its arguments, row by row: two processes that make a half each make the same batch.
        """
        u = uniforms(seed, purpose, step, rows, (2,), np.float64)
        drawn = [self.fragments[i] for i in (u[:, 0] * len(self)).astype(int)]
        places = [(self.rolls[song], s) for song, s in drawn]
        shifts = [self.shift(*place, x) if self.key_shift else 0 for place, x in zip(places, u[:, 1], strict=True)]
        return _cut(places, self.past, self.steps, shifts)

    def shift(self, roll, s: int, u: float) -> int:
        """A shift of key of -6..+5 semitones, drawn with u among those that keep every note of the fragment at step s,
        and of its past, on the keyboard."""
        keys = np.flatnonzero(roll[max(s - self.past, 0) : s + self.steps].any(axis=0))
        low, high = (max(-6, -keys[0]), min(5, 87 - keys[-1])) if len(keys) else (-6, 5)
        return low + int(u * (high - low + 1))


def whole_songs(rolls, past: int, chunk: int = 256, rows: int = 64):
    """Yield (first, batch) so that every step of every song counts exactly once.

    Songs of similar length run side by side, at most `rows` of them, `chunk` steps at a time. `first` says that states
    start at zero; a batch that is not first goes on from the states of the one before it.
    """
    by_length = sorted(rolls, key=len)
    for i in range(0, len(by_length), rows):
        group = by_length[i : i + rows]
        T = len(group[-1])
        for s in range(0, T, chunk):
            yield s == 0, _cut([(roll, s) for roll in group], past, min(chunk, T - s), [0] * len(group))


def _cut(places, past: int, steps: int, shifts) -> dict:
    """The batch whose column b begins to predict at places[b] = (roll, s), its keys shifts[b] higher."""
    B = len(places)
    out = np.zeros((past + steps, B, 88), np.uint8)
    for b, ((roll, s), shift) in enumerate(zip(places, shifts, strict=True)):
        begin, end = max(s - past, 0), min(s + steps, len(roll))
        low, high = max(shift, 0), 88 + min(shift, 0)  # keys that leave the keyboard are dropped
        at = past - s
        if begin < end:
            out[begin + at : end + at, b, low:high] = roll[begin:end, low - shift : high - shift] > 0
    start = np.array([s for _, s in places], np.int64)
    lengths = np.array([len(roll) for roll, _ in places])
    return {"roll": out, "start": start, "mask": start + np.arange(steps)[:, None] < lengths}
