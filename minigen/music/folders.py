"""Folders of MIDI, files and song sets to one song set; what was parsed is kept in a cache.

songs = read_songs(["my_midi/", "other.mid", "chorales.npz"])
"""

import contextlib
import hashlib
import json
import os
from collections import Counter
from dataclasses import replace
from pathlib import Path

from minigen.errors import MinigenError
from minigen.files import cache_folder
from minigen.music.alike import repeats
from minigen.music.midi import CODE, SUFFIXES, Refused, contents, read_song
from minigen.music.songset import VERSION, SongSet
from minigen.progress import progress


def cached(name: str, make) -> SongSet:
    """The song set `name` of the cache, else what `make()` returns, kept for the next time.

    A cache that cannot be read is made anew, and one that cannot be written costs time and nothing else.
    """
    folder = cache_folder()
    if folder is None:
        return make()
    try:
        return SongSet.load(folder / name)
    except MinigenError:
        songs = make()
    with contextlib.suppress(OSError):
        songs.save(folder / name)
    return songs


def read_songs(
    sources, max_tracks: int | None = None, max_tempos: int | None = None, metre: str = "4/4", once: bool = True,
    cache: bool = True,
) -> SongSet:  # fmt: skip
    """All songs of folders (searched through for .mid .midi .kar .rmi), MIDI files and song sets.

    A file that is not usable is left out, with its name and reason in `refused`; the rules are `read_song`'s. With
    `once` so is a song that repeats another one. A folder is parsed once: its songs are kept in the cache under a name
    that changes with the content of any file.

    Raises MinigenError for a source that is not there or of another kind, a folder without MIDI, sets of different
    grids, and where no song is left.
    """
    found, limits = None, (max_tracks, max_tempos, metre)
    for source in map(Path, sources):
        if source.is_dir():
            songs = _read_folder(source, limits, cache)
        elif not source.exists():
            raise MinigenError(f"there is no file or folder {source}: name a folder of MIDI, a MIDI file or a song set")
        elif source.suffix.lower() == ".npz":
            songs = SongSet.load(source)
        elif source.suffix.lower() in SUFFIXES:
            songs = _read_files([(source.name, source)], limits)
        else:
            kinds = ", ".join(SUFFIXES)
            raise MinigenError(
                f"{source} is neither MIDI ({kinds}) nor a song set (.npz): name one of these, or a folder"
            )
        if found is None:
            found = songs
            continue
        if (songs.metre, songs.held) != (found.metre, found.held):
            raise MinigenError(f"{source} is on another grid than what stands before it: use them one at a time")
        for name in ("rolls", "names", "packed", "refused", "warnings"):
            getattr(found, name).extend(getattr(songs, name))
    if found is None:
        raise MinigenError("no music was named: name a folder of MIDI, a MIDI file or a song set")
    found = each_once(found) if once else found
    if not (found.rolls or found.refused):
        raise MinigenError("there is no song in what was named: name other music for the piano")
    if not found.rolls:
        reasons = Counter(reason for _, reason in found.refused).most_common()
        names = {reason: name for name, reason in reversed(found.refused)}
        told = [f"{names[reason]}{f' and {n - 1} more' * (n > 1)}: {reason}" for reason, n in reasons[:3]]
        raise MinigenError(f"no song can be used; {'; '.join(told)}: mend these, or name other music for the piano")
    return found


SAME, LIKE = (
    "it has the same notes as {}",
    "it is {} once more, transposed or in part: never learned and held out at once",
)


def each_once(songs: SongSet) -> SongSet:
    """A song with the same notes as another, later or louder, is refused; one that is another, transposed or in part,
    is kept, and said."""
    found = repeats(songs.rolls)
    same = [(songs.names[i], SAME.format(songs.names[of[1]])) for i, of in enumerate(found) if of and of[0] == "same"]
    like = [(songs.names[i], LIKE.format(songs.names[of[1]])) for i, of in enumerate(found) if of and of[0] == "like"]
    kept = songs.take([i for i, of in enumerate(found) if not of or of[0] == "like"])
    return replace(kept, refused=songs.refused + same, warnings=kept.warnings + like)


def midi_files(folder: Path) -> tuple[list[tuple[str, Path]], list[tuple[str, str]]]:
    """The MIDI files below a folder as (name, path) in the order of their names, the same on every system; folders that
    cannot be opened, and why. Linked folders are read once; the twins ._NAME of a Mac are no files."""
    files, refused, seen = [], [], set()

    def name_of(path) -> str:
        return Path(path).relative_to(folder).as_posix().encode("utf-8", "replace").decode()

    def unreadable(error):
        refused.append((name_of(error.filename), f"the folder cannot be opened: {error.strerror}"))

    for here, folders, names in os.walk(folder, onerror=unreadable, followlinks=True):
        place = os.stat(here)
        if (place.st_dev, place.st_ino) in seen:
            folders.clear()
            continue
        seen.add((place.st_dev, place.st_ino))
        folders.sort()
        paths = [Path(here, name) for name in names if not name.startswith("._")]
        files += [(name_of(path), path) for path in paths if path.suffix.lower() in SUFFIXES]
    return sorted(files), sorted(refused)


def _read_folder(folder: Path, limits: tuple, cache: bool) -> SongSet:
    files, refused = midi_files(folder)
    if not files:
        told = f" ({refused[0][0]}: {refused[0][1]})" if refused else ""
        kinds = ", ".join(SUFFIXES)
        raise MinigenError(f"there is no MIDI ({kinds}) in {folder} or below it{told}: name another folder")
    if not cache:
        songs = _read_files(files, limits)
    else:
        digest = hashlib.sha256(json.dumps([VERSION, CODE, *limits]).encode())
        for name, path in files:
            try:
                content = contents(path)
            except Refused as reason:
                content = str(reason).encode()
            digest.update(json.dumps([name, hashlib.sha256(content).hexdigest()]).encode())
        songs = cached(f"folder-{digest.hexdigest()[:32]}.npz", lambda: _read_files(files, limits))
    return replace(songs, refused=refused + songs.refused)


def _read_files(files: list[tuple[str, Path]], limits: tuple) -> SongSet:
    songs = SongSet([], [], metre=limits[-1])
    for name, path in progress(files, "reading MIDI"):
        try:
            song = read_song(path, *limits)
        except Refused as reason:
            songs.refused.append((name, f"{reason} ({reason.remedy})"))
        else:
            songs.add(name, song.roll, song.sounding, song.warnings)
    return songs
