"""What is shipped: two models, each in one small file that says where it comes from, and music that goes on."""

from pathlib import Path

import numpy as np
import pytest

import minigen
from minigen.music import metrics

SAMPLES = Path(__file__).resolve().parents[1] / "samples"
shipped = pytest.mark.parametrize("name, corpus", [("chorales", "--corpus bach"), ("songs", "--corpus songs")])


@shipped
def test_checkpoint(name, corpus):
    path = SAMPLES / f"{name}.npz"
    assert path.stat().st_size <= 5_000_000
    header = minigen.load(path).header
    assert header["command"].startswith("python scripts/train.py") and corpus in header["command"]
    assert "CC0" in header["licence"] and header["training"]["step"] > 0
    best = header["metrics"]["baselines"]
    assert header["metrics"]["valid_cells"] < min(best.values())
    assert {"m", "v", "step"} <= set(vars(minigen.load(path).moments))


@shipped
def test_five_pieces(name, corpus):
    trained = minigen.load(SAMPLES / f"{name}.npz")
    pieces = [minigen.generate(trained, bars=8, seed=seed) for seed in range(5)]
    assert max(map(metrics.longest_stuck, pieces)) < 64
    assert 0.3 < metrics.notes_per_step(pieces) < 3
    assert len({piece.tobytes() for piece in pieces}) == 5


@shipped
def test_the_pieces_beside_it(name, corpus):
    """Seeds 0, 1, 2: chosen by number."""
    for seed in range(3):
        (midi,) = SAMPLES.glob(f"{name}-*-seed{seed}.mid")
        roll = minigen.read_midi(midi)
        assert roll.shape == (256, 88) and np.any(roll)
        assert midi.with_suffix(".png").exists()
