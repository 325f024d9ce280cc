"""29/12 `final`: `conditional` on 12 pitch classes, with five voices that are LSTMs, and the octave decoder.

What changed: the song is folded to 12 pitch classes, so that every song can be trained in all 12 keys; each voice is an
LSTM of its own; the octave decoder of 28/12 brings the 88 keys back. Why: 12 classes, the diary says, cost an order of
magnitude less. How it ended: "some harmonies have shown up", though "the notes were still shared out among the voices
oddly".

Here the model is written out, forward and backward; the shared code of rung.py would give the same. Its layers:

    reader LSTM 100, linear 100 -> 8 lags, local LSTM 100, aggregator LSTM 12 + 100 -> 100     minigen/reader.py
    five times an LSTM 100 + 12 -> 40 and a linear layer 40 -> 13                              minigen/voices.py
    the union of the five, P (T, B, 12)                                                        minigen/union.py
    beside it the octave decoder: an LSTM 88 + 12 + 6 -> 100, a linear layer 100 -> 88         minigen/decoder.py

A compiled copy, only with --kernels whole: kernels/whole/step.py and loss.py.
"""

from dataclasses import replace

from minigen.ladder.conditional import Conditional
from minigen.reader import history_backward, history_forward
from minigen.union import union_backward, union_forward
from minigen.voices import voices_backward, voices_forward


class Final(Conditional):
    name, date = "final", "29/12"
    config = replace(Conditional.config, keys=12, voices=5, voice_hidden=40, key_shift=True)

    def forward(self, params, x, bits, state, given, temperature=1.0):
        c = self.config
        (features, w, reader_state), history = history_forward(params, x, bits, c.lags, state, c.skip)
        (p, notes, voices_state), voices = voices_forward(params, features, c.voices, state, given, temperature)
        P, union = union_forward(p, c.loss == "pause", given.get("union.factors"))
        trace = {"reader.w": w, "features": features, "voices.p": p, "voices.notes": notes, "union.factors": union[1]}
        return (P, trace, reader_state | voices_state), (history, voices, union)

    def backward(self, dP, cache):
        history, voices, union = cache
        dp = union_backward(dP, union, self.config.loss == "stop-gradient")
        dfeatures, dvoices = voices_backward(dp, voices)
        return dvoices | history_backward(dfeatures, history)
