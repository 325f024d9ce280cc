"""Files that are written whole or not at all, and archives of arrays that are read without trust."""

import csv
import io
import math
import os
import stat
import sys
import zipfile
from pathlib import Path

import numpy as np

from minigen.errors import MinigenError


def cache_folder() -> Path | None:
    """Where minigen keeps what it would only make again: MINIGEN_CACHE, or its folder where this system keeps caches;
    None for a user without a home."""
    if chosen := os.environ.get("MINIGEN_CACHE"):
        return Path(chosen)
    try:
        home = Path.home()
    except RuntimeError:
        return None
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or home / "AppData" / "Local") / "minigen"
    if sys.platform == "darwin":
        return home / "Library" / "Caches" / "minigen"
    return Path(os.environ.get("XDG_CACHE_HOME") or home / ".cache") / "minigen"


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
    except OSError as error:  # one of a full disk has no name
        error.filename = os.fspath(path)
        raise
    finally:
        beside.unlink(missing_ok=True)


def write_csv(path, rows: list[dict]) -> None:
    """Rows as a CSV file, whole or not at all; what a row lacks is empty."""
    text = io.StringIO()
    names = dict.fromkeys(name for row in rows for name in row)  # a run may have begun with fewer
    writer = csv.DictWriter(text, names, lineterminator="\r\n")
    writer.writeheader()
    writer.writerows(rows)
    write_atomically(path, lambda file: file.write(text.getvalue().encode("utf-8", "backslashreplace")))


def opened(path, most: int | None = None):
    """A file, open for reading bytes. Raises ValueError where it is a pipe, which might never be written, or a device,
    which might never end, or is over `most` bytes; and OSError."""
    found = os.stat(path)
    if not (stat.S_ISREG(found.st_mode) or stat.S_ISDIR(found.st_mode)):  # a folder is refused below
        raise ValueError("it is no regular file")
    if most and found.st_size > most:
        raise ValueError(f"it is over {most} bytes")
    return open(path, "rb")


def read_arrays(path, largest: int | None = None, only: str = "") -> dict[str, np.ndarray]:
    """The arrays of an .npz by name, or `only` one of them. None is a pickle, and nothing is allocated that the file
    does not hold.

    Raises ValueError where an array is not as long as its header says, or all are over `largest` bytes, if None over
    those of the file, as all are that are compressed; and, as zipfile and NumPy do, several other errors where the file
    is no such archive.
    """
    arrays = {}
    with opened(path) as file, zipfile.ZipFile(file) as archive:
        largest = largest or os.fstat(file.fileno()).st_size
        if sum(info.file_size for info in archive.infolist()) > largest:
            raise ValueError(f"it is over {largest} bytes")
        for info in [archive.getinfo(f"{only}.npy")] if only else archive.infolist():
            if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise ValueError(info.filename)  # of the others a reader may unpack more than is asked for
            with archive.open(info) as part:
                version = np.lib.format.read_magic(part)
                shape, fortran, dtype = np.lib.format.read_array_header_1_0(part)
                size = math.prod(shape) * dtype.itemsize
                if version != (1, 0) or dtype.hasobject or part.tell() + size != info.file_size:
                    raise ValueError(info.filename)
                array = np.frombuffer(part.read(size), dtype).reshape(shape, order="F" if fortran else "C")
                arrays[info.filename.removesuffix(".npy")] = array
    return arrays


def lock(folder: Path) -> None:
    """Take a folder for this process, which gives it back when it ends, however it ends. Nothing happens where the
    system has no locks. Raises MinigenError where another process has it."""
    try:
        import fcntl
    except ImportError:  # Windows
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        raise MinigenError(f"{folder} is in use by another process: wait for it, or choose another folder") from None
    except OSError:  # a file system without locks
        os.close(handle)


def write_between(path: Path, name: str, lines: list[str]) -> None:
    """Put lines between a text file's markers `<!-- name: begin -->` and `<!-- name: end -->`, which stay."""
    before, begin, rest = path.read_text(encoding="utf-8").partition(f"<!-- {name}: begin -->\n")
    _, end, after = rest.partition(f"<!-- {name}: end -->")
    if not (begin and end):
        raise MinigenError(f"{path} has no place for its {name}: put <!-- {name}: begin --> and end back")
    whole = before + begin + "\n".join(lines) + "\n" + end + after
    write_atomically(path, lambda file: file.write(whole.encode()))
