"""Training: one update, validation on whole songs, the falling rate. A run is resumed from its step number alone."""

import math
import time
from dataclasses import dataclass, field

import numpy as np

from minigen.adam import Moments, adam, averaged
from minigen.backend import array_module, on_device
from minigen.errors import MinigenError
from minigen.music.dataset import Dataset, whole_songs
from minigen.params import Params
from minigen.run.ahead import Ahead
from minigen.run.ledger import Ledger
from minigen.run.meta import Meta, meta_draws, meta_loss

FALL, LOWEST = 0.3, 1e-5
WARM = 50  # steps in which the rate rises
READ = 5  # steps from one reading of the losses to the next, for which a GPU is waited for
EVERY = 25  # steps from one validation to the next, at least
COUNTERS = ("rate", "step", "best", "best_step", "fell_at", "seconds")


class NotFinite(MinigenError):
    """A loss or a gradient was NaN or infinite; on all ranks after the same step."""


@dataclass
class Run:
    """Everything that changes while a model is trained. Batches and draws are functions of (seed, step)."""

    params: Params
    moments: Moments
    rate: float
    average: Params | None = None  # the running mean of the weights: what is validated, and what plays
    step: int = 0
    best: float = float("inf")  # lowest validation loss
    best_step: int = 0
    fell_at: int = 0  # the step at which the rate was lowered last
    seconds: float = 0.0  # of training so far
    mean: dict[str, float] = field(default_factory=dict)  # running means of the training losses
    rows: list[dict] = field(default_factory=list)  # what metrics.csv holds
    ledger: Ledger | None = None  # losses that are not in `mean` yet
    gradient: Params | None = None  # of the last step

    def __post_init__(self):
        self.ledger = self.ledger or Ledger(self.params)
        self.average = self.average or self.params

    def counters(self) -> dict:
        """What a checkpoint stores beside the arrays."""
        mean = dict(self.read())
        return {name: getattr(self, name) for name in COUNTERS} | {"mean": mean}

    def read(self) -> dict[str, float]:
        """The running means, the losses that wait in the ledger among them.

        Raises NotFinite (code 3) where one was NaN or infinite; the run is then what it was before that step.
        """
        losses, undone = self.ledger.read()
        for step in losses:
            self.mean = {name: 0.9 * self.mean.get(name, value) + 0.1 * value for name, value in step.items()}
        if undone:
            self.step, self.moments.step = self.step - undone, self.moments.step - undone
            raise NotFinite(
                f"the loss or its gradient is NaN or infinite at step {self.step}: train again, or go on from an "
                "earlier checkpoint with --init, at a lower --rate",
                code=3,
            )
        return self.mean


def inputs_of(model, dataset: Dataset, seed: int, step: int, rows, meta: Meta | None = None) -> tuple[dict, dict]:
    """The batch of a step of training, and its draws: functions of (seed, step, row) alone."""
    batch = dataset.batch(seed, "batch", step, rows)
    if meta is not None:
        return batch, meta_draws(model, seed, "meta", step, rows)
    return batch, model.draws(seed, "training", step, rows, len(batch["mask"])) | model.prepared(batch)


def ahead_of(model, run: Run, dataset: Dataset, seed: int, rows, meta: Meta | None = None) -> Ahead:
    """`inputs_of` for the steps of this run; where the weights are on a GPU, a thread makes them."""
    # on a CPU they are under 2% of the time of a step, which takes all cores: a thread for them gains nothing
    return Ahead(lambda step: inputs_of(model, dataset, seed, step, rows, meta), run.ledger.xp is not np)


def gradient_of(model, params: Params, batch: dict, given: dict, meta: Meta | None = None):
    """-> the loss in nats, its gradient, the trace; with `meta` after its inner steps, and through them."""
    found = model.loss(params, batch, given) if meta is None else meta_loss(model, params, batch, given, meta)
    return found[:3]


def update(model, run: Run, dataset: Dataset, seed: int, rows, meta: Meta | None = None) -> dict:
    """One step of training on fragments `rows` of batch number run.step -> its losses in nats, where the weights are;
    with `meta` the losses after its inner steps, and the gradient through them."""
    return update_on(inputs_of(model, dataset, seed, run.step, rows, meta), model, run, meta)


def update_on(inputs: tuple[dict, dict], model, run: Run, meta: Meta | None = None) -> dict:
    """The same on what `inputs_of` gives for step run.step."""
    batch, given = inputs
    placed = run.ledger.upload(batch, given) if meta is None else (batch, given)
    loss, grads, trace = gradient_of(model, run.params, *placed, meta)
    grads, losses = run.ledger.enter(grads, parts_of(loss, trace), int(batch["mask"].sum()))
    flat, run.moments = adam(run.params.flat, grads.flat, run.moments, run.rate, run.ledger.finite)
    run.params = run.params.with_flat(flat)
    run.average = run.params.with_flat(averaged(run.average.flat, flat, run.step, run.ledger.finite))
    run.step, run.gradient = run.step + 1, grads
    if run.ledger.xp is np:  # nothing to wait for
        run.read()
    return losses


def parts_of(loss, trace: dict) -> dict:
    """The loss and its parts, by name, where they are: {"loss": ..., "cells": ..., "decoder": ...}."""
    return {"loss": loss} | {name[5:]: value for name, value in trace.items() if name.startswith("loss.")}


def norms_of(grads: Params) -> dict[str, float]:
    """The norm of the gradient of each part: {"grad_reader": ...}, over its weights and biases."""
    sums = {}
    for name, view in grads.views.items():
        part = f"grad_{name.rpartition('.')[0]}"
        sums[part] = sums.get(part, 0.0) + float((view * view).sum())
    return {part: math.sqrt(value) for part, value in sums.items()}


def validate(model, params: Params, songs: list, seed: int, meta: Meta | None = None, sounding=None) -> dict:
    """Losses over whole songs, every step counted once, with the same uniforms each time, in the model's unit; of the
    sustain decoder too, where it is said what sounds in each song.

    With `meta`, of the beginnings of the longest of them, after the inner steps.
    """
    if meta is not None:
        long = sorted(songs, key=len)[-32:]
        _, batch = next(whole_songs(long, model.config.past, model.config.fragment))
        draws = meta_draws(model, seed, "meta validation", 0, range(len(long)))
        loss, _, trace, _ = meta_loss(model, params, batch, draws, meta._replace(exact=False))
        return {name: float(value) for name, value in parts_of(loss, trace).items()}
    xp = array_module(params.flat)
    sums, total, state = {}, 0, None
    blocks = whole_songs(songs, model.config.past, model.config.fragment, sounding=sounding)
    for block, (first, batch) in enumerate(blocks):
        T, B = batch["mask"].shape
        given = on_device(xp, model.draws(seed, "validation", block, range(B), T))
        state = None if first else state
        loss, _, trace, state = model.loss(params, on_device(xp, batch), given, state, grad=False)
        count = int(batch["mask"].sum())
        for name, value in parts_of(loss, trace).items():
            sums[name] = sums.get(name, 0.0) + float(value) * count
        total += count
    if not np.isfinite(sums["loss"]):
        raise MinigenError("the loss on held-out songs is NaN or infinite: train again at a lower --rate", code=3)
    return {name: value / total for name, value in sums.items()}


def batch_of(fragments: int, most: int = 64) -> int:
    """Fragments per step: a quarter of all that there are, a power of 2, at least 8, but at most `most` (4 for
    `ordered`). Few songs take many small steps: 32 fragments are learned in 90 seconds to 0.12 nats per cell in batches
    of 8, to 0.15 in batches of 64."""
    return min(max(8, 1 << int(math.log2(fragments)) >> 2), most)


def interval(songs: list, batch: int, config) -> int:
    """Steps from one validation on these songs to the next: at least 25, and so many that validating takes about a
    fifth of the time. A prediction costs a third in validation, which has no backward pass."""
    predictions = sum(batch["mask"].size for _, batch in whole_songs(songs, 1, config.fragment))
    ratio = predictions / (3 * batch * config.fragment)
    return max(EVERY, READ * math.ceil(4 * ratio / READ))


def rate_at(rate: float, step: int, done: float, flat: float = 0.0, warm: int = WARM) -> float:
    """The rate of a training that has an end, of which a share `done` is over: up to `rate` over the first `warm`
    steps; it stays for a share `flat`, then falls to 0 in a straight line."""
    return rate * min(1, (step + 1) / warm) * min(1, (1 - done) / (1 - flat))


def judge(run: Run, valid_loss: float, patience: int) -> str:
    """What a validation means: "best" so far, "lowered" (no best in `patience` steps: the rate falls, and the
    caller goes back to the best weights), "over" (it cannot fall any further), or "" (wait)."""
    if valid_loss < run.best:
        run.best, run.best_step = valid_loss, run.step
        return "best"
    if run.step - max(run.best_step, run.fell_at) < patience:
        return ""
    if run.rate <= LOWEST:
        return "over"
    run.rate, run.fell_at = max(run.rate * FALL, LOWEST), run.step
    return "lowered"


def learn(
    model, data: Dataset, seed: int, batch: int, rate: float, minutes=None, steps=None, each=None, run=None, flat=0.0,
    warm: int = WARM,
) -> Run:  # fmt: skip
    """Train fresh weights, or go on with a `run`, for so many minutes or steps in all, at the rate of `rate_at`.

    Minutes are of processor time, over all threads: what else the machine is doing costs no training.
    each(run, losses) is called after every step. Raises MinigenError where there is no end.
    """
    if not (minutes or steps):
        raise MinigenError("training needs an end: give minutes or steps")
    began = time.process_time()
    if run is None:
        params = model.init(seed)
        run = Run(params, Moments.of(params.flat), rate)
    with ahead_of(model, run, data, seed, range(batch)) as ahead:
        while True:
            done = run.step / steps if steps else (time.process_time() - began) / 60 / minutes
            if done >= 1:
                return run
            run.rate = rate_at(rate, run.step, done, flat, warm)
            found = update_on(ahead.take(run.step), model, run)
            if each:
                each(run, found)
