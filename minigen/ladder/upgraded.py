"""14/12 `upgraded`: `one-shot` with two LSTMs of 100, one on the other, and the time.

What changed: 300 units became 100 and 100, and six bits say where in four bars the predicted step stands. Why: the beat
should not have to be counted. How it ended: 40,000 steps of training, and the discovery that "everybody who generates
music has done so for ages".
"""

from dataclasses import replace

from minigen.ladder.one_shot import OneShot
from minigen.ladder.rung import Rung
from minigen.lstm import lstm_layer, lstm_layer_backward
from minigen.ops import with_lags
from minigen.params import lstm_shapes


class Upgraded(Rung):
    name, date = "upgraded", "14/12"
    config = replace(OneShot.config, hidden=100, time_bits=6)

    def body_shapes(self):
        c = self.config
        inputs = c.keys * (1 + len(c.lags)) + c.bits
        return lstm_shapes("lower", inputs, c.hidden) | lstm_shapes("upper", c.hidden, c.hidden), c.hidden

    def body(self, params, x, bits, state):
        inputs = with_lags(x, self.config.lags, bits)
        (h_lower, lower_state), lower = lstm_layer(params, "lower", inputs, state)
        (h, upper_state), upper = lstm_layer(params, "upper", h_lower, state)
        return (h, {}, lower_state | upper_state), (lower, upper)

    def body_backward(self, dh, cache):
        lower, upper = cache
        dh_lower, dupper = lstm_layer_backward(dh, upper)
        _, dlower = lstm_layer_backward(dh_lower, lower, need_dx=False)
        return {"lower": dlower, "upper": dupper}
