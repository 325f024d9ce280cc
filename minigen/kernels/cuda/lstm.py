"""The LSTM over a whole sequence, for CUDA: the equations and the order of minigen/lstm.py.

Up to 108 units the whole recurrence is one launch of lstm.cu, with Wh in registers and a block per row of the batch;
above that a step is a product and a launch of lstm_step.cu. `run` and `run_back` take L LSTMs of one size: their gates
lie side by side, (T, B, L, 4H), so that what all of them read meets all their weights in one product.
"""

from minigen.backend import array_module
from minigen.errors import MinigenError
from minigen.kernels.cuda.launch import NULL, launch, launch_over, packed

LARGEST = 108  # units whose Wh fits into the registers of a block; of more, `run` takes one LSTM at a time


def threads(H: int) -> int:
    """A warp for every 8 units, 12 at most: 13 could have 128 registers each. Above 96 units some have a ninth."""
    return 32 * min(-(-H // 8), 12)


def refuse_too_many(gates) -> None:
    if gates.size >= 2**31:
        raise MinigenError("the CUDA kernels count cells in 31 bits, and this batch has more: use a smaller --batch")


def run(gates, Wh, b, h0, c0, h, c, first: int = 0, count: int = 1) -> None:
    """`count` LSTMs from the `first` of L on: gates (T, B, L, 4H) of x Wx, Wh (L, H, 4H), b (L, 4H), h0 and c0
    (L, B, H) -> in place: gates are the activated gates; h and c (L, T+1, B, H) are filled."""
    (T, B, L, _), H = gates.shape, Wh.shape[1]
    refuse_too_many(gates)
    if H <= LARGEST:
        arrays = (gates, Wh, b, h0, c0, h, c)
        launch("lstm.cu", "lstm_forward", (B, count), threads(H), T, L, first, *arrays, HIDDEN=H)
        return
    assert L == 1
    h[:, 0], c[:, 0] = h0, c0
    for t in range(T):
        step = (B, H, gates[t, :, 0], h[0, t] @ Wh[0], b[0], c[0, t], h[0, t + 1], c[0, t + 1])
        launch_over(B * H, "lstm_step.cu", "lstm_step_forward", *step)


def run_back(dh, dc_last, gates, c, Wh):
    """dh (L, T, B, H), dc_last (L, B, H) on c[-1] or None -> da (T, B, L, 4H), db (L, B, 4H) of
    each row of the batch, dh0, dc0 (L, B, H)."""
    xp = array_module(dh)
    refuse_too_many(gates)
    L, T, B, H = dh.shape
    da, dh0, dc0 = xp.empty_like(gates), xp.empty((L, B, H), "float32"), xp.empty((L, B, H), "float32")
    if H <= LARGEST:
        db = xp.empty((L, B, 4 * H), "float32")
        arrays = (dh, NULL if dc_last is None else dc_last, gates, c, Wh, da, db, dh0, dc0)
        launch("lstm.cu", "lstm_backward", (B, L), threads(H), T, L, *arrays, HIDDEN=H)
        return da, db, dh0, dc0
    assert L == 1
    dh0[...], dc0[...] = 0, 0 if dc_last is None else dc_last
    for t in reversed(range(T)):
        step = (B, H, dh[0, t], dh0[0], gates[t, :, 0], c[0, t], c[0, t + 1], da[t, :, 0], dc0[0])
        launch_over(B * H, "lstm_step.cu", "lstm_step_backward", *step)
        # in the forward pass this was: a += h[t] @ Wh
        dh0[0] = da[t, :, 0] @ Wh[0].T
    return da, da.sum(axis=0).swapaxes(0, 1), dh0, dc0


def lstm_forward(x, h0, c0, Wx, Wh, b):
    xp = array_module(x)
    (T, B, I), H = x.shape, Wh.shape[0]
    h, c, x = xp.empty((T + 1, B, H), "float32"), xp.empty((T + 1, B, H), "float32"), packed(x)
    gates = (x.reshape(T * B, I) @ Wx).reshape(T, B, 4 * H)
    weights, state = (packed(Wh)[None], packed(b)[None]), (packed(h0)[None], packed(c0)[None])
    run(gates[:, :, None], *weights, *state, h[None], c[None])
    return (h, c), (x, h, c, gates, Wx, Wh)


def lstm_backward(dh, dc_last, cache, need_dx=True):
    x, h, c, gates, Wx, Wh = cache
    T, B, H = dh.shape
    dc_last = None if dc_last is None else packed(dc_last)[None]
    da, db, dh0, dc0 = run_back(packed(dh)[None], dc_last, gates[:, :, None], c[None], packed(Wh)[None])
    flat_da, flat_x = da.reshape(T * B, 4 * H), x.reshape(T * B, -1)
    # in the forward pass this was: a += h[t] @ Wh, and before it gates = x @ Wx + b
    dWh = h[:-1].reshape(T * B, H).T @ flat_da
    dx = (flat_da @ Wx.T).reshape(x.shape) if need_dx else None
    return dx, dh0[0], dc0[0], flat_x.T @ flat_da, dWh, db[0].sum(axis=0)
