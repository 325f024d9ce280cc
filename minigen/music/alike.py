"""Which songs are one song: copies that are trimmed, louder, transposed, or cut."""

import hashlib
from collections import Counter
from collections.abc import Iterable

import numpy as np

WINDOW = 16  # struck steps that are compared at once
OWNERS = 16  # songs that are remembered for a window
SHARE = 0.5  # of the windows of the shorter song, in common with the other one
MIXED = np.random.default_rng(0).integers(1, 2**63, 2 * 88 + WINDOW, np.uint64) | np.uint64(1)


def notes_of(roll) -> bytes:
    """What is struck in a roll (T, 88), wherever it begins and however loud: equal for copies of a song in one key."""
    rows = np.flatnonzero((roll > 0).any(axis=1))
    return np.packbits(roll[rows[0] : rows[-1] + 1] > 0, axis=1).tobytes() if len(rows) else b""


def digest_of(roll) -> str:
    """A short name for the notes of a roll (T, 88), by which a checkpoint knows what it learned."""
    return hashlib.sha256(notes_of(roll)).hexdigest()[:12]


def windows(roll) -> np.ndarray:
    """A number for each run of 16 struck steps of a roll (T, 88), each number once: intervals and distances count, the
    key and the place do not."""
    row, key = np.nonzero(roll)
    steps, row = np.unique(row, return_inverse=True)
    if not len(steps):
        return np.zeros(0, np.uint64)
    lowest = key[np.searchsorted(row, np.arange(len(steps)))]
    before = np.concatenate([lowest[:1], lowest[:-1]])
    chords = np.zeros(len(steps), np.uint64)
    np.add.at(chords, row, MIXED[key - before[row] + 88])
    chords ^= np.diff(steps, prepend=steps[0]).astype(np.uint64) * MIXED[0]
    n = min(WINDOW, len(steps))
    return np.unique(sum(chords[i : len(chords) - n + 1 + i] * MIXED[-1 - i] for i in range(n)))


def groups(rolls: Iterable) -> list[int]:
    """For each song (T, 88) the number of the first one of its group. Two songs are in a group if they share half of
    the shorter one's windows, or if each is with a third one."""
    first, sizes, owners = [], [], {}

    def leader(song: int) -> int:
        while first[song] != song:
            song = first[song]
        return song

    for i, roll in enumerate(rolls):
        own = windows(roll).tolist()
        shared = Counter(song for window in own for song in owners.get(window, ()))
        first.append(i)
        sizes.append(len(own))
        for song, count in shared.items():
            if count >= SHARE * min(len(own), sizes[song]):
                low, high = sorted((leader(song), leader(i)))
                first[high] = low
        for window in own:
            songs = owners.setdefault(window, [])
            if len(songs) < OWNERS:
                songs.append(i)
    return [leader(song) for song in range(len(first))]


def repeats(rolls: Iterable) -> list[tuple[str, int] | None]:
    """For each song (T, 88): None, or ("same", n) where it has the notes of an earlier song n, perhaps later or louder,
    or ("like", n) where it is song n transposed or in part."""
    found, known = [], {}

    def each():
        for i, roll in enumerate(rolls):
            n = known.setdefault(notes_of(roll), i)
            found.append(("same", n) if n != i else None)
            yield roll

    like = groups(each())
    return [same or (("like", like[i]) if like[i] != i else None) for i, same in enumerate(found)]
