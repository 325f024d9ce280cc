"""Between the products, and Adam, for CUDA: the functions of the same names, around pointwise.cu and reader.cu.

A loss is summed by blocks and then over them, and stays on the device like everything else.
"""

from minigen.adam import BETA1, BETA2, EPSILON, Moments
from minigen.backend import array_module
from minigen.kernels.cuda.launch import NULL, launch, launch_over, packed
from minigen.ops import counted

FILE, THREADS = "pointwise.cu", 256  # of a block that sums


def softmax_forward(z):
    z = packed(z)
    p, C = array_module(z).empty_like(z), z.shape[-1]
    launch_over(z.size // C, FILE, "softmax_forward", z.size // C, C, z, p)
    return p, p


def softmax_backward(dp, cache):
    p = packed(cache)
    dz, C = array_module(p).empty_like(p), p.shape[-1]
    launch_over(p.size // C, FILE, "softmax_backward", p.size // C, C, packed(dp), p, dz)
    return dz


def _read(name: str, T: int, a, x, lags, out):
    """Launch that kernel of reader.cu, a thread for each cell of `out`: a (T, B, L) or (T, B, K), x (N, B, K) whose
    last T steps are inputs. Raises AssertionError unless at least max(lags) - 1 steps come before them."""
    N, B, K = x.shape
    assert N - T + 1 >= max(lags)
    launch_over(out.size, "reader.cu", name, T, B, K, N - T, a, x, out, LAGS=",".join(map(str, lags)))
    return out


def read_forward(w, x, lags):
    xp, (T, B, _), w, x = array_module(w), w.shape, packed(w), packed(x)
    return _read("read_forward", T, w, x, lags, xp.empty((T, B, x.shape[-1]), "float32")), (w, x, lags)


def read_backward(dreading, cache):
    w, x, lags = cache
    return _read("read_backward", len(w), packed(dreading), x, lags, array_module(w).empty_like(w))


def masked_loss_forward(z, keys, allowed, mask):
    xp = array_module(z)
    z, keys, allowed, mask = packed(z), packed(keys), packed(allowed), packed(mask, "bool")
    cells, blocks = counted(mask) * keys.shape[-1], -(-z.size // THREADS)
    p, nats = xp.empty_like(z), xp.empty(blocks, "float32")
    sizes = mask.size, allowed.shape[-1]
    launch(FILE, "masked_loss_forward", (blocks,), THREADS, *sizes, z, keys, allowed, mask, p, nats)
    return (nats.sum() / cells, p), (p, keys, allowed, mask, cells)


def masked_loss_backward(cache):
    p, keys, allowed, mask, cells = cache
    xp = array_module(p)
    dz, cells, sizes = xp.empty_like(p), xp.asarray(cells, "float32"), (mask.size, allowed.shape[-1])
    launch_over(p.size, FILE, "masked_loss_backward", *sizes, p, keys, allowed, mask, cells, dz)
    return dz


def adam(flat, grad, moments: Moments, rate: float, finite=None):
    n, xp = moments.step + 1, array_module(flat)
    constants = (float(rate), 1 - BETA1**n, 1 - BETA2**n, BETA1, 1 - BETA1, BETA2, 1 - BETA2, EPSILON)
    new, m, v = xp.empty_like(flat), xp.empty_like(flat), xp.empty_like(flat)
    arrays = (flat, packed(grad), moments.m, moments.v, *constants, NULL if finite is None else finite, new, m, v)
    launch_over(flat.size, FILE, "adam", flat.size, *arrays)
    return new, Moments(m, v, n)
