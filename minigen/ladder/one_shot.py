"""11/12 `one-shot`: `simple` with seven voices instead of 88 independent probabilities.

What changed: seven softmaxes over 88 keys and a pause, and the step plays their union. Why: sampling should be from
discrete distributions, and a chord is more than one such draw. How it ended: "a simple and funny solution" that reduces
the inadequacy, "not greatly": the voices do not know what the others play.
"""

from dataclasses import replace

from minigen.ladder.simple import Simple


class OneShot(Simple):
    name, date = "one-shot", "11/12"
    config = replace(Simple.config, voices=7)
