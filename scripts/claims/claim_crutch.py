"""Claim 3: without the stop-gradient trick training collapses to one playing voice; the pause loss makes the trick
unnecessary.

The diary's own setting: `conditional`, 88 keys, seven linear voices. In P += (1 - P) p_v the trick lets no gradient
flow through 1 - P, so that voice v is pushed towards a true key by prod_{u<v} (1 - p_u) / P, and without it by
prod_{u!=v} (1 - p_u) / P. On held-out chorales, with the draws of training: each voice's share of the notes that no
voice before it has played, how often it pauses, and how sure it is of a note played before it (such a note is true, and
to repeat it costs nothing). The gradient norms are those of the loss with respect to each voice's own weights, at the
same weights, with the trick and without it, before training and after; beside them the two products, at all true keys
and at the keys that the voice itself played. What silence costs: exact nats per step, by the size of the chord.

Voices fall silent with and without the trick, for a reason that it does not touch: at the start seven voices say 7 x
88/89 notes per step where the chorales have one, so all are pushed towards the pause, and past it; and the gradient of
a key's logit is p_v[key] times something, next to nothing in a voice that is sure to pause. "Quiet start" puts this to
the test: it begins with a bias of the pause (`--set pause_bias=6.2`) with which the voices say one note per step.

Training has collapsed where one voice plays over 0.8 of the notes; the claim is of every seed.
"""

from dataclasses import replace

import numpy as np
from claims.common import in_every, judge, spread, table, trained
from matplotlib.figure import Figure

from minigen.ladder import Conditional
from minigen.music.corpus import learned_and_held_out
from minigen.music.dataset import whole_songs
from minigen.ops import one_hot
from minigen.run.likelihood import log_likelihood
from minigen.run.plots import save
from minigen.union import products_of_others

QUIET = 6.2  # log(88 * 0.85 / 0.15): seven voices play 0.15 notes per step each
FORMS = {
    "plain": {"loss": "plain"},
    "stop-gradient": {"loss": "stop-gradient"},
    "pause": {"loss": "pause"},
    "plain, quiet start": {"loss": "plain", "pause_bias": QUIET},
    "stop-gradient, quiet start": {"loss": "stop-gradient", "pause_bias": QUIET},
}
PARTS, MINUTES = tuple(FORMS), 1.0
WAYS = {"plain": "without the trick", "stop-gradient": "with it"}
SILENT = 0.01  # of the notes: a voice that plays fewer is silent
COLLAPSED = 0.8  # of the notes, played by one voice
SIZES = range(5)  # notes per step; the chorales have no more than 4


def one(claim: str, part: str, seed: int, minutes: float) -> dict:
    learned, held_out = learned_and_held_out("bach")
    model, losses = Conditional(replace(Conditional.config, **FORMS[part])), []
    run = trained(model, learned, seed, minutes, lambda _, parts: losses.append(parts["cells"]))
    _, batch = next(iter(whole_songs(held_out, model.config.past, chunk=max(map(len, held_out)))))
    own, _, _ = log_likelihood(model, run.params, batch)
    mask, struck = batch["mask"], batch["roll"][-len(own) :] > 0
    sizes = struck.sum(axis=-1)
    return {
        "losses": losses,
        "steps": run.step,
        "nats": float(-own[mask].mean()),
        "by size": [float(-own[mask & (sizes == n)].sum() / mask.sum()) for n in SIZES],
        "share": [float((sizes[mask] == n).mean()) for n in SIZES],
        "start": measure(model.init(seed), batch, struck & mask[..., None])["norms"],
    } | measure(run.params, batch, struck & mask[..., None])


def measure(params, batch: dict, struck) -> dict:
    """What each voice does, and what pushes it, with the trick and without."""
    model = Conditional()
    (T, B), V, K = batch["mask"].shape, model.config.voices, model.config.keys
    _, _, trace, _ = model.loss(params, batch, model.draws(0, "crutch", 0, range(B), T), grad=False)
    notes, p = trace["voices.notes"], trace["voices.p"]
    played = one_hot(notes, K, bool) & batch["mask"][..., None]  # (V, T, B, K)
    earlier, later = products_of_others(1 - p[..., :K])
    factors = {"plain": earlier * later, "stop-gradient": earlier}
    so_far, repeats, own = np.zeros_like(struck), [], np.zeros(V)
    for v in range(V):
        repeats.append(float(p[v, ..., :K][so_far].mean()) if so_far.any() else np.nan)
        own[v] = (played[v] & ~so_far).sum()
        so_far |= played[v]
    norms = {}
    for way in WAYS:
        other = Conditional(replace(model.config, loss=way))
        grads = other.loss(params, batch, {"voices.notes": notes})[1]
        norms[way] = [float(np.linalg.norm(grads[f"head{v + 1}.W"])) for v in range(V)]
    return {
        "plays": (own / max(own.sum(), 1)).tolist(),
        "pauses": p[..., K][:, batch["mask"]].mean(axis=1).tolist(),
        "repeats": repeats,
        "norms": norms,
        "at true keys": {way: [float(factors[way][v][struck].mean()) for v in range(V)] for way in WAYS},
        "at own keys": {
            way: [float(factors[way][v][played[v]].mean()) if played[v].any() else np.nan for v in range(V)]
            for way in WAYS
        },
    }


def conclude(claim: str, found: list[dict]):
    busiest = {form: [max(seed[form]["plays"]) for seed in found] for form in PARTS}
    playing = {form: [sum(share >= SILENT for share in seed[form]["plays"]) for seed in found] for form in PARTS}
    nats = {form: [seed[form]["nats"] for seed in found] for form in PARTS}
    rows = []
    for form in PARTS:
        cost = np.mean([seed[form]["by size"] for seed in found], axis=0)
        rows.append([form, spread([seed[form]["steps"] for seed in found], 0), spread(nats[form], 2),
                     spread(busiest[form], 2), spread(playing[form], 1), *(f"{x:.2f}" for x in cost)])  # fmt: skip
    head = ["loss", "steps", "nats per step, held out", "notes of the busiest voice", "voices that play"]
    shares = found[0]["plain"]["share"]
    lines = table([*head, *(f"of which at {n} notes ({shares[n]:.0%} of the steps)" for n in SIZES)], rows)
    for form in PARTS:
        lines += ["", f"Trained with the {form} loss, by voice, means over seeds:", ""]

        def row(words, values):
            return [words, *("" if np.isnan(x) else f"{x:.2g}" for x in np.mean(values, axis=0))]

        seeds = [seed[form] for seed in found]
        rows = [row("its share of the notes", [seed["plays"] for seed in seeds])]
        rows += [row("its chance of a pause", [seed["pauses"] for seed in seeds])]
        rows += [row("its chance of a note played before it", [seed["repeats"] for seed in seeds])]
        rows += [
            row(f"gradient norm before training, {name}", [seed["start"][way] for seed in seeds])
            for way, name in WAYS.items()
        ]
        for key, words in (
            ("norms", "gradient norm"),
            ("at true keys", "the product, at true keys"),
            ("at own keys", "the product, at the keys it played"),
        ):
            rows += [row(f"{words}, {name}", [seed[key][way] for seed in seeds]) for way, name in WAYS.items()]
        lines += table(["", *(f"voice {v + 1}" for v in range(7))], rows)
    collapsed = {form: [share > COLLAPSED for share in busiest[form]] for form in PARTS}
    lines += ["", "Seeds that collapsed to one voice, of " + f"{len(found)}: " + ", ".join(
        f"{form} {sum(seeds)}" for form, seeds in collapsed.items()) + "."]  # fmt: skip
    parts = {
        "without the trick training collapses to one voice": in_every(collapsed["plain"]),
        "with it it does not": in_every([not seed for seed in collapsed["stop-gradient"]]),
        "nor with the pause loss instead": in_every([not seed for seed in collapsed["pause"]]),
    }
    return lines, judge("Claim 3", parts)


def draw(claim: str, found: list[dict], path) -> None:
    figure = Figure(figsize=(13, 4))
    loss, plays, push = figure.subplots(1, 3)
    for form, shade in zip(PARTS, ("#9db4c0", "#1f4e79", "#f2a541", "#a3c585", "#3b7d3b"), strict=True):
        for seed in found:
            loss.plot(seed[form]["losses"], color=shade, lw=0.7, label=form if seed is found[0] else None)
            plays.plot(range(1, 8), seed[form]["plays"], "o-", color=shade, lw=0.7, ms=3,
                       label=form if seed is found[0] else None)  # fmt: skip
    for way, style in (("plain", ":"), ("stop-gradient", "-")):
        mean = np.mean([seed["plain"]["norms"][way] for seed in found], axis=0)
        push.plot(range(1, 8), mean, f"o{style}", color="#1f4e79", label=WAYS[way])
    loss.set(xlabel="step", yscale="log", title="loss, training, each a mean over its own cells")
    plays.set(xlabel="voice", title="share of the notes")
    push.set(xlabel="voice", yscale="log", title="gradient norm, weights of the plain loss")
    for axes in (loss, plays, push):
        axes.legend(frameon=False, fontsize=8)
    save(figure, path)
