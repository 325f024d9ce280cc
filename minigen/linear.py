"""Linear layers, softmax, sigmoid. Complex-safe: comparisons and shifts look at the real part only.

Translations of this file: kernels/cpu/pointwise.py and kernels/cuda/pointwise.py (the softmax).
"""

from minigen.backend import array_module, replaceable


def sigmoid(x):
    """1 / (1 + exp(-x)), written with tanh: it cannot overflow."""
    return 0.5 * array_module(x).tanh(0.5 * x) + 0.5


def linear_forward(x, W, b):
    """`y = x W + b`: x (..., I), W (I, O), b (O,) -> y (..., O), cache."""
    y = x.reshape(-1, x.shape[-1]) @ W + b  # one product, where (T, B, I) @ (I, O) would be T of them
    return y.reshape(*x.shape[:-1], W.shape[1]), (x, W)


def linear_backward(dy, cache):
    """dy (..., O) -> dx (..., I), dW (I, O), db (O,)."""
    x, W = cache
    flat_x, flat_dy = x.reshape(-1, x.shape[-1]), dy.reshape(-1, dy.shape[-1])
    # in the forward pass this was: y = x @ W + b
    return (flat_dy @ W.T).reshape(x.shape), flat_x.T @ flat_dy, column_sums(flat_dy)


def column_sums(x):
    """x (N, C) -> (C,). From 256 rows on in two stages: a GPU adds up few tall columns slowly. What is left over when N
    is divided by 256 is added apart."""
    N, C = x.shape
    even = N // 256 * 256
    if not even:
        return x.sum(axis=0)
    sums = x[:even].reshape(256, -1, C).sum(axis=0).sum(axis=0)
    return sums if even == N else sums + x[even:].sum(axis=0)


def silu_forward(x, W, b):
    """`y = a sigmoid(a)`, `a = x W + b` (Elfwing et al. 2018): x (..., I) -> y (..., O), cache. It stands where one
    might expect a ReLU: it has no kink, so that a gradient can be checked along any direction."""
    a, linear = linear_forward(x, W, b)
    s = sigmoid(a)
    return a * s, (a, s, linear)


def silu_backward(dy, cache):
    """dy (..., O) -> dx (..., I), dW (I, O), db (O,)."""
    a, s, linear = cache
    # in the forward pass this was: y = a * sigmoid(a)
    return linear_backward(dy * s * (1 + a * (1 - s)), linear)


@replaceable
def softmax_forward(z):
    """`p = exp(z) / sum exp(z)` over the last axis -> p, cache."""
    xp = array_module(z)
    e = xp.exp(z - z.real.max(axis=-1, keepdims=True))  # the shift changes nothing but keeps exp in range
    p = e / e.sum(axis=-1, keepdims=True)
    return p, p


@replaceable
def softmax_backward(dp, cache):
    """dp -> dz: `dz = p (dp - sum dp p)`."""
    p = cache
    return p * (dp - (dp * p).sum(axis=-1, keepdims=True))
