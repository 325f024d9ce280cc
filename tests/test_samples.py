"""What is shipped: three models, each in one small file that says where it comes from, and music that goes on."""

from pathlib import Path

import numpy as np
import pytest

import minigen
from minigen.music import metrics

SAMPLES = Path(__file__).resolve().parents[1] / "samples"
shipped = pytest.mark.parametrize(
    "name, rung, corpus",
    [("chorales", "ordered", "bach"), ("final", "final", "bach"), ("songs", "ordered", "songs")],
)


@shipped
def test_checkpoint(name, rung, corpus):
    path = SAMPLES / f"{name}.npz"
    assert path.stat().st_size <= 12_000_000
    trained = minigen.load(path)
    header, metrics = trained.header, trained.header["metrics"]
    assert trained.model.name == rung and trained.model.config.sustain
    assert header["command"].startswith("python scripts/train.py") and f"--corpus {corpus}" in header["command"]
    assert "CC0" in header["licence"] and header["training"]["step"] > 0
    assert metrics["valid_cells"] < min(metrics["baselines"].values())
    assert {"m", "v", "step"} <= set(vars(trained.moments))


@shipped
def test_five_pieces(name, rung, corpus):
    trained = minigen.load(SAMPLES / f"{name}.npz")
    pieces = [minigen.generate(trained, bars=8, seed=seed) for seed in range(5)]
    assert max(map(metrics.longest_stuck, pieces)) < 64
    assert 0.3 < metrics.notes_per_step(pieces) < 3
    assert len({piece.tobytes() for piece in pieces}) == 5


@shipped
def test_the_pieces_beside_it(name, rung, corpus):
    """Seeds 0, 1, 2: chosen by number."""
    for seed in range(3):
        (midi,) = SAMPLES.glob(f"{name}-{rung}-seed{seed}.mid")
        roll = minigen.read_midi(midi)
        assert roll.shape == (256, 88) and np.any(roll)
        assert midi.with_suffix(".png").exists()
