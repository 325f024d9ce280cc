"""Learning while playing (the diary's meta-finetuning, 13/12, 15/12 and 20/12): before each new step the network
trains on what it has played so far, the primer included, and then plays the step.

    reset     back to the learned weights and moments before each step, then n updates
    moving    never back
    decay     moving, and after each update a pull towards the learned weights: w += pull (w0 - w)
              (dynamic evaluation, Krause et al. 2018)

An update is one of training: B = 1, the last `window` steps with their real lags and time, from the state that the
network had when it played the first of them; every prediction inside the window, not the step about to be played;
fresh draws restricted to what was played. Then the window is run once more with the new weights and the notes as they
were drawn, and the step is played from where that ends. Adam goes on from the checkpoint's moments, if it holds them.
The author calls it a parody of meta-learning: the learned weights do not know that they will be finetuned.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import repeat

import numpy as np

from minigen.adam import Moments, adam
from minigen.backend import array_module, kernel, on_device, to_host
from minigen.checkpoint import Trained
from minigen.errors import MinigenError
from minigen.params import Params
from minigen.sample import checked, prime, stepper, steps_of

MODES = ("reset", "moving", "decay")


@dataclass(frozen=True)
class Finetune:
    """How to learn while playing."""

    mode: str = "reset"
    rate: float = 1e-4
    iters: int = 1
    window: int = 256
    pull: float = 0.01  # of `decay`


def loss_of(model, params, batch, draws, state, grad: bool = True):
    """`model.loss` without its trace: loss, gradients (or None), state. By its kernel where there is one."""
    fast = kernel("loss") if array_module(params.flat) is np else None
    found = fast and fast(model, params, batch, draws, state, grad)
    if found:
        return found
    loss, grads, _, after = model.loss(params, batch, draws, state, grad)
    return loss, grads, after


class Played:
    """What has been played, and what the network was like when it played it."""

    def __init__(self, model, params, primer, seed: int, longest: int):
        self.past, self.hears, self.longest = model.config.past, model.hears, longest
        self.roll = np.zeros((self.past, 88), np.uint8)  # the last `longest` steps, and the past of the first of them
        self.notes = np.zeros((0, model.config.voices), np.int64)
        self.xp = array_module(params.flat)  # states live there, what was played on the host
        self.states = [model.rest(params, 1)]  # before each step, ready to hear the one before it
        if primer is not None and len(primer):
            state_now, _, heard = prime(model, params, primer, seed)
            for t, keys in enumerate((np.asarray(primer) > 0).astype(np.uint8)):
                given = {"notes": heard["voices.notes"][t]} if model.hears else {}
                given |= {"keys": self.xp.asarray(keys[None])}
                _, trace, state = model.step(params, self.states[-1], self.xp.asarray(self.roll[-1:]), given)
                self.add(keys, trace, state)
            self.states[-1] = state_now  # to the last bit as without learning

    def __len__(self) -> int:
        return len(self.states) - 1

    def add(self, keys, trace, state) -> None:
        self.roll = np.concatenate([self.roll, keys[None]])[-self.past - self.longest :]
        self.states.append(state)
        if len(self) > self.longest:
            self.states[len(self) - self.longest - 1] = None  # no window reaches back so far
        if self.hears:
            self.notes = np.concatenate([self.notes, to_host(trace["voices.notes"])])[-self.longest :]

    def window(self):
        """The last `longest` steps as a batch of one, their notes as draws, the state before the first."""
        T = min(len(self), self.longest)
        begin = len(self) - T
        notes = {"notes": self.notes[:, None]} if self.hears else {}
        batch = {"roll": self.roll[:, None], "start": np.array([begin]), "mask": np.ones((T, 1), bool)}
        return on_device(self.xp, batch), on_device(self.xp, notes), self.states[begin]


def play_learning(
    trained: Trained,
    tune: Finetune,
    seed: int = 0,
    primer=None,
    temperature: float = 1.0,
    given: Iterable[dict] | None = None,
    watch: Callable[[Params], dict] | None = None,
) -> Iterator[tuple[np.ndarray, dict]]:
    """Yield the steps after the primer, as `play` does: (keys (88,) of 0/1, trace of that step).

    The trace also holds `finetune.after`, the loss on the window with its recorded notes, and `finetune.drift`,
    |w - w0| / |w0|. `watch`, where it is given, is called with the weights that play each step, and what it returns
    joins the trace; so does `finetune.before`, the loss on the same notes before the updates.
    The weights of `trained` are not touched. Raises MinigenError (code 3) where weights are not numbers.
    """
    model, learned = trained.model, trained.params
    if model.follows:
        raise MinigenError(f"{model.name} plays what it is given: let a model that makes up music learn while playing")
    rested = trained.moments or Moments.of(learned.flat)
    params, moments = learned, rested
    played = Played(model, learned, primer, seed, tune.window)
    norm = played.xp.linalg.norm
    size = norm(learned.flat)
    for n, (draws, more) in enumerate(zip(steps_of(model, seed), repeat({}) if given is None else given, strict=False)):
        state, found = played.states[-1], {}
        if len(played):
            if tune.mode == "reset":
                params, moments = learned, rested
            batch, notes, begun = played.window()
            if watch:
                found["finetune.before"] = float(loss_of(model, params, batch, notes, begun, grad=False)[0])
            for k in range(tune.iters):
                fresh = model.draws(seed, "finetune", n * tune.iters + k, [0], len(batch["mask"]))
                _, grads, _ = loss_of(model, params, batch, on_device(played.xp, fresh), begun)
                flat, moments = adam(params.flat, grads.flat, moments, tune.rate)
                if tune.mode == "decay":
                    flat = flat + tune.pull * (learned.flat - flat)
                if not played.xp.isfinite(flat).all():
                    raise MinigenError("learning while playing has made weights that are not numbers: use a lower "
                                       "rate", code=3)  # fmt: skip
                params = params.with_flat(flat)
            after, _, run_again = loss_of(model, params, batch, notes, begun, grad=False)
            moved = params.flat - learned.flat
            drift = float(norm(moved) / size)
            if moved.any():  # else the state is what it was, to the last bit
                state = run_again
            found |= {"finetune.after": float(after), "finetune.drift": drift}
        step, state_now = stepper(model, params, state, temperature)
        keys, trace = checked(*step(played.roll[-1:], draws | more))
        played.add(keys[0], trace, state_now())
        yield keys[0], trace | more | found | (watch(params) if watch else {})
