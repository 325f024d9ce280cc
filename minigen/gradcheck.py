"""Gradient checks by direction, in float64, with a random upstream gradient.

For every argument x of `forward` a random direction d is drawn, and the change of `L = sum dout * out` along it, by
central differences, is held against `sum dx * d` from `backward`. One wrong line anywhere in backward moves that sum;
shape checks and loose absolute tolerances accept what this refuses.

`check` is for a layer of your own (README.md, *In code*, has one), `check_model` for a whole rung.
"""

from typing import NamedTuple

import numpy as np

from minigen.errors import MinigenError
from minigen.params import Params

BOUND = 1e-6
STEP = 5e-5


class Row(NamedTuple):
    """One line of the table: the gradient of which tensor, its relative error along a direction, the verdict."""

    tensor: str
    error: float
    ok: bool

    def __str__(self):
        return f"{self.tensor:24} {self.error:9.1e}  {'ok' if self.ok else 'WRONG'}"


def relative_error(a: float, b: float) -> float:
    """|a - b| / max(|a|, |b|); 0 where both are 0, infinite where one is NaN."""
    if not (np.isfinite(a) and np.isfinite(b)):
        return float("inf")
    return 0.0 if a == b else abs(a - b) / max(abs(a), abs(b))


def slope(function, x, direction) -> float:
    """The derivative of function(x) along a direction, by central differences of the fourth order.

    The second order is not enough: along a direction of 400,000 components its curvature error reaches 1e-6.
    """
    near = function(x + STEP * direction) - function(x - STEP * direction)
    far = function(x + 2 * STEP * direction) - function(x - 2 * STEP * direction)
    return float((8 * near - far) / (12 * STEP))


def check(forward, backward, inputs: dict, rng: np.random.Generator | None = None, bound: float = BOUND) -> list[Row]:
    """Check your own layer: a Row for every input.

    forward(*inputs.values()) -> out, cache, where out is an array or a tuple of arrays
    backward(dout, cache) -> the gradients of the inputs, in their order; None for one that is not made
    inputs: name -> float64 array

    Also fails a backward that answers another thing when called twice, or that edits its inputs.
    """
    rng = rng or np.random.default_rng(0)
    values = [np.asarray(value, np.float64) for value in inputs.values()]
    before = [value.copy() for value in values]
    result = forward(*values)
    if not (isinstance(result, tuple) and len(result) == 2):
        raise MinigenError("forward should return (out, cache), where out may be a tuple of arrays")
    out, cache = result
    single = not isinstance(out, tuple)
    dout = [rng.normal(size=y.shape) for y in ((out,) if single else out)]
    kept = [d.copy() for d in dout]
    grads = backward(dout[0] if single else tuple(dout), cache)
    again = backward(dout[0] if single else tuple(dout), cache)
    grads, again = (grads, again) if isinstance(grads, tuple | list) else ((grads,), (again,))
    if len(grads) != len(values):
        raise MinigenError(
            f"backward returned {len(grads)} gradients for {len(values)} inputs: None stands for one left out"
        )
    untouched = all(np.array_equal(a, b) for a, b in zip([*values, *dout], [*before, *kept], strict=True))

    def scalar(out) -> float:
        return sum(np.sum(d * y) for d, y in zip(dout, (out,) if single else out, strict=True))

    rows = []
    for k, (name, grad, twice) in enumerate(zip(inputs, grads, again, strict=True)):
        if grad is None:
            continue
        if grad.shape != values[k].shape:
            raise MinigenError(
                f"d{name} has shape {grad.shape} and {name} has {values[k].shape}: check backward's order"
            )
        direction = rng.normal(size=values[k].shape)
        measured = slope(lambda x, k=k: scalar(forward(*values[:k], x, *values[k + 1 :])[0]), values[k], direction)
        error = relative_error(measured, float(np.sum(grad * direction)))
        rows.append(Row(f"d{name}", error, error <= bound and untouched and np.array_equal(grad, twice)))
    return rows


def toy_batch(model, T: int, B: int, seed: int = 0, density: float = 0.03) -> dict:
    """A random batch for checks: an empty step, a fragment at the start of a song, padding at the end of one row."""
    rng = np.random.default_rng(seed)
    past = model.config.past
    roll = (rng.random((past + T, B, 88)) < density).astype(np.uint8)
    if T > 2:
        roll[past + T // 2] = 0
    start = rng.integers(0, 64, B) + past
    if B > 1:
        roll[:past, 0], start[0] = 0, 0
    mask = np.ones((T, B), bool)
    mask[T - T // 3 :, B - 1] = B == 1  # the only row keeps all its steps
    return {"roll": roll, "start": start, "mask": mask}


def frozen(model, trace: dict) -> dict:
    """What holds everything that is not differentiated: the notes played, the factors of the trick."""
    given = {"voices.notes": trace["voices.notes"]} if "voices.notes" in trace else {}
    if model.config.loss == "stop-gradient" and "union.factors" in trace:
        given["union.factors"] = trace["union.factors"]
    return given


def check_model(model, T: int = 20, B: int = 3, seed: int = 0, bound: float = BOUND) -> list[Row]:
    """The whole loss of a rung, a Row for every weight tensor and one for all at once.

    The draws are frozen (the notes of a first call are passed in), and so are the factors that the stop-gradient trick
    takes as constants, since the field that it gives is not the gradient of any loss.
    """
    rng = np.random.default_rng(seed)
    params = model.init(seed, np.float64)
    params = params.with_flat(params.flat + rng.normal(size=params.flat.shape) * 0.1)
    batch = toy_batch(model, T, B, seed)
    _, grads, trace, _ = model.loss(params, batch, model.draws(seed, "gradcheck", 0, range(B), T))
    given = frozen(model, trace)

    def loss(flat) -> float:
        return model.loss(params.with_flat(flat), batch, given, grad=False)[0]

    everything = rng.normal(size=params.flat.shape)
    rows = []
    for name in [*params, "everything"]:
        direction = everything
        if name != "everything":
            only = Params(params.shapes, dtype=np.float64)
            only[name][...] = rng.normal(size=params[name].shape)
            direction = only.flat
        error = relative_error(slope(loss, params.flat, direction), float(grads.flat @ direction))
        rows.append(Row(name, error, error <= bound))
    return rows
