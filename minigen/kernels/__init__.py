"""Fast translations of the layers' functions; the array code is the specification, and a test holds each to it.

cpu/ is for a CPU, in Numba: rows.py holds what one row takes, activations.py tanh and how kernels are compiled.
cuda/ is for CUDA, in float32, and needs no Numba: launch.py compiles a .cu file and launches it.
whole/ is a copy of the whole step and of the whole loss of two rungs: it runs only when asked for, `--kernels whole`.
originals.py switches a kernel off where the code that it translates was edited.
"""

import ctypes
import os
from importlib import import_module

import numpy as np
from threadpoolctl import threadpool_limits

from minigen.backend import install
from minigen.errors import MinigenError, ended_at_once

LAYERS = ("decoder", "draws", "heads", "linear", "lstm", "ops", "params", "reader", "union", "voices")
FINAL = ("ladder/final", "ladder/conditional", "ladder/history", "ladder/rung", *LAYERS)
# file, its functions, the files below minigen/ that hold what these translate: the first is their home
TABLES = {
    "cpu": [
        ("lstm", ("lstm_forward", "lstm_backward"), ("lstm", "linear")),
        ("pointwise", ("softmax_forward", "softmax_backward"), ("linear",)),
        ("pointwise", ("draw",), ("voices",)),
        ("pointwise", ("masked_loss_forward", "masked_loss_backward"), ("decoder", "linear", "ops")),
        ("voices", ("voices_forward", "voices_backward"), ("voices", "linear", "lstm", "ops", "params")),
        ("adam", ("adam",), ("adam",)),
    ],
    "cuda": [
        ("lstm", ("lstm_forward", "lstm_backward"), ("lstm", "linear")),
        ("voices", ("voices_forward", "voices_backward"), ("voices", "linear", "lstm", "ops", "params")),
        ("voices", ("union_forward", "union_backward"), ("union",)),
        ("pointwise", ("softmax_forward", "softmax_backward"), ("linear",)),
        ("pointwise", ("read_forward", "read_backward"), ("reader", "ops")),
        ("pointwise", ("masked_loss_forward", "masked_loss_backward"), ("decoder", "linear", "ops")),
        ("pointwise", ("adam",), ("adam",)),
    ],
    "whole": [("step", ("Player",), (*FINAL, "run/sample")), ("loss", ("loss",), FINAL)],
}
CHOICES = ("auto", "reference", "fast", "whole")


def keep_memory() -> bool:
    """Tell glibc's malloc to keep what is freed, for the whole process; False where it cannot be.

    A training step makes and frees the same large arrays every time. Left alone, malloc gives their pages back to the
    system and takes new ones, and every page costs a fault. The process stays as large as it ever was.
    """
    try:
        mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if os.name == "posix" else None
    except OSError:
        return False
    M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4
    return bool(mallopt and mallopt(M_MMAP_MAX, 0) and mallopt(M_TRIM_THRESHOLD, -1))


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def standing(table: str, log=lambda line: None) -> dict:
    """The kernels of a table whose originals are as they were tested: name -> (function, whether they still are)."""
    from minigen.kernels.originals import Originals

    found = {}
    for file, names, originals in TABLES[table]:
        module = import_module(f"minigen.kernels.{table}.{file}")
        kept = Originals(f"kernels/{table}/{file}.py", originals)
        if edited := kept.edited():
            log(f"{edited}, the array code of {', '.join(names)} runs")
            continue
        found |= {name: (getattr(module, name), kept.stand) for name in names}
    return found


def _kernels_of_cpu(log, whole: bool):
    """The package with its kernels compiled, and what finds the copies, if the `whole` is asked for. Raises what
    importing and compiling raises."""
    asked = os.environ.get("NUMBA_NUM_THREADS")
    if asked and not (asked.isdecimal() and int(asked)):
        raise MinigenError(f"NUMBA_NUM_THREADS is {asked!r}: set it to 1 or more, or leave it unset")
    import numba

    if numba.config.DISABLE_JIT:
        raise ImportError("NUMBA_DISABLE_JIT is set: unset it")
    try:  # here, and not by the first kernel, whose failure is taken for that of a damaged copy on the disk
        numba.get_num_threads()  # starts its threads
        from minigen.kernels import cpu
    except (ValueError, RuntimeError) as error:
        given = ", ".join(sorted(name for name in os.environ if name.startswith("NUMBA_")))
        remedy = f"; unset what does not fit of {given}" if given else ""
        raise ImportError(" ".join(str(error).rstrip(".").split()) + remedy) from error

    log("loading the kernels (compiled the first time, in about half a minute)")
    if cpu.REASON:
        log(f"take care: compiled kernels cannot be kept ({cpu.REASON}), and are compiled each time")
    find_copy, warm_ups = None, [cpu.warm_up]
    if whole:
        from minigen.kernels.whole import copy_of, warm_up

        find_copy = copy_of(standing("whole", log))
        warm_ups.append(lambda: warm_up(find_copy))
    with ended_at_once():
        cpu.warm_up_checked(lambda: [warm() for warm in warm_ups])
    return cpu, find_copy


def use_kernels(choice: str, threads: int | None = None, log=lambda line: None, xp=np, playing: bool = False) -> str:
    """Choose what runs, and how many threads, for the whole process; returns the words to show.

    reference    the array code alone
    fast         a kernel behind each layer that has one: in Numba, or where `xp` is CuPy in CUDA
    whole        the same, but `final` and `pause-loss` play, and learn while playing, by a copy of the whole model
    auto         fast, or the array code where `playing` is True, on a CPU: nothing is learned

    The kernels for a CPU split the batch over the threads and give each its own products, so BLAS gets one, and freed
    memory is kept; the array code leaves the threads to BLAS. `log` is called before they are loaded, since the first
    time they are compiled, and for each that is switched off, since the code that it translates was edited.
    Raises MinigenError where `fast` or `whole` is asked for and cannot be had.
    """
    threads = threads or cores()
    if threads > cores():
        raise MinigenError(f"{threads} threads were asked for and there are {cores()} cores: ask for so many or fewer")
    if choice == "whole" and xp is not np:
        raise MinigenError("--kernels whole is for a CPU: add --device cpu, or use --kernels fast")
    install({})
    install({}, "cupy")
    if choice == "reference" or (choice == "auto" and playing and xp is np):
        threadpool_limits(threads)
        return f"reference, the array code (threads: {threads})"
    if xp is not np:
        install(standing("cuda", log), "cupy")
        threadpool_limits(threads)
        return "fast (CUDA)"
    try:
        cpu, find_copy = _kernels_of_cpu(log, choice == "whole")
    except (ImportError, OSError) as error:  # Numba is missing, or switched off; the disk is full
        if choice != "auto":
            raise MinigenError(f"Numba cannot be used ({error}): use --kernels reference") from error
        threadpool_limits(threads)
        return f"reference, the array code (threads: {threads}; Numba cannot be used: {error})"
    threads = cpu.use_threads(threads)
    install(standing("cpu", log), whole_copy=find_copy)
    keep_memory()
    threadpool_limits(1)
    return f"{'whole' if choice == 'whole' else 'fast'} (Numba, threads: {threads})"
