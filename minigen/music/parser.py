"""The bytes of a MIDI file to its notes, tempos and metres, in one pass; what is broken costs as little as can be.

`note (tick, release, channel, key, velocity)`, ticks from the start of the file. Each release ends the oldest strike of
its track, channel and key (first in, first out). A strike that is left over ends with the last release of its key, or
with its track.

What other readers stumble over and this one does not: running status goes on after meta events and system-exclusive
messages; RIFF wrappers, bytes before the header and foreign chunks are skipped; a chunk whose length is wrong is read
to its end-of-track event; a number of any length takes linear time. (The Standard MIDI File specification, 1996.)
"""

from collections import deque
from typing import NamedTuple

FAR = 2**60  # no tick and no length is larger, so that all fit into 64 bits
SYSTEM = {0xF1: 1, 0xF2: 2, 0xF3: 1}  # data bytes of system messages, which do not belong into a file; the others: none
METRE, MARKER, TEMPO, END_OF_TRACK = 0x58, 0x06, 0x51, 0x2F  # types of meta events


class Midi(NamedTuple):
    """What a file holds. `division` is ticks per quarter, or negative for SMPTE time; `faults` say what was broken."""

    type: int
    division: int
    notes: list[tuple[int, int, int, int, int]]
    programs: list[tuple[int, int, int]]  # (tick, channel, program)
    metas: list[tuple[int, int, bytes]]  # (tick, type, content) of tempos, metres and markers, in order of time
    faults: list[str]


class NotMidi(Exception):
    """Its text is the reason."""


def parse(data: bytes) -> Midi:
    """Read all tracks of a file, also of one that is cut short. Raises NotMidi where there is no header or no track."""
    start = data.find(b"MThd", 0, None if data[:4] == b"RIFF" else 2**12)  # a wrapper may begin with a picture
    if start < 0:
        raise NotMidi("it is not MIDI: it does not begin with MThd" if data else "it is empty")
    header, at = data[start + 8 : start + 14], start + 8 + int.from_bytes(data[start + 4 : start + 8], "big")
    midi_type, promised, division = (int.from_bytes(header[i : i + 2], "big", signed=i == 4) for i in (0, 2, 4))
    midi, tracks = Midi(midi_type, division, [], [], [], []), 0
    at = at if at > len(data) else _next_chunk(data, start + 8, at, midi)
    while at + 8 <= len(data):
        name, size = data[at : at + 4], int.from_bytes(data[at + 4 : at + 8], "big")
        at += 8
        if name == b"MTrk":
            tracks += 1
            at = _chunk(data, at, at + size, tracks, midi)
        else:
            at = _next_chunk(data, at, at + size, midi)
    if not tracks:
        raise NotMidi("it is MIDI without a track, or cut short before the first")
    if tracks < promised:
        midi.faults.append(f"it holds {tracks} of the {promised} tracks that it promises")
    midi.metas.sort(key=lambda meta: meta[0])
    midi.programs.sort(key=lambda change: change[0])
    return midi


def _next_chunk(data: bytes, at: int, end: int, midi: Midi) -> int:
    """Where the chunk after one of bytes at..end-1 begins: at `end`, if its name is there, else at the next track."""
    name = data[end : end + 4]
    if end == len(data) or name == b"MTrk" or len(name) == 4 and name.isalnum():
        return end
    track = data.find(b"MTrk", at)
    if track >= 0:
        midi.faults.append("a chunk that is no track is of a wrong length")
    return track if track >= 0 else len(data)


def _chunk(data: bytes, at: int, end: int, number: int, midi: Midi) -> int:
    """Read the track that begins at byte `at` and should end at `end` -> where the next chunk begins."""
    limit = end
    if end != len(data) and data[end : end + 4] != b"MTrk" and data[end - 3 : end] != b"\xff\x2f\x00":
        following = data.find(b"MTrk", at)
        limit = following if following >= 0 else len(data)
    read, fault = _track(data[at:limit], midi)
    if fault or at + read != end:
        midi.faults.append(f"track {number} {fault or 'is of a wrong length'}")
    return at + read if data[at + read : at + read + 4] == b"MTrk" else limit


def _track(data: bytes, midi: Midi) -> tuple[int, str]:
    """Read events up to the end-of-track event or the last byte -> how many bytes, what is wrong or ""."""
    at = tick = status = broken = 0
    struck, released = {}, {}  # key of a channel -> strikes that were not released yet; the tick of the last release
    fault = ""

    def number() -> int:
        nonlocal at
        value = data[at] & 127
        while data[at] > 127:
            at += 1
            value = min(value << 7 | data[at] & 127, FAR)
        at += 1
        return value

    try:
        while at < len(data):
            tick = min(tick + number(), FAR)
            if data[at] > 127:
                event = data[at]
                at += 1
                if event < 0xF0:
                    status = event
            elif status:
                event = status
            else:
                fault = f"is broken at its byte {at}: what follows is left out"
                break
            if event < 0xF0:
                command, channel, first = event & 0xF0, event & 15, data[at]
                second = 0 if command in (0xC0, 0xD0) else data[at + 1]
                at += 1 if command in (0xC0, 0xD0) else 2
                key = channel << 7 | first
                if first > 127 or second > 127:
                    broken += 1
                elif command == 0x90 and second:
                    struck.setdefault(key, deque()).append((tick, second))
                elif command in (0x80, 0x90):
                    if struck.get(key):
                        began, velocity = struck[key].popleft()
                        midi.notes.append((began, tick, channel, first, velocity))
                    released[key] = tick
                elif command == 0xC0:
                    midi.programs.append((tick, channel, first))
            elif event in (0xF0, 0xF7, 0xFF):
                meta = data[at] if event == 0xFF else 0
                at += event == 0xFF
                size = number()
                content = data[at : at + size]
                at += size
                if at > len(data):
                    raise IndexError
                if meta == END_OF_TRACK:
                    break
                if meta in (TEMPO, METRE, MARKER):
                    midi.metas.append((tick, meta, content))
            else:
                at += SYSTEM.get(event, 0)
    except IndexError:
        at, fault = len(data), "is cut short"
    for key, strikes in struck.items():
        for began, velocity in strikes:
            end = released.get(key, -1)
            midi.notes.append((began, end if end > began else tick, key >> 7, key & 127, velocity))
    if broken and not fault:
        fault = f"has {broken} broken event{'s' * (broken > 1)}, left out"
    return min(at, len(data)), fault
