"""The inputs of the next step, made in a thread: the same weights, errors where they are taken, no thread left."""

import _thread
import threading
import time

import numpy as np
import pytest
from helpers import run_of, small, songs_of

from minigen.errors import MinigenError
from minigen.music.dataset import Dataset
from minigen.run.ahead import Ahead
from minigen.run.meta import Meta
from minigen.run.train import NotFinite, ahead_of, inputs_of, learn, update, update_on


def in_pool(thread) -> bool:
    return thread.name.startswith("ThreadPoolExecutor")


def ended() -> bool:
    return not any(map(in_pool, threading.enumerate()))


@pytest.mark.parametrize("rows", [range(4), range(1, 4)])  # all of a batch, the share of a rank
@pytest.mark.parametrize("name, meta", [("ordered", None), ("pause-loss", None), ("simple", Meta(1, 0.1))])
def test_the_weights_are_those_of_inputs_that_are_made_when_they_are_needed(name, meta, rows):
    """Two steps, one more by a run that is resumed."""
    steps = 80 if meta else 16
    model = small(name, fragment=steps, hop=8)
    data, plain = Dataset.of(songs_of(90, 40), model.config), run_of(model)
    for _ in range(3):
        update(model, plain, data, 5, rows, meta)
    run = run_of(model)
    for n in (2, 1):
        with Ahead(lambda step: inputs_of(model, data, 5, step, rows, meta), thread=True) as ahead:
            for _ in range(n):
                update_on(ahead.take(run.step), model, run, meta)
    assert (run.params.flat == plain.params.flat).all() and run.counters() == plain.counters()


def test_learning_where_the_weights_are_on_a_gpu_makes_inputs_ahead(cupy, monkeypatch):
    """And nowhere else; a step that was not finite is taken again."""
    places, made = set(), inputs_of

    def watched(*args):
        places.add(in_pool(threading.current_thread()))
        return made(*args)

    monkeypatch.setattr("minigen.run.train.inputs_of", watched)
    model = small("pause-loss", fragment=16, hop=8)
    data, runs = Dataset.of(songs_of(60), model.config), (run_of(model), run_of(model, xp=cupy))
    for run, ahead in zip(runs, (False, True), strict=True):
        places.clear()
        learn(model, data, 5, 2, 0.01, steps=7, run=run)
        assert places == {ahead} and ended()
    here, there = runs
    assert (here.params.flat == there.params.flat.get()).all()
    kept, there.params = there.params, there.params.with_flat(there.params.flat * float("nan"))
    with ahead_of(model, there, data, 5, range(2)) as ahead, np.errstate(all="ignore"):
        for _ in range(3):
            update_on(ahead.take(there.step), model, there)
        with pytest.raises(NotFinite):
            there.read()
        assert there.step == 7
        there.params = kept
        update_on(ahead.take(there.step), model, there)
    update(model, here, data, 5, range(2))
    assert (here.params.flat == there.params.flat.get()).all() and here.read() == there.read()


@pytest.mark.parametrize("thread", [True, False])
def test_an_error_comes_out_where_the_inputs_are_taken(thread):
    def make(step):
        if step == 2:
            raise MinigenError(f"no inputs for step {step}", code=3)
        return step

    with pytest.raises(MinigenError, match="no inputs for step 2") as caught, Ahead(make, thread) as ahead:
        assert ahead.take(0) == 0
        assert ahead.take(1) == 1
        ahead.take(2)
    assert caught.value.code == 3 and ended()


def test_one_further_step_is_made_and_any_step_can_be_taken():
    made = []
    with Ahead(lambda step: made.append(step) or step, thread=True) as ahead:
        assert [ahead.take(step) for step in (0, 1, 2, 1, 2, 7)] == [0, 1, 2, 1, 2, 7]
    assert made in ([0, 1, 2, 3, 1, 2, 3, 7], [0, 1, 2, 3, 1, 2, 3, 7, 8]) and ended()


@pytest.mark.parametrize("thread", [True, False])
def test_what_is_waited_for_is_counted(thread):
    with Ahead(lambda step: time.sleep(0.2), thread) as ahead:
        for step in range(3):
            ahead.take(step)
            time.sleep(0.5)  # the step
    assert (0.2 if thread else 0.6) <= ahead.waited < (0.5 if thread else 1.0)


def test_a_signal_ends_it_while_it_waits():
    """As the second Ctrl-C of a training does: the thread ends with the inputs that it is making."""
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt), Ahead(lambda step: time.sleep(0.5), thread=True) as ahead:
        threading.Timer(0.2, _thread.interrupt_main).start()
        ahead.take(0)
    assert 0.2 <= time.monotonic() - began < 5 and ended()
