"""MIDI files to rolls (back: midi_out.py).

A roll is (T, 88) uint8, one row per 16th: a cell holds the velocity (1..127) with which key k, MIDI note 21+k, is
struck at that step, else 0. Beside it `sounding` (T, 88) bool: whether the key sounds during the step, struck then or
before and not released yet.
"""

import hashlib
import os
import stat
from pathlib import Path
from typing import NamedTuple

import numpy as np

from minigen.errors import MinigenError, plural
from minigen.metre import METRES
from minigen.music import parser
from minigen.music.grid import Fit, Run, fit_of, kept_bars, moved_bars, steps_of

# of the code that reads and compares music: an edit makes all caches anew
CODE = hashlib.sha256(b"".join(path.read_bytes() for path in sorted(Path(__file__).parent.glob("*.py")))).hexdigest()[
    :16
]
SUFFIXES = (".mid", ".midi", ".kar", ".rmi")
LOWEST, KEYS, DRUMS = 21, 88, 9
LONGEST = 32_768  # steps of a song
LARGEST = 2**21  # bytes of a file: some 2 s and 200 MB
END = "minigen end"  # the text of the marker at the last step of a file of midi_out.py


class Refused(MinigenError):
    """A file that is not used: its text is the reason on one line, `kind` a word for it, `remedy` what can be done."""

    def __init__(self, reason: str, kind: str, remedy: str):
        super().__init__(reason)
        self.kind, self.remedy = kind, remedy


class Song(NamedTuple):
    """What `read_song` found, and what a person should know about it."""

    roll: np.ndarray  # (T, 88) uint8, velocities
    sounding: np.ndarray  # (T, 88) bool
    metre: str
    bpm: float  # quarters per minute, at the first note
    fit: Fit  # how its onsets lie on the grid
    broken: list[str]  # what could not be read, in words
    off_piano: int  # notes left out, which are not on the 88 keys
    foreign: dict[str, int]  # bars left out, by metre
    foreign_notes: int  # in these bars
    bars_begin: int  # the step of minigen's bars on which its own begin, after a pickup of 1/4, say

    @property
    def warnings(self) -> list[str]:
        """Sentences for whoever uses it."""
        bars = ", ".join(_few([f"{plural(n, 'bar')} in {name}" for name, n in self.foreign.items()]))
        said = {
            f"{plural(self.off_piano, 'note')} outside the piano's 88 keys left out": self.off_piano,
            f"{bars} left out, with {plural(self.foreign_notes, 'note')}": self.foreign,
            f"its bars begin on step {self.bars_begin} of those of 16 steps, after a short one": self.bars_begin,
        }
        return [*_few(self.broken), *(sentence for sentence, so in said.items() if so), *self.fit.warnings]


class _Notes(NamedTuple):
    """Notes as arrays (N,)."""

    tick: np.ndarray
    release: np.ndarray
    channel: np.ndarray
    key: np.ndarray
    velocity: np.ndarray

    def where(self, mask) -> "_Notes":
        return _Notes(*(array[mask] for array in self))


def read_midi(source, max_tracks: int | None = None, max_tempos: int | None = None, metre: str = "4/4") -> np.ndarray:
    """The roll (T, 88) of a path's or bytes' MIDI: see `read_song`."""
    return read_song(source, max_tracks, max_tempos, metre).roll


def read_song(source, max_tracks: int | None = None, max_tempos: int | None = None, metre: str = "4/4") -> Song:
    """The song of a path's or bytes' MIDI; an event at `ticks` falls on step `round(4 ticks / ticks_per_beat)`.

    Ties round to even; two strikes in a cell keep the larger velocity; a note sounds for one step at least; tracks are
    merged. T is the last onset + 1, rounded up to a bar, or what the marker of `write_midi` says; sound is cut there.
    Nothing is trimmed. Left out: channel 10, and, counted, notes off the keyboard and bars of another metre (held notes
    end there, the next bar begins at a bar line). 4/4 takes every metre of 1, 2, 4, 8 and 16; none at all is 4/4.

    Raises Refused, and nothing else, in bounded time and memory: for what is not MIDI, SMPTE time, type 2, no note
    left, more than `max_tracks` parts (a channel and a program) with notes, more than `max_tempos` tempo events after
    the start, more than 32,768 steps.
    """
    midi = _parse(contents(source))
    notes, off_piano = _piano_notes(midi)
    tempos = _tempos(midi)
    if max_tracks is not None and (parts := _parts(midi, notes)) > max_tracks:
        reason = f"{parts} parts (a channel and a program) have notes, more than {max_tracks}"
        raise Refused(reason, "parts", "allow more with --max-tracks")
    if max_tempos is not None and (changes := sum(tick > 0 for tick, _ in tempos)) > max_tempos:
        reason = f"its tempo changes {changes} times, more than {max_tempos}"
        raise Refused(reason, "tempos", "allow more with --max-tempos")

    longest = LONGEST * midi.division // 4  # ticks; nothing is allocated before this
    if notes.tick.max() > longest:
        raise _too_long()
    ends = [tick for tick, kind, content in midi.metas if (kind, content) == (parser.MARKER, END.encode())]
    end = max((tick for tick in ends if tick <= longest), default=0)
    whole, signatures = max(int(notes.tick.max()) + 1, end), _signatures(midi)
    runs, foreign = kept_bars(signatures, metre, whole, midi.division)
    begin, release, kept, since = _places(notes, runs, whole, midi.division)
    if not kept.any():
        raise _other_metre(notes, signatures, foreign, metre, whole, midi.division)
    begin, release, notes, dropped = begin[kept], release[kept], notes.where(kept), int((~kept).sum())

    T, bar = int(begin.max()) + 1, METRES[metre][0]
    marked = max((run.place + int(steps_of(end - run.first, midi.division))
                  for run in runs if run.first < end <= run.last), default=0)  # fmt: skip
    T = marked if marked >= T else -(-T // bar) * bar
    if T > LONGEST:
        raise _too_long()
    roll, change = np.zeros((T, KEYS), np.uint8), np.zeros((T + 1, KEYS), np.int32)
    key = notes.key - LOWEST
    np.maximum.at(roll, (begin, key), notes.velocity)
    np.add.at(change, (begin, key), 1)
    np.add.at(change, (np.minimum(release, T), key), -1)
    fit = fit_of(since[kept], midi.division)
    sounding, bpm = change[:T].cumsum(axis=0) > 0, _bpm(tempos, notes.tick.min())
    bars_begin = moved_bars(signatures, midi.division) if metre == "4/4" and not foreign else 0
    return Song(roll, sounding, metre, bpm, fit, midi.faults, off_piano, foreign, dropped, bars_begin)


def _places(notes: _Notes, runs: list[Run], whole: int, division: int):
    """The steps at which notes begin and end (N,) in the song, which of them stand in a run (N,) bool, and the ticks
    since it began (N,). A note that is early by less than half a step belongs to the bar that it is early for."""
    first, last, place = np.array([*runs, (0, 0, 0)]).T  # run -1, before the first one, is empty
    early = division / 8
    run = np.searchsorted(first[:-1] - early, notes.tick, side="right") - 1
    kept = (run >= 0) & ((notes.tick < last[run] - early) | (last[run] == whole))
    since = notes.tick - first[run]
    begin = steps_of(since, division)  # at least 0, as half a step rounds to 0
    # where a bar was taken out, what is held ends
    until = np.where(
        last[run] < whole, np.minimum(notes.release, last[run]), np.minimum(notes.release, whole + division * LONGEST)
    )
    release = np.maximum(steps_of(until - first[run], division), begin + 1)
    return begin + place[run], release + place[run], kept, since


def contents(source) -> bytes:
    """The bytes of a path (bytes are returned as they are). Raises Refused for what is no file, or too large."""
    if not isinstance(source, bytes):
        try:
            if not stat.S_ISREG(os.stat(source).st_mode):  # to open a pipe would wait for ever
                raise Refused("it is no file", "not opened", "name a MIDI file")
            with open(source, "rb") as file:
                source = file.read(LARGEST + 1)
        except FileNotFoundError:
            raise Refused("there is no such file", "not opened", "name a MIDI file") from None
        except (OSError, ValueError) as error:
            reason = f"it cannot be opened: {getattr(error, 'strerror', None) or error}"
            raise Refused(reason, "not opened", "give yourself the right to read it") from error
    if len(source) > LARGEST:
        reason = f"it is larger than {LARGEST // 2**20} MiB"
        raise Refused(reason, "too large", "save its pieces as files of their own")
    return source


def _parse(data: bytes) -> parser.Midi:
    try:
        midi = parser.parse(data)
    except parser.NotMidi as error:
        raise Refused(str(error), "not MIDI", "save it as MIDI again") from None
    if midi.faults and not midi.notes:
        raise Refused(f"it is broken before its first note: {midi.faults[0]}", "not MIDI", "save it as MIDI again")
    if midi.division < 0:
        raise Refused("its time is SMPTE seconds, not beats", "SMPTE", "save it with ticks per quarter note")
    if midi.division == 0:
        raise Refused("it has no ticks in a beat", "no ticks", "save it as MIDI again")
    if midi.type not in (0, 1):
        reason = f"it is MIDI of type {midi.type}: only in types 0 and 1 do all tracks share one time"
        raise Refused(reason, "type", "save it as type 0 or 1")
    return midi


def _piano_notes(midi: parser.Midi) -> tuple[_Notes, int]:
    """The notes on the 88 keys, and how many others there are but for drums."""
    notes = _Notes(*np.array(midi.notes, np.int64).reshape(-1, 5).T)
    notes = notes.where(notes.channel != DRUMS)
    piano = (notes.key >= LOWEST) & (notes.key < LOWEST + KEYS)
    if not len(piano):
        raise Refused("it has no note (channel 10, the drums, left out)", "no note", "choose another file")
    if not piano.any():
        raise Refused("all its notes are outside the piano's 88 keys, 21 to 108", "no note", "transpose it")
    return notes.where(piano), int((~piano).sum())


def _parts(midi: parser.Midi, notes: _Notes) -> int:
    """How many pairs of a channel and a program have notes, whatever tracks they stand in."""
    parts = 0
    for channel in set(notes.channel.tolist()):
        changes = [(tick, program) for tick, where, program in midi.programs if where == channel]
        at = np.searchsorted([tick for tick, _ in changes], notes.tick[notes.channel == channel], side="right")
        parts += len({changes[n - 1][1] if n else 0 for n in at.tolist()})
    return parts


def _tempos(midi: parser.Midi) -> list[tuple[int, int]]:
    """(tick, microseconds per quarter), but for those that cannot be read."""
    tempos = [(tick, content) for tick, kind, content in midi.metas if kind == parser.TEMPO and len(content) >= 3]
    return [(tick, int.from_bytes(content[:3], "big")) for tick, content in tempos if any(content[:3])]


def _bpm(tempos, tick: int) -> float:
    before = [tempo for at, tempo in tempos if at <= tick]
    return 60e6 / (before[-1] if before else 500_000)


def _signatures(midi: parser.Midi) -> list[tuple[int, int, int]]:
    """(tick, numerator, denominator), but for those that cannot be read."""
    metres = [(tick, content) for tick, kind, content in midi.metas if kind == parser.METRE and len(content) >= 2]
    return [(tick, content[0], 1 << content[1]) for tick, content in metres]


def _other_metre(notes: _Notes, signatures, foreign: dict[str, int], metre: str, whole: int, division: int) -> Refused:
    """None of its notes stands in a bar of this metre: the remedy is the one in which most of them do."""
    kept = {name: int(_places(notes, kept_bars(signatures, name, whole, division)[0], whole, division)[2].sum())
            for name in list(METRES)[:3]}  # fmt: skip
    other = max(kept, key=kept.get)
    reason = f"its metre is {', '.join(_few(list(foreign)))} and not {metre}"
    if kept[other]:
        return Refused(reason, "metre", f"train on it with --metre {other}")
    return Refused(reason, "metre", f"only {', '.join(kept)} are used: choose another file")


def _too_long() -> Refused:
    reason = f"it is longer than {LONGEST:,} steps of a 16th"
    return Refused(reason, "too long", f"cut it into pieces of at most {LONGEST // 16:,} bars")


def _few(texts: list[str]) -> list[str]:
    """The first three, and how many more there are: a broken file may have thousands."""
    return texts[:3] + [f"{len(texts) - 3:,} more"] * (len(texts) > 3)
