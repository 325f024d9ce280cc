"""The compiled copies of the whole step and the whole loss (kernels/whole): held to the array code."""

from dataclasses import replace
from itertools import islice

import numpy as np
import pytest
from helpers import PRIMER, close, draws_of
from test_kernels import BOUND, CORES, dtypes

from minigen.backend import whole
from minigen.kernels import use_kernels
from minigen.kernels.cpu import use_threads
from minigen.kernels.whole import loss, step
from minigen.ladder import LADDER, Final, PauseLoss
from minigen.params import Params
from minigen.run.checkpoint import Trained
from minigen.run.finetune import Finetune, play_learning

pytestmark = pytest.mark.usefixtures("compiled")
COPIED = {
    "final": LADDER["final"](),
    "pause-loss": LADDER["pause-loss"](),
    "three voices, other lags": LADDER["final"](
        replace(LADDER["final"].config, voices=3, lags=(1, 5), time_bits=3, hidden=22, voice_hidden=9)
    ),
}


@dtypes
@pytest.mark.parametrize("name", COPIED)
def test_playing(name, dtype):
    """The compiled step against `step`, from the same keys; steered, and with keys that sound beside it."""
    model, rng = COPIED[name], np.random.default_rng(0)
    V, state = model.config.voices, model.initial_state(model.init(0), 1)
    params, state["time"] = model.init(3, dtype), np.array([77])
    state |= {
        key: rng.normal(size=array.shape).astype(dtype) for key, array in state.items() if array.dtype.kind == "f"
    }
    playing, keys = step.Player(model, params, state, 0.8), np.zeros((1, 88), np.uint8)
    for t in range(150):
        draws = {part: rng.random(shape, np.float32) for part, shape in model.draw_shapes(1).items()}
        if t > 50:
            draws["voices.allowed"] = rng.random((V, 1, 13)) < 0.5
            draws["voices.allowed"][..., 12] = True
        if t > 100:
            draws["inject"] = (rng.random((1, 88)) < 0.03).astype(np.uint8)
            draws["voices.allowed"][0, 0] = np.arange(13) == t % 12  # the first voice must play
        ours, trace, finite = playing.step(keys, draws)
        theirs, expected, state = model.step(params, state, keys, draws, 0.8)
        assert finite and (ours == theirs).all() and ours.dtype == theirs.dtype
        assert t <= 100 or trace["voices.notes"][0, 0] == t % 12
        close(trace, expected, 10 * BOUND[dtype])
        keys = theirs
    close(playing.state, state, 10 * BOUND[dtype])


class Uncleared(Params):
    """Weights whose gradients are given room that holds NaN."""

    def with_flat(self, flat):
        return Params(self.shapes, np.full_like(flat, np.nan))


@dtypes
@pytest.mark.parametrize("threads, T", [(1, 70), (CORES, 70), (CORES, 1)])
@pytest.mark.parametrize("name", [*COPIED, "one voice"])
def test_learning(name, dtype, threads, T, monkeypatch):
    """The loss on one song and its gradients against `loss`, from a state and a time, notes drawn and given."""
    one = replace(LADDER["final"].config, voices=1, loss="plain", hidden=7, voice_hidden=5, decoder_hidden=9)
    model, rng = COPIED.get(name) or LADDER["final"](one), np.random.default_rng(0)
    use_threads(threads)
    monkeypatch.setattr("minigen.kernels.cpu.threads.SMALL", 0)
    monkeypatch.setattr("minigen.kernels.cpu.lstm.ROWS", 32)  # a chunk is shorter than the song
    params = model.init(3, dtype)
    roll = (rng.random((model.config.past + T, 1, 88)) < 0.03).astype(np.uint8)
    batch = {"roll": roll, "start": np.array([77]), "mask": np.ones((T, 1), bool)}
    state = {
        key: rng.normal(size=array.shape).astype(dtype) * 0.3 if array.dtype.kind == "f" else array
        for key, array in model.initial_state(params, 1).items()
    }
    draws = draws_of(model, T, 1)
    for _ in range(2):
        value, grads, trace, after = model.loss(params, batch, draws, state)
        ours, our_grads, our_after = loss.loss(model, Uncleared(params.shapes, params.flat), batch, draws, state)
        assert np.abs(ours - value) <= BOUND[dtype] * value and ours.dtype == dtype
        close(our_grads.views, grads.views, 3 * BOUND[dtype])
        close(our_after, after, BOUND[dtype])
        again, none, _ = loss.loss(model, params, batch, draws, state, grad=False)
        assert again == ours and none is None
        draws = {"voices.notes": trace["voices.notes"]}


def test_learning_while_playing_is_that_of_the_layers():
    """Notes, losses and drift of 20 steps, by the copy and by the layers' kernels."""
    model = COPIED["three voices, other lags"]
    trained, made = Trained(model, model.init(1), {}, None), {}
    for choice in ("whole", "fast"):
        use_kernels(choice, 1)
        steps = islice(play_learning(trained, Finetune("moving", 1e-3, 1, 16), 5, PRIMER), 20)
        made[choice] = [(keys, trace["finetune.loss_after"], trace["finetune.drift"]) for keys, trace in steps]
    for (keys, *numbers), (expected, *others) in zip(*made.values(), strict=True):
        assert (keys == expected).all()
        np.testing.assert_allclose(numbers, others, rtol=1e-4)


def test_a_long_piece_is_played_past_the_end_of_the_buffer():
    """Its arrays are made for 256 steps; what lags read is moved on, and what was given out stays as it was."""
    model = COPIED["three voices, other lags"]
    params = model.init(0)
    state, keys = model.initial_state(params, 1), np.zeros((1, 88), np.uint8)
    playing, rng = step.Player(model, params, state, 1.0), np.random.default_rng(0)
    made = []
    for _ in range(600):
        draws = {part: rng.random(shape, np.float32) for part, shape in model.draw_shapes(1).items()}
        made.append(playing.step(keys, draws)[0])
        keys, _, state = model.step(params, state, keys, draws)
        assert (made[-1] == keys).all()
        made[-1] = made[-1], keys
    assert all((ours == theirs).all() for ours, theirs in made)


class Heir(Final):
    """A subclass may be another model, whatever it overrides."""


def test_it_runs_when_asked_for_by_name_and_for_these_two_models_alone():
    def found(model, name="Player", streams=1):
        params = model.init(0)
        return whole(name, model, params, model.initial_state(params, streams))

    others = [rung() for rung in LADDER.values() if rung not in (Final, PauseLoss)]
    others += [Heir(), Final(replace(Final.config, keys=88)), Final(replace(Final.config, voice_hidden=0))]
    for choice in ("reference", "fast", "auto"):
        use_kernels(choice, 1)
        assert not any(found(model) for model in (Final(), PauseLoss()))
    use_kernels("whole", 1)
    assert found(Final()) is step.Player and found(PauseLoss(), "loss") is loss.loss
    assert not any(found(model, name) for model in others for name in ("Player", "loss"))
    assert not found(Final(), streams=2)
