"""A copy of `final` and `pause-loss` for speed: their whole step and their whole loss on one song, compiled.

It runs only when asked for, `--kernels whole`, for these two models and no subclass of them, and only while the code
that it copies is as it was tested (kernels/originals.py). Everything else plays and learns by the layers.

    step.py    one step of playing: reader, aggregator, voice after voice with its draw, the octaves and their draws
    loss.py    the loss on one song and its gradients, for learning while playing
    pairs.py   two independent LSTMs side by side
"""

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
