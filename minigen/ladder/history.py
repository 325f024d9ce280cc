"""19/12 `history`: the history reader and a local LSTM, instead of lagged inputs, under seven voices at once.

What changed: one reader says, from the beat and from what it has heard, which lag to listen to, and the network gets
that one reading. Why: nine lagged chords side by side are mostly noise; music repeats one bar at a time. How it ended:
a day of training, "the weights settle on one lag over whole passages", the lowest loss so far, and still no long copy.
"""

from minigen.heads import at_once_backward, at_once_forward, at_once_shapes
from minigen.ladder.rung import Rung
from minigen.ladder.upgraded import Upgraded
from minigen.reader import history_backward, history_forward, history_shapes


class History(Rung):
    name, date = "history", "19/12"
    config = Upgraded.config

    def layers(self):
        c = self.config
        return history_shapes(c.keys, c.time_bits, c.lags, c.hidden) | at_once_shapes(c.voices, c.keys, c.hidden)

    def forward(self, params, x, bits, state, draws, allowed=None, temperature=1.0):
        (features, w, after), history = history_forward(params, x, bits, self.config.lags, state)
        (p, notes), heads = at_once_forward(params, features, self.config.voices, draws, allowed, temperature)
        return (p, notes, {"reader.w": w}, after), (history, heads)

    def backward(self, dp, cache):
        history, heads = cache
        dfeatures, dheads = at_once_backward(dp, heads)
        return history_backward(dfeatures, history) | dheads
