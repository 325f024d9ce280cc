"""Where arrays live (NumPy or CuPy), and which functions have a faster twin (kernels).

Every layer is written once, over the array module of its arguments: that code is the reference. A kernel is a
function of the same name and signature, found by name behind the layer's function: no model is touched when one is
added.
"""

import functools
import importlib.util
import sys

import numpy as np

from minigen.errors import MinigenError

# by where the arrays live: name of a layer's function -> its kernel; empty: everything runs on the reference code
_fast: dict[str, dict] = {"numpy": {}, "cupy": {}}
_REFUSED = {"numpy": "FDG", "cupy": "FDGd"}  # what only the reference code can take: complex; float64 on a GPU


def array_module(x):
    """The module that made `x`: cupy for an array on a GPU, else numpy."""
    return sys.modules["cupy"] if type(x).__module__.partition(".")[0] == "cupy" else np


def to_host(x) -> np.ndarray:
    """The array on the host, copied from the device only if it lives there."""
    return x if array_module(x) is np else x.get()


def on_device(xp, arrays: dict) -> dict:
    """The same arrays in the array module `xp`."""
    return arrays if xp is np else {name: xp.asarray(array) for name, array in arrays.items()}


def _arrays(args) -> list:
    """The arrays among a function's arguments, and in the tuples (caches) among them."""
    found = []
    for x in args:
        if isinstance(x, tuple):
            found += _arrays(x)
        elif hasattr(x, "ndim") and not isinstance(x, np.generic):
            found.append(x)
    return found


def _kernel(name: str, args):
    """The kernel for arguments that are all of one array module and of types that it can take, or None."""
    arrays = _arrays(args)
    where = array_module(arrays[0]).__name__
    taken = all(array_module(x).__name__ == where and x.dtype.char not in _REFUSED[where] for x in arrays)
    return _fast[where].get(name) if taken else None


def replaceable(function):
    """A layer's function that runs its kernel where `install` has put one; `.reference` is the code itself."""

    @functools.wraps(function)
    def call(*args, **kwargs):
        return (_kernel(function.__name__, args) or function)(*args, **kwargs)

    call.reference = function
    return call


def install(kernels: dict, where: str = "numpy") -> None:
    """Put these kernels (name -> function) behind the layers' functions, for arrays of numpy or of cupy and for the
    whole process; {}: the reference."""
    _fast[where] = dict(kernels)


def kernel(name: str):
    """The kernel of that name for a CPU, or None where none is installed: for what is no layer."""
    return _fast["numpy"].get(name)


def use_device(choice: str):
    """The array module for `auto`, `cpu` or `cuda`, and the words to show.

    `auto` takes CUDA only after a working trial product. Raises MinigenError where `cuda` cannot be had.
    """
    if choice not in ("auto", "cpu", "cuda"):
        raise MinigenError(f"there is no device {choice!r}: choose auto, cpu or cuda")
    if choice == "cpu":
        return np, "cpu"
    if importlib.util.find_spec("cupy") is None:
        if choice == "cuda":
            raise MinigenError('CuPy is not installed: pip install -e ".[cuda12]", or use --device cpu')
        return np, "cpu (CuPy is not installed)"
    try:
        import cupy

        one = cupy.ones((8, 8), "float32")
        assert float((one @ one).sum()) == 512
    except Exception as error:  # CuPy has an error class for each of the many ways a driver can be absent
        if choice == "cuda":
            raise MinigenError("CuPy is installed but finds no working CUDA device: use --device cpu") from error
        return np, "cpu (CuPy finds no working CUDA device)"
    return cupy, f"cuda ({cupy.cuda.runtime.getDeviceProperties(0)['name'].decode()})"
