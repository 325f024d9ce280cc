"""The hour of music, and the pictures of whole pieces and songs."""

import shutil
from itertools import islice

import numpy as np
import pytest
from helpers import SONGS, done, fresh, one_after_the_other, run_of, script, small, songs_of
from matplotlib.image import imread

import minigen
from minigen.ladder import LADDER
from minigen.music.dataset import opening, trim
from minigen.music.midi_out import ringing
from minigen.run import checkpoint
from minigen.run.passage import generated, pages, read
from minigen.run.perform import Performance, check_album, join_album, song_of
from minigen.run.plots import plot_passage
from minigen.run.sample import play


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with a checkpoint that has learned nothing, and three songs."""
    place = tmp_path_factory.mktemp("album")
    trained = fresh(small("final"))
    checkpoint.save(place / "fresh.npz", trained.model, trained.params, trained.moments)
    (place / "songs").mkdir()
    for path in SONGS[:3]:
        shutil.copy(path, place / "songs")
    return place


def test_an_album_is_pieces_with_silence_before_each(place):
    """Piece i is the piece of seed + i, gone on from the first bar of a song that the seed draws."""
    asked = "fresh.npz", "--album", "4", "--bars", "2", "--seed", "5", "--primer", "songs", "--out"
    (code, out, err), again = one_after_the_other([("sample", [*asked, way]) for way in ("a", "b")], place)
    assert code == 0 == again[0], err
    assert "4 pieces, 160 steps" in out
    (path,), (same,) = (sorted((place / way).glob("*.mid")) for way in ("a", "b"))
    assert path.read_bytes() == same.read_bytes() and path.with_suffix(".png").exists()
    roll = minigen.read_midi(path) > 0
    assert len(roll) == 4 * (8 + 32)
    trained, songs = checkpoint.load(place / "fresh.npz"), [minigen.read_midi(p) for p in sorted(SONGS[:3])]
    for i, piece in enumerate(roll.reshape(4, 40, 88)):
        assert not piece[:8].any()
        primer = opening(songs[song_of(3, 5 + i)], 1) > 0
        alone = np.stack([keys for keys, _ in islice(play(trained, 5 + i, primer), 32)])
        assert (piece[8:] == (alone > 0)).all()
    assert {song_of(3, seed) for seed in range(30)} == {0, 1, 2}


def test_an_album_learns_anew_for_each_piece(place):
    """Weights and moments go back to the checkpoint's: the second piece alone is the same."""
    learn = "--finetune", "moving", "--finetune-rate", "0.01", "--finetune-window", "16", "--kernels", "reference"
    learn = *learn, "--primer", "songs", "--bars", "1", "--out"
    ways = [("sample", ["fresh.npz", "--album", str(n), "--seed", str(seed), *learn, f"{n}{seed}"])
            for n, seed in ((2, 0), (1, 1))]  # fmt: skip
    for code, _, err in one_after_the_other(ways, place):
        assert code == 0, err
    both, second = (minigen.read_midi(next((place / way).glob("*.mid"))) > 0 for way in ("20", "11"))
    assert (both[24:] == second).all()


def test_63_pieces_are_the_most_of_an_hour(place):
    check_album(63, 512)
    ended = script("sample", "fresh.npz", "--album", 64, "--bars", 32, "--primer", "songs", cwd=place)
    assert ended.returncode == 2 and "at most 63" in ended.stderr
    ended = script("sample", "fresh.npz", "--album", 2, cwd=place)
    assert ended.returncode == 2 and "--primer FOLDER" in ended.stderr


def test_notes_do_not_ring_into_the_next_piece():
    piece = np.zeros((16, 88), np.uint8)
    piece[4, 40] = 1
    roll, sounding = join_album([Performance(piece, ringing(piece), [], [], None)] * 2)
    assert len(roll) == 48 and sounding[12:24, 40].all() and not sounding[24:36].any()


@pytest.mark.parametrize("name", LADDER)
def test_every_rung_is_looked_at_over_time(name, tmp_path):
    """What it makes of a song: chances of every cell at every step; and a picture 1,000 pixels wide."""
    trained, song = fresh(small(name)), songs_of(300)[0]
    passage = read(trained.model, trained.params, song)
    assert all(len(array) == 300 for key, array in passage.items() if key != "first")
    assert passage["P"].shape == passage["cells"].shape and (passage["struck"] == song).all()
    if "voices" in passage:
        np.testing.assert_allclose(passage["voices"].sum(axis=2), 1, rtol=1e-4)
    first, second = pages(passage, 256)
    assert (len(first["P"]), len(second["P"]), second["first"]) == (256, 44, 256)
    if name in ("simple", "final", "banning"):
        plot_passage(tmp_path / "p.png", first, trained.model.config, "$$ a title with \u1234")
        assert 950 <= imread(tmp_path / "p.png").shape[1] <= 1050


def test_a_generated_piece_is_looked_at_over_time(place):
    asked = ["fresh.npz", "--bars", "17", "--primer", "songs/" + SONGS[0].name, "--trace", "t.npz", "--out", "."]
    played, drawn, of_song, wrong = one_after_the_other(
        [("sample", asked), ("plot", ["t.npz"]), ("plot", ["fresh.npz", "songs/" + SONGS[1].name]),
         ("plot", ["fresh.npz", "--step", "3"])], place,
    )  # fmt: skip
    assert played[0] == drawn[0] == of_song[0] == 0, (played, drawn, of_song)
    assert wrong[0] == 2 and "--trace" in wrong[2]
    assert [(place / f"t-bars{bars}.png").exists() for bars in ("2-17", "18-18")] == [True, True]
    from minigen.run.trace import load_trace

    trace = load_trace(place / "t.npz")
    passage = generated(trace)
    assert passage["first"] == 16 and (passage["struck"] == trace["keys"][:, 0]).all()


def test_training_draws_what_it_makes_of_a_held_out_song(tmp_path):
    done(
        "train",
        *SONGS[:3],
        "--batch",
        2,
        "--steps",
        1,
        "--kernels",
        "reference",
        "--set",
        "hidden=8",
        "--out",
        tmp_path,
    )
    assert (tmp_path / "passage-000001.png").exists()


@pytest.mark.parametrize(
    "name", [name for name, rung in LADDER.items() if rung.config.voices and not (rung.bans or rung.in_order)]
)
def test_the_quiet_start(name):
    """The first model says the songs' mean notes per step; without voices nothing changes."""
    songs = [trim(minigen.read_midi(path)) for path in SONGS[:8]]
    model = small(name).quiet(songs)
    c, params = model.config, model.init(0)
    notes = np.concatenate([model.music(song > 0, float) for song in songs]).sum(axis=1).mean()
    biases = [bias for key, bias in params.views.items() if key.startswith("head") and key.endswith(".b")]
    p = np.concatenate([np.exp(bias.reshape(-1, c.keys + 1)) for bias in biases])
    plays = 1 - p[:, -1] / p.sum(axis=1)
    assert len(plays) == c.voices and abs(plays.sum() / notes - 1) < 0.02
    assert small("simple").quiet(songs).config == small("simple").config
    assert run_of(model).params.flat.shape == params.flat.shape
