"""28/12 `decoder`: the octave decoder by itself, which gives the 88 keys back to a song of 12 pitch classes.

What changed: nothing from the rung below; a new network beside it. Why: on 12 classes everything else should cost an
order of magnitude less, and the way back looked like the easier task. How it ended: "works somehow", and its mistakes
are octave mistakes, which do not hurt the ear. It plays the classes of a primer, and `final` plays through it.
"""

from dataclasses import replace

import numpy as np

from minigen.backend import array_module
from minigen.decoder import (
    decoder_backward,
    decoder_forward,
    draw_keys,
    octave_loss_backward,
    octave_loss_forward,
)
from minigen.ladder.final import Final
from minigen.ladder.rung import Rung
from minigen.linear import sigmoid
from minigen.ops import of_class, time_bits


class Decoder(Rung):
    name, date, follows = "decoder", "28/12", True
    config = replace(Final.config, lags=(1,), voices=0, voice_hidden=0, loss="plain")

    def layers(self):
        return {}  # but for the decoder, which `shapes` adds

    def draw_sizes(self):
        return {"decoder": 88}

    def loss(self, params, batch, draws, state=None, grad=True):
        mask, real = batch["mask"], params.flat.real.dtype
        T, B = mask.shape
        state = state or self.rest(params, B)
        keys, bits = batch["roll"].astype(real), time_bits(batch["start"], T, self.config.time_bits, real)
        classes = self.music(batch["roll"][-T:], real)
        (z, heard), decoder = decoder_forward(params, keys[-T - 1 : -1], classes, bits, state)
        (loss, p), octave = octave_loss_forward(z, keys[-T:], classes, mask)
        grads = None
        if grad:
            grads = params.with_flat(array_module(params.flat).zeros_like(params.flat))
            for layer, arrays in decoder_backward(octave_loss_backward(octave), decoder).items():
                grads.add(layer, *arrays)
        past = {"past": batch["roll"][-self.config.past - 1 : -1], "time": batch["start"] + T}
        return (
            loss,
            grads,
            {"decoder.p": p, "decoder.z": z, "keys": batch["roll"][-T:], "loss.decoder": loss},
            past | heard,
        )

    def step(self, params, state, x, draws, temperature=1.0):
        """As every rung's, but what to play is given: {"classes": (B, 12)} beside the uniforms, or the keys."""
        bits = time_bits(state["time"], 1, self.config.time_bits, params.dtype)
        classes = self.music(draws["keys"], params.dtype) if "keys" in draws else draws["classes"].astype(params.dtype)
        (z, heard), _ = decoder_forward(params, x[None].astype(params.dtype), classes[None], bits, state)
        p = (sigmoid(z / temperature) * of_class(classes))[0]
        keys = draws["keys"] if "keys" in draws else draw_keys(p, draws["decoder"], classes).astype(np.uint8)
        trace = {"decoder.p": p, "decoder.z": z[0], "keys": keys} | (
            {"decoder.u": draws["decoder"]} if "decoder" in draws else {}
        )
        past = array_module(x).concatenate([state["past"][1:], x[None].astype("uint8")])
        return keys, trace, {"past": past, "time": state["time"] + 1} | heard
