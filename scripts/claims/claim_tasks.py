"""The reader's own tasks (19/12): can soft attention that never looks at the memory find what it has to copy?

An LSTM of 70, an LSTM of 50, a softmax over the 80 lags x[t-1] ... x[t-80]; the answer is their weighted sum. Beside it
a plain LSTM of the same size that answers from its state. Random vectors of 13 bits, 192 steps; the squared error, a
mean over the bits, is counted from step 64 on and summed over these 128 steps: 32 for a constant guess.

copy         the vector of 64 steps ago; the last 64 inputs are zero
rolled       the same, its bits moved by one; an LSTM of 90 reads the input and the reading (or the plain LSTM's answer)
distance     as rolled, but of d steps ago, d given by the number of ones in the input, which is never silent

The original gave distance 2,000 steps (`--long`), and had 5.0 to 5.5 then. In another unit, per step and summed over
the 13 bits (a constant guess: 3.25), it had 0.02 to 0.03 for inputs with 4 to 9 ones, and 4.8 to 6.6 for the others.
"""

import numpy as np
from claims.common import curves, over_seeds, picture

from minigen.adam import Moments, adam
from minigen.linear import linear_backward, linear_forward, softmax_backward, softmax_forward
from minigen.lstm import lstm_layer, lstm_layer_backward
from minigen.ops import join
from minigen.params import Params, initialise, linear_shapes, lstm_shapes
from minigen.reader import read_backward, read_forward
from minigen.run.verdict import judge, lower, opposite, spread, table

PARTS, MINUTES = ("reader", "plain"), 0
T, B, BITS, SILENT, FROM = 192, 128, 13, 64, 64
LAGS = range(2, 82)  # counted from the step predicted, as everywhere: x[t-1] ... x[t-80]
DISTANCES = np.array([1, 2, 4, 8, 12, 16, 24, 28, 32, 36, 40, 48, 56, 64])
STEPS, RATE, SOLVED = 500, 0.001, 0.01  # solved: under a hundredth of the error at first
LONG = {"claims": ("distance",), "parts": ("reader",), "seeds": 3, "steps": 2000}
FREQUENT, RARE = (4, 5, 6, 7, 8, 9), (0, 1, 2, 3, 10, 11, 12, 13)  # numbers of ones: 91% and 9% of the vectors
HIDDEN = {"lower": 70, "upper": 50, "after": 90}


def music(task: str, rng):
    """x (80 + T, B, BITS), whose first 80 rows are silence, and what should be answered (T, B, BITS)."""
    x = np.zeros((80 + T, B, BITS), np.float32)
    silent = 0 if task == "distance" else SILENT
    x[80 : len(x) - silent] = rng.random((T - silent, B, BITS)) < 0.5
    y = x[80 - 64 : -64]
    if task == "distance":
        t = np.arange(80, 80 + T)[:, None]
        y = x[t - DISTANCES[x[80:].sum(axis=2).astype(int)], np.arange(B)]
    return x, y if task == "copy" else np.roll(y, 1, axis=2)


def shapes(task: str, reader: bool) -> dict:
    """The weights. The layer `out` gives the weights of the lags, or the plain LSTM's answer."""
    body = lstm_shapes("lower", BITS, HIDDEN["lower"]) | lstm_shapes("upper", HIDDEN["lower"], HIDDEN["upper"])
    body |= linear_shapes("out", HIDDEN["upper"], len(LAGS) if reader else BITS)
    if task != "copy":
        body |= lstm_shapes("after", 2 * BITS, HIDDEN["after"]) | linear_shapes("answer", HIDDEN["after"], BITS)
    return body


def loss(params, x, y):
    """-> the error of each step (T, B), its gradients, the weights of the lags (T, B, 80) or None."""
    inputs, w, grads = x[-T:], None, {}
    state = {f"{name}.{part}": np.zeros((x.shape[1], H), params.dtype) for name, H in HIDDEN.items() for part in "hc"}
    (h_lower, _), lower = lstm_layer(params, "lower", inputs, state)
    (h_upper, _), upper = lstm_layer(params, "upper", h_lower, state)
    out, linear = linear_forward(h_upper, *params.layer("out"))
    if out.shape[-1] == len(LAGS):
        w, softmax = softmax_forward(out)
        out, read = read_forward(w, x, LAGS)
    if "after.Wh" in params.views:
        (h_after, _), after = lstm_layer(params, "after", join(inputs, out), state)
        out, answer = linear_forward(h_after, *params.layer("answer"))

    d = out - y
    d[:FROM] = 0
    dout = 2 * d / d[0].size
    if "after.Wh" in params.views:
        dh_after, *grads["answer"] = linear_backward(dout, answer)
        djoined, grads["after"] = lstm_layer_backward(dh_after, after)
        # in the forward pass this was: join(inputs, out)
        dout = djoined[..., BITS:]
    if w is not None:
        dout = softmax_backward(read_backward(dout, read), softmax)
    dh_upper, *grads["out"] = linear_backward(dout, linear)
    dh_lower, grads["upper"] = lstm_layer_backward(dh_upper, upper)
    _, grads["lower"] = lstm_layer_backward(dh_lower, lower, need_dx=False)
    return (d * d).mean(axis=2), params.gradients(grads), w


def long(task: str, part: str, seed: int, folder) -> dict:
    return one(task, part, seed, 0, LONG["steps"])


def one(task: str, part: str, seed: int, minutes: float, steps: int | None = None) -> dict:
    """-> the error at every step; of the last batch, that of the answers to inputs with so many ones, and weights."""
    rng, errors, params = np.random.default_rng(seed), [], Params(shapes(task, part == "reader"))
    initialise(params, rng)
    moments = Moments.of(params.flat)
    for _ in range(steps or STEPS):
        x, y = music(task, rng)
        error, grads, w = loss(params, x, y)
        errors.append(float(error.sum(axis=0).mean()))
        flat, moments = adam(params.flat, grads.flat, moments, RATE)
        params = params.with_flat(flat)
    told = slice(FROM, None if task == "distance" else -SILENT)  # the steps whose input is not silent
    ones, answers = x[-T:][told].sum(axis=2), BITS * error[told]
    frequent, rare = (float(answers[np.isin(ones, counts)].mean()) for counts in (FREQUENT, RARE))
    return {"errors": errors, "frequent": frequent, "rare": rare, "w": None if w is None else w[:, 0]}


def conclude(task: str, results: list[dict]):
    rows, solved = [], {}
    for net, of in over_seeds(results).items():
        first, last = np.array(of["errors"])[:, 0], np.array(of["errors"])[:, -20:].mean(axis=1)
        solved[net] = lower(last, SOLVED * first)
        rows.append([net, *map(spread, (first, last, of["frequent"], of["rare"]))])
    head = ["error, sum over steps", "at first", "over the last 20 steps of training"]
    head += [f"per step, sum over bits, {ones}" for ones in ("4 to 9 ones", "other inputs")]
    reader = over_seeds(results)["reader"]
    if task == "distance":
        parts = {
            f"it is not solved in {len(reader['errors'][0]):,} steps": opposite(solved["reader"]),
            "frequent counts are learned better than rare ones": lower(reader["frequent"], reader["rare"]),
        }
    else:
        parts = {
            "the reader solves it": solved["reader"],
            "and a plain LSTM of its size does not, in as many steps": opposite(solved["plain"]),
        }
    return table(head, rows), judge(task, parts)


conclude_long = conclude


def draw(task: str, results: list[dict], path) -> None:
    error = {"title": f"{task}: error over training", "xlabel": "step", "yscale": "log"}
    weights = {"title": "the reader's weights, one sequence", "xlabel": "t", "ylabel": "read from x[t - l], l"}
    with picture(path, (11, 4), error, weights) as (left, right):
        curves(left, {net: of["errors"] for net, of in over_seeds(results).items()})
        right.imshow(results[0]["reader"]["w"].T, origin="lower", aspect="auto", cmap="Blues", extent=(0, T, 0.5, 80.5))
