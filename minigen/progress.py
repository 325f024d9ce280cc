"""How far long work is: a bar on a terminal, elsewhere a line now and then; nothing in the first two seconds."""

import sys
import time
from collections.abc import Iterable, Iterator

from tqdm import tqdm

SOON, EVERY = 2, 30  # seconds until the bar is shown; from one line to the next


def progress(items: Iterable, what: str, total: int | None = None) -> Iterator:
    """The items one after the other; `total`, how many, where they have no length. It tells on stderr."""
    total = len(items) if total is None else total
    if sys.stderr.isatty():
        yield from tqdm(items, what, total, leave=False, delay=SOON)
        return
    began = printed = time.monotonic()
    for n, item in enumerate(items, 1):
        yield item
        now = time.monotonic()
        if now - printed >= EVERY and n < total:
            left = (now - began) / n * (total - n)
            print(f"{what}: {n} of {total}, {left:.0f} s left", file=sys.stderr, flush=True)
            printed = now
