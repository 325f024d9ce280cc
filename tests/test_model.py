"""Every rung of the ladder: one contract, `loss` over a sequence and `step` for one step."""

import zlib
from dataclasses import replace

import numpy as np
import pytest
from helpers import draws_of, notes_of, small
from scipy.stats import chisquare

from minigen.decoder import draw_keys
from minigen.delayed import capsule_forward, linked_forward
from minigen.draws import uniforms
from minigen.gradcheck import check_model, toy_batch
from minigen.ladder import LADDER, Conditional, Feedback, Final, History, Latency
from minigen.lstm import lstm_forward
from minigen.ops import lagged, one_hot, pitch_classes, time_bits
from minigen.params import Params, lstm_shapes
from minigen.voices import allow_truth, draw

rungs = pytest.mark.parametrize("name", LADDER)
WHERE = ("reader.w", "voices.p", "cells.P", "decoder.p", "features")  # what a rung says, of what there is


def cut(batch, begin, end, past):
    """The predictions begin..end of a batch, with the same real past."""
    return {
        "roll": batch["roll"][begin : past + end],
        "start": batch["start"] + begin,
        "mask": batch["mask"][begin:end],
    }


@rungs
def test_step_is_the_forward_pass_of_loss(name):
    """150 steps, beyond the longest lag, given what was played: the same trace and states to 1e-5 in float32."""
    model, T, B = LADDER[name](), 150, 2
    params, batch = model.init(1), toy_batch(model, T, B)
    batch["start"][...] = batch["start"][0]
    batch["mask"][...] = True
    _, _, whole, end = model.loss(params, batch, draws_of(model, T, B), grad=False)
    whole = model.spread(whole)
    past, state = model.config.past, model.initial_state(params, B)
    state |= {"past": batch["roll"][:past] * 0, "time": batch["start"].copy()}
    state["past"][1:] = batch["roll"][: past - 1]
    for t in range(T):
        heard, played = batch["roll"][past + t - 1], batch["roll"][past + t]
        notes = {"voices.notes": whole["voices.notes"][:, t]} if model.conditional else {}
        keys, trace, state = model.step(params, state, heard, notes | {"keys": played})
        assert (keys == played).all() and keys.dtype == played.dtype
        assert set(trace) == set(whole) - {"loss.cells", "loss.decoder", "voices.u"}
        for key in set(WHERE) & set(trace):
            expected = whole[key][: len(trace[key]), t] if key == "voices.p" else whole[key][t]
            np.testing.assert_allclose(trace[key], expected, rtol=1e-5, atol=1e-5, err_msg=f"{key} at {t}")
    assert set(state) == set(end)
    for key in state:
        np.testing.assert_allclose(state[key], end[key], rtol=1e-5, atol=1e-5, err_msg=key)


@rungs
def test_going_on_is_the_same_as_never_stopping(name):
    """A product of fewer rows may be summed in another order: where terms of 0.1 cancel, their rounding is left."""
    bound = {"rtol": 1e-12, "atol": np.finfo(np.float64).eps}
    model, T, B = LADDER[name](), 30, 3
    params, batch, past = model.init(2, np.float64), toy_batch(model, T, B), model.config.past
    draws = draws_of(model, T, B)
    _, _, whole, end = model.loss(params, batch, draws, grad=False)
    state, parts = None, []
    for begin, stop in ((0, 1), (1, 17), (17, 30)):
        some = {name: u[:, begin:stop] for name, u in draws.items()}
        _, _, trace, state = model.loss(params, cut(batch, begin, stop, past), some, state, grad=False)
        parts.append(trace)
    for key in set(WHERE) & set(whole):
        joined = np.concatenate([part[key] for part in parts], axis=int(key == "voices.p"))
        np.testing.assert_allclose(joined, whole[key], **bound)
    for key in end:
        np.testing.assert_allclose(state[key], end[key], **bound, err_msg=key)


@rungs
def test_padding_changes_nothing(name):
    """What stands in the padding, and how long it is, moves neither the loss nor any gradient."""
    model, T, B = LADDER[name](), 20, 2
    params, batch, past = model.init(3, np.float64), toy_batch(model, T, B), model.config.past
    batch["mask"][...] = True
    batch["mask"][12:] = False
    draws = draws_of(model, T, B)
    notes = notes_of(model, model.loss(params, batch, draws)[2])
    loss, grads, _, _ = model.loss(params, batch, notes)
    other = {**batch, "roll": batch["roll"].copy()}
    other["roll"][past + 12 :] = 1
    short = {name: array[:, :12] for name, array in notes.items()}
    for changed, given in ((other, notes), (cut(batch, 0, 12, past), short)):
        again, more, _, _ = model.loss(params, changed, given)
        assert again == pytest.approx(loss, rel=1e-12)
        np.testing.assert_allclose(more.flat, grads.flat, rtol=1e-9, atol=1e-15)


@rungs
def test_float32_is_float64(name):
    model, T, B = LADDER[name](), 40, 3
    batch, draws = toy_batch(model, T, B), draws_of(model, T, B)
    single, double = model.init(4), model.init(4, np.float64)
    single.flat[:] = double.flat
    double.flat[:] = single.flat
    loss64, grads64, trace, _ = model.loss(double, batch, draws)
    loss32, grads32, trace32, state32 = model.loss(single, batch, notes_of(model, trace))
    assert loss32 == pytest.approx(loss64, rel=1e-5)
    assert np.abs(grads32.flat - grads64.flat).max() <= 1e-5 * np.abs(grads64.flat).max()
    made = [a for a in (*trace32.values(), *state32.values(), grads32.flat) if a is not None]
    assert {a.dtype for a in made if a.dtype.kind == "f"} == {np.dtype(np.float32)}  # float64 never creeps in


@rungs
def test_neither_method_edits_what_it_is_given(name):
    model, T, B = LADDER[name](), 9, 2
    params, batch, draws = model.init(0), toy_batch(model, T, B), draws_of(model, T, B)
    _, _, _, state = model.loss(params, batch, draws)
    given = [params.flat, *batch.values(), *draws.values(), *state.values()]
    before = [array.copy() for array in given]
    first = model.loss(params, batch, draws, state)
    x, one = batch["roll"][-1], {name: np.full(shape, 0.5) for name, shape in model.draw_shapes(B).items()}
    one |= {"classes": np.ones((B, 12))} if model.needs_classes else {}
    model.step(params, state, x, one)
    again = model.loss(params, batch, draws, state)
    assert first[0] == again[0] and (first[1].flat == again[1].flat).all()
    for array, copy in zip(given, before, strict=True):
        assert (array == copy).all()


@rungs
def test_rows_are_independent(name):
    model, T, B = LADDER[name](), 8, 3
    params, batch, draws = model.init(0, np.float64), toy_batch(model, T, B), draws_of(model, T, B)
    _, _, whole, _ = model.loss(params, batch, draws, grad=False)
    row = {"roll": batch["roll"][:, 1:2], "start": batch["start"][1:2], "mask": batch["mask"][:, 1:2]}
    _, _, alone, _ = model.loss(params, row, {name: u[..., 1:2] for name, u in draws.items()}, grad=False)
    for key in set(WHERE) & set(whole):
        rows = (slice(None),) * (1 + (key == "voices.p"))
        np.testing.assert_allclose(alone[key][(*rows, 0)], whole[key][(*rows, 1)], rtol=1e-12)


def test_what_lags_and_classes_and_bits_mean():
    x = np.arange(10.0).reshape(10, 1, 1)  # the last 4 are inputs: 6, 7, 8, 9 predict 7, 8, 9, 10
    assert lagged(x, 1, 4).ravel().tolist() == [6, 7, 8, 9]
    assert lagged(x, 4, 4).ravel().tolist() == [3, 4, 5, 6]
    keys = np.zeros((1, 88), np.uint8)
    keys[0, [0, 39, 87]] = 1  # the lowest A, middle C, the highest C
    assert np.flatnonzero(pitch_classes(keys)).tolist() == [0, 3]
    bits = time_bits(np.array([5, 64]), 2, 6, np.float32)
    assert bits[:, 0].tolist() == [[1, 0, 1, 0, 0, 0], [0, 1, 1, 0, 0, 0]]
    assert bits[:, 1].tolist() == [[0] * 6, [1] + [0] * 5]


@pytest.mark.parametrize("restricted", [False, True])
def test_draw_has_the_exact_probabilities(restricted):
    """Chi-square of 20,000 draws against softmax, and against softmax restricted and renormalised."""
    rng = np.random.default_rng(8)
    z, u = rng.normal(size=6) * 1.5, rng.random((20_000,), np.float32)
    x = np.array([[[0, 1, 0, 0, 1]]], float)
    allowed = allow_truth(x)[0, 0] if restricted else np.ones(6, bool)
    notes = draw(np.broadcast_to(z, (20_000, 6)), u, np.broadcast_to(allowed, (20_000, 6)) if restricted else None)
    p = np.exp(z) * allowed
    counts = np.bincount(notes, minlength=6)
    assert (counts[p == 0] == 0).all()
    assert chisquare(counts[p > 0], 20_000 * p[p > 0] / p.sum()).pvalue > 1e-3


def test_draw_at_the_edges():
    """u = 0 and the largest float32 under 1 give the first and the last outcome that has any mass."""
    z = np.array([[-np.inf, 0.0, 1.0, -np.inf], [-np.inf, 0.0, 1.0, -np.inf]], np.float32)
    u = np.array([0, 1 - 2**-24], np.float32)
    assert draw(z, u).tolist() == [1, 2]


def test_uniforms_are_a_function_of_seed_purpose_step_and_row():
    a = uniforms(3, "voices", 10, range(8), (5, 2))
    assert (uniforms(3, "voices", 10, [6], (5, 2))[0] == a[6]).all()
    assert (uniforms(3, "voices", 10, [6], (9, 2))[0, :5] == a[6]).all()
    others = [uniforms(4, "voices", 10, [6], (5, 2)), uniforms(3, "batch", 10, [6], (5, 2))]
    others += [uniforms(3, "voices", 11, [6], (5, 2)), uniforms(3, "voices", 10, [7], (5, 2))]
    assert all((other[0] != a[6]).all() for other in others)
    many = uniforms(0, "mean", 0, range(100), (1000,))
    assert many.dtype == np.float32 and 0 <= many.min() and many.max() < 1
    assert abs(many.mean() - 0.5) < 4 / np.sqrt(12 * many.size)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [(), (3,), (1, 1), (7, 3), (4, 88), (0, 5)])  # odd ones leave half a number over
def test_uniforms_are_those_of_a_generator_per_row(shape, dtype):
    cases = [(0, "batch", 0, range(5)), (2**64 - 1, "training", 2**40, (9, 2, 2, 2**33)), (7, "", 12, np.arange(3))]
    for seed, purpose, step, rows in [*cases, (1, "nothing", 0, [])]:
        found = uniforms(seed, purpose, step, rows, shape, dtype)
        assert (found.shape, found.dtype) == ((len(rows), *shape), dtype)
        for own, row in zip(found, rows, strict=True):
            key = np.array([seed, zlib.crc32(purpose.encode())], np.uint64)
            philox = np.random.Philox(key=key, counter=np.array([0, 0, row, step], np.uint64))
            assert (own == np.random.Generator(philox).random(shape, dtype)).all()


def test_keys_have_the_exact_probabilities():
    """Two octaves of one class: each on its own, and the likelier one where both stayed silent."""
    rng, n = np.random.default_rng(9), 20_000
    P = np.zeros((n, 88))
    P[:, 3], P[:, 15] = 0.3, 0.4
    classes = np.zeros((n, 12))
    classes[:, 3] = 1
    keys = draw_keys(P, rng.random((n, 88)), classes)
    assert not keys[:, [k for k in range(88) if k not in (3, 15)]].any()
    counts = [np.sum((keys[:, 3] == a) & (keys[:, 15] == b)) for a, b in ((1, 0), (0, 1), (1, 1))]
    exact = np.array([0.3 * 0.6, 0.7 * 0.4 + 0.7 * 0.6, 0.3 * 0.4])
    assert sum(counts) == n
    assert chisquare(counts, n * exact).pvalue > 1e-3


@rungs
def test_step_draws_from_what_its_trace_says(name):
    """5,000 streams at once, one step: what is drawn first against its distribution, by chi-square."""
    model, B = small(name), 5000
    params, rng = model.init(6), np.random.default_rng(10)
    draws = {part: rng.random(shape, np.float32) for part, shape in model.draw_shapes(B).items()}
    classes = np.eye(12)[[3] * B]
    more = {"classes": classes} if model.needs_classes else {}
    keys, trace, _ = model.step(params, model.initial_state(params, B), np.zeros((B, 88), np.uint8), draws | more)
    if model.needs_classes:
        assert (pitch_classes(keys) == classes).all()
        return
    if not model.config.voices:  # every key by itself
        P = trace["cells.P"][0].astype(float)
        assert (keys == (draws["cells.u"] < trace["cells.P"])).all()
        assert np.abs(keys.mean(axis=0) - P).max() < 5 * np.sqrt(0.25 / B)
        return
    p, K = trace["voices.p"][0, 0].astype(float), model.config.keys
    np.testing.assert_allclose(trace["voices.p"][0], np.broadcast_to(p, (B, len(p))), rtol=1e-5)
    counts = np.bincount(trace["voices.notes"][0], minlength=len(p))
    assert chisquare(counts, B * p / p.sum()).pvalue > 1e-3
    played = one_hot(trace["voices.notes"], K, np.uint8).max(axis=0)
    assert (model.music(keys, np.uint8) == played).all()


@pytest.mark.parametrize("name", ["feedback", "one-shot", "conditional", "final"])
def test_a_quiet_start(name):
    """A bias of log(K (1-p) / p) lets every voice play about p notes per step at the start."""
    config = LADDER[name].config
    quiet = LADDER[name](replace(config, pause_bias=float(np.log(config.keys * 0.85 / 0.15))))
    loud = LADDER[name]()
    batch = toy_batch(quiet, 8, 2)
    pauses = [
        model.loss(model.init(0), batch, draws_of(model, 8, 2), grad=False)[2]["voices.p"][..., -1].mean()
        for model in (quiet, loud)
    ]
    assert pauses[0] == pytest.approx(0.85, abs=0.03) and pauses[1] < 0.15
    assert (quiet.init(0).flat != loud.init(0).flat).sum() == config.voices


VARIANTS = {
    "latency, linked": Latency(replace(Latency.LINKED, delays=(1, 3, 7), capsule=5, hidden=11)),
    "latency, two delays": Latency(replace(Latency.config, delays=(4, 2), capsule=5)),
    "feedback, interleaved": Feedback(replace(Feedback.config, interleaved=True, hidden=20)),
    "history on 12 classes": History(replace(History.config, keys=12, hidden=20)),
    "conditional, pause loss": Conditional(replace(Conditional.config, loss="pause", hidden=20)),
    "final on 88 keys": Final(replace(Final.config, keys=88, hidden=20)),
}


@pytest.mark.parametrize("what", VARIANTS)
def test_other_configurations(what):
    """Gradients, and going on step by step, as for the rungs themselves."""
    model, T, B = VARIANTS[what], 11, 2
    for row in check_model(model, T, B):
        assert row.ok, row
    params, batch = model.init(1, np.float64), toy_batch(model, T, B)
    batch["start"][...], batch["mask"][...], batch["roll"][: model.config.past] = 0, True, 0
    _, _, whole, end = model.loss(params, batch, draws_of(model, T, B), grad=False)
    state = model.initial_state(params, B)
    for t in range(T):
        heard, played = batch["roll"][model.config.past + t - 1 :][:2]
        notes = {"voices.notes": whole["voices.notes"][:, t]} if model.conditional else {}
        _, trace, state = model.step(params, state, heard, notes | {"keys": played})
        np.testing.assert_allclose(trace["cells.P"], whole["cells.P"][t], rtol=1e-12)
    for key in state:
        np.testing.assert_allclose(state[key], end[key], rtol=1e-12, err_msg=key)


def test_delayed_states_are_as_old_as_they_say():
    """A capsule with delay 3 is three plain LSTMs that take turns; linked groups of delay 1 are one plain LSTM."""
    rng = np.random.default_rng(0)
    T, B, F, H = 8, 2, 4, 6
    shapes = lstm_shapes("a", F, H)
    params, x = Params(shapes, rng.normal(size=sum(map(np.prod, shapes.values())))), rng.normal(size=(T, B, F))
    rest = np.zeros((3, B, H))
    (h, _), _ = capsule_forward(params, "a", x, {"a.h": rest, "a.c": rest})
    for turn in range(3):
        (plain, _), _ = lstm_forward(x[turn::3], rest[0], rest[0], *params.layer("a"))
        np.testing.assert_allclose(h[turn::3], plain[1:])
    (h, _), _ = linked_forward(params, "a", x, (1, 1), {"a.h": rest[:1], "a.c": rest[:1]})
    np.testing.assert_allclose(h, lstm_forward(x, rest[0], rest[0], *params.layer("a"))[0][0][1:])
