"""Claim 5: finetuning while generating raises the risk of trivial loops, and fights "a new song every two seconds"; it
did not help `capsules`.

The same network plays from the same primers with the same uniforms: without learning; going back to the learned weights
before each step (reset); never going back (moving); never, but with a pull towards them (decay). A loop is the longest
run of steps that repeat with one period of at most a bar, and counts its sounding steps. Likeness is, at the best of
the lags from 17 to 128 steps, the share of sounding steps that equal the step so long before, less that share at the
median lag, loops left out: how much a piece takes up again of what it played more than a bar ago. A kind makes more of
something than no finetuning where Wilcoxon's signed-rank test over all pairs of pieces (a network, a primer and
uniforms each) says so at 5% over the number of kinds; no kind does where the mean gain of each is, at 95%, under a beat
of loop or 0.05 of likeness. "It did not help" is taken as: no kind gives `capsules` more likeness. That the settings
could not be told apart by ear is left to the ear.

Step by step: how far the weights are from the learned ones (drift), what the updates gain on what was played (the loss
of the same notes before and after), what they forget (the loss on held-out songs), the entropy of the voices, the
different chords and the longest loop so far.
"""

from itertools import count

import numpy as np
from claims.common import judge, opposite, spread, table, trained
from matplotlib.figure import Figure
from scipy.stats import sem, t, wilcoxon

from minigen.ladder import LADDER
from minigen.music.corpus import learned_and_held_out
from minigen.music.dataset import whole_songs
from minigen.music.metrics import likeness, longest_repeat
from minigen.run.checkpoint import Trained
from minigen.run.finetune import Finetune, play_learning
from minigen.run.plots import save
from minigen.run.sample import play

PARTS, MINUTES = ("final", "capsules"), 1.2
PIECES, STEPS, EVERY = 6, 256, 16
SMALL = {"loop": 4, "likeness": 0.05}  # a gain under a beat, or under a step in twenty, is none
KINDS = {
    "final": {
        "off": None,
        "reset, 1 x 1e-4": Finetune("reset", 1e-4, 1),
        "reset, 10 x 1e-4": Finetune("reset", 1e-4, 10),
        "moving, 1e-5": Finetune("moving", 1e-5, 1),
        "moving, 1e-4": Finetune("moving", 1e-4, 1),
        "decay, 1e-4": Finetune("decay", 1e-4, 1),  # not the diary's, and without a say in the verdict
    },
    "capsules": {
        "off": None,
        "reset, 1 x 1e-4": Finetune("reset", 1e-4, 1),
        "reset, 1 x 1e-3": Finetune("reset", 1e-3, 1),
        "moving, 1e-6": Finetune("moving", 1e-6, 1),
    },
}
CURVES = ("drift", "gain", "held out", "entropy", "chords", "loop")


def chords_in(roll) -> int:
    return len({row.tobytes() for row in roll if row.any()})


def loop_in(roll) -> int:
    return longest_repeat(roll, range(1, 17))


def listen(steps, held_out_loss: float) -> dict:
    """One piece, played to its end, as curves over its steps and figures about the whole."""
    rows, curves = [], {name: [] for name in CURVES}
    for (keys, trace), n in zip(steps, range(STEPS), strict=False):
        rows.append(keys)
        p = trace["voices.p"][:, 0].astype(float)
        curves["drift"].append(trace.get("finetune.drift", 0.0))
        curves["gain"].append(trace.get("finetune.loss_before", 0.0) - trace.get("finetune.loss_after", 0.0))
        curves["entropy"].append(float(-(p * np.log(p + 1e-30)).sum(axis=1).mean()))
        if n % EVERY == EVERY - 1:
            curves["held out"].append(trace.get("held out", held_out_loss))
            curves["chords"].append(chords_in(rows))
            curves["loop"].append(loop_in(np.array(rows)))
    roll = np.array(rows)
    about = {"likeness": likeness(roll), "notes": float(roll.sum(axis=1).mean())}
    about |= {name: curves[name][-1] for name in ("drift", "held out", "chords", "loop")}
    about |= {name: float(np.mean(curves[name])) for name in ("gain", "entropy")}
    return about | {"curves": curves}


def one(claim: str, part: str, seed: int, minutes: float) -> dict:
    learned, held_out = learned_and_held_out("bach")
    long = [song[:STEPS] for song in held_out if len(song) >= STEPS]
    third = len(held_out) // 3  # what is forgotten is measured on songs that no piece starts from
    unheard, primers = held_out[:third], held_out[third:]
    model = LADDER[part]()
    run = trained(model, learned, seed, minutes)
    learned_model = Trained(model, run.params, {}, run.moments)
    _, batch = next(iter(whole_songs(unheard, model.config.past, STEPS)))
    draws = model.draws(0, "forgetting", 0, range(len(unheard)), len(batch["mask"]))

    def forgets(params) -> float:
        return float(model.loss(params, batch, draws, grad=False)[0])

    found = {"songs": {"loop": [loop_in(s) for s in long], "likeness": [likeness(s) for s in long]}}
    found["songs"] |= {"chords": [chords_in(s) for s in long], "notes": [(s > 0).sum(axis=1).mean() for s in long]}
    for kind, tune in KINDS[part].items():
        pieces = []
        for n in range(PIECES * seed, PIECES * (seed + 1)):  # another primer and other uniforms for every network
            calls = count(1)

            def watch(params, calls=calls):
                return {"held out": forgets(params)} if next(calls) % EVERY == 0 else {}

            primer = primers[n % len(primers)][:16]
            steps = (
                play_learning(learned_model, tune, n, primer, watch=watch) if tune else play(learned_model, n, primer)
            )
            pieces.append(listen(steps, forgets(run.params)))
        found[kind] = {name: [piece[name] for piece in pieces] for name in pieces[0]}
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
    lines, said, pieces = [], {}, {}
    shown = {"loop": ("longest loop", 1), "likeness": ("likeness beyond a bar", 2), "chords": ("different chords", 0)}
    shown |= {"notes": ("notes per step", 2), "entropy": ("entropy, nats per voice", 2)}
    for part in PARTS:
        every = pieces[part] = {
            kind: {name: sum((seed[part][kind][name] for seed in found), []) for name in found[0][part][kind]}
            for kind in KINDS[part]
        }
        rows = []
        for kind, of in every.items():
            row = [kind]
            for name, (_, digits) in shown.items():
                word = "" if kind == "off" else more(of[name], every["off"][name], 0.05 / (len(every) - 1))
                said[part, kind, name] = word
                by_seed = np.reshape(of[name], (len(found), -1)).mean(axis=1)
                row.append(spread(by_seed, digits) + {"yes": ", more", "no": ", less"}.get(word, ""))
            rows.append(
                [*row, *(f"{np.mean(of[name]):.2g}" for name in ("drift", "gain")), f"{np.mean(of['held out']):.4f}"]
            )
        songs = found[0][part]["songs"]
        rows.append(["held-out songs", *(f"{np.mean(songs[name]):.2f}" for name in songs), "", "", "", ""])
        head = [
            f"`{part}`",
            *(words for words, _ in shown.values()),
            "drift at the end",
            "loss gained",
            "held-out loss then",
        ]
        lines += [*table(head, rows), ""]

    def some_kind(part, name):
        """Does some kind of the diary's make more of it? "no" where the gains of all are small, at 95%."""
        if any(said[part, kind, name] == "yes" for kind in KINDS[part] if not kind.startswith(("off", "decay"))):
            return "yes"
        gains = [np.subtract(of[name], pieces[part]["off"][name]) for kind, of in pieces[part].items() if kind != "off"]
        small = all(len(g) > 2 and g.mean() + t.ppf(0.95, len(g) - 1) * sem(g) < SMALL[name] for g in gains)
        return "no" if small else "not decided"

    parts = {
        "`final`: some kind makes longer loops": some_kind("final", "loop"),
        "`final`: some kind makes more likeness beyond a bar": some_kind("final", "likeness"),
        "`capsules`: no kind helps": opposite(some_kind("capsules", "likeness")),
    }
    return [*lines, f"Means over {len(found)} seeds of {PIECES} pieces of {STEPS} steps each."], judge("Claim 5", parts)


def draw(claim: str, found: list[dict], path) -> None:
    figure = Figure(figsize=(13, 7))
    words = {
        "gain": "loss gained by the updates",
        "held out": "loss on held-out songs",
        "entropy": "entropy of the voices",
    }
    for axes, name in zip(figure.subplots(2, 3).ravel(), CURVES, strict=True):
        for n, kind in enumerate(KINDS["final"]):
            curve = np.mean([piece[name] for seed in found for piece in seed["final"][kind]["curves"]], axis=0)
            if len(curve) > EVERY:  # over a bar, for what changes within it
                curve = np.convolve(curve, np.full(EVERY, 1 / EVERY), "valid")
            axes.plot(np.linspace(0, STEPS, len(curve)), curve, color=f"C{n}", lw=1, label=kind)
        axes.set_title(
            words.get(name, f"{name} so far" if name in ("chords", "loop") else name), fontsize=10, loc="left"
        )
        axes.set_xlabel("step")
    axes.legend(frameon=False, fontsize=8)
    figure.tight_layout()
    save(figure, path)
