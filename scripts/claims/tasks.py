"""The reader's own tasks (19/12): can soft attention that never looks at the memory find what it has to copy?

An LSTM of 70, an LSTM of 50, a softmax over the 80 lags x[t-1] ... x[t-80]; the answer is their weighted sum. Beside
it a plain LSTM of the same size that answers from its state. Random vectors of 13 bits, 192 steps, the last 64 inputs
zero; the error is counted from step 64 on, summed over steps, so that a constant guess scores 32.

copy         the vector of 64 steps ago
rolled       the same, its bits moved by one; an LSTM of 90 reads the reading
distance     the vector of d steps ago, d told by the number of ones in the input
"""

import numpy as np
from claims.common import spread, table
from matplotlib.figure import Figure

from minigen.adam import Moments, adam
from minigen.linear import linear_backward, linear_forward, softmax_backward, softmax_forward
from minigen.lstm import lstm_backward, lstm_layer
from minigen.ops import join
from minigen.params import Params, initialise, linear_shapes, lstm_shapes
from minigen.plots import save
from minigen.reader import read_backward, read_forward

T, B, BITS, SILENT, FROM = 192, 128, 13, 64, 64
LAGS = range(2, 82)  # counted from the step predicted, as everywhere: x[t-1] ... x[t-80]
DISTANCES = np.array([1, 2, 4, 8, 12, 16, 24, 28, 32, 36, 40, 48, 56, 64])
STEPS, RATE = 500, 0.001


def music(task: str, rng):
    """x (80 + T, B, BITS), whose first 80 rows are silence, and what should be answered (T, B, BITS)."""
    x = np.zeros((80 + T, B, BITS), np.float32)
    x[80:-SILENT] = rng.random((T - SILENT, B, BITS)) < 0.5
    if task == "distance":
        t = np.arange(80, 80 + T)[:, None]
        return x, x[t - DISTANCES[x[80:].sum(axis=2).astype(int)], np.arange(B)]
    y = x[80 - 64 : -64]
    return x, np.roll(y, 1, axis=2) if task == "rolled" else y


def shapes(task: str, plain: bool) -> dict:
    body = lstm_shapes("lower", BITS, 70) | lstm_shapes("upper", 70, 50)
    if plain:
        return body | linear_shapes("answer", 50, BITS)
    body |= linear_shapes("weights", 50, len(LAGS))
    if task == "rolled":
        body |= lstm_shapes("after", 2 * BITS, 90) | linear_shapes("answer", 90, BITS)
    return body


def loss(params, x, y):
    """-> the error, its gradients, the weights of the lags (T, B, 80) or None."""
    inputs, w, grads = x[-T:], None, params.with_flat(np.zeros_like(params.flat))
    sizes = {name[:-3]: params[name].shape[0] for name in params if name.endswith(".Wh")}
    rest = {f"{name}.{part}": np.zeros((B, H), params.dtype) for name, H in sizes.items() for part in "hc"}
    (h_lower, _), lower = lstm_layer(params, "lower", inputs, rest)
    (h, _), upper = lstm_layer(params, "upper", h_lower, rest)
    if "weights.W" in params.views:
        z, weights = linear_forward(h, *params.layer("weights"))
        w, softmax = softmax_forward(z)
        out, read = read_forward(w, x, LAGS)
        if "after.Wh" in params.views:
            (h_after, _), after = lstm_layer(params, "after", join(inputs, out), rest)
            out, answer = linear_forward(h_after, *params.layer("answer"))
    else:
        out, answer = linear_forward(h, *params.layer("answer"))

    d = out - y
    d[:FROM] = 0
    dout = 2 * d / (B * BITS)
    if "answer.W" in params.views:
        dout, *danswer = linear_backward(dout, answer)
        grads.add("answer", *danswer)
    if w is not None:
        if "after.Wh" in params.views:
            dout, _, _, *dafter = lstm_backward(dout, None, after)
            grads.add("after", *dafter)
            dout = dout[..., BITS:]
        dout, *dweights = linear_backward(softmax_backward(read_backward(dout, read), softmax), weights)
        grads.add("weights", *dweights)
    dh_lower, _, _, *dupper = lstm_backward(dout, None, upper)
    grads.add("upper", *dupper)
    grads.add("lower", *lstm_backward(dh_lower, None, lower, need_dx=False)[3:])
    return float((d * d).sum() / (B * BITS)), grads, w


def learn(task: str, plain: bool, seed: int, steps: int = STEPS):
    """-> the error at every step, and the last weights of the lags for one sequence (T, 80) or None."""
    rng = np.random.default_rng(seed)
    params = Params(shapes(task, plain))
    initialise(params, rng)
    moments, errors = Moments.of(params.flat), []
    for _ in range(steps):
        error, grads, w = loss(params, *music(task, rng))
        errors.append(error)
        flat, moments = adam(params.flat, grads.flat, moments, RATE)
        params = params.with_flat(flat)
    return errors, None if w is None else w[:, 0]


def one(task: str, seed: int, minutes: float) -> dict:
    """Both networks; how long is the tasks' own affair."""
    reader, w = learn(task, False, seed)
    plain, _ = learn(task, True, seed)
    return {"reader": reader, "plain": plain, "w": w}


def conclude(task: str, found: list[dict]):
    rows = []
    for net in ("reader", "plain"):
        errors = np.array([seed[net] for seed in found])
        below = [np.argmax(row < 0.01 * row[0]) if (row < 0.01 * row[0]).any() else np.inf for row in errors]
        cells = [spread(errors[:, step], 4) for step in (0, 100, 200, STEPS - 1)]
        rows.append([net, *cells, spread(below, 0) if np.isfinite(below).all() else "never"])
    lines = table(["", "error at first", "step 100", "step 200", f"step {STEPS}", "under 1% at step"], rows)
    solved = {net: all(min(seed[net]) < 0.01 * seed[net][0] for seed in found) for net in ("reader", "plain")}
    if task == "distance":
        last = [seed["reader"][-1] for seed in found]
        held = "holds" if min(last) > 1 and not solved["reader"] else "does not hold here"
        return lines, f"{task}: that it is not solved {held}: the reader ends at {spread(last, 2)}."
    held = "holds" if solved["reader"] and not solved["plain"] else "does not hold here"
    return lines, f"{task}: that the reader solves what a plain LSTM of its size does not {held}."


def draw(task: str, found: list[dict], path) -> None:
    figure = Figure(figsize=(11, 4))
    left, right = figure.subplots(1, 2)
    for seed in found:
        left.plot(seed["plain"], color="#9db4c0", label="plain LSTM" if seed is found[0] else None)
        left.plot(seed["reader"], color="#1f4e79", label="reader" if seed is found[0] else None)
    left.set(yscale="log", xlabel="step", ylabel="error", title=f"{task}: error over training")
    left.legend(frameon=False)
    right.imshow(found[0]["w"].T, origin="lower", aspect="auto", cmap="Blues", extent=(0, T, 0.5, 80.5))
    right.set(xlabel="t", ylabel="read from x[t - l], l", title="the reader's weights, one sequence")
    save(figure, path)
