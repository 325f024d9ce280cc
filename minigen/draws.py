"""Random numbers as a pure function, and the names of all that a rung is given from outside.

`uniforms(seed, purpose, step, rows, shape)`: there is no random state to save. A counter-based generator (Philox,
Salmon et al. 2011) is a function from a key and a counter to random bits. The key is (seed, purpose), the counter
starts at (row, step), so row 7 of step 1000 is the same number whoever asks for it and in whatever order: a resumed
run, another rank, another device, the third of ten outputs.

`loss` and `step` of a rung take a dict `given`, all of it optional. Arrays of voices are (V, T, B, ...), all others
(T, B, ...); in `step` without T. The trace uses the same names for the same things.

    voices.u        (V, T, B)       uniforms that the voices draw with
    cells.u         (T, B, K)       uniforms for independent keys
    decoder.u       (T, B, 88)      uniforms for the octave decoder
    voices.notes    (V, T, B)       outcomes that the voices play, not drawn; K is the pause (or K+k a ban of k)
    keys            (T, B, 88)      keys that are struck instead of drawing octaves
    voices.allowed  (V, T, B, K+1)  bool, the outcomes that each voice may draw; the pause keeps its probability
    inject          (T, B, 88)      keys that sound, whatever the octave decoder would draw for their classes
    classes         (T, B, 12)      what `decoder` plays, since it makes up no music
    truth           (T, B, K)       the true keys: in `loss` voices draw among them and the pause
    forced          True            with truth: voices also draw so that no true key is left over (particle filter)
    ceiling         (T, B)          ordered voices: keys from this one on are masked, under a melody that sounds
    dropout.local, dropout.features  (T, B, H)  uniforms that drop units, while `ordered` is trained
    decisions.step, .voice, .at      where the decisions of ordered voices are (minigen/places.py `Places`)
    questions.step, .voice, .at      where those of the sustain decoder are
    union.factors   (V, T, B, K)    the factors 1 - P that the stop-gradient trick takes as constants (gradient check)
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
    philox = np.random.Philox(key=key)
    fresh, stream = philox.state, np.random.Generator(philox)
    rows = list(rows)
    out = np.empty((len(rows), *shape), dtype)
    for i, row in enumerate(rows):
        # the two low words are the stream's own counter: 2^128 numbers before rows or steps would meet
        fresh["state"]["counter"] = np.array([0, 0, row, step], dtype=np.uint64)
        philox.state = fresh  # with nothing left over from the row before; making a generator per row takes longer
        out[i] = stream.random(shape, dtype)
    return out
