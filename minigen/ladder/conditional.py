"""26/12 `conditional`: `history` with voices that hear what the voices before them played at the same step.

What changed: voice v reads the features and the notes of voices 1..v-1, seven linear voices over 88 keys; training
draws from what is true, so that the next voice hears something true. Why: the last chance to put a chord together on
purpose. How it ended: without the stop-gradient trick nothing was learned but "six silent voices and a seventh playing
one right note"; with it training was partly restored, and nobody could say why.
"""

from dataclasses import replace

from minigen.ladder.history import History
from minigen.ladder.rung import Rung
from minigen.reader import history_backward, history_forward, history_shapes
from minigen.voices import voices_backward, voices_forward, voices_shapes


class Conditional(Rung):
    name, date, hears = "conditional", "26/12", True
    config = replace(History.config, loss="stop-gradient")

    def layers(self):
        c = self.config
        history = history_shapes(c.keys, c.time_bits, c.lags, c.hidden)
        return history | voices_shapes(c.voices, c.keys, c.hidden, c.voice_hidden)

    def forward(self, params, x, bits, state, draws, allowed=None, temperature=1.0):
        c = self.config
        (features, w, read), history = history_forward(params, x, bits, c.lags, state)
        (p, notes, sung), voices = voices_forward(params, features, c.voices, state, draws, allowed, temperature)
        return (p, notes, {"reader.w": w, "features": features}, read | sung), (history, voices)

    def backward(self, dp, cache):
        history, voices = cache
        dfeatures, dvoices = voices_backward(dp, voices)
        return history_backward(dfeatures, history) | dvoices
