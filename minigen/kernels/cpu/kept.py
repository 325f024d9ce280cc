"""Where compiled kernels are kept, so that they are compiled once for each machine: or nowhere, which costs time only.

A compiled function calls others of other files, and Numba looks at its own file alone: so the folder is named after the
text of all of them. What Numba keeps are pickles, which can run anything, and machine code, which it does not check: so
the folder must be this user's own. Machine code that is not as it was, by the list of it, is deleted and made again.
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
KEPT = 4  # folders, of as many versions of the sources
_checked = False


def cached_njit(**options):
    """`numba.njit` with these options, its code kept in the folder if there is one."""

    def decorate(function):
        before, numba.config.CACHE_DIR = numba.config.CACHE_DIR, str(FOLDER or "")
        try:
            return numba.njit(cache=FOLDER is not None, **options)(function)
        finally:
            numba.config.CACHE_DIR = before

    return decorate


def _checksums() -> dict[str, int]:
    """Of all machine code in the folder; a file of it, once written, stays as it is."""
    return {str(path.relative_to(FOLDER)): crc32(path.read_bytes()) for path in FOLDER.rglob("*.nbc")}


def warm_up_checked(warm) -> None:
    """Call `warm()`, which calls every kernel: one process at a time, so that the first compiles for all. Its first
    call in a process checks what was compiled before."""
    global _checked
    if FOLDER is None or _checked:
        warm()
        return
    _checked = True
    with _alone():
        listed = FOLDER / "checksums.json"
        try:
            before = json.loads(listed.read_text())
            intact = bool(before) and before.items() <= _checksums().items()
        except (OSError, ValueError, AttributeError):  # the first time, or damaged
            intact = False
        if not intact:
            before = empty(FOLDER)
        try:
            warm()
        except Exception:  # a damaged index can raise anything
            before = empty(FOLDER)
            warm()
        if (now := _checksums()) != before:
            write_atomically(listed, lambda file: file.write(json.dumps(now).encode()))
        for old in sorted(FOLDER.parent.glob("kernels-*/"), key=lambda path: path.stat().st_mtime)[:-KEPT]:
            shutil.rmtree(old, ignore_errors=True)


def empty(folder: Path) -> dict:
    """Delete what was compiled -> what is left, by name: nothing."""
    for path in folder.iterdir():
        shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)
    return {}


@contextmanager
def _alone():
    """Wait until no other process compiles; where the system has no locks, do not."""
    handle = None
    try:
        import fcntl

        handle = os.open(FOLDER.with_name("kernels.lock"), os.O_RDWR | os.O_CREAT | os.O_NONBLOCK, 0o666)
        fcntl.flock(handle, fcntl.LOCK_EX)
    except (ImportError, OSError):  # Windows; a file system without locks; something else of this name
        pass
    try:
        yield
    finally:
        if handle is not None:
            os.close(handle)
