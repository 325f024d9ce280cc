"""How kernels are compiled; tanh and sigmoid for them: exact in float64, a rational function in float32.

Nothing vectorises `math.tanh`. In float32 tanh x = x P(x^2) / Q(x^2), both of degree
4, fitted on [-9, 9] by weighted least squares (relative error 2e-8 before rounding, 3.3e-7 after); beyond 9 it is 1 to
the last bit. One division and eight multiply-adds, all vectorised.
"""

import math

import numpy as np
from numba import types
from numba.extending import overload

from minigen.kernels.cpu.kept import cached_njit

P0, P1, P2 = np.float32(1), np.float32(0.13381019234657288), np.float32(0.00349557981826365)
P3, P4 = np.float32(2.060894803435076e-05), np.float32(1.33544801883545e-08)
Q0, Q1, Q2 = np.float32(1), np.float32(0.46714335680007935), np.float32(0.025876950472593307)
Q3, Q4 = np.float32(0.0003285621351096779), np.float32(7.776482675581065e-07)
END, HALF = np.float32(9), np.float32(0.5)
# NaN must survive, so `nnan` is off; the error model because a check for division by zero
# would keep loops from being vectorised
OPTIONS = {"fastmath": {"contract", "nsz", "arcp"}, "error_model": "numpy"}
compiled = cached_njit(parallel=True, nogil=True, **OPTIONS)
serial = cached_njit(nogil=True, **OPTIONS)  # what one thread does, called from what is `compiled` or from Python
# for long sums: kept in as many parts as a vector has places, and so in another order than written
summing = cached_njit(nogil=True, **OPTIONS | {"fastmath": OPTIONS["fastmath"] | {"reassoc"}})


def tanh(x):
    """The hyperbolic tangent of a scalar, for compiled functions."""
    return math.tanh(x)


def sigmoid(x):
    """1 / (1 + exp(-x)) of a scalar, for compiled functions."""
    return 0.5 * math.tanh(0.5 * x) + 0.5


def _tanh32(x):
    # so written, and not with min and max: NaN stays NaN, at no cost
    y = -END if x < -END else (END if x > END else x)
    z = y * y
    return y * ((((P4 * z + P3) * z + P2) * z + P1) * z + P0) / ((((Q4 * z + Q3) * z + Q2) * z + Q1) * z + Q0)


@overload(tanh, jit_options=OPTIONS)
def _tanh(x):
    return _tanh32 if x is types.float32 else lambda x: math.tanh(x)


@overload(sigmoid, jit_options=OPTIONS)
def _sigmoid(x):
    if x is types.float32:
        return lambda x: HALF * tanh(HALF * x) + HALF
    return lambda x: 0.5 * math.tanh(0.5 * x) + 0.5
