"""Ordered voices: their draws are what they claim, on few keys by enumeration; quiet start, ends, lengths, melodies."""

from itertools import chain, combinations

import numpy as np
import pytest
from helpers import SONGS, close, fresh, small, songs_of
from scipy.stats import chisquare

import minigen
from minigen.errors import MinigenError
from minigen.gradcheck import toy_batch
from minigen.music.dataset import Dataset, trim, whole_songs
from minigen.music.midi import read_song
from minigen.music.steering import given_steps, steer, top_line
from minigen.ops import NO_END, one_hot
from minigen.ordered import ordered_forward, ordered_play, ordered_shapes
from minigen.params import Params
from minigen.run.likelihood import nats_per_step, under_melody
from minigen.run.perform import perform
from minigen.run.sample import play, sounding_of

K, V, F, H = 4, 5, 3, 6  # 4 voices can play all keys, the fifth only stops
CHORDS = [set(chord) for chord in chain.from_iterable(combinations(range(K), n) for n in range(K + 1))]


def voices(seed: int = 0):
    """Weights, and the features of one step."""
    shapes, rng = ordered_shapes(K, F, H), np.random.default_rng(seed)
    return Params(shapes, rng.normal(size=Params(shapes).flat.size)), rng.normal(size=(1, 1, F))


def chances(params, features) -> np.ndarray:
    """Of every chord, by its exact nats."""
    x = np.array([[[float(k in chord) for k in range(K)] for chord in CHORDS]])
    features = np.repeat(features, len(CHORDS), axis=1)
    return np.exp(-ordered_forward(params, features, x, np.ones((1, len(CHORDS)), bool))[0][1][0])


def test_the_chords_are_drawn_with_the_chances_that_they_claim():
    params, features = voices()
    expected = chances(params, features)
    assert abs(expected.sum() - 1) < 1e-12
    B = 50_000
    u = np.random.default_rng(1).random((V, 1, B))
    _, notes = ordered_play(params, np.repeat(features, B, axis=1), V, {"voices.u": u})
    played = one_hot(notes[:, 0], K, int).sum(axis=0)
    assert (np.diff(np.where(notes[:, 0] < K, notes[:, 0], -1 - np.arange(V)[:, None]), axis=0) < 0).all()  # downwards
    numbers = [sum(1 << k for k in chord) for chord in CHORDS]
    counts = np.bincount(played @ (1 << np.arange(K)), minlength=1 << K)[numbers]
    assert chisquare(counts, B * expected).pvalue > 0.001


def test_the_likelihood_of_a_song_is_that_of_its_steps():
    """No voice is too many, and padding costs nothing; whatever the batch, the same nats."""
    trained, songs = fresh(small("ordered")), songs_of(70, 40, 24)
    found = nats_per_step(trained.model, trained.params, songs)
    assert found["left out"] == found["error"] == 0
    alone = [nats_per_step(trained.model, trained.params, [song])["own"] for song in songs]
    assert found["own"] == pytest.approx(np.average(alone, weights=[70, 40, 24]), rel=1e-6)
    _, batch = next(whole_songs(songs, trained.model.config.past))
    loss, _, trace, _ = trained.model.loss(trained.params, batch, {}, grad=False)
    trace = trained.model.spread(trace)
    P, x = trace["cells.P"].astype(float), batch["roll"][-70:] > 0
    np.testing.assert_allclose(-np.log(np.where(x, P, 1 - P)).sum(axis=2), trace["step.nats"], rtol=1e-4)
    assert loss == pytest.approx(found["own"], rel=1e-6)


def test_the_quiet_start_says_the_songs_mean_notes():
    songs = [trim(minigen.read_midi(path)) for path in SONGS[:8]]
    model = small("ordered", voices=30).quiet(songs)
    trained = fresh(model)
    trained.params.flat[:] = 0  # the bias decides alone
    trained.params["outcome.b"][88] = model.config.pause_bias
    features, u = np.zeros((1, 4000, model.config.hidden)), np.random.default_rng(0).random((30, 1, 4000))
    _, notes = ordered_play(trained.params, features, 30, {"voices.u": u})
    first = (notes[0] < 88).mean()
    mean = np.concatenate(songs).astype(bool).sum(axis=1).mean()
    assert first == pytest.approx(mean / (mean + 1), abs=0.02)


def test_dropout_is_drawn_in_training_alone():
    model, batch = small("ordered", dropout=0.5), toy_batch(small("ordered"), 20, 3)
    params = model.init(0)
    assert all(model.draws(0, purpose, 0, range(3), 20) == {} for purpose in ("validation", "finetune", "primer"))
    given = model.draws(0, "training", 0, range(3), 20)
    assert (given["dropout.local"] == model.draws(0, "training", 0, [2, 0, 1], 20)["dropout.local"][:, [1, 2, 0]]).all()
    losses = [model.loss(params, batch, g)[0] for g in ({}, given, model.draws(1, "training", 0, range(3), 20))]
    assert len(set(map(float, losses))) == 3
    kept = model.keep(given["dropout.local"], np.float32)
    assert set(np.unique(kept)) == {0, 2} and kept.mean() == pytest.approx(1, abs=0.1)


# ends


def test_three_fragments_in_four_are_told_where_their_song_ends():
    model, songs = small("ordered", fragment=32, hop=8), songs_of(70, 40)
    batch = Dataset.of(songs, model.config).batch(0, "batch", 0, range(400))
    known = batch["end"] != NO_END
    assert 0.65 < known.mean() < 0.85 and set(batch["end"][known]) == {70, 40}
    assert "end" not in Dataset.of(songs, small("ordered", end_bits=0).config).batch(0, "batch", 0, [0])
    assert all("end" not in part for _, part in whole_songs(songs, 8))  # figures of loss: no end known
    bits = model.time_bits(np.array([0, 0]), 70, float, np.array([70, NO_END]))[..., 6:]
    assert (
        bits[-1, 0].sum() == 0 and bits[:, 1].all() and (bits[:, 0] @ (1 << np.arange(8)) == 69 - np.arange(70)).all()
    )


def test_a_piece_is_told_where_it_ends():
    """The end moves the chances, of the first step too; without one a piece goes on for ever as it is."""
    trained = fresh(small("ordered"))
    told, other, untold = (next(play(trained, 3, end=end))[1]["voices.p"] for end in (8, 40, NO_END))
    assert (told != other).any() and (told != untold).any()
    assert (next(play(trained, 3))[1]["voices.p"] == untold).all()


# lengths


def test_lengths_are_learned_beside_a_rung_and_move_nothing_of_it():
    """The same loss with and without; its own loss apart; what sounds begins at each strike."""
    rng, songs = np.random.default_rng(0), songs_of(60, 60)
    sounding = [np.maximum(song, rng.random(song.shape) < 0.2) for song in songs]
    plain, both = small("final", fragment=32), small("final", fragment=32, sustain=6)
    params = both.init(1)
    data = Dataset.of(songs, both.config, sounding)
    batch = data.batch(0, "batch", 0, range(3))
    column = batch["sounding"][1:] | batch["roll"][-32:]
    assert (batch["sounding"][1:] == column).all()  # moved to the same key as the roll
    draws = both.draws(0, "test", 0, range(3), 32)
    loss, grads, trace, state = both.loss(params, batch, draws)
    without = {name: array for name, array in batch.items() if name != "sounding"}
    small_params = plain.init(1)
    same_loss, same_grads, _, _ = plain.loss(small_params, without, draws)
    assert loss == same_loss and (grads.flat[: len(same_grads.flat)] == same_grads.flat).all()
    assert trace["loss.sustain"] > 0 and grads["sustain.Wx"].any() and grads["goes_on.b"].any()
    assert "sustain.h" in state and "loss.sustain" not in both.loss(params, without, draws)[2]


def test_what_sounds_in_a_piece_has_draws_of_its_own():
    trained, silent = fresh(small("final", sustain=6)), fresh(small("final"))
    piece = np.array([keys for keys, _ in zip_of(play(trained, 3), 40)])
    same = np.array([keys for keys, _ in zip_of(play(silent, 3), 40)])
    assert (piece == same).all()  # pieces by seed stay what they are
    sounding = sounding_of(trained, piece, 3)
    assert (sounding >= (piece > 0)).all() and (sounding == sounding_of(trained, piece, 3)).all()
    begins = sounding[1:] & ~sounding[:-1]
    assert (begins <= (piece[1:] > 0)).all()  # nothing sounds that was not struck
    trained.params["goes_on.b"][:] = 50
    held = sounding_of(trained, piece, 3)
    assert (held == (np.cumsum(piece, axis=0) > 0)).all()
    trained.params["goes_on.b"][:] = -50
    assert (sounding_of(trained, piece, 3) == (piece > 0)).all()
    known = np.ones((5, 88), bool)
    assert sounding_of(trained, piece, 3, known)[:5].all()


def zip_of(steps, n):
    return (step for _, step in zip(range(n), steps, strict=False))


# melodies


def test_the_top_line_is_what_is_struck_highest():
    roll, sounding = np.zeros((6, 88), np.uint8), np.zeros((6, 88), bool)
    roll[0, [50, 40]], roll[1, 45], roll[3, 40], roll[5, 44] = 1, 1, 1, 1
    sounding[:3, 50] = sounding[1:5, 45] = sounding[3:5, 40] = sounding[5, 44] = sounding[0, 40] = True
    line, ceiling = top_line(roll, sounding)
    assert np.argwhere(line).tolist() == [[0, 50], [5, 44]]
    assert ceiling.tolist() == [88, 50, 50, 88, 88, 88]


def test_other_voices_go_under_the_melody():
    trained, song = fresh(small("ordered")), read_song(SONGS[0])
    line, ceiling = top_line(song.roll, song.sounding)
    asked = steer(64, 8, melody=line[:64], ceiling=ceiling[:64])
    music = np.array([keys for keys, _ in play(trained, 1, extra=given_steps(asked, 8))])
    assert len(music) == 64 and music.sum() > line[:64].sum()
    for t, keys in enumerate(music):
        struck = np.flatnonzero(keys)
        assert struck.max(initial=-1) == line[t].argmax() if line[t].any() else struck.max(initial=-1) < ceiling[t]
    asked = steer(32, 8, key="Am", chords="Am|E7", ceiling=np.full(32, 88))
    music = np.array([keys for keys, _ in play(trained, 1, extra=given_steps(asked, 8))])
    classes = np.array([np.append(row, row) for row in asked.classes])[:, :12]
    assert all(classes[t, np.flatnonzero(keys) % 12].all() for t, keys in enumerate(music))


def test_a_melody_keeps_its_lengths():
    """Whatever the sustain decoder would say; the notes beside it are its own."""
    trained, song = fresh(small("ordered", sustain=6)), read_song(SONGS[0])
    line, ceiling = top_line(song.roll, song.sounding)
    asked = steer(64, 8, melody=line[:64], ceiling=ceiling[:64], sounding=song.sounding[:64])
    for bias in (-50, 50):
        trained.params["goes_on.b"][:] = bias
        played = perform(trained, 64, 1, asked=asked)
        assert (played.sounding[asked.held]).all()
        ends = asked.held[:-1] & ~asked.held[1:] & (played.roll[1:] == 0)
        assert not played.sounding[1:][ends].any()
        others = (played.roll > 0) & (line[:64] == 0)
        assert (played.sounding[1:][others[:-1]].mean() > 0.5) == (bias > 0)


def test_it_refuses_what_it_cannot_play():
    for wrong in ({"keys": 12}, {"voices": 1}, {"voice_hidden": 0}):
        with pytest.raises(MinigenError, match="ordered tells 88 keys"):
            small("ordered", **wrong)
    with pytest.raises(MinigenError, match="has no dropout"):
        small("final", dropout=0.1)


def test_what_lies_under_a_melody_costs_what_is_left():
    """A strike of the line is free; where it sounds voice 1 decides among what is under it."""
    params, features = voices(3)
    roll = np.zeros((2, 1, 88))
    roll[0, 0, [3, 1]], roll[1, 0, 0] = 1, 1
    sounding = roll.copy()
    sounding[1, 0, 3] = 1  # the line goes on
    p = np.zeros((3, 2, 1, 89))
    p[0, 0, 0, [3, 88]] = 0.4, 0.6
    p[0, 1, 0, [0, 50, 88]] = 0.2, 0.5, 0.3
    found = under_melody(p, np.array([[5.0], [4.0]]), roll, sounding)
    close(found[:, 0], np.array([5 + np.log(0.4), 4 + np.log(0.5)]), 1e-12)
