"""Small conversions that every model shares: pitch classes, time bits, lags, one-hot."""

import numpy as np

from minigen.backend import array_module

NO_END = 1 << 40  # a time that no song reaches


def pitch_classes(keys):
    """`c[p] = max of keys p, p+12, ...`: (..., 88) of 0/1 -> (..., 12). Class 0 is A, class 3 is C."""
    xp = array_module(keys)
    classes = keys[..., :12].copy()
    for first in range(12, 88, 12):
        octave = keys[..., first : first + 12]  # the last has four keys
        lower = classes[..., : octave.shape[-1]]
        xp.maximum(lower, octave, out=lower)
    return classes


def by_octave(keys):
    """(..., 88) -> (..., 8, 12): every class in its octaves; 0 beyond the keyboard."""
    xp = array_module(keys)
    padding = xp.zeros((*keys.shape[:-1], 8), keys.dtype)
    return xp.concatenate([keys, padding], axis=-1).reshape(*keys.shape[:-1], 8, 12)


def of_class(classes):
    """(..., 12) -> (..., 88): every key gets the value of its class; (..., 88) stays what it is."""
    return classes[..., array_module(classes).arange(88) % classes.shape[-1]]


def time_bits(start, T: int, bits: int, dtype, bar: int = 16, high_first: bool = False):
    """Bits 0 to 3 are those of `t mod bar`, bits 4, 5, ... those of the bar's number: start (B,), the absolute time of
    the first step -> (T, B, bits). With bars of 16 steps, bit k is `(t >> k) & 1`."""
    xp = array_module(start)
    t = start[None, :, None] + xp.arange(T)[:, None, None]
    count = t % bar + (t // bar << 4)
    order = xp.arange(bits)[::-1] if high_first else xp.arange(bits)
    return ((count >> order) & 1).astype(dtype)


def end_bits(start, end, T: int, bits: int, dtype):
    """Bit k of the steps that are left after each of T predicted steps, at most 2^bits - 1: start and end (B,), the
    times of the first step and of the end -> (T, B, bits). At the last step they are 0; all ones also mean that no end
    is known, `NO_END`."""
    xp = array_module(start)
    left = (end - 1 - start)[None, :] - xp.arange(T)[:, None]
    return ((left.clip(0, 2**bits - 1)[..., None] >> xp.arange(bits)) & 1).astype(dtype)


def lagged(x, lag: int, T: int):
    """x (N, B, K), steps whose last T are inputs -> (T, B, K), a view: for input x[t] the step x[t+1-lag]."""
    end = len(x) + 1 - lag
    return x[end - T : end]


def with_lags(x, lags, bits):
    """x (N, B, K) whose last T steps are inputs, bits (T, B, n) -> (T, B, (1 + L) K + n): each input step beside its
    lags and the bits."""
    return join(*(lagged(x, lag, len(bits)) for lag in (1, *lags)), bits)


def one_hot(notes, K: int, dtype):
    """Outcomes (...,) -> (..., K): 1 at the key played; nothing for the pause, outcome K."""
    return (notes[..., None] == array_module(notes).arange(K)).astype(dtype)


def with_empty(x):
    """x (T, B, K) -> (T, B, K+1): one more cell, 1 where no key is struck."""
    xp = array_module(x)
    return xp.concatenate([x, 1 - x.max(axis=-1, keepdims=True)], axis=-1)


def counted(mask):
    """How many predictions of a mask (T, B) count; at least 1, so that an empty batch has loss 0.

    A whole number on the host; on a GPU an array () that stays there, float32 so that a loss is not made float64.
    """
    xp = array_module(mask)
    return max(int(mask.sum()), 1) if xp is np else xp.maximum(mask.sum(dtype="float32"), 1)


def join(*parts):
    """Concatenation along the last axis, the features."""
    return array_module(parts[0]).concatenate(parts, axis=-1)
