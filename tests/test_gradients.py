"""Every backward pass against its forward pass, along random directions, in float64."""

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
    """The check itself can fail: a factor, a sign, an edit of the input, an answer that changes."""
    inputs, calls = {"x": np.random.default_rng(0).normal(size=(4, 3))}, []

    def forward(x):
        return x**3, x

    def edits(dy, x):
        dx = dy * 3 * x**2
        x += 1e-9
        return dx

    def changes(dy, x):
        calls.append(0)
        return dy * 3 * x**2 + 1e-12 * len(calls)

    assert check(forward, lambda dy, x: dy * 3 * x**2, inputs)[0].ok
    assert not check(forward, lambda dy, x: dy * 3.00001 * x**2, inputs)[0].ok
    assert not check(forward, lambda dy, x: -dy * 3 * x**2, inputs)[0].ok
    assert not check(forward, edits, inputs)[0].ok
    assert not check(forward, changes, inputs)[0].ok
    assert not check(forward, lambda dy, x: np.full_like(x, np.nan), inputs)[0].ok


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


def test_a_layer_of_another_form_is_told_what_is_missing():
    inputs = {"x": np.ones((2, 3)), "W": np.ones((3, 4))}
    with pytest.raises(MinigenError, match="should return"):
        check(lambda x, W: x @ W, None, inputs)
    with pytest.raises(MinigenError, match="1 gradients for 2 inputs"):
        check(lambda x, W: (x @ W, (x, W)), lambda dy, cache: dy @ cache[1].T, inputs)
    with pytest.raises(MinigenError, match="order"):
        check(lambda x, W: (x @ W, (x, W)), lambda dy, cache: (cache[0].T @ dy, dy @ cache[1].T), inputs)
