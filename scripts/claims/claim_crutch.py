"""Claim 3: without the stop-gradient trick training collapses to one playing voice; the pause loss makes the trick
unnecessary.

The diary's own setting: `conditional`, 88 keys, seven linear voices. In P += (1 - P) p_v the trick lets no gradient
flow through 1 - P, so that voice v is pushed towards a true key by prod_{u<v} (1 - p_u) / P, and without it by
prod_{u!=v} (1 - p_u) / P. Measured on held-out chorales, with the draws of training; a note counts for the first voice
that plays it, and the gradient is that with respect to a voice's own weights. Training has collapsed where one voice
plays over 0.8 of the notes; the claim is of every seed.

Voices fall silent with and without the trick, for a reason that it does not touch: at the start seven voices play 7 x
88/89 notes per step where the chorales have one, so all are pushed towards the pause, and past it; and the gradient of
a key's logit is p_v[key] times something, next to nothing in a voice that is sure to pause. "Quiet start" puts this to
the test: it begins with a bias of the pause (`--set pause_bias=6.2`) with which the voices play one note per step.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np
from claims.common import curves, evaluate, over_seeds, picture, trained

from minigen.errors import MinigenError
from minigen.ladder import Conditional
from minigen.music.corpus import learned_and_held_out
from minigen.music.dataset import Dataset
from minigen.ops import one_hot
from minigen.run.checkpoint import load, save
from minigen.run.likelihood import log_likelihood
from minigen.run.train import Run, learn
from minigen.run.verdict import agreed, in_every, judge, spread, table

PARTS = ("plain", "stop-gradient", "pause", "plain, quiet start", "stop-gradient, quiet start")
MINUTES = 1.0
LONG = {"claims": ("crutch",), "parts": ("plain", "stop-gradient", "pause"), "seeds": 2}
TRAINED = {"batch": 64, "rate": 0.01, "steps": 2000, "flat": 0.75, "warm": 1}
SHOWN = 1, 100, 300, 500, 1000, 1500, 2000  # steps, in the table of the long form
QUIET = 6.2  # log(88 * 0.85 / 0.15): seven voices play 0.15 notes per step each
SILENT, COLLAPSED = 0.01, 0.8  # of the notes: a voice that plays fewer is silent; all others are, where one plays more
BY_VOICE = {"plays": "its share of the notes", "pauses": "its chance of a pause", "norms": "norm of its gradient"}


def one(claim: str, part: str, seed: int, minutes: float) -> dict:
    loss, _, quiet = part.partition(", ")
    model = Conditional(replace(Conditional.config, loss=loss, pause_bias=QUIET if quiet else 0.0))
    run, _, held_out = trained(model, seed, minutes, quiet=False)
    return {"steps": run.step} | figures(model, run.params, held_out)


def figures(model, params, held_out) -> dict:
    """By voice, over the steps of held-out songs: who plays, how sure each is of its pause, who is pushed."""
    batch, _, grads, trace = evaluate(model, params, held_out, grad=True)
    mask, nats = batch["mask"], -log_likelihood(model, params, batch)[0]
    played = one_hot(trace["voices.notes"], 88, bool) & mask[..., None]  # (V, T, B, K)
    by_now = np.maximum.accumulate(played).sum(axis=(1, 2, 3))  # different notes that voices 1..v have played
    return {
        "nats": float(nats[mask].mean()),
        "plays": (np.diff(by_now, prepend=0) / max(by_now[-1], 1)).tolist(),
        "pauses": trace["voices.p"][..., 88][:, mask].mean(axis=1).tolist(),
        "norms": [float(np.linalg.norm(grads[f"head{v + 1}.W"])) for v in range(len(played))],
    }


def long(claim: str, part: str, seed: int, folder: Path) -> list[dict]:
    """The diary's own length: 2,000 steps of 64 fragments at 0.01, falling in the last quarter, no quiet start. What
    was measured every 100 steps; it is kept in the folder, and a run that was stopped goes on."""
    model, path = Conditional(replace(Conditional.config, loss=part)), folder / f"{part}-{seed}.npz"
    run, found = None, []
    learned, held_out = learned_and_held_out("bach")
    if path.exists():
        kept = load(path)
        if kept.header["training"].get("trained", TRAINED) != TRAINED:
            raise MinigenError(f"{path} was trained otherwise: move {folder} away, and begin again")
        found = kept.header["training"]["found"]
        run = Run(kept.params, kept.moments, TRAINED["rate"], step=found[-1]["steps"])

    def each(run, losses):
        if run.step == 1 or run.step % 100 == 0:
            found.append({"steps": run.step, "training": float(losses["loss"])} | figures(model, run.params, held_out))
            save(path, model, run.params, run.moments, training={"found": found, "trained": TRAINED})

    learn(model, Dataset.of(learned, model.config), seed, **TRAINED, each=each, run=run)
    return found


def conclude(claim: str, results: list[dict]):
    rows, voices, collapsed = [], [], {}
    for form, of in over_seeds(results).items():
        busiest, playing = np.max(of["plays"], axis=1), np.greater_equal(of["plays"], SILENT).sum(axis=1)
        collapsed[form] = busiest > COLLAPSED
        rows.append([form, *map(spread, (of["steps"], of["nats"], busiest, playing)), str(collapsed[form].sum())])
        voices += [[form, words, *(f"{x:.2g}" for x in np.mean(of[key], axis=0))] for key, words in BY_VOICE.items()]
    head = ["loss", "steps", "nats per step, held out", "notes of the busiest voice", "voices that play"]
    lines = [*table([*head, f"seeds that collapsed to one voice, of {len(results)}"], rows), ""]
    lines += table(["loss", "by voice, means over seeds", *(f"voice {v + 1}" for v in range(7))], voices)
    parts = {
        "without the trick training collapses to one voice": in_every(collapsed["plain"]),
        "with it it does not": in_every(~collapsed["stop-gradient"]),
        "nor with the pause loss instead": in_every(~collapsed["pause"]),
    }
    return lines, judge("Claim 3", parts)


def conclude_long(claim: str, results: list[dict]):
    rows, collapsed = [], {}
    for part in LONG["parts"]:
        for seed, found in enumerate(of[part] for of in results):
            at = {row["steps"]: row for row in found}
            rows += [
                [part, str(seed), words, *(f(at[step]) for step in SHOWN if step in at)]
                for words, f in (
                    ("nats per step, held out", lambda row: f"{row['nats']:.2f}"),
                    ("notes of the busiest voice", lambda row: f"{max(row['plays']):.2f}"),
                    ("voices that play", lambda row: str(sum(share >= SILENT for share in row["plays"]))),
                )
            ]
            collapsed.setdefault(part, []).append(max(found[-1]["plays"]) > COLLAPSED)
    lines = table(["loss", "seed", "after so many steps", *(f"{step:,}" for step in SHOWN)], rows)
    answers = {
        words: agreed([over == wanted for over in collapsed[part]])
        for part, wanted, words in (
            ("plain", True, "without the trick training collapses to one voice"),
            ("stop-gradient", False, "with it it does not"),
            ("pause", False, "nor with the pause loss instead"),
        )
    }
    return lines, judge("Claim 3, the diary's length", answers)


def draw(claim: str, results: list[dict], path) -> None:
    panels = [{"title": words, "xlabel": "voice"} for words in BY_VOICE.values()]
    with picture(path, (13, 4), *panels) as axes:
        for panel, key in zip(axes, BY_VOICE, strict=True):
            curves(panel, {form: of[key] for form, of in over_seeds(results).items()}, range(1, 8), marker=".", lw=0.7)


def draw_long(claim: str, results: list[dict], path) -> None:
    """Nats per step and the busiest voice's share over training, a curve for each seed."""
    nats = {"title": "nats per step, held out", "xlabel": "step", "yscale": "log"}
    busiest = {"title": "notes of the busiest voice", "xlabel": "step", "ylim": (0, 1.02)}
    with picture(path, (11, 4), nats, busiest) as axes:
        for panel, f in zip(axes, (lambda row: row["nats"], lambda row: max(row["plays"])), strict=True):
            groups = {part: [[f(row) for row in of[part]] for of in results] for part in LONG["parts"]}
            curves(panel, groups, [row["steps"] for row in results[0][LONG["parts"][0]]], lw=1)
