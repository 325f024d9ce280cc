"""Judges of the modules that read and write music, as in judges.py: each raises AssertionError where its module is
wrong. They hold it against the second reader of these tests, and against loops written out here."""

import tempfile
from pathlib import Path

import mido
import numpy as np
import second_reader
from midi_helpers import END, chunk, metre, midi, raw, release, strike

ON, OFF = b"\0\x90\x3c\x40", b"\x78\x3c\0"  # C4, and under running status its release after 120 ticks


def same(ours, theirs):
    assert np.array_equal(ours, theirs), (ours, theirs)


def judge_parser(m):
    two = (
        ON
        + b"\x0a\x91\x3c\x41"
        + b"\x0a\x90\x3c\x42"
        + b"\x83\x60\x80\x3c\x07\x05\x81\x3c\0"
        + OFF.replace(b"\x3c", b"\x81\x3c")
    )
    tracks = [
        two,
        two
        + ON
        + b"\x14\x90\x3c\0"
        + b"\x90\0\x3c\0"
        + ON
        + b"\x05\x90\x40\x33"
        + b"\x78\xc0\x05\0\x06"
        + b"\0\xff\x01\x02hi",
    ]
    tracks += [b"\0\xff\x51\3\7\xa1\x20" + ON + b"\0\xf0\2ab" + OFF + b"\x9e\0\xff\x51\3\1\2\3" + END + ON + OFF]
    tracks += [b"\x0a\xff\x58\2\3\2\0\xff\x7f\1a" + ON + b"\0\x90\x3d\xbd" + OFF + END]
    data = raw(*tracks)
    found, expected = m.parse(data), []
    for track in tracks:
        messages = list(second_reader.messages_of(track))
        expected += [tuple(note) for note in second_reader.notes_of(messages)]
    assert sorted(found.notes) == sorted(expected)
    assert (found.type, found.division, [(kind, text) for _, kind, text in found.metas]) == (
        1, 480, [(0x51, b"\7\xa1\x20"), (0x58, b"\3\2"), (0x51, b"\1\2\3")],
    )  # fmt: skip
    assert [program for _, _, program in found.programs] == [5, 6]
    assert found.faults == ["track 3 is of a wrong length", "track 4 has 1 broken event, left out"]
    one = [(0, 120, 0, 60, 64)]
    header, good = raw()[:14], chunk(b"MTrk", ON + OFF + END)
    longer = chunk(b"MThd", header[8:] + b"MTrk")
    for whole in (longer + good, b"RIFF" + header + good + b"\0"):
        assert m.parse(whole).notes == one and m.parse(whole).faults == []
    foreign = m.parse(header + good + chunk(b"XTrk", b"x") + good)
    assert (foreign.notes, foreign.faults) == (2 * one, [])
    for length in (3, 2**31):
        broken = header + chunk(b"MTrk", ON + OFF + END, length) + good
        assert m.parse(broken).notes == 2 * one and m.parse(broken).faults == ["track 1 is of a wrong length"]
    many = b"\0\x90" + b"0".join(b"%c@1%c\0" % (key, key) for key in range(48, 76)) + END  # most is text
    notes = m.parse(raw(many)).notes
    for length in range(1, len(many)):
        short = m.parse(header + chunk(b"MTrk", many, length) + good)
        assert (short.notes, short.faults) == (notes + one, ["track 1 is of a wrong length"])
    for length in (0, 3, 7):  # of a header, and of a chunk that is no track
        for before in (header + good + chunk(b"XTrk", bytes(6), length), chunk(b"MThd", header[8:], length) + good):
            found = m.parse(before + good)
            assert (found.notes, found.faults) == (2 * one, ["a chunk that is no track is of a wrong length"])
    cut = m.parse(raw(ON + OFF[:2]))
    assert (cut.notes, cut.faults) == ([(0, 120, 0, 60, 64)], ["track 1 is cut short"])


def steps_kept(signatures, name: str, end: int) -> list[int]:
    """Where each step of a file goes, -1 for nowhere, step by step."""
    bar, places, row, before = {"4/4": 16}.get(name, 12), [], 0, False
    for t in range(end):
        _, a, b = [(0, 4, 4), *(s for s in signatures if s[0] <= t)][-1]
        kept = name == ("4/4" if {a, b} <= {1, 2, 4, 8, 16} else f"{a}/{b}")
        row = row if before or not kept else -(-row // bar) * bar
        places.append(row if kept else -1)
        row, before = row + kept, kept
    return places


def judge_grid(m):
    rng = np.random.default_rng(1)
    metres = [(4, 4), (2, 4), (3, 4), (6, 8), (5, 4), (16, 16)]
    for _ in range(60):
        times = sorted(rng.integers(0, 120, 5).tolist())
        signatures = [(t, *metres[n]) for t, n in zip(times, rng.integers(0, 6, 5), strict=True)]
        for name in ("4/4", "3/4"):
            runs, _ = m.kept_bars(signatures, name, 130, 4)  # a tick is a step
            places = [-1] * 130
            for run in runs:
                places[run.first : run.last] = range(run.place, run.place + run.last - run.first)
            assert places == steps_kept(signatures, name, 130)
    runs, foreign = m.kept_bars([(32, 3, 4), (57, 0, 4), (64, 5, 8), (80, 3, 2**70), (81, 4, 4)], "4/4", 90, 4)
    assert len(runs) == 2 and foreign == {"3/4": 3, "0/4": 1, "5/8": 2, "3/2^70": 1}
    assert m.kept_bars([(5, 3, 4)], "none", 9, 4) == ([m.Run(0, 9, 0)], {})
    changes = [(0, 7, 32), (420, 4, 4), (2940, 3, 4), (5000, 4, 4), (8841, 5, 8), (9000, 2, 4)]  # 120 ticks a step
    runs, foreign = m.kept_bars(changes, "4/4", 9999, 480)  # 21 steps, then 32.008
    assert runs == [m.Run(420, 2940, 0), m.Run(5000, 8841, 32), m.Run(9000, 9999, 64)]
    assert foreign == {"7/32": 1, "3/4": 2, "5/8": 1}
    assert m.steps_of([0, 59, 60, 61, 180, 300, 420, -60], 480).tolist() == [0, 0, 0, 1, 2, 2, 4, 0]

    beats = np.arange(200)
    for late, kind in ((0, ""), (0.25, ""), (0.02, ""), (2 / 3, "swing"), (0.6, "swing"), (0.4, "off the grid")):
        fit = m.fit_of(np.sort(np.concatenate([beats, beats + late])) * 480, 480)
        distance = abs(4 * late - round(4 * late))
        assert fit.kind == kind and abs(fit.off_grid - distance / 2) < 1e-6 and fit.moved == (distance > 0.2) / 2
    assert m.fit_of(beats * 100, 300).kind == "triplets" and m.fit_of(beats * 50, 300).kind == "triplets"
    assert m.fit_of(np.sort(np.concatenate([beats * 300, beats * 300 + 100])), 600).kind == "triplets"
    on_grid, thirds = np.arange(96) * 120, 160 * np.array([1, 2, 4, 5, 7, 8])
    few, more = (np.sort(np.concatenate([on_grid, thirds[:n]])) for n in (4, 6))
    assert m.fit_of(few, 480).kind == "" and m.fit_of(few, 480).warnings == []
    assert m.fit_of(more, 480).kind == "triplets" and "triplets: 6% of" in m.fit_of(more, 480).warnings[0]


def verdict(m, source, **options):
    """A word for what the module makes of a file."""
    try:
        return m.read_song(source, **options)
    except m.Refused as refused:
        return refused.kind


def program(number, channel=0):
    return mido.Message("program_change", program=number, channel=channel)


def tempo(bpm):
    return mido.MetaMessage("set_tempo", tempo=round(60e6 / bpm))


def judge_midi(m):
    rng = np.random.default_rng(2)
    for n in range(12):
        tracks = [[], []]
        for t in np.sort(rng.integers(0, 9000, 60)).tolist():
            note = int(rng.choice([20, 21, 60, 61, 108, 109]))
            event = strike(note, int(rng.integers(1, 128)), int(rng.choice([0, 1, 9])))
            tracks[t % 2].append((t, event if rng.random() < 0.7 else release(note, event.channel)))
        changes = [(3840, metre(3, 4)), (6720, metre(4, 4))] if n % 2 else [(0, metre(3, 4)), (2880, metre(2, 4))]
        if n % 3 == 0:  # anywhere, and not on the grid
            changes = sorted((t + int(rng.integers(1, 500)), message) for t, message in changes)
        data = midi(changes, *tracks)
        for name in ("4/4", "3/4"):
            song, (roll, sounding, left_out) = verdict(m, data, metre=name), second_reader.read(data, name)
            same(song.roll, roll)
            same(song.sounding, sounding)
            assert song.off_piano == left_out["off the piano"]
            assert song.foreign_notes == left_out["in bars of another metre"]
    ties = midi([(60, 60), (180, 61), (300, 62), (420, 63)])
    assert [int(t) for t in verdict(m, ties).roll.any(axis=1).nonzero()[0]] == [0, 2, 4]
    marked = midi([(0, 60), (960, mido.MetaMessage("marker", text="minigen end"))])
    assert len(verdict(m, marked).roll) == 8 and len(verdict(m, midi([(0, 60)])).roll) == 16
    assert len(verdict(m, midi([(0, metre(6, 8)), (1440, 60)]), metre="6/8").roll) == 24
    slow = midi([(0, tempo(60)), (480, tempo(90)), (480, 60), (960, tempo(150)), (960, 60)])
    assert round(verdict(m, slow).bpm) == 90
    assert [verdict(m, slow, max_tempos=n) == "tempos" for n in (0, 1, 2)] == [True, True, False]
    parts = midi([(0, program(3)), (0, 60), (240, 62), (480, program(4)), (480, 60), (960, strike(channel=2))])
    assert [verdict(m, parts, max_tracks=n) == "parts" for n in (1, 2, 3)] == [True, True, False]
    for meta, bpm in ((b"\xff\x51\2\7\xa1", 120), (b"\xff\x51\3\0\0\0", 120), (b"\xff\x51\4\x0f\x42\x40\0", 60)):
        assert round(verdict(m, raw(b"\0" + meta + ON + OFF + END)).bpm) == bpm
    last = [(0, 60), (32_767 * 120, 60)]
    assert verdict(m, midi(last)) != "too long" == verdict(m, midi([(32_768 * 120, 60)]))
    kinds = [
        verdict(m, data) for data in (b"", midi([(0, 20)]), midi([(0, metre(3, 4)), (0, 60)]), midi([(0, 60)], type=2))
    ]
    assert kinds == ["not MIDI", "no note", "metre", "type"]
    assert verdict(m, raw(b"\0\x90\x3c")) == "not MIDI" and verdict(m, raw(END)) == "no note"
    mixed = midi(
        [(0, metre(5, 8)), (0, 60), (1200, metre(3, 4)), (1200, 60), (4000, metre(6, 8)), (4000, 60), (5000, 60)]
    )
    for data, told in ((mixed, "with --metre 6/8"), (midi([(0, metre(5, 8)), (0, 60)]), "choose another file")):
        try:
            m.read_song(data)
        except m.Refused as refused:
            assert refused.remedy.endswith(told), refused.remedy
    early = midi([(0, metre(7, 32)), (370, 60), (420, metre(4, 4)), (900, 62)])
    late = [(0, 60), (1870, 61), (1920, metre(3, 4)), (3320, 62), (3360, metre(4, 4)), (3361, 63)]
    song = verdict(m, early)
    assert np.argwhere(song.roll).tolist() == [[0, 39], [4, 41]] and song.foreign == {"7/32": 1}
    assert abs(song.fit.off_grid - 50 / 120 / 2) < 1e-6
    song = verdict(m, midi(late))
    assert np.argwhere(song.roll).tolist() == [[0, 39], [16, 41], [16, 42]] and song.foreign_notes == 1


def judge_midi_out(m):
    rng = np.random.default_rng(3)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "song.mid")
        for T, name in ((1, "4/4"), (40, "3/4"), (77, "4/4"), (30, "6/8")):
            roll = np.where(rng.random((T, 88)) < 0.05, rng.integers(2, 128, (T, 88)), 0)
            roll[0, [0, 87]] = 50
            sounding, expected = rng.random((T, 88)) < 0.8, roll > 0
            for t in range(1, T):
                expected[t] |= sounding[t] & expected[t - 1]
            m.write_midi(path, roll, 90, sounding, metre=name)
            found = second_reader.read(path.read_bytes(), name)
            assert found is not None
            same(found[0], roll)
            same(found[1], expected)
            down, said = set(), {}
            for message in mido.MidiFile(path).tracks[0]:
                said[message.type] = message
                if message.type == "note_on":
                    assert (message.note in down) == (message.velocity == 0)  # let go before it is struck again
                    down ^= {message.note}
            assert not down and said["set_tempo"].tempo == 666_667
            signature = said["time_signature"]
            assert f"{signature.numerator}/{signature.denominator}" == name

        roll = np.zeros((32, 88), np.uint8)
        roll[2, [3, 4]], roll[5, 4], roll[9, 60], roll[20, 60] = 1, 1, 1, 1
        for ring, ends in ((None, (5, 5, 9, 20, 32)), (4, (6, 5, 9, 13, 24)), (99, (32, 5, 32, 20, 32))):
            m.write_midi(path, roll, ring=ring)
            struck, sounding, _ = second_reader.read(path.read_bytes())
            same(struck, 64 * roll)
            for (t, k), end in zip(((2, 3), (2, 4), (5, 4), (9, 60), (20, 60)), ends, strict=True):
                assert sounding[t:end, k].all() and (end == 32 or roll[end, k] or not sounding[end, k])


def judge_alike(m):
    rng = np.random.default_rng(4)

    def song(steps: int) -> np.ndarray:
        roll, at = np.zeros((4 * steps, 88), np.uint8), np.sort(rng.choice(4 * steps, steps, replace=False))
        for t in at:
            roll[t, rng.integers(20, 60, 3)] = rng.integers(1, 128, 3)
        return roll

    one, two, three = song(200), song(200), song(200)
    later = np.concatenate([np.zeros((7, 88), np.uint8), one // 3 + 9 * (one > 0)])
    assert m.notes_of(later) == m.notes_of(one) != m.notes_of(np.roll(one, 1, axis=1)) and m.notes_of(0 * one) == b""
    for copy in (later, np.roll(one, 3, axis=1), np.roll(one, -9, axis=1), one[150:], one[:500], one[100:400]):
        assert m.groups([two, one, three, copy]) == [0, 1, 2, 1] and m.groups([copy, two, one]) == [0, 1, 0]
    assert m.groups([one, two, one, three, two]) == [0, 1, 0, 3, 1]
    third = np.concatenate([one[:270], two[270:]])  # a third of one, and two thirds of two
    assert m.groups([one, third]) == [0, 1] and m.groups([one, two, third]) == [0, 1, 1]
    parts = one[:440], one[400:]
    for songs in ([*parts, one], [parts[0], one, parts[1]], [one, *parts], [*parts[::-1], one]):
        assert m.groups(songs) == [0, 0, 0] and m.groups([two, *songs, two]) == [0, 1, 1, 1, 0]
    assert m.groups([one, two, two, np.concatenate([one, two])]) == [0, 0, 0, 0]  # which has both
    assert m.groups([one, *[two] * 20, one[200:], two[300:]]) == [0, *[1] * 20, 0, 1]
    first = np.concatenate([one[:300], three[:500]])
    second = np.concatenate([first[:480], song(80)])  # a third of one is in both
    assert m.groups([one, first, second]) == [0, 1, 1]
    found = m.repeats([one, later, two, np.roll(one, 2, axis=1), one[300:], three, two // 2 + (two > 0)])
    assert found == [None, ("same", 0), None, ("like", 0), ("like", 0), None, ("same", 2)]
    slower = one.repeat(2, axis=0) * (np.arange(1600) % 2 == 0)[:, None].astype(np.uint8)
    assert m.groups([one, slower]) == [0, 1]  # other distances
    orders = np.arange(30, 46), rng.permutation(np.arange(30, 46))  # 16 chords over a bass, round and round
    first, second = np.zeros((2, 256, 88), np.uint8)
    for roll, order in ((first, orders[0]), (second, orders[1])):
        roll[::4, 20], roll[np.arange(0, 256, 4), np.tile(order, 4)] = 1, 1
    assert m.groups([first, second]) == [0, 1]  # in another order
    empty = np.zeros((16, 88), np.uint8)
    assert m.groups([empty, one, empty]) == [0, 1, 2]


MUSIC_JUDGES = {
    "music/parser": judge_parser,
    "music/grid": judge_grid,
    "music/midi": judge_midi,
    "music/midi_out": judge_midi_out,
    "music/alike": judge_alike,
}
