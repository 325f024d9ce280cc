"""06/01 `pause-loss`: `final` with one more cell per step in its loss, instead of the stop-gradient trick.

What changed: the chance that all voices pause is held against whether the step is empty, with full gradients
everywhere; lag 2 joins the others. Why: the loss saw 12 of 13 outcomes, and the pauses "had nothing to lean on".
How it ended: it made the trick needless, "and for some reason nothing collapsed into one voice".
"""

from dataclasses import replace

from minigen.ladder.final import Final


class PauseLoss(Final):
    name, date = "pause-loss", "06/01"
    config = replace(Final.config, loss="pause", lags=(2, *Final.config.lags))
