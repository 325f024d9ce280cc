"""Single-line faults planted in the layers: each must turn its judge red. A mutant that survives fails the suite.

A judge holds a module's values against the scalar loops of naive.py, and its backward passes against its forward ones.
A mutant that merely crashes is a bad mutant: only a verdict of the judge counts.
"""

import importlib
import types
from pathlib import Path

import naive
import numpy as np
import pytest

from minigen.gradcheck import check
from minigen.params import Params
from scripts import gradcheck as cases

FOLDER = Path(__file__).resolve().parents[1] / "minigen"


def close(a, b):
    np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12)


def slopes(*some):
    for case in some:
        for row in check(**vars(case)):
            assert row.ok, row


def arrays_of(case):
    return list(case.inputs.values())


def judge_lstm(m):
    x, h0, c0, Wx, Wh, b = arrays_of(cases.lstm_case(m))
    (h, c), _ = m.lstm_forward(x, h0, c0, Wx, Wh, b)
    expected, last = naive.lstm(x, h0, c0, Wx, Wh, b)
    close(h[0], h0), close(h[1:], expected), close(c[0], c0), close(c[-1], last)
    params = cases.params_of({"a.Wx": Wx.shape, "a.Wh": Wh.shape, "a.b": b.shape}, [Wx, Wh, b])
    state = {"a.h": h0, "a.c": c0}
    (out, after), _ = m.lstm_layer(params, "a", x, state)
    close(out, expected), close(after["a.h"], expected[-1]), close(after["a.c"], last)
    slopes(cases.lstm_case(m))


def judge_reader(m):
    case = cases.history_case(m)
    shapes = m.history_shapes(cases.K, cases.BITS, cases.LAGS, cases.H)
    params, state = cases.params_of(shapes, arrays_of(case)), cases.state_of(shapes)
    x, bits = cases.struck(max(cases.LAGS) + cases.T, cases.B, cases.K), cases.struck(cases.T, cases.B, cases.BITS)
    (features, w, after), _ = m.history_forward(params, x, bits, cases.LAGS, state)
    close(features, naive.history(params, x, bits, cases.LAGS, state))
    close(w.sum(axis=-1), 1)
    close(after["aggregator.h"], features[-1])
    # going on from a returned state is the same as never stopping
    cut = len(x) - 3
    (_, _, half), _ = m.history_forward(params, x[:cut], bits[:-3], cases.LAGS, state)
    (end, _, _), _ = m.history_forward(params, x, bits[-3:], cases.LAGS, half)
    close(end, features[-3:])
    slopes(cases.read_case(m), case)


def judge_voices(m):
    case = cases.voices_case(m)
    shapes = m.voices_shapes(cases.V, cases.K, cases.F, cases.H)
    features, *weights = arrays_of(case)
    params, state = cases.params_of(shapes, weights), cases.state_of(shapes)
    u = np.random.default_rng(3).random((cases.T, cases.B, cases.V))
    truth = cases.struck(cases.T, cases.B, cases.K)
    truth[2] = 0
    for allowed in (m.allow_truth(truth), np.ones((cases.T, cases.B, cases.K + 1), bool)):
        (p, notes, after), _ = m.voices_forward(params, features, cases.V, state, {"voices": u}, allowed)
        expected_p, expected_notes = naive.voices(params, features, cases.V, state, u, allowed)
        close(p, expected_p)
        assert (notes == expected_notes).all()
        assert np.take_along_axis(allowed[None], notes[..., None], axis=-1).all()
    (cold, _, _), _ = m.voices_forward(params, features, 1, state, {"voices": u}, None, 0.5)
    close(cold[0], p[0] ** 2 / (p[0] ** 2).sum(axis=-1, keepdims=True))
    assert set(after) == set(state)
    slopes(case, cases.voices_case(m, linear_voices=True))


def judge_union(m):
    p = cases.distributions()
    for pause_cell in (False, True):
        close(m.union_forward(p, pause_cell)[0], naive.cells(p, pause_cell))
    P = np.random.default_rng(4).uniform(-0.2, 1.2, (cases.T, cases.B, cases.K)).clip(0, 1)
    x, mask = cases.struck(cases.T, cases.B, cases.K), cases.struck(cases.T, cases.B) == 0
    loss, cache = m.cross_entropy_forward(P, x, mask)
    close(loss, naive.cross_entropy(P, x, mask))
    assert (m.cross_entropy_backward(cache)[(P == 0) | (P == 1)] == 0).all()
    # the trick's closed form: voice v is scaled by prod_{u<v} (1 - p_u)
    _, cache = m.union_forward(p, False)
    dp = m.union_backward(np.ones((cases.T, cases.B, cases.K)), cache, True)
    close(dp[2, ..., :-1], (1 - p[0, ..., :-1]) * (1 - p[1, ..., :-1]))
    trick = cases.union_case(m, stop_gradient=True)
    slopes(cases.union_case(m), cases.union_case(m, pause_cell=True), trick, cases.cross_entropy_case(m))


def judge_decoder(m):
    case = cases.decoder_case(m)
    shapes = m.decoder_shapes(cases.BITS, cases.H)
    params, state = cases.params_of(shapes, arrays_of(case)), cases.state_of(shapes)
    keys, bits = cases.struck(cases.T, cases.B, 88), cases.struck(cases.T, cases.B, cases.BITS)
    classes = cases.struck(cases.T, cases.B, 12)
    (z, after), _ = m.decoder_forward(params, keys, classes, bits, state)
    x = np.concatenate([keys, classes, bits], axis=2)
    h, c = naive.lstm(x, state["octave.h"], state["octave.c"], *params.layer("octave"))
    close(z, h @ params["keys.W"] + params["keys.b"])
    close(after["octave.h"], h[-1]), close(after["octave.c"], c)
    mask = cases.struck(cases.T, cases.B) == 0
    true = m.pitch_classes(keys)
    (loss, p), _ = m.octave_loss_forward(z, keys, true, mask)
    close(loss, naive.octave_loss(z, keys, true, mask))
    close(p, np.where(true[..., np.arange(88) % 12] > 0, 1 / (1 + np.exp(-z)), 0))
    rng = np.random.default_rng(6)
    P, u = rng.uniform(0.05, 0.5, (50, 88)), rng.random((50, 88))
    classes = cases.struck(50, 12)
    drawn = m.draw_keys(P, u, classes)
    assert (m.pitch_classes(drawn) == (classes > 0)).all()
    for n, c in np.ndindex(classes.shape):
        if classes[n, c]:
            octaves = slice(c, 88, 12)
            own = u[n, octaves] < P[n, octaves]
            expected = own if own.any() else P[n, octaves] == P[n, octaves].max()
            assert (drawn[n, octaves] == expected).all()
    slopes(case, cases.octave_loss_case(m))


def judge_adam(m):
    rng = np.random.default_rng(7)
    w, grads = rng.normal(size=20), rng.normal(size=(5, 20)) * 2
    grads[:, :3] = 1e-9
    flat, moments = w.copy(), m.Moments.of(w)
    for grad in grads:
        before = [flat.copy(), grad.copy(), moments.m.copy(), moments.v.copy()]
        given = [flat, grad, moments.m, moments.v]
        flat, moments = m.adam(flat, grad, moments, 0.01)
        for a, b in zip(given, before, strict=True):
            assert (a == b).all()
    close(flat, naive.adam(w, grads, 0.01))
    assert moments.step == len(grads)
    bad = np.where(np.arange(20) == 7, np.nan, grads[0])
    assert m.all_finite(grads[0], 1.0) and not m.all_finite(bad, 1.0) and not m.all_finite(grads[0], np.inf)
    kept, after = m.adam(flat, bad, moments, 0.01, m.all_finite(bad, 1.0))
    assert (kept == flat).all() and (after.m == moments.m).all() and (after.v == moments.v).all()
    changed, _ = m.adam(flat, grads[0], moments, 0.01, m.all_finite(grads[0], 1.0))
    assert (changed != flat).all()


# layer: (fault, the line's text, what it becomes)
MUTANTS = {
    "lstm": [
        ("input and forget gate swapped", "        c[t + 1] = f * c[t] + i * g", "        c[t + 1] = i * c[t] + f * g"),
        ("carry dropped", "        c[t + 1] = f * c[t] + i * g", "        c[t + 1] = i * g"),
        ("state off by one", "        a += h[t] @ Wh", "        a += h[t - 1] @ Wh"),
        ("no tanh on the cell", "h[t + 1] = o * xp.tanh(c[t + 1])", "h[t + 1] = o * c[t + 1]"),
        ("bias forgotten", "    gates = x @ Wx + b", "    gates = x @ Wx + 0 * b"),
        ("next step's dh forgotten", "dh_t = dh[t] + dh_next", "dh_t = dh[t] + 0"),
        ("next step's dc forgotten", "dc = dc_next + dh_t", "dc = dh_t"),
        ("last cell's gradient ignored", "if dc_last is None else dc_last", "if True else dc_last"),
        ("forget gate misses in the carry", "dc_next = dc * f", "dc_next = dc"),
        ("df takes the new cell", "dc * g, dc * c[t], dc * i", "dc * g, dc * c[t + 1], dc * i"),
        ("sigmoid's slope for tanh", "dg * (1 - g * g)", "dg * g * (1 - g)"),
        ("bias summed over one step", "db = flat_da.sum(axis=0)", "db = da[0].sum(axis=0)"),
        ("dWh takes the new h", "h[:-1].reshape(T * B, H).T", "h[1:].reshape(T * B, H).T"),
        ("output off by one", "return (h[1:], {", "return (h[:-1], {"),
        ("state of the wrong step returned", 'c": c[-1]}', 'c": c[-2]}'),
        ("dx through the wrong weights", "dx = da @ Wx.T", "dx = (da * 1.001) @ Wx.T"),
    ],
    "reader": [
        ("lag off by one", "lagged(x, lag, T)\n    return", "lagged(x, lag + 1, T)\n    return"),
        ("lags averaged", "return reading, (w, x, lags)", "return reading / len(lags), (w, x, lags)"),
        ("only the last lag read", "        reading += w[:, :, l, None]", "        reading = w[:, :, l, None]"),
        ("dw of another lag", "(dreading * lagged(x, lag, len(w)))", "(dreading * lagged(x, lags[0], len(w)))"),
        ("dw not summed over keys", "len(w))).sum(axis=-1)", "len(w)))[..., 0]"),
        ("the reader's softmax left out of backward", "dz = softmax_backward(read_backward(dreading, read), softmax)", "dz = read_backward(dreading, read)"),
        ("reading and local swapped", "dreading, dh_local = djoined[..., :K], djoined[..., K:]", "dh_local, dreading = djoined[..., -5:], djoined[..., -K:]"),
        ("local gradient forgotten", "lstm_backward(dh_local, None, local", "lstm_backward(0 * dh_local, None, local"),
        ("inputs one step late", "inputs = join(x[-T:], bits)", "inputs = join(x[-T - 1 : -1], bits)"),
        ("a state not returned", "read_on | local_on | on)", "read_on | local_on | {k: 0 * on[k] for k in on})"),
        ("weights from the local LSTM", "linear_forward(h_reader,", "linear_forward(0 * h_reader,"),
        ("the aggregator conditional no reading", "join(reading, h_local), state)", "join(0 * reading, h_local), state)"),
    ],
    "voices": [
        ("a voice does not hear", "heard = xp.maximum(heard.real, one_hot(", "heard = 0 * xp.maximum(heard.real, one_hot("),
        ("only the last note heard", "heard = xp.maximum(heard.real, one_hot(", "heard = xp.maximum(0, one_hot("),
        ("restriction forgotten", "xp.where(allowed, z.real, -xp.inf)", "z.real"),
        ("pause not allowed", "xp.ones((*x.shape[:-1], 1), bool)", "xp.zeros((*x.shape[:-1], 1), bool)"),
        ("inverse CDF one too low", "(cdf <= (u * cdf[..., -1])[..., None]).sum(axis=-1)", "(cdf[..., :-1] < (u * cdf[..., -1])[..., None]).sum(axis=-1) // 2"),
        ("masses not renormalised", "(u * cdf[..., -1])[..., None]", "u[..., None]"),
        ("every voice has the first one's uniform", 'draws["voices"][:, :, v]', 'draws["voices"][:, :, 0]'),
        ("restricted distribution in the loss", "p[v], softmax = softmax_forward(z)", "p[v], softmax = softmax_forward(z + (0 if allowed is None else allowed))"),
        ("temperature multiplies", "z = z / temperature", "z = z * temperature"),
        ("one voice's gradient reaches the features", "dfeatures += dx[..., :F]", "dfeatures = dx[..., :F]"),
        ("gradient from the notes' end", "dfeatures += dx[..., :F]", "dfeatures += dx[..., -F:]"),
        ("softmax left out of backward", "dz = softmax_backward(dp[v], softmax)", "dz = dp[v]"),
        ("all gradients from the first voice", "dz = softmax_backward(dp[v], softmax)", "dz = softmax_backward(dp[0], softmax)"),
    ],
    "union": [
        ("plain sum", "factors[v] = 1 - P if held is None else held[v]", "factors[v] = 1 + 0 * P if held is None else held[v]"),
        ("last voice left out", "for v in range(V):\n        factors", "for v in range(V - 1):\n        factors"),
        ("pause cell summed", "p[..., K].prod(axis=0)", "p[..., K].mean(axis=0)"),
        ("trick without its factors", "dp[..., :K] = dcells[..., :K] * factors", "dp[..., :K] = dcells[..., :K]"),
        ("later voices forgotten", "dcells[..., :K] * before * after", "dcells[..., :K] * before"),
        ("earlier voices forgotten", "dcells[..., :K] * before * after", "dcells[..., :K] * after"),
        ("products off by one", "before[v] = before[v - 1] * q[v - 1]", "before[v] = before[v - 1] * q[v]"),
        ("pause gradient of the wrong voices", "dp[..., K] = dcells[..., K] * before * after", "dp[..., K] = dcells[..., K] * after"),
        ("no gradient on the pause cell", "dp[..., K] = dcells[..., K] * before * after", "dp[..., K] = 0"),
        ("mean over all steps, padding included", "cells = counted(mask) * P.shape[-1]", "cells = mask.size * P.shape[-1]"),
        ("padding counted", "-(log * mask[..., None]).sum()", "-log.sum()"),
        ("gradient outside the clip", "dP * (inside & mask[..., None]) / cells", "dP * mask[..., None] / cells"),
        ("gradient of the padding", "dP * (inside & mask[..., None]) / cells", "dP * inside / cells"),
        ("sign of the silent cells", "-1 / clipped, 1 / (1 - clipped))", "-1 / clipped, -1 / (1 - clipped))"),
    ],
    "decoder": [
        ("classes and keys swapped", "join(keys, classes, bits)", "join(classes, keys, bits)"),
        ("state not returned", "return (z, after)", "return (z, {k: 0 * after[k] for k in after})"),
        ("the linear layer reads no time", "join(keys, classes, bits)", "join(keys, classes, 0 * bits)"),
        ("loss over all keys", "allowed = of_class(classes) > 0\n    positive", "allowed = of_class(classes) >= 0\n    positive"),
        ("padding counted", "(allowed & mask[..., None])", "allowed"),
        ("probability of silent classes", "p = sigmoid(z) * allowed", "p = sigmoid(z)"),
        ("softplus of the wrong sign", "xp.where(positive, z, 0)", "xp.where(positive, 0, z)"),
        ("truth forgotten in the gradient", "(p - keys) * allowed", "p * allowed"),
        ("gradient of silent classes", "(p - keys) * allowed / cells", "(p - keys) / cells"),
        ("gradient not averaged", "* allowed / cells", "* allowed"),
        ("keys outside their class drawn", "drawn = allowed & (u < P.real)", "drawn = u < P.real"),
        ("no key for a class that got none", "return drawn | (allowed & missed & likeliest)", "return drawn"),
        ("likeliest key always added", "return drawn | (allowed & missed & likeliest)", "return drawn | (allowed & likeliest)"),
        ("lowest octave for the likeliest", ".argmax(axis=-2)", ".argmin(axis=-2) * 0"),
    ],
    "adam": [
        ("clip forgotten", "    g = clip(grad)", "    g = grad"),
        ("clip to zero", "array_module(g).sign(g.real))", "0 * g)"),
        ("first moment not corrected", "(m / (1 - BETA1**n))", "m"),
        ("second moment not corrected", "(v / (1 - BETA2**n))", "(v)"),
        ("correction one step behind", "n = moments.step + 1", "n = moments.step + 2"),
        ("betas swapped", "BETA1, BETA2, EPSILON = 0.9, 0.999, 1e-8", "BETA1, BETA2, EPSILON = 0.999, 0.9, 1e-8"),
        ("epsilon too large", "BETA1, BETA2, EPSILON = 0.9, 0.999, 1e-8", "BETA1, BETA2, EPSILON = 0.9, 0.999, 1e-6"),
        ("epsilon inside the root", "(xp.sqrt(v / (1 - BETA2**n)) + EPSILON)", "xp.sqrt(v / (1 - BETA2**n) + EPSILON)"),
        ("gradient not squared", "(1 - BETA2) * g * g", "(1 - BETA2) * abs(g)"),
        ("uphill", "new = flat - rate", "new = flat + rate"),
        ("the caller's moments edited", "m = BETA1 * moments.m +", "moments.m *= 1.0000001\n    m = BETA1 * moments.m +"),
        ("a bad gradient kept", "(v, moments.v)", "(v, v)"),
        ("a gradient in two is enough", "xp.isfinite(grad).all()", "xp.isfinite(grad).any()"),
        ("a bad loss unseen", " & xp.isfinite(loss)", ""),
        ("step not counted", "Moments(m, v, n)", "Moments(m, v, n - 1)"),
    ],
}  # fmt: skip
JUDGES = {name[6:]: judge for name, judge in list(globals().items()) if name.startswith("judge_")}


def mutated(layer: str, line: str, becomes: str):
    source = (FOLDER / f"{layer}.py").read_text(encoding="utf-8")
    assert source.count(line) == 1, f"{layer}.py holds {line!r} {source.count(line)} times, not once"
    module = types.ModuleType(f"minigen.{layer}_mutant")
    exec(compile(source.replace(line, becomes), f"{layer} mutant", "exec"), vars(module))
    return module


@pytest.mark.parametrize("layer", JUDGES)
def test_the_code_as_it_stands_passes(layer):
    JUDGES[layer](importlib.import_module(f"minigen.{layer}"))
    assert len(MUTANTS[layer]) >= 8


@pytest.mark.parametrize("layer, fault", [(layer, fault[0]) for layer in MUTANTS for fault in MUTANTS[layer]])
def test_mutant_is_caught(layer, fault):
    line, becomes = next(text for name, *text in MUTANTS[layer] if name == fault)
    module = mutated(layer, line, becomes)
    with pytest.raises(AssertionError), np.errstate(all="ignore"):
        JUDGES[layer](module)


def test_naive_params_layout():
    """naive.py reads weights by name: the layout it relies on is the one the layers declare."""
    shapes = {"a.Wx": (2, 4), "a.Wh": (1, 4), "a.b": (4,), "b.W": (1, 3)}
    params = Params(shapes, np.arange(19.0))
    assert [array.shape for array in params.layer("a")] == [(2, 4), (1, 4), (4,)]
    assert (params["b.W"] == [[16, 17, 18]]).all()
