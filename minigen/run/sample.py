"""Playing a trained model: every step reads the one before it, the states are carried, nothing is ever read again.

The uniforms of step t of a piece are a function of the seed and t, so a piece is the same however it is cut up.
"""

from collections.abc import Iterable, Iterator
from itertools import count, islice, repeat

import numpy as np

from minigen.backend import array_module, on_device, to_host, whole
from minigen.draws import uniforms
from minigen.errors import MinigenError
from minigen.music.dataset import opening, trim
from minigen.music.midi_out import ringing
from minigen.ops import NO_END, pitch_classes
from minigen.run.checkpoint import Trained
from minigen.sustain import empty_state, sustain_step

BLOCK = 256  # steps whose uniforms are made at once


@np.errstate(all="ignore")  # the first step says what is not finite
def prime(model, params, primer, seed: int, end: int = NO_END) -> tuple[dict, np.ndarray, dict]:
    """Read a primer (n, 88) of 0/1 -> the state before its last step, that step (1, 88) on the host, the trace of all.

    Over the primer the voices' draws are restricted to the truth and kept as their past, and the decoder reads the
    primer's real keys: this is the forward pass of training. No primer: one empty step, before time 0. `end`: the time
    at which the piece is to end, for a rung that is told.
    """
    if primer is None:
        return model.initial_state(params, 1, end), np.zeros((1, 88), np.uint8), {}
    steps, past = len(primer), model.config.past
    roll = np.zeros((past + steps, 1, 88), np.uint8)
    roll[past:, 0] = primer > 0
    batch = {"roll": roll, "start": np.zeros(1, np.int64), "mask": np.ones((steps, 1), bool)}
    batch["end"] = np.full(1, end)
    xp, draws = array_module(params.flat), model.draws(seed, "primer", 0, [0], steps)
    _, _, trace, state = model.loss(params, on_device(xp, batch), on_device(xp, draws), grad=False)
    return state, roll[-1], trace


def steps_of(model, seed: int) -> Iterator[dict]:
    """The uniforms of step 0, 1, 2, ... of a piece: {"voices.u": (V, 1), "decoder.u": (1, 88)}."""
    shapes = model.draw_shapes(1)
    ends = np.cumsum([np.prod(shape) for shape in shapes.values()])
    for block in count():
        parts = np.split(uniforms(seed, "generate", block, [0], (BLOCK, ends[-1]))[0], ends[:-1], axis=1)
        for t in range(BLOCK):
            yield {name: part[t].reshape(shape) for (name, shape), part in zip(shapes.items(), parts, strict=True)}


class Player:
    """A model that plays step after step and keeps its state, which is where the weights are; all else on the host.

    By the array code, and the kernels of its layers where they are installed; with `--kernels whole` by a copy of the
    whole step.
    """

    def __init__(self, model, params, state: dict, temperature: float = 1.0):
        self.model, self.params, self.state, self.temperature = model, params, state, temperature

    def step(self, x, given: dict) -> tuple[np.ndarray, dict, bool]:
        """x (1, 88), the step before -> keys (1, 88), the trace of this step, whether its probabilities are finite."""
        xp = array_module(self.params.flat)
        arrays = xp.asarray(x), on_device(xp, given)
        keys, trace, self.state = self.model.step(self.params, self.state, *arrays, self.temperature)
        trace = {name: to_host(array) for name, array in trace.items()}
        finite = all(np.isfinite(trace[name]).all() for name in ("cells.P", "decoder.p") if name in trace)
        return to_host(keys), trace, finite


@np.errstate(all="ignore")  # what is not finite is said
def checked(playing: Player, x, given: dict) -> tuple[np.ndarray, dict]:
    """The keys and the trace of a step. Raises MinigenError (code 3) where a probability is NaN."""
    keys, trace, finite = playing.step(x, given)
    if not finite:
        raise MinigenError("the weights give probabilities that are NaN: use other weights", code=3)
    return keys, trace


def player(model, params, state: dict, temperature: float = 1.0) -> Player:
    """What plays: the copy of the whole step where it was asked for and is of this model, else `Player`."""
    copy = whole("Player", model, params, state)
    return (copy or Player)(model, params, state, temperature)


def play(
    trained: Trained,
    seed: int = 0,
    primer=None,
    temperature: float = 1.0,
    extra: Iterable[dict] | None = None,
    end: int = NO_END,
) -> Iterator[tuple[np.ndarray, dict]]:
    """Yield the steps after the primer: (keys (88,) of 0/1, trace of that step), for ever or as long as `extra` lasts,
    what each step is given beside its uniforms ({"voices.allowed": ..., "inject": ...}, see music/steering.py). A rung
    with `end_bits` works towards the time `end`, in steps from the primer's beginning.

    A rung that needs classes (`decoder`) plays the primer's instead, and ends with it.
    """
    model = trained.model
    state, keys, _ = prime(model, trained.params, None if model.needs_classes else primer, seed, end)
    extra = repeat({}) if extra is None else extra
    if model.needs_classes:
        extra = ({"classes": pitch_classes(row[None] > 0)} | more for row, more in zip(primer, extra, strict=False))
    playing = player(model, trained.params, state, temperature)
    for given, more in zip(steps_of(model, seed), extra, strict=False):
        keys, trace = checked(playing, keys, given | more)
        yield keys[0], trace | more


@np.errstate(all="ignore")
def sounding_of(trained: Trained, roll, seed: int, primer_sounding=None, held=None) -> np.ndarray:
    """What sounds in a piece (T, 88) -> (T, 88) bool, by the sustain decoder; where there is none, notes ring until the
    next strike. primer_sounding (n, 88): what sounds in its first n steps; held (T, 88): notes of a melody that is
    given, as long as they sound. The draws have a purpose of their own."""
    model, params, T = trained.model, trained.params, len(roll)
    if not model.config.sustain:
        return ringing(roll)
    xp, dtype, state = array_module(params.flat), params.dtype, empty_state(params, 1)
    struck = xp.asarray((np.asarray(roll) > 0)[:, None, None], dtype)
    bits, before, rows = model.decoder_bits(xp.zeros(1, "int64"), T, dtype), xp.zeros((1, 1, 88), dtype), []
    u = [uniforms(seed, "sustain", block, [0], (BLOCK, 88))[0] for block in range(-(-T // BLOCK))]
    u = xp.asarray(np.concatenate([np.zeros((0, 88), np.float32), *u])[:, None, None])
    for t in range(T):
        given = held[t - 1] & ~(roll[t] > 0) if held is not None and t else np.zeros(88, bool)
        before, state = sustain_step(params, struck[t], before, bits[t : t + 1], state, u[t])
        if primer_sounding is not None and t < len(primer_sounding):
            before = xp.asarray(primer_sounding[t][None, None] > 0, dtype)
        elif given.any():
            before = xp.where(xp.asarray(given), xp.asarray(held[t], dtype), before)
        rows.append(before)
    return to_host(xp.concatenate(rows)[:, 0]) > 0 if rows else np.zeros((0, 88), bool)


def begin(model, primer, bars: int, primer_bars: int = 1) -> tuple[np.ndarray | None, np.ndarray]:
    """Of a primer (n, 88) or None: what `play` takes, and what stands at the beginning of the piece (0 steps or more).

    The first `primer_bars` bars, an upbeat counted with its bar; `decoder` takes all `bars`, and plays them itself.
    Raises MinigenError where the model needs a primer and has none.
    """
    if model.needs_classes and primer is None:
        raise MinigenError(f"{model.name} plays the classes of a primer: give one (--primer FILE.mid)")
    nothing = np.zeros((0, 88), np.uint8)
    if primer is None:
        return None, nothing
    bar = model.config.bar
    if model.needs_classes:
        return trim(primer, bar)[: bars * bar] > 0, nothing
    first = (opening(primer, primer_bars, bar) > 0).astype(np.uint8)
    return first, first


def generate(
    trained: Trained, bars: int = 16, seed: int = 0, primer=None, temperature: float = 1.0, primer_bars: int = 1
) -> np.ndarray:
    """A piece: the first bars of the primer, if one is given, then `bars` new bars -> (T, 88) of 0/1.

    `decoder` plays the classes of the primer's first `bars` bars, and nothing else.
    Raises MinigenError for bars or a seed that is no whole number, a temperature of 0, a primer that is no roll.
    """
    if not isinstance(trained, Trained):
        raise MinigenError("generate takes a model that minigen.load has read: model = minigen.load(path)")
    for name, value, least in (("bars", bars, 1), ("primer_bars", primer_bars, 1), ("seed", seed, 0)):
        if not (isinstance(value, int) and value >= least):
            raise MinigenError(f"{name} {value!r}: give a whole number from {least}")
    if not 0 < temperature < float("inf"):
        raise MinigenError(f"a temperature of {temperature!r} cannot be used: give a number over 0, 1 is neutral")
    if primer is not None and (np.ndim(primer) != 2 or np.shape(primer)[1] != 88 or not len(primer)):
        raise MinigenError("the primer is not a roll (steps, 88): give what minigen.read_midi(path) returns")
    primer, head = begin(trained.model, None if primer is None else np.asarray(primer), bars, primer_bars)
    steps = bars * trained.model.config.bar
    music = [keys for keys, _ in islice(play(trained, seed, primer, temperature, end=len(head) + steps), steps)]
    return np.concatenate([head, np.stack(music)])
