"""Between the products, for a CPU: one pass over the cells, split over the cores.

softmax and draw  a row of outcomes at a time
octave loss       a class at a time, nothing at all for one that is silent

The equations and their order are those of the functions of the same names. The union of the voices, its cross-entropy
and the linear layers have no kernels: they were written, and each saved less than 5% of a step. (For one song, where it
is a matter of calls and not of cells, whole/loss.py has the union and its loss.)
"""

import math

import numpy as np
from numba import prange

from minigen.kernels.cpu.activations import compiled, sigmoid
from minigen.kernels.cpu.rows import outcome, softmax, softmax_back
from minigen.kernels.cpu.threads import share
from minigen.ops import counted


@compiled
def _softmax(z, p):
    for n in prange(len(z)):
        softmax(z[n], p[n])


def softmax_forward(z):
    p = np.empty(z.shape, z.dtype)
    share(z.size)
    _softmax(np.ascontiguousarray(z).reshape(-1, z.shape[-1]), p.reshape(-1, z.shape[-1]))
    return p, p


@compiled
def _softmax_backward(dp, p, dz):
    for n in prange(len(p)):
        softmax_back(dp[n], p[n], dz[n])


def softmax_backward(dp, cache):
    p, dz, C = np.ascontiguousarray(cache), np.empty(cache.shape, cache.dtype), cache.shape[-1]
    share(p.size)
    _softmax_backward(np.ascontiguousarray(dp).reshape(-1, C), p.reshape(-1, C), dz.reshape(-1, C))
    return dz


@compiled
def _draw(z, u, allowed, notes):
    for n in prange(len(z)):
        notes[n] = outcome(z[n], u[n], allowed[n % len(allowed)])


def draw(z, u, allowed=None):
    C = z.shape[-1]
    allowed = np.ones((1, C), bool) if allowed is None else np.ascontiguousarray(allowed).reshape(-1, C)
    notes = np.empty(u.shape, np.int64)
    share(z.size)
    _draw(np.ascontiguousarray(z).reshape(-1, C), np.ascontiguousarray(u).reshape(-1), allowed, notes.reshape(-1))
    return notes


@compiled
def _masked_loss(z, keys, allowed, mask, nats, p):
    C = allowed.shape[1]
    for n in prange(len(z)):
        nats[n], p[n] = 0, 0
        for m in range(C):
            if allowed[n, m] > 0:
                for k in range(m, z.shape[1], C):
                    a = z[n, k]
                    p[n, k] = sigmoid(a)
                    if mask[n]:
                        nats[n] += max(a, z.dtype.type(0)) + math.log1p(math.exp(-abs(a))) - keys[n, k] * a


def masked_loss_forward(z, keys, allowed, mask):
    nats, p = np.empty(mask.size, z.dtype), np.empty(z.shape, z.dtype)
    rows = [np.ascontiguousarray(array).reshape(mask.size, -1) for array in (z, keys, allowed)]
    share(z.size)
    _masked_loss(*rows, mask.reshape(-1), nats, p.reshape(mask.size, -1))
    cells = counted(mask) * keys.shape[-1]
    return (nats.sum() / cells, p), (p, keys, allowed, mask, cells)


@compiled
def _masked_loss_backward(p, keys, allowed, mask, scale, dz):
    C = allowed.shape[1]
    for n in prange(len(p)):
        dz[n] = 0
        for m in range(C if mask[n] else 0):
            if allowed[n, m] > 0:
                for k in range(m, p.shape[1], C):
                    dz[n, k] = (p[n, k] - keys[n, k]) * scale


def masked_loss_backward(cache):
    p, keys, allowed, mask, cells = cache
    dz = np.empty(p.shape, p.dtype)
    rows = [np.ascontiguousarray(array).reshape(mask.size, -1) for array in (p, keys, allowed)]
    share(p.size)
    _masked_loss_backward(*rows, mask.reshape(-1), p.dtype.type(1 / cells), dz.reshape(mask.size, -1))
    return dz
