"""MIDI to rolls once more, written for these tests alone: what the reader of minigen is held against.

Where tracks end it takes from the file as little as it can: a track is what follows an MTrk, up to its end-of-track
event, whatever lengths and counts are promised. The grid is counted in fractions, and bars step by step.
"""

from collections import Counter
from fractions import Fraction

import mido
import numpy as np

FOUR_FOUR = {1, 2, 4, 8, 16}


def read(data: bytes, metre: str = "4/4"):
    """What is struck, what sounds (T, 88), and Counter of what was left out."""
    division = int.from_bytes(data[data.index(b"MThd") + 12 :][:2], "big")
    notes, metres, ends = [], [], []
    for part in data.split(b"MTrk")[1:]:
        messages = list(messages_of(part[4:]))
        notes += notes_of(messages)
        metres += [(tick, body[1], 2 ** body[2]) for tick, body in messages if body[0] == 0x158 and len(body) > 2]
        ends += [tick for tick, body in messages if bytes(body[1:]) == b"minigen end" and body[0] == 0x106]
    return on_grid(notes, sorted(metres, key=lambda row: row[0]), max(ends, default=0), division, metre)


def messages_of(track: bytes):
    """(tick, [status, data, ...]); meta events are (tick, [0x100 + type, data, ...]). It ends where the bytes do."""
    rest, tick, status = list(track)[::-1], 0, None

    def number():
        value, byte = 0, 128
        while byte & 128:
            byte = rest.pop()
            value = 128 * value + byte % 128
        return value

    try:
        while True:
            tick += number()
            if rest[-1] & 128:
                event = rest.pop()
            elif status is None:
                return
            else:
                event = status
            if event == 0xFF:
                kind = rest.pop()
                body = [0x100 + kind, *(rest.pop() for _ in range(number()))]
                if kind == 0x2F:
                    yield tick, body
                    return
            elif event in (0xF0, 0xF7):
                body = [event, *(rest.pop() for _ in range(number()))]
            elif event > 0xF0:
                body = [event, *(rest.pop() for _ in range({0xF1: 1, 0xF2: 2, 0xF3: 1}.get(event, 0)))]
            else:
                status = event
                body = [event, *(rest.pop() for _ in range(1 if event // 16 in (0xC, 0xD) else 2))]
            yield tick, body
    except IndexError:  # nothing is left to pop
        yield tick, [0x12F]


def notes_of(messages):
    """[begin, end, channel, key, velocity] of messages as above; the first strike of a key ends first."""
    notes, waiting, last = [], {}, {}
    for tick, (status, *body) in messages:
        if not 0x80 <= status < 0xA0 or max(body) > 127:
            continue
        where = status % 16, body[0]
        if status >= 0x90 and body[1]:
            notes.append([tick, None, *where, body[1]])
            waiting.setdefault(where, []).append(notes[-1])
        else:
            last[where] = tick
            if waiting.get(where):
                waiting[where].pop(0)[1] = tick
    for note in notes:
        if note[1] is None:  # never released: until the last release of its key, or the end of its track
            end = last.get((note[2], note[3]), -1)
            note[1] = end if end > note[0] else messages[-1][0]
    return notes


def read_mido(path, metre: str = "4/4"):
    """The same, but for the bytes, which mido reads."""
    file = mido.MidiFile(path)
    notes, metres, ends = [], [], []
    for track in file.tracks:
        now, messages = 0, []
        for message in track:
            now += message.time
            if message.type == "time_signature":
                metres.append((now, message.numerator, message.denominator))
            if message.type == "marker" and message.text == "minigen end":
                ends.append(now)
            messages.append((now, [0x12F] if message.is_meta else message.bytes()))
        notes += notes_of(messages or [(0, [0x12F])])
    return on_grid(notes, sorted(metres, key=lambda row: row[0]), max(ends, default=0), file.ticks_per_beat, metre)


def on_grid(notes, metres, marked: int, division: int, metre: str):
    """A note stands in the bar of the tick half a step after its own; a change after all notes changes nothing."""
    step, bar, left_out = Fraction(division, 4), {"4/4": 16, "none": 1}.get(metre, 12), Counter()
    left_out["off the piano"] = sum(channel != 9 and not 21 <= key <= 108 for _, _, channel, key, _ in notes)
    played = [note for note in notes if note[2] != 9 and 21 <= note[3] <= 108]
    end = max([marked, *(begin + 1 for begin, *_ in played)])

    stretches = []  # [begin, end, whether it is in this metre]
    for tick, *now in [(0, 4, 4), *metres]:
        ours = metre in ("none", "4/4" if set(now) <= FOUR_FOUR else "{}/{}".format(*now))
        if tick < end:
            stretches = [[a, min(b, tick), kept] for a, b, kept in stretches if a < tick]
            if stretches and stretches[-1][2] == ours:
                tick = stretches.pop()[0]
            stretches.append([tick, end, ours])

    row, T, found, struck = 0, None, [], []
    for first, last, kept in stretches:
        inside = [n for n in played if first <= n[0] + step / 2 < last or last == end and n[0] + step / 2 >= last]
        if not kept:
            left_out["in bars of another metre"] += len(inside)
            continue
        row = -(-row // bar) * bar
        for begin, until, _, key, velocity in inside:
            at = max(0, round((begin - first) / step))
            until = until if last == end else min(until, last)
            struck.append(row + at)
            found.append((row + at, row + max(at + 1, round((until - first) / step)), key - 21, velocity))
        if first < marked <= last:
            T = row + round((marked - first) / step)
        row += round((last - first) / step)
    if not found:
        return None
    if T is None or T <= max(struck):
        T = -(-(max(struck) + 1) // bar) * bar
    roll, sounding = np.zeros((T, 88), np.uint8), np.zeros((T, 88), bool)
    for begin, until, key, velocity in found:
        roll[begin, key] = max(roll[begin, key], velocity)
        sounding[begin:until, key] = True
    return roll, sounding, left_out
