"""Small products: a second BLAS thread would only make them wait for each other."""

import importlib
import sys
from pathlib import Path

import pytest
from threadpoolctl import threadpool_limits

from minigen.kernels import use_kernels
from minigen.kernels.cuda import launch

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))  # naive.py, helpers.py, judges.py


@pytest.fixture(autouse=True, scope="session")
def one_thread():
    with threadpool_limits(1):
        yield


@pytest.fixture
def cupy(monkeypatch):
    """The stand-in, in the place of CuPy, and no kernels."""
    use_kernels("reference", 1)
    for name in [name for name in sys.modules if name.partition(".")[0] == "cupy"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.syspath_prepend(HERE / "standin")
    launch.kernel.cache_clear()  # of another module of that name
    yield importlib.import_module("cupy")
    launch.kernel.cache_clear()
    del sys.modules["cupy"]
