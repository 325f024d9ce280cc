"""How many threads a kernel gets: all that were asked for, or one where waking the others costs more than they do."""

import numba

from minigen.errors import MinigenError

SMALL = 100_000  # cells; an empty parallel region takes some microseconds on an idle machine, and 8 ms on a busy one
_threads = 1


def use_threads(threads: int) -> None:
    """The number for the whole process. Raises MinigenError for more than Numba was started with."""
    global _threads
    most = numba.config.NUMBA_NUM_THREADS
    if threads > most:
        raise MinigenError(f"{threads} threads were asked for and there are {most} cores: ask for {most} or fewer")
    _threads = threads


def share(cells: int) -> int:
    """Set and return the number of threads for a kernel over so many cells."""
    threads = _threads if cells >= SMALL else 1
    numba.set_num_threads(threads)
    return threads
