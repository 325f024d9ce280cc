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
    def step(tick):
        return round(Fraction(4 * tick, division))

    bar, left_out = {"4/4": 16, "none": 1}.get(metre, 12), Counter()
    placed = []
    for begin, end, channel, key, velocity in notes:
        if channel == 9:
            continue
        if not 21 <= key <= 108:
            left_out["off the piano"] += 1
            continue
        placed.append((step(begin), max(step(end), step(begin) + 1), key - 21, velocity))
    whole = max(max((begin for begin, *_ in placed), default=-1) + 1, step(marked))

    now, row, place, changes = (4, 4), 0, {}, [(step(tick), pair) for tick, *pair in metres]
    for t in range(whole + bar):  # which steps are kept, and where they go
        while changes and changes[0][0] <= t < whole:
            now = changes.pop(0)[1]
        name = "4/4" if set(now) <= FOUR_FOUR else "{}/{}".format(*now)
        if metre in ("none", name):
            if t - 1 not in place and place:
                row = -(-row // bar) * bar
            place[t], row = row, row + 1

    onsets = [place[begin] for begin, *_ in placed if begin in place]
    if not onsets:
        return None
    T = -(-(max(onsets) + 1) // bar) * bar
    if marked and place.get(step(marked) - 1, -1) >= max(onsets):
        T = place[step(marked) - 1] + 1
    roll, sounding = np.zeros((T, 88), np.uint8), np.zeros((T, 88), bool)
    for begin, end, key, velocity in placed:
        if begin not in place:
            left_out["in bars of another metre"] += 1
            continue
        roll[place[begin], key] = max(roll[place[begin], key], velocity)
        for t in range(begin, end):
            if t not in place or place[t] >= T:
                break
            sounding[place[t], key] = True
    return roll, sounding, left_out
