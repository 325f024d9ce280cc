"""Playing a trained model: every step hears the one before it, the states are carried, nothing is ever re-read.

The uniforms of step t of a piece are a function of the seed and t, so a piece is the same however it is cut up.
"""

from collections.abc import Iterable, Iterator
from itertools import count, islice, repeat

import numpy as np

from minigen.backend import array_module, kernel, on_device, to_host
from minigen.checkpoint import Trained
from minigen.draws import uniforms
from minigen.errors import MinigenError
from minigen.ops import pitch_classes

BLOCK = 256  # steps whose uniforms are made at once


def prime(model, params, primer, seed: int) -> tuple[dict, np.ndarray, dict]:
    """Hear a primer (n, 88) of 0/1 -> the state before its last step, that step (1, 88) on the host, the trace of all.

    Over the primer the voices' draws are restricted to the truth and kept as their past, and the decoder hears the
    primer's real keys: this is the forward pass of training. No primer: one empty step, before time 0.
    """
    if primer is None:
        return model.rest(params, 1), np.zeros((1, 88), np.uint8), {}
    steps, past = len(primer), model.config.past
    roll = np.zeros((past + steps, 1, 88), np.uint8)
    roll[past:, 0] = primer > 0
    batch = {"roll": roll, "start": np.zeros(1, np.int64), "mask": np.ones((steps, 1), bool)}
    xp, draws = array_module(params.flat), model.draws(seed, "primer", 0, [0], steps)
    _, _, trace, state = model.loss(params, on_device(xp, batch), on_device(xp, draws), grad=False)
    return state, roll[-1], trace


def steps_of(model, seed: int) -> Iterator[dict]:
    """The draws of step 0, 1, 2, ... of a piece: {"voices": (1, V), "decoder": (1, 88)}."""
    sizes = model.draw_sizes()
    ends = np.cumsum(list(sizes.values()))
    for block in count():
        parts = np.split(uniforms(seed, "generate", block, [0], (BLOCK, ends[-1]))[0], ends[:-1], axis=1)
        for t in range(BLOCK):
            yield {name: part[t : t + 1] for name, part in zip(sizes, parts, strict=True)}


def stepper(model, params, state: dict, temperature: float = 1.0):
    """-> step, state_now: step(x, draws) gives keys, trace and whether the probabilities are numbers, and keeps the
    state, which state_now() gives. Compiled where there is a kernel for this rung.

    What a step is given and gives is on the host, its state where the weights are.
    """
    xp = array_module(params.flat)
    fast = kernel("stepper") if xp is np else None
    compiled = fast and fast(model, params, state, temperature)
    if compiled:
        return compiled

    def step(x, draws):
        nonlocal state
        keys, trace, state = model.step(params, state, xp.asarray(x), on_device(xp, draws), temperature)
        trace = {name: to_host(array) for name, array in trace.items()}
        finite = all(np.isfinite(trace[name]).all() for name in ("cells.P", "decoder.p") if name in trace)
        return to_host(keys), trace, finite

    return step, lambda: state


def checked(keys, trace: dict, finite: bool) -> tuple[np.ndarray, dict]:
    """What a step gave, without the last. Raises MinigenError (code 3) where its probabilities are not numbers."""
    if not finite:
        raise MinigenError("the weights give probabilities that are not numbers: use other weights", code=3)
    return keys, trace


def play(
    trained: Trained, seed: int = 0, primer=None, temperature: float = 1.0, given: Iterable[dict] | None = None
) -> Iterator[tuple[np.ndarray, dict]]:
    """Yield the steps after the primer: (keys (88,) of 0/1, trace of that step), for ever or as long as `given` lasts,
    what each step is given beside its uniforms ({"allowed": ..., "inject": ...}, see `steering`).

    A rung that follows (`decoder`) plays the primer's classes instead, and ends with it.
    """
    model = trained.model
    state, keys, _ = prime(model, trained.params, None if model.follows else primer, seed)
    given = repeat({}) if given is None else given
    if model.follows:
        given = ({"classes": pitch_classes(row[None] > 0)} | more for row, more in zip(primer, given, strict=False))
    step, _ = stepper(model, trained.params, state, temperature)
    for draws, more in zip(steps_of(model, seed), given, strict=False):
        keys, trace = checked(*step(keys, draws | more))
        yield keys[0], trace | more


def generate(trained: Trained, bars: int = 16, seed: int = 0, primer=None, temperature: float = 1.0) -> np.ndarray:
    """A piece: the first bar of the primer, if one is given, then `bars` new bars -> (T, 88) of 0/1.

    `decoder` plays the classes of the primer's first `bars` bars, and nothing else.
    Raises MinigenError for bars or a seed that is no whole number, a temperature of 0, a primer that is no roll.
    """
    if not isinstance(trained, Trained):
        raise MinigenError("generate takes a model that minigen.load has read: model = minigen.load(path)")
    if not (isinstance(bars, int) and bars > 0 and isinstance(seed, int) and seed >= 0):
        raise MinigenError(f"bars {bars!r} and seed {seed!r}: give whole numbers, bars from 1 and a seed from 0")
    if not 0 < temperature < float("inf"):
        raise MinigenError(f"a temperature of {temperature!r} cannot be used: give a number over 0, 1 is neutral")
    if primer is not None and (np.ndim(primer) != 2 or np.shape(primer)[1] != 88 or not len(primer)):
        raise MinigenError("the primer is not a roll (steps, 88): give what minigen.read_midi(path) returns")
    bar = trained.model.config.steps_a_bar
    if trained.model.follows and primer is None:
        raise MinigenError(f"{trained.model.name} plays the classes of a primer: give one (--primer FILE.mid)")
    steps = bars * bar
    primer = None if primer is None else np.asarray(primer)[: steps if trained.model.follows else bar] > 0
    music = [keys for keys, _ in islice(play(trained, seed, primer, temperature), steps)]
    head = np.zeros((0, 88), np.uint8) if primer is None or trained.model.follows else primer.astype(np.uint8)
    return np.concatenate([head, np.stack(music)])
