"""11/12 `one-shot`: `simple` with seven voices instead of 88 independent probabilities.

What changed: seven softmaxes over 88 keys and a pause, and the step plays their union. Why: a softmax is one decision,
and a chord is a few decisions, not 88. How it ended: 2,500 steps gave the first pieces worth hearing; but the voices do
not hear each other, so a chord is still put together by chance.
"""

from dataclasses import replace

from minigen.heads import at_once_backward, at_once_forward, at_once_shapes
from minigen.ladder.rung import Rung
from minigen.ladder.simple import Simple
from minigen.lstm import lstm_backward, lstm_layer
from minigen.ops import with_lags
from minigen.params import lstm_shapes


class OneShot(Rung):
    name, date = "one-shot", "11/12"
    config = replace(Simple.config, voices=7)

    def layers(self):
        c = self.config
        inputs = c.keys * (1 + len(c.lags))
        return lstm_shapes("lstm", inputs, c.hidden) | at_once_shapes(c.voices, c.keys, c.hidden)

    def forward(self, params, x, bits, state, draws, allowed=None, temperature=1.0):
        inputs = with_lags(x, self.config.lags, len(bits))
        (h, after), lstm = lstm_layer(params, "lstm", inputs, state)
        (p, notes), heads = at_once_forward(params, h, self.config.voices, draws, allowed, temperature)
        return (p, notes, {}, after), (lstm, heads)

    def backward(self, dp, cache):
        lstm, heads = cache
        dh, dheads = at_once_backward(dp, heads)
        _, _, _, *dlstm = lstm_backward(dh, None, lstm, need_dx=False)
        return {"lstm": dlstm} | dheads
