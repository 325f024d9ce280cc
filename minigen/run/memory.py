"""How much memory a training takes: measured on a few rows before the first step, and reckoned for all of them."""

import ctypes
from pathlib import Path

import numpy as np

from minigen.errors import MinigenError
from minigen.music.dataset import SIDE_BY_SIDE, whole_songs
from minigen.run.train import gradient_of, inputs_of

TRIALS = 2, 6  # rows; what is taken grows by as much with each
MARGIN = 0.9  # of the room, for a batch that is advised: what is reckoned is not exact, nor is the room the same later
REST = 64 << 20  # bytes: pictures, pieces, checkpoints on their way to the disk


def _bytes(name: str, file: str = "/proc/self/status") -> int:
    """Of a line such as "VmRSS:   1234 kB"."""
    line = next(line for line in Path(file).read_text().splitlines() if line.startswith(f"{name}:"))
    return 1024 * int(line.split()[1])


def expected(model, params, data, valid, sounding, seed: int, rows: int, meta=None) -> tuple[int, int] | None:
    """How many bytes this process will have at most while it trains `rows` fragments a step and validates whole songs,
    and how many of them grow with the rows; None where the system does not tell (only Linux does)."""
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
        of_training, of_rows = _reckoned(train, rows)
        of_songs, _ = (0, 0) if meta else _reckoned(judge, min(len(valid), SIDE_BY_SIDE))
    except (OSError, StopIteration):
        return None
    # the sum, for what was freed is in pieces, and little of it is used again
    return before + of_training + of_songs + REST, of_rows


def _reckoned(call, rows: int) -> tuple[int, int]:
    """How many bytes `call(rows)` takes at its highest point, from calls with a few rows, and how many of them grow
    with the rows."""
    few, more = TRIALS if rows > TRIALS[1] else (1, rows)
    peaks = []
    for n in (few, more):
        if trim := getattr(ctypes.CDLL(None), "malloc_trim", None):
            trim(0)  # what was freed goes back to the system: what is taken again is seen
        Path("/proc/self/clear_refs").write_text("5")  # VmHWM, the largest size so far, begins anew
        before = _bytes("VmRSS")
        with np.errstate(all="ignore"):  # what is not finite is said by the first step
            call(n)
        peaks.append(_bytes("VmHWM") - before)
    of_one = max(0, peaks[1] - peaks[0]) // max(1, more - few)
    return peaks[1] + of_one * (rows - more), of_one * rows


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
        remedy = "use a machine with more memory"
        fits = int(batch * max(0, MARGIN * there - (total - of_rows)) / max(1, of_rows))
        if not resumed:  # which has its batch, its songs and its model
            remedy += ", songs that are shorter, or a smaller model (--set hidden=50)"
        if fits >= ranks and not resumed:
            remedy = f"take --batch {1 << fits.bit_length() - 1}"
        raise MinigenError(
            f"it would take about {total / 2**30:.1f} GB, and this process can have {there / 2**30:.1f} GB: {remedy}"
        )
    return f"; memory: about {total / 2**30:.1f} GB"
