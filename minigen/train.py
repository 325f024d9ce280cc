"""Training: one update, validation on whole songs, the falling rate. A run is resumed from its step number alone."""

from dataclasses import dataclass, field

import numpy as np

from minigen.adam import Moments, adam
from minigen.backend import array_module, to_host
from minigen.dataset import Dataset, whole_songs
from minigen.draws import uniforms
from minigen.errors import MinigenError
from minigen.params import Params

FALL, LOWEST = 0.3, 1e-5


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
    rows: list[dict] = field(default_factory=list)  # what metrics.csv holds

    def counters(self) -> dict:
        """What a checkpoint stores beside the arrays."""
        return {name: getattr(self, name) for name in ("rate", "step", "best", "best_step", "fell_at")}


def on_device(xp, batch: dict) -> dict:
    """The same arrays in the array module `xp`."""
    return batch if xp is np else {name: xp.asarray(array) for name, array in batch.items()}


def update(model, run: Run, dataset: Dataset, seed: int, rows) -> dict:
    """One step of training on fragments `rows` of batch number run.step -> losses in nats.

    Raises MinigenError (code 3) where the loss is not a number.
    """
    xp = array_module(run.params.flat)
    batch = dataset.batch(seed, "batch", run.step, rows)
    steps = len(batch["mask"])
    u = uniforms(seed, "voices", run.step, rows, (steps, model.uniforms["voices"])).swapaxes(0, 1)
    loss, grads, trace, _ = model.loss(run.params, on_device(xp, batch), {"voices": xp.asarray(u)})
    if not np.isfinite(float(loss)):
        raise MinigenError(
            f"the loss is not a number at step {run.step}: go on from the best checkpoint (--init) with a lower "
            f"--rate than {run.rate:g}",
            code=3,
        )
    flat, run.moments = adam(run.params.flat, grads.flat, run.moments, run.rate)
    run.params = run.params.with_flat(flat)
    run.step += 1
    return {"loss": float(loss), "voices": float(trace["loss.voices"]), "decoder": float(trace["loss.decoder"])}


def validate(model, params: Params, songs: list, seed: int) -> dict:
    """Losses over whole songs, every step counted once, with the same uniforms each time -> nats a cell."""
    xp = array_module(params.flat)
    sums, total, state = {"loss": 0.0, "voices": 0.0, "decoder": 0.0}, 0, None
    for block, (first, batch) in enumerate(whole_songs(songs, model.config.past, model.config.fragment)):
        T, B = batch["mask"].shape
        u = uniforms(seed, "validation", block, range(B), (T, model.uniforms["voices"])).swapaxes(0, 1)
        state = None if first else state
        batch = on_device(xp, batch)
        loss, _, trace, state = model.loss(params, batch, {"voices": xp.asarray(u)}, state, grad=False)
        count = int(to_host(batch["mask"]).sum())
        for name, value in zip(sums, (loss, trace["loss.voices"], trace["loss.decoder"]), strict=True):
            sums[name] += float(value) * count
        total += count
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
