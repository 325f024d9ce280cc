"""Sound: as long as the music, in tune, never clipped, silent where the music is."""

import time
import wave

import numpy as np
import pytest
from helpers import SONGS, done, script

import minigen
from minigen.music.midi import read_song
from minigen.music.synth import RATE, chunks, tone, write_wav


def roll_of(T, *notes):
    roll = np.zeros((T, 88), np.uint8)
    for t, key in notes:
        roll[t, key] = 1
    return roll


def read(path):
    with wave.open(str(path)) as file:
        assert (file.getnchannels(), file.getsampwidth(), file.getframerate()) == (2, 2, RATE)
        return np.frombuffer(file.readframes(file.getnframes()), "<i2").reshape(-1, 2)


@pytest.mark.parametrize("steps, bpm", [(1, 120), (37, 97), (700, 133.3)])
def test_it_is_as_long_as_the_music_to_the_sample(steps, bpm, tmp_path):
    roll = roll_of(steps, (0, 40))
    seconds = write_wav(tmp_path / "a.wav", roll, bpm=bpm)
    frames = len(read(tmp_path / "a.wav"))
    assert frames == round(steps * 15 / bpm * RATE) and seconds == frames / RATE


def test_every_key_is_in_tune_to_a_cent():
    """The fundamental's peak in the spectrum, by a parabola through three bins."""
    n = 1 << 18
    for key in range(88):
        f, sound = 440 * 2 ** ((key - 48) / 12), tone(key, 4 * RATE)
        spectrum = np.abs(np.fft.rfft(sound * np.hanning(len(sound)), n))
        low, high = int(0.97 * f * n / RATE), int(1.03 * f * n / RATE) + 1
        k = low + spectrum[low:high].argmax()
        a, b, c = np.log(spectrum[k - 1 : k + 2])
        found = (k + (a - c) / 2 / (a - 2 * b + c)) * RATE / n
        assert abs(1200 * np.log2(found / f)) < 1, key


def test_it_never_clips_and_is_loud(tmp_path):
    roll = np.ones((8, 88), np.uint8)
    for music in (roll, roll_of(8, (0, 40))):
        write_wav(tmp_path / "a.wav", music)
        peak = np.abs(read(tmp_path / "a.wav").astype(int)).max()
        assert 0.89 * 32767 < peak < 0.91 * 32767


def test_it_is_silent_where_the_music_is(tmp_path):
    roll, sounding = roll_of(32, (4, 40), (20, 52)), np.zeros((32, 88), bool)
    sounding[4:10, 40] = sounding[20:22, 52] = True
    write_wav(tmp_path / "a.wav", roll, sounding, bpm=150)  # 4,410 samples a step
    loud = np.abs(read(tmp_path / "a.wav").astype(int)).max(axis=1).reshape(32, -1).max(axis=1) > 0
    assert loud.tolist() == [4 <= t < 10 or 20 <= t < 22 for t in range(32)]
    write_wav(tmp_path / "a.wav", 0 * roll)
    assert not read(tmp_path / "a.wav").any()


def test_the_same_music_is_the_same_file_and_a_chunk_s_edge_is_not_heard(tmp_path):
    song = read_song(SONGS[0])
    for name in "ab":
        write_wav(tmp_path / f"{name}.wav", song.roll, song.sounding, song.bpm)
    assert (tmp_path / "a.wav").read_bytes() == (tmp_path / "b.wav").read_bytes()
    held = roll_of(600, (250, 20))
    sounding = np.cumsum(held, axis=0) > 0
    sound = np.concatenate(list(chunks(held, sounding, 120)))[250 * RATE // 8 :]
    alone = tone(20, len(sound))
    np.testing.assert_allclose(sound[: 19 * RATE, 0] / sound[RATE, 0], alone[: 19 * RATE] / alone[RATE], atol=1e-3)


def test_low_keys_are_left_and_velocities_are_loudness():
    low, high = (np.abs(next(chunks(roll_of(8, (0, key))))).max(axis=0) for key in (5, 80))
    assert low[0] > low[1] and high[0] < high[1]
    soft, strong = (np.abs(next(chunks(roll_of(8, (0, 40)) * np.uint8(v)))).max() for v in (32, 96))
    assert 2.9 < strong / soft < 3.1


def test_it_is_sixty_times_as_fast_as_the_music(tmp_path):
    song = read_song(SONGS[0])
    roll, sounding = np.tile(song.roll, (4, 1)), np.tile(song.sounding, (4, 1))
    began = time.process_time()
    seconds = write_wav(tmp_path / "a.wav", roll, sounding)
    assert seconds / (time.process_time() - began) > 60


def test_the_scripts_write_it(tmp_path):
    assert ".wav" in done("sample", "--bars", 2, "--wav", "--out", tmp_path)
    (path,) = tmp_path.glob("*.wav")
    assert len(read(path)) == 4 * RATE
    (midi,) = tmp_path.glob("*.mid")
    out = done("plot", midi, "--wav", "--out", tmp_path / "again.wav")
    assert "again.wav" in out and (tmp_path / "again.wav").read_bytes() == path.read_bytes()
    assert minigen.read_midi(midi).shape == (32, 88)
    wrong = script("plot", midi)
    assert wrong.returncode == 2 and "--wav" in wrong.stderr
