"""Files from strangers: mutated MIDI files, checkpoints, song sets and traces, which a reader uses or refuses.

    python tests/fuzz.py                                  200 MIDI files, 50 of each other kind
    python tests/fuzz.py --midi 50000 --archives 5000     all of it, in about half an hour

A file is refused by minigen's own error and no other, in 5 seconds of processor time and 1 GB; what is read is written,
and read as the same. A file that fails stays in the folder --keep; its number and the seed make it again.
"""

import argparse
import io
import json
import resource
import signal
import sys
import tempfile
import time
import traceback
import zipfile
from pathlib import Path

import mido
import numpy as np
from helpers import SONGS, fresh, small

from minigen.errors import MinigenError
from minigen.kernels import use_kernels
from minigen.music.dataset import Dataset
from minigen.music.folders import read_songs
from minigen.music.midi import read_song
from minigen.music.midi_out import write_midi
from minigen.music.songset import SongSet
from minigen.run import checkpoint
from minigen.run.crash import load_crash, repeat, save_crash
from minigen.run.passage import generated
from minigen.run.perform import perform
from minigen.run.sample import generate
from minigen.run.trace import in_words, load_trace, replay, save_trace
from minigen.run.train import inputs_of

MODELS = {name: fresh(small(name, sustain=4 * (name != "capsules"))) for name in ("ordered", "final", "capsules")}
SECONDS, MEMORY = 5, 1 << 30
NUMBERS = (0, 1, 2, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
VALUES = (None, True, -1, 0, 2**31, 2**63, 2**70, 1e308, float("nan"), float("inf"), 0.5, "", "x" * 3000, "\ud800", [],
          [[]], {}, {"a": 1}, "<b>", "../../x")  # fmt: skip


class Hang(BaseException):
    """The time is over; no reader may catch it."""


def edited(data: bytes, other: bytes, rng) -> bytes:
    """A few changes of bytes: flips, numbers at their limits, cuts, repeats, a piece of another file."""
    data = bytearray(data)
    for _ in range(rng.integers(1, 9)):
        at, size = int(rng.integers(len(data) + 1)), int(rng.integers(1, 1 << rng.integers(1, 9)))
        match rng.integers(7):
            case 0:
                data[at : at + 1] = bytes([rng.integers(256)])
            case 1:
                data[at : at + 1] = bytes(byte ^ 1 << int(rng.integers(8)) for byte in data[at : at + 1])
            case 2:
                width = int(rng.choice([1, 2, 4, 8]))
                number = int(rng.choice(NUMBERS)) % 256**width
                data[at : at + width] = number.to_bytes(width, str(rng.choice(["big", "little"])))
            case 3:
                del data[at : at + size]
            case 4:
                data[at:at] = data[at : at + size] * int(rng.integers(1, 4))
            case 5:
                begin = int(rng.integers(len(other)))
                data[at : at + size] = other[begin : begin + size]
            case 6:
                del data[at if rng.integers(4) == 0 else len(data) :]
    return bytes(data)


def reworded(value, rng):
    """JSON with one thing in it replaced, left out or added."""
    if isinstance(value, dict | list) and value and rng.integers(4):
        copy = dict(value) if isinstance(value, dict) else dict(enumerate(value))
        name = list(copy)[rng.integers(len(copy))]
        match rng.integers(8):
            case 0:
                del copy[name]
            case 1:
                copy[str(name) + "x" if isinstance(value, dict) else len(copy)] = copy[name]
            case _:
                copy[name] = reworded(copy[name], rng)
        return copy if isinstance(value, dict) else [copy[n] for n in sorted(copy)]
    return VALUES[rng.integers(len(VALUES))]


def repacked(data: bytes, rng) -> bytes:
    """An archive whose checksums are right and of which one member is not what it was."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    name = list(members)[rng.integers(len(members))] if rng.integers(3) else "header.npy"
    match rng.integers(5):
        case 0:
            members[name] = edited(members[name], members["header.npy"], rng)
        case 1:
            del members[name]
        case 2:
            array = np.load(io.BytesIO(members[name]))
            makes = (np.zeros_like, np.ravel, lambda a: a.astype("f8"), lambda a: a.astype(complex), lambda a: a[:0],
                     lambda a: np.full_like(a, 200), lambda a: a[None], lambda a: a.astype("S3"), lambda a: a[..., :1],
                     lambda a: np.full(a.shape, np.nan), lambda a: -a.astype("i8"), lambda a: a.T)  # fmt: skip
            members[name] = npy(makes[rng.integers(len(makes))](array))
        case _:
            header = json.loads(np.load(io.BytesIO(members["header.npy"])).tobytes())
            members["header.npy"] = npy(np.frombuffer(json.dumps(reworded(header, rng)).encode(), np.uint8))
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", rng.choice([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return packed.getvalue()


def npy(array) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


# what is done with a file that can be read: it is used, written and read again


def midi(path: Path, again: Path) -> None:
    song = read_song(path)
    write_midi(again, song.roll, sounding=song.sounding, metre=song.metre)
    same = read_song(again)
    assert np.array_equal(same.roll, song.roll) and np.array_equal(same.sounding, song.sounding)
    assert all("\n" not in warning for warning in song.warnings)


def checkpoints(path: Path, again: Path) -> None:
    trained = checkpoint.load(path)
    if trained.params.flat.size < 1e6:
        generate(trained, 1, 0, np.eye(16, 88) if trained.model.needs_classes else None)
    keep = ("training", "split", "metrics", "data", "licence", "command", "corpus")
    about = {name: trained.header[name] for name in keep if name in trained.header}
    checkpoint.save(again, trained.model, trained.params, trained.moments, trained.raw, **about)
    same = checkpoint.load(again)
    assert np.array_equal(same.params.flat, trained.params.flat) and same.model.config == trained.model.config


def song_sets(path: Path, again: Path) -> None:
    songs = SongSet.load(path)
    songs.save(again)
    same = SongSet.load(again)
    assert same.digest() == songs.digest() and (same.names, same.metre) == (songs.names, songs.metre)


def crashes(path: Path, again: Path) -> None:
    crash = load_crash(path)
    if crash.params.flat.size < 1e6:
        assert len(repeat(crash)[0]) > 3


def traces(path: Path, again: Path) -> None:
    trace = load_trace(path)
    last = len(trace["keys"]) - 1
    assert in_words(trace, 0) and in_words(trace, last)
    generated(trace)
    replay(MODELS[trace["header"]["model"]], trace)


def beginning(song: Path) -> bytes:
    """The first events of each track of a MIDI file."""
    whole, file = mido.MidiFile(song), io.BytesIO()
    for track in whole.tracks:
        del track[60:]
    whole.save(file=file)
    return file.getvalue()


def archives(folder: Path) -> dict[str, list[bytes]]:
    """Whole files of every kind, to be mutated."""
    found = {"checkpoints": [], "song_sets": [], "crashes": [], "traces": []}
    file = folder / "whole.npz"
    for n, trained in enumerate(MODELS.values()):
        about = {
            "data": "songs: 3",
            "split": {"seed": 0, "valid": 0.1},
            "training": {"step": 3, "rate": 0.1},
            "licence": "none",
        }
        checkpoint.save(file, trained.model, trained.params, trained.moments if n else None, **about)
        found["checkpoints"].append(file.read_bytes())
        played = perform(trained, 6, n, traced=True)
        save_trace(file, trained, played.roll, played.traces, n, 1.0, 6)
        found["traces"].append(file.read_bytes())
        songs = read_songs(SONGS[n : n + 3])
        c = trained.model.config
        sounding = [songs.sounding(i) for i in range(3)] if c.sustain else None
        data = Dataset(songs.rolls, c.past, 24, 8, False, sounding=sounding)
        inputs = inputs_of(trained.model, data, 0, n, range(2))
        save_crash(file, trained.model, trained.params, *inputs, 0, n, 0.01, None)
        found["crashes"].append(file.read_bytes())
        songs.save(file)
        found["song_sets"].append(file.read_bytes())
    return found


def limited(use, path: Path, again: Path) -> str:
    """Use a file within the limits -> "read", "refused" or what went wrong."""
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    try:
        use(path, again)
        return "read"
    except MinigenError as error:
        return "refused" if "\n" not in str(error) else f"a sentence of several lines: {error}"
    except BaseException:
        return traceback.format_exc()
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--midi", type=int, default=200)
    parser.add_argument("--archives", type=int, default=50, help="checkpoints, song sets and traces, of each so many")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, default=Path("fuzz"), help="where files that fail are put")
    args = parser.parse_args()
    use_kernels("reference", 1)

    def over(*_):
        raise Hang(f"over {SECONDS} s")

    signal.signal(signal.SIGPROF, over)
    bad = 0
    with tempfile.TemporaryDirectory() as folder:
        path, again = Path(folder, "file"), Path(folder, "again")
        whole = {"midi": list(map(beginning, SONGS))} | archives(Path(folder))
        held = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (held + MEMORY, resource.RLIM_INFINITY))
        for kind, files in whole.items():
            count, slowest, began = {"read": 0, "refused": 0}, 0.0, time.monotonic()
            number = args.midi if kind == "midi" else args.archives
            for n in range(number):
                rng = np.random.default_rng([args.seed, n, len(kind)])
                data, other = (files[k] for k in rng.integers(len(files), size=2))
                data = repacked(data, rng) if kind != "midi" and rng.integers(2) else edited(data, other, rng)
                path.write_bytes(data)
                start = time.process_time()
                word = limited(globals()[kind], path, again)
                slowest = max(slowest, time.process_time() - start)
                if word in count:
                    count[word] += 1
                    continue
                bad += 1
                args.keep.mkdir(exist_ok=True)
                (args.keep / f"{kind}-{args.seed}-{n}").write_bytes(data)
                print(f"{kind} {n}: {word}")
            words = ", ".join(f"{number} {word}" for word, number in count.items())
            print(f"{kind}: {words}; {number - sum(count.values())} wrong; the slowest took {slowest:.2f} s, "
                  f"all {time.monotonic() - began:.0f} s", flush=True)  # fmt: skip
    return int(bad > 0)


if __name__ == "__main__":
    sys.exit(main())
