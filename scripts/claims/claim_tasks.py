"""The reader's own tasks (19/12): can soft attention that never looks at the memory find what it has to copy?

An LSTM of 70, an LSTM of 50, a softmax over the 80 lags x[t-1] ... x[t-80]; the answer is their weighted sum. Beside
it a plain LSTM of the same size that answers from its state. Random vectors of 13 bits, 192 steps, the last 64 inputs
zero; the error is squared, counted from step 64 on and summed over steps.

copy         the vector of 64 steps ago
rolled       the same, its bits moved by one; an LSTM of 90 reads the input and the reading (or the plain LSTM's answer)
distance     the vector of d steps ago, d told by the number of ones in the input
"""

import numpy as np
from claims.common import judge, lower, opposite, spread, table
from matplotlib.figure import Figure

from minigen.adam import Moments, adam
from minigen.linear import linear_backward, linear_forward, softmax_backward, softmax_forward
from minigen.lstm import lstm_layer, lstm_layer_backward
from minigen.ops import join
from minigen.params import Params, initialise, linear_shapes, lstm_shapes
from minigen.reader import read_backward, read_forward
from minigen.run.plots import save

PARTS, MINUTES = ("reader", "plain"), 0
T, B, BITS, SILENT, FROM = 192, 128, 13, 64, 64
LAGS = range(2, 82)  # counted from the step predicted, as everywhere: x[t-1] ... x[t-80]
DISTANCES = np.array([1, 2, 4, 8, 12, 16, 24, 28, 32, 36, 40, 48, 56, 64])
STEPS, RATE = 500, 0.001
SOLVED = 0.01  # of the error at first


def music(task: str, rng):
    """x (80 + T, B, BITS), whose first 80 rows are silence, and what should be answered (T, B, BITS)."""
    x = np.zeros((80 + T, B, BITS), np.float32)
    x[80:-SILENT] = rng.random((T - SILENT, B, BITS)) < 0.5
    if task == "distance":
        t = np.arange(80, 80 + T)[:, None]
        return x, x[t - DISTANCES[x[80:].sum(axis=2).astype(int)], np.arange(B)]
    y = x[80 - 64 : -64]
    return x, np.roll(y, 1, axis=2) if task == "rolled" else y


def shapes(task: str, reader: bool) -> dict:
    body = lstm_shapes("lower", BITS, 70) | lstm_shapes("upper", 70, 50)
    body |= linear_shapes("weights", 50, len(LAGS)) if reader else linear_shapes("guess", 50, BITS)
    if task == "rolled":
        body |= lstm_shapes("after", 2 * BITS, 90) | linear_shapes("answer", 90, BITS)
    return body


def loss(params, x, y):
    """-> the error of each step (T, B), its gradients, the weights of the lags (T, B, 80) or None."""
    inputs, w, grads = x[-T:], None, params.with_flat(np.zeros_like(params.flat))
    sizes = {name[:-3]: params[name].shape[0] for name in params if name.endswith(".Wh")}
    rest = {f"{name}.{part}": np.zeros((x.shape[1], H), params.dtype) for name, H in sizes.items() for part in "hc"}
    (h_lower, _), lower = lstm_layer(params, "lower", inputs, rest)
    (h, _), upper = lstm_layer(params, "upper", h_lower, rest)
    if "weights.W" in params.views:
        z, weights = linear_forward(h, *params.layer("weights"))
        w, softmax = softmax_forward(z)
        out, read = read_forward(w, x, LAGS)
    else:
        out, guess = linear_forward(h, *params.layer("guess"))
    if "after.Wh" in params.views:
        (h_after, _), after = lstm_layer(params, "after", join(inputs, out), rest)
        out, answer = linear_forward(h_after, *params.layer("answer"))

    d = out - y
    d[:FROM] = 0
    dout = 2 * d / d[0].size
    if "after.Wh" in params.views:
        dh_after, *danswer = linear_backward(dout, answer)
        grads.add("answer", *danswer)
        djoined, dafter = lstm_layer_backward(dh_after, after)
        grads.add("after", *dafter)
        dout = djoined[..., BITS:]
    if w is not None:
        dh, *dweights = linear_backward(softmax_backward(read_backward(dout, read), softmax), weights)
        grads.add("weights", *dweights)
    else:
        dh, *dguess = linear_backward(dout, guess)
        grads.add("guess", *dguess)
    dh_lower, dupper = lstm_layer_backward(dh, upper)
    grads.add("upper", *dupper)
    grads.add("lower", *lstm_layer_backward(dh_lower, lower, need_dx=False)[1])
    return (d * d).mean(axis=2), grads, w


def learn(task: str, reader: bool, seed: int, steps: int):
    """-> the error at every step, and of the last batch its inputs, errors (T, B) and weights of the lags or None."""
    rng = np.random.default_rng(seed)
    params = Params(shapes(task, reader))
    initialise(params, rng)
    moments, errors = Moments.of(params.flat), []
    for _ in range(steps):
        x, y = music(task, rng)
        error, grads, w = loss(params, x, y)
        errors.append(float(error.sum(axis=0).mean()))
        flat, moments = adam(params.flat, grads.flat, moments, RATE)
        params = params.with_flat(flat)
    return errors, (x[-T:], error, w)


def one(task: str, part: str, seed: int, minutes: float) -> dict:
    """One network; how long is the tasks' own affair."""
    errors, (x, error, w) = learn(task, part == "reader", seed, STEPS)
    ones = x[FROM:-SILENT].sum(axis=2).astype(int)
    of_ones = [float(error[FROM:-SILENT][ones == n].mean()) if (ones == n).any() else np.nan for n in range(BITS + 1)]
    return {"errors": errors, "w": None if w is None else w[:, 0], "of ones": of_ones}


def constant_guess(task: str) -> float:
    """The error of the best guess that does not look at the input: each step's own mean."""
    rng = np.random.default_rng(0)
    y = np.concatenate([music(task, rng)[1] for _ in range(10)], axis=1)[FROM:]
    return float(y.var(axis=1).mean(axis=1).sum())


def conclude(task: str, found: list[dict]):
    rows, solved, shown = [], {}, (0, STEPS // 5, 2 * STEPS // 5, STEPS - 1)
    for net in PARTS:
        errors = np.array([seed[net]["errors"] for seed in found])
        under = errors < SOLVED * errors[:, :1]
        cells = [spread(errors[:, step], 4) for step in shown]
        rows.append([net, *cells, spread(under.argmax(axis=1), 0) if under.any(axis=1).all() else "not in every seed"])
        solved[net] = lower(errors[:, -20:].mean(axis=1), SOLVED * errors[:, 0])
    head = ["error", *(f"step {step}" for step in shown), f"under {SOLVED:.0%} at step"]
    lines = [*table(head, rows), "", f"A constant guess scores {constant_guess(task):.1f}."]
    if task != "distance":
        parts = {
            "the reader solves it": solved["reader"],
            "and a plain LSTM of its size does not, in as many steps": opposite(solved["plain"]),
        }
        return lines, judge(task, parts)
    of_ones = np.ma.masked_invalid([seed["reader"]["of ones"] for seed in found])  # (seeds, 14); some never came
    mean = [f"{x:.3f}" for x in of_ones.mean(axis=0).filled(np.nan)]
    lines += [
        "",
        *table(
            ["ones in the input", *map(str, range(BITS + 1))],
            [["distance", *map(str, DISTANCES)], ["mean squared error", *mean]],
        ),
    ]
    often, rare = (of_ones[:, counts].mean(axis=1).filled(np.nan) for counts in ([5, 6, 7, 8], [1, 2, 11, 12]))
    parts = {
        f"it is not solved in {STEPS} steps": opposite(solved["reader"]),
        "frequent counts are learned better than rare ones": lower(often, rare),
    }
    return lines, judge(task, parts)


def draw(task: str, found: list[dict], path) -> None:
    figure = Figure(figsize=(11, 4))
    left, right = figure.subplots(1, 2)
    for seed in found:
        left.plot(seed["plain"]["errors"], color="#9db4c0", label="plain LSTM" if seed is found[0] else None)
        left.plot(seed["reader"]["errors"], color="#1f4e79", label="reader" if seed is found[0] else None)
    left.set(yscale="log", xlabel="step", ylabel="error", title=f"{task}: error over training")
    left.legend(frameon=False)
    right.imshow(found[0]["reader"]["w"].T, origin="lower", aspect="auto", cmap="Blues", extent=(0, T, 0.5, 80.5))
    right.set(xlabel="t", ylabel="read from x[t - l], l", title="the reader's weights, one sequence")
    save(figure, path)
