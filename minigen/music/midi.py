"""MIDI files to rolls and back.

A roll is (T, 88) uint8, one row per 16th: a cell holds the velocity (1..127) with which key k, MIDI note 21+k, is
struck at that step, else 0. Only onsets are kept, and not how long a note is held.
"""

import hashlib
import io
import os
from pathlib import Path

import mido
import numpy as np
from mido.midifiles import meta

from minigen.errors import MinigenError

READER_VERSION = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()[:16]  # an edit makes all caches anew
SUFFIXES = (".mid", ".midi", ".kar")
LOWEST, KEYS = 21, 88
BAR = 16
LONGEST = 32_768  # steps of a song
EMPTY_BARS = 16  # as many in a row are refused
LARGEST = 2**21  # bytes of a file: mido needs some 3 s and 300 MB for as much
END = "minigen end"  # the text of the marker at a written file's last step


class Refused(MinigenError):
    """A file that is not used; its text is the reason, on one line."""


class OtherMeta(meta.MetaSpec_sequencer_specific):
    """A meta event unknown to mido, which (1.3.3) would drop its time: all that follows would come too early."""


for byte in range(256):
    if isinstance(meta.build_meta_message(byte, bytes(8)), meta.UnknownMetaMessage):
        meta.add_meta_spec(type(f"MetaSpec_other_{byte}", (OtherMeta,), {"type_byte": byte}))


def read_midi(source, max_tracks: int | None = None, max_tempos: int | None = None) -> np.ndarray:
    """The roll (T, 88) of a path's or bytes' MIDI; an event at `ticks` falls on step `round(4 ticks / ticks_per_beat)`.

    Ties round to even; two strikes in a cell keep the larger velocity; tracks are merged, channel 10 is left out. T is
    the last onset + 1, rounded up to a bar of 16, or what the marker of `write_midi` says. Nothing is trimmed.

    Raises Refused, and nothing else, in bounded time and memory: for what is not MIDI or is broken, SMPTE time, type 2,
    a metre whose numbers are not in {2, 4, 8, 16} (no metre at all is 4/4), a note outside the keyboard, no note, more
    than `max_tracks` tracks with notes, more than `max_tempos` tempo events after the start, more than 32,768 steps,
    16 empty bars in a row.
    """
    midi = _parse(contents(source))
    if midi.ticks_per_beat < 0:
        raise Refused("its time is SMPTE seconds, not beats")
    if midi.ticks_per_beat == 0:
        raise Refused("it has no ticks in a beat")
    if midi.type not in (0, 1):
        raise Refused(f"it is MIDI of type {midi.type}: only in types 0 and 1 do all tracks share one time")
    ticks, keys, velocities, tracks, tempos, end = [], [], [], set(), 0, 0
    for number, track in enumerate(midi.tracks):
        tick = 0
        for message in track:
            tick += message.time
            if message.type == "note_on" and message.velocity > 0 and message.channel != 9:
                if not LOWEST <= message.note < LOWEST + KEYS:
                    raise Refused(f"note {message.note} is outside the piano's 88 keys, 21 to 108")
                ticks.append(tick)
                keys.append(message.note - LOWEST)
                velocities.append(message.velocity)
                tracks.add(number)
            elif message.type == "time_signature":
                metre = message.numerator, message.denominator
                if not set(metre) <= {2, 4, 8, 16}:
                    raise Refused("its metre is {}/{}: only the numbers 2, 4, 8 and 16 are used".format(*metre))
            elif message.type == "set_tempo":
                tempos += tick > 0
            elif message.type == "marker" and message.text == END:
                end = tick
    if not ticks:
        raise Refused("it has no note (channel 10, the drums, left out)")
    if max_tracks is not None and len(tracks) > max_tracks:
        raise Refused(f"{len(tracks)} tracks have notes, more than {max_tracks}")
    if max_tempos is not None and tempos > max_tempos:
        raise Refused(f"its tempo changes {tempos} times, more than {max_tempos}")
    # in whole numbers, which cannot overflow: nothing is allocated before this
    if 4 * max(max(ticks), end) > LONGEST * midi.ticks_per_beat:
        raise Refused(f"it is longer than {LONGEST:,} steps of a 16th")
    steps = np.rint(4 * np.array(ticks) / midi.ticks_per_beat).astype(int)
    end = round(4 * end / midi.ticks_per_beat)
    T = int(steps.max()) + 1
    T = end if end >= T else -(-T // BAR) * BAR
    if T > LONGEST:
        raise Refused(f"it is longer than {LONGEST:,} steps of a 16th")
    silent = np.ones(-(-T // BAR), bool)
    silent[steps // BAR] = False
    if _longest_run(silent) >= EMPTY_BARS:
        raise Refused(f"{_longest_run(silent)} bars in a row are empty, {EMPTY_BARS} or more")
    roll = np.zeros((T, KEYS), np.uint8)
    np.maximum.at(roll, (steps, keys), velocities)
    return roll


def write_midi(
    path, roll, bpm: float = 120, ring: int | None = None, steps_a_bar: int = BAR, title: str = "minigen"
) -> None:
    """Write a roll (T, 88) of velocities as MIDI of one track, one step per 16th; the same roll gives the same bytes.

    A roll of only 0 and 1 gets velocity 64. A note rings until the next step at which anything is struck (the last ones
    to the file's end), or for `ring` steps if that is given, but never into the next strike of its own key.
    `steps_a_bar` is the metre: 16 is 4/4, 12 is 3/4; none is written if it is not whole beats.

    `read_midi` gives the same roll, of any length, unless it refuses it (no note, 16 empty bars, ...).
    Raises MinigenError for a roll of another shape or range, a `bpm` outside 4..1000, a `ring` under 1.
    """
    roll = np.asarray(roll)
    if roll.ndim != 2 or roll.shape[1] != KEYS or not len(roll) or roll.min() < 0 or roll.max() > 127:
        raise MinigenError(f"a roll is (T, 88) with cells 0..127, and T at least 1: not {roll.dtype} {roll.shape}")
    if not 4 <= bpm <= 1000:
        raise MinigenError(f"a tempo of {bpm} beats a minute: choose one from 4 to 1000")
    if ring is not None and ring < 1:
        raise MinigenError(f"a ring of {ring} steps: choose 1 or more, or None")
    velocities = roll.astype(int) if roll.max() > 1 else 64 * roll.astype(int)
    T = len(roll)
    events = []  # (step, velocity, key), 0 for the release: when sorted, a release comes before a strike
    next_strike, key_strike = T, [T] * KEYS
    for t in reversed(range(T)):
        struck = np.flatnonzero(velocities[t]).tolist()
        for k in struck:
            release = next_strike if ring is None else min(t + ring, key_strike[k])
            events += [(t, int(velocities[t, k]), k), (release, 0, k)]
            key_strike[k] = t
        if struck:
            next_strike = t
    track = mido.MidiTrack([mido.MetaMessage("track_name", name=title.encode("utf-8", "replace").decode())])
    if steps_a_bar % 4 == 0:
        track.append(mido.MetaMessage("time_signature", numerator=steps_a_bar // 4, denominator=4))
    track.append(mido.MetaMessage("set_tempo", tempo=round(60e6 / bpm)))
    track.append(mido.Message("program_change", program=0))  # the grand piano
    now, step_ticks = 0, 120
    for t, velocity, k in sorted(events):
        # a strike of velocity 0 is a release, and runs on under the same status byte
        track.append(mido.Message("note_on", note=LOWEST + k, velocity=velocity, time=(t - now) * step_ticks))
        now = t
    # the reader takes the length from the last onset, so silence at the end needs a word of its own
    track.append(mido.MetaMessage("marker", text=END, time=(T - now) * step_ticks))
    mido.MidiFile(type=0, ticks_per_beat=4 * step_ticks, charset="utf-8", tracks=[track]).save(os.fspath(path))


def contents(source) -> bytes:
    """The bytes of a path (bytes are returned as they are). Raises Refused for what is no file, or too large."""
    if not isinstance(source, bytes):
        try:
            if not os.path.isfile(source):
                raise Refused("it is no file" if os.path.exists(source) else "there is no such file")
            with open(source, "rb") as file:
                source = file.read(LARGEST + 1)
        except (OSError, ValueError) as error:
            raise Refused(f"it cannot be opened: {getattr(error, 'strerror', None) or error}") from error
    if len(source) > LARGEST:
        raise Refused(f"it is larger than {LARGEST // 2**20} MiB")
    return source


def _parse(data: bytes) -> mido.MidiFile:
    if data[:4] != b"MThd":
        raise Refused("it is not MIDI: it does not begin with MThd" if data else "it is empty")
    # a number goes on while its bytes are over 127, and mido's time for one grows with the square of its length
    if _longest_run(np.frombuffer(data, np.uint8) > 127) > 4096:
        raise Refused("it is broken MIDI: more than 4096 bytes over 127 in a row")
    try:
        return mido.MidiFile(file=io.BytesIO(data))
    except EOFError:
        raise Refused("it is cut short") from None
    except Exception as error:  # mido has no error class: a broken file raises whatever it stumbles over
        reason = " ".join(str(error).split())[:100]
        raise Refused(f"it is broken MIDI: {reason or type(error).__name__}") from None


def _longest_run(flags: np.ndarray) -> int:
    """How many True in a row, at most."""
    breaks = np.flatnonzero(~flags)
    return int(np.diff(breaks, prepend=-1, append=len(flags)).max()) - 1
