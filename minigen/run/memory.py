"""How much memory a training takes: measured on a few rows before the first step, and reckoned for all of them."""

import ctypes
from pathlib import Path

import numpy as np

from minigen.errors import MinigenError
from minigen.music.dataset import SIDE_BY_SIDE, whole_songs
from minigen.run.train import gradient_of, inputs_of

TRIALS = 2, 6  # rows; what is taken grows in proportion to them
REST = 64 << 20  # bytes: pictures, pieces, checkpoints on their way to the disk


def _bytes(name: str, file: str = "/proc/self/status") -> int:
    """Of a line such as "VmRSS:   1234 kB"."""
    line = next(line for line in Path(file).read_text().splitlines() if line.startswith(f"{name}:"))
    return 1024 * int(line.split()[1])


def expected(model, params, data, valid, sounding, seed: int, rows: int, meta=None) -> tuple[int, int] | None:
    """How many bytes this process will have at most while it trains `rows` fragments a step and validates whole songs,
    and how many of them are taken by the rows; None where the system does not tell (only Linux does)."""
    c = model.config

    def train(n: int) -> None:
        gradient_of(model, params, *inputs_of(model, data, seed, 0, range(n), meta), meta)

    def judge(n: int) -> None:
        longest = sorted(range(len(valid)), key=lambda song: len(valid[song]))[-n:]
        heard = sounding and [sounding[song] for song in longest]
        _, block = next(whole_songs([valid[song] for song in longest], c.past, c.fragment, sounding=heard))
        model.loss(params, block, model.draws(seed, "validation", 0, range(n), len(block["mask"])), grad=False)

    try:
        before = _bytes("VmRSS")
        of_rows = _reckoned(train, rows)
        of_songs = 0 if meta else _reckoned(judge, min(len(valid), SIDE_BY_SIDE))
    except (OSError, StopIteration):
        return None
    # the sum, for what was freed is in pieces, and little of it is used again
    return before + of_rows + of_songs + REST, of_rows


def _reckoned(call, rows: int) -> int:
    """How many bytes `call(rows)` takes at its highest point, from calls with a few rows."""
    peaks = []
    trials = [n for n in TRIALS if n < rows] or [rows]
    for n in trials:
        if trim := getattr(ctypes.CDLL(None), "malloc_trim", None):
            trim(0)  # what was freed goes back to the system: what is taken again is seen
        Path("/proc/self/clear_refs").write_text("5")  # VmHWM, the largest size so far, begins anew
        before = _bytes("VmRSS")
        with np.errstate(all="ignore"):  # what is not finite is said by the first step
            call(n)
        peaks.append(_bytes("VmHWM") - before)
    if len(peaks) == 1:
        return peaks[0] * rows // trials[0]
    return peaks[1] + (peaks[1] - peaks[0]) * (rows - trials[1]) // (trials[1] - trials[0])


def room() -> int:
    """How many bytes this process can have: what it has, and what the machine and its limits leave."""
    own, free = _bytes("VmRSS"), [_bytes("MemAvailable", "/proc/meminfo")]
    limit, used, details = (Path("/sys/fs/cgroup", f"memory.{name}") for name in ("max", "current", "stat"))
    if limit.exists() and limit.read_text().strip().isdecimal():  # of a container
        kept = next(
            int(line.split()[1]) for line in details.read_text().splitlines() if line.startswith("inactive_file")
        )
        free.append(int(limit.read_text()) - int(used.read_text()) + kept)  # files that are kept give way
    return own + min(free)


def in_words(needed: tuple[int, int] | None, batch: int, resumed: bool = False, ranks: int = 1) -> str:
    """What to say of it, "" where nothing is known. Raises MinigenError, with a remedy, where the machine has less for
    each of `ranks` processes."""
    if needed is None:
        return ""
    (total, of_rows), there = needed, room() // ranks
    if total > there:
        remedy = "use a machine with more memory, or songs that are shorter"
        if batch > 1 and not resumed and total - of_rows < there:
            remedy = f"take --batch {batch // 2}"
        raise MinigenError(
            f"it would take about {total / 2**30:.1f} GB, and this process can have {there / 2**30:.1f} GB: {remedy}"
        )
    return f"; memory: about {total / 2**30:.1f} GB"
