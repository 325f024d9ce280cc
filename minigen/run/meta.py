"""True meta-learning: starting weights that know they will be finetuned. What the diary only wished for (13/12), since
it "needs the Hessian".

The weights w are trained so that after k plain gradient steps on what a piece has played, its next steps are predicted
well (MAML, Finn et al. 2017):

    w_0 = w,   w_{j+1} = w_j - rate dL_past(w_j),   minimise L_next(w_k)
    dL_next/dw = (I - rate H(w_0)) ... (I - rate H(w_{k-1})) dL_next(w_k)

H v, the Hessian of L_past times a vector, is exact to rounding by complex step: H v = Im dL_past(w + i e v) / e, one
run of the reference code on complex numbers. The notes that the voices drew are held fixed. Leaving H out gives the
first-order form. The stop-gradient trick is refused: its field is the gradient of no loss, and has no Hessian.
"""

from typing import NamedTuple

import numpy as np

from minigen.backend import array_module
from minigen.errors import MinigenError

AHEAD = 64  # the last steps of a fragment are "next", all before them are "past"
TINY = 1e-20


class Meta(NamedTuple):
    """How to look ahead: through so many inner steps at this rate, with the Hessian or without."""

    steps: int
    rate: float
    exact: bool = True


def through(flat, inner, outer, rate: float, steps: int, exact: bool = True):
    """Descend from `flat` by so many inner steps and differentiate the outer loss through them.

    inner(flat, j) -> the gradient of step j, for real and complex vectors; outer(flat) -> loss, gradient
    -> loss, the gradient with respect to the starting vector, the last vector.
    """
    weights = [flat]
    for j in range(steps):
        weights.append(weights[j] - rate * inner(weights[j], j))
    loss, dw = outer(weights[-1])
    if exact:
        for j in reversed(range(steps)):
            # in the forward pass this was: weights[j + 1] = weights[j] - rate * inner(weights[j], j)
            dw = dw - rate * inner(weights[j] + 1j * TINY * dw, j).imag / TINY
    return loss, dw, weights[-1]


def past_and_ahead(batch: dict, b: int):
    """Row b without its padding: its past, and the whole of which only the last AHEAD predictions count; None where
    it has no past."""
    T, n = len(batch["mask"]), int(batch["mask"][:, b].sum())
    P, cut = len(batch["roll"]) - T, n - AHEAD
    if cut < 1:
        return None
    row = {"roll": batch["roll"][: P + n, b : b + 1], "start": batch["start"][b : b + 1]}
    row |= {"end": batch["end"][b : b + 1]} if "end" in batch else {}
    past = row | {"roll": row["roll"][: P + cut], "mask": np.ones((cut, 1), bool)}
    if "sounding" in batch:
        past["sounding"], row["sounding"] = (batch["sounding"][: rows + 1, b : b + 1] for rows in (cut, n))
    return past, row | {"mask": np.arange(n)[:, None] >= cut}


def check(model, xp) -> None:
    """Raises MinigenError for a rung that cannot learn so, and where the weights are on a GPU."""
    if model.config.loss == "stop-gradient":
        raise MinigenError(
            f"{model.name} learns with the stop-gradient trick, which is the gradient of no loss: use --model "
            "pause-loss, or --set loss=plain"
        )
    if xp is not np:
        raise MinigenError("--meta runs on the CPU alone so far: add --device cpu")


def meta_draws(model, seed: int, purpose: str, step: int, rows):
    """draws(b, j, T): what the voices of row b of a batch draw with in run j, a pure function."""
    return lambda b, j, T: model.draws(seed, f"{purpose} {j}", step, [rows[b]], T)


def meta_loss(model, params, batch: dict, draws, meta: Meta, notes=None):
    """The loss of the last AHEAD steps of each row after the inner steps on the row's past, mean over the rows that
    have a past, and its gradient with respect to the starting weights -> loss, gradients, trace (its parts), notes.

    draws(b, j, T) -> what `model.loss` takes for row b, T steps, in run j; run meta.steps is the last, over all T.
    notes: of an earlier call, to be played again (for checks by finite differences).
    Raises MinigenError for the stop-gradient form.
    """
    check(model, array_module(params.flat))
    total, count, grads, played, sums = 0.0, 0, np.zeros_like(params.flat), {}, {}
    for b in range(batch["mask"].shape[1]):
        parts = past_and_ahead(batch, b)
        if parts is None:
            continue
        past, ahead = parts

        def run(flat, j, part, b=b):
            known = (notes or played).get((b, j))
            given = draws(b, j, len(part["mask"])) if known is None else known
            loss, found, trace, _ = model.loss(params.with_flat(flat), part, given)
            if model.conditional and known is None:
                played[b, j] = {"voices.notes": trace["voices.notes"]}
            if j == meta.steps:
                for name in ("loss.cells", "loss.decoder"):
                    if name in trace:
                        sums[name] = sums.get(name, 0.0) + float(trace[name])
            return loss, found.flat

        def inner(flat, j, run=run, past=past):
            return run(flat, j, past)[1]

        def outer(flat, run=run, ahead=ahead):
            return run(flat, meta.steps, ahead)

        loss, dw, _ = through(params.flat, inner, outer, meta.rate, meta.steps, meta.exact)
        total, count, grads = total + float(loss), count + 1, grads + dw
    count = max(count, 1)  # a batch of short songs alone teaches nothing
    trace = {name: value / count for name, value in sums.items()}
    return total / count, params.with_flat((grads / count).astype(params.dtype)), trace, notes or played
