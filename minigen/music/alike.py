"""Which songs are one song: copies that are trimmed, louder, transposed, or cut."""

from collections import Counter
from collections.abc import Iterator

import numpy as np

WINDOW = 16  # struck steps that are compared at once
SHARE = 0.5  # of the windows of the shorter song, in common with the other one
MIXED = np.random.default_rng(0).integers(1, 2**63, 2 * 88 + WINDOW, np.uint64) | np.uint64(1)


def notes_of(roll) -> bytes:
    """What is struck, wherever it begins and however loud: equal for copies of one song in one key."""
    rows = np.flatnonzero((roll > 0).any(axis=1))
    return np.packbits(roll[rows[0] : rows[-1] + 1] > 0, axis=1).tobytes() if len(rows) else b""


def windows(roll) -> np.ndarray:
    """A number for each run of 16 struck steps: intervals and distances count, the key and the place do not."""
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


def groups(rolls) -> Iterator[int]:
    """For each song the number of the first that shares half of the shorter one's windows with it, or its own."""
    sizes, owners = [], {}
    for i, roll in enumerate(rolls):
        own = windows(roll)
        shared = Counter(leader for window in own.tolist() for leader in owners.get(window, ()))
        sizes.append(len(own))
        shares = {leader: count / min(len(own), sizes[leader]) for leader, count in shared.items()}
        likely = max(shares, key=shares.get, default=i)
        leader = likely if shares.get(likely, 0) >= SHARE else i
        for window in own.tolist():
            known = owners.setdefault(window, [])
            if leader not in known:
                known.append(leader)
        yield leader
