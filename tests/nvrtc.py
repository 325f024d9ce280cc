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


def files_of_the_compiler() -> list[Path]:
    """Where the wheels of CUDA 12 and of CUDA 13 put it; none where neither is installed."""
    spec = importlib.util.find_spec("nvidia")
    folders = [Path(place) for place in spec.submodule_search_locations] if spec else []
    return [file for folder in folders for file in folder.glob("cu*/lib/libnvrtc.so.*")]


def library():
    """The compiler, or None where its wheel is not installed."""
    found = files_of_the_compiler()
    return ctypes.CDLL(str(found[0])) if found else None


def compiled(code: str, architecture: str, macros: dict) -> dict[str, Use]:
    """Compile for that architecture -> {kernel: its Use}. Raises AssertionError with the log where it does not."""
    lib, program, size = library(), ctypes.c_void_p(), ctypes.c_size_t()
    given = [
        f"--gpu-architecture={architecture}",
        "--ptxas-options=-v",
        "-ftz=true",
        "-std=c++17",
    ]  # CuPy's, the last two
    given += [f"-D{name}={value}" for name, value in macros.items()]
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
