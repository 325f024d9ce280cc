"""09/12 `latency` (failed): capsules that hear themselves 3, 7, 15, ..., 127 steps late, and no lags.

What changed from `simple`: the network sees the step and nothing else; instead of lagged inputs each capsule of 32
reads its own state as it was D steps ago. Why: repeats should be found inside. How it ended: "it does not see
repeats", and the original never read its delayed states at all. With D = P-1 a unit must have kept the sought step
unchanged just when it should have been predicting; with D = P that step is not in the state yet.

`linked`: the author's later form, which worked: one layer of nine groups of 24 with delays 1, 4, 8, ..., 128, where
every gate reads every group's delayed state, and an LSTM of 130 above it.
"""

from dataclasses import replace

from minigen.delayed import capsule_backward, capsule_forward, linked_backward, linked_forward
from minigen.heads import keys_backward, keys_forward, keys_shapes
from minigen.ladder.rung import Rung
from minigen.ladder.simple import Simple
from minigen.lstm import lstm_backward, lstm_layer
from minigen.ops import join
from minigen.params import lstm_shapes


class Latency(Rung):
    name, date = "latency", "09/12"
    config = replace(Simple.config, lags=(1,), delays=(3, 7, 15, 31, 47, 63, 95, 127), capsule=32, hidden=130)
    LINKED = replace(config, delays=(1, 4, 8, 16, 32, 48, 64, 96, 128), capsule=24, linked=True)

    def delays(self):
        c = self.config
        return {"groups": max(c.delays)} if c.linked else {f"delay{delay}": delay for delay in c.delays}

    def layers(self):
        c, shapes = self.config, {}
        units = c.capsule * len(c.delays)
        if c.linked:
            shapes = lstm_shapes("groups", c.keys, units) | lstm_shapes("top", units, c.hidden)
            return shapes | keys_shapes(c.keys, c.hidden)
        for name in self.delays():
            shapes |= lstm_shapes(name, c.keys, c.capsule)
        return shapes | keys_shapes(c.keys, units)

    def forward(self, params, x, bits, state, draws, allowed=None, temperature=1.0):
        x, after, outputs, capsules, top = x[-len(bits) :], {}, [], {}, None
        if self.config.linked:
            (h, on), groups = linked_forward(params, "groups", x, self.config.delays, state)
            (h, after), top = lstm_layer(params, "top", h, state)
            after, capsules = after | on, groups
        else:
            for name in self.delays():
                (h, on), capsules[name] = capsule_forward(params, name, x, state)
                outputs.append(h)
                after |= on
            h = join(*outputs)
        (P, struck, z), cells = keys_forward(params, h, draws, temperature)
        return (P, struck, {"cells.z": z}, after), (capsules, top, cells)

    def backward(self, dP, cache):
        capsules, top, cells = cache
        dh, grads = keys_backward(dP, cells)
        if top is not None:
            dh_groups, _, _, *grads["top"] = lstm_backward(dh, None, top)
            _, *grads["groups"] = linked_backward(dh_groups, capsules)
            return grads
        # in the forward pass this was: h = join(*outputs)
        for n, (name, capsule) in enumerate(capsules.items()):
            _, *grads[name] = capsule_backward(dh[..., n * self.config.capsule :][..., : self.config.capsule], capsule)
        return grads
