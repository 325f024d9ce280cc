"""What the kernels share: weights that begin with a cache line, and what one row, or one step of one song, takes."""

import math

import numpy as np

from minigen.kernels.cpu.activations import serial, sigmoid, summing, tanh


def aligned(array):
    """A copy that begins with a cache line: half the loads would need two."""
    room = np.empty(array.nbytes + 64, np.uint8)
    begin = -room.ctypes.data % 64
    copy = room[begin : begin + array.nbytes].view(array.dtype).reshape(array.shape)
    copy[...] = array
    return copy


@serial
def copy(row, place):
    """The same as `place[:] = row`, in a third of the time: nothing is checked for overlap."""
    for j in range(len(place)):
        place[j] = row[j]


@serial
def add(row, sums):
    """The same as `sums += row`, likewise."""
    for j in range(len(sums)):
        sums[j] += row[j]


@summing
def times_column(W, a, out, upwards):
    """out = W a: W (H, N), a (N,), out (H,); four rows of W at a time, `upwards` from the last rows to the first.

    Callers alternate from step to step: where W is larger than the first cache, the rows read last are still there.
    """
    H, N, zero = len(out), len(a), a.dtype.type(0)
    fours = H // 4
    for n in range(fours):
        r = 4 * (fours - 1 - n if upwards else n)
        s0, s1, s2, s3 = zero, zero, zero, zero
        for j in range(N):
            s0 += W[r, j] * a[j]
            s1 += W[r + 1, j] * a[j]
            s2 += W[r + 2, j] * a[j]
            s3 += W[r + 3, j] * a[j]
        out[r], out[r + 1], out[r + 2], out[r + 3] = s0, s1, s2, s3
    for r in range(4 * fours, H):
        s0 = zero
        for j in range(N):
            s0 += W[r, j] * a[j]
        out[r] = s0


@serial
def cell(a, a_h, b, c_before, c, h):
    """One step of one row: a (4, H), with a_h and b added, becomes the gates; c and h are filled."""
    H = len(h)
    for gate in range(3):
        for j in range(H):
            a[gate, j] = sigmoid(a[gate, j] + a_h[gate, j] + b[gate, j])
    for j in range(H):
        a[3, j] = tanh(a[3, j] + a_h[3, j] + b[3, j])
    for j in range(H):
        c[j] = a[1, j] * c_before[j] + a[0, j] * a[3, j]
        h[j] = a[2, j] * tanh(c[j])


@serial
def cell_back(dh, dh_next, dc, a, c_before, c, tanh_c):
    """One step of one row back: the gates a (4, H) become da, dc that of the step before; tanh_c (H,) is for its use.

    Short loops, each of which is vectorised, where a single one would not be.
    """
    H, one = len(dc), a.dtype.type(1)  # a plain 1 would carry every cell to float64
    # in the forward pass this was: h[t + 1] = o * tanh(c[t + 1])
    for j in range(H):
        tanh_c[j] = tanh(c[j])
    for j in range(H):
        d, o = dh[j] + dh_next[j], a[2, j]
        dc[j] += d * o * (one - tanh_c[j] * tanh_c[j])
        a[2, j] = d * tanh_c[j] * o * (one - o)
    # in the forward pass this was: c[t + 1] = f * c[t] + i * g
    for j in range(H):
        i, g = a[0, j], a[3, j]
        a[0, j] = dc[j] * g * i * (one - i)
        a[3, j] = dc[j] * i * (one - g * g)
    for j in range(H):
        f = a[1, j]
        a[1, j] = dc[j] * c_before[j] * f * (one - f)
        dc[j] *= f


@serial
def softmax(z, p):
    """`p = exp(z) / sum exp(z)` of one row; p is filled."""
    top, total = z.max(), z.dtype.type(0)
    for k in range(len(z)):
        p[k] = math.exp(z[k] - top)
        total += p[k]
    for k in range(len(z)):
        p[k] /= total


@serial
def softmax_back(dp, p, dz):
    """One row; dz may be dp itself."""
    along = p.dtype.type(0)
    for k in range(len(p)):
        along += dp[k] * p[k]
    for k in range(len(p)):
        dz[k] = p[k] * (dp[k] - along)


@serial
def outcome(z, u, allowed):
    """One draw from softmax(z), restricted to what is allowed."""
    top, total = z.dtype.type(-np.inf), z.dtype.type(0)
    for k in range(len(z)):
        if allowed[k]:
            top = max(top, z[k])
    cdf = np.empty_like(z)
    for k in range(len(z)):
        if allowed[k]:
            total += math.exp(z[k] - top)
        cdf[k] = total
    target, drawn = u * total, 0
    for k in range(len(z)):
        drawn += cdf[k] <= target
    return drawn
