"""Claim 5: finetuning while generating raises the risk of trivial loops, and fights "a new song every two seconds"; it
did not help `capsules`.

The same network plays 6 pieces of 16 bars from the same primers with the same uniforms: without finetuning (reset 0 x
0: no updates); going back to the learned weights before each step (reset); never going back (moving). A loop is the
longest run of steps that repeat with one period of at most a bar, and counts its sounding steps. Likeness is, at the
best of the lags from 17 to 128 steps, the share of sounding steps that equal the step so long before, less that share
at the median lag, loops left out: how much a piece repeats of what it played more than a bar ago. A kind makes more of
something where Wilcoxon's signed-rank test over all pairs of pieces, with it and without, finds it at 5% over the
number of kinds; no kind does where the mean gain of each is, at 95%, under a beat of loop or 0.05 of likeness. "It did
not help" is taken as: no kind gives `capsules` more likeness. The held-out loss is that at the end of a piece, on songs
from which no piece starts. Whether the settings sound the same is left to the ear.
"""

from itertools import islice

import numpy as np
from claims.common import bars, evaluate, picture, trained
from scipy.stats import sem, t

from minigen.ladder import LADDER
from minigen.music.metrics import likeness, longest_repeat
from minigen.run.checkpoint import Trained
from minigen.run.finetune import Finetune, play_learning
from minigen.run.verdict import judge, more, opposite, spread, table

MINUTES, PIECES, STEPS = 1.2, 6, 256
OFF, LOOP, LIKENESS = "reset 0 x 0", "longest loop", "likeness beyond a bar"
KINDS = {  # the mode, the updates before each step and their rate
    "final": (OFF, "reset 1 x 1e-4", "reset 10 x 1e-4", "moving 1 x 1e-5", "moving 1 x 1e-4"),
    "capsules": (OFF, "reset 1 x 1e-4", "reset 1 x 1e-3", "moving 1 x 1e-6"),
}
PARTS, MUSIC = tuple(KINDS), ("bach", "songs", "toys")
SMALL = {LOOP: 4, LIKENESS: 0.05}  # a gain under a beat, or under a step in twenty, is none


def measure(roll) -> dict[str, float]:
    """The figures of a piece (T, 88)."""
    chords = {row.tobytes() for row in roll if row.any()}
    return {LOOP: longest_repeat(roll, range(1, 17)), LIKENESS: likeness(roll), "different chords": len(chords)}


def one(claim: str, part: str, seed: int, minutes: float, corpus: str = "bach") -> dict:
    model = LADDER[part]()
    run, _, held_out = trained(model, seed, minutes, corpus)
    learned, third = Trained(model, run.params, {}, run.moments), len(held_out) // 3
    judged, primers = [song[:STEPS] for song in held_out[:third]], held_out[third:]
    results = {"songs": [measure(song[:STEPS]) for song in held_out if len(song) >= STEPS]}
    for kind in KINDS[part]:
        results[kind] = []
        mode, iters, _, rate = kind.split()
        tune = Finetune(mode, float(rate), int(iters))
        for n in range(PIECES * seed, PIECES * (seed + 1)):  # another primer and other uniforms for every network
            primer, rows = primers[n % len(primers)][:16], []
            steps = play_learning(learned, tune, n, primer, watch=lambda params: {"weights": params})
            for keys, trace in islice(steps, STEPS):
                rows.append(keys)
                weights = trace["weights"]
            _, loss, _, _ = evaluate(model, weights, judged)
            results[kind].append(measure(np.array(rows)) | {"held-out loss then": float(loss)})
    return results


def figures(results: list[dict], part: str, kind: str, name: str):
    """One figure of all pieces (seeds, PIECES)."""
    return np.array([[piece[name] for piece in seed[part][kind]] for seed in results])


def some_kind(results: list[dict], part: str, name: str) -> str:
    """Does some kind make more of it? "no" where the gains of all kinds are small, at 95%."""
    off, *gains = (figures(results, part, kind, name).ravel() for kind in KINDS[part])
    gains = [gain - off for gain in gains]
    if any(more(gain, 0, 0.05 / len(gains)) == "yes" for gain in gains):
        return "yes"
    small = all(len(g) > 2 and g.mean() + t.ppf(0.95, len(g) - 1) * sem(g) < SMALL[name] for g in gains)
    return "no" if small else "not decided"


def conclude(claim: str, results: list[dict]):
    lines = []
    for part, kinds in KINDS.items():
        names, rows = results[0][part][OFF][0], []
        for kind in kinds:
            rows.append([kind])
            for name in names:
                values, off = (figures(results, part, one_kind, name) for one_kind in (kind, OFF))
                answer = more(values.ravel(), off.ravel(), 0.05 / (len(kinds) - 1))
                rows[-1].append(spread(values.mean(axis=1)) + {"yes": ", more", "no": ", less"}.get(answer, ""))
        songs = results[0][part]["songs"]
        rows.append(["held-out songs", *(f"{np.mean([song[name] for song in songs]):.4g}" for name in songs[0]), ""])
        lines += [*table([f"`{part}`", *names], rows), ""]
    parts = {
        "`final`: some kind makes longer loops": some_kind(results, "final", LOOP),
        "`final`: some kind makes more likeness beyond a bar": some_kind(results, "final", LIKENESS),
        "`capsules`: no kind helps": opposite(some_kind(results, "capsules", LIKENESS)),
    }
    return lines[:-1], judge("Claim 5", parts)


def draw(claim: str, results: list[dict], path) -> None:
    shown = (("final", LOOP), ("final", LIKENESS), ("capsules", LIKENESS))
    with picture(path, (14, 4), *({"title": f"{part}: {name}; dots: pieces"} for part, name in shown)) as axes:
        for panel, (part, name) in zip(axes, shown, strict=True):
            bars(panel, {kind: figures(results, part, kind, name).ravel() for kind in KINDS[part]})
