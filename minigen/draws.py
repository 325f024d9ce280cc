"""Random numbers as a pure function: uniforms(seed, purpose, step, row). There is no random state to save.

A counter-based generator (Philox, Salmon et al. 2011) is a function from a key and a counter to random bits. The key
is (seed, purpose), the counter starts at (row, step), so row 7 of step 1000 is the same number whoever asks for it and
in whatever order: a resumed run, another rank, another device, the third of ten outputs.
"""

import zlib

import numpy as np


def uniforms(seed: int, purpose: str, step: int, rows, shape: tuple, dtype=np.float32) -> np.ndarray:
    """Uniforms in [0, 1) of shape (len(rows), *shape); each row has its own stream.

    seed     any whole number >= 0
    purpose  what they are for ("batch", "voices", ...): streams of different purposes are unrelated
    step     the step of training, or the block of steps of a piece
    rows     row numbers of the batch
    """
    key = np.array([seed, zlib.crc32(purpose.encode())], dtype=np.uint64)
    rows = list(rows)
    out = np.empty((len(rows), *shape), dtype)
    for i, row in enumerate(rows):
        # the two low words are the stream's own counter: 2^128 numbers before rows or steps would meet
        counter = np.array([0, 0, row, step], dtype=np.uint64)
        out[i] = np.random.Generator(np.random.Philox(key=key, counter=counter)).random(shape, dtype)
    return out
