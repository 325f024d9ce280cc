"""The step plays the union of its voices: the chance that a key sounds, the pause cell, and the loss over both.

    P[k] = 1 - prod_v (1 - p_v[k]),  accumulated as  P += (1 - P) p_v            (diary 11/12)
    Q = prod_v p_v[pause]                                                         (pause loss, diary 06/01)

The stop-gradient trick ("the sacred crutch", 26/12): no gradient flows through the factor (1 - P). Then
dP/dp_v = prod_{u<v} (1 - p_u) instead of prod_{u!=v} (1 - p_u): a late, well-informed voice that is sure of a key no
longer takes the earlier ones' credit. It is not the gradient of any loss; a check passes the factors in, as constants.

Translation of this file: kernels/cuda/voices.py and voices.cu (the union).
"""

from minigen.backend import array_module, replaceable
from minigen.ops import counted

CLIP = 1e-6


def products_of_others(q):
    """q (V, ...) -> prefix, suffix (V, ...): the products of all q before v, and of all after it. Never divides."""
    xp = array_module(q)
    prefix, suffix = xp.ones_like(q), xp.ones_like(q)
    for v in range(1, len(q)):
        prefix[v] = prefix[v - 1] * q[v - 1]
        suffix[-1 - v] = suffix[-v] * q[-v]
    return prefix, suffix


@replaceable
def union_forward(p, pause_cell: bool, constants=None):
    """p (V, T, B, K+1) -> P (T, B, K), or (T, B, K+1) with the pause cell Q last; cache.

    `constants` (V, T, B, K): the factors (1 - P) of an earlier call, used instead of those of this one.
    """
    xp = array_module(p)
    V, T, B, K = *p.shape[:3], p.shape[3] - 1
    cells = xp.zeros((T, B, K + pause_cell), p.dtype)
    P = cells[..., :K]
    factors = xp.empty((V, T, B, K), p.dtype)
    for v in range(V):
        factors[v] = 1 - P if constants is None else constants[v]
        P += factors[v] * p[v, ..., :K]
    if pause_cell:
        cells[..., K] = p[..., K].prod(axis=0)
    return cells, (p, factors)


@replaceable
def union_backward(dcells, cache, stop_gradient: bool):
    """dcells (T, B, K or K+1) -> dp (V, T, B, K+1)."""
    p, factors = cache
    K = p.shape[3] - 1
    dp = array_module(p).zeros_like(p)
    if stop_gradient:
        # in the forward pass this was: P += factors[v] * p[v], the factors taken as constants
        dp[..., :K] = dcells[..., :K] * factors
    else:
        prefix, suffix = products_of_others(1 - p[..., :K])
        dp[..., :K] = dcells[..., :K] * prefix * suffix
    if dcells.shape[-1] > K:
        # in the forward pass this was: Q = prod_v p_v[pause]
        prefix, suffix = products_of_others(p[..., K])
        dp[..., K] = dcells[..., K] * prefix * suffix
    return dp


def clip(P):
    """P inside [1e-6, 1-1e-6], and where it was inside already; the comparison is on the real part."""
    xp = array_module(P)
    inside = (P.real > CLIP) & (P.real < 1 - CLIP)
    return xp.where(inside, P, P.real.clip(CLIP, 1 - CLIP)), inside  # NaN stays NaN, and is seen


def cross_entropy_forward(P, x, mask):
    """`-mean(x log P + (1-x) log(1-P))` over counted cells, P clipped to [1e-6, 1-1e-6].

    P and x (T, B, C), mask (T, B) -> loss (nats per cell), cache.
    """
    xp = array_module(P)
    clipped, inside = clip(P)
    cells = counted(mask) * P.shape[-1]
    log = xp.where(x > 0, xp.log(clipped), xp.log(1 - clipped))
    return -(log * mask[..., None]).sum() / cells, (clipped, inside, x, mask, cells)


def cross_entropy_backward(cache):
    """-> dP (T, B, C): `-1/P` where x is 1, `1/(1-P)` where it is 0, nothing outside the clip."""
    clipped, inside, x, mask, cells = cache
    dP = array_module(clipped).where(x > 0, -1 / clipped, 1 / (1 - clipped))
    return dP * (inside & mask[..., None]) / cells
