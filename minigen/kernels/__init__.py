"""Fast translations of the layers' functions; the array code is the specification, and a test holds each to it.

For a CPU, in Numba:
    lstm.py         the LSTM over a whole sequence
    pointwise.py    softmax, draws, the octave loss
    adam.py         Adam in one pass
    voices.py       voices that hear each other, on one song
    stream.py       one step of playing, all parts in one call
    learn.py        the loss on one song and its gradients, for learning while playing
    rows.py         what one row takes: a step of an LSTM, softmax, a draw
    activations.py  tanh, sigmoid and how kernels are compiled
    threads.py      how many threads a kernel gets
    numba_cpu.py    their table by name

For CUDA, in float32; Numba is not needed:
    lstm.cu, lstm_step.cu    lstm_cuda.py       the LSTM over a whole sequence
    voices.cu                voices_cuda.py     voices that hear each other, their draws and their union
    pointwise.cu, adam.cu    pointwise_cuda.py  softmax, the two losses, Adam
    launch.py                                   how a kernel is compiled and launched
    cuda.py                                     their table by name
"""

import ctypes
import os

import numpy as np
from threadpoolctl import threadpool_limits

from minigen.backend import install
from minigen.errors import MinigenError


def keep_memory() -> bool:
    """Tell glibc's malloc to keep what is freed, for the whole process; False where there is no such thing to tell.

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


def use_kernels(choice: str, threads: int | None = None, say=lambda words: None, xp=np) -> str:
    """Choose `reference`, `fast` or `auto`, and how many threads, for the whole process; returns the words to show.

    `xp` is the array module that will be used: for CuPy the fast kernels are those for CUDA, which need no Numba. Those
    for a CPU split the batch over the threads and give each its own products, so BLAS gets one, and freed memory is
    kept; the reference leaves the threads to BLAS. `say` is told before they are loaded, since the first time they are
    compiled.
    Raises MinigenError where `fast` is asked for and Numba is not there.
    """
    threads = threads or cores()
    if threads > cores():
        raise MinigenError(f"{threads} threads were asked for and there are {cores()} cores: ask for so many or fewer")
    install({})
    install({}, "cupy")
    if choice == "reference":
        threadpool_limits(threads)
        return f"reference (threads: {threads})"
    if xp is not np:
        from minigen.kernels import cuda

        install(cuda.KERNELS, "cupy")
        threadpool_limits(threads)
        return "fast (CUDA)"
    say("loading the kernels (compiled the first time, in about half a minute)")
    try:
        from minigen.kernels import numba_cpu
    except ImportError as error:
        if choice == "fast":
            raise MinigenError(f"Numba cannot be loaded ({error}): install it, or use --kernels reference") from error
        threadpool_limits(threads)
        return f"reference (threads: {threads}; Numba cannot be loaded: {error})"
    threads = numba_cpu.use_threads(threads)
    numba_cpu.warm_up()
    install(numba_cpu.KERNELS | numba_cpu.PLAYING)
    keep_memory()
    threadpool_limits(1)
    return f"fast (Numba, threads: {threads})"
