"""What every rung of the ladder shares: `loss` over a whole sequence with its gradients, `step` for one step.

A rung is a class with a name, a date, a config and a body; its head is the one that the config asks for
(minigen/heads.py):

    body_shapes()                        -> its weights' names and shapes, how many features it makes
    body(params, x, bits, state)         -> (features (T, B, F), trace, state), cache
    body_backward(dfeatures, cache)      -> gradients by layer

x (N, B, K) are steps of music whose last T are inputs, bits (T, B, n) the time of the steps predicted. `feedback`,
whose rounds are body and head at once, has `layers`, `forward` and `backward` of its own; `decoder` its own contract.
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
from minigen.heads import head_backward, head_forward, head_shapes
from minigen.linear import sigmoid
from minigen.ops import of_class, one_hot, pitch_classes, time_bits, with_empty
from minigen.params import Params, initialise
from minigen.union import cross_entropy_backward, cross_entropy_forward, union_backward, union_forward
from minigen.voices import allow_truth


class Rung:
    """Both methods read and return a flat dict of state. On 12 classes an octave decoder is trained beside the rung.

    Batch: roll (P+T, B, 88) of 0/1, whose row P is the first step predicted and whose rows before it are its real
    past; start (B,), that step's time in the song; mask (T, B), the predictions that count.
    Trace: `cells.P` (T, B, C) and `keys` (T, B, 88); without voices their logits `cells.z`; with voices `voices.p`
    (T, B, V, K+1), `voices.notes` (T, B, V) and, where uniforms were given, `voices.u`; on 12 classes `decoder.p`
    (T, B, 88), its logits `decoder.z` and `decoder.u`; with a history reader `reader.w` (T, B, L); with voices
    that hear each other `features` (T, B, F). From `step` the same without T. Only from `loss`: its parts
    `loss.cells` and `loss.decoder`, and `union.factors`, what the trick holds constant.
    """

    name, date, config = "", "", Config()
    hears = False  # voices hear each other, so training draws
    follows = False  # plays classes that are given, and makes up none

    def __init__(self, config: Config | None = None):
        self.config = config or self.config

    def body_shapes(self) -> tuple[dict[str, tuple], int]:
        raise NotImplementedError

    def body(self, params, x, bits, state):
        raise NotImplementedError

    def body_backward(self, dfeatures, cache) -> dict:
        raise NotImplementedError

    def layers(self) -> dict[str, tuple]:
        """The weights of body and head."""
        body, features = self.body_shapes()
        return body | head_shapes(self.config, self.hears, features)

    def forward(self, params, x, bits, state, draws, allowed=None, temperature=1.0):
        """-> (p, played, trace, state), cache: with voices p (V, T, B, K+1) and the outcomes (V, T, B), without them
        the chance of each key (T, B, K) and the keys struck. Nothing is played where no uniforms were given: training
        draws only where voices hear each other."""
        (features, seen, after), body = self.body(params, x, bits, state)
        (p, played, said, sung), head = head_forward(
            params, features, self.config, self.hears, state, draws, allowed, temperature
        )
        return (p, played, seen | said, after | sung), (body, head)

    def backward(self, dp, cache) -> dict:
        """dp like p -> gradients by layer."""
        body, head = cache
        dfeatures, dhead = head_backward(dp, head)
        return self.body_backward(dfeatures, body) | dhead

    def delays(self) -> dict[str, int]:
        """The layers whose state is more than the step before: {name: how many steps}."""
        return {}

    def shapes(self) -> dict[str, tuple]:
        """Every weight's name and shape, in the order of the flat vector."""
        c = self.config
        return self.layers() | (decoder_shapes(c.time_bits, c.decoder_hidden) if c.keys == 12 else {})

    def init(self, seed: int, dtype=np.float32) -> Params:
        """Fresh weights; the same for the same seed."""
        params = Params(self.shapes(), dtype=dtype)
        initialise(params, np.random.default_rng(seed))
        for name, bias in params.views.items():
            if name.startswith("head") and name.endswith(".b"):
                bias.reshape(-1, self.config.keys + 1)[:, -1] = self.config.pause_bias
        return params

    def rest(self, params: Params, B: int) -> dict:
        """The state before the first step of a song: nothing was heard, every LSTM at zero, time 0."""
        xp, delays = array_module(params.flat), self.delays()
        state = {"past": xp.zeros((self.config.past, B, 88), "uint8"), "time": xp.zeros(B, "int64")}
        for layer, H in self.states().items():
            shape = (delays[layer], B, H) if layer in delays else (B, H)
            state[f"{layer}.h"] = state[f"{layer}.c"] = xp.zeros(shape, params.dtype)
        return state

    def states(self) -> dict[str, int]:
        """Every LSTM state and its size: one for each LSTM."""
        return {name[:-3]: shape[0] for name, shape in self.shapes().items() if name.endswith(".Wh")}

    def draw_sizes(self) -> dict[str, int]:
        """How many uniforms of each kind a step of generation takes."""
        c = self.config
        own = {"voices": c.voices} if c.voices else {"cells": c.keys}
        return own | ({"decoder": 88} if c.keys == 12 else {})

    def draws(self, seed: int, purpose: str, step: int, rows, T: int) -> dict:
        """The uniforms that `loss` takes for these rows, a pure function of the arguments: {"voices": (T, B, V)}."""
        if not self.hears:
            return {}
        return {"voices": uniforms(seed, purpose, step, rows, (T, self.config.voices)).swapaxes(0, 1)}

    def music(self, roll, dtype):
        """A roll (..., 88) as what the rung plays: 12 classes or 88 keys, (..., K) of 0/1."""
        return (pitch_classes(roll) if self.config.keys == 12 else roll).astype(dtype)

    def union(self, p, played, held=None):
        """What the rung says about the cells -> (P (T, B, C), trace), cache."""
        if not self.config.voices:
            return (p, {}), None
        P, cache = union_forward(p, self.config.loss == "pause", held)
        trace = {"voices.p": p.transpose(1, 2, 0, 3)}
        if played is not None:
            trace["voices.notes"] = played.transpose(1, 2, 0)
        return (P, trace), cache

    def loss(self, params: Params, batch: dict, draws: dict, state: dict | None = None, grad: bool = True):
        """Mean cross-entropy of the cells plus that of the decoder -> loss, gradients (or None), trace, state.

        draws: {"voices": uniforms (T, B, V)} or {"notes": outcomes (T, B, V)}; for a gradient check of the
        stop-gradient form also {"factors": (V, T, B, K)}. Of the state given, the LSTMs' part is used: the past and the
        time are the batch's. The one returned goes on with `step`.
        """
        c, mask = self.config, batch["mask"]
        T, B = mask.shape
        state = state or self.rest(params, B)
        real = params.flat.real.dtype
        x = self.music(batch["roll"], real)
        bits = time_bits(batch["start"], T, c.time_bits, real)
        truth = x[-T:]

        (p, played, seen, after), own = self.forward(params, x[:-1], bits, state, draws, allow_truth(truth))
        (P, trace), union = self.union(p, played, draws.get("factors"))
        cells = truth if P.shape[-1] == c.keys else with_empty(truth)
        loss, cross = cross_entropy_forward(P, cells, mask)
        trace |= seen | {"cells.P": P, "keys": batch["roll"][-T:], "loss.cells": loss}
        if c.keys == 12:
            keys = batch["roll"].astype(real)
            (z, heard), decoder = decoder_forward(params, keys[-T - 1 : -1], truth, bits, state)
            (decoder_loss, decoder_p), octave = octave_loss_forward(z, keys[-T:], truth, mask)
            loss, after = loss + decoder_loss, after | heard
            trace |= {"decoder.p": decoder_p, "decoder.z": z, "loss.decoder": decoder_loss}

        grads = None
        if grad:
            grads = params.with_flat(array_module(params.flat).zeros_like(params.flat))
            layers = decoder_backward(octave_loss_backward(octave), decoder) if c.keys == 12 else {}
            dp = cross_entropy_backward(cross)
            if union is not None:
                dp = union_backward(dp, union, c.loss == "stop-gradient")
            for layer, arrays in (layers | self.backward(dp, own)).items():
                grads.add(layer, *arrays)

        if union is not None:
            trace["union.factors"] = union[1]
        if "voices" in draws:
            trace["voices.u"] = draws["voices"]
        past = {"past": batch["roll"][-c.past - 1 : -1], "time": batch["start"] + T}
        return loss, grads, trace, past | after

    def step(self, params: Params, state: dict, x, draws: dict, temperature: float = 1.0):
        """Hear x (B, 88), the step just played, and play the next one -> keys (B, 88) of 0/1, trace, state.

        draws: uniforms, as `draw_sizes` names them, (B, n) each, or {"notes": (B, V), "keys": (B, 88)} to play what is
        given. On 12 classes also {"allowed": (B, V, 13) bool}, what each voice may draw, the pause keeping its chance,
        and {"inject": (B, 88)}, keys that sound whatever the octave decoder says of their classes.
        `temperature` divides the logits of what is drawn, voices and keys.
        """
        c, xp = self.config, array_module(params.flat)
        past = xp.concatenate([state["past"][1:], x[None].astype("uint8")])
        bits = time_bits(state["time"], 1, c.time_bits, params.dtype)
        draws = {name: u[None] for name, u in draws.items()}

        music = self.music(past, params.dtype)
        (p, played, seen, after), _ = self.forward(params, music, bits, state, draws, None, temperature)
        (P, trace), _ = self.union(p, played)
        trace |= seen | {"cells.P": P}
        if c.voices and played is not None:
            played = one_hot(played, c.keys, params.dtype).max(axis=0)
        if c.keys == 12:
            classes = self.music(draws["keys"], params.dtype) if "keys" in draws else played
            (z, heard), _ = decoder_forward(params, x[None].astype(params.dtype), classes, bits, state)
            trace["decoder.p"] = decoder_p = sigmoid(z / temperature) * of_class(classes)
            trace["decoder.z"] = z
            after |= heard
            played = None if "keys" in draws else draw_keys(decoder_p, draws["decoder"], classes)
            if "inject" in draws:
                played = xp.where(of_class(pitch_classes(draws["inject"])) > 0, draws["inject"] > 0, played)
        keys = draws.get("keys", played).astype("uint8")
        trace |= {f"{name}.u": draws[name] for name in ("voices", "cells", "decoder") if name in draws} | {"keys": keys}
        trace = {name: array[0] for name, array in trace.items()}
        return keys[0], trace, {"past": past, "time": state["time"] + 1} | after
