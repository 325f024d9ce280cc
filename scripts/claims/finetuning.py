"""Claim 5: finetuning while generating raises the risk of trivial loops, and fights "a new song every two seconds".

`final` plays the same uniforms without learning and with the diary's kinds of it: back to the learned weights before
each step (reset) or never (moving). A loop is the longest run of steps that repeat with one period of at most a bar
and are not silent. Likeness is, at the best of the lags from 17 to 128 steps, the share of sounding steps that are
exactly the step so long before: how much a piece takes up again what it played more than a bar ago.
"""

import numpy as np
from claims.common import apart, chorales, spread, table, trained
from matplotlib.figure import Figure

from minigen.checkpoint import Trained
from minigen.finetune import Finetune, play_learning
from minigen.ladder import Final
from minigen.plots import save
from minigen.sample import play

PIECES, STEPS = 4, 384
KINDS = {
    "off": None,
    "reset, 1 x 1e-4": Finetune("reset", 1e-4, 1),
    "reset, 10 x 1e-4": Finetune("reset", 1e-4, 10),
    "moving, 1e-5": Finetune("moving", 1e-5, 1),
    "moving, 1e-4": Finetune("moving", 1e-4, 1),
}


def longest_loop(roll) -> int:
    """The longest run of steps equal to those one period before, of any period up to a bar, that holds a note."""
    longest = 0
    for period in range(1, 17):
        run, notes = 0, 0
        for same, struck in zip((roll[period:] == roll[:-period]).all(axis=1), roll[period:].any(axis=1), strict=True):
            run, notes = (run + 1, notes + struck) if same else (0, 0)
            longest = max(longest, run if notes else 0)
    return longest


def likeness(roll) -> float:
    """At the best lag from 17 to 128, the share of sounding steps that equal the step so long before."""
    found = []
    for lag in range(17, 129):
        sounding = roll[lag:].any(axis=1)
        found.append((roll[lag:] == roll[:-lag]).all(axis=1)[sounding].mean() if sounding.any() else 0.0)
    return float(max(found))


def one(claim: str, seed: int, minutes: float) -> dict:
    train, valid = chorales()
    model, found = Final(), {}
    learned = Trained(model, trained(model, train, seed, minutes), {}, None)
    for kind, tune in KINDS.items():
        rolls, drift, gain = [], [], []
        for n in range(PIECES):
            primer = valid[n][:16]
            steps = play(learned, n, primer) if tune is None else play_learning(learned, tune, n, primer)
            music = [step for step, _ in zip(steps, range(STEPS), strict=False)]
            rolls.append(np.array([keys for keys, _ in music]))
            if tune is not None:
                drift.append(music[-1][1]["finetune.drift"])
                gain.append(np.mean([t["finetune.before"] - t["finetune.after"] for _, t in music[128:]]))
        found[kind] = {
            "loop": float(np.mean([longest_loop(roll) for roll in rolls])),
            "likeness": float(np.mean([likeness(roll) for roll in rolls])),
            "chords": float(np.mean([len({row.tobytes() for row in roll}) for roll in rolls])),
            "drift": float(np.mean(drift or [0])),
            "gain": float(np.mean(gain or [0])),
        }
    found["songs"] = {"loop": float(np.mean([longest_loop(s[:STEPS] > 0) for s in valid if len(s) >= 256]))}
    found["songs"]["likeness"] = float(np.mean([likeness(s[:STEPS] > 0) for s in valid if len(s) >= 256]))
    return found


def conclude(claim: str, found: list[dict]):
    rows = []
    for kind in KINDS:
        values = {key: [seed[kind][key] for seed in found] for key in found[0][kind]}
        rows.append([kind, spread(values["loop"], 1), spread(values["likeness"]), spread(values["chords"], 0),
                     f"{np.mean(values['drift']):.1e}", f"{np.mean(values['gain']):.1e}"])  # fmt: skip
    rows.append(
        ["held-out songs", spread([found[0]["songs"]["loop"]], 1), spread([found[0]["songs"]["likeness"]]), "", "", ""]
    )
    head = [
        "",
        "longest loop, steps",
        "likeness beyond a bar",
        "different chords",
        "drift at the end",
        "loss gained a step",
    ]
    loops, likes = ({kind: [seed[kind][key] for seed in found] for kind in KINDS} for key in ("loop", "likeness"))
    more = [kind for kind in KINDS if kind != "off" and apart(loops["off"], loops[kind])]
    fights = [kind for kind in KINDS if kind != "off" and apart(likes["off"], likes[kind])]
    words = f"longer loops than without it in every seed: {', '.join(more) or 'no setting'}; "
    words += f"more likeness beyond a bar in every seed: {', '.join(fights) or 'no setting'}"
    outcome = "holds" if more and fights else "holds in part" if more or fights else "is not decided"
    return table(head, rows), f"Claim 5 {outcome}: {words}."


def draw(claim: str, found: list[dict], path) -> None:
    figure = Figure(figsize=(11, 4))
    for axes, key, title in zip(
        figure.subplots(1, 2), ("loop", "likeness"), ("longest loop, steps", "likeness beyond a bar"), strict=True
    ):
        for n, kind in enumerate(KINDS):
            axes.bar(n, np.mean([seed[kind][key] for seed in found]), color="#b7cadd")
            axes.plot([n] * len(found), [seed[kind][key] for seed in found], "o", color="#1f4e79")
        axes.axhline(found[0]["songs"][key], ls=":", color="0.4", label="held-out songs")
        axes.set_xticks(range(len(KINDS)), KINDS, rotation=20)
        axes.set_title(title, fontsize=10, loc="left")
        axes.legend(frameon=False)
    save(figure, path)
