"""Everything between the products, for a CPU: one pass over the cells, split over the cores.

softmax and draw      a row of outcomes at a time
union, cross-entropy  a cell of a step at a time, all its voices together
octave loss           a key at a time, nothing at all for a class that is silent

The equations and their order are those of the functions of the same names.
"""

import math

import numpy as np
from numba import prange

from minigen.kernels.activations import compiled, sigmoid
from minigen.kernels.threads import share
from minigen.ops import counted
from minigen.union import CLIP
from minigen.union import union_forward as union_reference


@compiled
def _softmax(z, p):
    N, C = z.shape
    for n in prange(N):
        top = z[n, 0]
        for k in range(1, C):
            top = max(top, z[n, k])
        total = z.dtype.type(0)
        for k in range(C):
            p[n, k] = math.exp(z[n, k] - top)
            total += p[n, k]
        for k in range(C):
            p[n, k] /= total


def softmax_forward(z):
    p = np.empty(z.shape, z.dtype)
    share(z.size)
    _softmax(np.ascontiguousarray(z).reshape(-1, z.shape[-1]), p.reshape(-1, z.shape[-1]))
    return p, p


@compiled
def _softmax_backward(dp, p, dz):
    N, C = p.shape
    for n in prange(N):
        along = p.dtype.type(0)
        for k in range(C):
            along += dp[n, k] * p[n, k]
        for k in range(C):
            dz[n, k] = p[n, k] * (dp[n, k] - along)


def softmax_backward(dp, cache):
    p, dz, C = np.ascontiguousarray(cache), np.empty(cache.shape, cache.dtype), cache.shape[-1]
    share(p.size)
    _softmax_backward(np.ascontiguousarray(dp).reshape(-1, C), p.reshape(-1, C), dz.reshape(-1, C))
    return dz


@compiled
def _draw(z, u, allowed, notes):
    N, C = z.shape
    for n in prange(N):
        top = z[n, C - 1]  # the pause is always allowed
        for k in range(C):
            if allowed[n % len(allowed), k]:
                top = max(top, z[n, k])
        cdf = np.empty(C, z.dtype)
        total = z.dtype.type(0)
        for k in range(C):
            if allowed[n % len(allowed), k]:
                total += math.exp(z[n, k] - top)
            cdf[k] = total
        target = u[n] * total
        outcome = 0
        for k in range(C):
            outcome += cdf[k] <= target
        notes[n] = outcome


def draw(z, u, allowed=None):
    C = z.shape[-1]
    allowed = np.ones((1, C), bool) if allowed is None else np.ascontiguousarray(allowed).reshape(-1, C)
    notes = np.empty(u.shape, np.int64)
    flat_u = np.ascontiguousarray(u, z.dtype).reshape(-1)
    share(z.size)
    _draw(np.ascontiguousarray(z).reshape(-1, C), flat_u, allowed, notes.reshape(-1))
    return notes


@compiled
def _union(p, cells, factors):
    V, N, C = p.shape
    K = C - 1
    one = p.dtype.type(1)
    for n in prange(N):
        for k in range(K):
            P = p.dtype.type(0)
            for v in range(V):
                factors[v, n, k] = one - P
                P += factors[v, n, k] * p[v, n, k]
            cells[n, k] = P
        if cells.shape[1] > K:
            Q = p[0, n, K]
            for v in range(1, V):
                Q *= p[v, n, K]
            cells[n, K] = Q


def union_forward(p, pause_cell: bool, held=None):
    if held is not None:  # for checks alone
        return union_reference.reference(p, pause_cell, held)
    p = np.ascontiguousarray(p)
    V, T, B, C = p.shape
    cells = np.empty((T, B, C - 1 + pause_cell), p.dtype)
    factors = np.empty((V, T, B, C - 1), p.dtype)
    share(p.size)
    _union(p.reshape(V, T * B, C), cells.reshape(T * B, -1), factors.reshape(V, T * B, C - 1))
    return cells, (p, factors)


@compiled
def _union_backward(dcells, p, factors, stop_gradient, dp):
    V, N, C = p.shape
    K = C - 1
    one = p.dtype.type(1)
    for n in prange(N):
        for k in range(K):
            if stop_gradient:
                # in the forward pass this was: P += factors[v] * p[v], the factors taken as constants
                for v in range(V):
                    dp[v, n, k] = dcells[n, k] * factors[v, n, k]
            else:
                before = dcells[n, k]
                for v in range(V):
                    dp[v, n, k] = before
                    before *= one - p[v, n, k]
                after = one
                for v in range(V - 1, -1, -1):
                    dp[v, n, k] *= after
                    after *= one - p[v, n, k]
        for v in range(V):
            dp[v, n, K] = 0
        if dcells.shape[1] > K:
            # in the forward pass this was: Q = prod_v p_v[pause]
            before = dcells[n, K]
            for v in range(V):
                dp[v, n, K] = before
                before *= p[v, n, K]
            after = one
            for v in range(V - 1, -1, -1):
                dp[v, n, K] *= after
                after *= p[v, n, K]


def union_backward(dcells, cache, stop_gradient: bool):
    p, factors = cache
    V, T, B, C = p.shape
    dp = np.empty(p.shape, p.dtype)
    views = p.reshape(V, T * B, C), factors.reshape(V, T * B, C - 1)
    share(p.size)
    _union_backward(np.ascontiguousarray(dcells).reshape(T * B, -1), *views, stop_gradient, dp.reshape(V, T * B, C))
    return dp


@compiled
def _cross_entropy(P, x, mask, nats, clip):
    N, C = P.shape
    one = P.dtype.type(1)
    for n in prange(N):
        nats[n] = 0
        if mask[n]:
            for k in range(C):
                chance = P[n, k]
                if chance <= clip:
                    chance = clip
                elif chance >= one - clip:
                    chance = one - clip
                nats[n] -= math.log(chance if x[n, k] > 0 else one - chance)


def cross_entropy_forward(P, x, mask):
    C = P.shape[-1]
    nats = np.empty(mask.size, P.dtype)
    clip = P.dtype.type(CLIP)
    share(P.size)
    P = np.ascontiguousarray(P)
    _cross_entropy(P.reshape(-1, C), np.ascontiguousarray(x).reshape(-1, C), mask.reshape(-1), nats, clip)
    cells = counted(mask) * C
    return nats.sum() / cells, (P, x, mask, cells)


@compiled
def _cross_entropy_backward(P, x, mask, scale, clip, dP):
    N, C = P.shape
    one = P.dtype.type(1)
    for n in prange(N):
        for k in range(C):
            dP[n, k] = 0
            if mask[n] and not (P[n, k] <= clip or P[n, k] >= one - clip):
                dP[n, k] = -scale / P[n, k] if x[n, k] > 0 else scale / (one - P[n, k])


def cross_entropy_backward(cache):
    P, x, mask, cells = cache
    C, real = P.shape[-1], P.dtype.type
    dP = np.empty(P.shape, P.dtype)
    flat_x = np.ascontiguousarray(x).reshape(-1, C)
    share(P.size)
    _cross_entropy_backward(P.reshape(-1, C), flat_x, mask.reshape(-1), real(1 / cells), real(CLIP), dP.reshape(-1, C))
    return dP


@compiled
def _octave_loss(z, keys, classes, mask, nats):
    for n in prange(len(z)):
        nats[n] = 0
        for k in range(z.shape[1]):
            if mask[n] and classes[n, k % 12] > 0:
                a = z[n, k]
                nats[n] += max(a, z.dtype.type(0)) + math.log1p(math.exp(-abs(a))) - keys[n, k] * a


def octave_loss_forward(z, keys, classes, mask):
    nats = np.empty(mask.size, z.dtype)
    rows = [np.ascontiguousarray(array).reshape(mask.size, -1) for array in (z, keys, classes)]
    share(z.size)
    _octave_loss(*rows, mask.reshape(-1), nats)
    cells = counted(mask) * keys.shape[-1]
    return nats.sum() / cells, (z, keys, classes, mask, cells)


@compiled
def _octave_loss_backward(z, keys, classes, mask, scale, dz):
    for n in prange(len(z)):
        for k in range(z.shape[1]):
            dz[n, k] = 0
            if mask[n] and classes[n, k % 12] > 0:
                dz[n, k] = (sigmoid(z[n, k]) - keys[n, k]) * scale


def octave_loss_backward(cache):
    z, keys, classes, mask, cells = cache
    dz = np.empty(z.shape, z.dtype)
    rows = [np.ascontiguousarray(array).reshape(mask.size, -1) for array in (z, keys, classes)]
    share(z.size)
    _octave_loss_backward(*rows, mask.reshape(-1), z.dtype.type(1 / cells), dz.reshape(mask.size, -1))
    return dz
