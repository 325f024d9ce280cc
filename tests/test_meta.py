"""Learning to be finetuned: the gradient through the inner steps, exactly."""

import numpy as np
import pytest
from helpers import run_of, small

from minigen.errors import MinigenError
from minigen.gradcheck import relative_error, slope, toy_batch
from minigen.music.dataset import Dataset
from minigen.run import meta
from minigen.run.meta import Meta, meta_draws, meta_loss, past_and_ahead, through
from minigen.run.train import update, validate


def test_a_toy_where_exact_and_first_order_differ_in_sign():
    """L_past = 2 a b, L_next = (a - 1)^2 / 2 + b. By hand: (a', b') = (a - 2 r b, b - 2 r a), so that
    dL/da = (a' - 1) - 2 r and dL/db = -2 r (a' - 1) + 1; without the Hessian (a' - 1) and 1."""
    r, w = 1.0, np.array([1.5, 0.0])

    def inner(w, j):
        return 2 * w[::-1]

    def outer(w):
        return (w[0] - 1) ** 2 / 2 + w[1], np.array([w[0] - 1, 1.0])

    loss, exact, last = through(w, inner, outer, r, 1)
    _, first, _ = through(w, inner, outer, r, 1, exact=False)
    assert last.tolist() == [1.5, -3.0] and loss == 0.125 - 3
    assert exact == pytest.approx([0.5 - 2, 1 - 2 * 0.5]) and first == pytest.approx([0.5, 1])
    assert exact[0] < 0 < first[0]
    down = [through(w - 0.01 * d, inner, outer, r, 1)[0] - loss for d in (exact, first)]
    assert down[0] < 0 < down[1]  # the first-order step makes it worse


LAGS = {"lags": (1, 4)}
MODELS = [small(name, hidden=7, **LAGS) for name in ("pause-loss", "simple", "upgraded")]
MODELS += [small("conditional", hidden=7, loss="plain", **LAGS)]
RATE = 5.0  # high, so that the Hessian has a say: losses are means over many cells


@pytest.mark.parametrize("steps", [1, 3])
@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.name)
def test_the_gradient_through_the_inner_steps(model, steps, monkeypatch):
    """Against finite differences of the whole objective in float64, the notes held; the first-order form is not it."""
    monkeypatch.setattr(meta, "AHEAD", 6)
    rng = np.random.default_rng(0)
    params = model.init(1, np.float64)
    params = params.with_flat(params.flat + 0.1 * rng.normal(size=params.flat.shape))
    batch = toy_batch(model, 16, 2, density=0.1)

    draws, exact = meta_draws(model, 0, "meta", 0, range(2)), Meta(steps, RATE)
    loss, grads, trace, notes = meta_loss(model, params, batch, draws, exact)
    assert loss == pytest.approx(sum(trace.values()))
    again, first, _, _ = meta_loss(model, params, batch, draws, Meta(steps, RATE, exact=False), notes)
    assert again == loss
    direction = rng.normal(size=params.flat.shape)

    def objective(flat):
        return meta_loss(model, params.with_flat(flat), batch, draws, Meta(steps, RATE, exact=False), notes)[0]

    measured = slope(objective, params.flat, direction)
    assert relative_error(measured, grads.flat @ direction) < 1e-5
    assert relative_error(measured, first.flat @ direction) > 1e-4


def test_what_is_past_and_what_is_ahead(monkeypatch):
    """The last 6 steps of each row's own length are ahead; a row of 6 steps has no past, and does not count."""
    monkeypatch.setattr(meta, "AHEAD", 6)
    model = small("simple", **LAGS)
    params, batch = model.init(0, np.float64), toy_batch(model, 16, 3)
    batch["mask"][...] = True
    batch["mask"][6:, 1] = batch["mask"][9:, 2] = False
    assert past_and_ahead(batch, 1) is None
    past, ahead = past_and_ahead(batch, 2)
    assert len(past["mask"]) == 3 and ahead["mask"][:, 0].tolist() == [False] * 3 + [True] * 6
    P = model.config.past
    assert (past["roll"][:, 0] == batch["roll"][: P + 3, 2]).all() and (
        ahead["roll"][:, 0] == batch["roll"][: P + 9, 2]
    ).all()
    whole, grads, _, _ = meta_loss(model, params, batch, lambda b, j, T: {}, Meta(1, 0.1))
    some = {name: array[:, [0, 2]] if array.ndim > 1 else array[[0, 2]] for name, array in batch.items()}
    part, others, _, _ = meta_loss(model, params, some, lambda b, j, T: {}, Meta(1, 0.1))
    assert whole == pytest.approx(part, rel=1e-12)
    np.testing.assert_allclose(grads.flat, others.flat, rtol=1e-12, atol=1e-15)
    batch["mask"][2:] = False
    assert meta_loss(model, params, batch, lambda b, j, T: {}, Meta(1, 0.1))[0] == 0


def test_the_trick_has_no_hessian():
    model = small("final")
    with pytest.raises(MinigenError, match="--model pause-loss"):
        meta_loss(model, model.init(0), toy_batch(model, 80, 1), None, Meta(1, 0.1))


def test_training_looks_ahead():
    """`train.py --meta`: its updates lower the loss after the inner steps."""
    model, rng = small("simple", **LAGS), np.random.default_rng(0)
    song = np.tile((rng.random((32, 88)) < 0.05).astype(np.uint8), (8, 1))
    data, meta = Dataset([song], model.config.past, 128, 16, False), Meta(1, 1.0)
    run = run_of(model)
    before = validate(model, run.params, [song], 0, meta)
    for _ in range(20):
        update(model, run, data, 0, range(2), meta)
    after = validate(model, run.params, [song], 0, meta)
    assert after["loss"] == after["cells"] < 0.9 * before["loss"] and run.params.dtype == np.float32
