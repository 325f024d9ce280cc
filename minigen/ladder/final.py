"""29/12 `final`: 12 classes, history reader, five conditional voices with an LSTM each, octave decoder.

Below it stand `conditional` (26/12: 88 keys, seven linear voices) and `decoder` (28/12). What changed: the song is
folded to 12 pitch classes, which cuts the cost by an order of magnitude and lets every song be trained in all 12 keys;
each voice is an LSTM of its own; the octave decoder brings the 88 keys back. Why: "the local harmonies are still
caught badly". How it ended: "some harmonies have appeared", though the notes were shared out among the voices oddly,
and nobody could say why it learned only with the stop-gradient trick.
"""

import numpy as np

from minigen.backend import array_module
from minigen.config import Config
from minigen.decoder import (
    decoder_backward,
    decoder_forward,
    decoder_shapes,
    draw_keys,
    octave_loss_backward,
    octave_loss_forward,
)
from minigen.draws import uniforms
from minigen.errors import MinigenError
from minigen.linear import sigmoid
from minigen.ops import of_class, one_hot, pitch_classes, time_bits, with_empty
from minigen.params import Params, initialise
from minigen.reader import history_backward, history_forward, history_shapes
from minigen.union import cross_entropy_backward, cross_entropy_forward, union_backward, union_forward
from minigen.voices import allow_truth, voices_backward, voices_forward, voices_shapes


class Final:
    """`loss` over a whole sequence with its gradients, `step` for one step; both read and return a flat dict of state.

    Batch: roll (P+T, B, 88) of 0/1, whose row P is the first step predicted and whose rows before it are its real
    past; start (B,), that step's time in the song; mask (T, B), the predictions that count.
    Trace: `reader.w` (T, B, L), `voices.p` (T, B, V, K+1), `voices.notes` (T, B, V), `cells.P` (T, B, C), `decoder.p`
    and `keys` (T, B, 88); from `step` the same without T; `voices.u` and `decoder.u` where uniforms were given. Only
    from `loss`: its parts `loss.cells` and `loss.decoder`, and `union.factors`, what the trick holds constant.
    """

    name, date, config = "final", "29/12", Config()

    def __init__(self, config: Config | None = None):
        self.config = config or self.config
        if self.config.keys != 12:
            raise MinigenError(f"{self.name} plays 12 pitch classes: a configuration of 88 keys is not for it")

    def draw_sizes(self) -> dict[str, int]:
        """How many uniforms of each kind a step of generation takes."""
        return {"voices": self.config.voices, "decoder": 88}

    def draws(self, seed: int, purpose: str, step: int, rows, T: int) -> dict:
        """The uniforms that `loss` takes for these rows: {"voices": (T, B, V)}, a pure function of the arguments."""
        return {"voices": uniforms(seed, purpose, step, rows, (T, self.config.voices)).swapaxes(0, 1)}

    def shapes(self) -> dict[str, tuple]:
        """Every weight's name and shape, in the order of the flat vector."""
        c = self.config
        return {
            **history_shapes(c.keys, c.time_bits, c.lags, c.hidden),
            **voices_shapes(c.voices, c.keys, c.hidden, c.voice_hidden),
            **decoder_shapes(c.time_bits, c.decoder_hidden),
        }

    def init(self, seed: int, dtype=np.float32) -> Params:
        """Fresh weights; the same for the same seed."""
        params = Params(self.shapes(), dtype=dtype)
        initialise(params, np.random.default_rng(seed))
        return params

    def rest(self, params: Params, B: int) -> dict:
        """The state before the first step of a song: nothing was heard, every LSTM at zero, time 0."""
        xp = array_module(params.flat)
        state = {"past": xp.zeros((self.config.past, B, 88), "uint8"), "time": xp.zeros(B, "int64")}
        for name, shape in self.shapes().items():
            if name.endswith(".Wh"):
                state[name[:-2] + "h"] = state[name[:-2] + "c"] = xp.zeros((B, shape[0]), params.dtype)
        return state

    def loss(self, params: Params, batch: dict, draws: dict, state: dict | None = None, grad: bool = True):
        """Mean cross-entropy of the cells plus that of the decoder -> loss, gradients (or None), trace, state.

        draws: {"voices": uniforms (T, B, V)} or {"notes": outcomes (T, B, V)}; for a gradient check of the
        stop-gradient form also {"factors": (V, T, B, K)}. Of the state given, the LSTMs' part is used: the past and the
        time are the batch's. The one returned goes on with `step`.
        """
        c, mask = self.config, batch["mask"]
        T, B = mask.shape
        state = state or self.rest(params, B)
        keys = batch["roll"].astype(params.flat.real.dtype)
        x = pitch_classes(batch["roll"]).astype(keys.dtype)
        bits = time_bits(batch["start"], T, c.time_bits, keys.dtype)
        truth = x[-T:]
        cells = with_empty(truth) if c.loss == "pause" else truth

        (features, w, read), history = history_forward(params, x[:-1], bits, c.lags, state)
        (p, notes, sung), voices = voices_forward(params, features, c.voices, state, draws, allow_truth(truth))
        P, union = union_forward(p, c.loss == "pause", draws.get("factors"))
        cells_loss, cross = cross_entropy_forward(P, cells, mask)
        (z, heard), decoder = decoder_forward(params, keys[-T - 1 : -1], truth, bits, state)
        (decoder_loss, decoder_p), octave = octave_loss_forward(z, keys[-T:], truth, mask)

        grads = None
        if grad:
            grads = params.with_flat(array_module(params.flat).zeros_like(params.flat))
            ddecoder = decoder_backward(octave_loss_backward(octave), decoder)
            dp = union_backward(cross_entropy_backward(cross), union, c.loss == "stop-gradient")
            dfeatures, dvoices = voices_backward(dp, voices)
            dhistory = history_backward(dfeatures, history)
            for layer, arrays in (dhistory | dvoices | ddecoder).items():
                grads.add(layer, *arrays)

        trace = {
            "reader.w": w,
            "voices.p": p.transpose(1, 2, 0, 3),
            "voices.notes": notes.transpose(1, 2, 0),
            "union.factors": union[1],
            "cells.P": P,
            "decoder.p": decoder_p,
            "keys": batch["roll"][-T:],
            "loss.cells": cells_loss,
            "loss.decoder": decoder_loss,
        }
        if "voices" in draws:
            trace["voices.u"] = draws["voices"]
        past = {"past": batch["roll"][-c.past - 1 : -1], "time": batch["start"] + T}
        return cells_loss + decoder_loss, grads, trace, past | read | sung | heard

    def step(self, params: Params, state: dict, x, draws: dict, temperature: float = 1.0):
        """Hear x (B, 88), the step just played, and play the next one -> keys (B, 88) of 0/1, trace, state.

        draws: {"voices": uniforms (B, V), "decoder": uniforms (B, 88)}, or {"notes": (B, V), "keys": (B, 88)} to play
        what is given. `temperature` divides the logits of what is drawn, voices and keys.
        """
        c, xp = self.config, array_module(params.flat)
        past = xp.concatenate([state["past"][1:], x[None].astype("uint8")])
        bits = time_bits(state["time"], 1, c.time_bits, params.dtype)
        draws = {name: u[None] for name, u in draws.items()}

        (features, w, read), _ = history_forward(params, pitch_classes(past).astype(params.dtype), bits, c.lags, state)
        (p, notes, sung), _ = voices_forward(params, features, c.voices, state, draws, None, temperature)
        P, _ = union_forward(p, c.loss == "pause")
        if "keys" in draws:
            classes = pitch_classes(draws["keys"])
        else:
            classes = one_hot(notes, c.keys, params.dtype).max(axis=0)
        (z, heard), _ = decoder_forward(params, x[None].astype(params.dtype), classes.astype(params.dtype), bits, state)
        decoder_p = sigmoid(z / temperature) * of_class(classes)
        keys = draws["keys"] if "keys" in draws else draw_keys(decoder_p, draws["decoder"], classes)
        keys = keys[0].astype("uint8")

        trace = {
            "reader.w": w[0],
            "voices.p": p[:, 0].swapaxes(0, 1),
            "voices.notes": notes[:, 0].T,
            "cells.P": P[0],
            "decoder.p": decoder_p[0],
            "keys": keys,
        }
        trace |= {f"{name}.u": draws[name][0] for name in ("voices", "decoder") if name in draws}
        return keys, trace, {"past": past, "time": state["time"] + 1} | read | sung | heard
