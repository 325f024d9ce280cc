"""A song set: rolls of one grid with their names, and the file (.npz) that is cache, corpus and exchange format.

header      JSON as bytes: magic, version, steps_a_bar, held, names, refused
rows        (N, 11) uint8: the steps of all songs on end, `np.packbits` of 88 keys each
offsets     (songs + 1,) int64: song i is rows[offsets[i]:offsets[i+1]]

songs = read_songs(["my_midi/", "other.mid", "chorales.npz"])
"""

import contextlib
import hashlib
import json
import os
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from minigen.errors import MinigenError
from minigen.files import write_atomically
from minigen.music.midi import READER_VERSION, SUFFIXES, Refused, contents, read_midi

MAGIC, VERSION = "minigen song set", 1


@dataclass
class SongSet:
    """Rolls (T, 88) uint8 of 0/1 with a name each, and what was not used: (name, reason)."""

    rolls: list[np.ndarray]
    names: list[str]
    steps_a_bar: int = 16  # 1 where there are no bars
    held: bool = False  # cells say what is struck, not what is held
    refused: list[tuple[str, str]] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.rolls)

    def take(self, indices) -> "SongSet":
        """The songs of these numbers, in this order."""
        return replace(self, rolls=[self.rolls[i] for i in indices], names=[self.names[i] for i in indices], refused=[])

    def digest(self) -> str:
        """A fingerprint of the music, whatever the files are called."""
        return hashlib.sha256(
            b"".join(len(roll).to_bytes(8, "big") + roll.tobytes() for roll in self.rolls)
        ).hexdigest()

    def save(self, path) -> None:
        """Write the file whole or not at all; the same songs give the same bytes."""
        header = {"magic": MAGIC, "version": VERSION, "steps_a_bar": self.steps_a_bar, "held": self.held}
        header |= {"names": self.names, "refused": self.refused}
        arrays = {
            "header": np.frombuffer(json.dumps(header).encode(), np.uint8),
            "rows": np.packbits(np.concatenate([np.zeros((0, 88), np.uint8), *self.rolls]) > 0, axis=1),
            "offsets": np.cumsum([0, *map(len, self.rolls)], dtype=np.int64),
        }
        write_atomically(path, lambda file: np.savez(file, **arrays))

    @classmethod
    def load(cls, path) -> "SongSet":
        """Raises MinigenError, a sentence with the remedy, for anything but a whole song set of this version."""
        try:
            with open(path, "rb") as file, np.load(file, allow_pickle=False) as stored:
                header = json.loads(stored["header"].tobytes())
                if header["magic"] != MAGIC:
                    raise ValueError("another magic")
                if header["version"] == VERSION:
                    return cls._checked(header, stored["rows"], stored["offsets"])
        except OSError as error:
            raise MinigenError(f"{path} cannot be opened ({error.strerror or error}): name a song set") from error
        except Exception as error:  # a damaged file can fail in any layer: zip, deflate, npy, JSON, a missing name
            raise MinigenError(
                f"{path} is not a song set, or is cut short or damaged: copy it again, or name a folder of MIDI"
            ) from error
        raise MinigenError(
            f"{path} is a song set of version {header['version']!r} and this minigen reads version {VERSION}: "
            "make it again from its MIDI"
        )

    @classmethod
    def _checked(cls, header: dict, rows: np.ndarray, offsets: np.ndarray) -> "SongSet":
        names, refused = header["names"], [(name, reason) for name, reason in header["refused"]]
        steps_a_bar, held = header["steps_a_bar"], header["held"]
        valid = (
            rows.shape == (offsets[-1], 11)
            and offsets.dtype == np.int64
            and offsets.shape == (len(names) + 1,)
            and offsets[0] == 0
            and (np.diff(offsets) > 0).all()
            and all(isinstance(text, str) for text in [*names, *sum(refused, ())])
            and type(steps_a_bar) is int
            and steps_a_bar >= 1
            and type(held) is bool
        )
        if not valid:
            raise ValueError("its parts do not fit together")
        keys = np.unpackbits(rows, axis=1)
        rolls = [keys[start:end] for start, end in zip(offsets[:-1], offsets[1:], strict=True)]
        return cls(rolls, names, steps_a_bar, held, refused)


def cache_folder() -> Path:
    """Where parsed music is kept: MINIGEN_CACHE, or minigen's folder where this system keeps caches."""
    if chosen := os.environ.get("MINIGEN_CACHE"):
        return Path(chosen)
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local") / "minigen"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "minigen"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "minigen"


def cached(name: str, make) -> SongSet:
    """The song set `name` of the cache, else what `make()` returns, kept for the next time.

    A cache that cannot be read is made anew, and one that cannot be written costs time and nothing else.
    """
    path = cache_folder() / name
    try:
        return SongSet.load(path)
    except MinigenError:
        songs = make()
    with contextlib.suppress(OSError):
        songs.save(path)
    return songs


def read_songs(sources, max_tracks: int | None = None, max_tempos: int | None = None, cache: bool = True) -> SongSet:
    """All songs of folders (searched through for .mid .midi .kar), MIDI files and song sets, each used once.

    A file that is not usable is left out, with its name and reason in `refused`; the rules are `read_midi`'s. A folder
    is parsed once: its songs are kept in the cache under a name that changes with the content of any file.

    Raises MinigenError for a source that is not there or of another kind, a folder without MIDI, sets of different
    grids, and where no song is left.
    """
    found = None
    for source in map(Path, sources):
        if source.is_dir():
            songs = _read_folder(source, max_tracks, max_tempos, cache)
        elif not source.exists():
            raise MinigenError(f"there is no file or folder {source}: name a folder of MIDI, a MIDI file or a song set")
        elif source.suffix.lower() == ".npz":
            songs = SongSet.load(source)
        elif source.suffix.lower() in SUFFIXES:
            songs = _read_files([(source.name, source)], max_tracks, max_tempos)
        else:
            kinds = ", ".join(SUFFIXES)
            raise MinigenError(
                f"{source} is neither MIDI ({kinds}) nor a song set (.npz): name one of these, or a folder"
            )
        if found is None:
            found = songs
            continue
        if (songs.steps_a_bar, songs.held) != (found.steps_a_bar, found.held):
            raise MinigenError(f"{source} is on another grid than what stands before it: use them one at a time")
        found.rolls += songs.rolls
        found.names += songs.names
        found.refused += songs.refused
    if found is None:
        raise MinigenError("no music was named: name a folder of MIDI, a MIDI file or a song set")
    found = each_once(found)
    if not found.rolls:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in found.refused[:3])
        more = f"; and {len(found.refused) - 3} more" if len(found.refused) > 3 else ""
        raise MinigenError(f"no song can be used ({reasons}{more}): name other music, in 4/4 and for the piano")
    return found


def each_once(songs: SongSet) -> SongSet:
    """Songs with the same notes are used once; the others are refused, so that none is both learned and held out."""
    first, kept, refused = {}, [], list(songs.refused)
    for i, (roll, name) in enumerate(zip(songs.rolls, songs.names, strict=True)):
        notes = np.packbits(roll).tobytes()
        if notes in first:
            refused.append((name, f"it has the same notes as {first[notes]}"))
        else:
            first[notes] = name
            kept.append(i)
    return replace(songs.take(kept), refused=refused)


def _read_folder(folder: Path, max_tracks, max_tempos, cache: bool) -> SongSet:
    files = [
        (path.relative_to(folder).as_posix().encode("utf-8", "replace").decode(), path)
        for path in folder.rglob("*")
        if path.suffix.lower() in SUFFIXES and path.is_file()
    ]
    if not files:
        raise MinigenError(f"there is no MIDI ({', '.join(SUFFIXES)}) in {folder} or below it: name another folder")
    files.sort()  # by name with /, so that the order is the same on every system
    if not cache:
        return _read_files(files, max_tracks, max_tempos)
    digest = hashlib.sha256(json.dumps([VERSION, READER_VERSION, max_tracks, max_tempos]).encode())
    for name, path in files:
        try:
            content = contents(path)
        except Refused as refused:
            content = str(refused).encode()
        digest.update(json.dumps([name, hashlib.sha256(content).hexdigest()]).encode())
    return cached(f"folder-{digest.hexdigest()[:32]}.npz", lambda: _read_files(files, max_tracks, max_tempos))


def _read_files(files: list[tuple[str, Path]], max_tracks, max_tempos) -> SongSet:
    songs = SongSet([], [])
    for name, path in files:
        try:
            roll = read_midi(path, max_tracks, max_tempos)
        except Refused as reason:
            songs.refused.append((name, str(reason)))
        else:
            songs.rolls.append((roll > 0).astype(np.uint8))
            songs.names.append(name)
    return songs
