"""28/12 `decoder`: the octave decoder by itself, which gives the 88 keys back to a song of 12 pitch classes.

What changed: nothing from the rung below; a new network beside it. Why: on 12 classes everything else should cost an
order of magnitude less, and the way back looked like the easier task. How it ended: "works somehow", and its mistakes
are octave mistakes, which do not hurt the ear. It plays the classes of a primer, and `final` plays through it.
"""

from dataclasses import replace

from minigen.backend import array_module
from minigen.decoder import octaves_backward, octaves_forward, octaves_step
from minigen.ladder.conditional import Conditional
from minigen.ladder.rung import Rung


class Decoder(Rung):
    name, date, needs_classes = "decoder", "28/12", True
    config = replace(Conditional.config, keys=12, lags=(1,), voices=0, loss="plain", key_shift=True)

    def layers(self):
        return {}  # but for the decoder, which `shapes` adds

    def draw_shapes(self, B: int):
        return {"decoder.u": (B, 88)}

    def loss(self, params, batch, given, state=None, grad=True):
        mask, roll, real = batch["mask"], batch["roll"], params.flat.real.dtype
        T, B = mask.shape
        state = state or self.initial_state(params, B)
        bits, classes = self.decoder_bits(batch["start"], T, real), self.music(roll[-T:], real)
        (loss, trace, new_state), octaves = octaves_forward(params, roll, classes, bits, mask, state)
        new_state |= {"past": roll[-self.config.past - 1 : -1], "time": batch["start"] + T}
        grads = params.gradients(octaves_backward(octaves)) if grad else None
        return loss, grads, trace | {"keys": roll[-T:]}, new_state

    def step(self, params, state, x, given, temperature=1.0):
        """As every rung's, but what to play is given: `classes` beside the uniforms, or `keys`."""
        given = {name: a[None] for name, a in given.items()}
        bits = self.decoder_bits(state["time"], 1, params.dtype)
        classes = self.music(given["keys"], params.dtype) if "keys" in given else given["classes"].astype(params.dtype)
        keys, trace, new_state = octaves_step(params, x[None], classes, bits, state, given, temperature)
        trace |= {"keys": keys.astype("uint8")} | ({"decoder.u": given["decoder.u"]} if "decoder.u" in given else {})
        past = array_module(x).concatenate([state["past"][1:], x[None].astype("uint8")])
        new_state |= {"past": past, "time": state["time"] + 1}
        return trace["keys"][0], {name: array[0] for name, array in trace.items()}, new_state
