"""What the author wished for (13/12): the diary's finetuning is "a parody" of meta-learning, which would choose the
starting weights knowing that they will be finetuned.

`pause-loss` learns the chorales, its voices with a quiet start; then it goes on for as many updates in three ways: as
before, through one inner step of plain gradient descent without the Hessian (first order), and with it (exact). Judged
on held-out songs: the loss on 64 steps after 0, 1, 5 and 10 inner steps on the 192 before them. The rate of the inner
steps is the one of 0.3, 1, 3 and 10 that helps the network most, before the three ways part, on songs that it has
learned. Tried before: 40 updates and no quiet start; nothing was decided.
"""

from dataclasses import replace

import numpy as np
from claims.common import BATCH, QUIET, RATE, judge, lower, spread, table
from matplotlib.figure import Figure

from minigen.ladder import PauseLoss
from minigen.music.corpus import learned_and_held_out
from minigen.music.dataset import Dataset, whole_songs
from minigen.run.meta import Meta, meta_draws, meta_loss
from minigen.run.plots import save
from minigen.run.train import learn, update

PARTS, MINUTES = ("pause-loss",), 2.0
WAYS = {"as before": None, "first order": False, "exact": True}
RATES, AFTER = (0.3, 1.0, 3.0, 10.0), (0, 1, 5, 10)
UPDATES, ROWS = 200, 4


def loss_after(model, params, batch, meta: Meta) -> float:
    draws = meta_draws(model, 0, "judging", 0, range(batch["mask"].shape[1]))
    return meta_loss(model, params, batch, draws, meta._replace(exact=False))[0]


def one(claim: str, part: str, seed: int, minutes: float) -> dict:
    learned, held_out = learned_and_held_out("bach")
    model = PauseLoss(replace(PauseLoss.config, pause_bias=QUIET))
    c = model.config
    data = Dataset(learned, c.past, c.fragment, c.hop, c.key_shift)
    base = learn(model, data, seed, BATCH, RATE, minutes=minutes)
    known = data.batch(seed, "choosing", 0, range(8))
    rate = min(RATES, key=lambda rate: loss_after(model, base.params, known, Meta(1, rate)))
    long = [song[: c.fragment] for song in held_out if len(song) >= c.fragment]
    _, batch = next(iter(whole_songs(long, c.past, c.fragment)))
    found = {"rate": rate, "losses": {}}
    for way, exact in WAYS.items():
        run = type(base)(base.params, base.moments, RATE / 10)
        for _ in range(UPDATES):
            update(model, run, data, seed, range(ROWS), None if exact is None else Meta(1, rate, exact))
        found["losses"][way] = [loss_after(model, run.params, batch, Meta(steps, rate)) for steps in AFTER]
    return found


def conclude(claim: str, found: list[dict]):
    losses = {way: np.array([seed[PARTS[0]]["losses"][way] for seed in found]) for way in WAYS}  # (seeds, AFTER)
    rows = [[way, *(spread(losses[way][:, n], 4) for n in range(len(AFTER)))] for way in WAYS]
    head = ["loss on the next 64 steps, nats per cell; inner steps:", *map(str, AFTER)]
    rates = ", ".join(f"{seed[PARTS[0]]['rate']:g}" for seed in found)
    one_step = AFTER.index(1)
    parts = {
        "after one inner step the exact form is better than going on as before": lower(
            losses["exact"][:, one_step], losses["as before"][:, one_step]
        ),
        "and than the first-order form": lower(losses["exact"][:, one_step], losses["first order"][:, one_step]),
    }
    return [*table(head, rows), "", f"Rates of the inner steps: {rates}."], judge("That it helps to know", parts)


def draw(claim: str, found: list[dict], path) -> None:
    figure = Figure(figsize=(7, 4))
    axes = figure.subplots()
    for way, shade in zip(WAYS, ("#9db4c0", "#f2a541", "#1f4e79"), strict=True):
        for seed in found:
            label = way if seed is found[0] else None
            axes.plot(AFTER, seed[PARTS[0]]["losses"][way], "o-", color=shade, lw=1, ms=4, label=label)
    axes.set(xlabel="inner steps on the past", ylabel="loss on the next 64 steps")
    axes.legend(frameon=False)
    save(figure, path)
