"""NVIDIA's compiler out of its wheel from PyPI, called through ctypes: it needs neither a GPU nor a driver."""

import ctypes
import importlib.util
import re
from pathlib import Path
from typing import NamedTuple

REPORT = re.compile(
    r"Compiling entry function '(\w+)'.*?(\d+) bytes spill stores, (\d+) bytes spill loads.*?Used (\d+) registers", re.S
)


class Use(NamedTuple):
    """What the assembler reports of a kernel: registers of a thread, and bytes that found no place in them."""

    registers: int
    spilled: int


def library():
    """The compiler, or None where its wheel is not installed."""
    try:
        spec = importlib.util.find_spec("nvidia.cuda_nvrtc")
    except ModuleNotFoundError:
        return None
    found = [file for place in spec.submodule_search_locations for file in Path(place).glob("lib/libnvrtc.so.*")]
    return ctypes.CDLL(str(found[0])) if found else None


def compiled(code: str, architecture: str, macros: dict) -> dict[str, Use]:
    """Compile for that architecture -> {kernel: its Use}. Raises AssertionError with the log where it does not."""
    lib, program, size = library(), ctypes.c_void_p(), ctypes.c_size_t()
    given = [f"--gpu-architecture={architecture}", "--ptxas-options=-v", *(f"-D{m}={n}" for m, n in macros.items())]
    options = (ctypes.c_char_p * len(given))(*(option.encode() for option in given))
    assert lib.nvrtcCreateProgram(ctypes.byref(program), code.encode(), b"kernels.cu", 0, None, None) == 0
    failed = lib.nvrtcCompileProgram(program, len(given), options)
    lib.nvrtcGetProgramLogSize(program, ctypes.byref(size))
    log = ctypes.create_string_buffer(size.value)
    lib.nvrtcGetProgramLog(program, log)
    lib.nvrtcDestroyProgram(ctypes.byref(program))
    assert not failed, log.value.decode()
    rows = REPORT.findall(log.value.decode())
    return {name: Use(int(registers), int(stored) + int(loaded)) for name, stored, loaded, registers in rows}
