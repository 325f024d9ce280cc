"""What was compiled is kept where nobody else can write, and used as it was written or not at all."""

import os
import re
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
    monkeypatch.setattr(kept, "FOLDER", tmp_path / "kernels-1")
    kept.FOLDER.mkdir()
    return kept.FOLDER


def compiled(folder: Path):
    """What writes machine code if there is none, as Numba does; it notes what is there when it is called."""
    calls = []

    def warm():
        calls.append(sorted(path.name for path in folder.iterdir()))
        (folder / "below").mkdir(exist_ok=True)
        if not (folder / "below" / "made.nbc").exists():
            (folder / "below" / "made.nbc").write_bytes(b"code")

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


def another_process(monkeypatch, warm) -> None:
    """Calls it as the first time in a process."""
    monkeypatch.setattr(kept, "_checked", False)
    kept.warm_up_checked(warm)


def test_what_is_intact_is_used_again(folder, monkeypatch):
    """Also with what was compiled later."""
    (folder / "left over.nbc").touch()
    warm, calls = compiled(folder)
    another_process(monkeypatch, warm)
    (folder / "below" / "float64.nbc").write_bytes(b"more")
    (folder / "below" / "made.nbi").write_bytes(b"an index, which changes")
    another_process(monkeypatch, warm)
    kept.warm_up_checked(warm)  # the second time in a process nothing is checked
    (folder / "below" / "float64.nbc").write_bytes(b"mor")
    another_process(monkeypatch, warm)
    assert calls == [[], ["below", "checksums.json"], ["below", "checksums.json"], []]


@pytest.mark.parametrize("damage", ["made", "checksums", "an empty list", "gone"])
def test_what_is_damaged_is_compiled_again(folder, damage, monkeypatch):
    warm, calls = compiled(folder)
    another_process(monkeypatch, warm)
    file = folder / ("below/made.nbc" if damage in ("made", "gone") else "checksums.json")
    file.unlink() if damage == "gone" else file.write_bytes(b"{}" if damage == "an empty list" else b"cod")
    another_process(monkeypatch, warm)
    another_process(monkeypatch, warm)
    assert calls == [[], [], ["below", "checksums.json"]]


def test_what_cannot_be_read_is_compiled_again_and_no_more_than_once(folder, monkeypatch):
    warm, calls = compiled(folder)

    def unpickling_fails():
        warm()
        if len(calls) in failing:
            raise EOFError("Ran out of input")

    failing = (1,)
    another_process(monkeypatch, unpickling_fails)
    assert calls == [[], []]
    failing = (3, 4)
    with pytest.raises(EOFError):
        another_process(monkeypatch, unpickling_fails)


def test_folders_of_old_sources_are_deleted(folder, monkeypatch):
    for n in range(6):
        (folder.parent / f"kernels-old{n}").mkdir()
        os.utime(folder.parent / f"kernels-old{n}", (n, n))
    another_process(monkeypatch, compiled(folder)[0])
    assert sorted(path.name for path in folder.parent.glob("kernels-*")) == [
        "kernels-1", "kernels-old3", "kernels-old4", "kernels-old5"
    ]  # fmt: skip


@unix
def test_one_process_compiles_and_the_others_wait(folder):
    """Threads stand in for processes: each opens the lock anew."""
    busy, most = [], []

    def warm():
        busy.append(1)
        most.append(len(busy))
        time.sleep(0.05)
        busy.pop()

    def alone():
        with kept._alone():
            warm()

    threads = [threading.Thread(target=alone) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1] * 4


def test_numba_switched_off_is_not_called_fast(monkeypatch):
    monkeypatch.setattr(numba.config, "DISABLE_JIT", 1)
    assert use_kernels("auto", 1) == (
        "reference, the array code (threads: 1; Numba cannot be used: NUMBA_DISABLE_JIT is set: unset it)"
    )
    with pytest.raises(MinigenError, match="NUMBA_DISABLE_JIT is set: unset it.: use --kernels reference"):
        use_kernels("fast", 1)


def test_threads_that_numba_cannot_start_are_said_and_what_was_compiled_stays(folder, monkeypatch):
    def none():
        raise ValueError("No threading layer could be loaded.\nHINT:\nIntel TBB is required.")

    another_process(monkeypatch, compiled(folder)[0])
    monkeypatch.setattr(kept, "_checked", False)
    monkeypatch.setattr(numba, "get_num_threads", none)
    monkeypatch.setenv("NUMBA_THREADING_LAYER", "tbb")
    reason = "No threading layer could be loaded. HINT: Intel TBB is required; unset what does not fit of .*LAYER"
    assert re.search(f"array code .threads: 1; Numba cannot be used: {reason}.$", use_kernels("auto", 1))
    with pytest.raises(MinigenError, match=f"^Numba cannot be used .{reason}.: use --kernels reference$"):
        use_kernels("fast", 1)
    assert (folder / "below" / "made.nbc").read_bytes() == b"code"


@unix
@pytest.mark.parametrize("make", [Path.mkdir, getattr(os, "mkfifo", None)])
def test_what_cannot_be_a_lock_is_none(folder, make, monkeypatch):
    make(folder.with_name("kernels.lock"))
    warm, calls = compiled(folder)
    another_process(monkeypatch, warm)
    assert len(calls) == 1


@pytest.mark.parametrize("threads", ["0", "-1", "two"])
def test_a_wrong_number_of_threads_is_said(threads, monkeypatch):
    monkeypatch.setenv("NUMBA_NUM_THREADS", threads)
    with pytest.raises(MinigenError, match=f"NUMBA_NUM_THREADS is '{threads}': set it to 1 or more, or leave it unset"):
        use_kernels("auto", 1)


def test_a_full_disk_leaves_the_array_code(folder, monkeypatch):
    monkeypatch.setattr(kept, "_checked", False)

    def full():
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("minigen.kernels.cpu.warm_up", full)
    assert "array code (threads: 1; Numba cannot be used: [Errno 28] No space left on device)" in use_kernels("auto", 1)
