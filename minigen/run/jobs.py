"""Processes that train side by side, and end with the one that started them."""

from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import active_children, get_context

from minigen.errors import MinigenError


@contextmanager
def processes(jobs: int, kept: str = ""):
    """A ProcessPoolExecutor of so many. What ends the block early, a signal or an error, ends them at once, and drops
    what waits. Raises MinigenError, which says what is `kept`, where the system killed one of them."""
    # spawned and not forked: the threads of compiled code do not survive a fork
    pool = ProcessPoolExecutor(jobs, mp_context=get_context("spawn"))
    try:
        yield pool
    except BrokenProcessPool as error:
        raise MinigenError(
            f"a process that trained was killed, perhaps for want of memory: use --jobs 1, or more memory{kept}", code=1
        ) from error
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
        for process in active_children():
            process.terminate()
