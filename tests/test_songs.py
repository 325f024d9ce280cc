"""minigen's own songs, in samples/songs: what they promise, read back from the files."""

import importlib.util
from pathlib import Path

import mido
import numpy as np
import pytest

from minigen.music.midi import read_midi

FOLDER = Path(__file__).parents[1] / "samples" / "songs"
SONGS = sorted(FOLDER.glob("*.mid"))


def load_script():
    spec = importlib.util.spec_from_file_location("make_songs", FOLDER / "make_songs.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_there_are_enough_and_no_two_are_the_same():
    assert len(SONGS) >= 24
    assert len({read_midi(path).tobytes() for path in SONGS}) == len(SONGS)


@pytest.mark.parametrize("path", SONGS, ids=lambda path: path.stem)
def test_a_song(path):
    midi = mido.MidiFile(path)
    grid = midi.ticks_per_beat // 4
    metres = [(m.numerator, m.denominator) for track in midi.tracks for m in track if m.type == "time_signature"]
    assert metres in ([(4, 4)], [(2, 4)])
    bar = 4 * metres[0][0]

    hands = [track for track in midi.tracks if any(m.type == "note_on" for m in track)]
    assert [track.name for track in hands] == ["right hand", "left hand"]
    for track in hands:
        assert all(message.time % grid == 0 for message in track)
        sounding = set()
        for message in track:
            if message.type == "note_on":
                assert message.velocity > 0 and 21 <= message.note <= 108
                assert message.note not in sounding  # it was let go before it is struck again
                sounding.add(message.note)
            elif message.type == "note_off":
                sounding.remove(message.note)
        assert not sounding

    ends = {sum(message.time for message in track) // grid for track in hands}
    assert max(ends) % bar == 0 and max(ends) // bar >= 16
    assert len(ends) == 1  # both hands play to the end

    roll = read_midi(path) > 0
    assert roll.shape[0] <= max(ends) + 15
    notes = roll.sum(axis=1)
    assert notes[notes > 0].mean() >= 1.8
    assert np.ptp(np.flatnonzero(roll.any(axis=0))) >= 24  # two hands, two octaves and more


def test_the_files_are_what_the_script_writes(tmp_path):
    load_script().main(tmp_path)
    written = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    kept = {path.name: path.read_bytes() for path in [*SONGS, FOLDER / "README.md"]}
    assert written == kept


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("4 c5 c5 g5 g5 |", "4 c5 c5 g5 |", "section A, right hand: bar 1 holds 12 sixteenths, not 16"),
        ("8 F C | F C | G7 C", "8 F C | F C", "the hands differ in number of bars"),
        ("8 F C | F C | G7 C", "8 F C | F C | G7 H", "section A, left hand: 'H' is neither a length"),
        ("A:block+duo", "A:blok+duo", "section A, left hand: chord C in bar 1 needs a pattern"),
    ],
)
def test_a_slip_in_the_text_is_named(old, new, complaint):
    script = load_script()
    text = (FOLDER / "tunes.txt").read_text(encoding="utf-8")
    assert old in text
    tunes, patterns = script.read_tunes(text.replace(old, new, 1))
    with pytest.raises(SystemExit, match="Twinkle, Twinkle, Little Star") as caught:
        script.build(tunes[0], patterns)
    assert complaint in str(caught.value)
