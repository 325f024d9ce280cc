"""Figures about music: baselines that a model must beat, and what generated pieces are like. Knows no network."""

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


def notes_per_step(rolls) -> float:
    """Struck keys per step, over all steps of all songs."""
    return sum(int((roll > 0).sum()) for roll in rolls) / sum(len(roll) for roll in rolls)


def longest_stuck(roll) -> int:
    """The longest run of steps without two different chords; silence is no chord, and does not end a run."""
    longest = begin = free = 0  # `free`: where the run that a new chord starts begins, after the last of the old chord
    chord = None
    for t, keys in enumerate(roll > 0):
        if not keys.any():
            continue
        if chord is not None and keys.tobytes() != chord:
            longest, begin = max(longest, t - begin), free
        chord, free = keys.tobytes(), t + 1
    return max(longest, len(roll) - begin)


def same_as(roll, lag: int) -> np.ndarray:
    """Which steps equal the step `lag` before them: (T, K) -> (T,) bool, False where there is none."""
    same = np.zeros(len(roll), bool)
    same[lag:] = (roll[lag:] == roll[:-lag]).all(axis=1)
    return same


def runs_of(same) -> list[np.ndarray]:
    """The runs of True in a (T,) of bool, as arrays of steps."""
    steps = np.flatnonzero(same)
    return np.split(steps, np.flatnonzero(np.diff(steps) > 1) + 1) if len(steps) else []


def looped(roll, longest: int = 16, sounding: int = 8) -> np.ndarray:
    """Which steps are in a loop: in a run that repeats with one period of at most `longest` steps and holds at least so
    many sounding steps -> (T,) bool."""
    there, found = (roll > 0).any(axis=1), np.zeros(len(roll), bool)
    for period in range(1, longest + 1):
        for run in runs_of(same_as(roll, period)):
            found[run] |= there[run].sum() >= sounding
    return found


def longest_repeat(roll, lags, loops: bool = True) -> int:
    """The most sounding steps in one run of steps that all equal the step one lag before, for the best of the lags.

    With lags up to a bar it is the longest loop; with a network's own lags, the longest copy that it could have read,
    where steps of a loop do not count if `loops` is False.
    """
    counted = (roll > 0).any(axis=1) & (loops | ~looped(roll))
    return max((int(counted[run].sum()) for lag in lags for run in runs_of(same_as(roll, lag))), default=0)


def stuck(roll, entropy=None, steps: int = 64) -> list[tuple[int, str]]:
    """Where music (T, 88) stopped moving, the first of each kind, in order: [(step, what it is)].

    Silence, one chord again and again, or a loop of up to 16 steps, for `steps` steps or more; an entropy of the voices
    (T,), nats, that has fallen under a quarter of what it was in the first `steps`.
    """
    there, found, still = (roll > 0).any(axis=1), [], np.zeros(len(roll), bool)
    for run in runs_of(~there):
        if len(run) >= steps:
            found.append((int(run[0]), f"silence for {len(run)} steps"))
            break
    struck = np.flatnonzero(there)
    changes = np.flatnonzero((roll[struck[1:]] != roll[struck[:-1]]).any(axis=1)) + 1
    for same in np.split(struck, changes):
        if len(same) > 1 and same[-1] - same[0] >= steps:
            found.append((int(same[0]), f"one chord for {same[-1] - same[0]} steps"))
            still[same[0] : same[-1] + 1] = True
            break
    loops = [
        (int(run[0]) - period, period, len(run) + period)
        for period in range(1, 17)
        for run in runs_of(same_as(roll, period))
        if len(run) + period >= steps and there[run].any() and not still[run].all()
    ]
    found += [(begin, f"a loop of {period} steps for {length}") for begin, period, length in sorted(loops)[:1]]
    if entropy is not None and len(entropy) >= 2 * steps:
        means = np.convolve(entropy, np.full(steps, 1 / steps), "valid")
        low = np.flatnonzero(means < means[0] / 4)
        found += [(int(low[0]), "the voices are all but certain")] if len(low) else []
    return sorted(found)


def likeness(roll, lags=range(17, 129), least: int = 32) -> float:
    """At the best of the lags, the share of sounding steps that equal the step so long before, less that share at the
    median lag, which is what the texture gives by chance. Steps of a loop do not count; nor does a lag with fewer than
    `least` steps that do; 0 where none is left.
    """
    counted = (roll > 0).any(axis=1) & ~looped(roll)
    shares = [same_as(roll, lag)[lag:][counted[lag:]].mean() for lag in lags if counted[lag:].sum() >= least]
    return float(max(shares) - np.median(shares)) if shares else 0.0


def _windows(roll, steps: int, hop: int):
    """Windows that are not silent, as bytes, moved so that the lowest note of each is the same: keys do not matter."""
    packed = (roll > 0).astype(np.uint8)
    for start in range(0, len(roll) - steps + 1, hop):
        struck = np.argwhere(packed[start : start + steps])
        if len(struck):
            yield (struck - [0, struck[:, 1].min()]).astype(np.int16).tobytes()


def copied_windows(pieces, songs, bars: int = 8, steps_a_bar: int = 16) -> float:
    """The share of the pieces' windows of `bars` bars that stand, in any transposition, at any bar of the songs."""
    known = {w for song in songs for w in _windows(song, bars * steps_a_bar, steps_a_bar)}
    found = [w in known for piece in pieces for w in _windows(piece, bars * steps_a_bar, steps_a_bar)]
    return float(np.mean(found)) if found else 0.0


def too_large(songs, voices: int, keys: int = 12) -> float:
    """The share of struck steps with more notes than there are voices: chords that cannot be played."""
    sizes = np.concatenate([cells_of(song, keys, False).sum(axis=1) for song in songs])
    return float((sizes > voices).sum() / max((sizes > 0).sum(), 1))
