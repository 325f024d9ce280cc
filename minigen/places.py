"""Where the decisions of many steps stand in one array. A step is told key by key, from the top down; the array holds
the first decision of every step, then the second of every step that has one, and so on: all are computed at once."""

from typing import Any, NamedTuple

from minigen.backend import array_module


class Places(NamedTuple):
    """Which decisions there are in M steps, N in all, in the order of their voices."""

    step: Any  # (N,) of which step, 0 to M-1
    voice: Any  # (N,) from 0 on
    at: Any  # (V, M) the decision of each voice at each step, N where it has none


def places_of(x, stop: bool = True) -> Places:
    """x (M, K) of 0/1 -> a decision for each key of each step, and, with `stop`, one more for each step. On a GPU it
    reads how many there are: training makes them on the host."""
    xp = array_module(x)
    count = (x > 0).sum(axis=1) + stop
    V = max(1, int(count.max()))
    voice, step = xp.nonzero(xp.arange(V)[:, None] < count)
    at = xp.full((V, len(x)), len(step))
    at[voice, step] = xp.arange(len(step))
    return Places(step, voice, at)


def prefixed(prefix: str, places: Places) -> dict:
    """Places under the names of `given` (minigen/draws.py): {"decisions.step": ...} for the prefix "decisions"."""
    return {f"{prefix}.{name}": array for name, array in places._asdict().items()}


def places_in(given: dict, prefix: str) -> Places | None:
    """The places under this prefix in `given`; None where there are none."""
    return Places(*(given[f"{prefix}.{name}"] for name in Places._fields)) if f"{prefix}.at" in given else None


def from_top(x):
    """How many keys are struck at or above each key: x (..., K) of 0/1 -> (..., K)."""
    return x[..., ::-1].cumsum(axis=-1)[..., ::-1]


def by_step(values, places: Places):
    """values (N, n) of decisions -> (M, n), sums over the decisions of each step."""
    xp = array_module(values)
    padded = xp.concatenate([values, xp.zeros((1, values.shape[1]), values.dtype)])
    sums = padded[places.at[0]]
    for at in places.at[1:]:
        sums += padded[at]
    return sums
