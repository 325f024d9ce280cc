"""What was compiled is kept where nobody else can write, and used as it was written or not at all."""

import os
import threading
import time
from pathlib import Path

import numba
import pytest

from minigen.errors import MinigenError
from minigen.kernels import use_kernels
from minigen.kernels.cpu import kept

unix = pytest.mark.skipif(os.name != "posix", reason="Windows has neither these rights nor these locks")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty one, in the place of this user's."""
    monkeypatch.setattr(kept, "FOLDER", tmp_path / "kernels")
    kept.FOLDER.mkdir()
    return kept.FOLDER


def compiled(folder: Path, content: bytes = b"code"):
    """What writes a file if there is none, as Numba does; it notes when it is called."""
    calls = []

    def warm():
        calls.append(sorted(path.name for path in folder.iterdir()))
        if not (folder / "below").exists():
            (folder / "below").mkdir()
            (folder / "below" / "made.nbi").write_bytes(content)

    return warm, calls


def test_the_folder_is_named_after_all_sources_and_where_numba_is_told_to(tmp_path, monkeypatch):
    monkeypatch.setenv("MINIGEN_CACHE", str(tmp_path))
    folder, reason = kept.kernels_folder()
    assert folder.parent == tmp_path and folder.is_dir() and not reason
    (tmp_path / "edited.py").write_text("def f(): pass")
    monkeypatch.setattr(kept, "SOURCES", [*kept.SOURCES, tmp_path / "edited.py"])
    assert kept.kernels_folder()[0] != folder
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path / "numba"))
    assert kept.kernels_folder()[0].parent == tmp_path / "numba"


@unix
def test_a_folder_that_is_not_there_for_this_user_alone_is_not_used(tmp_path, monkeypatch):
    monkeypatch.setenv("MINIGEN_CACHE", str(tmp_path))
    folder, _ = kept.kernels_folder()
    folder.chmod(0o777)
    assert kept.kernels_folder() == (None, f"others may write into {folder}")
    folder.chmod(0o700)
    monkeypatch.setattr(os, "getuid", lambda: folder.stat().st_uid + 1)
    assert kept.kernels_folder() == (None, f"others may write into {folder}")
    (tmp_path / "file").touch()
    monkeypatch.setenv("MINIGEN_CACHE", str(tmp_path / "file"))
    found, reason = kept.kernels_folder()
    assert found is None and reason.startswith(str(tmp_path / "file")) and reason.endswith("Not a directory")
    monkeypatch.delenv("MINIGEN_CACHE")
    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.setattr("pwd.getpwuid", lambda uid: {}[uid])
    assert kept.kernels_folder() == (None, "this user has no home")


def test_what_is_whole_is_used_again(folder):
    (folder / "left over.nbi").touch()
    warm, calls = compiled(folder)
    kept.warmed(warm)
    kept.warmed(warm)
    assert calls == [[], ["below", "digests.json"]]


@pytest.mark.parametrize("damage", ["made", "digests", "gone"])
def test_what_is_damaged_is_compiled_again(folder, damage):
    warm, calls = compiled(folder)
    kept.warmed(warm)
    file = folder / ("digests.json" if damage == "digests" else "below/made.nbi")
    file.unlink() if damage == "gone" else file.write_bytes(b"cod")
    kept.warmed(warm)
    kept.warmed(warm)
    assert calls == [[], [], ["below", "digests.json"]]


def test_what_cannot_be_read_is_compiled_again_and_no_more_than_once(folder):
    warm, calls = compiled(folder)

    def unpickling_fails():
        warm()
        if len(calls) in failing:
            raise EOFError("Ran out of input")

    failing = (1,)
    kept.warmed(unpickling_fails)
    assert calls == [[], []]
    failing = (3, 4)
    with pytest.raises(EOFError):
        kept.warmed(unpickling_fails)


@unix
def test_one_process_compiles_and_the_others_wait(folder):
    busy, most = [], []

    def warm():
        busy.append(1)
        most.append(len(busy))
        time.sleep(0.05)
        busy.pop()

    threads = [threading.Thread(target=kept.warmed, args=(warm,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1] * 4


def test_numba_switched_off_is_not_called_fast(monkeypatch):
    monkeypatch.setattr(numba.config, "DISABLE_JIT", 1)
    assert use_kernels("auto", 1) == (
        "reference, the array code (threads: 1; Numba cannot be used: NUMBA_DISABLE_JIT is set)"
    )
    with pytest.raises(MinigenError, match="NUMBA_DISABLE_JIT is set.: mend that, or use --kernels reference"):
        use_kernels("fast", 1)


@pytest.mark.parametrize("threads", ["0", "-1", "two"])
def test_a_wrong_number_of_threads_is_said(threads, monkeypatch):
    monkeypatch.setenv("NUMBA_NUM_THREADS", threads)
    with pytest.raises(MinigenError, match=f"NUMBA_NUM_THREADS is '{threads}': set it to 1 or more, or leave it unset"):
        use_kernels("auto", 1)


def test_a_full_disk_leaves_the_array_code(folder, monkeypatch):
    def full():
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("minigen.kernels.cpu.warm_up", full)
    assert "array code (threads: 1; Numba cannot be used: [Errno 28] No space left on device)" in use_kernels("auto", 1)
