"""A song set: rolls of one grid with their names, and the file (.npz) that is cache, corpus and exchange format.

header      JSON as bytes: magic, version, metre, held, names, refused, warnings
rows        (N, 11) uint8: what is struck, the steps of all songs on end, `np.packbits` of 88 keys each
sounding    (N, 11) uint8: what sounds, likewise; only 0 for a song whose lengths are not known
offsets     (songs + 1,) int64: song i is rows[offsets[i]:offsets[i+1]]

Version 1 had no `sounding` and no warnings, and `steps_a_bar` instead of the metre; it is still read.
"""

import hashlib
import json
from dataclasses import dataclass, field, replace

import numpy as np

from minigen.errors import MinigenError
from minigen.files import read_arrays, write_atomically
from minigen.metre import METRES, OLD_METRES
from minigen.music.midi import LONGEST

MAGIC, VERSION = "minigen song set", 2


@dataclass
class SongSet:
    """Rolls (T, 88) uint8 of 0/1 with a name each, and what is to be said of files: (name, sentence)."""

    rolls: list[np.ndarray]
    names: list[str]
    metre: str = "4/4"  # or "none" where there are no bars
    held: bool = False  # cells say what is struck, not what is held
    refused: list[tuple[str, str]] = field(default_factory=list)  # and why
    warnings: list[tuple[str, str]] = field(default_factory=list)  # of songs that are used
    packed: list = field(default_factory=list)  # per song what sounds, (T, 11) uint8 as in the file, or None

    def __post_init__(self):
        self.packed = self.packed or [None] * len(self.rolls)

    def __len__(self) -> int:
        return len(self.rolls)

    def add(self, name: str, roll, sounding=None, warnings=()) -> None:
        """One more song: roll (T, 88), what sounds (T, 88) if it is known, sentences about it."""
        self.rolls.append((roll > 0).astype(np.uint8))
        self.names.append(name)
        self.packed.append(None if sounding is None else np.packbits(sounding, axis=1))
        self.warnings += [(name, warning) for warning in warnings]

    def sounding(self, i: int) -> np.ndarray | None:
        """What sounds in song i (T, 88) of 0/1, None where lengths are not known."""
        return None if self.packed[i] is None else np.unpackbits(self.packed[i], axis=1)

    def take(self, indices) -> "SongSet":
        """The songs of these numbers, in this order."""
        rolls, names, packed = ([part[i] for i in indices] for part in (self.rolls, self.names, self.packed))
        there = set(names)
        warnings = [warning for warning in self.warnings if warning[0] in there]
        return replace(self, rolls=rolls, names=names, packed=packed, refused=[], warnings=warnings)

    def digest(self) -> str:
        """A fingerprint of the music, whatever the files are called."""
        return hashlib.sha256(
            b"".join(len(roll).to_bytes(8, "big") + roll.tobytes() for roll in self.rolls)
        ).hexdigest()

    def save(self, path) -> None:
        """Write the file whole or not at all; the same songs give the same bytes."""
        header = {"magic": MAGIC, "version": VERSION, "metre": self.metre, "held": self.held}
        header |= {"names": self.names, "refused": self.refused, "warnings": self.warnings}
        rows = [np.packbits(roll > 0, axis=1) for roll in self.rolls]
        sounding = [np.zeros_like(r) if s is None else s for r, s in zip(rows, self.packed, strict=True)]
        arrays = {
            "header": np.frombuffer(json.dumps(header).encode(), np.uint8),
            "rows": np.concatenate([np.zeros((0, 11), np.uint8), *rows]),
            "sounding": np.concatenate([np.zeros((0, 11), np.uint8), *sounding]),
            "offsets": np.cumsum([0, *map(len, self.rolls)], dtype=np.int64),
        }
        write_atomically(path, lambda file: np.savez(file, **arrays))

    @classmethod
    def load(cls, path) -> "SongSet":
        """Raises MinigenError, a sentence with the remedy, for anything but a whole song set of this version."""
        try:
            stored = read_arrays(path)
            header = json.loads(stored["header"].tobytes())
            if header["magic"] != MAGIC:
                raise ValueError("another magic")
            if header["version"] == 1:
                header |= {"metre": OLD_METRES[header["steps_a_bar"]], "warnings": []}
                return cls._checked(header, stored["rows"], np.zeros_like(stored["rows"]), stored["offsets"])
            if header["version"] == VERSION:
                return cls._checked(header, *(stored[name] for name in ("rows", "sounding", "offsets")))
        except MemoryError:
            raise
        except (FileNotFoundError, IsADirectoryError, PermissionError) as error:
            raise MinigenError(f"{path} cannot be opened ({error.strerror or error}): name a song set") from error
        except Exception as error:  # a damaged file can fail in any layer: zip, deflate, npy, JSON, a missing name
            raise MinigenError(
                f"{path} is not a song set, or is cut short or damaged: copy it again, or name a folder of MIDI"
            ) from error
        raise MinigenError(
            f"{path} is a song set of version {repr(header['version'])[:20]} and this minigen reads up to version "
            f"{VERSION}: make it again from its MIDI"
        )

    @classmethod
    def _checked(cls, header: dict, rows: np.ndarray, sounding: np.ndarray, offsets: np.ndarray) -> "SongSet":
        names, metre, held = header["names"], header["metre"], header["held"]
        refused, warnings = ([(name, text) for name, text in header[kind]] for kind in ("refused", "warnings"))
        valid = (
            rows.shape == sounding.shape == (offsets[-1], 11)
            and rows.dtype == sounding.dtype == np.uint8
            and offsets.dtype == np.int64
            and offsets.shape == (len(names) + 1,)
            and offsets[0] == 0
            and (np.diff(offsets) > 0).all()
            and (np.diff(offsets) <= LONGEST).all()
            and all(isinstance(text, str) for text in [*names, *sum(refused + warnings, ())])
            and metre in METRES
            and type(held) is bool
        )
        if not valid:
            raise ValueError("its parts do not fit together")
        keys, songs = np.unpackbits(rows, axis=1), list(zip(offsets[:-1], offsets[1:], strict=True))
        packed = [sounding[start:end] if sounding[start:end].any() else None for start, end in songs]
        return cls([keys[start:end] for start, end in songs], names, metre, held, refused, warnings, packed)
