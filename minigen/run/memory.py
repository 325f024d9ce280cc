"""How much memory a training takes: measured on a few rows before the first step, and reckoned for all of them."""

from pathlib import Path

from minigen.errors import MinigenError
from minigen.music.dataset import whole_songs
from minigen.run.train import gradient_of, inputs_of

TRIALS = 2, 6  # rows; what is taken grows in proportion to them
REST = 64 << 20  # bytes: pictures, pieces, checkpoints on their way to the disk


def _bytes(name: str, file: str = "/proc/self/status") -> int:
    """Of a line such as "VmRSS:   1234 kB"."""
    line = next(line for line in Path(file).read_text().splitlines() if line.startswith(f"{name}:"))
    return 1024 * int(line.split()[1])


def expected(model, params, data, valid, sounding, seed: int, rows: int, meta=None) -> int | None:
    """How many bytes this process will have at most while it trains `rows` fragments a step and validates whole songs;
    None where the system does not tell (only Linux does)."""
    c = model.config

    def train(n: int) -> None:
        gradient_of(model, params, *inputs_of(model, data, seed, 0, range(n), meta), meta)

    def judge(n: int) -> None:
        longest = sorted(range(len(valid)), key=lambda song: len(valid[song]))[-n:]
        _, block = next(whole_songs([valid[song] for song in longest], c.past, c.fragment,
                                    sounding=sounding and [sounding[song] for song in longest]))  # fmt: skip
        model.loss(params, block, model.draws(seed, "validation", 0, range(n), len(block["mask"])), grad=False)

    try:
        before = _bytes("VmRSS")
        most = [_extrapolated(train, rows, before)]
        if meta is None:
            most.append(_extrapolated(judge, min(len(valid), 64), before))
    except (OSError, StopIteration):
        return None
    return max(most) + REST


def _extrapolated(call, rows: int, before: int) -> float:
    """The bytes of this process at the highest point of `call(rows)`, from calls with a few rows."""
    peaks = []
    trials = [n for n in TRIALS if n < rows] or [rows]
    for n in trials:
        Path("/proc/self/clear_refs").write_text("5")  # VmHWM, the largest size so far, begins anew
        call(n)
        peaks.append(_bytes("VmHWM"))
    if len(peaks) == 1:
        return before + (peaks[0] - before) * rows / trials[0]
    return peaks[1] + (peaks[1] - peaks[0]) / (trials[1] - trials[0]) * (rows - trials[1])


def room() -> int:
    """How many bytes this process can have: what it has, and what the machine and its limits leave."""
    own, free = _bytes("VmRSS"), [_bytes("MemAvailable", "/proc/meminfo")]
    limit, used = Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory.current")  # of a container
    if limit.exists() and limit.read_text().strip().isdecimal():
        free.append(int(limit.read_text()) - int(used.read_text()))
    return own + min(free)


def in_words(needed: int | None, batch: int) -> str:
    """What to say of it, "" where nothing is known. Raises MinigenError, with a smaller batch as the remedy, where the
    machine has less."""
    if needed is None:
        return ""
    there = room()
    if needed > there:
        remedy = f"take --batch {batch // 2}" if batch > 1 else "take a smaller model, --set hidden=50"
        raise MinigenError(
            f"it would take about {needed / 2**30:.1f} GB, and this machine has {there / 2**30:.1f} GB free: {remedy}"
        )
    return f"; memory: about {needed / 2**30:.1f} GB"
