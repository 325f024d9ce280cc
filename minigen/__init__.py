"""minigen: a transparent generator of polyphonic piano music, with hand-written forward and backward passes.

The legend, everywhere in the code:

    T steps   B batch   I inputs   H hidden units   V voices   K keys (88, or 12 pitch classes)   L lags
    N rows of any kind   F features   C cells (K, or K+1 with the pause cell)   D delay
    x[t]      what is struck at step t, 0 or 1 for each key; a model reads x[..t] and predicts x[t+1]
    p         one voice's distribution over K keys and the pause (of ordered voices the stop), outcome K
    P         the chance that a key sounds, over all voices;   Q  the chance that nothing does
    h, c      an LSTM's output and cell, T+1 rows, row 0 the initial state;   gates i f o g, blocks of H
    dX        the gradient of the loss with respect to X;   u  uniforms in [0, 1)
    given     what comes into a rung from outside: uniforms, notes, keys, masks; its legend is in minigen/draws.py

Arrays are time-major (T, B, ...), those of voices (V, T, B, ...); weights are (in, out) so that `x @ W`. float32
trains, float64 checks.

    import minigen
    model = minigen.load("samples/chorales.npz")
    roll = minigen.generate(model, bars=16, seed=1)
    minigen.write_midi("song.mid", roll, sounding=minigen.sounding_of(model, roll, seed=1))
"""

import importlib

__version__ = "0.1.0"

# name -> module; imported when first used, so that `import minigen` costs little more than `import numpy`
_PUBLIC = {
    "load": "run.checkpoint",
    "generate": "run.sample",
    "play": "run.sample",
    "sounding_of": "run.sample",
    "read_midi": "music.midi",
    "read_song": "music.midi",
    "write_midi": "music.midi_out",
    "LADDER": "ladder",
    "MinigenError": "errors",
}
__all__ = list(_PUBLIC)


def __getattr__(name: str):
    if name not in _PUBLIC:
        raise AttributeError(f"module 'minigen' has no attribute {name!r}")
    return getattr(importlib.import_module(f"minigen.{_PUBLIC[name]}"), name)
