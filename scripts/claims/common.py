"""What the claims share: how a rung is trained, a mean with its spread, and the rule by which a claim is judged."""

import numpy as np

from minigen.music.dataset import Dataset
from minigen.run.train import learn

BATCH, RATE = 16, 0.003
QUIET = 3.9  # log(12 x 4), the quiet start: with this bias of the pause five voices begin at one class a step


def trained(model, songs, seed: int, minutes: float, each=None):
    """A rung trained for so many minutes of one core -> the run: its params, moments and step."""
    c = model.config
    data = Dataset(songs, c.past, c.fragment, c.hop, c.key_shift)
    return learn(model, data, seed, BATCH, RATE, minutes=minutes, each=each)


def spread(values, digits: int = 3) -> str:
    """The mean over seeds, and the smallest and the largest."""
    values = np.asarray(values, float)
    return f"{values.mean():.{digits}f} ({values.min():.{digits}f} to {values.max():.{digits}f})"


def table(head: list[str], rows: list[list[str]]) -> list[str]:
    return [f"| {' | '.join(row)} |" for row in [head, ["---"] * len(head), *rows]]


def lower(low, high) -> str:
    """Is one lower than the other: "yes" or "no" where no two seeds overlap: by chance 1 in 10 with three against
    three, the fewest that decide anything. "not decided" where something is not a number."""
    if min(len(low), len(high)) < 3 or not np.isfinite([*low, *high]).all():
        return "not decided"
    return "yes" if max(low) < min(high) else "no" if max(high) < min(low) else "not decided"


def above(values, bound: float) -> str:
    """Is it above a number: "yes" or "no" where all seeds agree: by chance 1 in 4 with three."""
    return lower([bound] * len(values), values)


def in_every(outcomes) -> str:
    """For what happens or does not, a seed at a time: "no" where one seed is a counterexample; of at least three."""
    return "not decided" if len(outcomes) < 3 else "yes" if all(outcomes) else "no"


def opposite(answer: str) -> str:
    return {"yes": "no", "no": "yes"}.get(answer, answer)


def judge(claim: str, parts: dict[str, str]) -> str:
    """The sentence: a claim holds where every part is "yes", does not where one is "no", and else is not decided."""
    given = set(parts.values())
    outcome = "holds" if given == {"yes"} else "does not hold here" if "no" in given else "is not decided"
    return f"{claim} {outcome}: {'; '.join(f'{words}: {answer}' for words, answer in parts.items())}."
