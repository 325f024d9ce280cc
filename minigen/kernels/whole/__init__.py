"""A copy of `final` and `pause-loss` for speed: their whole step and their whole loss on one song, compiled.

It runs only when asked for, `--kernels whole`, for these two models and no subclass of them, and only while the code
that it copies is as it was tested (kernels/originals.py). Everything else plays and learns by the layers.

    step.py    one step of playing: reader, aggregator, voice after voice with its draw, the octaves and their draws
    loss.py    the loss on one song and its gradients, for learning while playing
    pairs.py   two independent LSTMs side by side
"""

from dataclasses import replace

import numpy as np

from minigen.backend import array_module
from minigen.ladder import Final, PauseLoss


def copy_of(standing: dict):
    """What `backend.whole` asks: the copy of that name for this very model, one stream and a CPU, else None."""

    def find(name: str, model, params, state):
        if type(model) not in (Final, PauseLoss) or vars(model).keys() != {"config"}:
            return None
        c = model.config
        if c.keys != 12 or not c.voice_hidden or not c.usual_time or c.end_bits or c.reader or c.skip:
            return None
        if len(state["time"]) > 1 or array_module(params.flat) is not np or name not in standing:
            return None
        copy, originals_stand = standing[name]
        return copy if originals_stand() else None

    return find


def warm_up(find_copy) -> None:
    """Play two steps, and learn from one, by the copies for a model of a few cells: the rest is compiled now."""
    model = Final()
    model = Final(replace(model.config, lags=(4,), hidden=8, voices=1, voice_hidden=8, decoder_hidden=8))
    params = model.init(0)
    state, x = model.initial_state(params, 1), np.zeros((1, 88), np.uint8)
    given = {name: np.full(shape, 0.5, np.float32) for name, shape in model.draw_shapes(1).items()}
    if Player := find_copy("Player", model, params, state):
        playing = Player(model, params, state)
        for _ in range(2):
            playing.step(x, given)
    if loss := find_copy("loss", model, params, state):
        roll, mask = np.zeros((model.config.past + 2, 1, 88), np.uint8), np.ones((1, 1), bool)
        batch = {"roll": roll, "start": np.zeros(1, int), "mask": mask}
        loss(model, params, batch, model.draws(0, "training", 0, [0], 1), state)
