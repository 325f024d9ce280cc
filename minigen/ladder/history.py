"""19/12 `history`: the history reader and a local LSTM, instead of lagged inputs, under seven voices at once.

What changed: one reader says, from the beat and from the music so far, which lag to read, and the network gets
that one reading. Why: nine lagged chords side by side are a large input, and most of it is not needed. How it ended:
"it works": a day of training, passages that are read from one place in the history while the loss falls there, a clear
gain; "yet in generation no long copying of whole fragments was observed".
"""

from minigen.ladder.rung import Rung
from minigen.ladder.upgraded import Upgraded
from minigen.reader import history_backward, history_forward, history_shapes


class History(Rung):
    name, date = "history", "19/12"
    config = Upgraded.config

    def body_shapes(self):
        c = self.config
        shapes = history_shapes(c.keys, c.bits, c.lags, c.hidden, c.aggregator, c.reader, c.skip)
        return shapes, c.aggregator or c.hidden

    def body(self, params, x, bits, state):
        (features, w, new_state), history = history_forward(params, x, bits, self.config.lags, state, self.config.skip)
        return (features, {"reader.w": w}, new_state), history

    def body_backward(self, dfeatures, cache):
        return history_backward(dfeatures, cache)
