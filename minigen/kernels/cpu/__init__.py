"""The kernels for a CPU, in Numba: compiled when first called, and kept (kept.py)."""

import numpy as np
import scipy.linalg.cython_blas  # noqa: F401  np.dot in compiled code calls it: loaded here, so that limits reach it

from minigen.adam import Moments
from minigen.kernels.cpu import adam, lstm, pointwise, voices
from minigen.kernels.cpu.kept import REASON, warm_up_checked  # noqa: F401  part of what this package offers
from minigen.kernels.cpu.threads import use_threads  # noqa: F401  part of what this package offers
from minigen.params import Params
from minigen.voices import voices_shapes


def warm_up() -> None:
    """Call every float32 kernel on arrays of a few cells: what is not in the cache is compiled now."""
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
