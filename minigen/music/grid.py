"""From ticks to the grid of 16ths: which bars a metre keeps, and how well onsets lie on the grid."""

from typing import NamedTuple

import numpy as np

from minigen.metre import METRES

FITS = {1, 2, 4, 8, 16}  # a metre of these numbers is read as 4/4
MOVED = "moved by over 0.2 of a step"
NO_BAR = 16  # steps of a bar of a metre that has none, such as 0/4, when what was left out is counted


class Run(NamedTuple):
    """Bars that are kept: the song's steps from `place` on begin at tick `first` of the file, and end before `last`."""

    first: int
    last: int
    place: int


def steps_of(ticks, ticks_per_beat: int):
    """`round(4 ticks / ticks_per_beat)`, ties to even: the step of an event, counted from where `ticks` are."""
    return np.rint(4 * np.asarray(ticks) / ticks_per_beat).astype(int)


def kept_bars(signatures, metre: str, end: int, ticks_per_beat: int) -> tuple[list[Run], dict[str, int]]:
    """signatures [(tick, numerator, denominator)] in order of time -> the runs of bars in `metre` before tick `end`,
    and how many bars of each other metre were taken out. After them a run begins at a bar line. No signature is 4/4;
    in "none", where there are no bars, all is kept."""
    if metre == "none":
        return [Run(0, end, 0)], {}
    bar, runs, foreign, place, gap = METRES[metre][0], [], {}, 0, False
    signatures = [(0, 4, 4), *signatures]
    for n, (first, numerator, denominator) in enumerate(signatures):
        last = min(signatures[n + 1][0], end) if n + 1 < len(signatures) else end
        if first >= last:
            continue
        name = "4/4" if {numerator, denominator} <= FITS else _name(numerator, denominator)
        if name != metre:
            length = 4 * ticks_per_beat * numerator / denominator
            length = length if length >= ticks_per_beat / 4 else NO_BAR / 4 * ticks_per_beat
            foreign[name] = foreign.get(name, 0) + int(-(-(last - first) // length))
            gap = True
        elif runs and not gap:
            runs[-1] = runs[-1]._replace(last=last)
        else:
            if runs:
                place += int(steps_of(runs[-1].last - runs[-1].first, ticks_per_beat))
            place = -(-place // bar) * bar
            runs.append(Run(first, last, place))
            gap = False
    return runs, foreign


def moved_bars(signatures, ticks_per_beat: int, bar: int = 16) -> int:
    """On which step of a bar of 4/4 the file's own whole bars begin, where a short bar stands before them; else 0."""
    for tick, numerator, denominator in signatures:
        step = int(steps_of(tick, ticks_per_beat)) % bar
        if step and 16 * numerator == bar * denominator:
            return step
    return 0


def _name(numerator: int, denominator: int) -> str:
    return f"{numerator}/{denominator}" if denominator < 1000 else f"{numerator}/2^{denominator.bit_length() - 1}"


class Fit(NamedTuple):
    """How onsets lie on the grid: their mean distance from it in steps (0.25 is no grid at all, quantised music has
    0.02), the share that was moved by over 0.2 of a step, and "" or what the moved ones are like."""

    off_grid: float
    moved: float
    kind: str

    @property
    def warnings(self) -> list[str]:
        """A sentence where it should be said."""
        if not self.kind:
            return []
        figures = f"its onsets are {self.off_grid:.2f} of a step from the grid (quantised music: 0.02, no grid: 0.25)"
        if self.kind != "off the grid":
            return [f"it is in {self.kind}: {self.moved:.0%} of its onsets were {MOVED}"]
        return [f"it is off the grid: {figures}, {self.moved:.0%} were {MOVED}"]


def fit_of(ticks, ticks_per_beat: int) -> Fit:
    """Of onsets at `ticks` (N,). Under 5% of moved ones nothing is said. Moved ones at thirds and sixths of a
    beat are triplets; if each is the second, late note of a beat or of half a beat, swing; others are off the grid."""
    beats = np.asarray(ticks) / ticks_per_beat
    distance = np.abs(4 * beats - np.rint(4 * beats))
    moved = distance > 0.2
    off_grid, share, kind = float(distance.mean()), float(moved.mean()), ""
    if share >= 0.05:
        sixths = 6 * beats[moved]
        regular = np.abs(sixths - np.rint(sixths)) < 0.15
        late = [(np.abs(halves * beats[moved] % 1 - 0.635) < 0.09).mean() > 0.9 for halves in (1, 2)]
        kind = "swing" if any(late) else "triplets" if regular.mean() > 0.8 else "off the grid"
    return Fit(off_grid, share, kind)
