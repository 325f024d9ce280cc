"""The bytes of MIDI files: what other readers stumble over, what is broken, and what is made to cost much."""

import pytest
from midi_helpers import END, C, chunk, lengths, midi, raw, reason, refusal, strike, struck, verdicts_in_500_mb

from minigen.music.midi import LARGEST, Refused, read_midi, read_song
from minigen.music.parser import NotMidi, parse

ON, OFF = b"\0\x90\x3c\x40", b"\x78\x3c\0"  # C4, and under running status its release a step later


def number(n: int) -> bytes:
    """As MIDI writes it: seven bits a byte, all but the last with the highest bit set."""
    out = [n & 127]
    while n := n >> 7:
        out.insert(0, n & 127 | 128)
    return bytes(out)


def once(data: bytes):
    """The song, in which C4 is struck at step 0 and released at step 1, and nothing else."""
    song = read_song(data)
    assert struck(song.roll) == [(0, 60, 64)] and lengths(song) == {(0, 60): 1}
    return song


def test_running_status_goes_on_after_other_events():
    for between in (b"\xf0\x02\x7e\xf7", b"\xf7\x01\xfe", b"\xff\x01\x02hi", b"\xf8", b"\xfe", b"\xf6", b"\xf1\x05",
                    b"\xf2\x01\x02", b"\xf3\x07", b"\xf4", b"\xfd"):  # fmt: skip
        assert once(raw(ON + b"\0" + between + OFF + END)).broken == [], between
    others = b"\0\xc0\x07\0\x08" + b"\0\xb0\x40\x7f\0\x40\0" + b"\0\xd0\x10\0\x11"
    assert once(raw(others + ON + OFF + END)).broken == []


def test_a_song_is_found_in_its_wrappings():
    song = raw(C + END)
    for pad in (b"", b"\0"):
        data = chunk(b"data", song) + pad
        info = chunk(b"LIST", b"INFOINAM\5\0\0\0Song\0\0")
        assert once(chunk(b"RIFF", b"RMID" + data + info)).broken == []
        assert once(chunk(b"RIFF", b"RMID" + info + data, length=2**32 - 1)).broken == []
    picture = chunk(b"DISP", bytes(range(1, 256)) * 100)
    assert once(chunk(b"RIFF", b"RMID" + picture + chunk(b"data", song))).broken == []
    assert once(b"\0" * 128 + song).broken == []  # as a Mac of old wrapped it
    assert once(song + b"\0\r\ngarbage" * 99).broken == []
    header, track = song[:14], song[14:]
    foreign = chunk(b"XFIH", b"\0\xff\x2f\0") + chunk(b"Junk", b"")
    assert once(header + foreign + track + foreign).broken == []
    longer = chunk(b"MThd", header[8:] + b"\1\2")
    assert once(longer + track).broken == []


def test_a_chunk_of_a_wrong_length_gives_what_it_holds_with_a_word():
    header, content = raw()[:14], C + END
    other = chunk(b"MTrk", b"\0\x91\x40\x40\x78\x40\0" + END)
    for length in (0, 5, len(content) - 1, len(content) + 1, len(content) + 9, 2**24, 2**32 - 1):
        for more in (b"", other, chunk(b"XFIH", b"x") + other):
            song = read_song(header + chunk(b"MTrk", content, length) + more)
            assert struck(song.roll) == [(0, 60, 64)] + [(0, 64, 64)] * bool(more), (length, more)
            assert song.broken == ["track 1 is of a wrong length"] and song.warnings == song.broken


KEYS = range(0x21, 0x6C)
RUNNING = b"\0\x90" + b"0".join(b"%c@1%c\0" % (key, key) for key in KEYS) + END  # one status, and then only text


@pytest.mark.parametrize("more", ["", "a track", "a foreign chunk", "a track after a foreign chunk"])
def test_running_status_in_a_track_that_is_said_to_be_shorter_loses_no_note(more):
    """Wherever it is said to end, there are letters as of a chunk's name."""
    header, other = raw()[:14], chunk(b"MTrk", C + END) * ("a track" in more)
    rest = chunk(b"XFIH", b"foreign") * ("foreign" in more) + other
    notes = parse(header + chunk(b"MTrk", RUNNING) + rest).notes
    assert len(notes) == len(KEYS) + bool(other)
    for length in range(len(RUNNING)):
        midi = parse(header + chunk(b"MTrk", RUNNING, length) + rest)
        assert midi.notes == notes and midi.faults == ["track 1 is of a wrong length"], length


def test_a_track_that_is_said_to_be_longer_costs_no_note_of_the_next():
    header, tracks = raw()[:14], [chunk(b"MTrk", RUNNING), chunk(b"MTrk", C + END), chunk(b"MTrk", C + END)]
    notes = parse(header + b"".join(tracks)).notes
    for length in range(len(RUNNING) + 1, sum(map(len, tracks)) + 9):
        midi = parse(header + chunk(b"MTrk", RUNNING, length) + b"".join(tracks[1:]))
        assert midi.notes == notes and midi.faults == ["track 1 is of a wrong length"], length


def test_a_wrong_length_of_the_header_or_of_a_foreign_chunk_is_told_and_mended():
    header, track = raw()[:14], chunk(b"MTrk", C + END)
    whole = len(header + track + track)
    for length in [*range(6), *range(7, whole - 8)]:
        broken = header[:4] + length.to_bytes(4, "big") + header[8:] + track + track
        midi = parse(broken)
        last = 8 + length == 14 + len(track)  # there a track begins: one was skipped
        assert len(midi.notes) == 2 - last and len(midi.faults) == 1 - last, length
    foreign = b"\0\xff\x7f\x01 \xa0\xb0" * 4
    for length in [*range(len(foreign)), len(foreign) + 1, len(foreign) + 9]:
        midi = parse(header + chunk(b"XFIH", foreign, length) + track + track)
        assert len(midi.notes) == 2 and midi.faults == ["a chunk that is no track is of a wrong length"], length


def test_every_cut_short_file_gives_the_notes_before_the_cut():
    whole = midi([(0, 60), (480, 62), (960, 64)])
    notes = struck(read_midi(whole))
    for cut in range(len(whole)):
        try:
            song = read_song(whole[:cut])
        except Refused as refused:
            assert refused.kind == "not MIDI" and cut < whole.index(b"\x90\x3c\x40") + 3
            assert cut < 22 or "broken before its first note: track 1 is " in str(refused)
        else:
            assert struck(song.roll) == notes[: len(struck(song.roll))] and song.broken
    assert struck(read_midi(whole[:-4])) == notes


def test_tracks_that_are_missing_are_told_and_those_not_promised_are_read():
    assert once(raw(C + END, promised=3)).broken == ["it holds 1 of the 3 tracks that it promises"]
    song = read_song(raw(C + END, b"\0\x90\x40\x40" + END, promised=1))
    assert struck(song.roll) == [(0, 60, 64), (0, 64, 64)] and song.broken == []


def test_a_data_byte_over_127_costs_its_event_alone():
    song = once(raw(b"\0\x90\x3e\xd0" + b"\0\x90\xbc\x40" + C + END))
    assert song.broken == ["track 1 has 2 broken events, left out"]


def test_data_before_any_status_costs_what_follows_in_its_track():
    song = once(raw(C + END, b"\0\x3c\x40" + ON + END))
    assert song.broken == ["track 2 is broken at its byte 1: what follows is left out"]


def test_many_broken_tracks_are_told_in_a_few_words():
    data = raw(C + END) + chunk(b"MTrk", b"", 2**31) * 5000
    assert len(read_song(data).warnings) == 4 and read_song(data).warnings[-1] == "4,997 more"


def test_numbers_of_thousands_of_bytes():
    padded = b"\x80" * 5000
    data = raw(padded + ON + padded + b"\x78\x3c\0" + padded + b"\0\xff\x01" + padded + b"\x02hi" + END)
    assert once(data).broken == []
    for event in (b"\x90\x3c\x40", b"\xff\x06\x0bminigen end"):
        far = raw(C + b"\xff" * 4000 + b"\0" + event + END)  # at tick 2 ** 28000 or so
        if event[0] == 0x90:
            assert "longer than 32,768 steps" in reason(far)
        else:
            once(far)


def test_a_type_and_a_division_as_they_are():
    midi = parse(raw(b"\x10" + C[1:] + END, division=96, kind=0))
    assert (midi.type, midi.division, midi.notes) == (0, 96, [(16, 136, 0, 60, 64)])
    assert parse(raw(END, division=-25 * 256 + 40)).division < 0
    for nothing in (b"", b"MThd", b"RIFF", raw()):
        with pytest.raises(NotMidi):
            parse(nothing)
    with pytest.raises(NotMidi):
        parse(b"\0" * 2**12 + raw(C + END))  # a header so far behind is none


# what is made to cost much


TWO_METRES = b"\1\xff\x58\2\3\2\1\xff\x58\2\4\2"
ALL_METRES = b"".join(b"\1\xff\x58\2" + bytes([a, b]) for a in range(256) for b in range(0, 256, 4))
HOSTILE = {  # what it is: file, verdict
    "300,000 strikes of a key that is never released": (raw(ON + b"\0\x3c\x40" * 300_000 + END), "read"),
    "100,000 strikes, then as many releases": (raw(ON + b"\0\x3c\x40" * 10**5 + b"\0\x3c\0" * 10**5 + END), "read"),
    "one number of a million bytes": (raw(b"\xff" * 1_000_000), "not MIDI"),
    "numbers of 4,096 bytes": (raw((b"\xff" * 4096 + ON) * 150), "too long"),
    "100,000 empty chunks": (raw() + chunk(b"XTrk", b"") * 100_000, "not MIDI"),
    "20,000 broken tracks": (raw() + chunk(b"MTrk", b"\0", 99) * 20_000, "not MIDI"),
    "two metres in turn": (raw(TWO_METRES * 20_000 + C + END, division=40), "read"),
    "16,384 metres": (raw(ALL_METRES + C, division=9999), "metre"),
    "a program for each note": (raw(b"\0\xc0\1\0\x90\x3c\x40\1\xc0\2\0\x90\x3c\x40" * 20_000 + END), "read"),
}


def test_hostile_files_cost_little(tmp_path):
    """In a process that may take 500 MB more than it has after its imports."""
    for name, (data, _) in HOSTILE.items():
        (tmp_path / name).write_bytes(data)
    verdicts = verdicts_in_500_mb(map(tmp_path.joinpath, HOSTILE))
    for (name, (_, expected)), (verdict, seconds) in zip(HOSTILE.items(), verdicts, strict=True):
        assert verdict == expected and seconds < 5, (name, verdict, seconds)


def test_a_file_too_large_is_not_read_whole():
    assert "larger than 2 MiB" in reason(raw(C + END).ljust(LARGEST + 1, b"\0"))
    assert refusal(b"\0" * (LARGEST + 1)).remedy == "save its pieces as files of their own"


def test_its_number_is_the_one_that_mido_writes():
    for n in (0, 127, 128, 2**28 - 1):
        assert number(n) + b"\x90" in midi([(n, strike())])
