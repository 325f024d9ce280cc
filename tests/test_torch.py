"""minigen against minigen/checks/torch_model.py, an independent PyTorch program for the same equations.

Same weights, same batch, same notes. Bounds per tensor: `max|a-b| <= bound max|b|`, b being PyTorch's.
"""

from dataclasses import replace

import numpy as np
import pytest
from helpers import small
from threadpoolctl import threadpool_limits

from minigen.adam import Moments, adam
from minigen.ladder import LADDER
from minigen.ops import NO_END

torch = pytest.importorskip("torch")
from minigen.checks import torch_model  # noqa: E402

pytestmark = pytest.mark.torch
BOUND = {np.float32: 1e-5, np.float64: 1e-10}
TRACE = {"reader.w": "reader_w", "voices.p": "voices_p", "cells.P": "cells", "decoder.p": "decoder_p"}
TRACE |= {"loss.cells": "voices_loss", "loss.decoder": "decoder_loss"}
T, B = 24, 3


def make_batch(past, seed):
    """Row 0 begins a song, row 1 is padded at its end, the last prediction of row 2 is not counted."""
    rng = np.random.default_rng(seed)
    roll = (rng.random((past + T, B, 88)) < 0.03) & (rng.random((past + T, B, 1)) < 0.7)
    mask = np.ones((T, B), bool)
    roll[past + 2] = roll[:past, 0] = roll[-5:, 1] = False
    mask[-5:, 1] = mask[-1, 2] = False
    return {"roll": roll.astype("uint8"), "start": np.array([0, 136, 1001]), "mask": mask}


def draw_notes(model, params, batch, seed):
    """Notes as training draws them, from the voices' distributions restricted to the truth."""
    uniforms = np.random.default_rng(seed).random((model.config.voices, T, B)).astype(params.dtype)
    return model.loss(params, batch, {"voices.u": uniforms}, grad=False)[2]["voices.notes"]


def tensors(arrays, **options):
    return {name: torch.tensor(arrays[name], **options) for name in arrays}


def options(model):
    c = model.config
    return {"lags": c.lags, "pause_loss": c.loss == "pause", "stop_gradient": c.loss == "stop-gradient"}


def judge(model, params, batch, notes, **more):
    """PyTorch's result and its gradients, as arrays; there voices come last."""
    batch = batch | {"notes": np.moveaxis(notes, 0, 2)}
    weights = tensors(params, requires_grad=True)
    out = torch_model.loss(weights, **tensors(batch), **options(model), **more)
    out["loss"].backward()
    return out, {name: w.grad.numpy() for name, w in weights.items()}


def assert_close(ours, theirs, bound, name):
    theirs = theirs.detach().numpy() if isinstance(theirs, torch.Tensor) else theirs
    assert np.shape(ours) == theirs.shape, name
    error, size = np.abs(ours - theirs).max(), np.abs(theirs).max()
    assert error <= bound * size, f"{name}: off by {error:.2e} where the largest is {size:.2e}"


def compare(model, params, batch, notes, state=None):
    """Loss, trace, final state and every gradient; returns the cells."""
    bound = BOUND[params.dtype.type]
    loss, grads, trace, after = model.loss(params, batch, {"voices.notes": notes}, state)
    trace["voices.p"] = np.moveaxis(trace["voices.p"], 0, 2)
    given = state and tensors({name: state[name] for name in state if name[-2:] in (".h", ".c")})
    out, theirs = judge(model, params, batch, notes, state=given)
    assert_close(loss, out["loss"], bound, "loss")
    for ours, name in TRACE.items():
        assert_close(trace[ours], out[name], bound, name)
    for name, h in out["state"].items():
        assert_close(after[name], h, bound, name)
    for name, grad in theirs.items():
        assert grads[name].dtype == params.dtype
        assert_close(grads[name], grad, bound, f"gradient of {name}")
    return trace["cells.P"]


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """Two libraries' threads that spin against each other on small matrices can take ten times as long."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with threadpool_limits(1):
        yield
    torch.set_num_threads(threads)


@pytest.fixture(params=["final", "pause-loss"])
def model(request):
    return LADDER[request.param]()


@pytest.mark.parametrize("dtype", BOUND)
def test_loss_and_gradients(model, dtype):
    params, batch = model.init(3, dtype=dtype), make_batch(model.config.past, 0)
    P = compare(model, params, batch, draw_notes(model, params, batch, 1))
    assert P.min() > 1e-6 and P.max() < 1 - 1e-6  # no cell is clipped here


@pytest.mark.parametrize("dtype", BOUND)
@pytest.mark.parametrize("sure_of", ["a key", "silence"])
def test_the_clip(model, dtype, sure_of):
    """One voice is sure of a key (P = 1), or all are of the pause (P = 0, Q = 1): no gradient flows there."""
    params, batch = model.init(3, dtype=dtype), make_batch(model.config.past, 0)
    for v in (2,) if sure_of == "a key" else range(1, 6):
        params[f"head{v}.b"][4 if sure_of == "a key" else 12] = 28
    P = compare(model, params, batch, draw_notes(model, params, batch, 1))
    cell = P[..., 4] if sure_of == "a key" else 1 - P[..., :12]
    assert cell.min() > 1 - 1e-6


def test_close_to_the_clip(model):
    """A voice nearly sure of a key that is not struck. In float64 alone: in float32 `1 - P` keeps only a few
    digits here, and both programs are off the float64 gradient by 1e-4 of its largest component."""
    params, batch = model.init(3, dtype=np.float64), make_batch(model.config.past, 0)
    params["head2.b"][4] = 10
    P = compare(model, params, batch, draw_notes(model, params, batch, 1))
    assert ((1 - P > 1e-6) & (1 - P < 1e-3)).any()


@pytest.mark.parametrize("dtype", BOUND)
def test_a_given_state(model, dtype):
    params, batch = model.init(4, dtype=dtype), make_batch(model.config.past, 2)
    rng = np.random.default_rng(5)
    state = model.initial_state(params, B)
    state = {name: rng.uniform(-1, 1, h.shape).astype(h.dtype) for name, h in state.items()}
    compare(model, params, batch, draw_notes(model, params, batch, 1), state)


def test_playing(model):
    """The same uniforms, 80 steps: the same keys, the same distributions."""
    c, rng = model.config, np.random.default_rng(4)
    params = model.init(2)
    weights = torch_model.prepare(tensors(params))
    state, keys = model.initial_state(params, 1), np.zeros((1, 88), np.uint8)
    roll, theirs = torch.zeros(c.past, 88), {}
    for t in range(80):
        u = {name: rng.random(shape, np.float32) for name, shape in model.draw_shapes(1).items()}
        keys, trace, state = model.step(params, state, keys, u)
        drawn = torch.tensor(u["voices.u"][:, 0]), torch.tensor(u["decoder.u"][0])
        struck, theirs, p = torch_model.play(weights, roll, t, theirs, *drawn, lags=c.lags)
        roll = torch.cat([roll[1:], struck[None]])
        assert (struck.numpy() == keys[0]).all(), t
        assert_close(trace["voices.p"][:, 0], p, 1e-5, "voices.p")
    assert roll.sum() > 20


def test_pytorch_agrees_with_itself(model):
    """The same bits twice."""
    params, batch = model.init(5, dtype=np.float64), make_batch(model.config.past, 3)
    notes = draw_notes(model, params, batch, 1)
    (out, grads), (again, twice) = (judge(model, params, batch, notes) for _ in range(2))
    assert out["loss"] == again["loss"] and all((grads[name] == twice[name]).all() for name in grads)


def train(weights, batches, rate, **options):
    """One step a batch (a dict: roll, start, mask, notes). Returns new weights and leaves the given alone."""
    weights = {name: w.detach().clone().requires_grad_() for name, w in weights.items()}
    adam = torch_model.optimiser(weights, rate)
    for batch in batches:
        torch_model.step(weights, adam, batch, **options)
    return {name: w.detach() for name, w in weights.items()}


# Adam divides by sqrt(v) + 1e-8. Where a gradient is about that small, a rounding error dg in it moves the
# weight by up to rate * dg / 1e-8. At the rate 0.01 in float32 a few weights are off by 2e-4 of the largest
# after the first step already, and PyTorch's two forms are as far apart; it is proportional to the rate. So:
# whole steps at 0.01 in float64 and at 1e-4 in float32, and Adam by itself at 0.01 in both.
@pytest.mark.parametrize("dtype, rate", [(np.float64, 0.01), pytest.param(np.float32, 1e-4, marks=pytest.mark.slow)])
def test_twenty_steps(model, dtype, rate):
    params = model.init(2, dtype=dtype)
    start, moments, batches = tensors(params), Moments.of(params.flat), []
    for n in range(20):
        batch = make_batch(model.config.past, 100 + n)
        notes = draw_notes(model, params, batch, n)
        batches.append(tensors(batch | {"notes": np.moveaxis(notes, 0, 2)}))
        _, grads, _, _ = model.loss(params, batch, {"voices.notes": notes})
        flat, moments = adam(params.flat, grads.flat, moments, rate)
        params = params.with_flat(flat)
    for name, w in train(start, batches, rate, **options(model)).items():
        assert not torch.equal(w, start[name])
        assert_close(params[name], w, BOUND[dtype], name)


@pytest.mark.parametrize("dtype", BOUND)
def test_adam_alone(dtype):
    """Given gradients, of every size from 1e-12 to 100, some zero: the clip and the epsilon both matter."""
    rng = np.random.default_rng(0)
    flat, n = rng.standard_normal(500).astype(dtype), 500
    theirs = torch.tensor(flat, requires_grad=True)
    optimiser, moments = torch_model.optimiser({"w": theirs}, 0.01), Moments.of(flat)
    scale = 10 ** rng.uniform(-12, 2, n)
    for _ in range(20):
        grad = (rng.standard_normal(n) * scale * (rng.random(n) < 0.9)).astype(dtype)
        flat, moments = adam(flat, grad, moments, 0.01)
        theirs.grad = torch.tensor(grad)
        torch_model.clip({"w": theirs})
        optimiser.step()
    assert flat.dtype == dtype
    assert_close(flat, theirs, BOUND[dtype], "weights")


def test_ordered_voices():
    """The rung whole, told step by step in PyTorch: the exact nats, the reader's weights, every gradient."""
    model = LADDER["ordered"](replace(small("ordered").config, hidden=13, reader=7, lags=(1, 4, 16), end_bits=3))
    c, batch = model.config, make_batch(model.config.past, 5) | {"end": np.array([30, 150, NO_END])}
    params = model.init(3, np.float64)
    loss, grads, trace, _ = model.loss(params, batch, {})
    w = tensors(params, requires_grad=True)

    def lstm(name, x):
        H = w[f"{name}.Wh"].shape[0]
        h, cell, out = torch.zeros(B, H, dtype=x.dtype), torch.zeros(B, H, dtype=x.dtype), []
        for row in x:
            i, f, o, g = (row @ w[f"{name}.Wx"] + h @ w[f"{name}.Wh"] + w[f"{name}.b"]).split(H, dim=1)
            cell = f.sigmoid() * cell + i.sigmoid() * g.tanh()
            h = o.sigmoid() * cell.tanh()
            out.append(h)
        return torch.stack(out)

    roll, past = torch.tensor(batch["roll"], dtype=torch.float64), c.past
    t = torch.tensor(batch["start"])[None] + torch.arange(T)[:, None]
    left = (torch.tensor(batch["end"])[None] - 1 - t).clamp(0, 7)
    bits = [(t[..., None] >> torch.arange(6)) & 1, (left[..., None] >> torch.arange(3)) & 1]
    x = torch.cat([roll[past - 1 : -1], *(part.double() for part in bits)], dim=2)
    weights = (lstm("reader", x) @ w["weights.W"] + w["weights.b"]).softmax(dim=2)
    reading = sum(weights[..., l : l + 1] * roll[past - lag : past - lag + T] for l, lag in enumerate(c.lags))
    features = lstm("aggregator", torch.cat([reading, lstm("local", x), x], dim=2))
    nats = torch.zeros(T, B, dtype=torch.float64)
    for step in range(T):
        for b in range(B):
            played, last = torch.zeros(88, dtype=torch.float64), torch.zeros(88, dtype=torch.float64)
            for outcome in [*np.flatnonzero(batch["roll"][past + step, b])[::-1], 88]:
                a = torch.cat([features[step, b], played, last]) @ w["hidden.W"] + w["hidden.b"]
                h = torch.nn.functional.silu(a)
                h = h + torch.nn.functional.silu(h @ w["deeper.W"] + w["deeper.b"])
                z = h @ w["outcome.W"] + w["outcome.b"]
                if last.any():
                    z = torch.cat([z[: int(last.argmax())], z[88:]])
                nats[step, b] = nats[step, b] - z.log_softmax(dim=0)[int(outcome) if outcome < 88 else -1]
                played, last = played.clone(), torch.zeros(88, dtype=torch.float64)
                if outcome < 88:
                    played[outcome] = last[outcome] = 1
    theirs = nats[torch.tensor(batch["mask"])].mean()
    theirs.backward()
    assert_close(loss, theirs, 1e-12, "loss")
    assert_close(trace["step.nats"], nats, 1e-12, "nats")
    assert_close(trace["reader.w"], weights, 1e-12, "weights")
    for name, array in w.items():
        assert_close(grads[name], array.grad, 1e-10, f"gradient of {name}")
