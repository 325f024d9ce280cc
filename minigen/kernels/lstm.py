"""The LSTM over a whole sequence, for a CPU: the equations and the order of minigen/lstm.py.

What makes it fast, in the order of what it brings:
  1. the batch is cut into slices, one a core; each core runs its rows through all the steps, with no barrier between
     steps and its own products, so that its part of the weights and states stays in its cache
  2. the gates are activated in one vectorised pass over each row
  3. products with the inputs, and the weights' gradients, are made a chunk of steps at a time, while it is in the cache
  4. dWx and dWh are one product, [x, h]^T da

Gates are an axis here, (T, B, 4, H), so that units run side by side and nothing is gathered: a cache is for the
backward of the same file.
"""

import numpy as np
from numba import prange

from minigen.kernels.activations import compiled, sigmoid, tanh
from minigen.kernels.threads import share

ROWS = 1024  # rows of a product: about what stays in a core's cache with its result


@compiled
def _forward(x, h, c, gates, Wx, Wh, b, bounds, chunk):
    T, B, I = x.shape
    H = Wh.shape[0]
    for s in prange(len(bounds) - 1):
        low, rows = bounds[s], bounds[s + 1] - bounds[s]
        xs = np.empty((chunk * rows, I), x.dtype)
        a_x = np.empty((chunk * rows, 4 * H), x.dtype)
        a_h = np.empty((rows, 4 * H), x.dtype)
        h_t = np.empty((rows, H), x.dtype)
        h_t[:] = h[0, low : low + rows]
        for first in range(0, T, chunk):
            steps = min(chunk, T - first)
            for k in range(steps):
                xs[k * rows : (k + 1) * rows] = x[first + k, low : low + rows]
            np.dot(xs[: steps * rows], Wx, a_x[: steps * rows])
            for k in range(steps):
                t = first + k
                np.dot(h_t, Wh, a_h)
                for r in range(rows):
                    n = low + r
                    a_row, h_row = a_x[k * rows + r].reshape(4, H), a_h[r].reshape(4, H)
                    for gate in range(3):
                        for j in range(H):
                            gates[t, n, gate, j] = sigmoid(a_row[gate, j] + h_row[gate, j] + b[gate, j])
                    for j in range(H):
                        gates[t, n, 3, j] = tanh(a_row[3, j] + h_row[3, j] + b[3, j])
                    for j in range(H):
                        i, f, o, g = gates[t, n, 0, j], gates[t, n, 1, j], gates[t, n, 2, j], gates[t, n, 3, j]
                        c[t + 1, n, j] = f * c[t, n, j] + i * g
                        h_t[r, j] = o * tanh(c[t + 1, n, j])
                        h[t + 1, n, j] = h_t[r, j]


@compiled
def _backward(dh, dh_next, dc_next, x, h, c, gates, WxT, WhT, dx, dW, db, bounds, chunk):
    T, B, I = x.shape
    H = WhT.shape[1]
    need_dx = len(dx) > 0
    one = x.dtype.type(1)  # a plain 1 would carry every cell to float64
    for s in prange(len(bounds) - 1):
        low, rows = bounds[s], bounds[s + 1] - bounds[s]
        da = np.empty((chunk * rows, 4 * H), x.dtype)
        xh = np.empty((chunk * rows, I + H), x.dtype)
        dxs = np.empty((chunk * rows if need_dx else 0, I), x.dtype)
        part = np.empty((I + H if T > chunk else 0, 4 * H), x.dtype)
        dh_t = np.empty((rows, H), x.dtype)
        dh_t[:] = dh_next[low : low + rows]
        for end in range(T, 0, -chunk):
            steps = min(chunk, end)
            first = end - steps
            for k in range(steps - 1, -1, -1):
                t = first + k
                for r in range(rows):
                    n, row = low + r, k * rows + r
                    da_row = da[row].reshape(4, H)
                    for j in range(H):
                        i, f, o, g = gates[t, n, 0, j], gates[t, n, 1, j], gates[t, n, 2, j], gates[t, n, 3, j]
                        # in the forward pass this was: h[t + 1] = o * tanh(c[t + 1])
                        tanh_c = tanh(c[t + 1, n, j])
                        d = dh[t, n, j] + dh_t[r, j]
                        do = d * tanh_c
                        dc = dc_next[n, j] + d * o * (one - tanh_c * tanh_c)
                        # in the forward pass this was: c[t + 1] = f * c[t] + i * g
                        di, df, dg = dc * g, dc * c[t, n, j], dc * i
                        dc_next[n, j] = dc * f
                        # in the forward pass this was: i, f, o = sigmoid(a), g = tanh(a)
                        da_row[0, j] = di * i * (one - i)
                        da_row[1, j] = df * f * (one - f)
                        da_row[2, j] = do * o * (one - o)
                        da_row[3, j] = dg * (one - g * g)
                    xh[row, :I] = x[t, n]
                    xh[row, I:] = h[t, n]
                # in the forward pass this was: a += h[t] @ Wh
                np.dot(da[k * rows : (k + 1) * rows], WhT, dh_t)
            if end == T:
                np.dot(xh[: steps * rows].T, da[: steps * rows], dW[s])
            else:
                np.dot(xh[: steps * rows].T, da[: steps * rows], part)
                dW[s] += part
            for row in range(steps * rows):
                db[s] += da[row]
            if need_dx:
                # in the forward pass this was: gates = x @ Wx + b
                np.dot(da[: steps * rows], WxT, dxs[: steps * rows])
                for k in range(steps):
                    dx[first + k, low : low + rows] = dxs[k * rows : (k + 1) * rows]
        dh_next[low : low + rows] = dh_t


def _slices(T: int, B: int, H: int) -> np.ndarray:
    """Where each core's rows begin: one slice a core, or one row a slice where there are fewer rows than cores."""
    slices = min(B, share(T * B * H if B > 1 else 0))
    return np.arange(slices + 1) * B // slices


def lstm_forward(x, h0, c0, Wx, Wh, b):
    (T, B, _), H = x.shape, Wh.shape[0]
    x, dtype, bounds = np.ascontiguousarray(x, Wh.dtype), Wh.dtype, _slices(T, B, H)
    h, c = np.empty((T + 1, B, H), dtype), np.empty((T + 1, B, H), dtype)
    gates = np.empty((T, B, 4, H), dtype)
    h[0], c[0] = h0, c0
    chunk = max(1, ROWS // -(-B // (len(bounds) - 1)))
    _forward(x, h, c, gates, np.ascontiguousarray(Wx), np.ascontiguousarray(Wh), b.reshape(4, H), bounds, chunk)
    return (h, c), (x, h, c, gates, Wx, Wh)


def lstm_backward(dh, dc_last, cache, need_dx=True):
    x, h, c, gates, Wx, Wh = cache
    (T, B, I), H, dtype = x.shape, Wh.shape[0], Wh.dtype
    bounds = _slices(T, B, H)
    dh_next = np.zeros((B, H), dtype)
    dc_next = np.zeros((B, H), dtype) if dc_last is None else dc_last.astype(dtype)
    dx = np.empty(x.shape if need_dx else (0, B, I), dtype)
    dW, db = np.empty((len(bounds) - 1, I + H, 4 * H), dtype), np.zeros((len(bounds) - 1, 4 * H), dtype)
    WxT, WhT = np.ascontiguousarray(Wx.T if need_dx else Wx[:0].T), np.ascontiguousarray(Wh.T)
    dh = np.ascontiguousarray(dh, dtype)
    chunk = max(1, ROWS // -(-B // (len(bounds) - 1)))
    _backward(dh, dh_next, dc_next, x, h, c, gates, WxT, WhT, dx, dW, db, bounds, chunk)
    dW, db = (of[0] if len(of) == 1 else of.sum(axis=0) for of in (dW, db))
    return dx if need_dx else None, dh_next, dc_next, dW[:I], dW[I:], db
