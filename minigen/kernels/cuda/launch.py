"""How a CUDA kernel is launched. A .cu file is compiled for the card when first used, once for each set of macros, and
CuPy keeps what was compiled in its own folder. CuPy is imported only then."""

import functools
from importlib.resources import files

import numpy as np

from minigen.backend import array_module

NULL = np.uintp(0)  # for an array that there is none of


@functools.cache
def kernel(file: str, name: str, **macros):
    """The kernel `name` of that file, compiled with those macros."""
    import cupy

    code = files("minigen.kernels.cuda").joinpath(file).read_text(encoding="utf-8")
    options = tuple(f"-D{macro}={value}" for macro, value in macros.items())
    return cupy.RawModule(code=code, options=options).get_function(name)


def packed(x, dtype="float32"):
    """The array as a kernel reads it: side by side in memory, of that type; a copy only where it is not."""
    return array_module(x).ascontiguousarray(x, dtype)


def argument(a):
    """As a kernel takes it: bool, int, float, NULL; arrays, which must have no gaps, as they are."""
    if a is NULL or hasattr(a, "flags") and not isinstance(a, np.generic):
        assert a is NULL or a.flags.c_contiguous
        return a
    kind = np.bool_ if isinstance(a, bool | np.bool_) else np.int32 if isinstance(a, int | np.integer) else np.float32
    return kind(a)


def launch(file: str, name: str, blocks: tuple, threads: int, *args, **macros) -> None:
    """Launch so many blocks of so many threads."""
    kernel(file, name, **macros)(blocks, (threads,), tuple(map(argument, args)))


def launch_over(cells: int, file: str, name: str, *args, **macros) -> None:
    """Launch a thread per cell, in blocks of 256."""
    launch(file, name, (-(-cells // 256),), 256, *args, **macros)
