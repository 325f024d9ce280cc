"""Adam (Kingma and Ba 2015) on the flat vector, with every gradient component clipped to [-1, 1] first.

Translations of this file: kernels/cpu/adam.py, kernels/cuda/pointwise.py.
"""

from dataclasses import dataclass
from typing import Any

from minigen.backend import array_module, replaceable

BETA1, BETA2, EPSILON = 0.9, 0.999, 1e-8


@dataclass
class Moments:
    """Adam's memory: running means of the gradient and of its square, and the number of updates so far."""

    m: Any
    v: Any
    step: int = 0

    @classmethod
    def of(cls, flat) -> "Moments":
        xp = array_module(flat)
        return cls(xp.zeros_like(flat), xp.zeros_like(flat))


def clip(g):
    """Every component into [-1, 1]; the comparison is on the real part."""
    return array_module(g).where(abs(g.real) <= 1, g, array_module(g).sign(g.real))


def averaged(mean, flat, n: int, finite=None):
    """The running mean of the weights after the n-th update, n from 0 on: `mean += (1 - d) (flat - mean)`,
    `d = min(0.999, (1 + n) / (10 + n))` (Polyak and Juditsky 1992); what it was where `finite` () is False."""
    new = mean + (1 - min(0.999, (1 + n) / (10 + n))) * (flat - mean)
    return new if finite is None else array_module(flat).where(finite, new, mean)


def all_finite(grad, loss):
    """Whether the loss and its gradient are finite -> () bool, where they live: nothing is copied to the host."""
    xp = array_module(grad)
    return xp.isfinite(grad).all() & xp.isfinite(loss)


@replaceable
def adam(flat, grad, moments: Moments, rate: float, finite=None):
    """One update -> the new flat vector and the new moments; nothing is edited in place.

    `g = clip(grad)`, `m = b1 m + (1-b1) g`, `v = b2 v + (1-b2) g^2`,
    `flat -= rate * m / (1-b1^n) / (sqrt(v / (1-b2^n)) + 1e-8)` at the n-th update.
    Where `finite` () is False, weights and means stay what they were.
    """
    xp = array_module(flat)
    n = moments.step + 1
    g = clip(grad)
    m = BETA1 * moments.m + (1 - BETA1) * g
    v = BETA2 * moments.v + (1 - BETA2) * g * g
    new = flat - rate * (m / (1 - BETA1**n)) / (xp.sqrt(v / (1 - BETA2**n)) + EPSILON)
    if finite is not None:
        new, m, v = (xp.where(finite, a, b) for a, b in ((new, flat), (m, moments.m), (v, moments.v)))
    return new, Moments(m, v, n)
