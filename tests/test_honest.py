"""The code that is read is the code that runs: an edit of any layer is what trains and plays, with default flags."""

import functools
import json
import os
import shutil
import subprocess
import sys
import types
import warnings
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest

from minigen import adam, backend, linear, union, voices
from minigen.kernels import TABLES, originals, standing, use_kernels
from minigen.kernels.originals import Originals, all_originals, code_of, digest
from minigen.ladder import Final
from minigen.music.midi import read_midi
from minigen.music.midi_out import write_midi
from minigen.params import Params
from minigen.run import checkpoint

ROOT = Path(__file__).resolve().parents[1]
ROWS = [(table, *row) for table in ("cpu", "cuda") for row in TABLES[table]]
SMALL = [word for name in ("hidden", "voice_hidden", "decoder_hidden") for word in ("--set", f"{name}=8")]
# for each row of the tables one changed line in an original of it: its functions -> (file, line, what it becomes)
EDITS = {
    "lstm_forward": ("lstm", "        c[t + 1] = f * c[t] + i * g", "        c[t + 1] = f * c[t] + 0.5 * i * g"),
    "softmax_forward": ("linear", "    e = xp.exp(z - ", "    e = xp.exp(1 - 0.5 * z + "),
    "draw": ("voices", "    return (cdf <= (u * cdf", "    return (cdf <= (u * u * cdf"),
    "masked_loss_forward": ("decoder", "    cells = counted(mask) * keys.shape[-1]", "    cells = counted(mask)"),
    "voices_forward": ("voices", "        z = z / temperature", "        z = 3 * z / temperature"),
    "adam": ("adam", "BETA1, BETA2, EPSILON = 0.9, 0.999, 1e-8", "BETA1, BETA2, EPSILON = 0.1, 0.999, 1e-8"),
    "union_forward": (
        "union",
        "        P += factors[v] * p[v, ..., :K]",
        "        P += 0.5 * factors[v] * p[v, ..., :K]",
    ),
    "read_forward": ("reader", "        reading += w[:, :, l, None]", "        reading += 2 * w[:, :, l, None]"),
}


def test_every_row_has_an_edit():
    assert {names[0] for _, _, names, _ in ROWS} == set(EDITS)


def test_the_digests_are_those_of_the_code():
    """After an edit of an original: run the tests, then `python -m minigen.kernels.originals`."""
    assert json.loads(originals.PATH.read_text()) == {
        module.__name__.removeprefix("minigen."): digest(module) for module in all_originals()
    }


def test_a_digest_is_of_code_and_not_of_words():
    plain = "def f(x):\n    return x + 1\n"
    assert code_of(plain) == code_of('def f(x):\n    """A sum."""\n\n    # why\n    return x + 1  # because\n')
    assert len({code_of(plain), code_of(plain.replace("1", "2")), code_of(plain.replace("f(x)", "f(x, y)"))}) == 3
    assert code_of('s = "a"\n') != code_of('s = "b"\n')
    module = types.ModuleType("m")
    module.BOUND, module.os = 0.5, os
    before = digest(module)
    module.BOUND = 0.25
    assert digest(module) != before


@pytest.fixture
def fast():
    use_kernels("fast", 1)
    yield
    use_kernels("reference", 1)


@pytest.mark.parametrize("table, file, names, modules", ROWS)
def test_each_kernel_stands_for_its_files_alone(table, file, names, modules, monkeypatch):
    """Every file of a row, with another function in it: at the start a line says so, later a warning."""
    for name in modules:
        module = import_module(f"minigen.{name}")
        thing = next(key for key, value in vars(module).items() if getattr(value, "__module__", "") == module.__name__)
        kept = Originals(f"kernels/{table}/{file}.py", modules)
        assert kept.stand() and not kept.edited()
        monkeypatch.setattr(module, thing, lambda *args: None)
        with pytest.warns(UserWarning, match=f"minigen/{name}.py was edited"):
            assert not kept.stand()
        assert not kept.stand()
        lines = []
        assert not set(names) & set(standing(table, lines.append))
        assert any(
            f"minigen/{name}.py was edited" in line and f"{table}/{file}.py is switched off" in line for line in lines
        )
        monkeypatch.undo()


def test_what_is_replaced_while_the_program_runs_is_what_runs(fast, monkeypatch):
    """A constant before the kernels are chosen, a function after: the array code runs with each."""
    w, g = np.ones(3, np.float32), np.full(3, 0.5, np.float32)
    assert backend._kernel("adam", (w, g)) is not None
    monkeypatch.setattr(adam, "BETA1", 0.5)
    with pytest.warns(UserWarning, match="minigen/adam.py was edited: minigen/kernels/cpu/adam.py is switched off"):
        assert adam.adam(w, g, adam.Moments.of(w), 0.1)[1].m == pytest.approx(0.25)
    use_kernels("fast", 1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert backend._kernel("adam", (w, g)) is None
        assert adam.adam(w, g, adam.Moments.of(w), 0.1)[1].m == pytest.approx(0.25)


def wrapped(function):
    @functools.wraps(function)
    def double(*args):
        return 2 * function(*args)

    return double


def test_a_function_that_was_wrapped_is_another(monkeypatch):
    """Before the kernels are chosen: what functools.wraps copies does not hide it."""
    monkeypatch.setattr(linear, "sigmoid", wrapped(linear.sigmoid))
    monkeypatch.setattr(union, "cross_entropy_forward", wrapped(union.cross_entropy_forward))
    assert Originals("kernels/cpu/lstm.py", ("lstm", "linear")).edited()
    assert Originals("kernels/cuda/voices.py", ("union",)).edited()


def test_code_that_was_swapped_and_names_that_were_added_are_edits(monkeypatch):
    """As a notebook's autoreload swaps code; an added name may hide a builtin or an inherited method."""
    kept, code = Originals("kernels/cpu/voices.py", ("voices", "params")), voices.allow_truth.__code__
    voices.allow_truth.__code__ = (lambda truth: truth > 1).__code__
    with pytest.warns(UserWarning, match="voices.py was edited"):
        assert not kept.stand()
    assert kept.edited()
    voices.allow_truth.__code__ = code
    assert kept.stand() and not kept.edited()
    for place, name in ((voices, "reversed"), (Params, "layer"), (Params, "__getitem__")):
        monkeypatch.setattr(place, name, lambda *args: None, raising=False)
        assert not kept.stand()
        monkeypatch.undo()


@pytest.mark.parametrize("names, file", [(names, modules[0]) for table, _, names, modules in ROWS if table == "cpu"])
def test_a_copy_of_a_layer_in_another_file_runs_itself(names, file, fast):
    """A student's edited copy of a file: its functions have the layers' names, and no kernel."""
    copy = types.ModuleType("my_own_file")
    exec((ROOT / "minigen" / f"{file}.py").read_text(), vars(copy))
    array = np.ones(3, np.float32)
    for name in names:
        there = getattr(import_module(f"minigen.{file}"), name)
        assert backend._kernel(name, (array,), there.__module__) is not None
        assert backend._kernel(name, (array,), getattr(copy, name).__module__) is None


def test_what_a_decorator_adds_to_a_class_is_no_edit(monkeypatch):
    """Newer versions of Python add methods to every dataclass."""
    before = digest(adam)
    added = eval("lambda self: self")
    added.__module__ = "minigen.adam"
    monkeypatch.setattr(adam.Moments, "__replace__", added, raising=False)
    assert digest(adam) == before


@pytest.mark.parametrize("place, name", [(Final, "backward"), (union, "CLIP"), (Final, "music")])
def test_the_copy_of_the_whole_stays_out_where_its_original_was_edited(place, name, monkeypatch):
    model = Final()
    params = model.init(0)
    state = model.initial_state(params, 1)
    use_kernels("whole", 1)
    assert backend.whole("loss", model, params, state)
    monkeypatch.setattr(place, name, None, raising=False)
    with pytest.warns(UserWarning, match="was edited"):
        assert not backend.whole("loss", model, params, state)
    lines = []
    use_kernels("whole", 1, lines.append)
    assert not backend.whole("loss", model, params, state) and any("kernels/whole" in line for line in lines)
    use_kernels("reference", 1)


RUN = """
import contextlib, io, runpy, sys
{before}
for argv in {commands}:
    sys.argv = argv
    with contextlib.suppress(SystemExit):
        runpy.run_path(argv[0], run_name="__main__")
"""


def results(folder: Path, out: Path, kernels: list[str], device: str) -> dict:
    """What a user's four commands give, in a copy of the project: weights, pieces, and what they print."""
    music, last, given = folder / "music", out / "run" / "last.npz", [*kernels, "--device", device]
    train = ["scripts/train.py", music, "--steps", 3, "--batch", 2, "--model", "final", *SMALL, "--set", "fragment=32"]
    train += ["--set", "pause_bias=0"]  # a quiet start plays next to nothing after three steps
    play = ["scripts/sample.py", last, "--bars", 1, *given]
    commands = [
        [*train, "--out", out / "run", *given],
        [*play, "--out", out / "played"],
        [*play, "--out", out / "learned", "--finetune", "moving", "--finetune-rate", 0.01],
        ["scripts/evaluate.py", last, music, "--seeds", 1, "--bars", 8, "--particles", 2, *given],
    ]
    before = ""
    if device == "cuda":
        before = f"sys.path[:0] = {[str(ROOT / 'tests'), str(ROOT / 'tests' / 'standin')]}\n"
        before += "import cupy, shim; cupy.runner = shim.beneath(cupy)"
    code = RUN.format(before=before, commands=[[str(word) for word in command] for command in commands])
    env = os.environ | {"PYTHONPATH": str(folder)}
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, env=env, capture_output=True, text=True)
    assert done.stdout.count("\n") > 20 and "error" not in done.stderr and "Traceback" not in done.stderr, done.stderr
    pieces = {name: read_midi(next((out / name).glob("*.mid"))) > 0 for name in ("played", "learned")}
    exact = ("standard error", "(exact)")
    losses = [line.split()[1] for line in done.stdout.splitlines() if any(words in line for words in exact)]
    return pieces | {"weights": checkpoint.load(last).params.flat, "loss": float(losses[0]), "printed": done.stdout}


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """project(file, line, becomes) -> a copy of the project with that line changed, and with what was compiled."""

    def copy(file="", line="", becomes=""):
        folder = tmp_path_factory.mktemp("project")
        for part in ("minigen", "scripts"):
            shutil.copytree(ROOT / part, folder / part)
        (folder / "music").mkdir()
        for path in sorted((ROOT / "samples" / "songs").glob("*.mid"))[:3]:
            write_midi(folder / "music" / path.name, read_midi(path)[:48])
        if file:
            path = folder / "minigen" / f"{file}.py"
            source = path.read_text()
            assert source.count(line) == 1, (file, line)
            path.write_text(source.replace(line, becomes))
        return folder

    return copy


@pytest.fixture(scope="module")
def as_it_stands(project, tmp_path_factory):
    folder = project()
    return {device: results(folder, tmp_path_factory.mktemp("out"), [], device) for device in ("cpu", "cuda")}


@pytest.mark.slow
@pytest.mark.parametrize("table, names", [(table, names) for table, _, names, _ in ROWS])
def test_an_edited_line_is_what_trains_and_plays(table, names, project, as_it_stands, tmp_path):
    """With default flags, on the CPU and on the stand-in for a GPU: the result is that of the array code as edited, and
    another than that of the code as it stands."""
    device = {"cpu": "cpu", "cuda": "cuda"}[table]
    if device == "cuda" and shutil.which("g++") is None:
        pytest.skip("no g++ on the PATH, which the shim needs")
    file, line, becomes = EDITS[names[0]]
    folder = project(file, line, becomes)
    ours = results(folder, tmp_path / "default", [], device)
    theirs = results(folder, tmp_path / "reference", ["--kernels", "reference"], device)
    assert f"minigen/{file}.py was edited: minigen/kernels/{table}/" in ours["printed"]
    way = np.linalg.norm(theirs["weights"] - as_it_stands[device]["weights"])
    assert np.linalg.norm(ours["weights"] - theirs["weights"]) < 0.01 * max(way, 1e-3)
    for name in ("played", "learned"):
        assert np.array_equal(ours[name], theirs[name])
    assert ours["loss"] == pytest.approx(theirs["loss"], abs=2e-4)
    parts = ("weights", "played", "learned", "loss")
    assert not all(np.array_equal(ours[name], as_it_stands[device][name]) for name in parts), "it changed nothing"
