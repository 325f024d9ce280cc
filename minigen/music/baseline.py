"""What a model must beat: the chance of each cell, counted, and copies of the steps before. Knows no network."""

from collections import Counter

import numpy as np

from minigen.ops import pitch_classes, with_empty

COPY_LAGS = (1, 4, 16)  # the last of them a bar


def cells_of(roll, keys: int, pause_cell: bool) -> np.ndarray:
    """The cells that a loss counts: (T, 88) -> (T, K) or (T, K+1) bool, the empty step's cell last."""
    x = pitch_classes(roll) if keys == 12 else roll
    return (with_empty(x[:, None])[:, 0] if pause_cell else x) > 0


def _contexts(cells, lags) -> np.ndarray:
    """For every cell, which of the steps `lags` before it were struck: a number of len(lags) bits, (T, C)."""
    context = np.zeros(cells.shape, np.int64)
    for bit, lag in enumerate(lags):
        context[lag:] += cells[:-lag].astype(np.int64) << bit
    return context


def baseline(train, valid, lags, keys: int = 12, pause_cell: bool = False) -> float:
    """Nats per cell on `valid`: the chance of a cell, given whether it was struck `lags` steps ago, counted on `train`.

    No lags: the frequency of each class. Every count starts at half a note, so that nothing has chance 0.
    """
    struck, count = 0.5, 1.0
    for roll in train:
        cells = cells_of(roll, keys, pause_cell)
        context = _contexts(cells, lags)
        table = np.arange(1 << len(lags))[:, None, None] == context
        struck, count = struck + (table & cells).sum(axis=1), count + table.sum(axis=1)
    P = struck / count  # (contexts, C)
    nats, count = 0.0, 0
    for roll in valid:
        cells = cells_of(roll, keys, pause_cell)
        p = P[_contexts(cells, lags), np.arange(cells.shape[1])]
        nats, count = nats - np.log(np.where(cells, p, 1 - p)).sum(), count + cells.size
    return nats / count


def baselines(train, valid, keys=12, pause_cell=False, bar=16, per_step=False) -> dict[str, float]:
    """Per-class frequency, a calibrated copy of 1, 4 and a bar of steps ago, and of all of them together: nats per cell
    on `valid`, or per step, the sum over its cells."""
    scale = keys + pause_cell if per_step else 1
    lags = (*COPY_LAGS[:-1], bar)
    named = {"class frequency": (), **{f"copy of {lag} ago": (lag,) for lag in lags}, "copies together": lags}
    return {name: scale * baseline(train, valid, lags, keys, pause_cell) for name, lags in named.items()}


def chord_frequency(train, valid, log_p):
    """Nats per step on `valid` of chords, counted on `train`: `-log (n + p) / (N + p 2^88)`, n of the N steps have
    that chord (add-p smoothing); log_p a number, or several, -> as many."""
    counts = Counter(row.tobytes() for song in train for row in song > 0)
    seen = np.array([counts[row.tobytes()] for song in valid for row in song > 0])
    log_p, seen = np.asarray(log_p, float), np.log(np.maximum(seen, 1e-300))
    return np.logaddexp(np.log(counts.total()), log_p + 88 * np.log(2)) - np.logaddexp(seen, log_p[..., None]).mean(-1)


def too_large(songs, voices: int, keys: int = 12) -> float:
    """The share of struck steps with more notes than there are voices: chords that cannot be played."""
    sizes = np.concatenate([cells_of(song, keys, False).sum(axis=1) for song in songs])
    return float((sizes > voices).sum() / max((sizes > 0).sum(), 1))
