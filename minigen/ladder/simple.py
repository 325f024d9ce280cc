"""03/12 `simple`: one LSTM over the step and its lags, and 88 independent probabilities.

The first rung. The lags let the network see the step a beat, a bar, two bars ago without having to remember it: "the
tritest model of memory that one can think of". How it ended: "already something", but a way to sample that cannot be
right: every key is drawn by itself, so that where C-E-G and F-A-C are equally likely it mixes the two.
"""

from minigen.config import Config
from minigen.ladder.rung import Rung
from minigen.lstm import lstm_layer, lstm_layer_backward
from minigen.ops import with_lags
from minigen.params import lstm_shapes


class Simple(Rung):
    name, date = "simple", "03/12"
    config = Config()  # the defaults of minigen/config.py are its numbers

    def body_shapes(self):
        c = self.config
        return lstm_shapes("lstm", c.keys * (1 + len(c.lags)) + c.bits, c.hidden), c.hidden

    def body(self, params, x, bits, state):
        (h, new_state), lstm = lstm_layer(params, "lstm", with_lags(x, self.config.lags, bits), state)
        return (h, {}, new_state), lstm

    def body_backward(self, dh, cache):
        _, dlstm = lstm_layer_backward(dh, cache, need_dx=False)
        return {"lstm": dlstm}
