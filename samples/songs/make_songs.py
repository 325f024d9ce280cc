"""minigen's own songs: tunes.txt (its first lines explain the notation) becomes one NAME.mid a tune, and README.md.

    python samples/songs/make_songs.py [FOLDER]

prints a row a tune: title, composer, year, bars, notes, notes a struck step. Running it again writes the same bytes.
"""

import re
import sys
import unicodedata
from pathlib import Path
from typing import NamedTuple

import mido

HERE = Path(__file__).parent
TICKS = 120  # ticks a 16th, at 480 a quarter note
HANDS = {"right": (0, 72), "left": (1, 58)}  # channel, velocity; with a channel each, no hand ends the other's notes
LETTERS = dict(zip("cdefgab", (0, 2, 4, 5, 7, 9, 11), strict=True))
ACCIDENTALS = {"#": 1, "b": -1, "": 0}
# three notes lie well in a hand: a seventh chord leaves its fifth out
CHORDS = {"": (0, 4, 7), "m": (0, 3, 7), "7": (0, 4, 10), "5": (0, 7), "sus": (0, 5, 7), "aug": (0, 4, 8)}
NOTE = re.compile(r"([a-g])([#b]?)(\d)")
CHORD = re.compile(r"([A-G])([#b]?)(m|7|5|sus|aug|)(?:/([A-G])([#b]?))?(!?)")
README = """# minigen's own songs

Written by `make_songs.py` from `tunes.txt`: edit that file and run the script. The tunes are in the public domain; the
arrangements are by this project, under [CC0 1.0](https://creativecommons.org/publicdomain/zero/1.0/).

| tune | composer | year | bars | notes a struck step |
| --- | --- | --- | --- | --- |
"""


class Tune(NamedTuple):
    title: str
    composer: str
    year: str
    metre: str
    key: str
    bpm: int
    window: int  # lowest note of the octave in which the left hand's chords lie
    sections: dict  # name -> voice ("right", "right2", "left") -> text
    play: list  # of "section:pattern+option+option"

    @property
    def name(self) -> str:
        plain = unicodedata.normalize("NFKD", self.title.lower().replace("'", "")).encode("ascii", "ignore").decode()
        return re.sub(r"[^a-z0-9]+", "-", plain).strip("-")


def read_notes(token: str) -> list[int]:
    """MIDI numbers of a run of notes such as c4e4g4 (c4 = 60); ValueError where it is none."""
    if not re.fullmatch(f"(?:{NOTE.pattern})+", token):
        raise ValueError(f"'{token}' is neither a length, notes, a chord, r nor ~")
    return [LETTERS[a] + ACCIDENTALS[s] + 12 * int(o) + 12 for a, s, o in NOTE.findall(token)]


def read_chord(match: re.Match, window: int) -> tuple[list[int], int, int]:
    """The chord's upper notes, in the octave from `window` up; its bass and its other bass, in the octave below."""
    letter, accidental, kind, bass, bass_accidental, _ = match.groups()
    root = LETTERS[letter.lower()] + ACCIDENTALS[accidental]
    low = root if bass is None else LETTERS[bass.lower()] + ACCIDENTALS[bass_accidental]
    upper = sorted(window + (root + step - window) % 12 for step in CHORDS[kind])
    return upper, *(window - 12 + (note - window) % 12 for note in (low, root + 7 if low == root else root))


def accompany(chord: tuple, pattern: str, length: int):
    """The pattern's strikes [offset, duration, notes] over a chord of `length` 16ths, cut off at its end."""
    upper, bass, fifth = chord
    named = {"b": [bass], "f": [fifth], "x": upper, "l": upper[:1], "m": upper[1:2], "h": upper[-1:]}
    at = 0
    while at < length:
        for token in pattern.split():
            if token.isdigit():
                step = int(token)
            elif at < length:
                notes = sorted({note for letter in token for note in named[letter]})
                yield at, min(step, length - at), [n for n in notes if n <= notes[0] + 16]  # a hand spans a tenth
                at += step


def read_voice(text: str, bar_length: int, window: int, pattern: str) -> tuple[list, list, int]:
    """One voice of a section: strikes [start, duration, notes], chords (start, end, chord) and the number of bars."""
    strikes, chords, at, length = [], [], 0, 0
    bars = text.split("|")
    for number, bar in enumerate(bars, 1):
        for token in bar.split():
            if token.isdigit():
                length = int(token)
                continue
            if token == "~" and strikes:
                strikes[-1][1] += length
            elif match := CHORD.fullmatch(token):
                if not pattern and not match[6]:
                    raise ValueError(f"chord {token} in bar {number} needs a pattern, as in A:block")
                chords.append((at, at + length, read_chord(match, window)))
                shape = "16 bx" if match[6] else pattern
                strikes += [[at + o, d, notes] for o, d, notes in accompany(chords[-1][2], shape, length)]
            elif token != "r":
                strikes.append([at, length, read_notes(token)])
            at += length
        if at != number * bar_length:
            raise ValueError(f"bar {number} holds {at - (number - 1) * bar_length} sixteenths, not {bar_length}")
    return strikes, chords, len(bars)


def decorate(strikes: list, chords: list, options: list[str]) -> None:
    """Apply a section's options, as explained in tunes.txt, to the right hand's strikes, in place."""
    for strike in strikes:
        start, _, notes = strike
        upper = next((chord[0] for first, end, chord in chords if first <= start < end), None)
        if "duo" in options and upper and len(notes) == 1 and start % 4 == 0:
            below = next(n for n in range(notes[0] - 3, 0, -1) if n % 12 in {u % 12 for u in upper})
            notes = [below, *notes] if below > upper[-1] else notes  # it stays clear of the left hand
        if "octave" in options:
            notes = sorted({notes[-1], *(n + 12 for n in notes)})
        strike[2] = notes


def read_tunes(text: str) -> tuple[list[Tune], dict[str, str]]:
    """The tunes, and the patterns by name."""
    lines = "\n".join(line for line in text.splitlines() if line.strip() and line[0] != "#")
    tunes, patterns = [], {}
    for line in re.sub(r"\n\s+", " ", lines).splitlines():
        word, name, rest = line.split(maxsplit=2)
        if word == "pattern":
            patterns[name] = rest
        elif word == "tune":
            *head, bpm, window = (field.strip() for field in line[5:].split("|"))
            tunes.append(Tune(*head, int(bpm), read_notes(window)[0], {}, []))
        elif word == "play":
            tunes[-1].play.extend([name, *rest.split()])
        else:
            tunes[-1].sections.setdefault(word, {})[name] = rest
    return tunes, patterns


def build(tune: Tune, patterns: dict[str, str]) -> tuple[dict, int]:
    """Each hand's strikes (start, duration, notes), in 16ths from the song's start, and the number of bars."""
    hands, bars, bar_length = {"right": [], "left": []}, 0, 16 * int(tune.metre[0]) // int(tune.metre[2])
    for item in tune.play:
        section, _, how = item.partition(":")
        pattern, *options = how.split("+")
        voices = {}
        for voice, text in tune.sections[section].items():
            try:
                voices[voice] = read_voice(text, bar_length, tune.window, patterns.get(pattern, ""))
            except ValueError as error:
                raise SystemExit(f"tunes.txt, '{tune.title}', section {section}, {voice} hand: {error}.") from None
        if len({count for _, _, count in voices.values()}) > 1:
            raise SystemExit(f"tunes.txt, '{tune.title}', section {section}: the hands differ in number of bars.")
        decorate(voices["right"][0], voices["left"][1], options)
        for voice, (strikes, _, _) in voices.items():
            hands[voice.rstrip("2")] += [(bars * bar_length + start, d, notes) for start, d, notes in strikes]
        bars += voices["right"][2]
    return hands, bars


def write(tune: Tune, hands: dict, path: Path) -> None:
    """A type 1 file: a track with tempo, metre and key, then a track a hand."""
    head = mido.MidiTrack(
        [
            mido.MetaMessage("track_name", name=tune.name),
            mido.MetaMessage("time_signature", numerator=int(tune.metre[0]), denominator=int(tune.metre[2])),
            mido.MetaMessage("key_signature", key=tune.key),
            mido.MetaMessage("set_tempo", tempo=mido.bpm2tempo(tune.bpm)),
        ]
    )
    file = mido.MidiFile(type=1, ticks_per_beat=4 * TICKS, tracks=[head])
    for hand, (channel, velocity) in HANDS.items():
        events = {(start, "note_on", n) for start, _, notes in hands[hand] for n in notes}
        events |= {(start + duration, "note_off", n) for start, duration, notes in hands[hand] for n in notes}
        track, now = mido.MidiTrack([mido.MetaMessage("track_name", name=f"{hand} hand")]), 0
        for at, kind, note in sorted(events):  # note_off sorts before note_on: a note ends before it is struck again
            track.append(mido.Message(kind, channel=channel, note=note, velocity=velocity, time=(at - now) * TICKS))
            now = at
        file.tracks.append(track)
    file.save(path)


def main(folder: Path = HERE) -> None:
    tunes, patterns = read_tunes((HERE / "tunes.txt").read_text(encoding="utf-8"))
    readme = README
    for tune in tunes:
        hands, bars = build(tune, patterns)
        write(tune, hands, folder / f"{tune.name}.mid")
        cells = {(start, note) for strikes in hands.values() for start, _, notes in strikes for note in notes}
        density = f"{len(cells) / len({start for start, _ in cells}):.2f}"
        print(f"{tune.title:42} {tune.composer:26} {tune.year:14} {bars:3} bars {len(cells):5} notes {density} a step")
        readme += f"| {tune.title} | {tune.composer} | {tune.year} | {bars} | {density} |\n"
    (folder / "README.md").write_text(readme, encoding="utf-8")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
