"""The ladder: every system of the diary by its name. All share one contract of two methods, `loss` and `step`."""

from minigen.errors import MinigenError
from minigen.ladder.banning import Banning
from minigen.ladder.capsules import Capsules
from minigen.ladder.conditional import Conditional
from minigen.ladder.decoder_alone import Decoder
from minigen.ladder.feedback import Feedback
from minigen.ladder.final import Final
from minigen.ladder.history import History
from minigen.ladder.latency import Latency
from minigen.ladder.one_shot import OneShot
from minigen.ladder.ordered import Ordered
from minigen.ladder.pause_loss import PauseLoss
from minigen.ladder.simple import Simple
from minigen.ladder.upgraded import Upgraded

RUNGS = (Simple, Feedback, Latency, OneShot, Upgraded, Capsules, History, Conditional, Decoder, Final, PauseLoss,
         Banning, Ordered)  # fmt: skip
LADDER = {rung.name: rung for rung in RUNGS}


def rung(name: str, config=None):
    """The model of that name, with its own configuration or another. Raises MinigenError for an unknown name."""
    if name not in LADDER:
        raise MinigenError(f"there is no model {name!r}: use one of {', '.join(LADDER)}")
    return LADDER[name](config)
