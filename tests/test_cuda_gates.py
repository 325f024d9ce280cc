"""The gates that every CUDA kernel passes without a GPU: NVIDIA's compiler for registers and spills, and g++ behind a
shim for what it computes, under several orders of the warps. A planted fault shows that each gate can be red."""

import re
import shutil
import subprocess
import sys
from importlib.resources import files
from types import SimpleNamespace

import helpers
import numpy as np
import nvrtc
import pytest
import shim
from helpers import draws_of

from minigen import adam, backend, decoder, linear, lstm, reader, union, voices
from minigen.gradcheck import toy_batch
from minigen.kernels import standing
from minigen.kernels.cuda import launch
from minigen.kernels.cuda import lstm as lstm_cuda
from minigen.ladder import LADDER
from minigen.params import Params

BOUND = 1e-5  # of the largest number
KERNELS = {name: kernel for name, (kernel, _) in standing("cuda").items()}
MODULES = (linear, lstm, reader, voices, union, decoder, adam)
REFERENCE = {name: getattr(module, name).reference for name in KERNELS for module in MODULES if hasattr(module, name)}
FILES = sorted(files("minigen.kernels.cuda").iterdir(), key=lambda file: file.name)
SOURCES = {file.name: file.read_text() for file in FILES if file.name.endswith(".cu")}
# the macros that a file is compiled with here, and the most registers that a thread of it may have
COMPILED = [
    *(("lstm.cu", {"HIDDEN": H}, 168 if H > 40 else 128) for H in (20, 40, 96, 97, 100, 108)),
    ("reader.cu", {"LAGS": "4,8,16,32,48,64,96,128"}, 48),
    ("lstm_step.cu", {}, 32),
    ("voices.cu", {"OUTCOMES": 13}, 64),
    ("voices.cu", {"OUTCOMES": 89}, 168),
    ("pointwise.cu", {}, 32),
]
needs_nvrtc = pytest.mark.skipif(nvrtc.library() is None, reason='needs NVRTC: pip install -e ".[test]"')
needs_gcc = pytest.mark.skipif(shutil.which("g++") is None, reason="needs g++")


def hold_registers(code: str, architecture: str, macros: dict, most: int):
    """Every kernel of the source is compiled, within so many registers, and nothing is spilled."""
    use = nvrtc.compiled(code, architecture, macros)
    assert len(use) == code.count("__global__")
    for name, (registers, spilled) in use.items():
        assert spilled == 0, f"{name} spills {spilled} bytes"
        assert registers <= most, f"{name} takes {registers} registers"


@needs_nvrtc
class TestRegisters:
    @pytest.mark.parametrize("file, macros, most", COMPILED)
    def test_every_kernel(self, file, macros, most):
        hold_registers(SOURCES[file], "sm_90", macros, most)

    @pytest.mark.slow
    def test_the_one_near_its_limit_on_an_older_card(self):
        hold_registers(SOURCES["lstm.cu"], "sm_80", {"HIDDEN": 100}, 168)

    def test_every_file_is_compiled(self):
        assert {file for file, _, _ in COMPILED} == SOURCES.keys()

    def test_a_planted_spill_is_seen(self):
        """Two blocks a multiprocessor would leave each thread half of the registers."""
        code = SOURCES["lstm.cu"].replace("(THREADS, 1)", "(THREADS, 2)")
        with pytest.raises(AssertionError, match="spills"):
            hold_registers(code, "sm_90", {"HIDDEN": 100}, 168)

    @pytest.mark.parametrize("inside", ["cuda_nvrtc/lib", "cu13/lib"])
    def test_the_compiler_is_found_where_either_wheel_puts_it(self, inside, tmp_path, monkeypatch):
        """That of CUDA 12 is a package; that of CUDA 13 a folder of the namespace `nvidia`."""
        folder = tmp_path / "nvidia" / inside
        folder.mkdir(parents=True)
        (folder / "libnvrtc.so.0").touch()
        for name in [name for name in sys.modules if name.partition(".")[0] == "nvidia"]:
            monkeypatch.delitem(sys.modules, name)
        monkeypatch.setattr(sys, "path", [str(tmp_path)])
        assert nvrtc.files_of_the_compiler() == [folder / "libnvrtc.so.0"]


@pytest.fixture
def plant(monkeypatch):
    """plant(file, old, new): CuPy is what it takes to launch kernels through the shim, with an edit of their source."""

    def put(edited="", old="", new=""):
        def module(code, options):
            assert not (edited and code == SOURCES[edited]) or old in code
            return shim.RawModule(code.replace(old, new, 1) if code == SOURCES.get(edited) else code, options)

        launch.kernel.cache_clear()
        monkeypatch.setitem(sys.modules, "cupy", SimpleNamespace(RawModule=module))

    put()
    yield put
    launch.kernel.cache_clear()


@pytest.fixture(params=shim.ORDERS)
def order(request, plant, monkeypatch):
    """Of the warps: it matters where threads wait for each other. For other kernels `plant` alone is enough."""
    monkeypatch.setattr(shim.RawModule, "order", shim.ORDERS[request.param])


def single(x):
    """float64 as float32, in tuples and dicts too."""
    if isinstance(x, tuple | list):
        return tuple(map(single, x))
    if isinstance(x, dict):
        return {name: single(array) for name, array in x.items()}
    return x.astype(np.float32) if getattr(x, "dtype", None) == np.float64 else x


def close(ours, theirs):
    helpers.close(ours, single(theirs), BOUND)


def hold(names, arrays, *backward):
    """Forward, then backward twice, in float32 through the kernels against the reference in float64."""
    ours, our_cache = KERNELS[names[0]](*single(tuple(arrays)))
    theirs, their_cache = REFERENCE[names[0]](*arrays)
    close(ours, theirs)
    at = [k for k, array in enumerate(backward) if array is Ellipsis][0]  # where the cache goes
    expected = REFERENCE[names[1]](*backward[:at], their_cache, *backward[at + 1 :])
    for _ in range(2):
        close(KERNELS[names[1]](*single(backward[:at]), our_cache, *backward[at + 1 :]), expected)


def hold_lstm(T, B, H):
    """Few steps: with weights this large float32 itself goes astray after some dozens."""
    rng, I = np.random.default_rng(T + B + H), 6
    shapes = [(T, B, I), (B, H), (B, H), (I, 4 * H), (H, 4 * H), (4 * H,)]
    arrays = [rng.normal(size=shape) * 0.5 for shape in shapes]
    dh, dc = rng.normal(size=(T, B, H)), rng.normal(size=(B, H))
    hold(("lstm_forward", "lstm_backward"), arrays, dh, dc, ...)
    hold(("lstm_forward", "lstm_backward"), arrays, dh, None, ..., False)


def hold_voices(T, B, K, H, V=3, F=6):
    """Draws restricted to the truth, draws of all, and notes that are given."""
    rng, shapes = np.random.default_rng(K), voices.voices_shapes(V, K, F, H)
    params = Params(shapes, rng.normal(size=Params(shapes).flat.size) * 0.5)
    features, dp = rng.normal(size=(T, B, F)), rng.normal(size=(V, T, B, K + 1))
    state = {f"voice{v + 1}.{part}": rng.normal(size=(B, H)) for v in range(V) for part in "hc"}
    u, truth = rng.random((V, T, B)).astype(np.float32), (rng.random((T, B, K)) < 0.2).astype(np.float32)
    known = {"voices.notes": rng.integers(0, K + 1, (V, T, B))}
    few = params.with_flat(single(params.flat)), *single((features, V, state))
    for given in ({"voices.u": u, "truth": truth}, {"voices.u": u}, known):
        for temperature in (1.0, 0.7):
            ours, our_cache = KERNELS["voices_forward"](*few, given, temperature)
            theirs, their_cache = REFERENCE["voices_forward"](params, features, V, state, given, temperature)
            close(ours, theirs)
            assert (ours[1] == theirs[1]).all()
        close(KERNELS["voices_backward"](single(dp), our_cache), REFERENCE["voices_backward"](dp, their_cache))


def hold_octave_loss(T, B):
    rng = np.random.default_rng(4)
    keys, mask = (rng.random((T, B, 88)) < 0.05).astype(float), rng.random((T, B)) < 0.8
    z = rng.normal(size=(T, B, 88)) * 10
    names = ("masked_loss_forward", "masked_loss_backward")
    hold(names, [z, keys, decoder.pitch_classes(keys), mask], ...)


@needs_gcc
class TestShim:
    def test_every_kernel_has_a_reference(self):
        assert REFERENCE.keys() == KERNELS.keys()

    SIZES = [(1, 1, 40), (6, 2, 37), (3, 2, 5), (2, 2, 96), (2, 1, 97), (5, 1, 100), (3, 2, 108), (2, 2, 130)]

    @pytest.mark.parametrize("T, B, H", SIZES)
    def test_lstm(self, T, B, H, order):
        hold_lstm(T, B, H)

    @pytest.mark.parametrize("H", [20, 100])
    def test_several_lstms_in_one_launch(self, H, order):
        rng, (L, T, B) = np.random.default_rng(0), (3, 4, 2)
        shapes = [(T, B, L, 4 * H), (L, H, 4 * H), (L, 4 * H), (L, B, H), (L, B, H)]
        together = [rng.normal(size=shape).astype(np.float32) * 0.3 for shape in shapes]
        together += [np.empty((L, T + 1, B, H), np.float32) for _ in "hc"]
        alone, one_by_one = ([array.copy() for array in together] for _ in range(2))
        lstm_cuda.run(*together, count=L)
        for l in range(L):
            one = [np.ascontiguousarray(alone[0][:, :, l : l + 1]), *(array[l : l + 1] for array in alone[1:])]
            lstm_cuda.run(*one)
            alone[0][:, :, l : l + 1] = one[0]
            lstm_cuda.run(*one_by_one, first=l)
        for a, b, c in zip(together, alone, one_by_one, strict=True):
            assert (a == b).all() and (a == c).all()

    @pytest.mark.parametrize("T, B, K, H", [(1, 1, 12, 9), (23, 3, 12, 9), (23, 3, 88, 9), (2, 2, 12, 120)])
    def test_voices(self, T, B, K, H, order):
        hold_voices(T, B, K, H)

    @pytest.mark.parametrize("pause_cell", [False, True])
    @pytest.mark.parametrize("stop_gradient", [False, True])
    def test_union(self, pause_cell, stop_gradient, plant):
        rng, (V, T, B, K) = np.random.default_rng(2), (4, 5, 3, 12)
        p = linear.softmax_forward(rng.normal(size=(V, T, B, K + 1)) * 2)[0]
        hold(
            ("union_forward", "union_backward"),
            [p, pause_cell],
            rng.normal(size=(T, B, K + pause_cell)),
            ...,
            stop_gradient,
        )

    @pytest.mark.parametrize("T, B", [(1, 1), (9, 5)])
    def test_softmax(self, T, B, plant):
        rng = np.random.default_rng(6)
        z, dp = (rng.normal(size=(T, B, 13)) * 3 for _ in range(2))
        hold(("softmax_forward", "softmax_backward"), [z], dp, ...)

    @pytest.mark.parametrize("lags, K, past", [((4,), 12, 3), ((1, 3, 8), 88, 9)])
    def test_reading(self, lags, K, past, plant):
        rng, (T, B) = np.random.default_rng(7), (5, 3)
        w, x = rng.random((T, B, len(lags))), (rng.random((T + past, B, K)) < 0.3).astype(float)
        hold(("read_forward", "read_backward"), [w, x, lags], rng.normal(size=(T, B, K)), ...)
        with pytest.raises(AssertionError):  # a lag would reach before x
            KERNELS["read_forward"](*single((w, x[past - max(lags) + 2 :], lags)))

    def test_octave_loss(self, order):
        hold_octave_loss(9, 5)

    def test_adam(self, plant):
        """And an update whose gradient is no number changes nothing."""
        rng, n = np.random.default_rng(5), 700
        flat = rng.normal(size=n)
        ours, theirs = single(flat), flat
        our, their = adam.Moments.of(ours), adam.Moments.of(theirs)
        for step in range(5):
            grad = rng.normal(size=n) * 2
            grad[7] = np.nan if step == 2 else 0
            finite = np.array(step != 2)
            ours, our = KERNELS["adam"](ours, single(grad), our, 0.01, finite)
            theirs, their = REFERENCE["adam"](theirs, grad, their, 0.01, finite)
            close((ours, our.m, our.v), (theirs, their.m, their.v))

    @pytest.mark.parametrize("name", LADDER)
    def test_a_model_whole(self, name, plant, monkeypatch):
        """Loss, gradients, state and notes of every rung, all kernels together."""
        model, T, B = LADDER[name](), 6, 2
        params, batch = model.init(1), toy_batch(model, T, B)
        draws = draws_of(model, T, B)
        expected = model.loss(params, batch, draws)
        monkeypatch.setitem(backend._kernels, "numpy", standing("cuda"))  # as if NumPy were CuPy
        loss, grads, trace, state = model.loss(params, batch, draws)
        close((loss, grads.flat, trace, state), (expected[0], expected[1].flat, *expected[2:]))


BARRIERS = [(file, n) for file in SOURCES for n in range(SOURCES[file].count("__syncthreads();"))]


@needs_gcc
@pytest.mark.parametrize("file, n", BARRIERS)
def test_a_missing_barrier_is_seen(file, n, plant, monkeypatch):
    """Any one of them: some order of the warps gives another result."""
    check = {
        "lstm.cu": lambda: hold_lstm(6, 1, 37),
        "voices.cu": lambda: hold_voices(23, 3, 12, 9),
        "pointwise.cu": lambda: hold_octave_loss(9, 5),
    }[file]
    parts = re.split(r"(__syncthreads\(\);)", SOURCES[file])
    parts[2 * n + 1] = ""
    plant(file, SOURCES[file], "".join(parts))
    red = 0
    for number in shim.ORDERS.values():
        monkeypatch.setattr(shim.RawModule, "order", number)
        try:
            check()
        except (AssertionError, shim.Deadlock):
            red += 1
    assert red


@needs_gcc
def test_a_lane_missing_at_a_shuffle_is_seen(plant):
    plant("lstm.cu", "const float i = __shfl_sync", "if (s == 3) return;\n            const float i = __shfl_sync")
    with pytest.raises(shim.Deadlock):
        hold_lstm(6, 1, 37)


def test_cuda_kernels_need_no_numba():
    """And CuPy is imported when the first of them is launched."""
    program = """
import sys
sys.modules["numba"] = None
from minigen.kernels import use_kernels
print(use_kernels("fast", 1, xp="not NumPy"), "cupy" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.strip() == "fast (CUDA) False", done.stderr


def test_float64_on_a_gpu_runs_the_reference(monkeypatch):
    """And so does every complex number; float32 runs the kernel of where it lives."""
    there = SimpleNamespace(__name__="cupy")
    monkeypatch.setattr(backend, "array_module", lambda x: there if x.ndim else np)
    monkeypatch.setitem(backend._kernels, "cupy", {"layer": ("kernel", lambda home: True)})
    for dtype, kernel in (("float32", "kernel"), ("float64", None), ("complex128", None)):
        assert backend._kernel("layer", (np.zeros(3, dtype), (np.zeros(2, "float32"), None))) == kernel
    assert backend._kernel("layer", (np.zeros(3, "float32"), np.zeros((), "float32"))) is None  # one on the host
