"""What the tests of MIDI share: files made of messages or of bytes, rolls as lists, and where the example files are."""

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import mido
import numpy as np
import pytest

from minigen.music.midi import Refused, read_midi

DATA = Path(os.environ.get("MINIGEN_DATA", "nowhere"))
ZOO, CASES = DATA / "midi_zoo", DATA / "cases"
needs_zoo = pytest.mark.skipif(not ZOO.is_dir(), reason="MINIGEN_DATA names no folder with midi_zoo in it")
needs_cases = pytest.mark.skipif(not CASES.is_dir(), reason="MINIGEN_DATA names no folder with cases in it")


# of messages, by mido


def midi(*tracks, type=1, ticks_per_beat=480) -> bytes:
    """A file of tracks of (tick, message), or (tick, MIDI note) for a strike of velocity 64."""
    made = []
    for track in tracks:
        now, messages = 0, []
        for tick, message in track:
            if isinstance(message, int):
                message = strike(message)
            messages.append(message.copy(time=tick - now))
            now = tick
        made.append(mido.MidiTrack(messages))
    out = io.BytesIO()
    mido.MidiFile(type=type, ticks_per_beat=ticks_per_beat, tracks=made).save(file=out)
    return out.getvalue()


def strike(note=60, velocity=64, channel=0):
    return mido.Message("note_on", note=note, velocity=velocity, channel=channel)


def release(note=60, channel=0):
    return mido.Message("note_off", note=note, channel=channel)


def metre(numerator, denominator):
    return mido.MetaMessage("time_signature", numerator=numerator, denominator=denominator)


METRES_OF_MIDI = {"4/4": metre(4, 4), "3/4": metre(3, 4), "6/8": metre(6, 8)}

# of bytes


END = b"\0\xff\x2f\0"
C = b"\0\x90\x3c\x40\x78\x80\x3c\0"  # C4 for a step of a file with 480 ticks a quarter


def raw(*tracks, division=480, kind=1, promised=None) -> bytes:
    """A file whose tracks hold these bytes."""
    numbers = kind, len(tracks) if promised is None else promised, division
    file = chunk(b"MThd", b"".join(n.to_bytes(2, "big", signed=n < 0) for n in numbers))
    return file + b"".join(chunk(b"MTrk", track) for track in tracks)


def chunk(name: bytes, content: bytes, length: int | None = None) -> bytes:
    return name + (len(content) if length is None else length).to_bytes(4, "big") + content


# what was read


def struck(roll) -> list[tuple[int, int, int]]:
    """(step, MIDI note, velocity) of every cell that is on."""
    return [(int(t), int(k) + 21, int(roll[t, k])) for t, k in np.argwhere(roll)]


def lengths(song) -> dict[tuple[int, int], int]:
    """(step, MIDI note) of each strike -> how many steps it sounds, to the next strike of its key at most."""
    out = {}
    for t, k in np.argwhere(song.roll).tolist():
        end = t + 1
        while end < len(song.roll) and song.sounding[end, k] and not song.roll[end, k]:
            end += 1
        out[t, k + 21] = end - t
    return out


def refusal(source, **options) -> Refused:
    with pytest.raises(Refused) as refused:
        read_midi(source, **options)
    assert "\n" not in str(refused.value) and len(str(refused.value)) < 200 and refused.value.remedy
    return refused.value


def reason(source, **options) -> str:
    return str(refusal(source, **options))


def verdicts_in_500_mb(paths) -> list[tuple[str, float]]:
    """("read" or the code of the refusal, seconds) of files read by a process of its own, which may take 500 MB more
    than it has after its imports."""
    code = """
import json, resource, sys, time
from minigen.music.midi import Refused, read_song
taken = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (taken + 500 * 2**20,) * 2)
verdicts = []
for path in json.load(sys.stdin):
    began, verdict = time.monotonic(), "read"
    try:
        read_song(path)
    except Refused as refused:
        verdict = refused.kind
    verdicts.append((verdict, time.monotonic() - began))
print(json.dumps(verdicts))
"""
    if not Path("/proc/self/statm").exists():
        pytest.skip("this system does not say how much memory a process has")
    env = os.environ | {"PYTHONPATH": str(Path(__file__).resolve().parents[1])}
    names = json.dumps(list(map(str, paths)))
    called = subprocess.run(
        [sys.executable, "-c", code], input=names, env=env, capture_output=True, text=True, timeout=100
    )
    assert called.returncode == 0, called.stderr
    return json.loads(called.stdout)
