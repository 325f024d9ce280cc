"""What every rung of the ladder shares: `loss` over a whole sequence with its gradients, `step` for one step.

A rung is a class with a name, a date, a config and a body; its head is the one that the config asks for
(minigen/heads.py):

    body_shapes()                        -> its weights' names and shapes, how many features it makes
    body(params, x, bits, state)         -> (features (T, B, F), trace, state), cache
    body_backward(dfeatures, cache)      -> gradients by layer

x (N, B, K) are steps of music whose last T are inputs, bits (T, B, n) the time of the steps predicted. `feedback`,
whose rounds are body and head at once, and `final`, which is written out, have `forward` and `backward` of their own;
`ordered`, whose loss is not one of cells, and `decoder`, which has none but its octaves', `own_loss` and its backward.
"""

from dataclasses import replace

import numpy as np

from minigen.backend import array_module
from minigen.config import Config
from minigen.decoder import decoder_shapes, octaves_step
from minigen.draws import uniforms
from minigen.errors import MinigenError
from minigen.heads import head_backward, head_forward, head_shapes
from minigen.ladder.beside import beside_backward, beside_forward, beside_prepared
from minigen.ladder.quiet import pause_bias
from minigen.ops import NO_END, end_bits, join, one_hot, pitch_classes, time_bits, with_empty
from minigen.params import Params, initialise
from minigen.sustain import sustain_shapes
from minigen.union import cross_entropy_backward, cross_entropy_forward


class Rung:
    """Its two methods read and return a flat dict of state. On 12 classes an octave decoder is trained beside the rung.

    Batch: roll (N, B, 88) of 0/1, whose last T rows are predicted and whose rows before them are their real past;
    start (B,), the time of the first step predicted; mask (T, B), the predictions that count. Perhaps end (B,), the
    time of the song's end; sounding (T+1, B, 88) of 0/1, from the step before the first one predicted on.
    Given: what comes from outside, by name, in minigen/draws.py.
    Trace: the uniforms under their names; `cells.P` (T, B, C) and `keys` (T, B, 88); without voices their logits
    `cells.z` and, where uniforms were given, `cells.struck`; with voices `voices.p` (V, T, B, K+1), the factors
    `union.factors` (V, T, B, K) and `voices.notes` (V, T, B); on 12 classes `decoder.p` (T, B, 88) and its logits
    `decoder.z`; with a history reader `reader.w` (T, B, L); with conditional voices `features` (T, B, F). From `step`
    the same without T. Only from `loss`: its parts `loss.cells`, `loss.decoder` and `loss.sustain`. Of ordered voices
    `step.nats` (T, B), no factors, and from `loss` all that is of voices or cells only after `spread`.
    """

    name, date, config = "", "", Config()
    conditional = False  # voices read what those before them played, so training draws
    bans = False  # voices decide which keys sound and which do not, and do not pause
    in_order = False  # voices tell a step from the top down: the loss is exact, in nats per step
    unit = "nats per cell"  # of the loss
    rate, meta_rate, batch = 0.01, 1.0, 64  # where not asked for: of Adam, of inner steps; at most
    needs_classes = False  # plays classes that are given, and makes up none

    def __init__(self, config: Config | None = None):
        self.config = config or self.config
        if self.config.dropout and not self.in_order:
            raise MinigenError(f"{self.name} has no dropout: leave out --set dropout, or use --model ordered")
        if self.conditional and not self.config.voices:
            raise MinigenError(f"{self.name} plays by conditional voices: give one or more, --set voices=5")

    @property
    def steerable(self) -> bool:
        """Whether it can keep to a key, to chords, and to a melody."""
        return self.in_order or (self.config.keys == 12 and self.config.voices > 0)

    def body_shapes(self) -> tuple[dict[str, tuple], int]:
        raise NotImplementedError

    def body(self, params, x, bits, state):
        raise NotImplementedError

    def body_backward(self, dfeatures, cache) -> dict:
        raise NotImplementedError

    def layers(self) -> dict[str, tuple]:
        """The weights of body and head."""
        body, features = self.body_shapes()
        return body | head_shapes(self.config, self.conditional, features)

    def forward(self, params, x, bits, state, given, temperature=1.0):
        """-> (P (T, B, C), trace, state), cache. Nothing is played where no uniforms were given: training draws only
        where voices are conditional."""
        (features, body_trace, body_state), body = self.body(params, x, bits, state)
        (P, head_trace, head_state), head = head_forward(
            params, features, self.config, self.conditional, state, given, temperature
        )
        return (P, body_trace | head_trace, body_state | head_state), (body, head)

    def backward(self, dP, cache) -> dict:
        """dP (T, B, C) -> gradients by layer."""
        body, head = cache
        dfeatures, dhead = head_backward(dP, head)
        return self.body_backward(dfeatures, body) | dhead

    def own_loss(self, params, x, bits, mask, state, given):
        """x (N, B, K), whose last T rows are the truth and those before them what is read -> (the loss of what the rung
        itself plays, trace, state), cache."""
        truth = x[-len(mask) :]
        (P, trace, new_state), cache = self.forward(params, x[:-1], bits, state, given | {"truth": truth})
        cells = truth if P.shape[-1] == self.config.keys else with_empty(truth)
        loss, cross = cross_entropy_forward(P, cells, mask)
        return (loss, trace | {"cells.P": P, "loss.cells": loss}, new_state), (cache, cross)

    def own_loss_backward(self, cache) -> dict:
        """-> gradients by layer."""
        cache, cross = cache
        return self.backward(cross_entropy_backward(cross), cache)

    def delays(self) -> dict[str, int]:
        """The layers whose state is more than the step before: {name: how many steps}."""
        return {}

    def shapes(self) -> dict[str, tuple]:
        """Every weight's name and shape, in the order of the flat vector."""
        c = self.config
        shapes = self.layers() | (decoder_shapes(c.time_bits, c.decoder_hidden) if c.keys == 12 else {})
        return shapes | (sustain_shapes(c.time_bits, c.sustain) if c.sustain else {})

    def init(self, seed: int, dtype=np.float32) -> Params:
        """Fresh weights; the same for the same seed."""
        params = Params(self.shapes(), dtype=dtype)
        initialise(params, np.random.default_rng(seed))
        for name, bias in params.views.items():
            if name.startswith("head") and name.endswith(".b"):
                bias.reshape(-1, self.config.keys + 1)[:, -1] = self.config.pause_bias
            if name in ("decide.b", "outcome.b"):  # the bans, or the stop
                bias[self.config.keys :] = self.config.pause_bias
        return params

    def quiet(self, songs):
        """The quiet start: this rung with the bias of the pause with which the first model plays as many notes per step
        as these songs (T, 88) have (minigen/ladder/quiet.py). Rungs without a pause stay as they are."""
        c = self.config
        return type(self)(replace(c, pause_bias=pause_bias(self, songs))) if c.voices else self

    def initial_state(self, params: Params, B: int, end: int = NO_END) -> dict:
        """The state before the first step of a song: an empty past, every LSTM at zero, time 0; the time of its end,
        where the rung is told."""
        xp, delays = array_module(params.flat), self.delays()
        state = {"past": xp.zeros((self.config.past, B, 88), "uint8"), "time": xp.zeros(B, "int64")}
        state |= {"end": xp.full(B, end, "int64")} if self.config.end_bits else {}
        shapes = {layer: (delays[layer], B, H) if layer in delays else (B, H) for layer, H in self.states().items()}
        zeros = {shape: xp.zeros(shape, params.dtype) for shape in set(shapes.values())}  # no state is edited in place
        return state | {f"{layer}.{part}": zeros[shape] for layer, shape in shapes.items() for part in "hc"}

    def states(self) -> dict[str, int]:
        """Every LSTM state and its size: one for each LSTM but the sustain decoder's, which plays by itself."""
        shapes = {name: shape for name, shape in self.shapes().items() if not name.startswith("sustain.")}
        return {name[:-3]: shape[0] for name, shape in shapes.items() if name.endswith(".Wh")}

    def draw_shapes(self, B: int) -> dict[str, tuple]:
        """The uniforms that a step of playing takes, and their shapes: {"voices.u": (V, B), "decoder.u": (B, 88)}."""
        c = self.config
        own = {"voices.u": (c.voices, B)} if c.voices else {"cells.u": (B, c.keys)}
        return own | ({"decoder.u": (B, 88)} if c.keys == 12 else {})

    def draws(self, seed: int, purpose: str, step: int, rows, T: int) -> dict:
        """The uniforms that `loss` takes for these rows, a pure function of the arguments: {"voices.u": (V, T, B)}."""
        if not self.conditional:
            return {}
        return {"voices.u": uniforms(seed, purpose, step, rows, (T, self.config.voices)).transpose(2, 1, 0)}

    def spread(self, trace: dict) -> dict:
        """The trace of `loss` with what only pictures and figures need."""
        return trace

    def prepared(self, batch: dict) -> dict:
        """What `loss` takes that the host makes of a batch, so that a GPU need not be read."""
        return beside_prepared(self.config, batch)

    def time_bits(self, start, T: int, dtype, end=None):
        """What the rung is told of the time of T predicted steps, the first at `start` (B,), and of the time of the end
        (B,), where it is known -> (T, B, bits)."""
        c = self.config
        first = start - 1 if c.time_of == "input" else start
        bits = time_bits(first, T, c.time_bits, dtype, c.bar, c.time_order == "high first")
        if not c.end_bits:
            return bits
        return join(bits, end_bits(start, 0 * start + NO_END if end is None else end, T, c.end_bits, dtype))

    def decoder_bits(self, start, T: int, dtype, bits=None):
        """The same for the octave decoder, minigen's own: of the step predicted, the lowest bit first. The rung's
        `bits` where they are these."""
        c = self.config
        known = bits is not None and c.usual_time
        return bits[..., : c.time_bits] if known else time_bits(start, T, c.time_bits, dtype, c.bar)

    def music(self, roll, dtype):
        """A roll (..., 88) as what the rung plays: 12 classes or 88 keys, (..., K) of 0/1."""
        return (pitch_classes(roll) if self.config.keys == 12 else roll).astype(dtype)

    def loss(self, params: Params, batch: dict, given: dict, state: dict | None = None, grad: bool = True):
        """Mean cross-entropy of the cells plus that of the decoder; of `ordered` nats per step -> loss, gradients (or
        None), trace, state.

        Of the state given, the LSTMs' part is used: the past and the time are the batch's. The one returned goes on
        with `step`.
        """
        c, mask, roll = self.config, batch["mask"], batch["roll"]
        (T, B), real = mask.shape, params.flat.real.dtype
        state = state or self.initial_state(params, B)
        end = batch.get("end", 0 * batch["start"] + NO_END)
        x, bits = self.music(roll, real), self.time_bits(batch["start"], T, real, end)

        (loss, trace, new_state), cache = self.own_loss(params, x, bits, mask, state, given)
        clock = self.decoder_bits(batch["start"], T, real, bits)
        (beside, beside_trace, beside_state), others = beside_forward(c, params, batch, x[-T:], clock, state, given)
        loss, trace = loss + beside, trace | beside_trace | {"keys": roll[-T:]} | _uniforms_of(given)
        new_state |= beside_state | {"past": roll[-c.past - 1 : -1], "time": batch["start"] + T}
        new_state |= {"end": end} if c.end_bits else {}
        if not grad:
            return loss, None, trace, new_state
        return loss, params.gradients(self.own_loss_backward(cache) | beside_backward(others)), trace, new_state

    def step(self, params: Params, state: dict, x, given: dict, temperature: float = 1.0):
        """Read x (B, 88), the step just played, and play the next one -> keys (B, 88) of 0/1, trace, state.

        `temperature` divides the logits of what is drawn, voices and keys.
        """
        c, xp = self.config, array_module(params.flat)
        past = xp.concatenate([state["past"][1:], x[None].astype("uint8")])
        bits = self.time_bits(state["time"], 1, params.dtype, state.get("end"))
        given = {name: a[:, None] if name.startswith(("voices.", "union.")) else a[None] for name, a in given.items()}

        (P, trace, new_state), _ = self.forward(params, self.music(past, params.dtype), bits, state, given, temperature)
        trace |= _uniforms_of(given) | ({} if P is None else {"cells.P": P})
        if "keys" in given:
            keys, played = given["keys"], self.music(given["keys"], params.dtype)
        elif self.needs_classes:
            played = given["classes"].astype(params.dtype)
        elif c.voices:
            keys = played = one_hot(trace["voices.notes"], c.keys, params.dtype).max(axis=0)
        else:
            keys = played = trace["cells.struck"]
        if c.keys == 12:
            clock = self.decoder_bits(state["time"], 1, params.dtype, bits)
            keys, decoder_trace, decoder_state = octaves_step(params, x[None], played, clock, state, given, temperature)
            trace, new_state = trace | decoder_trace, new_state | decoder_state
        trace["keys"] = keys.astype("uint8")
        trace = {name: a[:, 0] if name.startswith(("voices.", "union.")) else a[0] for name, a in trace.items()}
        new_state |= {"past": past, "time": state["time"] + 1}
        return trace["keys"], trace, new_state | ({"end": state["end"]} if c.end_bits else {})


def _uniforms_of(given: dict) -> dict:
    return {name: u for name, u in given.items() if name.endswith(".u")}
