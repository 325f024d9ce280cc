"""Claim 3: without the stop-gradient trick training collapses to one playing voice; the pause loss makes it
unnecessary.

The diary's own setting: `conditional`, 88 keys, seven linear voices. In P += (1 - P) p_v the trick lets no gradient
flow through 1 - P, so that voice v is pushed by prod_{u<v} (1 - p_u) at a key, and without it by prod_{u!=v} (1 -
p_u). Counted on held-out chorales, with the draws of training: how many of the notes each voice plays, and how often
voices pause; nats a step are exact. The gradient norms are those of the loss by each voice's own weights, at the same
weights.
"""

from dataclasses import replace

import numpy as np
from claims.common import answer, chorales, spread, table, trained
from matplotlib.figure import Figure

from minigen.dataset import whole_songs
from minigen.ladder import Conditional
from minigen.likelihood import nats_a_step
from minigen.plots import save
from minigen.union import products_of_others

FORMS = ("plain", "stop-gradient", "pause")
SILENT = 0.01  # of the notes: a voice that plays fewer is silent
COLLAPSED = 0.8  # of the notes, played by one voice


def measure(params, songs) -> dict:
    """What each voice does on held-out songs, and what pushes it, with the trick and without."""
    model = Conditional()
    _, batch = next(iter(whole_songs(songs, model.config.past)))
    T, B = batch["mask"].shape
    draws = model.draws(0, "crutch", 0, range(B), T)
    _, _, trace, _ = model.loss(params, batch, draws, grad=False)
    notes, p, V, K = trace["voices.notes"], trace["voices.p"], model.config.voices, model.config.keys
    plays = (notes[batch["mask"]] < K).sum(axis=0)
    true = (batch["roll"][-T:] > 0) & batch["mask"][..., None]
    earlier, later = products_of_others(1 - np.moveaxis(p[..., :K].astype(float), 2, 0))  # (V, T, B, K)
    pushes = {}
    for form in ("plain", "stop-gradient"):
        other = Conditional(replace(model.config, loss=form))
        grads = other.loss(params, batch, {"notes": notes})[1]
        pushes[form] = [float(np.linalg.norm(grads[f"head{v + 1}.W"])) for v in range(V)]
    return {
        "plays": (plays / max(plays.sum(), 1)).tolist(),
        "pauses": p[..., K][batch["mask"]].mean(axis=0).tolist(),
        "norms": pushes,
        "closed": {
            "plain": [float((earlier[v] * later[v])[true].mean()) for v in range(V)],
            "stop-gradient": [float(earlier[v][true].mean()) for v in range(V)],
        },
    }


def one(claim: str, seed: int, minutes: float) -> dict:
    train, valid = chorales()
    found = {}
    for form in FORMS:
        model, losses = Conditional(replace(Conditional.config, loss=form)), []
        params = trained(model, train, seed, minutes, lambda _, parts, losses=losses: losses.append(parts["cells"]))
        nats = nats_a_step(model, params, valid, lambda roll: (roll > 0).sum(axis=-1) <= 7)["own"]
        found[form] = {"nats": nats, "losses": losses} | measure(params, valid)
    return found


def conclude(claim: str, found: list[dict]):
    busiest = {form: [max(seed[form]["plays"]) for seed in found] for form in FORMS}
    playing = {form: [sum(share >= SILENT for share in seed[form]["plays"]) for seed in found] for form in FORMS}
    nats = {form: [seed[form]["nats"] for seed in found] for form in FORMS}
    rows = [[form, spread(nats[form], 2), spread(busiest[form], 2), spread(playing[form], 1)] for form in FORMS]
    lines = table(["loss", "nats a step, held out", "notes of the busiest voice", "voices that play"], rows)
    for form in FORMS:
        lines += ["", f"Trained with the {form} loss, by voice, means over seeds:", ""]
        mean = {key: np.mean([seed[form][key] for seed in found], axis=0) for key in ("plays", "pauses")}
        rows = [["its share of the notes", *(f"{x:.2f}" for x in mean["plays"])]]
        rows += [["its chance of a pause", *(f"{x:.2f}" for x in mean["pauses"])]]
        for key, words in (("norms", "gradient norm"), ("closed", "mean factor at true keys")):
            for way, name in (("plain", "without the trick"), ("stop-gradient", "with it")):
                values = np.mean([seed[form][key][way] for seed in found], axis=0)
                rows.append([f"{words}, {name}", *(f"{x:.2g}" for x in values)])
        lines += table(["", *(f"voice {v + 1}" for v in range(7))], rows)
    collapsed = min(busiest["plain"]) > COLLAPSED
    parts = {"without the trick training collapses to one voice": "yes" if collapsed else "no"}
    for form, words in (("stop-gradient", "the trick helps"), ("pause", "the pause loss helps without it")):
        parts[words] = answer(nats[form], nats["plain"])
    held = list(parts.values())
    outcome = "holds" if set(held) == {"yes"} else "does not hold here" if held[0] == "no" else "is not decided"
    return lines, f"Claim 3 {outcome}: " + "; ".join(f"{words}: {answer}" for words, answer in parts.items()) + "."


def draw(claim: str, found: list[dict], path) -> None:
    figure = Figure(figsize=(12, 4))
    loss, plays, norms = figure.subplots(1, 3)
    for form, shade in zip(FORMS, ("#9db4c0", "#1f4e79", "#f2a541"), strict=True):
        for seed in found:
            loss.plot(seed[form]["losses"], color=shade, lw=0.7, label=form if seed is found[0] else None)
        mean = np.mean([seed[form]["plays"] for seed in found], axis=0)
        plays.plot(range(1, 8), mean, "o-", color=shade, label=form)
    for way, style in (("plain", ":"), ("stop-gradient", "-")):
        mean = np.mean([seed["plain"]["norms"][way] for seed in found], axis=0)
        norms.plot(range(1, 8), mean, f"o{style}", color="#1f4e79", label=way)
    loss.set(xlabel="step", yscale="log", title="loss of the cells, training")
    plays.set(xlabel="voice", title="share of the notes")
    norms.set(xlabel="voice", yscale="log", title="gradient norm, weights of the plain loss")
    for axes in (loss, plays, norms):
        axes.legend(frameon=False, fontsize=8)
    save(figure, path)
