"""How the figures of a few seeds become a verdict about a claim, and the measures by which claims are judged.

A claim has parts. Each part is answered "yes", "no" or "not decided" from one figure per seed, and needs at least three
seeds. The claim holds where every part is "yes". This file imports no network.
"""

import numpy as np
from scipy.stats import wilcoxon


def spread(values) -> str:
    """The mean over seeds, the smallest and the largest, four digits each: "0.5845 (0.57 to 0.6)"."""
    return f"{np.mean(values):.4g} ({np.min(values):.4g} to {np.max(values):.4g})"


def table(head: list[str], rows: list[list[str]]) -> list[str]:
    """The lines of a Markdown table."""
    return [f"| {' | '.join(row)} |" for row in [head, ["---"] * len(head), *rows]]


def lower(low, high) -> str:
    """Is the first group of values (one per seed) lower than the second?

    "yes" or "no" where the groups do not overlap: by chance 1 time in 10 for three values against three, the fewest
    that decide anything. "not decided" where they overlap, or where a value is NaN or infinite.
    """
    if min(len(low), len(high)) < 3 or not np.isfinite([*low, *high]).all():
        return "not decided"
    return "yes" if max(low) < min(high) else "no" if max(high) < min(low) else "not decided"


def above(values, bound: float) -> str:
    """Are the values above a number? "yes" or "no" where all seeds agree: by chance 1 time in 4 for three."""
    return lower([bound] * len(values), values)


def in_every(outcomes) -> str:
    """Did it happen in every seed (one bool each)? One seed in which it did not is a counterexample: "no"."""
    return "not decided" if len(outcomes) < 3 else "yes" if all(outcomes) else "no"


def agreed(outcomes) -> str:
    """The same of long runs, which two seeds may decide, if they agree."""
    return "yes" if all(outcomes) else "not decided at this length" if any(outcomes) else "no"


def more(values, than, level: float) -> str:
    """Over pairs: "yes" where the first of each is larger, "no" where it is smaller, each by Wilcoxon's signed-rank
    test, one-sided, with a p-value under `level`; else "not decided"."""
    difference = np.subtract(values, than)
    if len(difference) < 3 or not difference.any():
        return "not decided"
    larger, smaller = (wilcoxon(difference, alternative=which).pvalue < level for which in ("greater", "less"))
    return "yes" if larger else "no" if smaller else "not decided"


def opposite(answer: str) -> str:
    """The answer to the opposite question; "not decided" stays."""
    return {"yes": "no", "no": "yes"}.get(answer, answer)


def judge(claim: str, parts: dict[str, str]) -> str:
    """The sentence of the verdict: a claim holds where every part is "yes", does not where one is "no", and is not
    decided otherwise."""
    answers = set(parts.values())
    outcome = "holds" if answers == {"yes"} else "does not hold here" if "no" in answers else "is not decided"
    return f"{claim} {outcome}: {'; '.join(f'{words}: {answer}' for words, answer in parts.items())}."


def passages(w, least: int = 16) -> np.ndarray:
    """The reader's weights of the lags w (T, L) -> bool (T,): the steps inside a passage, a run of at least `least`
    steps on which the same lag has more than half of the weight."""
    best = np.where(w.max(axis=1) > 0.5, w.argmax(axis=1), -1)
    inside = np.zeros(len(w), bool)
    for run in np.split(np.arange(len(w)), np.flatnonzero(np.diff(best)) + 1):
        inside[run] = best[run[0]] >= 0 and len(run) >= least
    return inside


def given_a_note(p, keys) -> float:
    """The chance that a voice plays one of `keys`, given that it plays a note: `sum p[keys] / sum (1 - p[pause])`.

    p (N, K+1), distributions over K keys and the pause; keys (N, K) of 0/1. Both sums are over all N steps: where the
    voice is sure to pause, the step has no weight. NaN where there is no step.
    """
    return float((p[:, :-1] * keys).sum() / p[:, :-1].sum()) if len(p) else np.nan
