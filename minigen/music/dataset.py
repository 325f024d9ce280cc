"""Songs to batches: fragments with their real past for training, whole songs for validation, a split by song.

A batch is a dict of
    roll    (P + T, B, 88) uint8 of 0/1: P rows of past, then T predicted steps; zeros before a song's beginning
    start   (B,) int64: the absolute time, in the song, of the first predicted step
    mask    (T, B) bool: the predictions that count; padding does not
and, where they are asked for,
    sounding (T + 1, B, 88) uint8 of 0/1: what sounds, from the step before the first predicted one on
    end     (B,) int64: the time of the song's end, or NO_END
The input of predicted row r is row r-1, and lag l of it is row r-l.
"""

import numpy as np

from minigen.draws import uniforms
from minigen.errors import MinigenError
from minigen.music.alike import groups
from minigen.music.songset import SongSet
from minigen.ops import NO_END

ENDLESS = 0.25  # of the fragments are not told where their song ends


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


def trimmed(songs: SongSet, bar: int | None = 16) -> tuple[list, list]:
    """The songs without the silent bars at their start (bar None: as they are) -> rolls, and what sounds in each (None
    where that is not known)."""
    rolls = [trim(roll, bar) for roll in songs.rolls] if bar else songs.rolls
    sounding = [songs.sounding(i) for i in range(len(rolls))]
    return rolls, [s if s is None else s[-len(roll) :] for roll, s in zip(rolls, sounding, strict=True)]


class Dataset:
    """Fragments of `steps` predicted steps at s = 0, hop, 2 hop, ... while s + steps <= T; a shorter song gives one.

    `past` is the largest lag. `key_shift` moves every fragment of a batch by -6..+5 semitones, its past included; keys
    that leave the keyboard are dropped, or with `stay` only shifts are drawn that keep them all.
    `ends`: three fragments in four are told where their song ends. `sounding`: what sounds in each song, if that is to
    be learned.
    """

    def __init__(self, rolls, past=128, steps=256, hop=32, key_shift=True, ends=False, sounding=None, stay=False):
        self.rolls, self.sounding = [_ones(roll) for roll in rolls], sounding and [_ones(roll) for roll in sounding]
        self.past, self.steps, self.key_shift, self.ends, self.stay = past, steps, key_shift, ends, stay
        self.fragments = [
            (song, s) for song, roll in enumerate(self.rolls) for s in range(0, max(len(roll) - steps, 0) + 1, hop)
        ]
        self.shifts = np.array([self._shifts(self.rolls[song], s) for song, s in self.fragments]).reshape(-1, 2)

    @classmethod
    def of(cls, rolls, config, sounding=None) -> "Dataset":
        """The fragments on which a rung with this configuration trains."""
        sounding = sounding if config.sustain else None
        return cls(rolls, config.past, config.fragment, config.hop, config.key_shift, config.end_bits > 0, sounding,
                   config.keys == 88)  # fmt: skip

    def __len__(self) -> int:
        return len(self.fragments)

    def batch(self, seed: int, purpose: str, step: int, rows) -> dict:
        """Rows `rows` of batch number `step`: fragments drawn uniformly, with replacement, and shifts of key.

        A pure function of its arguments, row by row: two processes that make a half each make the same batch.
        """
        u = uniforms(seed, purpose, step, rows, (3,), np.float64)
        chosen = (u[:, 0] * len(self)).astype(int)
        drawn = [self.fragments[i] for i in chosen]
        places = [(self.rolls[song], s) for song, s in drawn]
        low, high = self.shifts[chosen].T
        shifts = low + (u[:, 1] * (high - low + 1)).astype(int)
        sounding = self.sounding and [self.sounding[song] for song, _ in drawn]
        batch = _cut(places, self.past, self.steps, shifts, sounding)
        if self.ends:
            lengths = np.array([len(roll) for roll, _ in places], np.int64)
            batch["end"] = np.where(u[:, 2] < ENDLESS, NO_END, lengths)
        return batch

    def _shifts(self, roll, s: int) -> tuple[int, int]:
        """The lowest and the highest shift of key that the fragment at step s is given: -6 and 5 semitones; with `stay`
        those that keep every note of it, and of its past, on the keyboard."""
        if not self.key_shift:
            return 0, 0
        keys = np.flatnonzero(roll[max(s - self.past, 0) : s + self.steps].any(axis=0)) if self.stay else ()
        return (max(-6, -keys[0]), min(5, 87 - keys[-1])) if len(keys) else (-6, 5)


SIDE_BY_SIDE = 64  # songs that are judged at a time, at most


def whole_songs(rolls, past: int, chunk: int = 256, rows: int = SIDE_BY_SIDE, sounding=None):
    """Yield (first, batch) so that every step of every song counts exactly once; no end is known.

    Songs of similar length run side by side, at most `rows` of them, `chunk` steps at a time. `first` says that states
    start at zero; a batch that is not first goes on from the states of the one before it.
    """
    by_length = sorted(range(len(rolls)), key=lambda song: len(rolls[song]))
    for i in range(0, len(by_length), rows):
        group = by_length[i : i + rows]
        songs, sound = [_ones(rolls[song]) for song in group], sounding and [_ones(sounding[song]) for song in group]
        T = len(songs[-1])
        for s in range(0, T, chunk):
            places = [(song, s) for song in songs]
            yield s == 0, _cut(places, past, min(chunk, T - s), [0] * len(group), sound)


def _ones(roll):
    """The roll with 1 for whatever is over 0; itself, not a copy, where that is so already, and None for None."""
    done = roll is None or (roll.dtype == np.uint8 and roll.max(initial=0) <= 1)
    return roll if done else (roll > 0).view(np.uint8)


def _cut(places, past: int, steps: int, shifts, sounding=None) -> dict:
    """The batch whose column b begins to predict at places[b] = (roll, s), its keys shifts[b] higher."""
    start = np.array([s for _, s in places], np.int64)
    lengths = np.array([len(roll) for roll, _ in places])
    rows = _rows([roll for roll, _ in places], start - past, past + steps, shifts)
    batch = {"roll": rows, "start": start, "mask": start + np.arange(steps)[:, None] < lengths}
    return batch | ({"sounding": _rows(sounding, start - 1, 1 + steps, shifts)} if sounding else {})


def _rows(rolls, first, n: int, shifts) -> np.ndarray:
    """Rows first[b] to first[b] + n - 1 of each roll of 0/1, its keys shifts[b] higher -> (n, B, 88); where there is
    none, or a key leaves the keyboard, 0. Whole rows are copied: a gather of them all at once takes longer."""
    out = np.zeros((n, len(rolls), 88), np.uint8)
    for b, (roll, at, shift) in enumerate(zip(rolls, first, shifts, strict=True)):
        begin, end = max(at, 0), min(at + n, 0 if roll is None else len(roll))
        low, high = max(shift, 0), 88 + min(shift, 0)
        if begin < end:
            out[begin - at : end - at, b, low:high] = roll[begin:end, low - shift : high - shift]
    return out
