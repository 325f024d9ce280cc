"""09/12 `latency` (failed): capsules that read their own state of 3, 7, 15, ..., 127 steps ago, and no lags.

What changed from `simple`: the network sees the step and nothing else; instead of lagged inputs each capsule of 32
reads its own state as it was D steps ago. Why: repeats should be found inside. How it ended: "it does not see
repeats", and the original never read its delayed states at all. With D = P-1 a unit must have kept the sought step
unchanged just when it should have been predicting; with D = P that step is not in the state yet.

`linked`: the author's later form, which worked: one layer of nine groups of 24 with delays 1, 4, 8, ..., 128, where
every gate reads every group's delayed state, and an LSTM of 130 above it.
"""

from dataclasses import replace

from minigen.delayed import capsule_backward, capsule_forward, linked_backward, linked_forward
from minigen.ladder.rung import Rung
from minigen.ladder.simple import Simple
from minigen.lstm import lstm_layer, lstm_layer_backward
from minigen.ops import join
from minigen.params import lstm_shapes


class Latency(Rung):
    name, date = "latency", "09/12"
    config = replace(Simple.config, lags=(1,), delays=(3, 7, 15, 31, 47, 63, 95, 127), capsule=32, hidden=130)
    LINKED = replace(config, delays=(1, 4, 8, 16, 32, 48, 64, 96, 128), capsule=24, linked=True)

    def delays(self):
        c = self.config
        return {"groups": max(c.delays)} if c.linked else {f"delay{delay}": delay for delay in c.delays}

    def body_shapes(self):
        c, shapes = self.config, {}
        units = c.capsule * len(c.delays)
        if c.linked:
            return lstm_shapes("groups", c.keys + c.bits, units) | lstm_shapes("top", units, c.hidden), c.hidden
        for name in self.delays():
            shapes |= lstm_shapes(name, c.keys + c.bits, c.capsule)
        return shapes, units

    def body(self, params, x, bits, state):
        x, new_state, outputs, capsules = join(x[-len(bits) :], bits), {}, [], {}
        if self.config.linked:
            (h_groups, groups_state), groups = linked_forward(params, "groups", x, self.config.delays, state)
            (h, top_state), top = lstm_layer(params, "top", h_groups, state)
            return (h, {}, groups_state | top_state), (groups, top)
        for name in self.delays():
            (h, capsule_state), capsules[name] = capsule_forward(params, name, x, state)
            outputs.append(h)
            new_state |= capsule_state
        return (join(*outputs), {}, new_state), capsules

    def body_backward(self, dh, cache):
        if self.config.linked:
            groups, top = cache
            dh_groups, dtop = lstm_layer_backward(dh, top)
            return {"top": dtop, "groups": linked_backward(dh_groups, groups, need_dx=False)[1]}
        grads = {}
        # in the forward pass this was: join(*outputs)
        for n, (name, capsule) in enumerate(cache.items()):
            dh_capsule = dh[..., n * self.config.capsule : (n + 1) * self.config.capsule]
            _, grads[name] = capsule_backward(dh_capsule, capsule, need_dx=False)
        return grads
