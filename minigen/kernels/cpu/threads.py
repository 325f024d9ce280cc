"""How many threads a kernel gets: all that were asked for, or one where waking the others costs more than they do."""

import numba

SMALL = 100_000  # cells; an empty parallel region takes some microseconds on an idle machine, and 8 ms on a busy one
_threads = 1


def use_threads(threads: int) -> int:
    """Set and return the number for the whole process: at most what NUMBA_NUM_THREADS allows."""
    global _threads
    _threads = min(threads, numba.config.NUMBA_NUM_THREADS)
    return _threads


def share(cells: int) -> int:
    """Set and return the number of threads for a kernel over so many cells."""
    threads = _threads if cells >= SMALL else 1
    numba.set_num_threads(threads)
    return threads
