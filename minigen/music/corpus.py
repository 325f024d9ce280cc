"""Bach's chorales, from the files that music21 carries. They are read where they are, and never shipped."""

import os
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np

from minigen.errors import MinigenError
from minigen.metre import METRES
from minigen.music.dataset import split, trim
from minigen.music.folders import cached, each_once, read_songs
from minigen.music.midi import CODE, KEYS, LOWEST, Refused
from minigen.music.songset import SongSet
from minigen.music.toys import toy_songs
from minigen.progress import progress


def bach_chorales(log=None, metre: str = "4/4") -> SongSet:
    """The four-part pieces of music21's Bach in one metre that are wholly on the grid of 16ths: 324 of 433 files (10.5)
    in 4/4.

    Tied notes are one, no grace notes, repeats not played out, an upbeat in its place in the bar.
    Parsed once, in about a minute (`log` is called), and kept in the cache. Raises MinigenError without music21.
    """
    try:
        installed = version("music21")
    except PackageNotFoundError:
        raise MinigenError('the chorales need music21: pip install -e ".[corpus]"') from None
    return cached(f"bach-{installed}-{CODE}-{metre.replace('/', '')}.npz", lambda: _parse_all(log, metre))


def _parse_all(log, metre: str) -> SongSet:
    from music21 import converter, corpus

    if log is not None:
        log("reading the chorales, this once (about a minute)")
    songs = SongSet([], [], metre=metre)
    paths = sorted(map(Path, corpus.getComposer("bach")), key=lambda path: path.name)
    for path in progress(paths, "reading the chorales"):
        try:
            # forced: music21's own cache would only leave a copy of every score in the temporary folder
            songs.add(path.name, *_rolls(converter.parse(path, forceSource=True), metre))
        except Refused as reason:
            songs.refused.append((path.name, str(reason)))
        except Exception as error:  # one file that music21 trips over is no reason to have none
            songs.refused.append((path.name, f"music21 cannot read it ({type(error).__name__})"))
    return each_once(songs)


def _rolls(score, metre: str = "4/4") -> tuple[np.ndarray, np.ndarray]:
    """What is struck and what sounds in a music21 score, (T, 88) of 0/1 each; Refused if it is not wholly on the grid,
    in this metre and in four parts."""
    if len(score.parts) != 4:
        raise _not_of_the_corpus(f"it has {len(score.parts)} parts and not four")
    notes = []
    for part in score.parts:
        flat = part.flatten()
        metres = {metre.ratioString for metre in flat.getElementsByClass("TimeSignature")}
        if metres != {metre}:
            raise _not_of_the_corpus(f"its metre is {', '.join(sorted(metres)) or 'not written'}")
        upbeat = part.getElementsByClass("Measure").first().paddingLeft  # the quarters missing before it
        for element in flat.notes:
            if element.duration.isGrace:
                continue
            step, length = 4 * (element.offset + upbeat), 4 * element.duration.quarterLength
            if step % 1 or length % 1:
                raise _not_of_the_corpus("it leaves the grid of 16ths")
            for note in element.notes if element.isChord else [element]:
                begins = note.tie is None or note.tie.type == "start"
                notes.append((int(step), int(length), note.pitch.midi - LOWEST, begins))
    bar, last = METRES[metre][0], max(step for step, _, _, begins in notes if begins)
    struck, sounding = np.zeros((2, -(-(last + 1) // bar) * bar, KEYS), np.uint8)
    for step, length, key, begins in notes:
        struck[step : step + begins, key] = 1
        sounding[step : step + length, key] = 1
    return struck, sounding


def _not_of_the_corpus(reason: str) -> Refused:
    return Refused(reason, "not of the corpus", "none is needed")


SONGS = Path(__file__).resolve().parents[2] / "samples" / "songs"
CORPORA = ("songs", "bach", "toys")
LICENCES = {  # of what is trained on each
    "songs": "CC0 1.0 (trained on minigen's own songs)",
    "toys": "CC0 1.0 (trained on songs that a generator made)",
    "bach": "weights CC0 1.0; trained on chorales encoded in music21, none of which is stored here",
}


def find_songs(
    sources, corpus: str | None, max_tracks=None, max_tempos=None, metre: str = "4/4", once: bool = True, log=None
) -> tuple[SongSet, str]:
    """The songs of the files named, or of a corpus (minigen's own songs if neither), and a name for them. The toys are
    in 4/4 whatever is asked for."""
    if not sources and corpus == "bach":
        return bach_chorales(log, metre), "bach"
    if not sources and corpus == "toys":
        return toy_songs(), "toys"
    first = Path(os.path.realpath(sources[0] if sources else SONGS))
    name = first.name if first.is_dir() else first.stem
    return read_songs(sources or [SONGS], max_tracks, max_tempos, metre, once), name


def learned_and_held_out(corpus: str) -> tuple[list, list]:
    """The rolls of a corpus to train on, and those held out: the same ones every time."""
    learned, held_out = split(find_songs([], corpus)[0], seed=0)
    return [trim(roll) for roll in learned.rolls], [trim(roll) for roll in held_out.rolls]
