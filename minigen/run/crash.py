"""crash.npz: the step of training at which numbers blew up, with all that it takes to repeat it and look inside.

header        JSON: magic, version, model, config, seed, step, rate, and of --meta its three numbers
weights       all of them, flat, before the step
batch/NAME    roll, start, mask, and perhaps end and sounding: minigen/ladder/rung.py
given/NAME    the draws; not with --meta, which makes them anew from seed and step
"""

import json
from typing import Any, NamedTuple

import numpy as np

from minigen.backend import to_host
from minigen.errors import MinigenError
from minigen.files import read_arrays, write_atomically
from minigen.ladder import rung
from minigen.params import Params
from minigen.run.meta import Meta, meta_draws
from minigen.run.train import gradient_of

MAGIC, VERSION = "minigen crash", 1
LAST = ("step.nats", "loss.")  # of a trace: what is made of all the rest


class Crash(NamedTuple):
    """A step of training, before it is done."""

    model: Any
    params: Params
    batch: dict
    given: Any  # a dict; of --meta a function
    meta: Meta | None
    header: dict


def save_crash(path, model, params, batch: dict, given, seed: int, step: int, rate: float, meta: Meta | None) -> None:
    header = {"magic": MAGIC, "version": VERSION, "model": model.name, "config": model.config.as_json()}
    header |= {"seed": seed, "step": step, "rate": rate, "meta": meta and list(meta)}
    arrays = {"header": np.frombuffer(json.dumps(header).encode(), np.uint8), "weights": to_host(params.flat)}
    arrays |= {f"batch/{name}": array for name, array in batch.items()}
    arrays |= {f"given/{name}": array for name, array in given.items()} if meta is None else {}
    write_atomically(path, lambda file: np.savez(file, **arrays))


def load_crash(path) -> Crash:
    """A crash from its file. Raises MinigenError for any other file."""
    try:
        arrays = read_arrays(path)
        header = json.loads(arrays.pop("header").tobytes())
        if (header["magic"], header["version"]) != (MAGIC, VERSION):
            raise ValueError("another magic")
        return _checked(arrays, header)
    except (MemoryError, PermissionError):
        raise
    except Exception as error:  # a damaged archive fails in as many ways as there are readers inside
        raise MinigenError(
            f"{path} is no crash.npz of this minigen: name a run folder, or the crash.npz in it"
        ) from error


def _checked(arrays: dict, header: dict) -> Crash:
    """Raises anything where a part is missing, or is not what `save_crash` writes."""
    seed, step, meta = header["seed"], header["step"], header["meta"]
    model = rung(header["model"])
    model = type(model)(model.config.with_fields(header["config"]))
    batch, given = (
        {name.removeprefix(of): array for name, array in arrays.items() if name.startswith(of)}
        for of in ("batch/", "given/")
    )
    c, (T, B) = model.config, batch["mask"].shape
    sizes = (
        all(type(number) is int and 0 <= number < 2**62 for number in (step, seed)) and type(header["rate"]) is float
    )
    if not (sizes and 0 < T <= c.fragment and 0 < B <= 4096):
        raise ValueError("header")
    kinds = {"roll": ("u1", (T + c.past, B, 88)), "start": ("i8", (B,)), "mask": ("?", (T, B))}
    kinds |= {"end": ("i8", (B,))} if "end" in batch else {}
    kinds |= {"sounding": ("u1", (T + 1, B, 88))} if "sounding" in batch else {}
    _same(batch, {name: np.broadcast_to(np.zeros((), kind), shape) for name, (kind, shape) in kinds.items()})
    if max(batch["roll"].max(), batch.get("sounding", batch["roll"]).max()) > 1:
        raise ValueError("batch")
    if meta:
        meta = Meta(*meta)
        if not (type(meta.steps) is int and 0 < meta.steps <= 100 and type(meta.exact) is bool):
            raise ValueError("meta")
        given = meta_draws(model, seed, "meta", step, range(B))
    else:
        places = model.prepared(batch)
        draws = {name: array for name, array in given.items() if name not in places}
        one = model.draws(seed, "training", step, range(1), 1)  # (V, 1, 1, ...), (1, 1, ...)
        shapes = {
            name: (u.shape[0], T, B, *u.shape[3:]) if name.startswith("voices.") else (T, B, *u.shape[2:])
            for name, u in one.items()
        }
        _same(draws, {name: np.broadcast_to(np.zeros((), one[name].dtype), shape) for name, shape in shapes.items()})
        if not all((0 <= u.min(initial=0)) & (u.max(initial=0) < 1) for u in draws.values()):
            raise ValueError("draws")
        given = draws | places
    params = Params(model.shapes())
    _same({"weights": arrays["weights"]}, {"weights": params.flat})
    return Crash(model, params.with_flat(arrays["weights"]), batch, given, meta, header)


def _same(found: dict, due: dict) -> None:
    """Raises ValueError where arrays have other names, shapes or kinds of numbers than they should have."""
    described = ({name: (array.shape, array.dtype) for name, array in arrays.items()} for arrays in (found, due))
    if len({tuple(sorted(one.items())) for one in described}) > 1:
        raise ValueError(", ".join(found))


def repeat(crash: Crash) -> tuple[list[str], bool]:
    """Do the step again -> what came of it, line by line, and whether all was finite."""
    model, params, batch, given, meta, header = crash
    sizes = {name: np.abs(view).max() for name, view in params.views.items() if view.size}
    largest = max(sizes, key=sizes.get)
    with np.errstate(all="ignore"):  # what is not finite is said below
        loss, grads, trace = gradient_of(model, params, batch, given, meta)
    lines = [f"step {header['step']} of {model.name}, {batch['mask'].shape[1]} fragments, rate {header['rate']:.3g}: "
             f"the loss is {float(loss):.6g}"]  # fmt: skip
    lines.append(f"weights: the largest is {sizes[largest]:.3g}, in {largest}")
    tensors = {name: array for name, array in trace.items() if np.asarray(array).dtype.kind == "f"}
    forward = dict(sorted(tensors.items(), key=lambda tensor: tensor[0].startswith(LAST)))
    finite = bool(np.isfinite(loss))
    # each in the order of its pass
    for words, found in (("forward", forward), ("gradient", dict(reversed(grads.views.items())))):
        bad = {name: np.size(array) - np.isfinite(array).sum() for name, array in found.items()}
        bad = {name: count for name, count in bad.items() if count}
        finite &= not bad
        if not bad:
            lines.append(f"{words}: every number is finite")
            continue
        name, *more = bad
        lines.append(f"{words}: NaN or infinite first in {name}, of the part {name.split('.')[0]}: "
                     f"{bad[name]:,} of {np.size(found[name]):,} numbers")  # fmt: skip
        lines += [f"{words}: then in {', '.join(more)}"] * bool(more)
    return lines, finite
