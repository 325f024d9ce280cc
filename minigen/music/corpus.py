"""Bach's chorales, from the files that music21 carries. They are read where they are, and never shipped."""

import hashlib
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np

from minigen.errors import MinigenError
from minigen.music.dataset import split, trim
from minigen.music.midi import BAR, KEYS, LOWEST, READER_VERSION, Refused
from minigen.music.songset import SongSet, cached, each_once, read_songs


def bach_chorales(log=None) -> SongSet:
    """The four-part pieces of music21's Bach that are in 4/4 and wholly on the grid of 16ths: 324 of 433 files (10.5).

    Struck notes: of tied ones the first, no grace notes, repeats not played out, an upbeat in its place in the bar.
    Parsed once, in about a minute (`log` is called), and kept in the cache. Raises MinigenError without music21.
    """
    try:
        installed = version("music21")
    except PackageNotFoundError:
        raise MinigenError('the chorales need music21: pip install -e ".[corpus]"') from None
    own = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()[:16]  # an edit makes the cache anew
    return cached(f"bach-{installed}-{own}-{READER_VERSION}.npz", lambda: _parse_all(log))


def _parse_all(log) -> SongSet:
    from music21 import converter, corpus

    if log is not None:
        log("reading the chorales, this once (about a minute)")
    songs = SongSet([], [])
    for path in sorted(map(Path, corpus.getComposer("bach")), key=lambda path: path.name):
        try:
            # forced: music21's own cache would only leave a copy of every score in the temporary folder
            songs.rolls.append(_roll(converter.parse(path, forceSource=True)))
            songs.names.append(path.name)
        except Refused as reason:
            songs.refused.append((path.name, str(reason)))
        except Exception as error:  # one file that music21 trips over is no reason to have none
            songs.refused.append((path.name, f"music21 cannot read it ({type(error).__name__})"))
    return each_once(songs)


def _roll(score) -> np.ndarray:
    """The roll (T, 88) of a music21 score; Refused if it is not wholly on the grid, in 4/4 and in four parts."""
    if len(score.parts) != 4:
        raise Refused(f"it has {len(score.parts)} parts and not four")
    cells = []
    for part in score.parts:
        flat = part.flatten()
        metres = {metre.ratioString for metre in flat.getElementsByClass("TimeSignature")}
        if metres != {"4/4"}:
            raise Refused(f"its metre is {', '.join(sorted(metres)) or 'not written'}")
        upbeat = part.getElementsByClass("Measure").first().paddingLeft  # the quarters missing before it
        for element in flat.notes:
            if element.duration.isGrace:
                continue
            step, length = 4 * (element.offset + upbeat), 4 * element.duration.quarterLength
            if step % 1 or length % 1:
                raise Refused("it leaves the grid of 16ths")
            for note in element.notes if element.isChord else [element]:
                if note.tie is None or note.tie.type == "start":
                    cells.append((int(step), note.pitch.midi - LOWEST))
    steps, keys = np.array(cells).T
    roll = np.zeros((-(-(int(steps.max()) + 1) // BAR) * BAR, KEYS), np.uint8)
    roll[steps, keys] = 1
    return roll


SONGS = Path(__file__).resolve().parents[2] / "samples" / "songs"
CORPORA = ("songs", "bach")


def find_songs(sources, corpus: str | None, max_tracks=None, max_tempos=None, log=None) -> tuple[SongSet, str]:
    """The songs of the files named, or of a corpus (minigen's own songs if neither), and a name for them."""
    if not sources and corpus == "bach":
        return bach_chorales(log), "bach"
    name = Path(sources[0]).resolve().stem if sources else "songs"
    return read_songs(sources or [SONGS], max_tracks=max_tracks, max_tempos=max_tempos), name


def learned_and_held_out(corpus: str) -> tuple[list, list]:
    """The rolls of a corpus to train on, and those held out: the same ones every time."""
    learned, held_out = split(find_songs([], corpus)[0], seed=0)
    return [trim(roll) for roll in learned.rolls], [trim(roll) for roll in held_out.rolls]
