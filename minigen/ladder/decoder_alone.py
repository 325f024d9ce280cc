"""28/12 `decoder`: the octave decoder by itself, which gives the 88 keys back to a song of 12 pitch classes.

What changed: nothing from the rung below; a new network beside it. Why: on 12 classes everything else should cost an
order of magnitude less, and the way back looked like the easier task. How it ended: "works somehow", and its mistakes
are octave mistakes, which do not hurt the ear. It plays the classes of a primer, and `final` plays through it.
"""

from dataclasses import replace

from minigen.ladder.conditional import Conditional
from minigen.ladder.rung import Rung


class Decoder(Rung):
    """In `step` what to play is given: `classes` beside the uniforms, or `keys`."""

    name, date, needs_classes = "decoder", "28/12", True
    config = replace(Conditional.config, keys=12, lags=(1,), voices=0, loss="plain", key_shift=True)

    def layers(self):
        return {}  # but for the decoder, which `shapes` adds

    def draw_shapes(self, B: int):
        return {"decoder.u": (B, 88)}

    def own_loss(self, params, x, bits, mask, state, given):
        return (0.0, {}, {}), None  # all of its loss is that of the octaves

    def own_loss_backward(self, cache):
        return {}

    def forward(self, params, x, bits, state, given, temperature=1.0):
        return (None, {}, {}), None
