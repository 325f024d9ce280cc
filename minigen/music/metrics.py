"""Figures of a piece: how it moves, how much of it repeats, where it is stuck. Knows no network."""

import numpy as np

from minigen.music.midi_out import releases

MAJOR = (0, 2, 4, 5, 7, 9, 11)
HALF = 8  # steps in a half note


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


# a piece as (struck, sounding) (T, 88) bool; what there is nothing of is NaN


def pitch_class_entropy(struck, sounding, bar: int) -> float:
    """`-sum_c q_c log2 q_c`, bits, q_c the share of the struck notes that are of class c."""
    q = np.bincount(np.nonzero(struck)[1] % 12, minlength=12) / max(struck.sum(), 1)
    return float(-(q[q > 0] * np.log2(q[q > 0])).sum()) if struck.any() else np.nan


def scale_consistency(struck, sounding, bar: int) -> float:
    """The share of the struck notes that lie in one scale, the major scale (or its relative minor) in which most do."""
    counts = np.bincount(np.nonzero(struck)[1] % 12, minlength=12)
    inside = [counts[(np.array(MAJOR) + root) % 12].sum() for root in range(12)]
    return max(inside) / counts.sum() if counts.any() else np.nan


def polyphony(struck, sounding, bar: int) -> float:
    """Sounding keys per step at which anything sounds."""
    sizes = sounding.sum(axis=1)
    return float(sizes[sizes > 0].mean()) if sizes.any() else np.nan


def empty_steps(struck, sounding, bar: int) -> float:
    """The share of the steps at which nothing sounds."""
    return float((~sounding.any(axis=1)).mean())


def strikes_per_step(struck, sounding, bar: int) -> float:
    """Struck notes per step."""
    return float(struck.sum() / len(struck))


def chord_size(struck, sounding, bar: int) -> float:
    """Struck notes per step at which anything is struck."""
    return float(struck.sum() / struck.any(axis=1).sum()) if struck.any() else np.nan


def groove_consistency(struck, sounding, bar: int) -> float:
    """`1 - d / bar`, d the places at which one of two bars in a row has an onset and the other none; mean over bars."""
    onsets = struck[: len(struck) // bar * bar].any(axis=1).reshape(-1, bar)
    return float(1 - (onsets[1:] != onsets[:-1]).mean()) if len(onsets) > 1 else np.nan


def note_length(struck, sounding, bar: int) -> float:
    """Steps from a strike to the next step at which its key is struck or silent, mean over the notes."""
    t = np.nonzero(struck)[0]
    return float((releases(struck, sounding)[struck] - t).mean()) if len(t) else np.nan


def _outer(struck, sounding) -> np.ndarray:
    """The lowest and the highest sounding key at each step at which anything is struck -> (n, 2)."""
    chords = sounding[struck.any(axis=1)]
    return np.stack([chords.argmax(axis=1), 87 - chords[:, ::-1].argmax(axis=1)], axis=1)


def top_leap(struck, sounding, bar: int) -> float:
    """Semitones from one highest key to the next, mean over strikes."""
    moves = np.abs(np.diff(_outer(struck, sounding)[:, 1]))
    return float(moves.mean()) if len(moves) else np.nan


def bass_leap(struck, sounding, bar: int) -> float:
    """Semitones from one lowest key to the next, mean over strikes."""
    moves = np.abs(np.diff(_outer(struck, sounding)[:, 0]))
    return float(moves.mean()) if len(moves) else np.nan


def wide_bass_leaps(struck, sounding, bar: int) -> float:
    """The share of these that are wider than a fifth."""
    moves = np.abs(np.diff(_outer(struck, sounding)[:, 0]))
    return float((moves > 7).mean()) if len(moves) else np.nan


def consonance(struck, sounding, bar: int) -> float:
    """The share of the pairs of keys sounding together, over all steps, that are unisons, thirds, fourths, fifths,
    sixths or octaves of them."""
    shares = np.array([(sounding[:, interval:] & sounding[:, : 88 - interval]).sum() for interval in range(1, 88)])
    consonant = np.isin(np.arange(1, 88) % 12, (0, 3, 4, 5, 7, 8, 9))
    return float(shares[consonant].sum() / shares.sum()) if shares.any() else np.nan


def parallels(struck, sounding, bar: int) -> float:
    """The share of the moves of both outer voices that go from a fifth to a fifth, or from an octave to an octave, in
    one direction (their compounds too)."""
    outer = _outer(struck, sounding)
    moves, interval = np.diff(outer, axis=0), (outer[:, 1] - outer[:, 0]) % 12
    both = (moves != 0).all(axis=1)
    perfect = (interval[1:] == interval[:-1]) & np.isin(interval[1:], (0, 7)) & (outer[1:, 1] > outer[1:, 0])
    along = both & perfect & (np.sign(moves[:, 0]) == np.sign(moves[:, 1])) & (outer[:-1, 1] > outer[:-1, 0])
    return float(along.sum() / both.sum()) if both.any() else np.nan


def longest_loop(struck, sounding, bar: int) -> float:
    """The most sounding steps in a run that repeats with one period of at most a bar (`longest_repeat`)."""
    return float(longest_repeat(struck, range(1, bar + 1)))


def distinct_chords(struck, sounding, bar: int) -> float:
    """The share of the struck steps whose chord was not struck before."""
    chords = [row.tobytes() for row in struck if row.any()]
    return len(set(chords)) / len(chords) if chords else np.nan


def likeness_beyond_a_bar(struck, sounding, bar: int) -> float:
    """`likeness` at lags over a bar, up to eight bars."""
    return likeness(struck, range(bar + 1, 8 * bar + 1))


def closes(struck, sounding) -> bool:
    """Whether a piece (T, 88) ends as pieces end: its last chord, what sounds at the last strike, is a major or minor
    triad over its root in the bass, and goes on for a half note at least."""
    t = int(np.flatnonzero(np.asarray(struck).any(axis=1)).max(initial=-1))
    if t < 0:
        return False
    keys = np.flatnonzero(np.asarray(sounding[t]) > 0)
    classes = set(((keys - keys[0]) % 12).tolist())
    return (
        classes in ({0, 4, 7}, {0, 3, 7})
        and bool(np.asarray(sounding[t : t + HALF, keys]).all())
        and len(struck) - t >= HALF
    )


METRICS = {
    "struck notes per step": strikes_per_step,
    "notes of a struck chord": chord_size,
    "sounding keys (polyphony)": polyphony,
    "empty steps": empty_steps,
    "note length, steps": note_length,
    "pitch-class entropy, bits": pitch_class_entropy,
    "notes in one scale": scale_consistency,
    "groove consistency": groove_consistency,
    "leap of the top line, semitones": top_leap,
    "leap of the bass, semitones": bass_leap,
    "bass leaps over a fifth": wide_bass_leaps,
    "consonant pairs": consonance,
    "parallel fifths and octaves": parallels,
    "longest loop, sounding steps": longest_loop,
    "distinct chords": distinct_chords,
    "likeness beyond a bar": likeness_beyond_a_bar,
}


def measure(struck, sounding, bar: int = 16) -> np.ndarray:
    """All of METRICS, in their order."""
    struck, sounding = np.asarray(struck) > 0, (np.asarray(sounding) > 0) | (np.asarray(struck) > 0)
    return np.array([metric(struck, sounding, bar) for metric in METRICS.values()])
