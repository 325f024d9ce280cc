"""`banning`, the author's last model, after the diary: a voice can also say which key surely does not sound.

What changed from `final`: 24 outcomes, "this class sounds" and "this class does not"; a decided class is masked for the
voices after it; one LSTM of 100 plays all five voices, each with a state of its own; an aggregator of 130; no pause, no
trick, no posterior (minigen/banning.py).
"""

from dataclasses import replace

from minigen.banning import banning_backward, banning_forward, banning_shapes, marginal_backward, marginal_forward
from minigen.errors import MinigenError
from minigen.ladder.final import Final
from minigen.reader import history_backward, history_forward


class Banning(Final):
    name, date, bans = "banning", "later", True
    config = replace(Final.config, loss="plain", aggregator=130, voice_hidden=100)

    def __init__(self, config=None):
        super().__init__(config)
        c = self.config
        if c.voices > c.keys or c.loss != "plain" or not c.voice_hidden:
            raise MinigenError("banning plays by voices that are one LSTM, at most one per key, with the plain loss: "
                               "leave out --set loss, and give voices and voice_hidden over 0")  # fmt: skip

    def layers(self):
        c = self.config
        body, features = self.body_shapes()
        return body | banning_shapes(c.keys, features, c.voice_hidden)

    def states(self):
        states = super().states()
        del states["voice"]  # one set of weights, a state for each voice
        return states | {f"voice{v + 1}": self.config.voice_hidden for v in range(self.config.voices)}

    def forward(self, params, x, bits, state, given, temperature=1.0):
        c = self.config
        (features, w, reader_state), history = history_forward(params, x, bits, c.lags, state, c.skip)
        (p, notes, voices_state), voices = banning_forward(params, features, c.voices, state, given, temperature)
        P, marginal = marginal_forward(p)
        trace = {"reader.w": w, "features": features, "voices.p": p, "voices.notes": notes}
        return (P, trace, reader_state | voices_state), (history, voices, marginal)

    def backward(self, dP, cache):
        history, voices, marginal = cache
        dfeatures, dvoices = banning_backward(marginal_backward(dP, marginal), voices)
        return dvoices | history_backward(dfeatures, history)
