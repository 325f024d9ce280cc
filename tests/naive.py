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


def history(params, x, bits, lags, state):
    T = len(bits)
    inputs = np.concatenate([x[len(x) - T :], bits], axis=2)
    h, _ = lstm(inputs, state["reader.h"], state["reader.c"], *params.layer("reader"))
    w = np.array([[softmax(row @ params["weights.W"] + params["weights.b"]) for row in rows] for rows in h])
    local, _ = lstm(inputs, state["local.h"], state["local.c"], *params.layer("local"))
    joined = np.concatenate([read(w, x, lags), local], axis=2)
    return lstm(joined, state["aggregator.h"], state["aggregator.c"], *params.layer("aggregator"))[0]


def draw(p, u, allowed):
    """Walk along the distribution restricted to `allowed` until the uniform is used up."""
    p = [value if ok else 0 for value, ok in zip(p, allowed, strict=True)]
    left = u * sum(p)
    for outcome, value in enumerate(p):
        if left < value:
            return outcome
        left -= value
    raise AssertionError("u is not under 1")


def voices(params, features, V, state, u, allowed):
    """p (V, T, B, K+1) and notes (V, T, B), step by step: all voices of a step before the next step."""
    T, B, _ = features.shape
    K = len(params["head1.b"]) - 1
    p, notes = np.zeros((V, T, B, K + 1)), np.zeros((V, T, B), int)
    state = dict(state)
    for t in range(T):
        for n in range(B):
            heard = np.zeros(K)
            for v in range(V):
                name = f"voice{v + 1}"
                x = np.concatenate([features[t, n], heard])[None, None]
                h0, c0 = state[f"{name}.h"][n : n + 1], state[f"{name}.c"][n : n + 1]
                h, c = lstm(x, h0, c0, *params.layer(name))
                for part, value in (("h", h[0, 0]), ("c", c[0])):
                    state[f"{name}.{part}"] = state[f"{name}.{part}"].copy()
                    state[f"{name}.{part}"][n] = value
                p[v, t, n] = softmax(h[0, 0] @ params[f"head{v + 1}.W"] + params[f"head{v + 1}.b"])
                notes[v, t, n] = draw(p[v, t, n], u[t, n, v], allowed[t, n])
                if notes[v, t, n] < K:
                    heard[notes[v, t, n]] = 1
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
