"""Where arrays live (NumPy or CuPy), and which functions have a kernel, a faster translation.

Every layer is written once, over the array module of its arguments: that code is the specification, and it is what
runs unless `kernels.use_kernels` has installed kernels. A kernel is a function of the same name and signature that then
runs in the place of the layer's function. Where the layer was edited, the array code runs (kernels/originals.py).
"""

import functools
import importlib.util
import sys

import numpy as np

from minigen.errors import MinigenError

# by where the arrays live: name of a layer's function -> (its kernel, whether its originals stand)
_kernels: dict[str, dict] = {"numpy": {}, "cupy": {}}
_whole = None  # function(name, model, params, state) -> a copy of the whole step or loss, or None
_REFUSED = {"numpy": "FDG", "cupy": "FDGd"}  # what only the array code can take: complex; float64 on a GPU


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


def _kernel(name: str, args, home: str = ""):
    """The kernel of the function `name` of the module `home`, for arguments that are all of one array module and of
    types that it can take, or None."""
    arrays = _arrays(args)
    where = array_module(arrays[0]).__name__
    if name not in _kernels[where]:
        return None
    kernel, originals_stand = _kernels[where][name]
    taken = all(array_module(x).__name__ == where and x.dtype.char not in _REFUSED[where] for x in arrays)
    return kernel if taken and originals_stand(home) else None


def replaceable(function):
    """A layer's function that runs its kernel where `install` has put one; `.reference` is the array code itself."""

    @functools.wraps(function)
    def call(*args, **kwargs):
        return (_kernel(function.__name__, args, function.__module__) or call.reference)(*args, **kwargs)

    call.reference = function
    return call


def install(kernels: dict, where: str = "numpy", whole_copy=None) -> None:
    """Put kernels, name -> (function, whether its originals stand), behind the layers' functions, for arrays of numpy
    or of cupy and for the whole process; {}: the array code. `whole_copy` is what `whole` asks."""
    global _whole
    _kernels[where], _whole = dict(kernels), whole_copy


def whole(name: str, model, params, state):
    """The copy of the whole step ("Player") or of the whole loss ("loss"), where it was asked for by name
    (`--kernels whole`) and is a copy of this very model, in one stream on a CPU; else None."""
    return _whole and _whole(name, model, params, state)


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
