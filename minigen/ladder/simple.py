"""03/12 `simple`: one LSTM over the step and its lags, and 88 independent probabilities.

The first rung. The lags let the network see the step a beat, a bar, two bars ago without having to remember it. How it
ended: it learned rhythm and register at once, and played mush: every key is drawn by itself, so that where C-E-G and
F-A-C are equally likely it mixes the two.
"""

from minigen.config import Config
from minigen.heads import keys_backward, keys_forward, keys_shapes
from minigen.ladder.rung import Rung
from minigen.lstm import lstm_backward, lstm_layer
from minigen.ops import with_lags
from minigen.params import lstm_shapes


class Simple(Rung):
    name, date = "simple", "03/12"
    config = Config(keys=88, voices=0, voice_hidden=0, hidden=300, time_bits=0, loss="plain", key_shift=False)

    def layers(self):
        c = self.config
        return lstm_shapes("lstm", c.keys * (1 + len(c.lags)), c.hidden) | keys_shapes(c.keys, c.hidden)

    def forward(self, params, x, bits, state, draws, allowed=None, temperature=1.0):
        inputs = with_lags(x, self.config.lags, len(bits))
        (h, after), lstm = lstm_layer(params, "lstm", inputs, state)
        (P, struck, z), cells = keys_forward(params, h, draws, temperature)
        return (P, struck, {"cells.z": z}, after), (lstm, cells)

    def backward(self, dP, cache):
        lstm, cells = cache
        dh, dcells = keys_backward(dP, cells)
        _, _, _, *dlstm = lstm_backward(dh, None, lstm, need_dx=False)
        return {"lstm": dlstm} | dcells
