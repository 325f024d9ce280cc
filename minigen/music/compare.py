"""Two sets of music held against each other by METRICS: which of their means differ by more than chance, and how well
they can be told apart. Knows no network.

A piece is (struck, sounding), two rolls (T, 88). It is measured in windows of so many whole bars, one after the other;
shorter pieces are left out.
"""

import warnings
from typing import NamedTuple

import numpy as np
from scipy.optimize import minimize

from minigen.music.metrics import METRICS, measure
from minigen.progress import progress

FOLDS, ROUNDS = 5, 1000


class Windows(NamedTuple):
    """The metrics of all windows of a set of pieces."""

    values: np.ndarray  # (N, metrics)
    piece: np.ndarray  # (N,) the number of the piece that each is of


def windows_of(pieces, bars: int = 8, bar: int = 16) -> Windows:
    """All whole windows of so many bars."""
    values, numbers = [], []
    for n, (struck, sounding) in enumerate(progress(pieces, "measuring the music")):
        for begin in range(0, len(struck) - bars * bar + 1, bars * bar):
            part = slice(begin, begin + bars * bar)
            values.append(measure(struck[part], sounding[part], bar))
            numbers.append(n)
    return Windows(np.array(values).reshape(-1, len(METRICS)), np.array(numbers, int))


def means(windows: Windows) -> np.ndarray:
    """Of each piece the mean over its windows -> (pieces, metrics); NaN where there is nothing to measure."""
    with np.errstate(all="ignore"):
        rows = [windows.values[windows.piece == n] for n in np.unique(windows.piece)]
        return np.array([np.nansum(r, axis=0) / np.isfinite(r).sum(axis=0) for r in rows]).reshape(-1, len(METRICS))


def band(corpus: np.ndarray, pieces: int, rng) -> tuple[np.ndarray, np.ndarray]:
    """Between which bounds 95% of the differences lie from the mean of so many pieces of a corpus (songs, metrics) to
    the mean of as many as it has, both drawn from it with replacement: what chance alone does to so many pieces."""
    differences, n = [], len(corpus)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a metric that no piece of a draw has is NaN
        for _ in range(ROUNDS):
            some, all_of_it = (np.nanmean(corpus[rng.integers(0, n, size)], axis=0) for size in (pieces, n))
            differences.append(some - all_of_it)
        return tuple(np.nanpercentile(differences, [2.5, 97.5], axis=0))


def auc(ours, theirs) -> float:
    """The chance that a score of ours is over one of theirs, ties for half."""
    theirs = np.sort(theirs)
    under = sum(np.searchsorted(theirs, ours, side) for side in ("left", "right"))  # twice, so that ties are halves
    return float(under.mean() / (2 * len(theirs)))


def _fit(x, y) -> np.ndarray:
    """Logistic regression with a small penalty: x (N, M+1) whose last column is 1, y (N,) of -1/1 -> weights."""

    def loss(w):
        margin = y * (x @ w)
        return np.logaddexp(0, -margin).sum() + 0.5 * w @ w, w - x.T @ (y / (1 + np.exp(margin.clip(-500, 500))))

    return minimize(loss, np.zeros(x.shape[1]), jac=True, method="L-BFGS-B").x


class Separation(NamedTuple):
    """How well two sets are told apart."""

    auc: float  # of scores that were given to pieces the regression had not seen
    low: float  # of the middle 95% of AUCs over pieces drawn with replacement
    high: float
    counts: tuple[int, int]  # windows of each set, made equal
    alone: dict[str, float]  # each metric's own AUC, 0.5 to 1, the largest first


def tell(ours: Windows, theirs: Windows, rng) -> Separation:
    """Logistic regression on all metrics, cross-validated by piece."""
    size = min(len(ours.piece), len(theirs.piece))
    sets = [w._replace(values=w.values[k], piece=w.piece[k])
            for w in (ours, theirs) for k in [np.sort(rng.permutation(len(w.piece))[:size])]]  # fmt: skip
    x, y = np.concatenate([s.values for s in sets]), np.repeat([1.0, -1.0], size)
    piece = np.concatenate([sets[0].piece, sets[1].piece + 1 + sets[0].piece.max()])
    mine, numbers = y > 0, [np.unique(piece[y == side]) for side in (1, -1)]
    fold = np.empty(len(y), int)
    for side in numbers:  # as many pieces of each set in each fold
        for n, f in zip(side, rng.permutation(len(side)) % FOLDS, strict=True):
            fold[piece == n] = f
    scores = np.empty(len(y))
    for f in range(FOLDS):
        seen = fold != f
        centre, spread = np.nanmean(x[seen], axis=0), np.nanstd(x[seen], axis=0) + 1e-9
        z = np.append(np.nan_to_num((x - centre) / spread), np.ones((len(x), 1)), axis=1)
        scores[~seen] = z[~seen] @ _fit(z[seen], y[seen])
    rows = {n: np.flatnonzero(piece == n) for side in numbers for n in side}
    found = []
    for _ in range(ROUNDS):
        drawn = [np.concatenate([rows[n] for n in rng.choice(side, len(side))]) for side in numbers]
        found.append(auc(scores[drawn[0]], scores[drawn[1]]))
    alone = {}
    for name, column in zip(METRICS, x.T, strict=True):
        sides = [column[side & np.isfinite(column)] for side in (mine, ~mine)]
        alone[name] = 0.5 + abs(auc(*sides) - 0.5) if all(map(len, sides)) else 0.5
    alone = dict(sorted(alone.items(), key=lambda item: -item[1]))
    return Separation(auc(scores[mine], scores[~mine]), *np.percentile(found, [2.5, 97.5]), (size, size), alone)


def shuffled(pieces, rng) -> list:
    """The same steps in another order."""
    return [(struck[order], sounding[order]) for struck, sounding in pieces for order in [rng.permutation(len(struck))]]
