"""`ordered`, minigen's own, after the diary: 88 keys, told from the top down (minigen/ordered.py).

What changed from `history`: voice v plays the v-th highest key, or stops, and reads what was played above it; no union,
no octave decoder, no draw of notes in training; the loss is exact, nats per step. The aggregator reads the input too;
while training, units of the local LSTM and of the features are dropped (Srivastava et al. 2014). Why: `final` guesses
its octaves, so that its lines leap.
"""

from dataclasses import replace

from minigen.backend import array_module
from minigen.draws import uniforms
from minigen.errors import MinigenError
from minigen.ladder.history import History
from minigen.ordered import (
    chances,
    decisions_of,
    ordered_backward,
    ordered_forward,
    ordered_play,
    ordered_shapes,
    paths_of,
)
from minigen.places import places_in, places_of, prefixed
from minigen.reader import history_backward, history_forward


class Ordered(History):
    name, date, in_order = "ordered", "later", True
    unit, meta_rate, batch = "nats per step", 0.01, 4
    config = replace(
        History.config,
        voices=8,
        voice_hidden=256,
        hidden=180,
        reader=100,
        skip=True,
        dropout=0.3,
        key_shift=True,
        end_bits=8,
    )

    def __init__(self, config=None):
        super().__init__(config)
        c = self.config
        if c.keys != 88 or c.voices < 2 or not c.voice_hidden:
            raise MinigenError("ordered tells 88 keys by voices of which the last only stops: give voices over 1, "
                               "voice_hidden over 0, and leave out --set keys")  # fmt: skip

    def layers(self):
        body, features = self.body_shapes()
        return body | ordered_shapes(self.config.keys, features, self.config.voice_hidden)

    def draws(self, seed, purpose, step, rows, T):
        """Uniforms for dropout, where it is trained: nothing is dropped in validation, while playing, or in a check."""
        c = self.config
        if not c.dropout or purpose != "training":
            return {}
        u = uniforms(seed, "dropout", step, rows, (T, c.hidden + (c.aggregator or c.hidden))).transpose(1, 0, 2)
        return {"dropout.local": u[..., : c.hidden], "dropout.features": u[..., c.hidden :]}

    def prepared(self, batch):
        places = places_of(batch["roll"][-len(batch["mask"]) :].reshape(-1, 88))
        return super().prepared(batch) | prefixed("decisions", places)

    def keep(self, u, dtype):
        """Uniforms, or None -> what is left of each unit: 0, or 1 / (1 - dropout); None."""
        return None if u is None else (u >= self.config.dropout).astype(dtype) / (1 - self.config.dropout)

    def own_loss(self, params, x, bits, mask, state, given):
        c, truth = self.config, x[-len(mask) :]
        local, keep = (self.keep(given.get(f"dropout.{name}"), params.dtype) for name in ("local", "features"))
        (features, w, new_state), history = history_forward(params, x[:-1], bits, c.lags, state, c.skip, local)
        features = features if keep is None else features * keep
        (loss, nats, p, _), head = ordered_forward(params, features, truth, mask, places_in(given, "decisions"))
        trace = {"reader.w": w, "loss.cells": loss, "step.nats": nats, "decisions.p": p}
        return (loss, trace, new_state), (history, keep, head)

    def own_loss_backward(self, cache):
        history, keep, head = cache
        dfeatures, dhead = ordered_backward(head)
        # in the forward pass this was: features * keep
        return history_backward(dfeatures if keep is None else dfeatures * keep, history) | dhead

    def spread(self, trace):
        """With `voices.p`, `voices.notes` and `cells.P` of all voices, of which nothing learns."""
        T, B, K = trace["keys"].shape
        made = decisions_of((trace["keys"] > 0).reshape(T * B, K).astype(trace["decisions.p"].dtype))
        p, notes = paths_of(trace["decisions.p"], made, self.config.voices, T, B)
        trace = {name: array for name, array in trace.items() if name != "decisions.p"}
        return trace | {"voices.p": p, "voices.notes": notes, "cells.P": chances(p, notes)}

    def forward(self, params, x, bits, state, given, temperature=1.0):
        """One step of playing, or of reading the `keys` given; there is no cache."""
        if "keys" in given:
            truth = self.music(given["keys"], params.dtype)
            whole = array_module(x).concatenate([x, truth])
            mask = array_module(x).ones(truth.shape[:2], bool)
            (_, trace, new_state), _ = self.own_loss(params, whole, bits, mask, state, given)
            del trace["loss.cells"]
            trace = self.spread(trace | {"keys": given["keys"]})
            return (trace["cells.P"], trace, new_state), None
        (features, trace, new_state), _ = self.body(params, x, bits, state)
        p, notes = ordered_play(params, features, self.config.voices, given, temperature)
        return (chances(p, notes), trace | {"voices.p": p, "voices.notes": notes}, new_state), None
