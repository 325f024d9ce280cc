"""Files that are written whole or not at all."""

import os
from pathlib import Path


def write_atomically(path, write) -> None:
    """`write(file)` into a file beside `path`, then put it in its place: a reader sees the old or the new, whole."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(path.name + f".{os.getpid()}.part")
    try:
        with open(beside, "wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)
