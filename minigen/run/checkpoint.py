"""Checkpoints: an uncompressed .npz with a JSON header. Nothing is allocated that the file does not hold.

    header            JSON as bytes: magic, version, model, config, metrics, data, licence, command, training, arrays
    weights/NAME      every weight under its own name: np.load(path)["weights/local.Wx"]; what plays
    adam/m, adam/v    the optimiser's moments, flat; left out of a file that need not be trained on
    raw               all weights, flat, as they were last: those above are their running mean, where there is one.
                      In last.npz and judged.npz alone, from which a run goes on; best.npz is smaller without

Sampling needs this file and nothing else.
"""

import json
import math
from errno import EINVAL
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from minigen.adam import Moments
from minigen.backend import use_device
from minigen.errors import MinigenError, printable
from minigen.files import read_arrays, write_atomically
from minigen.ladder import rung
from minigen.params import Params

MAGIC, VERSION = "minigen checkpoint", 1
DAMAGED = "{} is cut short or damaged: copy it again, or use the run's other checkpoint"
FOREIGN = "{} is not a minigen checkpoint: name a .npz that scripts/train.py wrote"
TEXTS = ("model", "data", "licence", "command", "corpus")
SPLIT_KINDS = {
    "seed": int,
    "valid": float,
    "max_tracks": int,
    "max_tempos": int,
    "official": bool,
    "digest": str,
    "held_out": str,
}  # of the split; any may be null


def file_of(path: Path) -> Path:
    """A checkpoint's file; of a run folder its best.npz."""
    return path / "best.npz" if path.is_dir() else path


def label_of(path: Path) -> str:
    """What to call what is made with a checkpoint: its name; of a run also that of its folder."""
    return f"{path.resolve().parent.name}-{path.stem}" if path.stem in ("best", "last") else path.stem


def corpus_of(header: dict) -> str | None:
    """The corpus that a model was trained on, or None for a folder; an older file names it before a colon."""
    return header.get("corpus", header.get("data", "").partition(":")[0])


class Trained(NamedTuple):
    """A model with its weights, as `load` returns it: all that sampling and further training need."""

    model: Any
    params: Params
    header: dict
    moments: Moments | None
    raw: Any = None  # all weights, flat, from which a run goes on; None where they are the params

    def on(self, xp) -> "Trained":
        """The same with its weights in the array module `xp`: training and playing happen where they are."""
        known = self.moments and Moments(xp.asarray(self.moments.m), xp.asarray(self.moments.v), self.moments.step)
        raw = None if self.raw is None else xp.asarray(self.raw)
        return self._replace(params=self.params.with_flat(xp.asarray(self.params.flat)), moments=known, raw=raw)


def save(path, model, params: Params, moments: Moments | None = None, raw=None, **about) -> None:
    """Write a checkpoint of what plays, and of what a run goes on from, `moments` and `raw`; `about` are further fields
    of the header (metrics, data, licence, command, training)."""
    arrays = {f"weights/{name}": view for name, view in params.views.items()}
    arrays |= {} if raw is None else {"raw": raw}
    if moments is not None:
        arrays |= {"adam/m": moments.m, "adam/v": moments.v}
        about["adam_step"] = moments.step
    header = {
        "magic": MAGIC,
        "version": VERSION,
        "model": model.name,
        "config": model.config.as_json(),
        **about,
        "arrays": {name: [list(array.shape), array.dtype.str] for name, array in arrays.items()},
    }
    encoded = np.frombuffer(json.dumps(header, indent=1).encode(), np.uint8)
    write_atomically(path, lambda file: np.savez(file, header=encoded, **arrays))


def _fields_fit(header: dict) -> bool:
    """Whether the fields that are there are of the kinds that are written: nothing later need look again."""

    def numbers(values, depth=1) -> bool:
        return isinstance(values, dict) and all(
            name.isprintable() and (type(value) in (int, float) or (depth and numbers(value, 0)))
            for name, value in values.items()
        )

    split, training = header.get("split", {}), header.get("training", {})
    if not (numbers(training) and numbers(header.get("metrics", {})) and isinstance(split, dict)):
        return False
    steps = [header.get("adam_step", 0), *(training.get(name, 0) for name in ("step", "best_step", "fell_at"))]
    learned = header.get("learned", [])
    return (
        all(isinstance(header.get(name, ""), str) for name in TEXTS if name != "corpus")
        and isinstance(header.get("corpus"), str | None)
        and all(type(step) is int and 0 <= step < 2**62 for step in steps)
        and all(value is None or type(value) is SPLIT_KINDS.get(name) for name, value in split.items())
        and (not split or (type(split.get("seed")) is int and type(split.get("valid")) is float))
        and 0 <= split.get("seed", 0) < 2**63
        and 0 < split.get("valid", 0.1) < 1
        and isinstance(learned, list)
        and all(isinstance(digest, str) for digest in learned)
    )


def _arrays(path: Path, only: str = "") -> dict[str, np.ndarray]:
    """The arrays of a checkpoint, or `only` one. Raises MinigenError where the file is damaged, or is another."""
    try:
        return read_arrays(path, only=only)
    except MemoryError:
        raise
    except Exception as error:  # a damaged archive fails in as many ways as there are readers inside
        if isinstance(error, OSError) and error.errno not in (None, EINVAL):  # EINVAL: an offset before the beginning
            raise
        with open(path, "rb") as file:
            damaged = file.read(2) == b"PK" and not (only and isinstance(error, KeyError | ValueError))
        raise MinigenError((DAMAGED if damaged else FOREIGN).format(path)) from error


def load(path, device: str = "cpu") -> Trained:
    """Read a checkpoint, its weights on the `device` "cpu", "cuda" or "auto" (`backend.use_device`).

    Raises MinigenError, a sentence with the remedy, for all but a whole one of this version.
    """
    path = Path(path)
    if not path.is_file():
        raise MinigenError(f"there is no checkpoint {path}: train one with scripts/train.py, or name another")
    try:
        header = json.loads(_arrays(path, only="header")["header"].tobytes())
    except (ValueError, RecursionError):
        header = None
    if not isinstance(header, dict) or header.get("magic") != MAGIC:
        raise MinigenError(FOREIGN.format(path))
    if header.get("version") != VERSION:
        raise MinigenError(
            f"{path} is a checkpoint of version {repr(header.get('version'))[:20]} and this minigen reads version "
            f"{VERSION}: use the minigen that wrote it, or train again"
        )
    if not _fields_fit(header):
        raise MinigenError(FOREIGN.format(path))
    header |= {name: printable(header[name]) for name in TEXTS if header.get(name)}
    try:
        model = rung(header.get("model", ""))
        model = type(model)(model.config.with_fields(header.get("config")))
    except ValueError as error:
        raise MinigenError(DAMAGED.format(path)) from error
    shapes = model.shapes()
    size = sum(math.prod(shape) for shape in shapes.values())
    expected = {f"weights/{name}": [list(shape), "<f4"] for name, shape in shapes.items()}
    flat = [[size], "<f4"]
    moments, raw = {"adam/m": flat, "adam/v": flat}, {"raw": flat}
    if header.get("arrays") not in (expected, expected | moments, expected | raw | moments):
        raise MinigenError(f"{path} does not hold the weights that its configuration asks for: train it again")
    arrays = _arrays(path)
    del arrays["header"]
    if {name: [list(array.shape), array.dtype.str] for name, array in arrays.items()} != header["arrays"]:
        raise MinigenError(DAMAGED.format(path))
    params = Params(shapes)
    for name, view in params.views.items():
        view[...] = arrays[f"weights/{name}"]
    if not all(np.isfinite(flat).all() for flat in (params.flat, arrays.get("raw", 0))):
        raise MinigenError(f"{path} holds weights that are NaN or infinite: use an earlier checkpoint")
    kept = Moments(arrays["adam/m"], arrays["adam/v"], header.get("adam_step", 0)) if "adam/m" in arrays else None
    return Trained(model, params, header, kept, arrays.get("raw")).on(use_device(device)[0])
