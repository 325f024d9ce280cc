"""Every fast kernel is a translation: held to the reference code in float64 and float32, forward and backward."""

import platform
import subprocess
import sys

import numba
import numpy as np
import pytest
from helpers import close, draws_of, notes_of

from minigen import adam, decoder, kernels, linear, lstm, voices
from minigen.gradcheck import toy_batch
from minigen.kernels import standing, use_kernels
from minigen.kernels.cpu import lstm as fast_lstm
from minigen.kernels.cpu import rows, use_threads
from minigen.ladder import LADDER
from minigen.params import Params

pytestmark = pytest.mark.usefixtures("compiled")
CORES = min(2, numba.config.NUMBA_NUM_THREADS)
BOUND = {np.float32: 1e-5, np.float64: 1e-12}
# float64 takes a minute to compile; judges.py holds the same code, as plain Python, to float64
dtypes = pytest.mark.parametrize("dtype", [np.float32, pytest.param(np.float64, marks=pytest.mark.slow)])
KERNELS = {name: kernel for name, (kernel, _) in standing("cpu").items()}
MODULES = (linear, lstm, voices, decoder, adam)
REFERENCE = {name: getattr(module, name).reference for name in KERNELS for module in MODULES if hasattr(module, name)}
SIZES = [(1, 1, 1), (1, 5, 37), (9, 1, 37), (9, 3, 1), (40, 5, 8), (30, 7, 37)]  # T, B, H


def voices_size(*sizes) -> int:
    return sum(int(np.prod(shape)) for shape in voices.voices_shapes(*sizes).values())


def strided(array):
    """The same numbers, not side by side in memory."""
    twice = np.zeros((*array.shape[:-1], 2 * array.shape[-1]), array.dtype)
    twice[..., ::2] = array
    return twice[..., ::2]


def hold(names, arrays, dtype, backward):
    """Forward, then backward twice: kernels against reference, inputs strided and left as they were."""
    forward_name, backward_name = names
    arrays = [a.astype(dtype) if a.dtype == np.float64 else a for a in arrays]
    arrays = [strided(a) if a.dtype == dtype and a.ndim > 1 else a for a in arrays]  # biases never are
    before = [np.copy(a) for a in arrays]
    ours, our_cache = KERNELS[forward_name](*arrays)
    theirs, their_cache = REFERENCE[forward_name](*arrays)
    close(ours, theirs, BOUND[dtype])
    expected = backward(REFERENCE[backward_name], their_cache)
    for _ in range(2):
        close(backward(KERNELS[backward_name], our_cache), expected, BOUND[dtype])
    for a, b in zip(arrays, before, strict=True):
        assert np.array_equal(a, b)


def test_every_kernel_has_a_reference():
    assert REFERENCE.keys() == KERNELS.keys()


@dtypes
@pytest.mark.parametrize("threads", [1, CORES])
@pytest.mark.parametrize("T, B, H", SIZES)
def test_lstm(dtype, threads, T, B, H, monkeypatch):
    rng, I = np.random.default_rng(T + B + H), 6
    use_threads(threads)
    monkeypatch.setattr("minigen.kernels.cpu.threads.SMALL", 0)  # as if the work were large
    assert len(fast_lstm._slices(T, B, H)) - 1 == (1 if B == 1 else min(B, threads))
    shapes = [(T, B, I), (B, H), (B, H), (I, 4 * H), (H, 4 * H), (4 * H,)]
    arrays = [rng.normal(size=shape) * 0.5 for shape in shapes]
    dh, dc = strided(rng.normal(size=(T, B, H)).astype(dtype)), rng.normal(size=(B, H)).astype(dtype)
    names = ("lstm_forward", "lstm_backward")
    hold(names, arrays, dtype, lambda f, cache: f(dh, dc, cache))
    hold(names, arrays, dtype, lambda f, cache: f(dh, None, cache, False))


@dtypes
@pytest.mark.parametrize("H", [1, 3, 4, 37, 100])
def test_a_product_with_a_column(H, dtype):
    """The same to the last bit whichever way the rows are read; NaN and infinity stay in their row."""
    rng = np.random.default_rng(H)
    W, a = rng.normal(size=(H, 4 * H)).astype(dtype), rng.normal(size=4 * H).astype(dtype)
    down, up = np.empty(H, dtype), np.empty(H, dtype)
    for value in (0, np.nan, np.inf):
        W[-1, 1] = value
        rows.times_column(W, a, down, 0)
        rows.times_column(W, a, up, 1)
        assert np.array_equal(down, up, equal_nan=True)
        np.testing.assert_allclose(down, W @ a, rtol=0, atol=10 * BOUND[dtype])


@dtypes
@pytest.mark.parametrize("T, B", [(1, 1), (7, 3), (40, 5)])
class TestPointwise:
    def test_softmax(self, dtype, T, B):
        rng = np.random.default_rng(1)
        dp = rng.normal(size=(T, B, 13)).astype(dtype)
        z = rng.normal(size=(T, B, 13)) * 5
        hold(("softmax_forward", "softmax_backward"), [z], dtype, lambda f, cache: f(dp, cache))

    def test_octave_loss(self, dtype, T, B):
        rng = np.random.default_rng(4)
        z, mask = rng.normal(size=(T, B, 88)) * 10, rng.random((T, B)) < 0.8
        keys = (rng.random((T, B, 88)) < 0.05).astype(float)
        arrays = [z, keys, decoder.pitch_classes(keys), mask]
        hold(("masked_loss_forward", "masked_loss_backward"), arrays, dtype, lambda f, cache: f(cache))

    def test_adam(self, dtype, T, B):
        rng = np.random.default_rng(5)
        flat, moments = rng.normal(size=T * B).astype(dtype), [None, None]
        for n in range(5):
            grad = (rng.normal(size=T * B) * 2).astype(dtype)
            for k, function in enumerate((KERNELS["adam"], REFERENCE["adam"])):
                given = moments[k] or adam.Moments.of(flat)
                before = given.m.copy(), flat.copy()
                moments[k] = function(flat, grad, given, 0.01)
                assert (given.m == before[0]).all() and (flat == before[1]).all()
            close(moments[0][0], moments[1][0], BOUND[dtype])
            assert moments[0][1].step == n + 1
            moments = [state for _, state in moments]

    def test_draw(self, dtype, T, B):
        """Given the same uniforms: no draw differs in float64; in float32 a uniform within rounding of a step may."""
        rng = np.random.default_rng(6)
        z = strided((rng.normal(size=(T, B, 13)) * 3).astype(dtype))
        u = strided(rng.random((T, B)).astype(dtype))
        allowed = voices.allow_truth((rng.random((T, B, 12)) < 0.3).astype(float))
        for some in (None, allowed):
            ours, theirs = KERNELS["draw"](z, u, some), REFERENCE["draw"](z, u, some)
            assert (ours == theirs).all()
        some = np.ones((T, B, 13), bool)
        some[..., 12] = False  # no pause, however likely it is
        sure = np.where(np.arange(13) == 12, 120, z).astype(dtype)
        assert (KERNELS["draw"](sure, u, some) == REFERENCE["draw"](sure, u, some)).all()
        last = np.full((T, B), 1 - 1e-9)  # rounds to 1 in float32
        assert (KERNELS["draw"](z, last) <= 12).all()


@dtypes
@pytest.mark.parametrize("threads", [1, CORES])
@pytest.mark.parametrize("T, V, F", [(1, 1, 1), (33, 3, 7), (100, 5, 8)])
def test_voices(dtype, threads, T, V, F, monkeypatch):
    """On one song, a wave of chunks of 32 steps: drawn, restricted or not, and given; at another temperature."""
    rng, K, H = np.random.default_rng(T), 12, 6
    use_threads(threads)
    monkeypatch.setattr("minigen.kernels.cpu.threads.SMALL", 0)
    params = Params(voices.voices_shapes(V, K, F, H), rng.normal(size=voices_size(V, K, F, H)).astype(dtype))
    features, dp = (rng.normal(size=shape).astype(dtype) for shape in ((T, 1, F), (V, T, 1, K + 1)))
    state = {f"voice{v + 1}.{part}": rng.normal(size=(1, H)).astype(dtype) for v in range(V) for part in "hc"}
    truth = (rng.random((T, 1, K)) < 0.3).astype(dtype)
    u, notes = rng.random((V, T, 1), np.float32), rng.integers(0, K + 1, (V, T, 1))
    cases = [({"voices.u": u, "truth": truth}, 1.0), ({"voices.u": u}, 0.7), ({"voices.notes": notes}, 1.0)]
    cases += [({"voices.u": u, "voices.allowed": rng.random((V, T, 1, K + 1)) < 0.9}, 1.0)]
    for given, temperature in [
        *cases,
        ({"voices.u": u, "truth": truth * (truth.cumsum(-1) <= V), "forced": True}, 1.0),
    ]:
        arguments = params, strided(features), V, state, given, temperature
        ours, our_cache = KERNELS["voices_forward"](*arguments)
        theirs, their_cache = REFERENCE["voices_forward"](*arguments)
        assert (ours[1] == theirs[1]).all()
        close((ours[0], ours[2]), (theirs[0], theirs[2]), BOUND[dtype])
        expected, by_layer = REFERENCE["voices_backward"](dp, their_cache)
        for _ in range(2):
            dfeatures, grads = KERNELS["voices_backward"](strided(dp), our_cache)
            close((dfeatures, grads), (expected, by_layer), BOUND[dtype])
    with pytest.raises(AssertionError):  # the weights are of another width
        KERNELS["voices_forward"](params, features[..., 1:], V, state, {"voices.u": u})


def test_share_of_draws_that_differ():
    """200,000 draws in float32 with the same uniforms: under 1 in 10,000 is another outcome."""
    rng = np.random.default_rng(7)
    z, u = rng.normal(size=(200_000, 13)).astype(np.float32) * 3, rng.random(200_000, np.float32)
    differ = (KERNELS["draw"](z, u) != REFERENCE["draw"](z, u)).mean()
    assert differ < 1e-4


def test_any_order_in_memory():
    """Arrays whose axes were swapped, and NaN stays NaN."""
    rng = np.random.default_rng(11)
    z = rng.normal(size=(5, 9, 13)).swapaxes(0, 1)
    z = z.astype(np.float32)
    close(KERNELS["softmax_forward"](z)[0], REFERENCE["softmax_forward"](z)[0], BOUND[np.float32])
    nan = np.full((2, 1, 4), np.nan, np.float32)
    (h, _), _ = KERNELS["lstm_forward"](nan, nan[0], nan[0], *(np.ones(s, np.float32) for s in ((4, 16), (4, 16), 16)))
    assert np.isnan(h).all()


def test_freed_memory_is_kept():
    """Where the C library is glibc."""
    assert kernels.keep_memory() == (platform.libc_ver()[0] == "glibc")


@pytest.mark.parametrize("name", LADDER)
def test_a_model_whole(name):
    """Loss, gradients, trace and state given the notes; and the notes drawn are the same."""
    model, T, B = LADDER[name](), 50, 3
    use_kernels("fast", CORES)
    params, batch = model.init(1), toy_batch(model, T, B)
    draws = draws_of(model, T, B)
    loss, grads, trace, state = model.loss(params, batch, draws)
    use_kernels("reference", 1)
    again, expected, plain, plain_state = model.loss(params, batch, notes_of(model, trace))
    assert loss == pytest.approx(again, rel=1e-5)
    close(grads.views, expected.views, 1e-5)
    close(state, plain_state, 1e-5)
    for key in ("reader.w", "voices.p", "cells.P", "decoder.p"):
        close(trace.get(key), plain.get(key), 1e-5)
    if model.conditional:
        drawn = model.loss(params, batch, draws, grad=False)[2]["voices.notes"]
        assert (drawn == trace["voices.notes"]).mean() > 0.999


def test_the_same_threads_give_the_same_bits(monkeypatch):
    """And any other number of threads gives the same to 1e-6 of the largest gradient."""
    use_kernels("fast", CORES)
    model, T, B = LADDER["final"](), 30, 5
    params, batch = model.init(1), toy_batch(model, T, B)
    monkeypatch.setattr("minigen.kernels.cpu.threads.SMALL", 0)
    notes = {"voices.notes": np.random.default_rng(9).integers(0, 13, (5, T, B))}
    found = {}
    for threads in (1, CORES, CORES):
        use_threads(threads)
        grads = model.loss(params, batch, notes)[1].flat
        if threads in found:
            assert (grads == found[threads]).all()
        found[threads] = grads
    assert np.abs(found[1] - found[CORES]).max() <= 1e-6 * np.abs(found[1]).max()


def test_importing_minigen_is_light():
    """No numba, scipy or matplotlib until something is done that needs them."""
    program = "import sys, minigen; print([m for m in ('numba', 'scipy', 'matplotlib', 'mido') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.strip() == "[]"
