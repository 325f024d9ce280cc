"""Gradient checks by direction, in float64, with a random upstream gradient.

For every argument x of `forward` a random direction d is drawn (in `check` a second one, for the small parts), and the
change of `L = sum dout * out` along it, by central differences, is held against `sum dx * d` from `backward`. One wrong
line anywhere in backward moves that sum; shape checks and loose absolute tolerances accept what this refuses.

`check` is for a layer of your own (README.md, *In code*, has one), `check_model` for a whole rung.
"""

from typing import NamedTuple

import numpy as np

from minigen.checks.forms import called, gradients_of, in_form_of, input_of, outputs_of
from minigen.errors import MinigenError
from minigen.params import Params

BOUND = 1e-6
STEP = 5e-5


class Row(NamedTuple):
    """One line of the table: the gradient of which tensor, its relative error along a direction, the verdict; whether
    the slope and the gradient are both 0, so that `ok` says little."""

    tensor: str
    error: float
    ok: bool
    zero: bool = False

    def __str__(self):
        words = "ok, but both are 0 here: nothing was exercised" if self.zero else "ok" if self.ok else "WRONG"
        return f"{self.tensor:24} {self.error:9.1e}  {words}"


def relative_error(a: float, b: float) -> float:
    """|a - b| / max(|a|, |b|); 0 where both are 0, infinite where one is NaN."""
    if not (np.isfinite(a) and np.isfinite(b)):
        return float("inf")
    return 0.0 if a == b else abs(a - b) / max(abs(a), abs(b))


def slope(function, x, direction, step: float = STEP) -> float:
    """The derivative of function(x), or of its sum, along a direction, by central differences of the fourth order.

    The second order is not enough: along a direction of 400,000 components its curvature error reaches 1e-6.
    """
    near = function(x + step * direction) - function(x - step * direction)
    far = function(x + 2 * step * direction) - function(x - 2 * step * direction)
    return float(np.sum((8 * near - far) / (12 * step)))


def check(forward, backward, inputs: dict, rng: np.random.Generator | None = None, bound: float = BOUND) -> list[Row]:
    """Check your own layer: a Row for every input that has a gradient.

    forward(*inputs.values()) -> out, cache, where out is an array, or a flat tuple, list or dict of arrays
    backward(dout, cache) -> the gradients of the inputs, in their order or by name; None for one that is not made
    inputs: name -> array of floats (made float64); one of whole numbers or truth values is a constant: no gradient

    A row in which slope and gradient are both 0 is ok, and says so: a backward of zeros would be too, so move the
    input to where it matters. Raises MinigenError, which says what is wrong, where nothing would be checked (complex
    numbers, no gradient, no element), or not what is meant: float32, masks, edits in place, an answer that is another
    one when called twice, numbers that hide their change by rounding, a kink.
    """
    if not isinstance(inputs, dict):
        raise MinigenError("inputs should be a dict, name -> array, in the order in which forward takes them")
    rng = rng or np.random.default_rng(0)
    values = [input_of(name, value, STEP) for name, value in inputs.items()]
    given = [value.copy() for value in values]

    def run(*values) -> list:
        """out, cache, and the arrays of out."""
        result = called(forward, "forward", inputs, *values)
        if not (isinstance(result, tuple) and len(result) == 2):
            raise MinigenError("forward should return (out, cache), where out may be a tuple, list or dict of arrays")
        return [*result, outputs_of(result[0])]

    out, cache, outputs = run(*values)
    _untouched("forward", inputs, values, given)
    again = run(*values)[2]
    if len(again) != len(outputs) or not all(map(np.array_equal, outputs, again)):
        raise MinigenError("forward gives another answer when called twice: pass what it draws in as an input")
    dout = [np.asarray(rng.normal(size=y.shape)) for y in outputs]
    kept, answers = [d.copy() for d in dout], []
    for _ in range(2):
        answer = called(backward, "backward", ["dout", "cache"], in_form_of(out, dout), cache)
        answers.append(gradients_of(answer, inputs, values))
        _untouched("backward", inputs, values, given)
        _untouched("backward", ["dout"] * len(dout), dout, kept)
    for name, grad, again in zip(inputs, *answers, strict=True):
        if not np.array_equal(grad, again, equal_nan=grad is not None):
            raise MinigenError(f"backward gives another d{name} when called twice: it edits its cache, or draws")

    def loss(k: int, x) -> np.ndarray:
        """What is summed to L, where input k is x: kept apart, since what is large would hide what is small."""
        moved = run(*values[:k], x, *values[k + 1 :])[2]
        if [y.shape for y in moved] != [d.shape for d in dout]:
            raise MinigenError(f"the shape of out depends on the numbers in {list(inputs)[k]}, so out has no slope")
        return np.concatenate([np.ravel(d * y) for d, y in zip(dout, moved, strict=True)])

    rows = [
        _row(lambda x, k=k: loss(k, x), name, values[k], grad, rng, bound)
        for k, (name, grad) in enumerate(zip(inputs, answers[0], strict=True))
        if grad is not None
    ]
    if not rows:
        raise MinigenError("backward returned no gradient, so nothing was checked: return one for each input")
    return rows


def _row(loss, name: str, x, grad, rng, bound: float) -> Row:
    """Along two directions: a random one; and one with the gradient's signs that is the longer the smaller a component
    is, down to what rounding hides, so that a small wrong one counts as much as a large one."""
    direction, size = rng.normal(size=x.shape), np.abs(grad)
    if not np.isfinite(grad).all():
        return Row(f"d{name}", float("inf"), False)
    rounding = np.finfo(float).eps * float(np.sum(np.abs(loss(x))) + np.sum(size * np.abs(x)))  # of a change of L
    least = np.clip(100 * rounding / STEP / bound, size.min(), size.max()) + np.finfo(float).tiny
    even = np.copysign(direction * least / np.maximum(size, least), grad)
    found = [_error(loss, name, x, d, float(np.sum(grad * d)), rounding, bound) for d in (direction, even)]
    error = max(error for error, _ in found)
    return Row(f"d{name}", error, error <= bound, all(zero for _, zero in found))


def _error(loss, name: str, x, direction, claimed: float, rounding: float, bound: float) -> tuple[float, bool]:
    """The relative error of a slope that is claimed; whether both are 0, but for rounding.

    Where they differ, there must be one slope to be held against: two of several steps must find the same (a large one
    may step over a kink), or it must vanish with the step; and it must be that of both sides.
    """
    found = [slope(loss, x, direction)]
    error = relative_error(found[0], claimed)
    if error <= bound and claimed:
        return error, False
    noise, largest = 10 * rounding / STEP, max(abs(found[0]), abs(claimed))
    if noise > bound * (largest if largest > noise else 1):
        raise MinigenError(
            f"{name} or out is too large beside the change of out along {name}, which rounding hides: take away what "
            f"is constant in out, or scale {name} down"
        )
    found += [slope(loss, x, direction, STEP / 10**n) for n in (1, 2, 3)]
    apart = [relative_error(one, other) for one, other in zip(found, found[1:], strict=False)]
    flat = abs(found[0]) <= noise or (min(apart) > bound and abs(found[3]) < 2e-3 * abs(found[0]))
    (wide, _), (narrow, size) = (_sides(loss, x, direction, h) for h in (STEP, STEP / 10))
    if (min(apart) > bound and not flat) or narrow > max(0.5 * wide, 1e-5 * size, 10 * noise):
        raise MinigenError(
            f"out has no slope along {name} here: a kink, as of relu at 0 (move {name} away from it), or float32 inside"
        )
    measured = 0.0 if flat else found[1 + int(np.argmin(apart))]
    zero = not measured and abs(claimed) <= noise
    return 0.0 if zero else relative_error(measured, claimed), zero


def _sides(loss, x, direction, h: float) -> tuple[float, float]:
    """How far the slopes to the right and to the left of x are apart (of a smooth function: in proportion to h), and
    how large they are."""
    right, left = (float(np.sum(sign * (loss(x + sign * h * direction) - loss(x)))) for sign in (1, -1))
    return abs(right - left) / h, max(abs(right), abs(left)) / h


def _untouched(which: str, names, arrays, before) -> None:
    for name, array, copy in zip(names, arrays, before, strict=True):
        if not np.array_equal(array, copy):
            raise MinigenError(f"{which} edits {name} in place: edit a copy of it")


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
