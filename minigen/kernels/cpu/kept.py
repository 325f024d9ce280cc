"""Where compiled kernels are kept, so that they are compiled once for each machine: or nowhere, which costs time only.

A compiled function calls others of other files, and Numba looks at its own file alone: so the folder is named after the
text of all of them. What Numba keeps are pickles, which can run anything, and machine code, which it does not check: so
the folder must be this user's own, and what was once compiled in it must be as it was, or it is deleted and made again.
"""

import json
import os
import shutil
import tempfile
from contextlib import contextmanager
from pathlib import Path
from zlib import crc32

import numba

from minigen.files import cache_folder, write_atomically

OWN = Path(__file__).parent
SOURCES = sorted([*OWN.glob("*.py"), *OWN.with_name("whole").glob("*.py")])


def kernels_folder() -> tuple[Path | None, str]:
    """The folder, made if need be, and ""; or None, and why there is none."""
    base = Path(numba.config.CACHE_DIR) if numba.config.CACHE_DIR else cache_folder()
    if base is None:
        return None, "this user has no home"
    folder = base / f"kernels-{crc32(b''.join(path.read_bytes() for path in SOURCES)):08x}"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
        found = folder.stat()
    except OSError as error:
        return None, f"{folder}: {error.strerror}"
    if hasattr(os, "getuid") and (found.st_uid != os.getuid() or found.st_mode & 0o022):
        return None, f"others may write into {folder}"
    return folder, ""


FOLDER, REASON = kernels_folder()


def kept(**options):
    """`numba.njit` with these options, its code kept in the folder if there is one."""

    def compile(function):
        before, numba.config.CACHE_DIR = numba.config.CACHE_DIR, str(FOLDER or "")
        try:
            return numba.njit(cache=FOLDER is not None, **options)(function)
        finally:
            numba.config.CACHE_DIR = before

    return compile


def _digests() -> dict[str, int]:
    return {
        str(path.relative_to(FOLDER)): crc32(path.read_bytes()) for path in FOLDER.rglob("*.nb[ic]") if path.is_file()
    }


def warmed(warm) -> None:
    """Call `warm()`, which calls every kernel: one process at a time; the first compiles for all."""
    if FOLDER is None:
        warm()
        return
    with _alone():
        listed = FOLDER / "digests.json"
        try:
            whole = json.loads(listed.read_text()).items() <= _digests().items()
        except (OSError, ValueError, AttributeError):  # the first time, or damaged
            whole = False
        if not whole:
            empty()
        try:
            warm()
        except Exception:  # also a damaged file can raise anything
            empty()
            warm()
        if not whole:
            text = json.dumps(_digests()).encode()
            write_atomically(listed, lambda file: file.write(text))


def empty() -> None:
    """Delete what was compiled."""
    for path in FOLDER.iterdir():
        shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)


@contextmanager
def _alone():
    """Wait until no other process compiles; where the system has no locks, do not."""
    with open(FOLDER.with_suffix(".lock"), "ab") as file:
        try:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX)
        except (ImportError, OSError):  # Windows; a file system without locks
            pass
        yield
