"""The MIDI doctor: which files of a folder minigen can read and use, why not the others, and what could be done.

    python scripts/check_midi.py my_midi/                     a row per file
    python scripts/check_midi.py my_midi/ --csv check.csv     all that is known about each, as a table
    python scripts/check_midi.py my_midi/ --metre 3/4         as train.py would judge it with that flag

    file              parse  use  code          off grid  dropped  what is to be said; what could be done
    sonata.mid        yes    yes  ok                0.00
    take-1.mid        yes    yes  off the grid      0.24           it is off the grid: ...; quantise it
    waltz.mid         yes    no   metre                            its metre is 3/4 and not 4/4; ...

*off grid* is the mean distance of onsets from the grid, in steps of a 16th: quantised music has 0.02, and 0.25 is no
grid at all. *dropped* counts notes that are off the piano or stand in bars of another metre.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from minigen.errors import until_run

until_run()

from minigen.errors import MinigenError, Parser, number, printable, run
from minigen.files import write_csv
from minigen.metre import METRES
from minigen.music.alike import repeats
from minigen.music.folders import LIKE, SAME, midi_files
from minigen.music.midi import Refused, read_song
from minigen.progress import progress

UNREAD = ("not MIDI", "not opened", "too large", "folder")  # the codes of what does not even parse
REMEDIES = {
    "broken": "copy it again",
    "bars": "none is needed, if the rest is what you want",
    "notes": "none is needed",
    "bar lines": "fill the first bar up, so that the others begin where bars of 4/4 do",
    "off the grid": "quantise it in a sequencer",
    "triplets": "move it out of the folder, or straighten it",
    "swing": "move it out of the folder, or straighten it",
}
FIELDS = (
    *("file", "parse", "use", "code", "reason", "remedy", "metre", "bpm", "bars", "notes", "off_grid", "moved"),
    *("dropped_notes", "dropped_bars", "repeats"),
)


def row_of(name: str, path: Path, limits: dict) -> tuple[dict, object]:
    """Everything about one file, and its roll, or None where it is not used."""
    row = dict.fromkeys(FIELDS, "") | {"file": name, "parse": "yes", "use": "yes"}
    try:
        song = read_song(path, **limits)
    except Refused as reason:
        parse = "no" if reason.kind in UNREAD else "yes"
        why = {"code": reason.kind, "reason": str(reason), "remedy": reason.remedy}
        return row | {"parse": parse, "use": "no"} | why, None
    bars, dropped = sum(song.foreign.values()), song.off_piano + song.foreign_notes
    code = song.fit.kind or "broken" * bool(song.broken) or "bars" * (bars > 0) or "notes" * (dropped > 0)
    code = code or "bar lines" * (song.bars_begin > 0)
    row |= {"code": code or "ok", "reason": "; ".join(song.warnings), "remedy": REMEDIES.get(code, "")}
    row |= {"metre": song.metre, "bpm": round(song.bpm, 1), "bars": -(-len(song.roll) // METRES[song.metre][0])}
    row |= {"notes": int((song.roll > 0).sum()), "off_grid": round(song.fit.off_grid, 3)}
    row |= {"moved": round(song.fit.moved, 3), "dropped_notes": dropped, "dropped_bars": bars}
    other = max((name for name in song.foreign if name in METRES), key=song.foreign.get, default=None)
    if code == "bars" and other and song.foreign_notes > row["notes"]:
        row["remedy"] = f"most of it is in {other}: train on it with --metre {other}"
    return row, song.roll


def rows_of(folder: Path, limits: dict) -> list[dict]:
    """A row for each file and each folder that cannot be opened, in the order of their names."""
    files, closed = ([(folder.name, folder)], []) if folder.is_file() else midi_files(folder)
    rows, used = [], []

    def rolls():
        for name, path in progress(files, "reading MIDI"):
            row, roll = row_of(name, path, limits)
            rows.append(row)
            if roll is not None:
                used.append(row)
                yield roll

    for row, of in zip(used, repeats(rolls()), strict=True):
        if of:
            kind, first = of[0], used[of[1]]["file"]
            said = (SAME if kind == "same" else LIKE).format(first)
            row |= {"repeats": first, "reason": "; ".join(filter(None, [row["reason"], said]))}
            if kind == "same":
                row |= {"use": "no", "code": "repeats", "remedy": "none is needed"}
    for name, reason in closed:
        why = {"code": "folder", "reason": reason, "remedy": "give yourself the right to open it"}
        rows.append(dict.fromkeys(FIELDS, "") | {"file": name, "parse": "no", "use": "no"} | why)
    return sorted(rows, key=lambda row: row["file"])


def lines_of(rows: list[dict]) -> list[str]:
    """The readable table, and what became of all files."""
    rows = [row | {name: printable(row[name]) for name in ("file", "reason")} for row in rows]
    width = min(48, max(4, *(len(row["file"]) for row in rows)))
    lines = [f"{'file':{width}}  parse  use  code          off grid  dropped  what is to be said; what could be done"]
    for row in rows:
        off_grid = "" if row["off_grid"] == "" else f"{row['off_grid']:.2f}"
        said = "; ".join(filter(None, [row["reason"], row["remedy"]]))
        lines.append(
            f"{row['file']:{width}}  {row['parse']:5}  {row['use']:3}  {row['code']:12}  {off_grid:>8}  "
            f"{row['dropped_notes'] or '':>7}  {said}".rstrip()
        )
    codes = [row["code"] for row in rows]
    counts = ", ".join(f"{code} {codes.count(code)}" for code in dict.fromkeys(sorted(codes, key=codes.count)[::-1]))
    used = [row for row in rows if row["use"] == "yes"]
    lines.append(f"{len(used)} of {len(rows)} can be used ({counts})")
    moved = sum(row["code"] in ("off the grid", "triplets", "swing") for row in used)
    if moved:
        lines.append(f"take care: {moved} of them do not fit the grid of 16ths; their onsets are moved onto it")
    return lines


def main():
    parser = Parser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("folder", type=Path)
    add("--csv", type=Path, metavar="FILE", help="write a table with everything that is known")
    add("--metre", choices=[metre for metre in METRES if metre != "none"], default="4/4", help="default: 4/4")
    add("--max-tracks", type=number(1, 10**4, int), help="refuse files with more parts (a channel and a program)")
    add("--max-tempos", type=number(0, 10**6, int), help="refuse files with more tempo changes")
    args = parser.parse_args()
    if not args.folder.exists():
        raise MinigenError(f"there is no folder {args.folder}: name one that holds MIDI")
    limits = {"max_tracks": args.max_tracks, "max_tempos": args.max_tempos, "metre": args.metre}
    rows = rows_of(args.folder, limits)
    if not rows:
        raise MinigenError(f"there is no MIDI in {args.folder} or below it: name another folder")
    print("\n".join(lines_of(rows)))
    if args.csv:
        write_csv(args.csv, rows)
        print(f"wrote {args.csv}")


if __name__ == "__main__":
    run(main)
