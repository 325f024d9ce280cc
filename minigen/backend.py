"""Where arrays live (NumPy or CuPy), and which functions have a faster twin (kernels).

Every layer is written once, over the array module of its arguments: that code is the reference. A kernel is a
function of the same name and signature, found by name behind the layer's function: no model is touched when one is
added.
"""

import functools
import importlib.util
import os
import sys

import numpy as np

from minigen.errors import MinigenError

_fast: dict = {}  # name of a layer's function -> its kernel; empty: everything runs on the reference code


def array_module(x):
    """The module that made `x`: cupy for an array on a GPU, else numpy."""
    return sys.modules["cupy"] if type(x).__module__.partition(".")[0] == "cupy" else np


def to_host(x) -> np.ndarray:
    """The array on the host, copied from the device only if it lives there."""
    return x if array_module(x) is np else x.get()


def replaceable(function):
    """A layer's function that runs its kernel where `use_kernels` has found one; `.reference` is the code itself."""

    @functools.wraps(function)
    def call(*args, **kwargs):
        return _fast.get(function.__name__, function)(*args, **kwargs)

    call.reference = function
    return call


def use_kernels(choice: str, threads: int | None = None, say=lambda words: None) -> str:
    """Choose `reference`, `fast` or `auto`, and how many threads, for the whole process; returns the words to show.

    The fast kernels split the batch over the threads and give each its own products, so BLAS gets one; the reference
    leaves the threads to BLAS. `say` is told before the kernels are loaded, since the first time they are compiled.
    Raises MinigenError where `fast` is asked for and Numba is not there.
    """
    from threadpoolctl import threadpool_limits

    threads = threads or (len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count())
    _fast.clear()
    if choice != "reference" and importlib.util.find_spec("numba") is not None:
        say("loading the kernels (compiled the first time, in about a minute)")
        from minigen import kernels

        kernels.use_threads(threads)
        kernels.warm_up()
        _fast.update(kernels.KERNELS)
        threadpool_limits(1)
        return f"fast (Numba, threads: {threads})"
    if choice == "fast":
        raise MinigenError("the fast kernels need Numba: pip install numba, or use --kernels reference")
    threadpool_limits(threads)
    return f"reference (BLAS threads: {threads})"


def use_device(choice: str):
    """The array module for `auto`, `cpu` or `cuda`, and the words to show.

    `auto` takes CUDA only after a working trial product. Raises MinigenError where `cuda` cannot be had.
    """
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
