"""Sound: a small additive piano, without a soundfont. Knows no network.

A key of fundamental f, held, is a sum of damped sines, over partials h that lie under half of the sample rate:

    y(t) = sum_h A_h (0.7 exp(-5 t / tau_h) + 0.3 exp(-t / tau_h)) sin(2 pi f_h t)
    f = 440 * 2 ** ((key - 48) / 12) Hz
    f_h = f h sqrt((1 + S h^2) / (1 + S)),    A_h = h^-1.3 sin(pi h / 8 + 0.001) over the sum of their sizes
    tau_h = 4 s * 2 ** ((39 - key) / 18) / (0.7 + 0.3 h)

Key 48 is A4, and key 39 C4. Partials are a little sharp, as those of a stiff string are; each dies away twice, fast and
then slowly (Weinreich 1977), high ones sooner; the hammer strikes at an eighth of the string. With a complex rate c,
`exp(c (m M + j)) = exp(c M)^m exp(c j)`: rows of M samples are a product of two small matrices, and no sine is taken
per sample. A note is as long as its key sounds, and is damped over the last RELEASE seconds of it.
"""

import wave
from collections.abc import Iterator

import numpy as np

from minigen.errors import MinigenError
from minigen.files import write_atomically
from minigen.music.midi_out import releases, ringing
from minigen.progress import progress

RATE = 44100  # samples per second
PARTIALS, STIFF, BLOCK = 16, 3e-4, 512
ATTACK, RELEASE, LONGEST = 0.002, 0.08, 20.0  # seconds
CHUNK = 256  # steps that are rendered at once
PEAK = 0.9
WHOLE = 2**32 - 100  # bytes of a WAV file


def tone(key: int, samples: int, rate: int = RATE) -> np.ndarray:
    """A held key -> (samples,) float32, all within -1 to 1."""
    f, h = 440 * 2 ** ((key - 48) / 12), np.arange(1, PARTIALS + 1)
    frequency = f * h * np.sqrt((1 + STIFF * h**2) / (1 + STIFF))
    strength = h**-1.3 * np.sin(np.pi * h / 8 + 1e-3) * (frequency < rate / 2)
    slow = 4.0 * 2 ** ((39 - key) / 18) / (1 + 0.3 * (h - 1))  # seconds
    c = np.concatenate([2j * np.pi * frequency - 1 / tau for tau in (slow / 5, slow)]) / rate
    amplitude = np.concatenate([0.7 * strength, 0.3 * strength]) / np.abs(strength).sum()
    rows = np.exp(np.outer(np.arange(-(-samples // BLOCK)) * BLOCK, c)) * (-1j * amplitude)  # sines: it begins at 0
    sound = (rows @ np.exp(np.outer(c, np.arange(BLOCK)))).real.ravel()[:samples]
    n = min(samples, int(ATTACK * rate))
    sound[:n] *= np.linspace(0, 1, n, endpoint=False)
    return sound.astype(np.float32)


def chunks(roll, sounding=None, bpm: float = 120, rate: int = RATE) -> Iterator[np.ndarray]:
    """A roll (T, 88) of 0/1 or velocities, and what sounds in it (else notes ring until the next strike) -> its sound,
    chunk after chunk (n, 2), left and right, as loud as it comes; round(T * 15 / bpm * rate) samples in all."""
    roll = np.asarray(roll)
    struck, T = roll > 0, len(roll)
    frame = np.round(np.arange(T + 1) * (15 / bpm * rate)).astype(int)
    step, key = np.nonzero(struck)
    begin = frame[step]
    end = frame[releases(struck, ringing(roll) if sounding is None else np.asarray(sounding) > 0)[struck]]
    end = np.minimum(end, begin + int(LONGEST * rate))
    loud = roll[struck] / (64.0 if roll.max(initial=0) > 1 else 1.0)
    tones = {k: tone(k, (end - begin)[key == k].max(), rate) for k in np.unique(key).tolist()}
    fade = np.cos(np.linspace(0, np.pi / 2, int(RELEASE * rate), endpoint=False)) ** 2
    angle = np.pi / 8 + key / 87 * np.pi / 4  # low keys to the left
    for first in progress(range(0, T, CHUNK), "rendering"):
        lo, hi = frame[first], frame[min(first + CHUNK, T)]
        sound = np.zeros((2, hi - lo), np.float32)
        for n in np.flatnonzero((begin < hi) & (end > lo)).tolist():
            length = end[n] - begin[n]
            damped = tones[int(key[n])][:length] * np.float32(loud[n])
            m = min(len(fade), length)
            damped[length - m :] *= fade[-m:]
            a, b = max(begin[n], lo), min(end[n], hi)
            part = damped[a - begin[n] : b - begin[n]]
            sound[0, a - lo : b - lo] += np.cos(angle[n]) * part
            sound[1, a - lo : b - lo] += np.sin(angle[n]) * part
        yield sound.T


def write_wav(path, roll, sounding=None, bpm: float = 120, rate: int = RATE) -> float:
    """Write 16 bits, stereo -> its seconds. The loudest sample is at PEAK of what a file holds; silence stays silent.

    It is rendered twice, for its peak and for the file, so that an hour fits into memory. Raises MinigenError where it
    is longer than a WAV file may be."""
    if len(roll) * 15 / bpm * rate * 4 > WHOLE:
        raise MinigenError(f"{len(roll)} steps at {bpm:g} bpm are longer than a WAV file may be: ask for fewer --bars")
    peak = max((float(np.abs(sound).max(initial=0)) for sound in chunks(roll, sounding, bpm, rate)), default=0.0)
    gain, frames = 32767 * PEAK / (peak or 1.0), 0

    def write(file):
        nonlocal frames
        with wave.open(file, "wb") as out:
            out.setnchannels(2)
            out.setsampwidth(2)
            out.setframerate(rate)
            for sound in chunks(roll, sounding, bpm, rate):
                out.writeframes(np.round(gain * sound).astype("<i2").tobytes())
                frames += len(sound)

    write_atomically(path, write)
    return frames / rate
