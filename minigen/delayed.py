"""LSTMs that read their own state of some steps ago, not of the last one (diary 09/12, and the form that worked later).

    a[t] = x[t] Wx + h[t-D] Wh + b,   c[t] = f c[t-D] + i g,   h[t] = o tanh(c[t])

A capsule has one delay D and reads no other capsule: it is D plain LSTMs that take turns, so its steps are laid out as
(T/D, D B) and go through the plain LSTM. In linked groups every gate reads the delayed h of all groups, each with its
own delay; that needs a loop of its own. A state is the last D values of h and of c: (D, B, H).
"""

from minigen.backend import array_module
from minigen.linear import sigmoid
from minigen.lstm import lstm_forward, lstm_layer_backward


def _fold(x, width: int):
    """(T, B, .) -> (T/width rounded up, width B, .): steps that take turns lie side by side, zeros at the end."""
    xp = array_module(x)
    T, B, I = x.shape
    padding = xp.zeros((-T % width, B, I), x.dtype)
    return xp.concatenate([x, padding]).reshape(-1, width * B, I)


def _unfold(x, T: int, B: int):
    """The first T steps of (Q, width B, .) as (T, B, .)."""
    return x.reshape(-1, B, x.shape[-1])[:T]


def capsule_forward(params, name: str, x, state):
    """x (T, B, I), the state's name.h and name.c (D, B, H) -> (h (T, B, H), state), cache."""
    xp = array_module(x)
    (T, B, _), (h0, c0) = x.shape, (state[f"{name}.h"], state[f"{name}.c"])
    width = min(T, len(h0))  # of fewer steps than the delay, each reads the given state, and none another step
    first = (s[:width].reshape(1, width * B, -1)[0] for s in (h0, c0))
    (h, c), lstm = lstm_forward(_fold(x, width), *first, *params.layer(name))
    h, c = _unfold(h[1:], T, B), _unfold(c[1:], T, B)
    new_state = {f"{name}.h": xp.concatenate([h0, h])[T:], f"{name}.c": xp.concatenate([c0, c])[T:]}
    return (h, new_state), (lstm, width, T, B)


def capsule_backward(dh, cache, need_dx=True):
    """dh (T, B, H) -> dx (T, B, I) or None, (dWx, dWh, db)."""
    lstm, width, T, B = cache
    # in the forward pass this was: lstm_forward(_fold(x, width), ...)
    dx, dweights = lstm_layer_backward(_fold(dh, width), lstm, need_dx)
    return _unfold(dx, T, B) if need_dx else None, dweights


def _reads(xp, delays, H: int):
    """For every unit its number and its group's delay, as an index of arrays of `xp`."""
    return xp.arange(H), xp.asarray(delays).repeat(H // len(delays))


def linked_forward(params, name: str, x, delays, state):
    """x (T, B, I), the state's name.h and name.c (max delay, B, H) -> (h (T, B, H), state), cache.

    The H units are len(delays) groups of equal size, one after the other.
    """
    xp = array_module(x)
    Wx, Wh, b = params.layer(name)
    (T, B, _), H, D = x.shape, Wh.shape[0], max(delays)
    units, delay = _reads(xp, delays, H)
    h = xp.concatenate([state[f"{name}.h"], xp.empty((T, B, H), Wh.dtype)])  # row D + t is step t
    c = xp.concatenate([state[f"{name}.c"], xp.empty((T, B, H), Wh.dtype)])
    gates = x @ Wx + b  # blocks of H in the order i f o g
    for t in range(T):
        a = gates[t]
        a += h[D + t - delay, :, units].T @ Wh
        a[:, : 3 * H] = sigmoid(a[:, : 3 * H])
        a[:, 3 * H :] = xp.tanh(a[:, 3 * H :])
        i, f, o, g = a[:, :H], a[:, H : 2 * H], a[:, 2 * H : 3 * H], a[:, 3 * H :]
        c[D + t] = f * c[D + t - delay, :, units].T + i * g
        h[D + t] = o * xp.tanh(c[D + t])
    return (h[D:], {f"{name}.h": h[T:], f"{name}.c": c[T:]}), (x, h, c, gates, Wx, Wh, delays)


def linked_backward(dh, cache, need_dx=True):
    """dh (T, B, H) -> dx (T, B, I) or None, (dWx, dWh, db)."""
    x, h, c, gates, Wx, Wh, delays = cache
    xp = array_module(x)
    (T, B, H), D = dh.shape, max(delays)
    units, delay = _reads(xp, delays, H)
    da, h_delayed = xp.empty_like(gates), xp.empty((T, B, H), gates.dtype)
    dh_all, dc_all = xp.zeros((D + T, B, H), gates.dtype), xp.zeros((D + T, B, H), gates.dtype)
    dh_all[D:] = dh
    for t in reversed(range(T)):
        i, f, o, g = (gates[t, :, k * H : (k + 1) * H] for k in range(4))
        delayed = D + t - delay, slice(None), units
        # in the forward pass this was: h[D + t] = o * tanh(c[D + t])
        tanh_c = xp.tanh(c[D + t])
        do = dh_all[D + t] * tanh_c
        dc = dc_all[D + t] + dh_all[D + t] * o * (1 - tanh_c * tanh_c)
        # in the forward pass this was: c[D + t] = f * c[delayed] + i * g
        di, df, dg = dc * g, dc * c[delayed].T, dc * i
        dc_all[delayed] += (dc * f).T
        # in the forward pass this was: i, f, o = sigmoid(a), g = tanh(a)
        da[t, :, :H] = di * i * (1 - i)
        da[t, :, H : 2 * H] = df * f * (1 - f)
        da[t, :, 2 * H : 3 * H] = do * o * (1 - o)
        da[t, :, 3 * H :] = dg * (1 - g * g)
        # in the forward pass this was: a += h[delayed] @ Wh
        h_delayed[t] = h[delayed].T
        dh_all[delayed] += (da[t] @ Wh.T).T
    flat_da = da.reshape(T * B, 4 * H)
    dWh = h_delayed.reshape(T * B, H).T @ flat_da
    # in the forward pass this was: gates = x @ Wx + b
    dx = da @ Wx.T if need_dx else None
    return dx, (x.reshape(T * B, -1).T @ flat_da, dWh, flat_da.sum(axis=0))
