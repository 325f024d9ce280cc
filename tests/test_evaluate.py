"""Figures beside published ones: sets as they are, held out as they are; two folders compared; a checkpoint judged."""

import re

import numpy as np
import pytest
from helpers import SONGS, done, fresh, one_after_the_other, script, small, songs_of
from scipy.io import savemat

from minigen.music.songset import SongSet
from minigen.run import checkpoint


def cells(rolls):
    """A MATLAB cell array."""
    array = np.empty((1, len(rolls)), object)
    array[0] = [roll.astype(float) for roll in rolls]
    return array


@pytest.fixture(scope="module")
def sets(tmp_path_factory):
    """Three parts of a made-up set: one sequence begins with empty frames, one stands twice."""
    place, songs = tmp_path_factory.mktemp("sets"), songs_of(40, 30, 20, 25, 35)
    songs[0][:5] = 0
    parts = {"traindata": songs[:3], "validdata": [songs[3], songs[3]], "testdata": songs[4:]}
    savemat(place / "Set.mat", {name: cells(rolls) for name, rolls in parts.items()})
    return place, songs


def test_a_published_set_is_kept_as_it_is(sets):
    place, songs = sets
    out = done("from_mat", "Set.mat", cwd=place)
    assert "Set-valid.npz: 2 sequences, 50 frames" in out and "frequency of keys" in out
    train = SongSet.load(place / "Set-train.npz")
    assert all((a == b).all() for a, b in zip(train.rolls, songs, strict=False)) and train.held
    assert (train.metre, len(train.rolls[0])) == ("none", 40)
    for name in ("Set-train.npz", "nothing.mat"):
        ended = script("from_mat", name, cwd=place)
        assert ended.returncode == 2 and name in ended.stderr


def test_what_is_no_such_set_is_refused_before_anything_is_written(tmp_path):
    """A part without sequences; numbers other than 0 and 1."""
    usual = dict.fromkeys(("traindata", "validdata", "testdata"), cells(songs_of(10)))
    others = ({"validdata": cells([])}, *({"testdata": cells([np.full((9, 88), x)])} for x in (2.0, np.nan)))
    for n, other in enumerate(others):
        savemat(tmp_path / f"{n}.mat", usual | other)
    ended = one_after_the_other([("from_mat", [f"{n}.mat", "--out", "out"]) for n in range(3)], tmp_path)
    for n, (code, out, err) in enumerate(ended):
        told = (
            "is not one of these files, with sequences (T, 88) of 0 and 1 in each of traindata, validdata and testdata"
        )
        assert (code, out, err) == (2, "", f"error: {n}.mat {told}: copy it again\n")
    assert not (tmp_path / "out").exists()


def test_its_figure_is_the_mean_over_all_frames(sets):
    """Nothing trimmed, nothing dropped: as many frames as there are, each as its sequence's chances say."""
    place, songs = sets
    done("from_mat", "Set.mat", cwd=place)
    model = small("ordered", metre="none", held=True, lags=(1, 4))
    trained = fresh(model)
    checkpoint.save(place / "model.npz", model, trained.params)
    out = done("evaluate", "model.npz", "Set-test.npz", "--seeds", 2, cwd=place)
    roll = np.zeros((model.config.past + 35, 1, 88), np.uint8)
    roll[model.config.past :, 0] = songs[4]
    batch = {"roll": roll, "start": np.zeros(1, np.int64), "mask": np.ones((35, 1), bool)}
    exact = float(model.loss(trained.params, batch, {}, grad=False)[0])
    assert float(re.search(r"ordered +([\d.]+) \(exact\)", out)[1]) == pytest.approx(exact, abs=0.001)


@pytest.mark.slow
def test_two_folders_are_compared(tmp_path):
    (tmp_path / "A").mkdir()
    for path in SONGS[:12]:
        (tmp_path / "A" / path.name).write_bytes(path.read_bytes())
    out = done("evaluate", "A", SONGS[0].parent, "--tell", cwd=tmp_path)
    assert "inside the band" in out and "longest copy" in out
    assert re.search(r"what was played +AUC 0\.\d\d", out) and re.search(r"shuffled +AUC", out)
    ended = script("evaluate", "A", cwd=tmp_path)
    assert ended.returncode == 2 and "name one more folder" in ended.stderr
