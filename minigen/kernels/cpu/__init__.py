"""The kernels for a CPU, in Numba: compiled when first called, once for each machine, and kept beside the sources."""

from pathlib import Path

import numpy as np
import scipy.linalg.cython_blas  # noqa: F401  np.dot in compiled code calls it: loaded here, so that limits reach it

from minigen.adam import Moments
from minigen.kernels.cpu import adam, lstm, pointwise, voices
from minigen.kernels.cpu.threads import use_threads  # noqa: F401  part of what this package offers
from minigen.params import Params
from minigen.voices import voices_shapes


def leave_out_the_old() -> None:
    """Numba compiles a function again where its own file has changed; here functions call those of other files: what
    was compiled before the newest of these files was written is deleted."""
    own, copies = Path(__file__).parent, Path(__file__).parents[1] / "whole"
    newest = max(file.stat().st_mtime for folder in (own, copies) for file in folder.glob("*.py"))
    for folder in (Path(lstm._forward.stats.cache_path), copies / "__pycache__"):
        for index in folder.glob("*.nbi"):
            if index.stat().st_mtime < newest:
                index.unlink(missing_ok=True)


def warm_up() -> None:
    """Call every float32 kernel on arrays of a few cells: what is not in the cache is compiled now."""
    leave_out_the_old()
    ones = np.ones
    x, h, mask = ones((2, 1, 3), np.float32), ones((1, 2), np.float32), ones((2, 1), bool)
    W, b = ones((3, 8), np.float32), ones(8, np.float32)
    _, cache = lstm.lstm_forward(x, h, h, W, W[:2], b)
    lstm.lstm_backward(x[..., :2], None, cache)
    p, _ = pointwise.softmax_forward(ones((2, 2, 1, 13), np.float32))
    pointwise.softmax_backward(p, p)
    pointwise.draw(p[0], ones((2, 1), np.float32) / 2, p[0] > 0)
    layers = Params(voices_shapes(1, 12, 1, 1), dtype=np.float32)
    state = {"voice1.h": ones((1, 1), np.float32), "voice1.c": ones((1, 1), np.float32)}
    _, cache = voices.voices_forward(layers, x[..., :1], 1, state, {"voices.u": ones((1, 2, 1), np.float32) / 2})
    voices.voices_backward(p[:1], cache)
    keys = ones((2, 1, 88), np.float32)
    pointwise.masked_loss_backward(pointwise.masked_loss_forward(keys, keys, keys[..., :12], mask)[1])
    adam.adam(b, b, Moments.of(b), 0.1)
