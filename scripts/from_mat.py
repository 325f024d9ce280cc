"""Turn the piano rolls of Boulanger-Lewandowski, Bengio and Vincent (2012) into song sets, one for each part.

    python scripts/from_mat.py JSB_Chorales.mat
    python scripts/train.py JSB_Chorales-train.npz --held-out JSB_Chorales-valid.npz --metre none --set held=true
    python scripts/evaluate.py runs/JSB_Chorales-train-none-ordered JSB_Chorales-test.npz

The files say which keys sound in each frame (a quarter, or an eighth), and nothing of bars. Frames and sequences are
kept as they are, empty ones and repeats too, so that figures can be held beside the published ones: nats per frame,
mean over all frames of all test sequences. It prints what counting alone gives there: the frequency of each key, and of
each chord, with the smoothing that is best on the validation part.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from minigen.errors import until_run

until_run()

import numpy as np
from scipy.io import loadmat

from minigen.errors import MinigenError, Parser, plural, run
from minigen.music.baseline import baseline, chord_frequency
from minigen.music.midi import KEYS
from minigen.music.songset import SongSet


def songs_of(cells, part: str) -> SongSet:
    """A MATLAB cell array of (T, 88) of 0/1 -> a song set."""
    songs = SongSet([], [], metre="none", held=True)
    for n, roll in enumerate(np.ravel(cells)):
        roll = np.asarray(roll)
        if roll.ndim != 2 or roll.shape[1] != 88 or not len(roll) or not np.isin(roll, (0, 1)).all():
            raise ValueError(f"sequence {n} is no roll (T, 88) of 0 and 1")
        songs.add(f"{part} {n + 1}", roll)
    if not songs.rolls:
        raise ValueError(f"there is no sequence in {part}data")
    return songs


def main():
    parser = Parser(description=__doc__.splitlines()[0])
    parser.add_argument("file", type=Path, metavar="FILE.mat")
    parser.add_argument("--out", type=Path, default=Path("."), metavar="FOLDER", help="default: here")
    args = parser.parse_args()
    if not args.file.is_file():
        raise MinigenError(f"there is no file {args.file}: name one of the .mat files")
    try:
        stored = loadmat(args.file)
        parts = {part: songs_of(stored[f"{part}data"], part) for part in ("train", "valid", "test")}
    except PermissionError:
        raise
    except Exception as error:  # SciPy has many ways to fail at a damaged file
        raise MinigenError(
            f"{args.file} is not one of these files, with sequences (T, 88) of 0 and 1 in each of traindata, validdata "
            "and testdata: copy it again"
        ) from error
    args.out.mkdir(parents=True, exist_ok=True)
    for part, songs in parts.items():
        path = args.out / f"{args.file.stem}-{part}.npz"
        songs.save(path)
        print(f"wrote {path}: {plural(len(songs), 'sequence')}, {sum(map(len, songs.rolls)):,} frames")
    train, valid, test = (songs.rolls for songs in parts.values())
    best = chord_frequency(train, valid, np.arange(-80, 1)).argmin() - 80
    keys, chords = KEYS * baseline(train, test, (), KEYS), chord_frequency(train, test, best)
    print(f"test, nats per frame: frequency of keys {keys:.2f}, of chords {chords:.2f}")


if __name__ == "__main__":
    run(main)
