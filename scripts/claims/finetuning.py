"""Claim 5: finetuning while generating raises the risk of trivial loops, and fights "a new song every two seconds"; it
did not help `capsules`.

The same network plays from the same primers with the same uniforms, without learning and with the diary's kinds of it:
back to the learned weights before each step (reset) or never (moving). A loop is the longest run of steps that repeat
with one period of at most a bar, and counts its sounding steps. Likeness is, at the best of the lags from 17 to 128
steps, the share of sounding steps that equal the step so long before, loops left out: how much a piece takes up again
what it played more than a bar ago. A kind makes more of something than no finetuning where Wilcoxon's signed-rank test
over all pairs of pieces (one primer and seed each) says so at 5% over the number of kinds, and less where it says the
opposite. "It did not help" is taken as: no kind gives `capsules` more likeness. That the settings could not be told
apart by ear is left to the ear.
"""

import numpy as np
from claims.common import judge, spread, table, trained
from matplotlib.figure import Figure
from scipy.stats import wilcoxon

from minigen.checkpoint import Trained
from minigen.corpus import learned_and_held_out
from minigen.finetune import Finetune, play_learning
from minigen.ladder import LADDER
from minigen.metrics import likeness, longest_repeat
from minigen.plots import save
from minigen.sample import play

PARTS, MINUTES = ("final", "capsules"), 1.5
PIECES, STEPS = 6, 256
KINDS = {
    "final": {
        "off": None,
        "reset, 1 x 1e-4": Finetune("reset", 1e-4, 1),
        "reset, 10 x 1e-4": Finetune("reset", 1e-4, 10),
        "moving, 1e-5": Finetune("moving", 1e-5, 1),
        "moving, 1e-4": Finetune("moving", 1e-4, 1),
    },
    "capsules": {
        "off": None,
        "reset, 1 x 1e-4": Finetune("reset", 1e-4, 1),
        "reset, 1 x 1e-3": Finetune("reset", 1e-3, 1),
        "moving, 1e-6": Finetune("moving", 1e-6, 1),
    },
}
MEASURES = {
    "loop": lambda roll: longest_repeat(roll, range(1, 17)),
    "likeness": likeness,
    "chords": lambda roll: len({row.tobytes() for row in roll}),
    "notes": lambda roll: float((roll > 0).sum(axis=1).mean()),
}


def one(claim: str, part: str, seed: int, minutes: float) -> dict:
    learned, held_out = learned_and_held_out("bach")
    model, found = LADDER[part](), {}
    params, _ = trained(model, learned, seed, minutes)
    primers = [song[:16] for song in held_out if len(song) >= STEPS][:PIECES]
    for kind, tune in KINDS[part].items():
        found[kind] = {name: [] for name in (*MEASURES, "drift", "gain")}
        for n, primer in enumerate(primers):
            at_rest = Trained(model, params, {}, None)
            steps = play(at_rest, n, primer) if tune is None else play_learning(at_rest, tune, n, primer)
            music = [step for step, _ in zip(steps, range(STEPS), strict=False)]
            roll = np.array([keys for keys, _ in music])
            for name, measure in MEASURES.items():
                found[kind][name].append(float(measure(roll)))
            traces = [trace for _, trace in music]
            found[kind]["drift"].append(traces[-1].get("finetune.drift", 0))
            gained = [t["finetune.before"] - t["finetune.after"] for t in traces if "finetune.before" in t]
            found[kind]["gain"].append(float(np.mean(gained or [0])))
    songs = [song[:STEPS] for song in held_out if len(song) >= STEPS]
    found["songs"] = {name: [float(measure(song)) for song in songs] for name, measure in MEASURES.items()}
    return found


def more(values, than, level: float) -> str:
    """Over pairs: "yes" where the first of each is larger, "no" where it is smaller, else "not decided"."""
    difference = np.subtract(values, than)
    if len(difference) < 3 or not difference.any():
        return "not decided"
    if wilcoxon(difference, alternative="greater").pvalue < level:
        return "yes"
    return "no" if wilcoxon(difference, alternative="less").pvalue < level else "not decided"


def conclude(claim: str, found: list[dict]):
    lines, said = [], {}
    for part in PARTS:
        pieces = {
            kind: {name: sum((seed[part][kind][name] for seed in found), []) for name in found[0][part][kind]}
            for kind in KINDS[part]
        }
        rows = []
        for kind, of in pieces.items():
            row = [kind]
            for name, digits in (("loop", 1), ("likeness", 2), ("chords", 0), ("notes", 2)):
                word = "" if kind == "off" else more(of[name], pieces["off"][name], 0.05 / (len(pieces) - 1))
                said[part, kind, name] = word
                mark = {"yes": ", more", "no": ", less"}.get(word, "")
                row.append(spread(np.reshape(of[name], (len(found), -1)).mean(axis=1), digits) + mark)
            rows.append([*row, f"{np.mean(of['drift']):.1e}", f"{np.mean(of['gain']):.1e}"])
        songs = found[0][part]["songs"]
        rows.append(["held-out songs", *(f"{np.mean(songs[name]):.2f}" for name in MEASURES), "", ""])
        head = [f"`{part}`", "longest loop", "likeness beyond a bar", "different chords", "notes a step"]
        lines += [*table([*head, "drift at the end", "loss gained a step"], rows), ""]

    def any_kind(part, name):
        words = [said[part, kind, name] for kind in KINDS[part] if kind != "off"]
        return "yes" if "yes" in words else "no" if "no" in words else "not decided"

    likely = any_kind("capsules", "likeness")
    parts = {
        "`final`: some kind makes longer loops": any_kind("final", "loop"),
        "`final`: some kind makes more likeness beyond a bar": any_kind("final", "likeness"),
        "`capsules`: no kind helps": "no" if likely == "yes" else "yes",
    }
    return [*lines, f"Means over {len(found)} seeds of {PIECES} pieces of {STEPS} steps each."], judge("Claim 5", parts)


def draw(claim: str, found: list[dict], path) -> None:
    figure = Figure(figsize=(11, 7))
    for row, part in zip(figure.subplots(2, 2), PARTS, strict=True):
        for axes, name in zip(row, ("loop", "likeness"), strict=True):
            for n, kind in enumerate(KINDS[part]):
                values = sum((seed[part][kind][name] for seed in found), [])
                axes.bar(n, np.mean(values), color="#b7cadd")
                axes.plot(n + np.linspace(-0.2, 0.2, len(values)), np.sort(values), ".", color="#1f4e79", ms=4)
            axes.axhline(np.mean(found[0][part]["songs"][name]), ls=":", color="0.4", label="held-out songs")
            axes.set_xticks(range(len(KINDS[part])), KINDS[part], rotation=15)
            words = {"loop": "longest loop, sounding steps", "likeness": "likeness beyond a bar"}[name]
            axes.set_title(f"{part}: {words}", fontsize=10, loc="left")
            axes.legend(frameon=False)
    figure.tight_layout()
    save(figure, path)
