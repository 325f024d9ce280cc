"""The running of a training: the falling rate, validation, what stops it."""

import numpy as np
import pytest
from helpers import draws_of, run_of, small, songs_of

from minigen.adam import averaged
from minigen.errors import MinigenError
from minigen.ladder import LADDER
from minigen.music.baseline import cells_of
from minigen.music.dataset import Dataset
from minigen.run import checkpoint
from minigen.run.folder import Folder
from minigen.run.ranks import Ranks
from minigen.run.train import COUNTERS, Run, judge, rate_at, update, validate

rungs = pytest.mark.parametrize("name", LADDER)


def test_the_rate_falls_where_nothing_improves():
    run = run_of(small("final"))
    verdicts = []
    for step, loss in enumerate([3, 2, 2.5, 2.1, 2.2, 1, 1, 1, 1, 1, 1], start=1):
        run.step = step
        verdicts.append((judge(run, loss, patience=3), round(run.rate, 6)))
    assert verdicts == [
        *[("best", 0.01), ("best", 0.01), ("", 0.01), ("", 0.01), ("lowered", 0.003), ("best", 0.003)],
        *[("", 0.003), ("", 0.003), ("lowered", 0.0009), ("", 0.0009), ("", 0.0009)],
    ]
    assert (run.best, run.best_step, run.fell_at) == (1, 6, 9)
    run.rate, run.step = 1.1e-5, 20
    assert judge(run, 5, 3) == "lowered" and run.rate == 1e-5
    run.step = 22
    assert judge(run, 5, 3) == ""
    run.step = 23
    assert judge(run, 5, 3) == "over"


def test_the_files_of_a_run_hold_the_weights_that_their_names_say(tmp_path):
    """The steps at which judged.npz, best.npz and last.npz were saved; step 3 ended a run and was not judged."""
    run = run_of(small("final"))
    folder = Folder(tmp_path, small("final"), run, {}, {}, None, Ranks())
    saved = []
    for run.step, loss, verdict in [(1, 3, "best"), (2, 4, ""), (3, 1, ""), (4, 2, "best"), (5, 2, "")]:
        run.rows.append({"step": run.step, "valid_loss": loss})
        folder.save_all(verdict)
        files = (checkpoint.load(tmp_path / f"{name}.npz") for name in ("judged", "best", "last"))
        saved.append(tuple(file.header["training"]["step"] for file in files))
    assert saved == [(1, 1, 1), (1, 1, 2), (1, 3, 3), (4, 3, 4), (4, 3, 5)]


@rungs
def test_validation_is_the_mean_over_every_step_of_whole_songs(name):
    """Cut into chunks of 256 with carried states, songs of several lengths: as each song alone in one piece."""
    model, songs = small(name), songs_of(700, 300, 16)
    params, past = model.init(1, np.float64), model.config.past
    found = validate(model, params, songs, seed=3)
    # the notes drawn depend on how songs lie side by side: the decoder's loss does not
    total = 0.0
    for song in songs:
        T = len(song)
        roll = np.concatenate([np.zeros((past, 88), np.uint8), song])[:, None]
        batch = {"roll": roll, "start": np.zeros(1, np.int64), "mask": np.ones((T, 1), bool)}
        trace = model.loss(params, batch, draws_of(model, T, 1), grad=False)[2]
        total += trace["loss.decoder" if model.config.keys == 12 else "loss.cells"] * T
    part = "decoder" if model.config.keys == 12 else "cells"
    assert found[part] == pytest.approx(total / sum(map(len, songs)), rel=1e-9) or model.conditional and part == "cells"
    assert found["loss"] == pytest.approx(found.get("cells", 0) + found.get("decoder", 0))
    assert found == validate(model, params, songs, seed=3)


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow) if name == "banning" else name for name in LADDER]
)
def test_one_fragment_is_learned_by_heart(name):
    """The same fragment again and again: the loss falls below 5% of the frequencies of its own cells."""
    sizes = {"hidden": 60, "capsule": 12, "decoder_hidden": 40}
    sizes |= {"voice_hidden": 20} if LADDER[name].config.voice_hidden else {}
    model, song = small(name, **sizes), songs_of(24)[0]
    if model.bans:  # a ban takes a voice away from a chord, so chords are learned slowly
        song = (np.random.default_rng(0).random((24, 88)) < 0.008).astype(np.uint8)
    run, data = run_of(model), Dataset([song], model.config.past, 24, 24, False)
    if model.needs_classes:
        floor = 0.05 * update(model, run, data, 0, range(1))["decoder"]
    else:
        cells = cells_of(song, model.config.keys, model.config.loss == "pause")
        share = cells.mean(axis=0).clip(1e-9, 1 - 1e-9)
        floor = 0.05 * -np.mean(share * np.log(share) + (1 - share) * np.log(1 - share))
    for _ in range(800 if model.bans else 500):
        found = update(model, run, data, 0, range(1))
        if found.get("cells", found.get("decoder")) < floor:
            break
    assert found.get("cells", found.get("decoder")) < floor
    assert run.step == run.moments.step


@rungs
def test_a_run_that_was_saved_goes_on_as_if_it_had_not_been(name, tmp_path):
    """Three steps, or two and one from the checkpoint's weights, moments and counters: the same to the last bit."""
    model = small(name)
    data = Dataset(songs_of(40), model.config.past, 24, 8, model.config.key_shift)
    whole, cut = run_of(model), run_of(model)
    for _ in range(3):
        update(model, whole, data, 0, range(2))
    for _ in range(2):
        update(model, cut, data, 0, range(2))
    checkpoint.save(tmp_path / "cut.npz", model, cut.params, cut.moments, training=cut.counters())
    loaded = checkpoint.load(tmp_path / "cut.npz")
    counters = loaded.header["training"]
    cut = Run(loaded.params, loaded.moments, **{name: counters[name] for name in (*COUNTERS, "mean")})
    update(loaded.model, cut, data, 0, range(2))
    assert (cut.params.flat == whole.params.flat).all() and cut.counters() == whole.counters()


def test_numbers_that_blow_up_end_the_run_before_they_reach_the_weights():
    model = small("final")
    run, data = run_of(model), Dataset(songs_of(32), model.config.past, 32, 32, False)
    run.params["head3.b"][4] = np.nan
    before = run.params.flat.copy()
    with pytest.raises(MinigenError, match="NaN or infinite") as caught, np.errstate(all="ignore"):
        update(model, run, data, 0, range(2))
    assert caught.value.code == 3 and run.step == run.moments.step == 0
    assert np.array_equal(run.params.flat, before, equal_nan=True) and not run.moments.m.any()
    with pytest.raises(MinigenError, match="held-out songs is NaN"), np.errstate(all="ignore"):
        validate(model, run.params, songs_of(32), 0)


def test_the_rate_of_a_linear_schedule():
    """Up over 50 steps, then down to 0 in a straight line; or as it is for a share of the steps."""
    assert [rate_at(1, step, 0) for step in (0, 24, 49, 99)] == pytest.approx([0.02, 0.5, 1, 1])
    assert [rate_at(1, 100, done) for done in (0, 0.5, 1)] == pytest.approx([1, 0.5, 0])
    assert [rate_at(1, 100, done, flat=0.75, warm=1) for done in (0, 0.7, 0.875, 1)] == pytest.approx([1, 1, 0.5, 0])


def test_what_plays_is_a_running_mean_of_the_weights():
    model, songs = small("simple", fragment=16), songs_of(40)
    run, data = run_of(model), Dataset.of(songs, model.config)
    mean = run.params.flat.copy()
    for n in range(4):
        update(model, run, data, 0, range(2))
        mean += (1 - (1 + n) / (10 + n)) * (run.params.flat - mean)
        np.testing.assert_allclose(run.average.flat, mean, rtol=1e-5, atol=1e-8)
    assert (averaged(mean, mean + 1, 0, np.bool_(False)) == mean).all()
