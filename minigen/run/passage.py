"""What a network made of a passage of music: the pictures that the diary argues from (19/12, 29/12, 02/01).

A passage is a dict of arrays over T steps, whether the music was read (`read`) or generated (`generated`):

    struck   (T, 88)      what sounds
    cells    (T, C)       the same as the loss counts it: 12 classes or 88 keys, and perhaps the empty step
    P        (T, C)       the chance that each cell had
    w        (T, L)       the reader's weights of its lags
    voices   (T, V, O)    each voice's distribution over its outcomes
    octaves  (T, 88)      the octave decoder's chance of each key

without what the model does not have; and `first`, the number of the first step in the piece.
"""

import numpy as np

from minigen.backend import array_module, on_device, to_host
from minigen.ops import pitch_classes, with_empty


def read(model, params, roll, steps: int | None = None) -> dict:
    """The model reads a song (n, 88) from its beginning, or its first `steps`, as in training: with draws among what is
    true."""
    roll = (np.asarray(roll)[:steps] > 0).astype(np.uint8)
    T, past, xp = len(roll), model.config.past, array_module(params.flat)
    rows = np.concatenate([np.zeros((past, 88), np.uint8), roll])[:, None]
    batch = {"roll": rows, "start": np.zeros(1, np.int64), "mask": np.ones((T, 1), bool)}
    given = on_device(xp, model.draws(0, "passage", 0, [0], T))
    _, _, trace, _ = model.loss(params, on_device(xp, batch), given, grad=False)
    trace = model.spread(trace)
    trace = {name: to_host(array) for name, array in trace.items() if array is not None and np.ndim(array) > 2}
    trace = {name: np.moveaxis(array, 0, 1) if name.startswith("voices.") else array for name, array in trace.items()}
    return _passage(roll, trace, 0)


def generated(trace: dict) -> dict:
    """The new steps of a piece that scripts/sample.py --trace saved."""
    return _passage(trace["keys"][:, 0], trace, len(trace["roll"]) - len(trace["keys"]))


def _passage(struck, trace: dict, first: int) -> dict:
    """`trace` has steps first, then voices, then a batch of one."""
    found = {"struck": struck, "first": first}
    P = trace.get("cells.P", trace.get("decoder.p"))[:, 0]
    x = struck if P.shape[-1] >= 88 else pitch_classes(struck)
    cells = x if P.shape[-1] == x.shape[-1] else with_empty(x[:, None])[:, 0]
    found |= {"cells": cells, "P": P}
    for name, of in (("w", "reader.w"), ("octaves", "decoder.p")):
        if of in trace:
            found[name] = trace[of][:, 0]
    if "voices.p" in trace:
        found["voices"] = trace["voices.p"][:, :, 0]
    return found


def pages(passage: dict, steps: int):
    """The passage in pages of so many steps."""
    T = len(passage["struck"])
    for begin in range(0, T, steps):
        cut = {name: array[begin : begin + steps] for name, array in passage.items() if name != "first"}
        yield cut | {"first": passage["first"] + begin}
