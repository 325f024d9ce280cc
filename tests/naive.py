"""The equations once more, in scalar loops as slow as they are plain: what the layers' values are held against."""

from math import exp, log, tanh

import numpy as np


def sigmoid(x):
    return 1 / (1 + exp(-x))


def lstm(x, h0, c0, Wx, Wh, b):
    """h (T, B, H) and the last c (B, H), cell by cell."""
    (T, B, _), H = x.shape, Wh.shape[0]
    hs, c = np.zeros((T, B, H)), c0.copy()
    for n in range(B):
        h = h0[n]
        for t in range(T):
            a = [sum(x[t, n] * Wx[:, j]) + sum(h * Wh[:, j]) + b[j] for j in range(4 * H)]
            for k in range(H):
                i, f, o, g = sigmoid(a[k]), sigmoid(a[H + k]), sigmoid(a[2 * H + k]), tanh(a[3 * H + k])
                c[n, k] = f * c[n, k] + i * g
                hs[t, n, k] = o * tanh(c[n, k])
            h = hs[t, n]
    return hs, c


def delayed(x, h_past, c_past, Wx, Wh, b, delays):
    """h, c (T, B, H) of an LSTM whose unit j reads all units' h, and its own c, of delays[j] steps ago: h_past and
    c_past (D, B, H) are the steps before."""
    (T, B, _), (D, _, H) = x.shape, h_past.shape
    hs, cs = (np.concatenate([past, np.zeros((T, B, H))]) for past in (h_past, c_past))
    for t, n in np.ndindex(T, B):
        old_h = np.array([hs[D + t - delays[j], n, j] for j in range(H)])
        a = [sum(x[t, n] * Wx[:, j]) + sum(old_h * Wh[:, j]) + b[j] for j in range(4 * H)]
        for k in range(H):
            i, f, o, g = sigmoid(a[k]), sigmoid(a[H + k]), sigmoid(a[2 * H + k]), tanh(a[3 * H + k])
            cs[D + t, n, k] = f * cs[D + t - delays[k], n, k] + i * g
            hs[D + t, n, k] = o * tanh(cs[D + t, n, k])
    return hs, cs


def softmax(z):
    e = np.array([exp(value) for value in z])
    return e / sum(e)


def read(w, x, lags):
    """x[s] for s up to the last input; the step predicted from input t stands one after it."""
    T, B, _ = w.shape
    out = np.zeros((T, B, x.shape[2]))
    for t in range(T):
        predicted = len(x) - T + t + 1
        for n in range(B):
            for l, lag in enumerate(lags):
                out[t, n] += w[t, n, l] * x[predicted - lag, n]
    return out


def history(params, x, bits, lags, state, keep=None):
    """With `keep` (T, B, H) the aggregator reads the input too."""
    T = len(bits)
    inputs = np.concatenate([x[len(x) - T :], bits], axis=2)
    h, _ = lstm(inputs, state["reader.h"], state["reader.c"], *params.layer("reader"))
    w = np.array([[softmax(row @ params["weights.W"] + params["weights.b"]) for row in rows] for rows in h])
    local, _ = lstm(inputs, state["local.h"], state["local.c"], *params.layer("local"))
    joined = np.concatenate([read(w, x, lags), local] if keep is None else [read(w, x, lags), local * keep, inputs], 2)
    return lstm(joined, state["aggregator.h"], state["aggregator.c"], *params.layer("aggregator"))[0]


def silu(a):
    return np.array([value * sigmoid(value) for value in a])


def ordered(params, f, outcomes, temperature=1.0):
    """An ordered step: features f (F,), the outcomes of its voices, the last a stop -> their distributions (n, K+1)."""
    K, rows, played, last = len(params["outcome.b"]) - 1, [], [], []
    for outcome in outcomes:
        heard = np.array([float(k in played) for k in range(K)] + [float(k in last) for k in range(K)])
        h = silu(np.concatenate([f, heard]) @ params["hidden.W"] + params["hidden.b"])
        h = h + silu(h @ params["deeper.W"] + params["deeper.b"])
        z = (h @ params["outcome.W"] + params["outcome.b"]) / temperature
        may = [k == K or not last or k < last[0] for k in range(K + 1)]
        e = np.array([exp(value) if ok else 0.0 for value, ok in zip(z, may, strict=True)])
        rows.append(e / e.sum())
        played, last = [*played, outcome], [outcome]
    return np.array(rows)


def goes_on(params, h, struck, before, after, k, near):
    """The chance that a sounding key goes on; rolls (88,)."""
    around = range(k - near, k + near + 1)
    seen = [*h, *(at(struck, j) for j in around), *(at(before, j) for j in around)]
    seen += [at(after, j) for j in around if j > k]
    hidden = silu(np.array(seen) @ params["near.W"] + params["near.b"])
    return sigmoid((hidden @ params["goes_on.W"] + params["goes_on.b"])[0])


def at(row, j):
    return row[j] if 0 <= j < len(row) else 0.0


def octaves(params, keys, classes, bits, state):
    """The octave decoder: logits (T, B, 88), and the state that it ends in."""
    x = np.concatenate([keys, classes, bits], axis=2)
    h, c = lstm(x, state["octave.h"], state["octave.c"], *params.layer("octave"))
    return h @ params["keys.W"] + params["keys.b"], {"octave.h": h[-1], "octave.c": c}


def draw(p, u, allowed):
    """Walk along the distribution restricted to `allowed` until the uniform is used up."""
    p = [value if ok else 0 for value, ok in zip(p, allowed, strict=True)]
    left = u * sum(p)
    for outcome, value in enumerate(p):
        if left < value:
            return outcome
        left -= value
    raise AssertionError("u is not under 1")


def keeping_the_pause(p, allowed):
    """p restricted to `allowed`: the pause, the last outcome, keeps its mass, and the keys left share that of all."""
    *keys, pause = p
    left = [value if ok else 0 for value, ok in zip(keys, allowed[:-1], strict=True)]
    scale = sum(keys) / sum(left) if sum(left) else 0
    return np.array([*(value * scale for value in left), pause if allowed[-1] else 0])


def voices(params, features, V, state, pick, temperature=1.0):
    """p (V, T, B, K+1) and notes (V, T, B), step by step: all voices of a step before the next step.

    pick(v, t, n, p, played) -> the outcome of voice v, at step t, in row n of the batch.
    """
    T, B, _ = features.shape
    K = len(params["head1.b"]) - 1
    p, notes = np.zeros((V, T, B, K + 1)), np.zeros((V, T, B), int)
    state = {name: array.copy() for name, array in state.items()}
    for t, n in np.ndindex(T, B):
        played = np.zeros(K)
        for v in range(V):
            name, row = f"voice{v + 1}", slice(n, n + 1)
            x = np.concatenate([features[t, n], played])[None, None]
            if f"{name}.Wh" in params.views:
                h, c = lstm(x, state[f"{name}.h"][row], state[f"{name}.c"][row], *params.layer(name))
                state[f"{name}.h"][row], state[f"{name}.c"][row], x = h[0], c, h
            z = x[0, 0] @ params[f"head{v + 1}.W"] + params[f"head{v + 1}.b"]
            p[v, t, n] = softmax(z / temperature)
            notes[v, t, n] = pick(v, t, n, p[v, t, n], played)
            if notes[v, t, n] < K:
                played[notes[v, t, n]] = 1
    return p, notes


def cells(p, pause_cell):
    """1 - prod (1 - p) for every key, and prod p for the pause."""
    P = 1 - np.prod(1 - p[..., :-1], axis=0)
    return np.concatenate([P, np.prod(p[..., -1:], axis=0)], axis=-1) if pause_cell else P


def cross_entropy(P, x, mask):
    total, count = 0.0, 0
    for where in np.ndindex(P.shape):
        if mask[where[:2]]:
            chance = min(max(P[where], 1e-6), 1 - 1e-6)
            total, count = total - log(chance if x[where] else 1 - chance), count + 1
    return total / count


def octave_loss(z, keys, classes, mask):
    total = 0.0
    for t, n, k in np.ndindex(z.shape):
        if mask[t, n] and classes[t, n, k % 12]:
            total -= log(sigmoid(z[t, n, k])) if keys[t, n, k] else log(1 - sigmoid(z[t, n, k]))
    return total / (mask.sum() * 88)


def adam(w, grads, rate):
    """The algorithm of the paper, component by component, over a list of gradients."""
    m, v, w = np.zeros_like(w), np.zeros_like(w), w.copy()
    for n, grad in enumerate(grads, start=1):
        for k in range(len(w)):
            g = min(max(grad[k], -1), 1)
            m[k] = 0.9 * m[k] + 0.1 * g
            v[k] = 0.999 * v[k] + 0.001 * g * g
            w[k] -= rate * (m[k] / (1 - 0.9**n)) / ((v[k] / (1 - 0.999**n)) ** 0.5 + 1e-8)
    return w
