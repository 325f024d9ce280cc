"""Rolls to MIDI files."""

import io

import mido
import numpy as np

from minigen.errors import MinigenError
from minigen.files import write_atomically
from minigen.metre import METRES
from minigen.music.midi import END, KEYS, LOWEST

STEP = 120  # ticks


def ringing(roll, steps: int | None = None) -> np.ndarray:
    """Lengths for notes that have none (T, 88) bool: each sounds until the next step at which anything is struck, as in
    the original, or for so many `steps`, but not over the next strike of its own key."""
    struck, now = np.asarray(roll) > 0, np.arange(len(roll))
    if steps is None:
        last = np.maximum.accumulate(np.where(struck.any(axis=1), now, 0))
        return struck[last]
    last = np.maximum.accumulate(np.where(struck, now[:, None], -steps))
    return now[:, None] - last < steps


def releases(struck, sounding) -> np.ndarray:
    """(T, 88) of bool -> for each strike the next step at which its key is struck or does not sound, else T."""
    T = len(struck)
    ends = np.where(struck | ~sounding, np.arange(T)[:, None], T)
    following = np.minimum.accumulate(ends[::-1])[::-1]
    return np.concatenate([following[1:], np.full((1, KEYS), T)])


def write_midi(
    path,
    roll,
    bpm: float = 120,
    sounding=None,
    ring: int | None = None,
    metre: str = "4/4",
    title: str = "minigen",
) -> None:
    """Write a roll (T, 88) of velocities as MIDI of one track, one step per 16th; the same roll gives the same bytes.

    A roll of only 0 and 1 gets velocity 64. A note is as long as `sounding` (T, 88) says, cells that no strike leads to
    left out; without it, as `ringing` says for `ring` steps. No metre is written for "none".

    `read_song` gives the same two rolls, of any length, if it has a note and is read in the same metre.
    Raises MinigenError for a roll of another shape or range, a `bpm` outside 4..1000, a `ring` under 1.
    """
    roll = np.asarray(roll)
    if roll.ndim != 2 or roll.shape[1] != KEYS or not len(roll) or roll.min() < 0 or roll.max() > 127:
        raise MinigenError(f"a roll is (T, 88) with cells 0..127, and T at least 1: not {roll.dtype} {roll.shape}")
    if sounding is not None and np.shape(sounding) != roll.shape:
        raise MinigenError(f"what sounds is (T, 88) like the roll {roll.shape}: not {np.shape(sounding)}")
    if not 4 <= bpm <= 1000:
        raise MinigenError(f"a tempo of {bpm} beats a minute: choose one from 4 to 1000")
    if ring is not None and ring < 1:
        raise MinigenError(f"a ring of {ring} steps: choose 1 or more, or None")
    if metre not in METRES:
        raise MinigenError(f"{metre!r} is no metre: choose one of {', '.join(METRES)}")
    struck, T = roll > 0, len(roll)
    velocities = roll.astype(int) if roll.max() > 1 else 64 * roll.astype(int)
    ends = releases(struck, ringing(roll, ring) if sounding is None else np.asarray(sounding) > 0)
    events = []  # (step, velocity, key), 0 for the release: when sorted, a release comes before a strike
    for t, k in np.argwhere(struck).tolist():
        events += [(t, int(velocities[t, k]), k), (int(ends[t, k]), 0, k)]
    track = mido.MidiTrack([mido.MetaMessage("track_name", name=title.encode("utf-8", "replace").decode())])
    if metre != "none":
        numerator, denominator = map(int, metre.split("/"))
        track.append(mido.MetaMessage("time_signature", numerator=numerator, denominator=denominator))
    track.append(mido.MetaMessage("set_tempo", tempo=round(60e6 / bpm)))
    track.append(mido.Message("program_change", program=0))  # the grand piano
    now = 0
    for t, velocity, k in sorted(events):
        # a strike of velocity 0 is a release, and runs on under the same status byte
        track.append(mido.Message("note_on", note=LOWEST + k, velocity=velocity, time=(t - now) * STEP))
        now = t
    # the reader takes the length from the last onset, so silence at the end needs a word of its own
    track.append(mido.MetaMessage("marker", text=END, time=(T - now) * STEP))
    file = io.BytesIO()
    mido.MidiFile(type=0, ticks_per_beat=4 * STEP, charset="utf-8", tracks=[track]).save(file=file)
    write_atomically(path, lambda out: out.write(file.getvalue()))
