"""Every backward pass against its forward pass, along random directions, in float64."""

from collections import defaultdict, namedtuple

import numpy as np
import pytest
from helpers import draws_of, small

from minigen.checks.cases import CASES
from minigen.errors import MinigenError
from minigen.gradcheck import check, check_model, frozen, relative_error, toy_batch
from minigen.ladder import LADDER


@pytest.mark.parametrize("name", CASES)
def test_layer(name):
    rows = check(**vars(CASES[name]()))
    assert rows
    for row in rows:
        assert row.ok, row


@pytest.mark.parametrize("name", LADDER)
def test_model_whole(name):
    """With few units; and at its own size, one step of one song."""
    for row in [*check_model(small(name), 20, 3), *check_model(LADDER[name](), 1, 1)]:
        assert row.ok, row


@pytest.mark.parametrize("name", LADDER)
def test_complex_step(name):
    """The reference code runs on complex numbers: Im loss(w + i e d) / e is the exact slope along d."""
    model, rng = small(name), np.random.default_rng(5)
    params = model.init(5, np.float64)
    batch, T = toy_batch(model, 12, 2), 12
    _, grads, trace, _ = model.loss(params, batch, draws_of(model, T, 2))
    draws = frozen(model, trace)
    direction = rng.normal(size=params.flat.shape)
    moved = params.with_flat(params.flat + 1e-30j * direction)
    loss, moved_grads, _, _ = model.loss(moved, batch, draws)
    assert moved_grads.flat.dtype == np.complex128
    assert relative_error(loss.imag / 1e-30, grads.flat @ direction) < 1e-12


def test_a_wrong_backward_is_refused():
    """The check itself can fail: a factor, a sign, NaN."""
    inputs = {"x": np.random.default_rng(0).normal(size=(4, 3))}

    def forward(x):
        return x**3, x

    assert check(forward, lambda dy, x: dy * 3 * x**2, inputs)[0].ok
    assert not check(forward, lambda dy, x: dy * 3.00001 * x**2, inputs)[0].ok
    assert not check(forward, lambda dy, x: -dy * 3 * x**2, inputs)[0].ok
    assert not check(forward, lambda dy, x: np.full_like(x, np.nan), inputs)[0].ok


X = np.random.default_rng(0).normal(size=(4, 3))


def edited(array, change=1e-9):
    array += change
    return array


def drawn(calls=iter(range(1000))):  # noqa: B008  another number each time
    return 1e-12 * next(calls)


def grown(array, outputs=[]):  # noqa: B006  one more each time
    outputs.append(array)
    return outputs


WRONG = {  # forward of x, backward, x, the sentence
    "complex numbers": (lambda x: (x**2, x), lambda dy, x: dy * x, X + 1j, "x is complex128, .* as two inputs"),
    "words": (lambda x: (x, x), lambda dy, x: dy, ["a"], "x is <U1, which is not checked: give one array of floats"),
    "no element": (lambda x: (x, x), lambda dy, x: dy, np.zeros((0, 3)), "x has no element"),
    "NaN": (lambda x: (x, x), lambda dy, x: dy, [0, np.nan], "x holds NaN or infinity"),
    "NaN comes out": (lambda x: (x / 0, x), lambda dy, x: dy, X, "forward returns NaN or infinity"),
    "no gradient": (lambda x: (x, x), lambda dy, x: None, X, "no gradient, so nothing was checked"),
    "no gradient in a tuple": (lambda x: (x, x), lambda dy, x: (None,), X, "no gradient, so nothing was checked"),
    "another name": (lambda x: (x, x), lambda dy, x: {"y": dy}, X, "a gradient of y, which is no input"),
    "a complex gradient": (lambda x: (x, x), lambda dy, x: dy + 0j, X, "dx is complex128"),
    "whole numbers": (lambda x: (x * 1.0, x), lambda dy, x: dy, [1, 2], "x holds whole numbers, which have no"),
    "whole numbers come out": (lambda x: ((x, x > 0), x), lambda dy, x: dy[0], X, "forward returns bool"),
    "no number comes out": (lambda x: ([], x), lambda dy, x: x, X, "forward returns no number"),
    "float32": (lambda x: (x.astype("f4"), x), lambda dy, x: dy, X, "forward returns float32: float64 in should be"),
    "float32 inside": (
        lambda x: (x.astype("f4").astype("f8"), x), lambda dy, x: dy, X, "no slope along x here: .* or float32 inside"
    ),
    "a kink": (
        lambda x: (np.maximum(x, 0), x), lambda dy, x: dy * (x > 0), np.zeros(3), "no slope along x here: a kink"
    ),
    "a kink among others": (
        lambda x: (np.maximum(x, 0), x), lambda dy, x: dy * (x >= 0), X * (X < 1), "no slope along x here: a kink"
    ),
    "words for a gradient": (lambda x: (x, x), lambda dy, x: [None, "a"][1:], X, "dx is <U1, which is not checked"),
    "an output that hides its change": (
        lambda x: (x + 1e6, x), lambda dy, x: 2 * dy, X, "x or out is too large beside the change of out along x"
    ),
    "zeros beside an output that hides its change": (
        lambda x: (x**2 + 1e13, x), lambda dy, x: 0 * dy, X, "x or out is too large beside the change of out along x"
    ),
    "zeros beside a masked output": (
        lambda x: (np.where(x > 0, x, -1e30), x), lambda dy, x: 0 * dy, X, "x or out is too large beside the change"
    ),
    "a step that is lost": (lambda x: (x**2, x), lambda dy, x: 0 * dy, [1, 1e13], "x holds 1.0e.13, which a step of"),
    "a cusp": (lambda x: (abs(x), x), lambda dy, x: 0 * dy, np.zeros(3), "no slope along x here: a kink"),
    "a float32 gradient": (lambda x: (x, x), lambda dy, x: dy.astype("f4"), X, "dx is float32: the gradient"),
    "a mask": (lambda x: (x, x), lambda dy, x: dy, np.ma.array(X, mask=X > 0), "x is a masked array, and the mask"),
    "a mask comes out": (lambda x: (np.ma.array(x), x), lambda dy, x: dy, X, "an output of forward is a masked array"),
    "a masked gradient": (lambda x: (x, x), lambda dy, x: np.ma.array(dy), X, "dx is a masked array"),
    "ragged rows": (lambda x: (x, x), lambda dy, x: dy, [[1.0], [1.0, 2.0]], "x is list, .* give one array of floats"),
    "ragged rows come out": (
        lambda x: ((x, (x, x[0])), x), lambda dy, x: dy, X, "output of forward is tuple, .* or a flat tuple, list"
    ),
    "a ragged gradient": (lambda x: (x, x), lambda dy, x: ([dy, dy[0]],), X, "dx is list, which is not checked"),
    "a generator comes out": (lambda x: ((y for y in x), x), lambda dy, x: dy, X, "output of forward is generator"),
    "nested dicts come out": (lambda x: ({"a": {"b": x}}, x), lambda dy, x: dy, X, "an output of forward is dict"),
    "nothing comes out": (lambda x: (None, x), lambda dy, x: dy, X, "an output of forward is NoneType, which is not"),
    "a defaultdict comes out": (
        lambda x: (defaultdict(list, a=x), x), lambda dy, x: dy, X, "forward returns a defaultdict: return a plain"
    ),
    "backward takes one": (lambda x: (x, x), lambda dy: dy, X, r"backward is called with \(dout, cache\): too many"),
    "forward takes two": (lambda x, y: (x, x), lambda dy, x: dy, X, r"forward is called with \(x\): missing .*'y'"),
    "backward is none": (lambda x: (x, x), None, X, r"backward is called with \(dout, cache\): None is not a callable"),
    "outputs grow": (lambda x: (grown(x), x), lambda dy, x: dy[0], X, "forward gives another answer when called twice"),
    "as many outputs as are positive": (
        lambda x: (x[x >= 0], x), lambda dy, x: dy, np.zeros(3), "the shape of out depends on the numbers in x"
    ),
    "forward edits": (lambda x: (edited(x), x), lambda dy, x: dy, X, "forward edits x in place: edit a copy"),
    "backward edits x": (lambda x: (x * 1, x), lambda dy, x: dy + 0 * edited(x), X, "backward edits x in place"),
    "backward edits dout": (lambda x: (x * 1, x), lambda dy, x: edited(dy), X, "backward edits dout in place"),
    "backward edits its cache": (
        lambda x: (x**2, 2 * x), lambda dy, x: dy * edited(x, 1.0), X, "another dx when called twice: it edits its"
    ),
    "forward draws": (lambda x: (x + drawn(), x), lambda dy, x: dy, X, "forward gives another answer when called"),
    "backward draws": (lambda x: (x, x), lambda dy, x: dy + drawn(), X, "backward gives another dx when called twice"),
}  # fmt: skip


@pytest.mark.parametrize("what", WRONG)
@pytest.mark.filterwarnings("ignore:divide by zero")
def test_what_cannot_be_checked_is_no_success(what):
    forward, backward, x, sentence = WRONG[what]
    with pytest.raises(MinigenError, match=sentence):
        check(forward, backward, {"x": x})


@pytest.mark.parametrize("small", [1.0, 0.0])
def test_a_small_part_does_not_hide_behind_a_large_one(small):
    scale, x = np.array([1e8, small]), {"x": [0.3, 0.7]}
    assert check(lambda x: (x * scale, x), lambda dy, x: dy * scale, x)[0].ok
    assert not check(lambda x: (x * scale, x), lambda dy, x: dy * [1e8, 5.0], x)[0].ok
    assert not check(lambda x: (x * scale, x), lambda dy, x: dy * [1e8, 1.0 - small], x)[0].ok


def test_large_outputs_beside_do_not_hide_a_slope():
    """Masked logits."""
    (row,) = check(lambda x: (np.where(x > 0, x, -1e30), x), lambda dy, x: dy * (x > 0), {"x": X})
    assert row.ok and not row.zero


ZERO = {  # the slope is 0
    "a dead relu": (lambda x: (np.maximum(x, 0), x), lambda dy, x: dy * (x > 5), -abs(X)),
    "a constant": (lambda x: (np.ones(3), x), lambda dy, x: 0 * x, X),
    "shares": (lambda x: (np.sum(np.exp(x) / np.exp(x).sum()), x), lambda dy, x: 0 * x, X),
    "what a mean takes away": (lambda x: (X + x - (X + x).mean(), x), lambda dy, x: np.sum(dy - dy.mean()), 0.3),
    "a staircase": (lambda x: (x.round(3), x), lambda dy, x: 0 * x, X),
    "a parabola of two halves": (lambda x: (x * abs(x), x), lambda dy, x: 2 * dy * abs(x), np.zeros(3)),
    "the fifth power": (lambda x: (x**5, x), lambda dy, x: 5 * dy * x**4, np.zeros(3)),
}


@pytest.mark.parametrize("what", ZERO)
def test_a_slope_of_zero_is_called_one(what):
    """And a claim that it is another is wrong."""
    forward, backward, x = ZERO[what]
    (row,) = check(forward, backward, {"x": x})
    assert row.ok and row.zero and str(row).endswith("ok, but both are 0 here: nothing was exercised")
    (row,) = check(forward, lambda dy, x: np.ones_like(x), {"x": x})
    assert not row.ok and str(row).endswith("WRONG")


def test_a_kink_beside_the_inputs_is_stepped_over():
    """A relu with an input 1e-4 from 0 has a slope, and a wrong one is refused there too."""
    near = X.copy()
    near[0] = 1e-4, -1e-4, 2e-5
    assert check(lambda x: (np.maximum(x, 0), x), lambda dy, x: dy * (x > 0), {"x": near})[0].ok
    assert not check(lambda x: (np.maximum(x, 0), x), lambda dy, x: dy * (x > 1), {"x": near})[0].ok


class Attributes(dict):
    __getattr__ = dict.__getitem__


class Pair(tuple):
    def __new__(cls, a, b):
        return super().__new__(cls, (a, b))


FORMS = {
    "dict": lambda a, b: {"a": a, "b": b},
    "list": lambda a, b: [a, b],
    "named": namedtuple("Out", "a b"),
    "attributes": lambda a, b: Attributes(a=a, b=b),
    "pair": Pair,
    "big-endian": lambda a, b: (a.astype(">f8"), b),
}


@pytest.mark.parametrize("form", FORMS)
def test_outputs_and_gradients_in_every_form(form):
    """Also with a constant of whole numbers, and gradients by name."""
    make, seen = FORMS[form], []

    def forward(x, rows):
        return make(x[rows] ** 2, x.sum()), (x, rows)

    def backward(dout, cache):
        (x, rows), (da, db) = cache, dout.values() if isinstance(dout, dict) else dout
        seen.append(type(dout))
        dx = np.full_like(x, db)
        np.add.at(dx, rows, 2 * da * x[rows])
        return {"x": dx}

    (row,) = check(forward, backward, {"x": X, "rows": [1, 1, 3]})
    assert row.ok and row.tensor == "dx" and seen[0] is type(make(X, X))


def test_two_outputs_and_a_gradient_left_out():
    rng = np.random.default_rng(0)
    inputs = {"x": rng.normal(size=(4, 3)), "y": rng.normal(size=3)}

    def forward(x, y):
        return (x * y, x.sum(axis=1)), (x, y)

    def backward(dout, cache):
        (da, db), (_, y) = dout, cache
        return da * y + db[:, None], None

    rows = check(forward, backward, inputs)
    assert [(row.tensor, row.ok) for row in rows] == [("dx", True)]


def test_a_gradient_forgotten_by_name_is_no_success():
    inputs = {"x": np.ones((2, 3)), "W": np.ones((3, 4))}
    with pytest.raises(
        MinigenError, match="backward returned no gradient of W: add it, or None for one that is not made"
    ):
        check(lambda x, W: (x @ W, W), lambda dy, W: {"x": dy @ W.T}, inputs)
    assert len(check(lambda x, W: (x @ W, W), lambda dy, W: {"x": dy @ W.T, "W": None}, inputs)) == 1


@pytest.mark.parametrize("inputs", [[X], (("x", X),)])
def test_inputs_have_names(inputs):
    with pytest.raises(MinigenError, match="inputs should be a dict, name -> array"):
        check(lambda x: (x, x), lambda dy, x: dy, inputs)


def test_a_layer_of_another_form_is_told_what_is_missing():
    inputs = {"x": np.ones((2, 3)), "W": np.ones((3, 4))}
    with pytest.raises(MinigenError, match="should return"):
        check(lambda x, W: x @ W, None, inputs)
    with pytest.raises(MinigenError, match="1 gradients for 2 inputs"):
        check(lambda x, W: (x @ W, (x, W)), lambda dy, cache: dy @ cache[1].T, inputs)
    with pytest.raises(MinigenError, match="order"):
        check(lambda x, W: (x @ W, (x, W)), lambda dy, cache: (cache[0].T @ dy, dy @ cache[1].T), inputs)
