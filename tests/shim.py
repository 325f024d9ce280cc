"""A .cu file compiled by g++ behind shim.h, and called on NumPy arrays as CuPy's `RawModule` is called on its own."""

import ctypes
import functools
import re
import subprocess
import tempfile
from pathlib import Path

import numpy as np

HEADER = Path(__file__).with_name("shim.h")
ORDERS = {"ascending": 0, "descending": 1, "round-robin": 2, "random 3": 3, "random 4": 4}  # of the warps
ENTRY = """
extern "C" int run_{name}(const unsigned *grid, const unsigned *block, void **args, int order) {{
    return shim::launch([](void **args) {{ shim::call({name}, args); }}, grid, block, args, order);
}}
extern "C" int sizes_{name}(int *out) {{ return shim::sizes({name}, out); }}
"""


launched = set()  # the names of the kernels that were run


class Deadlock(Exception):
    """Some threads wait for others that will never come."""


@functools.cache
def library(code: str, options: tuple) -> ctypes.CDLL:
    """Compile once for each source and its macros."""
    names = re.findall(r'extern "C" __global__ void(?: __launch_bounds__\([^)]*\))?\s+(\w+)', code)
    macros = [option for option in options if option.startswith("-D")]
    command = ["g++", "-std=c++17", "-O1", "-w", "-shared", "-fPIC", "-include", str(HEADER), *macros]
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "kernels.cpp").write_text(code + "".join(ENTRY.format(name=name) for name in names))
        subprocess.run([*command, "kernels.cpp", "-o", "kernels.so"], cwd=folder, check=True)
        return ctypes.CDLL(str(Path(folder, "kernels.so")))


class RawModule:
    """`RawModule(code=...).get_function(name)(grid, block, args)`; `RawModule.order` is the order of the warps."""

    order = 0

    def __init__(self, code: str, options: tuple = ()):
        self.code, self.options = code, tuple(options)

    def get_function(self, name: str):
        """Arguments are C-contiguous arrays, and NumPy scalars of the very size that the kernel takes."""
        kernels = library(self.code, self.options)

        def call(grid, block, args, shared_mem=0):
            launched.add(name)
            assert shared_mem == 0, "the shim has no dynamic shared memory"
            sizes = (ctypes.c_int * 64)()
            count = getattr(kernels, f"sizes_{name}")(sizes)
            assert len(args) == count, f"{name} takes {count} arguments, not {len(args)}"
            held = [np.array(a.ctypes.data if isinstance(a, np.ndarray) else a) for a in args]
            for k, (a, slot) in enumerate(zip(args, held, strict=True)):
                assert slot.nbytes == sizes[k], f"argument {k} of {name} has {slot.nbytes} bytes, not {sizes[k]}"
                assert not isinstance(a, np.ndarray) or a.flags.c_contiguous, f"argument {k} of {name} has gaps"
            pointers = (ctypes.c_void_p * count)(*(slot.ctypes.data for slot in held))
            shape = [(ctypes.c_uint * 3)(*(tuple(size) + (1, 1))[:3]) for size in (grid, block)]
            if getattr(kernels, f"run_{name}")(*shape, pointers, self.order):
                raise Deadlock(f"{name} under warp order {self.order}")

        return call


def beneath(cupy):
    """The same for arrays of the stand-in for CuPy: `cupy.runner = shim.beneath(cupy)`."""

    class Beneath(RawModule):
        def get_function(self, name: str):
            kernel = super().get_function(name)

            def call(grid, block, args, shared_mem=0):
                cupy.launches += 1
                kernel(grid, block, cupy.host(tuple(args)), shared_mem)

            return call

    return Beneath
