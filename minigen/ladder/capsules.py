"""16/12 `capsules`: nine small LSTMs, each with one lag of its own, under one that reads them all.

What changed: no LSTM sees two lags; a capsule of 24 follows the music as it was l steps ago, and an LSTM of 100 reads
the nine and the time. Why: to let each lag be understood by itself before they are compared. How it ended: fewer
weights, a lower rate (0.001), music much like `upgraded`; learning while playing did not help it.
"""

from dataclasses import replace

from minigen.heads import at_once_backward, at_once_forward, at_once_shapes
from minigen.ladder.rung import Rung
from minigen.ladder.upgraded import Upgraded
from minigen.lstm import lstm_backward, lstm_layer
from minigen.ops import join, lagged
from minigen.params import lstm_shapes


class Capsules(Rung):
    name, date = "capsules", "16/12"
    config = replace(Upgraded.config, capsule=24)

    def capsules(self) -> dict[str, int]:
        """Each capsule's name and its lag; lag 1 is the step just heard."""
        return {f"lag{lag}": lag for lag in (1, *self.config.lags)}

    def layers(self):
        c, shapes = self.config, {}
        for name in self.capsules():
            shapes |= lstm_shapes(name, c.keys, c.capsule)
        shapes |= lstm_shapes("aggregator", c.capsule * len(self.capsules()) + c.time_bits, c.hidden)
        return shapes | at_once_shapes(c.voices, c.keys, c.hidden)

    def forward(self, params, x, bits, state, draws, allowed=None, temperature=1.0):
        after, outputs, capsules = {}, [], {}
        for name, lag in self.capsules().items():
            (h, on), capsules[name] = lstm_layer(params, name, lagged(x, lag, len(bits)), state)
            outputs.append(h)
            after |= on
        (h, on), aggregator = lstm_layer(params, "aggregator", join(*outputs, bits), state)
        (p, notes), heads = at_once_forward(params, h, self.config.voices, draws, allowed, temperature)
        return (p, notes, {}, after | on), (capsules, aggregator, heads)

    def backward(self, dp, cache):
        capsules, aggregator, heads = cache
        dh, grads = at_once_backward(dp, heads)
        dx, _, _, *grads["aggregator"] = lstm_backward(dh, None, aggregator)
        # in the forward pass this was: join(*outputs, bits)
        for n, (name, capsule) in enumerate(capsules.items()):
            dh = dx[..., n * self.config.capsule : (n + 1) * self.config.capsule]
            _, _, _, *grads[name] = lstm_backward(dh, None, capsule, need_dx=False)
        return grads
