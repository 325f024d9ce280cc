"""Training: one update, validation on whole songs, the falling rate. A run is resumed from its step number alone."""

import time
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from minigen.adam import Moments, adam, all_finite
from minigen.backend import array_module, on_device, to_host
from minigen.dataset import Dataset, whole_songs
from minigen.errors import MinigenError
from minigen.meta import Meta, meta_draws, meta_loss
from minigen.params import Params
from minigen.ranks import Ranks

ALONE = Ranks()
FALL, LOWEST = 0.3, 1e-5
COUNTERS = ("rate", "step", "best", "best_step", "fell_at")


@dataclass
class Run:
    """Everything that changes while a model is trained. Batches and draws are functions of (seed, step)."""

    params: Params
    moments: Moments
    rate: float
    step: int = 0
    best: float = float("inf")  # lowest validation loss
    best_step: int = 0
    fell_at: int = 0  # the step at which the rate was lowered last
    mean: dict[str, float] = field(default_factory=dict)  # running means of the training losses
    rows: list[dict] = field(default_factory=list)  # what metrics.csv holds
    sound: Any = True  # () bool, where the weights are: every loss and gradient so far was a number
    unread: list[dict] = field(default_factory=list)  # `sound` and losses of the steps that the host has not looked at

    def counters(self) -> dict:
        """What a checkpoint stores beside the arrays."""
        mean = dict(self.read())
        return {name: getattr(self, name) for name in COUNTERS} | {"mean": mean}

    def read(self) -> dict[str, float]:
        """The running means, once the losses that are unread have been copied to the host, all at once.

        Raises MinigenError (code 3) where one was not a number; the run is then what it was before that step.
        """
        unread, self.unread = self.unread, []
        if not unread:
            return self.mean
        rows = to_host(array_module(self.params.flat).stack([value for step in unread for value in step.values()]))
        for n, (sound, *values) in enumerate(rows.reshape(len(unread), -1).tolist()):
            if not sound:
                undone = len(unread) - n
                self.step, self.moments.step, self.sound = self.step - undone, self.moments.step - undone, True
                raise MinigenError(
                    f"the loss or its gradient is not a number at step {self.step}: train again, or go on from an "
                    f"earlier checkpoint with --init, at a lower --rate than {self.rate:g}",
                    code=3,
                )
            for name, value in zip(list(unread[n])[1:], values, strict=True):
                self.mean[name] = 0.9 * self.mean.get(name, value) + 0.1 * value
        return self.mean


def update(model, run: Run, dataset: Dataset, seed: int, rows, meta: Meta | None = None, ranks=ALONE) -> dict:
    """One step of training on fragments `rows` of batch number run.step -> losses in nats; with `meta` the losses after
    its inner steps, and the gradient through them; with `ranks` what the rows of all of them give together.

    On a GPU nothing is copied to the host, the losses stay there: a step whose loss or gradient is not a number changes
    no weight, nor does any after it, and `run.read` raises MinigenError (code 3). On a CPU that is done here.
    """
    xp = array_module(run.params.flat)
    batch = dataset.batch(seed, "batch", run.step, rows)
    if meta is None:
        draws = model.draws(seed, "training", run.step, rows, len(batch["mask"]))
        loss, grads, trace, _ = model.loss(run.params, on_device(xp, batch), on_device(xp, draws))
    else:
        draws = meta_draws(model, seed, "meta", run.step, rows)
        loss, grads, trace, _ = meta_loss(model, run.params, batch, draws, meta)
    found = parts_of(loss, trace)
    if ranks.size > 1:
        flat, found = ranks.mean(grads.flat, found, int(batch["mask"].sum()))
        loss, grads = found["loss"], grads.with_flat(flat)
    run.sound = run.sound & all_finite(grads.flat, loss)
    flat, run.moments = adam(run.params.flat, grads.flat, run.moments, run.rate, run.sound)
    run.params = run.params.with_flat(flat)
    run.step += 1
    run.unread.append({"sound": run.sound} | found)
    if xp is np:
        run.read()
    return found


def parts_of(loss, trace: dict) -> dict:
    """The loss and its parts, by name, where they are: {"loss": ..., "cells": ..., "decoder": ...}."""
    return {"loss": loss} | {name[5:]: value for name, value in trace.items() if name.startswith("loss.")}


def validate(model, params: Params, songs: list, seed: int, meta: Meta | None = None) -> dict:
    """Losses over whole songs, every step counted once, with the same uniforms each time -> nats a cell.

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
    for block, (first, batch) in enumerate(whole_songs(songs, model.config.past, model.config.fragment)):
        T, B = batch["mask"].shape
        draws = on_device(xp, model.draws(seed, "validation", block, range(B), T))
        state = None if first else state
        loss, _, trace, state = model.loss(params, on_device(xp, batch), draws, state, grad=False)
        count = int(batch["mask"].sum())
        for name, value in parts_of(loss, trace).items():
            sums[name] = sums.get(name, 0.0) + float(value) * count
        total += count
    if not np.isfinite(sums["loss"]):
        raise MinigenError("the loss on held-out songs is not a number: train again at a lower --rate", code=3)
    return {name: value / total for name, value in sums.items()}


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


def learn(model, data: Dataset, seed: int, batch: int, rate: float, minutes=None, steps=None, each=None) -> Run:
    """Train fresh weights for so many minutes or steps, the rate falling from `rate` to 0 in a straight line.

    Minutes are of processor time, over all threads: what else the machine is doing costs no training.
    each(run, losses) is called after every step. Raises MinigenError where there is no end.
    """
    if not (minutes or steps):
        raise MinigenError("training needs an end: give minutes or steps")
    params = model.init(seed)
    run, began = Run(params, Moments.of(params.flat), rate), time.process_time()
    while True:
        done = run.step / steps if steps else (time.process_time() - began) / 60 / minutes
        if done >= 1:
            return run
        run.rate = rate * (1 - done)
        found = update(model, run, data, seed, range(batch))
        if each:
            each(run, found)
