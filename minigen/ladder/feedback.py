"""06/12 `feedback` (failed): one LSTM that goes over the music seven times, hearing what it has decided so far.

What changed from `simple`: 12 classes; seven rounds share an LSTM of 100, round v reads the union P of the rounds
before it, as probabilities with their gradient, and adds one note: p_v = softmax(W_v h + b_v), P += (1 - P) p_v. Why:
a chord should be put together note by note. How it ended: it did not learn; a mean of chords is no chord, and what a
round reads is such a mean. (Conditional sampling, three weeks later, feeds on what was drawn.)

`interleaved`: one state through all seven rounds of a step instead of a state a round, so time runs seven times slower.
"""

from dataclasses import replace

from minigen.backend import array_module
from minigen.heads import draw_at_once
from minigen.ladder.final import Final
from minigen.ladder.rung import Rung
from minigen.linear import linear_backward, linear_forward, softmax_backward, softmax_forward
from minigen.lstm import lstm_backward, lstm_forward
from minigen.ops import join, with_lags
from minigen.params import linear_shapes, lstm_shapes


class Feedback(Rung):
    name, date = "feedback", "06/12"
    config = replace(Final.config, voices=7, voice_hidden=0, loss="plain", key_shift=False)

    def layers(self):
        c = self.config
        shapes = lstm_shapes("lstm", (c.keys + 1) + c.keys * (1 + len(c.lags)), c.hidden)
        for v in range(1, c.voices + 1):
            shapes |= linear_shapes(f"head{v}", c.hidden, c.keys + 1)
        return shapes

    def states(self):
        c, states = self.config, super().states()
        del states["lstm"]  # one set of weights, a state for each round
        rounds = ["rounds"] if c.interleaved else [f"round{v + 1}" for v in range(c.voices)]
        return states | dict.fromkeys(rounds, c.hidden)

    def passes(self, T: int):
        """Which steps the LSTM goes over, in which round, and whose state it goes on from."""
        V = range(self.config.voices)
        if self.config.interleaved:
            return [(slice(t, t + 1), v, "rounds") for t in range(T) for v in V]
        return [(slice(0, T), v, f"round{v + 1}") for v in V]

    def forward(self, params, x, bits, state, draws, allowed=None, temperature=1.0):
        xp, V, T = array_module(x), self.config.voices, len(bits)
        inputs = with_lags(x, self.config.lags, T)
        union = xp.zeros((*bits.shape[:2], self.config.keys + 1), params.dtype)  # the pause is one of its cells
        p, caches, after = xp.empty((V, *union.shape), params.dtype), [], {}
        logits = xp.empty_like(p)
        for times, v, name in self.passes(T):
            h0, c0 = (after.get(key, state[key]) for key in (f"{name}.h", f"{name}.c"))
            (h, c), lstm = lstm_forward(join(union[times], inputs[times]), h0, c0, *params.layer("lstm"))
            after |= {f"{name}.h": h[-1], f"{name}.c": c[-1]}
            z, linear = linear_forward(h[1:], *params.layer(f"head{v + 1}"))
            logits[v, times] = z / temperature
            p[v, times], softmax = softmax_forward(logits[v, times])
            caches.append((lstm, linear, softmax, 1 - union[times]))
            union[times] += (1 - union[times]) * p[v, times]
        return (p, draw_at_once(logits, draws), {}, after), (p, caches)

    def backward(self, dp, cache):
        p, caches = cache
        xp = array_module(p)
        dunion, grads, later = xp.zeros_like(p[0]), {}, {}
        for (times, v, name), (lstm, linear, softmax, rest) in reversed(
            list(zip(self.passes(len(dunion)), caches, strict=True))
        ):
            # in the forward pass this was: union += (1 - union) * p[v]
            dp_v = dp[v, times] + dunion[times] * rest
            dh, *dhead = linear_backward(softmax_backward(dp_v, softmax), linear)
            dh_last, dc_last = later.get(name, (0, None))
            dh[-1] += dh_last
            dx, *later[name], dWx, dWh, db = lstm_backward(dh, dc_last, lstm)
            # in the forward pass this was: join(union, inputs)
            dunion[times] = dunion[times] * (1 - p[v, times]) + dx[..., : dunion.shape[-1]]
            for layer, arrays in (("lstm", (dWx, dWh, db)), (f"head{v + 1}", dhead)):
                grads[layer] = [a + b for a, b in zip(grads[layer], arrays, strict=True)] if layer in grads else arrays
        return grads
