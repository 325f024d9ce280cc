"""Every test begins with the array code, on one BLAS thread: products are small, and threads would wait for each other.

Tests run side by side (pytest-xdist; `-n 0`: one after the other). Those that need compiled kernels take the fixture
`compiled` and run last; meanwhile a process beside them compiles what is not in the cache.
"""

import importlib
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
from threadpoolctl import threadpool_limits

from minigen.backend import install
from minigen.kernels import use_kernels
from minigen.kernels.cuda import launch

HERE = Path(__file__).resolve().parent
FOLDER, COMPILER = pytest.StashKey(), pytest.StashKey()
sys.path.insert(0, str(HERE))  # helpers.py, naive.py, judges.py, faults.py


def needs_kernels(item) -> bool:
    return "compiled" in getattr(item, "fixturenames", ())


def end_of_compiling() -> Path:
    return Path(os.environ["MINIGEN_COMPILING"], "done")


def pytest_configure(config):
    """The first process: its workers inherit the name of a folder, in which a file will mark the end of compiling."""
    if not hasattr(config, "workerinput"):
        config.stash[FOLDER] = tempfile.TemporaryDirectory()
        os.environ["MINIGEN_COMPILING"] = config.stash[FOLDER].name


def pytest_collection_modifyitems(items):
    items.sort(key=needs_kernels)


def pytest_collection_finish(session):
    """One process compiles beside the tests; not where all of them need kernels, and some perhaps only a few."""
    config, needed = session.config, list(map(needs_kernels, session.items))
    first = getattr(config, "workerinput", {"workerid": "gw0"})["workerid"] == "gw0"
    if all(needed):
        end_of_compiling().touch()
    elif first and any(needed) and not config.option.collectonly:
        env = os.environ | {"PYTHONPATH": os.pathsep.join([str(HERE), str(HERE.parent)])}
        command = [sys.executable, "-c", "import helpers; helpers.compile_kernels()"]
        config.stash[COMPILER] = subprocess.Popen(command, env=env)
    if any(needed) and hasattr(os, "nice"):
        os.nice(5)  # the last tests wait for the compiler, which is to have a core of its own


def pytest_unconfigure(config):
    if COMPILER in config.stash:
        config.stash[COMPILER].wait()  # another worker may need it
    if FOLDER in config.stash:
        config.stash[FOLDER].cleanup()


@pytest.fixture(scope="session")
def compiled():
    """The kernels for a CPU, in float32, and the copy of the whole are in the cache."""
    end = time.monotonic() + 300
    while time.monotonic() < end and not end_of_compiling().exists():
        time.sleep(0.1)


@pytest.fixture(autouse=True, scope="session")
def one_thread():
    with threadpool_limits(1):
        yield


@pytest.fixture(autouse=True)
def array_code():
    install({})
    install({}, "cupy")
    yield
    install({})
    install({}, "cupy")


@pytest.fixture
def fast(compiled):
    """The kernels for a CPU, on one thread."""
    use_kernels("fast", 1)


@pytest.fixture(params=["reference", "fast"])
def kernels(request, compiled):
    """The array code, then the kernels for a CPU."""
    use_kernels(request.param, 1)
    return request.param


@pytest.fixture
def cupy(monkeypatch):
    """The stand-in, in the place of CuPy."""
    for name in [name for name in sys.modules if name.partition(".")[0] == "cupy"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.syspath_prepend(HERE / "standin")
    launch.kernel.cache_clear()  # of another module of that name
    yield importlib.import_module("cupy")
    launch.kernel.cache_clear()
    del sys.modules["cupy"]
