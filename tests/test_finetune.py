"""Learning while playing: what is trained on, from which state, and what is left alone."""

from itertools import islice

import numpy as np
import pytest
from helpers import PRIMER, fresh, small

from minigen.adam import Moments, adam
from minigen.errors import MinigenError
from minigen.ladder import LADDER
from minigen.run.finetune import Finetune, Played, play_learning
from minigen.run.sample import play, steps_of

RUNGS = [name for name in LADDER if not LADDER[name].needs_classes]


def unlearned(name):
    """Without moments, as of a checkpoint that holds none."""
    return fresh(small(name))._replace(moments=None)


def music(steps, n):
    return np.array([keys for keys, _ in islice(steps, n)])


@pytest.mark.parametrize("primer", [None, PRIMER])
@pytest.mark.parametrize("name", RUNGS)
def test_a_rate_of_0_is_not_learning(name, primer):
    """The same music as without learning, and the same losses before and after: beyond the window's length, too."""
    trained, tune, rates = unlearned(name), Finetune("reset", 0.0, 1, window=12), []

    def seen(params):
        rates.append((params.flat == trained.params.flat).all())
        return {"seen": len(rates)}

    steps = list(islice(play_learning(trained, tune, 3, primer, watch=seen), 20))
    assert (np.array([keys for keys, _ in steps]) == music(play(trained, 3, primer), 20)).all()
    assert all(trace.get("finetune.loss_before") == trace.get("finetune.loss_after") for _, trace in steps)
    assert all(rates) and [trace["seen"] for _, trace in steps] == list(range(1, 21))


@pytest.mark.parametrize("mode", ["reset", "moving"])
def test_a_rate_of_0_changes_no_bit(mode, kernels):
    """What is played, and every number behind it, by the kernels as by the array code."""
    trained = unlearned("pause-loss")
    off = list(islice(play(trained, 3, PRIMER), 20))
    learning = list(islice(play_learning(trained, Finetune(mode, 0.0, 2), 3, PRIMER), 20))
    for (keys, trace), (same, other) in zip(off, learning, strict=True):
        assert (keys == same).all() and all((trace[name] == other[name]).all() for name in trace)


@pytest.mark.parametrize("name", RUNGS)
def test_the_window_runs_from_the_state_stored_at_its_start(name):
    """With the learned weights and the recorded notes it ends in the state in which the piece is."""
    trained = unlearned(name)
    model, params = trained.model, trained.params
    played, keys, rows = Played(model, params, PRIMER, 3, longest=12), PRIMER[-1:], []
    for draws in islice(steps_of(model, 3), 20):
        keys, trace, state = model.step(params, played.states[-1], keys, draws)
        played.add(keys[0], trace, state)
        rows.append(keys[0])
    batch, notes, begun = played.window()
    assert batch["start"] == [16 + 20 - 12] and len(batch["mask"]) == 12 and played.states[-14] is None
    assert (batch["roll"][-12:, 0] == np.array(rows[-12:])).all()
    after = model.loss(params, batch, notes, begun, grad=False)[3]
    for key, array in played.states[-1].items():
        np.testing.assert_allclose(after[key], array, atol=1e-5, err_msg=key)


@pytest.mark.parametrize("mode", ["reset", "moving", "decay"])
@pytest.mark.parametrize("name", ["upgraded", "final"])
def test_every_update_is_the_one_written_down(name, mode):
    """Three steps with two updates each, by hand: from the learned weights and moments, or from the last ones; the step
    is played from the state in which the window ends with the new weights."""
    trained = unlearned(name)
    model, learned = trained.model, trained.params
    learned_moments = Moments(learned.flat * 0, np.full_like(learned.flat, 1e-6), 7)
    tune, seen = Finetune(mode, 1e-3, 2, window=12), []
    steps = play_learning(
        trained._replace(moments=learned_moments), tune, 3, PRIMER, watch=lambda p: seen.append(p.flat) or {}
    )
    played, flat, moments = Played(model, learned, PRIMER, 3, 12), learned.flat, learned_moments
    for n, ((keys, trace), draws) in enumerate(zip(islice(steps, 3), steps_of(model, 3), strict=False)):
        if mode == "reset":
            flat, moments = learned.flat, learned_moments
        batch, notes, begun = played.window()
        for k in range(2):
            fresh = model.draws(3, "finetune", 2 * n + k, [0], 12)
            grads = model.loss(learned.with_flat(flat), batch, fresh, begun)[1]
            flat, moments = adam(flat, grads.flat, moments, 1e-3)
            flat = flat + tune.pull * (learned.flat - flat) if mode == "decay" else flat
        assert (seen[n] == flat).all()
        params = learned.with_flat(flat)
        state = model.loss(params, batch, notes, begun, grad=False)[3]
        same, expected, state = model.step(params, state, played.roll[-1:], draws)
        assert (same == keys).all() and (trace["voices.p"] == expected["voices.p"]).all()
        played.add(keys, trace, state)


@pytest.mark.parametrize("mode", ["reset", "moving", "decay"])
@pytest.mark.parametrize("name", ["simple", "history", "final"])
def test_learning_lowers_the_loss_and_leaves_the_learned_weights_alone(name, mode):
    trained = unlearned(name)
    before = trained.params.flat.copy()
    steps = list(islice(play_learning(trained, Finetune(mode, 1e-3, 3), 0, PRIMER, watch=lambda _: {}), 12))
    assert (trained.params.flat == before).all()
    gained = [trace["finetune.loss_before"] - trace["finetune.loss_after"] for _, trace in steps]
    assert np.mean(gained) > 0
    drifts = [trace["finetune.drift"] for _, trace in steps]
    if mode == "reset":
        assert max(drifts) < 4 * min(drifts)
    else:
        assert drifts[-1] > 2 * drifts[0]
    again = list(islice(play_learning(trained, Finetune(mode, 1e-3, 3), 0, PRIMER), 12))
    assert all((a == b).all() for (a, _), (b, _) in zip(steps, again, strict=True))


def test_decay_stays_nearer_than_moving():
    trained = unlearned("final")
    last = [
        list(islice(play_learning(trained, Finetune(mode, 1e-3, 2, pull=0.2), 0, PRIMER), 20))[-1][1]["finetune.drift"]
        for mode in ("decay", "moving")
    ]
    assert last[0] < 0.7 * last[1]


def test_adam_goes_on_from_the_moments_of_the_checkpoint():
    """At rest moments of another scale give another first step; without any, those of a fresh start are used."""
    without = unlearned("one-shot")
    moments = Moments(without.params.flat * 0, np.full_like(without.params.flat, 1e4), 10)
    known = without._replace(moments=moments)
    drifts = [
        next(play_learning(trained, Finetune("reset", 1e-3), 0, PRIMER))[1]["finetune.drift"]
        for trained in (without, known)
    ]
    assert 0 < drifts[1] < 0.1 * drifts[0]


def test_probabilities_that_are_not_numbers_end_the_piece():
    """Weights that are numbers, but far too large."""
    trained = unlearned("final")
    trained.params.flat[:] = 1e38
    for steps in (play(trained, 0), play_learning(trained, Finetune("reset", 0.0), 0)):
        with pytest.raises(MinigenError, match="NaN") as caught, np.errstate(all="ignore"):
            music(steps, 3)
        assert caught.value.code == 3


@pytest.mark.parametrize("bias, rate", [(np.nan, 1e-4), (0, np.inf)])
def test_weights_that_are_not_numbers_end_the_piece(bias, rate, kernels):
    """Whether they were so, or are made so by the first of several updates."""
    trained = unlearned("final")
    trained.params["head1.b"][0] = bias
    steps = play_learning(trained, Finetune("moving", rate, 2), 0, PRIMER)
    with (
        pytest.raises(MinigenError, match="made weights that are NaN or infinite") as caught,
        np.errstate(all="ignore"),
    ):
        music(steps, 3)
    assert caught.value.code == 3
