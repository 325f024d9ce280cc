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
from minigen.backend import array_module, on_device, to_host, whole
from minigen.errors import MinigenError
from minigen.ops import NO_END
from minigen.params import Params
from minigen.run.checkpoint import Trained
from minigen.run.sample import checked, player, prime, steps_of

MODES = ("reset", "moving", "decay")


@dataclass(frozen=True)
class Finetune:
    """How to learn while playing."""

    mode: str = "reset"
    rate: float = 1e-4
    iters: int = 1
    window: int = 256
    pull: float = 0.01  # of `decay`


@np.errstate(all="ignore")  # a weight or a probability that is not finite is said
def loss_of(model, params, batch, given, state, grad: bool = True):
    """`model.loss` without its trace: loss, gradients (or None), state; with `--kernels whole` by a copy of it."""
    copy = whole("loss", model, params, state)
    if copy and "voices.allowed" not in given and batch["mask"].all():
        return copy(model, params, batch, given, state, grad)
    loss, grads, _, new_state = model.loss(params, batch, given, state, grad)
    return loss, grads, new_state


class Played:
    """What has been played, and what the network was like when it played it."""

    @np.errstate(all="ignore")
    def __init__(self, model, params, primer, seed: int, longest: int, end: int = NO_END):
        self.past, self.conditional, self.longest = model.config.past, model.conditional, longest
        self.roll = np.zeros((self.past, 88), np.uint8)  # the last `longest` steps, and the past of the first of them
        self.notes = np.zeros((model.config.voices, 0), np.int64)
        self.xp = array_module(params.flat)  # states live there, what was played on the host
        self.end = np.full(1, end)
        self.states = [model.initial_state(params, 1, end)]  # before each step, ready to read the one before it
        if primer is not None and len(primer):
            primed_state, _, primed = prime(model, params, primer, seed, end)
            for t, keys in enumerate((np.asarray(primer) > 0).astype(np.uint8)):
                given = {"voices.notes": primed["voices.notes"][:, t]} if model.conditional else {}
                given |= {"keys": self.xp.asarray(keys[None])}
                _, trace, state = model.step(params, self.states[-1], self.xp.asarray(self.roll[-1:]), given)
                self.add(keys, trace, state)
            self.states[-1] = primed_state  # to the last bit as without learning

    def __len__(self) -> int:
        return len(self.states) - 1

    def add(self, keys, trace, state) -> None:
        self.roll = np.concatenate([self.roll, keys[None]])[-self.past - self.longest :]
        self.states.append(state)
        if len(self) > self.longest:
            self.states[len(self) - self.longest - 1] = None  # no window reaches back so far
        if self.conditional:
            self.notes = np.concatenate([self.notes, to_host(trace["voices.notes"])], axis=1)[:, -self.longest :]

    def window(self):
        """The last `longest` steps as a batch of one, their notes to be played again, the state before the first."""
        T = min(len(self), self.longest)
        begin = len(self) - T
        notes = {"voices.notes": self.notes[..., None]} if self.conditional else {}
        batch = {"roll": self.roll[:, None], "start": np.array([begin]), "mask": np.ones((T, 1), bool)}
        batch["end"] = self.end
        return on_device(self.xp, batch), on_device(self.xp, notes), self.states[begin]


def play_learning(
    trained: Trained,
    tune: Finetune,
    seed: int = 0,
    primer=None,
    temperature: float = 1.0,
    extra: Iterable[dict] | None = None,
    watch: Callable[[Params], dict] | None = None,
    end: int = NO_END,
) -> Iterator[tuple[np.ndarray, dict]]:
    """Yield the steps after the primer, as `play` does: (keys (88,) of 0/1, trace of that step).

    The trace also holds `finetune.loss_after`, the loss on the window with its recorded notes, and `finetune.drift`,
    |w - w0| / |w0|. `watch`, where it is given, is called with the weights that play each step, and what it returns
    joins the trace; so does `finetune.loss_before`, the loss on the same notes before the updates.
    The weights of `trained` are not touched. Raises MinigenError (code 3) where a weight is NaN.
    """
    model, learned = trained.model, trained.params
    if model.needs_classes:
        raise MinigenError(f"{model.name} plays what it is given: let a model that makes up music learn while playing")
    learned_moments = trained.moments or Moments.of(learned.flat)
    params, moments = learned, learned_moments
    played = Played(model, learned, primer, seed, tune.window, end)
    norm = np.errstate(all="ignore")(played.xp.linalg.norm)
    size = norm(learned.flat)
    for n, (given, more) in enumerate(zip(steps_of(model, seed), repeat({}) if extra is None else extra, strict=False)):
        state, found = played.states[-1], {}
        if len(played):
            if tune.mode == "reset":
                params, moments = learned, learned_moments
            batch, notes, first_state = played.window()
            if watch:
                found["finetune.loss_before"] = float(loss_of(model, params, batch, notes, first_state, grad=False)[0])
            for k in range(tune.iters):
                fresh = model.draws(seed, "finetune", n * tune.iters + k, [0], len(batch["mask"]))
                _, grads, _ = loss_of(model, params, batch, on_device(played.xp, fresh), first_state)
                flat, moments = adam(params.flat, grads.flat, moments, tune.rate)
                if tune.mode == "decay":
                    flat = flat + tune.pull * (learned.flat - flat)
                if not played.xp.isfinite(flat).all():
                    raise MinigenError(
                        "learning while playing has made weights that are NaN or infinite: use a lower rate", code=3
                    )
                params = params.with_flat(flat)
            loss_after, _, run_again = loss_of(model, params, batch, notes, first_state, grad=False)
            moved = params.flat - learned.flat
            drift = float(norm(moved) / size)
            if moved.any():  # else the state is what it was, to the last bit
                state = run_again
            found |= {"finetune.loss_after": float(loss_after), "finetune.drift": drift}
        playing = player(model, params, state, temperature)
        keys, trace = checked(playing, played.roll[-1:], given | more)
        played.add(keys[0], trace, playing.state)
        yield keys[0], trace | more | found | (watch(params) if watch else {})
