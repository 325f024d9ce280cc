"""The LSTM over a whole sequence, for CUDA: the equations and the order of minigen/lstm.py.

Up to 108 units the whole recurrence is one launch of lstm.cu, with Wh in registers and a block per row of the batch;
above that a step is a product and a launch of lstm_step.cu. Several LSTMs of one size go in one launch: `run` and
`run_back` take arrays with an axis L before all others, 1 for a single one. Layout and caches are the reference's.
"""

from minigen.backend import array_module
from minigen.errors import MinigenError
from minigen.kernels.cuda.launch import launch, launch_over, packed

LARGEST = 108  # whose Wh fits into the registers of a block


def threads(H: int) -> int:
    """A warp for every 8 units, or for 9 where that would be more than 12 warps: 13 could have 128 registers each."""
    return 32 * -(-H // (9 if H > 96 else 8))


def refuse_too_many(gates) -> None:
    if gates.size >= 2**31:
        raise MinigenError("the CUDA kernels count cells in 31 bits, and this batch has more: use a smaller --batch")


def run(gates, Wh, b, h, c) -> None:
    """gates (L, T, B, 4H) of x Wx, Wh (L, H, 4H), b (L, 4H), h and c (L, T+1, B, H) with their row 0
    -> in place: gates are the activated gates, h and c are filled."""
    L, T, B, H = *gates.shape[:3], Wh.shape[1]
    refuse_too_many(gates)
    if H <= LARGEST:
        launch("lstm.cu", "lstm_forward", (B, L), threads(H), T, gates, Wh, b, h, c, HIDDEN=H)
        return
    for l in range(L):
        for t in range(T):
            step = (B, H, gates[l, t], h[l, t] @ Wh[l], b[l], c[l, t], h[l, t + 1], c[l, t + 1])
            launch_over(B * H, "lstm_step.cu", "lstm_step_forward", *step)


def run_back(dh, dc_next, gates, c, Wh):
    """dh (L, T, B, H), dc_next (L, B, H) on c[-1], which becomes that on c[0], in place
    -> da (L, T, B, 4H), db (L, 4H), dh_next (L, B, H)."""
    xp = array_module(dh)
    refuse_too_many(gates)
    L, T, B, H = dh.shape
    da, dh_next = xp.empty_like(gates), xp.zeros((L, B, H), "float32")
    if H <= LARGEST:
        db = xp.empty((L, B, 4 * H), "float32")
        arrays = (dh, gates, c, Wh, da, db, dh_next, dc_next)
        launch("lstm.cu", "lstm_backward", (B, L), threads(H), T, *arrays, HIDDEN=H)
        return da, db.sum(axis=1), dh_next
    for l in range(L):
        for t in reversed(range(T)):
            step = (B, H, dh[l, t], dh_next[l], gates[l, t], c[l, t], c[l, t + 1], da[l, t], dc_next[l])
            launch_over(B * H, "lstm_step.cu", "lstm_step_backward", *step)
            # in the forward pass this was: a += h[t] @ Wh
            dh_next[l] = da[l, t] @ Wh[l].T
    return da, da.sum(axis=(1, 2)), dh_next


def lstm_forward(x, h0, c0, Wx, Wh, b):
    xp = array_module(x)
    (T, B, I), H = x.shape, Wh.shape[0]
    h, c = xp.empty((T + 1, B, H), "float32"), xp.empty((T + 1, B, H), "float32")
    h[0], c[0] = h0, c0
    x = packed(x)
    gates = (x.reshape(T * B, I) @ Wx).reshape(T, B, 4 * H)
    run(gates[None], packed(Wh)[None], packed(b)[None], h[None], c[None])
    return (h, c), (x, h, c, gates, Wx, Wh)


def lstm_backward(dh, dc_last, cache, need_dx=True):
    x, h, c, gates, Wx, Wh = cache
    xp = array_module(x)
    T, B, H = dh.shape
    dc = xp.zeros((1, B, H), "float32") if dc_last is None else packed(dc_last).copy()[None]
    da, db, dh_next = run_back(packed(dh)[None], dc, gates[None], c[None], packed(Wh)[None])
    flat_da, flat_x = da.reshape(T * B, 4 * H), x.reshape(T * B, -1)
    # in the forward pass this was: a += h[t] @ Wh, and before it gates = x @ Wx + b
    dWh = h[:-1].reshape(T * B, H).T @ flat_da
    dx = (flat_da @ Wx.T).reshape(x.shape) if need_dx else None
    return dx, dh_next[0], dc[0], flat_x.T @ flat_da, dWh, db[0]
