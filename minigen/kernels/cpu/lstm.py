"""The LSTM over a whole sequence, for a CPU: the equations and the order of minigen/lstm.py.

What makes it fast, in the order of what it brings:
  1. the batch is cut into slices, one per core; each core runs its rows through all the steps, with no barrier between
     steps and its own products, so that its part of the weights and states stays in its cache
  2. the gates are activated in one vectorised pass over each row
  3. products with the inputs, and the weights' gradients, are made a chunk of steps at a time, while it is in the cache
  4. dWx and dWh are one product, [x, h]^T da
  5. a single row meets Wh as a row, not as a matrix (a quarter less at H = 100), and goes back by products with rows of
     Wh, whose order keeps some of them in the first cache

Gates are an axis here, (T, B, 4, H), so that units run side by side and nothing is gathered: a cache is for the
backward of the same file. It keeps x and Wx themselves where they are contiguous: nobody may edit them in between.
"""

import numpy as np
from numba import prange

from minigen.kernels.cpu.activations import compiled, serial
from minigen.kernels.cpu.rows import add, aligned, cell, cell_back, copy, times_column
from minigen.kernels.cpu.threads import share

ROWS = 1024  # rows of a product: about what stays in a core's cache with its result


@serial
def rows_forward(x, h, c, gates, Wx, Wh, b, low, end, chunk):
    """All steps of some rows of the batch."""
    (T, _, I), H, rows = x.shape, len(Wh), end - low
    xs = np.empty((chunk * rows, I), x.dtype)
    a_x = np.empty((chunk * rows, 4 * H), x.dtype)
    a_h = np.empty((rows, 4 * H), x.dtype)
    h_t = np.empty((rows, H), x.dtype)
    h_t[:] = h[0, low:end]
    for first in range(0, T, chunk):
        steps = min(chunk, T - first)
        for k in range(steps):
            for r in range(rows):
                copy(x[first + k, low + r], xs[k * rows + r])
        np.dot(xs[: steps * rows], Wx, a_x[: steps * rows])
        for k in range(steps):
            t = first + k
            if rows == 1:
                np.dot(h_t[0], Wh, a_h[0])
            else:
                np.dot(h_t, Wh, a_h)
            for r in range(rows):
                n = low + r
                copy(a_x[k * rows + r], gates[t, n].reshape(4 * H))
                cell(gates[t, n], a_h[r].reshape(4, H), b, c[t, n], c[t + 1, n], h_t[r])
                copy(h_t[r], h[t + 1, n])


@compiled
def _forward(x, h, c, gates, Wx, Wh, b, bounds, chunk):
    for s in prange(len(bounds) - 1):
        rows_forward(x, h, c, gates, Wx, Wh, b, bounds[s], bounds[s + 1], chunk)


@serial
def rows_backward(dh, dh_next, dc_next, x, h, c, gates, Wx, Wh, dx, dW, db, low, end, chunk):
    """All steps of some rows of the batch, and the gradients that they bring."""
    (T, _, I), H, rows, need_dx = x.shape, len(Wh), end - low, len(dx) > 0
    da = np.empty((chunk * rows, 4 * H), x.dtype)
    xh = np.empty((chunk * rows, I + H), x.dtype)
    dxs = np.empty((chunk * rows if need_dx else 0, I), x.dtype)
    part = np.empty((I + H if T > chunk else 0, 4 * H), x.dtype)
    dh_t, tanh_c = np.empty((rows, H), x.dtype), np.empty(H, x.dtype)
    dh_t[:] = dh_next[low:end]
    for last in range(T, 0, -chunk):
        steps = min(chunk, last)
        first = last - steps
        for k in range(steps - 1, -1, -1):
            t = first + k
            for r in range(rows):
                n, row = low + r, k * rows + r
                copy(gates[t, n].reshape(4 * H), da[row])
                cell_back(dh[t, n], dh_t[r], dc_next[n], da[row].reshape(4, H), c[t, n], c[t + 1, n], tanh_c)
                copy(x[t, n], xh[row, :I])
                copy(h[t, n], xh[row, I:])
            # in the forward pass this was: a += h[t] @ Wh
            if rows == 1:
                times_column(Wh, da[k], dh_t[0], t % 2)
            else:
                np.dot(da[k * rows : (k + 1) * rows], Wh.T, dh_t)
        if last == T:
            np.dot(xh[: steps * rows].T, da[: steps * rows], dW)
        else:
            np.dot(xh[: steps * rows].T, da[: steps * rows], part)
            dW += part
        for row in range(steps * rows):
            add(da[row], db)
        if need_dx:
            # in the forward pass this was: gates = x @ Wx + b
            np.dot(da[: steps * rows], Wx.T, dxs[: steps * rows])
            for k in range(steps):
                dx[first + k, low:end] = dxs[k * rows : (k + 1) * rows]
    dh_next[low:end] = dh_t


@compiled
def _backward(dh, dh_next, dc_next, x, h, c, gates, Wx, Wh, dx, dW, db, bounds, chunk):
    for s in prange(len(bounds) - 1):
        args = dh, dh_next, dc_next, x, h, c, gates, Wx, Wh, dx, dW[s], db[s], bounds[s], bounds[s + 1], chunk
        rows_backward(*args)


def _slices(T: int, B: int, H: int) -> np.ndarray:
    """Where each core's rows begin: one slice per core, or one row per slice where there are fewer rows than cores."""
    slices = min(B, share(T * B * H if B > 1 else 0))
    return np.arange(slices + 1) * B // slices


def room_for(x, h0, c0, Wx, Wh, b):
    """The arrays of a forward pass: x, h, c, gates, Wx, Wh, b."""
    (T, B, _), H, dtype = x.shape, len(Wh), Wh.dtype
    h, c = np.empty((T + 1, B, H), dtype), np.empty((T + 1, B, H), dtype)
    h[0], c[0] = h0, c0
    gates = np.empty((T, B, 4, H), dtype)
    return *(np.ascontiguousarray(x, dtype), h, c, gates), np.ascontiguousarray(Wx), aligned(Wh), b.reshape(4, H)


def lstm_forward(x, h0, c0, Wx, Wh, b):
    bounds = _slices(*x.shape[:2], len(Wh))
    arrays = room_for(x, h0, c0, Wx, Wh, b)
    _forward(*arrays, bounds, max(1, ROWS // -(-x.shape[1] // (len(bounds) - 1))))
    x, h, c, gates, Wx, Wh, _ = arrays
    return (h, c), (x, h, c, gates, Wx, Wh)


def room_for_backward(dh, dc_last, cache, need_dx):
    """The arrays of a backward pass: dh, dh_next, dc_next, x, h, c, gates, Wx, Wh, dx."""
    x, h, c, gates, Wx, Wh = cache
    (_, B, I), H, dtype = x.shape, len(Wh), Wh.dtype
    dh_next = np.zeros((B, H), dtype)
    dc_next = np.zeros((B, H), dtype) if dc_last is None else dc_last.astype(dtype)
    dx = np.empty(x.shape if need_dx else (0, B, I), dtype)
    return np.ascontiguousarray(dh, dtype), dh_next, dc_next, x, h, c, gates, Wx, Wh, dx


def lstm_backward(dh, dc_last, cache, need_dx=True):
    bounds = _slices(*dh.shape)
    (x, *_, Wh), arrays = cache, room_for_backward(dh, dc_last, cache, need_dx)
    _, dh_next, dc_next, *_, dx = arrays
    slices, I, (H, n) = len(bounds) - 1, x.shape[2], Wh.shape
    dW, db = np.empty((slices, I + H, n), dx.dtype), np.zeros((slices, n), dx.dtype)
    _backward(*arrays, dW, db, bounds, max(1, ROWS // -(-dh.shape[1] // slices)))
    dW, db = (of[0] if slices == 1 else of.sum(axis=0) for of in (dW, db))
    return dx if need_dx else None, dh_next, dc_next, dW[:I], dW[I:], db
