"""06/12 `feedback` (failed): one LSTM that goes over the music seven times, reading what it has decided so far.

What changed from `simple`: 12 classes; seven rounds share an LSTM of 100, round v reads the union P of the rounds
before it, as probabilities with their gradient, and adds one note: p_v = softmax(W_v h + b_v), P += (1 - P) p_v. Why:
a chord should be put together note by note. How it ended: it did not learn; a mean of chords is no chord, and what a
round reads is such a mean. (Conditional sampling, three weeks later, feeds on what was drawn.)

`interleaved`: one state through all seven rounds of a step instead of one state per round, so time runs seven times
slower.
"""

from dataclasses import replace

from minigen.backend import array_module
from minigen.heads import play_at_once
from minigen.ladder.rung import Rung
from minigen.ladder.simple import Simple
from minigen.linear import linear_backward, linear_forward, softmax_backward, softmax_forward
from minigen.lstm import lstm_backward, lstm_forward
from minigen.ops import join, with_lags
from minigen.params import linear_shapes, lstm_shapes
from minigen.union import union_backward, union_forward


class Feedback(Rung):
    name, date = "feedback", "06/12"
    config = replace(Simple.config, keys=12, voices=7, hidden=100, time_bits=6, key_shift=True)

    def layers(self):
        c = self.config
        shapes = lstm_shapes("lstm", (c.keys + 1) + c.keys * (1 + len(c.lags)) + c.end_bits, c.hidden)
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

    def forward(self, params, x, bits, state, given, temperature=1.0):
        xp, c, T = array_module(x), self.config, len(bits)
        inputs = with_lags(x, c.lags, bits[..., c.time_bits :])  # the time is the octave decoder's
        P_so_far = xp.zeros((*bits.shape[:2], c.keys + 1), params.dtype)  # the pause is one of its cells
        p, caches, new_state = xp.empty((c.voices, *P_so_far.shape), params.dtype), [], {}
        logits = xp.empty_like(p)
        for times, v, name in self.passes(T):
            h0, c0 = (new_state.get(key, state[key]) for key in (f"{name}.h", f"{name}.c"))
            (h, cell), lstm = lstm_forward(join(P_so_far[times], inputs[times]), h0, c0, *params.layer("lstm"))
            new_state |= {f"{name}.h": h[-1], f"{name}.c": cell[-1]}
            z, linear = linear_forward(h[1:], *params.layer(f"head{v + 1}"))
            logits[v, times] = z / temperature
            p[v, times], softmax = softmax_forward(logits[v, times])
            caches.append((lstm, linear, softmax, 1 - P_so_far[times]))
            P_so_far[times] += (1 - P_so_far[times]) * p[v, times]
        P, union = union_forward(p, c.loss == "pause", given.get("union.factors"))
        notes, trace = play_at_once(logits, given), {"voices.p": p, "union.factors": union[1]}
        return (P, trace | ({} if notes is None else {"voices.notes": notes}), new_state), (p, caches, union)

    def backward(self, dP, cache):
        p, caches, union = cache
        dp = union_backward(dP, union, self.config.loss == "stop-gradient")
        dP_so_far, grads, later = array_module(p).zeros_like(p[0]), {}, {}
        for (times, v, name), (lstm, linear, softmax, factor) in reversed(
            list(zip(self.passes(p.shape[1]), caches, strict=True))
        ):
            # in the forward pass this was: P_so_far += (1 - P_so_far) * p[v]
            dp_v = dp[v, times] + dP_so_far[times] * factor
            dh, *dhead = linear_backward(softmax_backward(dp_v, softmax), linear)
            dh_last, dc_last = later.get(name, (0, None))
            dh[-1] += dh_last
            dx, *later[name], dWx, dWh, db = lstm_backward(dh, dc_last, lstm)
            # in the forward pass this was: join(P_so_far, inputs)
            dP_so_far[times] = dP_so_far[times] * (1 - p[v, times]) + dx[..., : dP_so_far.shape[-1]]
            for layer, arrays in (("lstm", (dWx, dWh, db)), (f"head{v + 1}", dhead)):
                grads[layer] = [a + b for a, b in zip(grads[layer], arrays, strict=True)] if layer in grads else arrays
        return grads
