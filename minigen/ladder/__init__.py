"""The ladder: every system of the diary by its name. All share one contract of two methods, `loss` and `step`."""

from minigen.errors import MinigenError
from minigen.ladder.final import Final
from minigen.ladder.pause_loss import PauseLoss

LADDER = {rung.name: rung for rung in (Final, PauseLoss)}


def rung(name: str, config=None):
    """The model of that name, with its own configuration or another. Raises MinigenError for an unknown name."""
    if name not in LADDER:
        raise MinigenError(f"there is no model {name!r}: use one of {', '.join(LADDER)}")
    return LADDER[name](config)
