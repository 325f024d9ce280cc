"""What the author wished for (13/12): the diary's finetuning is "a parody" of meta-learning, which would choose the
starting weights knowing that they will be finetuned.

`pause-loss` learns the chorales, its voices with a quiet start; then it goes on for as many updates in three ways: as
before, through one inner step of plain gradient descent without the Hessian (first order), and with it (exact). Judged
on held-out songs: the loss on 64 steps after 0, 1, 5 and 10 inner steps on the 192 before them. The rate of the inner
steps is the one of 0.3, 1, 3 and 10 that helps the network most, before the three ways part, on songs that it has
learned. Tried before: 40 updates and no quiet start; nothing was decided.
"""

import numpy as np
from claims.common import RATE, curves, over_seeds, picture, trained

from minigen.ladder import PauseLoss
from minigen.music.dataset import Dataset, whole_songs
from minigen.run.meta import Meta, meta_draws, meta_loss
from minigen.run.train import Run, update
from minigen.run.verdict import judge, lower, spread, table

PARTS, MINUTES = ("pause-loss",), 2.0
WAYS = {"as before": None, "first order": False, "exact": True}
RATES, AFTER = (0.3, 1.0, 3.0, 10.0), (0, 1, 5, 10)
UPDATES, ROWS = 200, 4


def loss_after(model, params, batch, steps: int, rate: float) -> float:
    """The loss on the last 64 steps of each row, after so many inner steps on those before them."""
    draws = meta_draws(model, 0, "judging", 0, range(batch["mask"].shape[1]))
    return meta_loss(model, params, batch, draws, Meta(steps, rate, exact=False))[0]


def one(claim: str, part: str, seed: int, minutes: float) -> dict:
    model = PauseLoss()
    base, learned, held_out = trained(model, seed, minutes)
    data, length = Dataset.of(learned, model.config), model.config.fragment
    known = data.batch(seed, "choosing", 0, range(8))
    rate = min(RATES, key=lambda rate: loss_after(model, base.params, known, 1, rate))
    _, batch = next(whole_songs([song for song in held_out if len(song) >= length], model.config.past, length))
    results = {}
    for way, exact in WAYS.items():
        run = Run(base.params, base.moments, RATE / 10)
        for _ in range(UPDATES):
            update(model, run, data, seed, range(ROWS), None if exact is None else Meta(1, rate, exact))
        results[way] = [loss_after(model, run.params, batch, steps, rate) for steps in AFTER]
    return results


def conclude(claim: str, results: list[dict]):
    of = over_seeds(results)["pause-loss"]
    rows = [[way, *map(spread, np.transpose(of[way]))] for way in WAYS]
    head = ["loss on the next 64 steps, nats per cell; inner steps:", *map(str, AFTER)]
    as_before, first_order, exact = (np.array(of[way])[:, AFTER.index(1)] for way in WAYS)
    parts = {
        "after one inner step the exact form is better than going on as before": lower(exact, as_before),
        "and than the first-order form": lower(exact, first_order),
    }
    return table(head, rows), judge("That it helps to know", parts)


def draw(claim: str, results: list[dict], path) -> None:
    of = over_seeds(results)["pause-loss"]
    with picture(path, (7, 4), {"xlabel": "inner steps on the past", "ylabel": "loss on the next 64 steps"}) as panels:
        curves(panels[0], {way: of[way] for way in WAYS}, AFTER, marker="o", lw=1, ms=4)
