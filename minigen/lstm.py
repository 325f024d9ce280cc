"""The LSTM over a whole sequence, forward and backward through time (BPTT), by hand.

    a = x Wx + h Wh + b,   i, f, o = sigmoid,  g = tanh,   c = f c + i g,   h = o tanh(c)

Hochreiter and Schmidhuber 1997, with the forget gate of Gers et al. 2000, without peepholes. h and c have T+1 rows,
row 0 the initial state, so no step is a special case. The inputs of all steps meet Wx in one product before the loop,
and each weight's gradient is one product after it. The gates, activated in place, are the cache.

Translations of this file: kernels/cpu/lstm.py, kernels/cuda/lstm.py and lstm.cu.
"""

from minigen.backend import array_module, replaceable
from minigen.linear import sigmoid


@replaceable
def lstm_forward(x, h0, c0, Wx, Wh, b):
    """x (T, B, I), h0 and c0 (B, H), Wx (I, 4H), Wh (H, 4H), b (4H,) -> (h, c), cache.

    h and c are (T+1, B, H): `h[1:]` is the output, `h[-1]` and `c[-1]` the state to go on from.
    """
    xp = array_module(x)
    (T, B, _), H = x.shape, Wh.shape[0]
    h = xp.empty((T + 1, B, H), Wh.dtype)
    c = xp.empty((T + 1, B, H), Wh.dtype)
    h[0], c[0] = h0, c0
    gates = x @ Wx + b  # (T, B, 4H), blocks of H in the order i f o g
    for t in range(T):
        a = gates[t]
        a += h[t] @ Wh
        a[:, : 3 * H] = sigmoid(a[:, : 3 * H])
        a[:, 3 * H :] = xp.tanh(a[:, 3 * H :])
        i, f, o, g = a[:, :H], a[:, H : 2 * H], a[:, 2 * H : 3 * H], a[:, 3 * H :]
        c[t + 1] = f * c[t] + i * g
        h[t + 1] = o * xp.tanh(c[t + 1])
    return (h, c), (x, h, c, gates, Wx, Wh)


@replaceable
def lstm_backward(dh, dc_last, cache, need_dx=True):
    """dh (T, B, H) on `h[1:]`, dc_last (B, H) on `c[-1]` or None -> dx, dh0, dc0, dWx, dWh, db.

    `need_dx=False` leaves out dx (None): nothing needs the gradient of music.
    """
    x, h, c, gates, Wx, Wh = cache
    xp = array_module(x)
    T, B, H = dh.shape
    da = xp.empty_like(gates)
    dh_next = xp.zeros((B, H), gates.dtype)
    dc_next = xp.zeros((B, H), gates.dtype) if dc_last is None else dc_last
    for t in reversed(range(T)):
        i, f, o, g = (gates[t, :, k * H : (k + 1) * H] for k in range(4))
        # in the forward pass this was: h[t + 1] = o * tanh(c[t + 1]), read by the layer above and by step t + 1
        tanh_c = xp.tanh(c[t + 1])
        dh_t = dh[t] + dh_next
        do = dh_t * tanh_c
        dc = dc_next + dh_t * o * (1 - tanh_c * tanh_c)
        # in the forward pass this was: c[t + 1] = f * c[t] + i * g
        di, df, dg = dc * g, dc * c[t], dc * i
        dc_next = dc * f
        # in the forward pass this was: i, f, o = sigmoid(a), g = tanh(a)
        da[t, :, :H] = di * i * (1 - i)
        da[t, :, H : 2 * H] = df * f * (1 - f)
        da[t, :, 2 * H : 3 * H] = do * o * (1 - o)
        da[t, :, 3 * H :] = dg * (1 - g * g)
        # in the forward pass this was: a += h[t] @ Wh
        dh_next = da[t] @ Wh.T
    flat_da = da.reshape(T * B, 4 * H)
    dWh = h[:-1].reshape(T * B, H).T @ flat_da
    # in the forward pass this was: gates = x @ Wx + b
    dx = da @ Wx.T if need_dx else None
    dWx = x.reshape(T * B, -1).T @ flat_da
    db = flat_da.sum(axis=0)
    return dx, dh_next, dc_next, dWx, dWh, db


def lstm_layer(params, name: str, x, state):
    """The LSTM of that name, going on from its own state: x (T, B, I) -> (h (T, B, H), its new state), cache."""
    (h, c), cache = lstm_forward(x, state[f"{name}.h"], state[f"{name}.c"], *params.layer(name))
    return (h[1:], {f"{name}.h": h[-1], f"{name}.c": c[-1]}), cache


def lstm_layer_backward(dh, cache, need_dx=True):
    """dh (T, B, H) -> dx (T, B, I) or None, (dWx, dWh, db). Nothing flows into the state it went on from."""
    dx, _, _, *dweights = lstm_backward(dh, None, cache, need_dx)
    return dx, dweights
