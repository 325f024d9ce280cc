"""16/12 `capsules`: nine small LSTMs, each with one lag of its own, under one that reads them all.

What changed: no LSTM sees two lags; a capsule of 24 follows the music as it was l steps ago, and an LSTM of 100 reads
the nine and the time. Why: "one more old idea"; each lag is understood by itself before they are compared. How it
ended: "so-so"; learning while playing (20/12) "did not change the situation".
"""

from dataclasses import replace

from minigen.ladder.rung import Rung
from minigen.ladder.upgraded import Upgraded
from minigen.lstm import lstm_layer, lstm_layer_backward
from minigen.ops import join, lagged
from minigen.params import lstm_shapes


class Capsules(Rung):
    name, date = "capsules", "16/12"
    config = replace(Upgraded.config, capsule=24)

    def capsules(self) -> dict[str, int]:
        """Each capsule's name and its lag; lag 1 is the step just played."""
        return {f"lag{lag}": lag for lag in (1, *self.config.lags)}

    def body_shapes(self):
        c, shapes = self.config, {}
        for name in self.capsules():
            shapes |= lstm_shapes(name, c.keys, c.capsule)
        return shapes | lstm_shapes("aggregator", c.capsule * len(self.capsules()) + c.bits, c.hidden), c.hidden

    def body(self, params, x, bits, state):
        new_state, outputs, capsules = {}, [], {}
        for name, lag in self.capsules().items():
            (h, capsule_state), capsules[name] = lstm_layer(params, name, lagged(x, lag, len(bits)), state)
            outputs.append(h)
            new_state |= capsule_state
        (h, aggregator_state), aggregator = lstm_layer(params, "aggregator", join(*outputs, bits), state)
        return (h, {}, new_state | aggregator_state), (capsules, aggregator)

    def body_backward(self, dh, cache):
        capsules, aggregator = cache
        dx, daggregator = lstm_layer_backward(dh, aggregator)
        grads = {"aggregator": daggregator}
        # in the forward pass this was: join(*outputs, bits)
        for n, (name, capsule) in enumerate(capsules.items()):
            dh_capsule = dx[..., n * self.config.capsule : (n + 1) * self.config.capsule]
            _, grads[name] = lstm_layer_backward(dh_capsule, capsule, need_dx=False)
        return grads
