"""A judge for each module in which faults are planted (faults.py): `JUDGES["lstm"](module)` raises AssertionError where
the module is wrong. It may be an edited copy of the module; the rest of minigen is what it is.

A judge holds values against the scalar loops of naive.py or against sums written out here, and backward passes against
forward ones along random directions, in float64. It wants the array code: no kernels installed.
"""

import functools
import json
import linecache
import types
import zlib
from dataclasses import replace
from itertools import islice
from unittest.mock import patch

import naive
import numpy as np
from music_judges import MUSIC_JUDGES

from minigen import decoder, linear, lstm, reader, voices
from minigen.adam import Moments, adam
from minigen.checks import cases
from minigen.checks.cases import BITS, LAGS, B, F, H, K, T, V, params_of, state_of, struck
from minigen.draws import uniforms
from minigen.errors import MinigenError
from minigen.gradcheck import BOUND, check, frozen, relative_error, slope, toy_batch
from minigen.ladder import Conditional, Decoder, Final, History, Latency, PauseLoss, Simple
from minigen.ladder.rung import Rung
from minigen.params import Params
from minigen.places import places_of
from minigen.run.checkpoint import Trained

NAN = float("nan")


def close(ours, theirs, rtol=1e-9, atol=1e-12):
    """The same shape and, but for rounding, the same numbers."""
    assert np.shape(ours) == np.shape(theirs), (np.shape(ours), np.shape(theirs))
    assert np.allclose(ours, theirs, rtol, atol, equal_nan=True), f"off by {np.abs(np.subtract(ours, theirs)).max()}"


def same(ours, theirs):
    """The same shape and the same numbers, to the last bit."""
    assert np.array_equal(ours, theirs), (ours, theirs)


def all_close(ours, theirs, rtol=1e-9):
    """Two dicts, or two sequences, of arrays."""
    if isinstance(theirs, dict):
        assert ours.keys() == theirs.keys(), (sorted(ours), sorted(theirs))
        ours, theirs = ([arrays[name] for name in sorted(theirs)] for arrays in (ours, theirs))
    assert len(ours) == len(theirs)
    for a, b in zip(ours, theirs, strict=True):
        all_close(a, b, rtol) if isinstance(b, tuple | list | dict) else close(a, b, rtol)


def slopes(*some):
    """Gradient cases: every backward pass is the slope of its forward pass."""
    for case in some:
        try:
            rows = check(**vars(case))
        except MinigenError as error:  # a fault may leave no slope to be checked
            raise AssertionError(error) from error
        for row in rows:
            assert row.ok, row


def refuses(call, words: str, code: int = 3):
    """The call raises MinigenError with these words."""
    try:
        call()
    except MinigenError as error:
        assert words in str(error) and error.code == code, error
    else:
        raise AssertionError(f"nothing was refused: {words}")


def arrays_of(case):
    return list(case.inputs.values())


def weighted(shapes):
    """Random weights of these shapes."""
    return params_of(shapes, cases.weights_of(shapes).values())


def random(*shape, seed=2):
    return np.random.default_rng(seed).normal(size=shape)


def time_of(start, steps: int, bits: int, bar: int = 16):
    """Bits 0 to 3 of the place in the bar, the others of the bar's number, by division."""
    t = np.array(start)[None, :, None] + np.arange(steps)[:, None, None]
    place, number = t % bar // 2 ** np.arange(4) % 2, t // bar // 2 ** np.arange(max(bits - 4, 0)) % 2
    return np.concatenate([place, number], axis=2)[:, :, :bits].astype(float)


def classes_of(keys):
    return np.stack([keys[..., k::12].max(axis=-1) for k in range(12)], axis=-1).astype(float)


# the layers


def judge_linear(m):
    x, W, b = arrays_of(cases.linear_case(m))
    close(m.linear_forward(x, W, b)[0], np.einsum("tbi,io->tbo", x, W) + b)
    close(m.linear_forward(x[0, 0], W, b)[0], x[0, 0] @ W + b)
    z = random(T, B, K)
    p, _ = m.softmax_forward(z)
    close(p, [[naive.softmax(row) for row in rows] for rows in z])
    close(m.softmax_forward(z + 1000)[0], p)
    tilted, _ = m.softmax_forward(z + 1e-20j * z)  # the exact slope along z, by complex step
    close(tilted.imag / 1e-20, p * (z - (z * p).sum(axis=-1, keepdims=True)))
    close(m.sigmoid(z), [[[naive.sigmoid(value) for value in row] for row in rows] for rows in z])
    same(m.sigmoid(np.array([-2000.0, 0, 2000])), [0, 0.5, 1])
    slopes(cases.linear_case(m), cases.CASES["silu"](m), cases.softmax_case(m))
    close(m.silu_forward(x, W, b)[0][0, 0], naive.silu(x[0, 0] @ W + b))
    for N in (7, 512, 600):
        close(m.column_sums(tall := random(N, 3)), tall.sum(axis=0))


def judge_lstm(m):
    x, h0, c0, Wx, Wh, b = arrays_of(cases.lstm_case(m))
    (h, c), cache = m.lstm_forward(x, h0, c0, Wx, Wh, b)
    expected, last = naive.lstm(x, h0, c0, Wx, Wh, b)
    close(h, np.concatenate([h0[None], expected]))
    close(c[0], c0)
    close(c[-1], last)
    params = params_of({"a.Wx": Wx.shape, "a.Wh": Wh.shape, "a.b": b.shape}, [Wx, Wh, b])
    (out, new_state), _ = m.lstm_layer(params, "a", x, {"a.h": h0, "a.c": c0})
    close(out, expected)
    all_close(new_state, {"a.h": expected[-1], "a.c": last})
    slopes(cases.lstm_case(m))
    dh = random(T, B, H)
    dx, _, _, *dweights = m.lstm_backward(dh, None, cache)
    all_close(m.lstm_layer_backward(dh, cache), (dx, dweights))
    none, others = m.lstm_layer_backward(dh, cache, need_dx=False)
    assert none is None
    all_close(others, dweights)


def judge_ops(m):
    keys = struck(T, B, 88)
    before = keys.copy()
    same(m.pitch_classes(keys), classes_of(keys))
    same(m.pitch_classes(np.eye(88)).argmax(axis=1), np.arange(88) % 12)
    octaves = m.by_octave(1 + keys)
    assert octaves.shape == (T, B, 8, 12)
    for k in range(96):
        same(octaves[..., k // 12, k % 12], 1 + keys[..., k] if k < 88 else np.zeros((T, B)))
    values = random(T, B, 12)
    same(m.of_class(values), np.stack([values[..., k % 12] for k in range(88)], axis=-1))
    start = np.array([0, 37, 1001])
    bits = m.time_bits(start, T, 6, np.float32)
    same(bits, time_of(start, T, 6))
    assert bits.dtype == np.float32
    for bits in (3, 6, 9):
        same(m.time_bits(start, 20, bits, int, 12), time_of(start, 20, bits, 12))
        same(m.time_bits(start, 20, bits, int, 12, high_first=True), time_of(start, 20, bits, 12)[..., ::-1])
    x = np.arange(10.0).reshape(10, 1, 1)  # the last 4 are inputs: 6, 7, 8, 9 predict 7, 8, 9, 10
    same(m.lagged(x, 1, 4).ravel(), [6, 7, 8, 9])
    same(m.lagged(x, 4, 4).ravel(), [3, 4, 5, 6])
    told = np.full((4, 1, 1), 2)
    same(m.with_lags(x, (2, 4), told)[:, 0], [[6, 5, 3, 2], [7, 6, 4, 2], [8, 7, 5, 2], [9, 8, 6, 2]])
    left = m.end_bits(np.array([3, 0]), np.array([6, m.NO_END]), 5, 3, np.float32)
    same(left[:, 0] @ [1, 2, 4], [2, 1, 0, 0, 0])
    same(left[:, 1] @ [1, 2, 4], [7] * 5)
    same(m.end_bits(np.array([0]), np.array([12]), 12, 3, int)[:, 0] @ [1, 2, 4], [7] * 4 + [7, 6, 5, 4, 3, 2, 1, 0])
    same(m.one_hot(np.array([[0, 2], [3, 1]]), 3, float), [[[1, 0, 0], [0, 0, 1]], [[0, 0, 0], [0, 1, 0]]])
    same(m.with_empty(np.array([[[1.0, 1, 0]], [[0, 0, 0]]])), [[[1, 1, 0, 0]], [[0, 0, 0, 1]]])
    assert [m.counted(np.array(mask) > 0) for mask in ([[1, 0], [1, 1]], [[0, 0], [0, 0]])] == [3, 1]
    same(m.join(keys, values), np.concatenate([keys, values], axis=2))
    same(keys, before)


def judge_adam(m):
    rng = np.random.default_rng(7)
    w, grads = rng.normal(size=20), rng.normal(size=(5, 20)) * 2
    grads[:, :3] = 1e-9
    flat, moments = w.copy(), m.Moments.of(w)
    for grad in grads:
        given = [flat, grad, moments.m, moments.v]
        before = [array.copy() for array in given]
        flat, moments = m.adam(flat, grad, moments, 0.01)
        for a, b in zip(given, before, strict=True):
            same(a, b)
    close(flat, naive.adam(w, grads, 0.01))
    assert moments.step == len(grads)
    bad = np.where(np.arange(20) == 7, np.nan, grads[0])
    assert m.all_finite(grads[0], 1.0) and not m.all_finite(bad, 1.0) and not m.all_finite(grads[0], np.inf)
    kept, after = m.adam(flat, bad, moments, 0.01, m.all_finite(bad, 1.0))
    for a, b in ((kept, flat), (after.m, moments.m), (after.v, moments.v)):
        same(a, b)
    changed, _ = m.adam(flat, grads[0], moments, 0.01, m.all_finite(grads[0], 1.0))
    assert (changed != flat).all()


def judge_params(m):
    shapes = m.lstm_shapes("a", 30, 20) | m.linear_shapes("b.1", 20, 50)
    assert shapes == {"a.Wx": (30, 80), "a.Wh": (20, 80), "a.b": (80,), "b.1.W": (20, 50), "b.1.b": (50,)}
    size = 30 * 80 + 20 * 80 + 80 + 20 * 50 + 50
    flat = np.arange(float(size))
    params, place = m.Params(shapes, flat), 0
    for name, shape in shapes.items():
        end = place + int(np.prod(shape))
        same(params[name], flat[place:end].reshape(shape))
        place = end
    all_close(params.layer("b.1"), (params["b.1.W"], params["b.1.b"]))
    all_close(params.layer("a"), (params["a.Wx"], params["a.Wh"], params["a.b"]))
    same(params.between("a.Wh", "b.1.W"), flat[2400:-50])
    params["a.b"][0] = -1
    assert flat[4000] == -1 and params.with_flat(flat).flat is flat  # views, and no copy
    parts = {
        "b.1": (np.full((20, 50), 4.0), np.full(50, 5.0)),
        "a": (np.ones((30, 80)), np.full((20, 80), 2.0), np.full(80, 3.0)),
    }
    same(params.gradients(parts).flat, np.repeat([1, 2, 3, 4, 5], [2400, 1600, 80, 1000, 50]))
    same(params.gradients({"b.1": parts["b.1"]}).flat, np.repeat([0, 4, 5], [4080, 1000, 50]))
    wrongs = [{"c": parts["b.1"]}, {"b.1": (*parts["b.1"], np.ones(1))}, {"b.1": parts["b.1"][:1]}]
    wrongs += [{"b.1": tuple(array.astype(np.float32) for array in parts["b.1"])}, {"b.1": parts["b.1"][::-1]}]
    for wrong in wrongs:
        try:
            params.gradients(wrong)
        except AssertionError:
            continue
        raise AssertionError(f"these were taken: {list(wrong)}")
    fresh, rng = m.Params(shapes, dtype=np.float64), np.random.default_rng(5)
    m.initialise(fresh, np.random.default_rng(5))
    for name, fans in (("a.Wx", 30 + 20), ("a.Wh", 20 + 20), ("b.1.W", 20 + 50)):  # a gate is a layer of its own
        limit = (6 / fans) ** 0.5
        close(fresh[name], rng.uniform(-limit, limit, shapes[name]))
    same(fresh["a.b"], np.repeat([0, 1, 0, 0], 20))  # i f o g
    same(fresh["b.1.b"], np.zeros(50))


def judge_draws(m):
    # a row of 15: of the 64 bits that the last of them comes from, half are left over
    u = m.uniforms(3, "voices", 10, [6, 2], (5, 3))
    assert u.shape == (2, 5, 3) and u.dtype == np.float32 and 0 <= u.min() and u.max() < 1
    for n, row in enumerate((6, 2)):
        key, counter = np.array([3, zlib.crc32(b"voices")], np.uint64), np.array([0, 0, row, 10], np.uint64)
        stream = np.random.Generator(np.random.Philox(key=key, counter=counter))
        same(u[n], stream.random((5, 3), np.float32))
    same(m.uniforms(3, "voices", 10, range(2, 3), (9, 3))[0, :5], u[1])
    first = m.uniforms(1, "batch", 2, [3], (2,), np.float64)[0]
    close(first, [0.2874782927978312, 0.526054847738875])  # on every machine, for good
    many = m.uniforms(0, "mean", 0, range(2), (20_000,), np.float64).ravel()
    assert abs(many.mean() - 0.5) < 4 / np.sqrt(12 * many.size)


# the parts


def judge_reader(m):
    case = cases.history_case(m)
    shapes = m.history_shapes(K, BITS, LAGS, H)
    params, state = params_of(shapes, arrays_of(case)), state_of(shapes)
    x, bits = struck(max(LAGS) + T, B, K), struck(T, B, BITS)
    skipped, keep = cases.history_case(m, skip=True), cases.fresh().random((T, B, H))
    wider = m.history_shapes(K, BITS, LAGS, H, 4, 3, True)
    inside = params_of(wider, arrays_of(skipped))
    dropped, _ = m.history_forward(inside, x, bits, LAGS, state_of(wider), True, keep)
    close(dropped[0], naive.history(inside, x, bits, LAGS, state_of(wider), keep))
    slopes(skipped)
    (features, w, new_state), _ = m.history_forward(params, x, bits, LAGS, state)
    close(features, naive.history(params, x, bits, LAGS, state))
    close(w.sum(axis=-1), np.ones((T, B)))
    close(new_state["aggregator.h"], features[-1])
    # going on from a returned state is the same as never stopping
    cut = len(x) - 3
    (_, _, half), _ = m.history_forward(params, x[:cut], bits[:-3], LAGS, state)
    (end, _, _), _ = m.history_forward(params, x, bits[-3:], LAGS, half)
    close(end, features[-3:])
    slopes(cases.read_case(m), case)


def judge_delayed(m):
    for delays, steps in (((3,), 7), ((5,), 4), ((1, 3, 9), 7)):
        units = 2 * len(delays)
        shapes = {"a.Wx": (F, 4 * units), "a.Wh": (units, 4 * units), "a.b": (4 * units,)}
        params = Params(shapes, random(sum(int(np.prod(shape)) for shape in shapes.values())))
        x, (h, c) = random(steps, B, F), random(2, max(delays), B, units)
        state, forward = {"a.h": h, "a.c": c}, m.capsule_forward
        if len(delays) > 1:

            def forward(params, name, x, state, delays=delays):
                return m.linked_forward(params, name, x, delays, state)

        (out, new_state), _ = forward(params, "a", x, state)
        h, c = naive.delayed(x, h, c, *params.layer("a"), np.repeat(delays, 2))
        close(out, h[-steps:])
        all_close(new_state, {"a.h": h[steps:], "a.c": c[steps:]})
    slopes(cases.delayed_case(m), cases.delayed_case(m, (1, 3, 9)))


def judge_voices(m):
    case = cases.voices_case(m)
    shapes = m.voices_shapes(V, K, F, H)
    features, *weights = arrays_of(case)
    params, state = params_of(shapes, weights), state_of(shapes)
    u, truth = np.random.default_rng(3).random((V, T, B)), struck(T, B, K)
    truth[2], truth[3, 0, :V] = 0, 1
    allowed = np.random.default_rng(4).random((V, T, B, K + 1)) < 0.7
    allowed[0, 0, 0, :K], allowed[1, 1, 1] = False, np.arange(K + 1) == 5
    fits = truth * (truth.cumsum(axis=-1) <= V)

    def free(v, t, n, p, played):
        return naive.draw(p, u[v, t, n], [True] * (K + 1))

    def true(v, t, n, p, played):
        return naive.draw(p, u[v, t, n], [*(truth[t, n] > 0), True])

    def steered(v, t, n, p, played):
        return naive.draw(naive.keeping_the_pause(p, allowed[v, t, n]), u[v, t, n], allowed[v, t, n])

    def forced(v, t, n, p, played):
        left = [k for k in range(K) if fits[t, n, k] and not played[k]]
        must = len(left) > V - 1 - v
        may = left if must else [*np.flatnonzero(fits[t, n]), K]
        return naive.draw(p, u[v, t, n], [k in may for k in range(K + 1)])

    ways = [(free, {}), (true, {"truth": truth}), (steered, {"voices.allowed": allowed})]
    for pick, given in [*ways, (forced, {"truth": fits, "forced": True})]:
        (p, notes, new_state), _ = m.voices_forward(params, features, V, state, {"voices.u": u} | given, 0.8)
        expected_p, expected = naive.voices(params, features, V, state, pick, 0.8)
        close(p, expected_p)
        same(notes, expected)
    (again, played, _), _ = m.voices_forward(params, features, V, state, {"voices.notes": notes}, 0.8)
    close(again, p)
    same(played, notes)
    assert set(new_state) == set(state)
    linear_voices = weighted(m.voices_shapes(V, K, F, 0))
    close(m.voices_forward(linear_voices, features, V, {}, {"voices.u": u})[0][0],
          naive.voices(linear_voices, features, V, {}, free)[0])  # fmt: skip
    slopes(case, cases.voices_case(m, linear_voices=True))


def judge_union(m):
    p = cases.distributions()
    for pause_cell in (False, True):
        close(m.union_forward(p, pause_cell)[0], naive.cells(p, pause_cell))
    P = np.random.default_rng(4).uniform(-0.2, 1.2, (T, B, K)).clip(0, 1)
    x, mask = struck(T, B, K), struck(T, B) == 0
    loss, cache = m.cross_entropy_forward(P, x, mask)
    close(loss, naive.cross_entropy(P, x, mask))
    assert (m.cross_entropy_backward(cache)[(P == 0) | (P == 1)] == 0).all()
    assert np.isnan(m.cross_entropy_forward(np.where(mask[..., None], P, P) * NAN, x, mask)[0])
    assert m.cross_entropy_forward(P, x, mask & False)[0] == 0
    # the trick's closed form: voice v is scaled by prod_{u<v} (1 - p_u)
    _, cache = m.union_forward(p, False)
    dp = m.union_backward(np.ones((T, B, K)), cache, True)
    close(dp[2, ..., :-1], (1 - p[0, ..., :-1]) * (1 - p[1, ..., :-1]))
    trick = cases.union_case(m, stop_gradient=True)
    slopes(cases.union_case(m), cases.union_case(m, pause_cell=True), trick, cases.cross_entropy_case(m))


def chosen_keys(P, u, classes):
    """Each key by itself; a class that got none takes its likeliest octave: P, u (88,), classes (12,) -> (88,)."""
    keys = np.zeros(88)
    for k in np.flatnonzero(classes):
        octaves = slice(k, 88, 12)
        own = u[octaves] < P[octaves]
        keys[octaves] = own if own.any() else P[octaves] == P[octaves].max()
    return keys


def judge_decoder(m):
    case = cases.decoder_case(m)
    shapes = m.decoder_shapes(BITS, H)
    params, state = params_of(shapes, arrays_of(case)), state_of(shapes)
    roll, bits, mask = struck(T + 3, B, 88).astype("uint8"), struck(T, B, BITS), struck(T, B) == 0
    true = classes_of(roll[-T:])

    z, after = naive.octaves(params, roll[-T - 1 : -1], true, bits, state)
    (loss, trace, new_state), cache = m.octaves_forward(params, roll, true, bits, mask, state)
    close(trace["decoder.z"], z)
    close(loss, naive.octave_loss(z, roll[-T:], true, mask))
    close(trace["decoder.p"], np.where(true[..., np.arange(88) % 12] > 0, 1 / (1 + np.exp(-z)), 0))
    assert trace["loss.decoder"] == loss
    all_close(new_state, after)
    slopes(case, cases.octave_loss_case(m))
    dz = (1 / (1 + np.exp(-z)) - roll[-T:]) * (true[..., np.arange(88) % 12] * mask[..., None]) / (mask.sum() * 88)
    found, expected = m.octaves_backward(cache), m.decoder_backward(dz, cache[0])
    for name in ("octave", "keys"):
        all_close(list(found[name]), list(expected[name]))

    rng, melody = np.random.default_rng(6), np.zeros((1, B, 88))
    u, classes = rng.random((1, B, 88)), struck(1, B, 12)
    melody[0, 1, [3, 15, 40]] = 90
    (z, _), given = naive.octaves(params, roll[:1], classes, bits[:1], state), {"decoder.u": u}
    for more in ({}, {"inject": melody}, {"keys": roll[1:2]}):
        keys, trace, _ = m.octaves_step(params, roll[:1], classes, bits[:1], state, given | more, 0.5)
        close(trace["decoder.z"], z)
        for n in range(B):
            P = 1 / (1 + np.exp(-2 * z[0, n])) * classes[0, n, np.arange(88) % 12]
            close(trace["decoder.p"][0, n], P)
            expected = chosen_keys(P, u[0, n], classes[0, n])
            for k in np.flatnonzero(melody[0, n]) if "inject" in more else ():
                expected[k % 12 :: 12] = melody[0, n, k % 12 :: 12] > 0
            same(keys[0, n], more["keys"][0, n] if "keys" in more else expected)
    P, u, classes = rng.uniform(0.05, 0.5, (50, 88)), rng.random((50, 88)), struck(50, 12)
    same(m.draw_keys(P, u, classes), [chosen_keys(*row) for row in zip(P, u, classes, strict=True)])


HEADS = {"keys": {"voices": 0}, "at once": {"voices": V}, "conditional": {"voices": V, "voice_hidden": 4}}


def judge_heads(m):
    features, u, rng = random(T, B, F), np.random.default_rng(8).random((T, B, K)), np.random.default_rng(9)
    params = weighted(m.keys_shapes(K, F))
    (P, played, z), _ = m.keys_forward(params, features, {"cells.u": u}, 0.5)
    close(z, features @ params["cells.W"] + params["cells.b"])
    close(P, 1 / (1 + np.exp(-2 * z)))
    same(played, u < P)
    assert m.keys_forward(params, features, {})[0][1] is None

    params = weighted(m.at_once_shapes(V, K, F))
    u, allowed = rng.random((V, T, B)), rng.random((V, T, B, K + 1)) < 0.7
    allowed[..., K] = True
    (p, notes), _ = m.at_once_forward(params, features, V, {"voices.u": u}, 0.5)
    (_, steered), _ = m.at_once_forward(params, features, V, {"voices.u": u, "voices.allowed": allowed}, 0.5)
    for v, t, n in np.ndindex(V, T, B):
        own = slice(v * (K + 1), (v + 1) * (K + 1))
        expected = naive.softmax(2 * (features[t, n] @ params["heads.W"][:, own] + params["heads.b"][own]))
        close(p[v, t, n], expected)
        assert notes[v, t, n] == naive.draw(expected, u[v, t, n], [True] * (K + 1))
        kept = naive.keeping_the_pause(expected, allowed[v, t, n])
        assert steered[v, t, n] == naive.draw(kept, u[v, t, n], allowed[v, t, n])
    (_, given), _ = m.at_once_forward(params, features, V, {"voices.notes": notes[::-1]})
    same(given, notes[::-1])
    assert m.at_once_forward(params, features, V, {})[0][1] is None
    slopes(cases.keys_case(m), cases.at_once_case(m))

    for head, fields in HEADS.items():
        for loss in ("plain",) if head == "keys" else ("plain", "pause", "stop-gradient"):
            c = replace(Simple.config, keys=K, loss=loss, **fields)
            shapes = m.head_shapes(c, head == "conditional", F)
            params, state = weighted(shapes), state_of(shapes)
            given = {"voices.u": u} if c.voices else {"cells.u": rng.random((T, B, K))}
            (P, trace, new_state), _ = m.head_forward(params, features, c, head == "conditional", state, given, 0.8)
            assert new_state.keys() == state.keys() and ("features" in trace) == (head == "conditional")
            if c.voices:
                part = voices.voices_forward.reference if head == "conditional" else m.at_once_forward
                more = (state,) if head == "conditional" else ()
                close(trace["voices.p"], part(params, features, V, *more, given, 0.8)[0][0])
                close(P, naive.cells(trace["voices.p"], loss == "pause"))
                given = {"voices.notes": trace["voices.notes"]}
            else:
                same(trace["cells.struck"], given["cells.u"] < P)
            given |= {"union.factors": trace["union.factors"]} if loss == "stop-gradient" else {}

            def run(params, features, c=c, conditional=head == "conditional", state=state, given=given):
                return m.head_forward(params, features, c, conditional, state, given)

            slopes(cases.over_features(shapes, run, m.head_backward))


# the ladder

SIZES = {"hidden": 5, "decoder_hidden": 4, "lags": (1, 4), "time_bits": 3}


def small(rung, **fields):
    """The rung with a few units, and its weights in float64, none of them 0."""
    model = rung(replace(rung.config, **SIZES | fields))
    params = model.init(1, np.float64)
    return model, params.with_flat(params.flat + 0.3 * random(params.flat.size))


def over(m, rung):
    """The rung with the base class of the module m."""
    methods = {}
    for c in reversed(rung.__mro__):
        if issubclass(c, Rung) and c is not Rung:
            methods |= {name: thing for name, thing in vars(c).items() if not name.startswith("__")}
    return type(rung.__name__, (m.Rung,), methods)


def random_state(model, params, B: int) -> dict:
    rng, state = np.random.default_rng(12), Rung.initial_state(model, params, B)
    return {name: rng.normal(size=a.shape) if a.dtype.kind == "f" else a for name, a in state.items()}


def slope_of_loss(model, params, batch, given, state, grads):
    """The gradient of a rung's whole loss, along one direction in all weights."""
    direction = random(params.flat.size, seed=11)

    def loss(flat):
        return model.loss(params.with_flat(flat), batch, given, state, grad=False)[0]

    assert relative_error(slope(loss, params.flat, direction), grads.flat @ direction) < BOUND


def judge_rung(m):
    model, params = small(over(m, Conditional), keys=12, voices=3, voice_hidden=4, loss="pause")
    batch, state = toy_batch(model, 6, 2, density=0.1), random_state(model, params, 2)
    judge_loss(model, params, batch, state)
    judge_step(model, params, batch["roll"], state | {"time": batch["start"]})
    judge_other_rungs(m, batch["roll"])


def judge_loss(model, params, batch, state):
    """Each part by loops, the draws restricted to the truth; the state to go on from; the slope of it all."""
    past, roll, mask, T = model.config.past, batch["roll"], batch["mask"], len(batch["mask"])
    x, bits = classes_of(roll), time_of(batch["start"], T, 3)
    given, u = model.draws(7, "test", 2, [4, 1], T), uniforms(7, "test", 2, [4, 1], (T, 3))
    same(given["voices.u"], np.moveaxis(u, (0, 1, 2), (2, 1, 0)))

    def pick(v, t, n, p, played):
        return naive.draw(p, u[n, t, v], [*(x[past + t, n] > 0), True])

    loss, grads, trace, new_state = model.loss(params, batch, given, state)
    assert trace.keys() >= {"cells.P", "keys", "voices.p", "voices.u", "reader.w", "decoder.p", "loss.decoder"}
    assert new_state.keys() == state.keys()
    features, _, reached = reader.history_forward(params, x[:-1], bits, model.config.lags, state)[0]
    all_close({name: new_state[name] for name in reached}, reached)
    p, notes = naive.voices(params, features, 3, state, pick)
    cells = np.concatenate([x[past:], 1 - x[past:].max(axis=2, keepdims=True)], axis=2)
    close(trace["loss.cells"], naive.cross_entropy(naive.cells(p, True), cells, mask))
    z, _ = naive.octaves(params, roll[past - 1 : -1], x[past:], bits, state)
    close(trace["loss.decoder"], naive.octave_loss(z, roll[past:], x[past:], mask))
    close(loss, trace["loss.cells"] + trace["loss.decoder"])
    same(trace["voices.notes"], notes)
    same(trace["voices.u"], given["voices.u"])
    same(trace["keys"], roll[past:])
    same(new_state["past"], roll[-past - 1 : -1])
    same(new_state["time"], batch["start"] + T)
    slope_of_loss(model, params, batch, frozen(model, trace), state, grads)


def judge_step(model, params, roll, state):
    """One step at another temperature: from the steps before it, those of the state and the one just played."""
    past, B, shapes = model.config.past, roll.shape[1], model.draw_shapes(roll.shape[1])
    x, bits, last = classes_of(roll), time_of(state["time"], 1, 3), roll[past - 1 : past]
    state = state | {"past": np.concatenate([roll[:1], roll[: past - 1]])}
    assert shapes == {"voices.u": (3, B), "decoder.u": (B, 88)}
    given = {name: np.random.default_rng(3).random(shape) for name, shape in shapes.items()}

    def pick(v, t, n, p, played):
        return naive.draw(p, given["voices.u"][v, n], [True] * 13)

    keys, trace, new_state = model.step(params, state, last[0], given, 0.7)
    assert new_state.keys() == state.keys() and keys.dtype == np.uint8 and given.keys() <= trace.keys()
    features = naive.history(params, x[:past], bits, model.config.lags, state)
    p, notes = naive.voices(params, features, 3, state, pick, 0.7)
    close(trace["voices.p"], p[:, 0])
    close(trace["cells.P"], naive.cells(p, True)[0])
    same(trace["voices.notes"], notes[:, 0])
    played = np.array([[k in row for k in range(12)] for row in notes[:, 0].T]).astype(float)
    z, reached = naive.octaves(params, last, played[None], bits, state)
    all_close({name: new_state[name] for name in reached}, reached)
    chances = 1 / (1 + np.exp(-z[0] / 0.7)) * played[:, np.arange(88) % 12]
    close(trace["decoder.p"], chances)
    same(keys, [chosen_keys(*row) for row in zip(chances, given["decoder.u"], played, strict=True)])
    same(new_state["past"], roll[:past])
    same(new_state["time"], state["time"] + 1)
    keys, trace, _ = model.step(params, state, last[0], {"voices.notes": notes[:, 0], "keys": roll[past]})
    same(keys, roll[past])
    close(trace["decoder.z"], naive.octaves(params, last, x[past : past + 1], bits, state)[0][0])


def judge_other_rungs(m, roll):
    """Independent keys, delayed states, a quiet start."""
    B = roll.shape[1]
    model, params = small(over(m, History), voices=0)
    assert model.draw_shapes(B) == {"cells.u": (B, 88)} and model.draws(0, "x", 0, range(B), 5) == {}
    u = np.random.default_rng(3).random((B, 88))
    keys, trace, _ = model.step(params, model.initial_state(params, B), roll[-1], {"cells.u": u})
    same(keys, u < trace["cells.P"])
    assert trace["cells.P"].shape == (B, 88)

    model, params = small(over(m, Simple), end_bits=3)
    batch = toy_batch(model, 6, B) | {"end": np.full(B, 200)}
    batch["end"][0] = batch["start"][0] + 4
    loss, grads, trace, end = model.loss(params, batch, {})
    same(end["end"], batch["end"])
    slope_of_loss(model, params, batch, {}, None, grads)
    state = model.initial_state(params, B) | {"past": batch["roll"][:5][-model.config.past :] * 0}
    for t in range(2):
        past = batch["roll"][t : t + model.config.past]
        state |= {"past": np.concatenate([0 * past[:1], past[:-1]]), "time": batch["start"] + t, "end": batch["end"]}
        _, heard, state = model.step(params, state, past[-1], {"keys": batch["roll"][model.config.past + t]})
        close(heard["cells.P"], trace["cells.P"][t])
        same(state["end"], batch["end"])
    assert (model.initial_state(params, B)["end"] > 10**9).all() and (
        model.initial_state(params, B, 7)["end"] == 7
    ).all()
    untold = model.loss(params, {name: array for name, array in batch.items() if name != "end"}, {})[3]
    assert (untold["end"] > 10**9).all()

    model, params = small(over(m, Latency), delays=(3, 1), capsule=2, lags=(1,))
    expected = {"past": np.zeros((1, B, 88)), "time": np.zeros(B)}
    for name, delay in (("delay3", 3), ("delay1", 1)):
        expected |= {f"{name}.h": np.zeros((delay, B, 2)), f"{name}.c": np.zeros((delay, B, 2))}
    state = model.initial_state(params, B)
    all_close(state, expected)
    assert (state["past"].dtype, state["time"].dtype, state["delay3.h"].dtype) == (np.uint8, np.int64, np.float64)

    for metre, bar in (("4/4", 16), ("3/4", 12)):
        for of, back in (("predicted", 0), ("input", 1)):
            fields = {"metre": metre, "time_bits": 6, "time_of": of}
            clock = over(m, History)(replace(History.config, **fields))
            same(clock.time_bits(np.array([5, 40]), 30, float), time_of([5 - back, 40 - back], 30, 6, bar))
            start, bits = np.array([5, 40]), clock.time_bits(np.array([5, 40]), 30, float)
            same(clock.decoder_bits(start, 30, float), time_of([5, 40], 30, 6, bar))
            same(clock.decoder_bits(start, 30, float, bits), time_of([5, 40], 30, 6, bar))
            close_by = over(m, History)(replace(History.config, end_bits=3, **fields))
            told = close_by.time_bits(start, 30, float, np.array([20, 60]))
            same(told[..., :6], clock.time_bits(start, 30, float))
            same(told[..., 6:] @ [1, 2, 4], np.clip([[19 - 5 - t, 59 - 40 - t] for t in range(30)], 0, 7))
            same(close_by.time_bits(start, 30, float)[..., 6:], np.ones((30, 2, 3)))
            same(close_by.decoder_bits(start, 30, float, told), time_of([5, 40], 30, 6, bar))
            clock = over(m, History)(replace(History.config, time_order="high first", **fields))
            same(clock.time_bits(np.array([0, 40]), 30, int), time_of([-back, 40 - back], 30, 6, bar)[..., ::-1])

    quiet = over(m, Conditional)(replace(Conditional.config, voices=2, pause_bias=1.5, **SIZES)).init(4)
    for name in ("head1.b", "head2.b"):
        same(quiet[name], np.arange(89) // 88 * np.float32(1.5))
    same(quiet["local.b"], np.repeat(np.float32([0, 1, 0, 0]), 5))


def judge_final(m):
    """Written out it is what Rung.forward and Rung.backward give: a body and a head."""
    for loss in ("stop-gradient", "pause"):
        model, params = small(m.Final, voices=3, voice_hidden=4, loss=loss)
        c, (T, B) = model.config, (6, 2)
        x, bits, state = struck(c.past + T, B, 12), struck(T, B, 3), random_state(model, params, B)
        given = model.draws(0, "test", 0, range(B), T) | {"truth": x[-T:]}
        for _ in range(2):
            (P, trace, new_state), cache = model.forward(params, x, bits, state, given, 0.9)
            (expected, named, after), generic = Rung.forward(model, params, x, bits, state, given, 0.9)
            close(P, expected)
            all_close(trace, named)
            all_close(new_state, after)
            given |= {"union.factors": trace["union.factors"] / 2}  # those of another call
        _, cache = model.forward(params, x, bits, state, given)
        _, generic = Rung.forward(model, params, x, bits, state, given)
        dP = random(*P.shape)
        found, wanted = model.backward(dP, cache), Rung.backward(model, dP, generic)
        assert found.keys() == wanted.keys()
        for name in wanted:
            all_close(list(found[name]), list(wanted[name]))


def judge_feedback(m):
    """Seven rounds in loops; and the slope of its loss."""
    for interleaved in (False, True):
        model, params = small(m.Feedback, voices=3, interleaved=interleaved)
        c, (T, B) = model.config, (4, 2)
        batch, state = toy_batch(model, T, B, density=0.1), random_state(model, params, B)
        x, bits = classes_of(batch["roll"])[:-1], time_of(batch["start"], T, 3)
        u = np.random.default_rng(5).random((3, T, B))
        (P, trace, new_state), _ = model.forward(params, x, bits, state, {"voices.u": u}, 0.9)
        hidden = {name: array.copy() for name, array in state.items()}
        p = np.zeros((3, T, B, 13))
        for t in range(T):
            so_far = np.zeros((B, 13))
            for v in range(3):
                name = "rounds" if interleaved else f"round{v + 1}"
                inputs = np.concatenate([so_far, *(x[len(x) - T + t + 1 - lag] for lag in (1, *c.lags))], axis=1)
                h, last = naive.lstm(inputs[None], hidden[f"{name}.h"], hidden[f"{name}.c"], *params.layer("lstm"))
                hidden |= {f"{name}.h": h[0], f"{name}.c": last}
                z = (h[0] @ params[f"head{v + 1}.W"] + params[f"head{v + 1}.b"]) / 0.9
                p[v, t] = [naive.softmax(row) for row in z]
                so_far = so_far + (1 - so_far) * p[v, t]
        close(trace["voices.p"], p)
        close(P, naive.cells(p, False))
        all_close(new_state, {name: hidden[name] for name in new_state})
        assert new_state.keys() == {name for name in state if name.startswith("round")}
        notes = [naive.draw(p[at], u[at], [True] * 13) for at in np.ndindex(u.shape)]
        same(trace["voices.notes"].ravel(), notes)
        _, grads, _, _ = model.loss(params, batch, {}, state)
        slope_of_loss(model, params, batch, {}, state, grads)


def judge_capsules(m):
    """Each capsule reads the step of its own lag, the aggregator all of them and the time."""
    model, params = small(m.Capsules, voices=2, capsule=3)
    T, B = 4, 2
    batch, state = toy_batch(model, T, B), random_state(model, params, B)
    x, bits = batch["roll"][:-1].astype(float), time_of(batch["start"], T, 3)
    (features, _, new_state), _ = model.body(params, x, bits, state)
    outputs, expected = [], {}
    for name in ("lag1", "lag4"):
        first = len(x) - T + 1 - int(name[3:])
        h, last = naive.lstm(x[first : first + T], state[f"{name}.h"], state[f"{name}.c"], *params.layer(name))
        expected |= {f"{name}.h": h[-1], f"{name}.c": last}
        outputs.append(h)
    joined = np.concatenate([*outputs, bits], axis=2)
    h, last = naive.lstm(joined, state["aggregator.h"], state["aggregator.c"], *params.layer("aggregator"))
    close(features, h)
    all_close(new_state, expected | {"aggregator.h": h[-1], "aggregator.c": last})
    _, grads, _, _ = model.loss(params, batch, {}, state)
    slope_of_loss(model, params, batch, {}, state, grads)


# playing and learning


def over_metre(model, metre: str):
    """The rung with bars of another metre, its lags as they are."""
    return type(model)(replace(model.config, metre=metre))


def judge_sample(m):
    model, params = small(PauseLoss, voices=3, voice_hidden=4)
    trained, primer = Trained(model, params, {}, None), struck(20, 88) * 90
    blocks = [uniforms(9, "generate", block, [0], (256, 3 + 88))[0] for block in range(3)]
    for t, given in enumerate(islice(m.steps_of(model, 9), 600)):
        row = blocks[t // 256][t % 256]
        all_close(given, {"voices.u": row[:3, None], "decoder.u": row[None, 3:]}, 0)

    roll = np.concatenate([np.zeros((4, 1, 88)), primer[:16, None] > 0]).astype(np.uint8)
    batch = {"roll": roll, "start": np.array([0]), "mask": np.ones((16, 1), bool)}
    u = uniforms(9, "primer", 0, [0], (16, 3))
    _, _, expected, end = model.loss(params, batch, {"voices.u": np.moveaxis(u, 2, 0).swapaxes(1, 2)}, grad=False)
    state, last, trace = m.prime(model, params, primer[:16], 9)
    all_close(trace, expected)
    all_close(state, end)
    same(last, roll[-1])

    inject = [{"inject": struck(1, 88) * (t % 2)} for t in range(7)]
    music = []
    for begun, head, extra in ((primer[:16], roll[-1], None), (None, np.zeros((1, 88)), inject)):
        state = end if begun is not None else model.initial_state(params, 1)
        steps = list(islice(m.play(trained, 9, begun, 0.8, extra), 9))
        assert len(steps) == (9 if extra is None else 7)
        for t, (keys, trace) in enumerate(steps):
            given = {"voices.u": blocks[0][t, :3, None], "decoder.u": blocks[0][None, t, 3:]} | (extra or inject * 2)[t]
            given = given if extra else {name: given[name] for name in ("voices.u", "decoder.u")}
            head, expected, state = model.step(params, state, head, given, 0.8)
            same(keys, head[0])
            all_close(trace, expected | {name: given[name] for name in given if name == "inject"})
        music.append(np.array([keys for keys, _ in steps]))
    piece = m.generate(trained, 2, 9, primer, 0.8)
    same(piece[:16], primer[:16] > 0)
    same(piece[16:25], music[0])
    assert piece.shape == (48, 88)
    same(m.generate(trained, 1, 9), [keys for keys, _ in islice(m.play(trained, 9), 16)])
    long = struck(60, 88)
    for metre, bar in (("4/4", 16), ("3/4", 12)):
        in_metre = Trained(over_metre(model, metre), params, {}, None)
        begun = m.generate(in_metre, 1, 9, long, primer_bars=3)
        assert begun.shape == (4 * bar, 88)
        same(begun[: 3 * bar], long[: 3 * bar])

    model, params = small(Decoder)
    alone = Trained(model, params, {}, None)
    steps = list(m.play(alone, 9, primer))
    same(classes_of(np.array([keys for keys, _ in steps])), classes_of(primer > 0))
    same(m.generate(alone, 1, 9, primer), [keys for keys, _ in steps[:16]])
    for wrong in ({"bars": 0}, {"temperature": 0}, {"seed": -1}, {"primer": np.zeros((3, 12))}):
        refuses(lambda wrong=wrong: m.generate(trained, **wrong), "give", 2)
    refuses(lambda: m.generate(alone, 1), "--primer", 2)
    poisoned = trained._replace(params=trained.params.with_flat(trained.params.flat * NAN))
    refuses(lambda: next(m.play(poisoned)), "NaN")


def judge_finetune(m):
    model, learned = small(Final, voices=3, voice_hidden=4)
    primer, past, window, rate = struck(8, 88), model.config.past, 6, 1e-2
    known = Moments(0 * learned.flat, np.full_like(learned.flat, 1e-4), 7)
    from minigen.run.sample import prime, steps_of

    begun, _, primed = prime(model, learned, primer, 3)
    rows, notes, states = [*primer.astype(np.uint8)], [*np.moveaxis(primed["voices.notes"], 1, 0)], []
    state = model.initial_state(learned, 1)
    for t in range(8):
        states.append(state)
        before = rows[t - 1][None] if t else np.zeros((1, 88))
        state = model.step(learned, state, before, {"voices.notes": notes[t], "keys": rows[t][None]})[2]
    states.append(begun)

    ways = [(mode, known) for mode in ("reset", "moving", "decay")]
    for mode, moments in [*ways, ("reset", None)]:
        tune, watched = m.Finetune(mode, rate, 2, window, pull=0.1), []
        trained = Trained(model, learned, {}, moments)
        steps = m.play_learning(trained, tune, 3, primer, 0.9, watch=lambda p, seen=watched: seen.append(p.flat) or {})
        music, played, reached = list(rows), list(notes), list(states)
        moments = first = moments or Moments.of(learned.flat)
        flat, given = learned.flat, steps_of(model, 3)
        for n, (keys, trace) in enumerate(islice(steps, 2 if mode == "reset" else 3)):
            if mode == "reset":
                flat, moments = learned.flat, first
            begin = len(music) - window
            roll = np.array(([np.zeros(88)] * past + music)[begin:], np.uint8)[:, None]
            batch = {"roll": roll, "start": np.array([begin]), "mask": np.ones((window, 1), bool)}
            as_played = {"voices.notes": np.moveaxis(played[begin:], 0, 1)}
            losses = [model.loss(learned.with_flat(flat), batch, as_played, reached[begin], grad=False)[0]]
            for k in range(2):
                fresh = model.draws(3, "finetune", 2 * n + k, [0], window)
                grads = model.loss(learned.with_flat(flat), batch, fresh, reached[begin])[1]
                flat, moments = adam(flat, grads.flat, moments, rate)
                flat = flat + 0.1 * (learned.flat - flat) if mode == "decay" else flat
            close(watched[n] if n < len(watched) else 0, flat)
            params = learned.with_flat(flat)
            loss, _, _, state = model.loss(params, batch, as_played, reached[begin], grad=False)
            close([trace[f"finetune.loss_{when}"] for when in ("before", "after")], [*losses, loss])
            close(trace["finetune.drift"], np.linalg.norm(flat - learned.flat) / np.linalg.norm(learned.flat))
            same_keys, expected, state = model.step(params, state, music[-1][None], next(given), 0.9)
            same(keys, same_keys[0])
            close(trace["voices.p"], expected["voices.p"])
            music.append(same_keys[0])
            played.append(expected["voices.notes"])
            reached.append(state)
    wild = m.play_learning(Trained(model, learned, {}, None), m.Finetune("moving", np.inf), 3, primer)
    refuses(lambda: next(wild), "NaN or infinite")
    model, params = small(Decoder)
    refuses(lambda: next(m.play_learning(Trained(model, params, {}, None), m.Finetune())), "plays what it is given", 2)
    # voices that play independent keys have no notes; from silence the first step has nothing to learn from
    model, params = small(Simple)
    steps = list(islice(m.play_learning(Trained(model, params, {}, None), m.Finetune("reset", rate, 1, 2), 3), 4))
    assert ["finetune.drift" in trace for _, trace in steps] == [False, True, True, True]
    most = rate * params.flat.size**0.5 / np.linalg.norm(params.flat)  # an update moves no weight by more
    assert all(0 < trace["finetune.drift"] < 1.001 * most for _, trace in steps[1:])


def judge_meta(m):
    # L_past = 2 a b, L_next = (a - 1)^2 / 2 + b, at a rate of 1: (a', b') = (a - 2 b, b - 2 a)
    w = np.array([1.5, 0.0])

    def outer(w):
        return (w[0] - 1) ** 2 / 2 + w[1], np.array([w[0] - 1, 1.0])

    loss, exact, last = m.through(w, lambda w, j: 2 * w[::-1], outer, 1.0, 1)
    _, first, _ = m.through(w, lambda w, j: 2 * w[::-1], outer, 1.0, 1, exact=False)
    close([loss, *last, *exact, *first], [0.125 - 3, 1.5, -3, 0.5 - 2, 0, 0.5, 1])
    curved = (lambda w, j: (j + 1) * w**3), outer, 0.1, 3  # each step has a Hessian of its own
    direction = np.array([0.3, -1.0])
    w = np.array([0.8, 0.4])
    measured = slope(lambda w: m.through(w, *curved)[0], w, direction)
    assert relative_error(measured, m.through(w, *curved)[1] @ direction) < BOUND

    model, params = small(PauseLoss, voices=2, voice_hidden=3)
    batch, past = toy_batch(model, 10, 3, density=0.1), model.config.past
    batch["mask"][...] = np.arange(10)[:, None] < [10, 9, 6]
    draws, asked = m.meta_draws(model, 5, "meta", 2, [7, 3, 9]), []
    u = draws(1, 4, 6)["voices.u"]
    same(u, uniforms(5, "meta 4", 2, [3], (6, 2)).transpose(2, 1, 0))

    def noted(b, j, T):
        asked.append((b, j, T))
        return draws(b, j, T)

    with patch.object(m, "AHEAD", 6):
        assert m.past_and_ahead(batch, 2) is None
        before, whole = m.past_and_ahead(batch, 1)
        same(before["roll"][:, 0], batch["roll"][: past + 3, 1])
        same(whole["roll"][:, 0], batch["roll"][: past + 9, 1])
        assert before["mask"].tolist() == [[True]] * 3 and whole["mask"][:, 0].tolist() == [False] * 3 + [True] * 6
        assert before["start"] == whole["start"] == batch["start"][1:2]
        loss, grads, trace, notes = m.meta_loss(model, params, batch, noted, m.Meta(2, 5.0))
        assert asked == [(0, 0, 4), (0, 1, 4), (0, 2, 10), (1, 0, 3), (1, 1, 3), (1, 2, 9)]
        losses, gradients = [], []
        for b in (0, 1):
            flat, (before, whole) = params.flat, m.past_and_ahead(batch, b)
            for j in range(2):
                flat = flat - 5.0 * model.loss(params.with_flat(flat), before, notes[b, j])[1].flat
            value, found, _, _ = model.loss(params.with_flat(flat), whole, notes[b, 2])
            losses.append(value)
            gradients.append(found.flat)
        close(loss, np.mean(losses))
        close(trace["loss.cells"] + trace["loss.decoder"], loss)
        rough = m.Meta(2, 5.0, exact=False)
        _, first, _, _ = m.meta_loss(model, params, batch, draws, rough, notes)
        close(first.flat, np.mean(gradients, axis=0))
        direction = random(params.flat.size, seed=11)
        measured = slope(
            lambda flat: m.meta_loss(model, params.with_flat(flat), batch, draws, rough, notes)[0],
            params.flat,
            direction,
        )
        assert relative_error(measured, grads.flat @ direction) < 1e-5
    trick, params = small(Final, voices=2, voice_hidden=3)
    refuses(lambda: m.meta_loss(trick, params, batch, draws, m.Meta(1, 0.1)), "--model pause-loss", 2)


# the kernels, run as plain Python


def made_up(source: str):
    """A module that is nowhere but here, and its text."""
    name = f"<made up {abs(hash(source))}>"
    linecache.cache[name] = (len(source), None, source.splitlines(keepends=True), name)
    module = types.ModuleType("made_up")
    exec(compile(source, name, "exec"), vars(module))
    return module


TEXT = '''"""Words."""
import math
BOUND = 0.5
class A:
    """Words."""
    half = 2
    def f(self, x):
        """Words."""
        return x / self.half  # why
def g(x, y=1):
    text = "words"
    return x + y * BOUND
'''


def judge_originals(m):
    whole = m.digest(made_up(TEXT))
    for old, new in (('"""Words."""', '"""Other words, and more."""'), ("  # why", ""), ("def g", "# why\n\ndef g")):
        assert m.digest(made_up(TEXT.replace(old, new))) == whole, (old, new)
    changes = [("BOUND = 0.5", "BOUND = 0.25"), ("half = 2", "half = 3"), ("x / self", "x * self"), ("x + y", "x - y")]
    changes += [('"words"', '"others"'), ("y=1", "y=2"), ("def g", "def h"), ("return x +", "    return x +")]
    for old, new in changes[:-1]:
        assert m.digest(made_up(TEXT.replace(old, new))) != whole, (old, new)
    block = "if a:\n    b = 1\n    c = 2\n"
    assert m.code_of(block) != m.code_of(block.replace("    c", "c"))
    assert m.code_of("a = 1  # why\n") == m.code_of("a =  1\n")
    kept = m.Originals("kernels/cpu/lstm.py", ("lstm", "linear"))
    tested = json.dumps({"lstm": m.digest(lstm), "linear": m.digest(linear)})
    with patch.object(m, "PATH", types.SimpleNamespace(read_text=lambda: tested)):
        assert kept.edited() == "" and kept.stand()
        wrapped = functools.wraps(lstm.lstm_layer)(lambda *args: None)
        for name, other in (("lstm_backward", linear.sigmoid), ("sigmoid", wrapped), ("lstm_layer", wrapped)):
            with patch.object(lstm, name, other):
                words = kept.edited()
                assert words.startswith("minigen/lstm.py was edited") and "kernels/cpu/lstm.py" in words
        assert kept.edited() == "" and kept.stand()
    with patch.object(linear, "sigmoid", linear.linear_forward), patch.object(m.warnings, "warn") as warn:
        assert not kept.stand() and warn.call_count == 1 and "minigen/linear.py was" in warn.call_args.args[0]
        assert not kept.stand() and warn.call_count == 1
    with patch.object(m.warnings, "warn"):
        code = lstm.lstm_layer.__code__
        lstm.lstm_layer.__code__ = (lambda *args: None).__code__
        noticed = not kept.stand()
        lstm.lstm_layer.__code__ = code
        assert noticed
        for place, name, other in ((lstm.lstm_forward, "reference", linear.sigmoid), (lstm, "added", 1)):
            with patch.object(place, name, other, create=True):
                assert not kept.stand()
        assert kept.stand() and kept.stand("minigen.lstm") and not kept.stand("minigen.linear")
    assert {module.__name__ for module in m.all_originals()} >= {"minigen.lstm", "minigen.ladder.rung", "minigen.adam"}


def judge_rows(m):
    rng = np.random.default_rng(3)
    a, a_h, b = (rng.normal(size=(4, H)) for _ in range(3))
    c0, h, c = rng.normal(size=H), np.empty(H), np.empty(H)
    gates = a.copy()
    m.cell(gates, a_h, b, c0, c, h)
    x, Wx, Wh, h0 = a.reshape(1, 1, -1), np.eye(4 * H), np.zeros((H, 4 * H)), np.zeros((1, H))
    (hs, cs), cache = lstm.lstm_forward.reference(x + a_h.ravel(), h0, c0[None], Wx, Wh, b.ravel())
    close(h, hs[1, 0])
    close(c, cs[1, 0])
    close(gates.ravel(), cache[3][0, 0])
    dh, dh_next, dc = rng.normal(size=(3, H))
    dx, _, dc0, *_ = lstm.lstm_backward.reference((dh + dh_next)[None, None], dc[None].copy(), cache)
    m.cell_back(dh, dh_next, dc, gates, c0, c, np.empty(H))
    close(gates.ravel(), dx[0, 0])
    close(dc, dc0[0])
    z, dp, p, dz = rng.normal(size=K) + 1000, rng.normal(size=K), np.empty(K), np.empty(K)
    m.softmax(z, p)
    close(p, naive.softmax(z - 1000))
    m.softmax_back(dp, p, dz)
    close(dz, linear.softmax_backward.reference(dp, p))
    for n, u in enumerate((0, *rng.random(40), 1 - 2**-53)):
        allowed = rng.random(K) < 0.6
        allowed[0] = n % 2
        allowed[rng.integers(K)] = True
        assert m.outcome(z, u, allowed) == naive.draw(p, u, allowed)
    for rows in (3, 4, 10):
        W, column, out = rng.normal(size=(rows, 7)), rng.normal(size=7), np.empty(rows)
        for upwards in (0, 1):
            m.times_column(W, column, out, upwards)
            close(out, W @ column)
    copied = m.aligned(W)
    same(copied, W)
    assert copied.ctypes.data % 64 == 0 and not np.shares_memory(copied, W)
    sums = column.copy()
    m.add(column, sums)
    same(sums, 2 * column)
    m.copy(column, sums)
    same(sums, column)


def judge_activations(m):
    x = np.linspace(-12, 12, 801, dtype=np.float32)
    found = np.array([m._tanh32(value) for value in x])
    assert found.dtype == np.float32
    close(found, np.tanh(x.astype(float)), rtol=4e-7, atol=0)
    assert np.isnan(m._tanh32(np.float32(NAN)))
    close([m.sigmoid(value) for value in x[::9]], [naive.sigmoid(float(value)) for value in x[::9]], atol=1e-7)


def judge_cpu_lstm(m):
    x, h0, c0, Wx, Wh, b = arrays_of(cases.lstm_case())
    for n in (B, 1):  # a single row goes ways of its own
        given = x[:, :n], h0[:n], c0[:n], Wx, Wh, b
        dh, dc = random(T, n, H), random(n, H)
        for rows in (4, 1024):  # chunks of some steps, and one chunk
            with patch.object(m, "ROWS", rows):
                ours, our_cache = m.lstm_forward(*given)
                theirs, cache = lstm.lstm_forward.reference(*given)
                all_close(ours, theirs)
                for last, need_dx in ((dc, True), (None, False)):
                    found = m.lstm_backward(dh, last, our_cache, need_dx)
                    expected = lstm.lstm_backward.reference(dh, last, cache, need_dx)
                    assert need_dx or found[0] is None
                    all_close(found[not need_dx :], expected[not need_dx :])


def judge_cpu_voices(m):
    shapes = voices.voices_shapes(V, K, F, H)
    params, rng, T = weighted(shapes), np.random.default_rng(3), 7
    features, state = random(T, 1, F), {name: array[:1] for name, array in state_of(shapes).items()}
    u, dp, truth = rng.random((V, T, 1)), random(V, T, 1, K + 1), struck(T, 1, K)
    notes = rng.integers(0, K + 1, (V, T, 1))
    with patch.object(m, "CHUNK", 3):
        for given in ({"voices.u": u}, {"voices.u": u, "truth": truth}, {"voices.notes": notes}):
            ours, our_cache = m.voices_forward(params, features, V, state, given, 0.8)
            theirs, cache = voices.voices_forward.reference(params, features, V, state, given, 0.8)
            same(ours[1], theirs[1])
            close(ours[0], theirs[0])
            all_close(ours[2], theirs[2])
            (dfeatures, found), (expected, wanted) = m.voices_backward(dp, our_cache), voices.voices_backward(dp, cache)
            close(dfeatures, expected)
            all_close({k: list(v) for k, v in found.items()}, {k: list(v) for k, v in wanted.items()})


def judge_pointwise(m):
    rng = np.random.default_rng(4)
    z, dp, u = random(T, B, K + 1) * 3, random(T, B, K + 1), rng.random((T, B))
    p, cache = m.softmax_forward(z)
    close(p, linear.softmax_forward.reference(z)[0])
    close(m.softmax_backward(dp, cache), linear.softmax_backward.reference(dp, p))
    for allowed in (None, voices.allow_truth(struck(T, B, K))):
        same(m.draw(z, u, allowed), voices.draw.reference(z, u, allowed))
    z, keys, mask = random(T, B, 88) * 10, struck(T, B, 88), struck(T, B) == 0
    given = z, keys, classes_of(keys), mask
    ours, our_cache = m.masked_loss_forward(*given)
    theirs, cache = decoder.masked_loss_forward.reference(*given)
    all_close(ours, theirs)
    close(m.masked_loss_backward(our_cache), decoder.masked_loss_backward.reference(cache))


def judge_cpu_adam(m):
    flat, moments, ours = random(12), Moments.of(random(12)), Moments.of(random(12))
    theirs = mine = flat
    for n in range(4):
        grad = 2 * random(12, seed=n) * np.repeat([1, 1e-8], 6)
        theirs, moments = adam.reference(theirs, grad, moments, 0.01)
        before = mine.copy(), ours.m.copy()
        new, after = m.adam(mine, grad, ours, 0.01)
        same((mine, ours.m), before)
        mine, ours = new, after
        all_close((mine, ours.m, ours.v), (theirs, moments.m, moments.v))
        assert ours.step == n + 1
    kept, after = m.adam(mine, grad * NAN, ours, 0.01, False)
    same((kept, after.m, after.v), (mine, ours.m, ours.v))


def judge_whole_step(m):
    """The copy of the whole step against `step`, past the end of its arrays; steered, and with keys beside it."""
    rng = np.random.default_rng(0)
    for rung in (Final, PauseLoss):
        model, params = small(rung, voices=3, voice_hidden=4, hidden=6)
        params["keys.b"][...] -= 3  # so that classes now and then get no key
        state = random_state(model, params, 1) | {"time": np.array([77])}
        state["past"] = struck(4, 1, 88).astype(np.uint8)
        keys = struck(1, 88).astype(np.uint8)
        with patch.object(m, "BLOCK", 4):
            playing = m.Player(model, params, state, 0.8)
            for t in range(10):
                given = {part: rng.random(shape) for part, shape in model.draw_shapes(1).items()}
                if t > 2:
                    given["voices.allowed"] = rng.random((3, 1, 13)) < 0.4
                    given["voices.allowed"][:, :, 12] = t % 4 > 0
                    given["voices.allowed"][0, 0] |= np.arange(13) == t
                    given["voices.allowed"][1:, 0, t] = True
                if t > 5:
                    given["inject"] = struck(1, 88)
                ours, trace, finite = playing.step(keys, given)
                assert finite
                theirs, expected, state = model.step(params, state, keys, given, 0.8)
                same(ours, theirs)
                all_close({name: trace[name] for name in expected}, expected)
                keys = theirs
            all_close(playing.state, state)
            params["head2.b"][3] = NAN
            assert not m.Player(model, params, state, 0.8).step(keys, given)[2]


def judge_whole_loss(m):
    """The copy of the whole loss against `loss`, the kernels that it calls replaced by the array code."""

    def two_backward(*both):
        found = []
        for dh, cache, need_dx, dW, db in both:
            dx, _, _, dWx, dWh, db[...] = lstm.lstm_backward.reference(dh, None, cache, need_dx)
            dW[...] = np.concatenate([dWx, dWh])
            found.append(dx)
        return found

    def voices_backward_into(dp, cache, dweights):
        dfeatures, grads = voices.voices_backward.reference(dp, cache)
        for v, row in enumerate(dweights):
            layers = *grads[f"voice{v + 1}"], *grads[f"head{v + 1}"]
            row[...] = np.concatenate([array.ravel() for array in layers])
        return dfeatures

    def plain(cell):  # NumPy has no minus of a bool, Python has
        return lambda P, on, *bounds: cell(float(P), on, *map(float, bounds))

    layers = {name: getattr(linear, name).reference for name in ("softmax_forward", "softmax_backward")}
    layers |= {name: getattr(decoder, name).reference for name in ("masked_loss_forward", "masked_loss_backward")}
    layers |= {"two_forward": lambda *both: [lstm.lstm_forward.reference(*one) for one in both]}
    layers |= {"two_backward": two_backward, "voices_backward_into": voices_backward_into}
    layers |= {"voices_forward": voices.voices_forward.reference, "_cross_entropy": plain(m._cross_entropy)}
    T = 6
    with patch.dict(vars(m), layers):
        for rung, sure in ((Final, False), (PauseLoss, False), (PauseLoss, True)):
            model, params = small(rung, voices=3, voice_hidden=4, hidden=6)
            if sure:  # of a key, so that its cell is clipped; and all three of the pause
                params["head2.b"][4] += 40
                for v in (1, 3):
                    params[f"head{v}.b"][12] += 60
            batch, state = toy_batch(model, T, 1, density=0.1), random_state(model, params, 1)
            given = model.draws(0, "test", 0, [0], T)
            for _ in range(2):
                expected, grads, trace, new_state = model.loss(params, batch, given, state)
                loss, found, reached = m.loss(model, params, batch, given, state)
                close(loss, expected)
                close(found.flat, grads.flat)
                all_close(reached, new_state)
                again, none, _ = m.loss(model, params, batch, given, state, grad=False)
                assert again == loss and none is None
                given = {"voices.notes": trace["voices.notes"]}


def judge_banning(m):
    slopes(cases.banning_case(m), cases.marginal_case(m))
    rng = np.random.default_rng(0)
    shapes, given = m.banning_shapes(K, F, H), {"voices.notes": cases.decisions()}
    params = params_of(shapes, cases.weights_of(shapes).values())
    features, state = rng.normal(size=(T, B, F)), cases.banning_state()
    (p, notes, new_state), _ = m.banning_forward(params, features, V, state, given, temperature=2.0)
    decided = np.zeros((T, B, 2 * K))
    for v in range(V):
        (h, h_state), _ = lstm.lstm_layer(
            Params({k.replace("voice.", f"voice{v + 1}."): s for k, s in shapes.items()}, params.flat),
            f"voice{v + 1}", np.concatenate([features, decided], -1), state,
        )  # fmt: skip
        z = (h @ params["decide.W"] + params["decide.b"]) / 2
        for t, b, n in np.ndindex(*decided.shape):
            if decided[t, b, n % K] or decided[t, b, n % K + K]:
                z[t, b, n] = -np.inf
        close(p[v], linear.softmax_forward(z)[0])
        close(new_state[f"voice{v + 1}.h"], h_state[f"voice{v + 1}.h"])
        np.put_along_axis(decided, notes[v][..., None], 1, axis=-1)

    truth = (rng.random((T, B, K)) < np.array([0.12, 0.2, 0.4])[:, None]).astype(float)  # thin, and too thick
    u = rng.random((V, T, B))
    free = m.banning_forward(params, features, V, state, {"voices.u": u})[0][1]
    told = m.banning_forward(params, features, V, state, {"voices.u": u, "truth": truth})[0][1]
    same(told[0] % K, free[0] % K)  # no posterior: the first voice draws the same key
    sounds = np.take_along_axis(np.broadcast_to(truth, (V, T, B, K)), (told % K)[..., None], -1)[..., 0]
    same(told < K, sounds > 0)
    forced = m.banning_forward(params, features, V, state, {"voices.u": u, "truth": truth, "forced": True})
    (p, told, _), _ = forced
    for t, b in np.ndindex(T, B):
        played = {n for n in told[:, t, b] if n < K}
        few = truth[t, b].sum() <= V
        assert played == set(np.flatnonzero(truth[t, b])) if few else len(played) == V
    one, played = np.array([1.0, 0, 0]), np.array([1.0, 0, 0, 0, 0, 0])
    same(m.true_decisions(one, played, 0), np.array([False, False, False, False, True, True]))
    early = np.array([0, 5, 6])[:, None]  # of four keys the true one first, then two bans
    close(m.decision_weight(np.full((3, 1, 8), 1 / 8), early, np.array([[1.0, 0, 0, 0]])), [4 / 8 * 3 / 8 * 2 / 8])
    weight = m.decision_weight(p, told, truth)
    for t, b in np.ndindex(T, B):
        expected, left, seen = 1.0, set(np.flatnonzero(truth[t, b])), set()
        for v in range(V):
            may = [k for k in left if k not in seen]
            if len(may) <= V - 1 - v:
                may += [K + k for k in range(K) if not truth[t, b, k] and k not in seen]
            expected *= sum(p[v, t, b, n] for n in may)
            seen.add(told[v, t, b] % K)
        close(weight[t, b], expected)
    allowed = np.zeros((V, T, B, K + 1), bool)
    allowed[..., :V] = True
    steered = m.banning_forward(params, features, V, state, {"voices.u": u, "voices.allowed": allowed})[0][1]
    assert (steered < V).all() and (np.sort(steered, axis=0) == np.arange(V)[:, None, None]).all()
    P, _ = m.marginal_forward(p)
    for k in range(K):
        on, ban = (1 - np.prod(1 - p[..., n], axis=0) for n in (k, K + k))
        close(P[..., k], on * (1 - ban))


def judge_ordered(m):
    slopes(cases.decide_case(m), cases.ordered_case(m))
    rng, V = np.random.default_rng(0), 4
    shapes = m.ordered_shapes(K, F, H)
    params = params_of(shapes, cases.weights_of(shapes).values())
    features, mask = rng.normal(size=(T, B, F)), rng.random((T, B)) < 0.7
    x = (rng.random((T, B, K)) < np.array([0.0, 0.2, 0.4])[:, None]).astype(float)  # silence, thin, thick
    (loss, nats, p, told), _ = m.ordered_forward(params, features, x, mask)
    every, notes = m.paths_of(p, told, V, T, B)
    assert len(every) == len(notes) == max(V, int(x.sum(axis=2).max()) + 1)
    P = m.chances(every, notes)
    for t, b in np.ndindex(T, B):
        outcomes = [*np.flatnonzero(x[t, b])[::-1], K]
        rows = naive.ordered(params, features[t, b], outcomes)
        close(nats[t, b], -sum(np.log(row[outcome]) for row, outcome in zip(rows, outcomes, strict=True)))
        close(every[: len(rows), t, b], rows)
        same(notes[:, t, b], outcomes + [K] * (len(notes) - len(rows)))
        same(every[len(rows) :, t, b], np.tile(np.arange(K + 1) == K, (len(every) - len(rows), 1)))
    close(loss, nats[mask].mean())
    close(-np.log(np.where(x > 0, P, 1 - P)).sum(axis=2), nats)
    again = m.ordered_forward(params, features, x, mask, places_of(x.reshape(-1, K)))[0]
    close(again[0], loss)
    # the chances of all chords of three keys add up to 1, however sure the voices are
    few = m.ordered_shapes(3, F, H)
    sure = Params(few, 4 * params.flat[: Params(few).flat.size])
    chords = np.array(list(np.ndindex(2, 2, 2)), float)[None]
    chances = m.ordered_forward(sure, np.repeat(features[:1, :1], 8, axis=1), chords, np.ones((1, 8), bool))[0][1]
    close(np.exp(-chances).sum(), 1)
    wild = params.with_flat(1e3 * params.flat)
    assert np.isfinite(m.ordered_forward(wild, features, x, mask)[0][1]).all()  # where p itself is 0

    u, allowed = rng.random((V, T, B)), rng.random((V, T, B, K + 1)) < np.array([0.0, 0.5, 0.9])[:, None]
    allowed[..., K] = True
    inject, ceiling = np.zeros((T, B, K)), rng.integers(0, K + 1, (T, B))
    inject[::2, :, 4] = 1
    for given in ({}, {"voices.allowed": allowed}, {"ceiling": ceiling}, {"inject": inject, "voices.allowed": allowed}):
        p, notes = m.ordered_play(params, features, V, {"voices.u": u} | given, 0.7)
        again = m.ordered_play(params, features, V, {"voices.notes": notes, "voices.u": 1 - u}, 0.7)
        same(again[0], p)
        same(again[1], notes)
        for t, b in np.ndindex(T, B):
            assert notes[-1, t, b] == K  # the last voice can only stop
            stops = list(notes[:, t, b]).index(K)
            rows = naive.ordered(params, features[t, b], notes[: stops + 1, t, b], 0.7)
            for v in range(V):
                own = rows[v] if v <= stops and v < V - 1 else np.arange(K + 1.0) == K
                close(p[v, t, b], own)
                if v == 0 and "inject" in given and inject[t, b].any():
                    assert notes[v, t, b] == 4
                    continue
                drawn = np.array(own, float)
                if "ceiling" in given:
                    drawn[:K] *= np.arange(K) < ceiling[t, b]
                if "voices.allowed" in given:
                    kept = drawn[:K] * allowed[v, t, b, :K]
                    drawn[:K] = kept * (drawn[:K].sum() / kept.sum()) if kept.sum() else 0
                assert notes[v, t, b] == naive.draw(drawn, u[v, t, b], [True] * (K + 1))


def judge_sustain(m):
    shapes = m.sustain_shapes(BITS, H)
    slopes(cases.sustain_case(m))
    params = params_of(shapes, cases.weights_of(shapes).values())
    seen = H + 2 * (2 * m.NEAR + 1) + m.NEAR
    assert shapes["sustain.Wx"] == (176 + BITS, 4 * H) and shapes["near.W"] == (seen, m.HIDDEN)
    rng = np.random.default_rng(0)
    struck_now, mask = (rng.random((T, B, 88)) < 0.1).astype(float), rng.random((T, B)) < 0.7
    sounding = np.concatenate([np.zeros((1, B, 88)), np.maximum(struck_now, rng.random((T, B, 88)) < 0.3)])
    bits, state = cases.struck(T, B, BITS), state_of(shapes)
    (loss, new_state), _ = m.sustain_forward(params, struck_now, sounding, bits, mask, state)
    x = np.concatenate([struck_now, sounding[:-1], bits], axis=2)
    h, c = naive.lstm(x, state["sustain.h"], state["sustain.c"], *params.layer("sustain"))
    all_close(new_state, {"sustain.h": h[-1], "sustain.c": c})
    nats = 0.0
    for t, b in np.ndindex(T, B):
        for k in np.flatnonzero((sounding[t, b] > 0) & (struck_now[t, b] == 0)):
            chance = naive.goes_on(params, h[t, b], struck_now[t, b], sounding[t, b], sounding[t + 1, b], k, m.NEAR)
            nats -= mask[t, b] * np.log(chance if sounding[t + 1, b, k] else 1 - chance)
    close(loss, nats / (mask.sum() * 88))
    places = m.questions(struck_now, sounding, mask)
    close(m.sustain_forward(params, struck_now, sounding, bits, mask, state, places)[0][0], loss)
    assert len(places.step) == ((sounding[:-1] > 0) & (struck_now == 0) & mask[..., None]).sum()
    silence = np.zeros((T + 1, B, 88))
    assert m.sustain_forward(params, silence[1:], silence, bits, mask, state)[0][0] == 0
    x = np.concatenate([struck_now[:1], sounding[1:2], bits[:1]], axis=2)
    h, _ = naive.lstm(x, state["sustain.h"], state["sustain.c"], *params.layer("sustain"))
    for u in rng.random((8, 1, B, 88)):
        on, _ = m.sustain_step(params, struck_now[:1], sounding[1:2], bits[:1], state, u)
        expected = struck_now[0].copy()
        for b in range(B):
            for k in np.flatnonzero((sounding[1, b] > 0) & (struck_now[0, b] == 0))[::-1]:
                chance = naive.goes_on(params, h[0, b], struck_now[0, b], sounding[1, b], expected[b], k, m.NEAR)
                expected[b, k] = u[0, b, k] < chance
        same(on[0], expected)
    all_close(m.empty_state(params, 2), {"sustain.h": np.zeros((2, H)), "sustain.c": np.zeros((2, H))})


def judge_places(m):
    x = np.array([[0, 0, 0, 0], [0, 1, 0, 1], [1, 0, 0, 0]])
    places = m.places_of(x)
    same(places.step, [0, 1, 2, 1, 2, 1])
    same(places.voice, [0, 0, 0, 1, 1, 2])
    same(places.at, [[0, 1, 2], [6, 3, 4], [6, 5, 6]])
    keys = m.places_of(x, stop=False)
    same(keys.step, [1, 2, 1])
    same(keys.at, [[3, 0, 1], [3, 2, 3]])
    same(m.from_top(x), [[0, 0, 0, 0], [2, 2, 1, 1], [1, 0, 0, 0]])
    same(m.by_step(np.array([[1.0], [10], [100]]), keys), [[0], [101], [10]])
    none = m.places_of(0 * x, stop=False)
    same(m.by_step(np.zeros((0, 2)), none), np.zeros((3, 2)))
    assert set(m.prefixed("questions", keys)) == {"questions.step", "questions.voice", "questions.at"}
    assert m.places_in({"decisions.at": 0}, "questions") is None
    same(m.places_in(m.prefixed("questions", keys), "questions").step, keys.step)


JUDGES = {
    "linear": judge_linear,
    "lstm": judge_lstm,
    "ops": judge_ops,
    "adam": judge_adam,
    "params": judge_params,
    "draws": judge_draws,
    "reader": judge_reader,
    "delayed": judge_delayed,
    "voices": judge_voices,
    "union": judge_union,
    "decoder": judge_decoder,
    "heads": judge_heads,
    "banning": judge_banning,
    "ordered": judge_ordered,
    "sustain": judge_sustain,
    "places": judge_places,
    "ladder/rung": judge_rung,
    "ladder/final": judge_final,
    "ladder/feedback": judge_feedback,
    "ladder/capsules": judge_capsules,
    **MUSIC_JUDGES,
    "run/sample": judge_sample,
    "run/finetune": judge_finetune,
    "run/meta": judge_meta,
    "kernels/originals": judge_originals,
    "kernels/cpu/activations": judge_activations,
    "kernels/cpu/rows": judge_rows,
    "kernels/cpu/lstm": judge_cpu_lstm,
    "kernels/cpu/voices": judge_cpu_voices,
    "kernels/cpu/pointwise": judge_pointwise,
    "kernels/cpu/adam": judge_cpu_adam,
    "kernels/whole/step": judge_whole_step,
    "kernels/whole/loss": judge_whole_loss,
}
