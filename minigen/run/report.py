"""What scripts/evaluate.py prints of music: its figures beside those of songs, and whether it can be told from them."""

import numpy as np

from minigen.music.compare import band, means, shuffled, tell, windows_of
from minigen.music.copies import Library
from minigen.music.metrics import METRICS
from minigen.music.midi_out import ringing

BARS = 8  # of a window
SHUFFLED = "the same songs, their steps shuffled"


def pieces_of(rolls, sounding) -> list:
    """What is struck and what sounds; where lengths are not known, notes ring."""
    return [(roll > 0, ringing(roll) if s is None else s > 0) for roll, s in zip(rolls, sounding, strict=True)]


def print_figures(ours: list, songs: list, learned: list, bar: int) -> None:
    """The metrics of two sets of pieces, and the longest copies from the songs that were learned."""
    mine, theirs = (means(windows_of(pieces, BARS, bar)) for pieces in (ours, songs))
    if not (len(mine) and len(theirs) > 3):
        print(f"no figures of music: too few pieces have {BARS} bars")
        return
    low, high = band(theirs, len(mine), np.random.default_rng(0))
    print(f"  {'':32} {len(mine):6} pieces {len(theirs):4} songs   band of as many songs")
    inside, measured = 0, 0
    for n, name in enumerate(METRICS):
        if not (np.isfinite(mine[:, n]).any() and np.isfinite(theirs[:, n]).any()):
            print(f"  {name:32} there is nothing to measure")
            continue
        a, b = np.nanmean(mine[:, n]), np.nanmean(theirs[:, n])
        within = low[n] <= a - b <= high[n]
        inside, measured = inside + within, measured + 1
        line = f"  {name:32} {a:13.3f} {b:10.3f}   {b + low[n]:.3f} to {b + high[n]:.3f}"
        print(line if within else f"{line}  outside")
    print(f"  {inside} of {measured} lie inside the band")
    if learned:
        library = Library(learned)
        copies = sorted((*library.longest_copy(struck), n) for n, (struck, _) in enumerate(ours))
        steps, song, piece = copies[-1]
        median = copies[len(copies) // 2][0]
        print(
            f"  longest copy from a song, in any key: {steps / bar:.2f} bars (piece {piece}, of song {song}); ", end=""
        )
        print(f"median {median / bar:.2f}")


def print_told(ours: list, songs: list, learned: list, bar: int) -> None:
    """Can they be told apart? Beside it what the test says of shuffled songs, and of songs against songs."""
    rng, theirs = np.random.default_rng(0), windows_of(songs, BARS, bar)
    rows = {"what was played": ours, SHUFFLED: shuffled(songs, rng)}
    rows |= {"other songs": learned} if learned else {}
    for name, pieces in rows.items():
        found = windows_of(pieces, BARS, bar)
        if min(len(set(found.piece)), len(set(theirs.piece))) < 5:
            print(f"  {name}: not decided, under 5 pieces have {BARS} bars")
            continue
        told = tell(found, theirs, rng)
        weak = name == SHUFFLED and told.auc < 0.9
        print(
            f"  {name:38} AUC {told.auc:.2f} ({told.low:.2f} to {told.high:.2f}), {told.counts[0]} windows of each",
            end="",
        )
        print(", too little: this test is too weak for any verdict" if weak else "")
        if pieces is ours:
            print("    by " + ", ".join(f"{name} {value:.2f}" for name, value in list(told.alone.items())[:4]))
