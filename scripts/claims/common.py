"""What the claims share: the chorales, and a mean with its spread."""

import numpy as np

from minigen.corpus import find_songs
from minigen.dataset import Dataset, split, trim
from minigen.train import learn

BATCH, RATE = 32, 0.003


def chorales():
    """(songs to train on, songs held out), always the same."""
    songs, _ = find_songs([], "bach")
    return tuple([trim(roll) for roll in part.rolls] for part in split(songs, 0))


def trained(model, songs, seed: int, minutes: float, each=None):
    """The weights of a rung after so many minutes."""
    c = model.config
    data = Dataset(songs, c.past, c.fragment, c.hop, c.key_shift)
    return learn(model, data, seed, BATCH, RATE, minutes=minutes, each=each).params


def spread(values, digits: int = 3) -> str:
    """The mean over seeds, and the smallest and the largest."""
    values = np.asarray(values, float)
    return f"{values.mean():.{digits}f} ({values.min():.{digits}f} to {values.max():.{digits}f})"


def table(head: list[str], rows: list[list[str]]) -> list[str]:
    return [f"| {' | '.join(row)} |" for row in [head, ["---"] * len(head), *rows]]


def apart(low, high) -> bool:
    """Every seed of one lies below every seed of the other; never so with fewer than three seeds."""
    return min(len(low), len(high)) >= 3 and max(low) < min(high)


def answer(low, high) -> str:
    """Is one lower than the other: "yes" or "no" where no seeds overlap (three against three: 1 in 20 by chance)."""
    return "yes" if apart(low, high) else "no" if apart(high, low) else "not decided"
