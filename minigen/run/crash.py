"""crash.npz: the step of training at which numbers blew up, with all that it takes to repeat it and look inside.

header        JSON: magic, version, model, config, seed, step, rate, and of --meta its three numbers
weights       all of them, flat, before the step
batch/NAME    roll, start, mask, and perhaps end and sounding: minigen/ladder/rung.py
given/NAME    the draws; not with --meta, which makes them anew from seed and step
"""

import json

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


def save_crash(path, model, params, batch: dict, given, seed: int, step: int, rate: float, meta: Meta | None) -> None:
    header = {"magic": MAGIC, "version": VERSION, "model": model.name, "config": model.config.as_json()}
    header |= {"seed": seed, "step": step, "rate": rate, "meta": meta and list(meta)}
    arrays = {"header": np.frombuffer(json.dumps(header).encode(), np.uint8), "weights": to_host(params.flat)}
    arrays |= {f"batch/{name}": array for name, array in batch.items()}
    arrays |= {f"given/{name}": array for name, array in given.items()} if meta is None else {}
    write_atomically(path, lambda file: np.savez(file, **arrays))


def load_crash(path):
    """-> (model, params, batch, given, the header). Raises MinigenError for what is no such file."""
    try:
        arrays = read_arrays(path)
        header = json.loads(arrays.pop("header").tobytes())
        model = rung(header["model"])
        model = type(model)(model.config.with_fields(header["config"]))
        weights = arrays.pop("weights")
        batch, given = (
            {name.removeprefix(of): array for name, array in arrays.items() if name.startswith(of)}
            for of in ("batch/", "given/")
        )
        T, B = batch["mask"].shape
        meta = header["meta"] and Meta(*header["meta"])
        rows, step, seed = range(B), header["step"], header["seed"]
        shapes = {"roll": (T + model.config.past, B, 88), "start": (B,), "mask": (T, B), "end": (B,),
                  "sounding": (T + 1, B, 88)}  # fmt: skip
        due = {} if meta else model.draws(seed, "training", step, rows, T) | model.prepared(batch)
        fits = (
            (header["magic"], header["version"]) == (MAGIC, VERSION)
            and all(type(number) is int and 0 <= number < 2**62 for number in (step, seed))
            and weights.dtype == np.float32
            and set(batch) <= set(shapes)
            and all(array.dtype.kind in "biu" and array.shape == shapes[name] for name, array in batch.items())
            and {name: array.shape for name, array in given.items()} == {name: due[name].shape for name in due}
            and all(array.dtype.kind in "biuf" for array in given.values())
            and (meta is None or (type(meta.steps) is int and 0 < meta.steps <= 100 and type(meta.exact) is bool))
        )
        params = Params(model.shapes()).with_flat(weights)
    except Exception:  # a damaged archive fails in as many ways as there are readers inside
        fits = False
    if not fits:
        raise MinigenError(f"{path} is no crash.npz of this minigen: name a run folder, or the crash.npz in it")
    return model, params, batch, meta_draws(model, seed, "meta", step, rows) if meta else given, header


def repeat(path, xp=np) -> tuple[list[str], bool]:
    """Do the step again -> what came of it, line by line, and whether all was finite."""
    model, params, batch, given, header = load_crash(path)
    meta = header["meta"] and Meta(*header["meta"])
    names = {name: np.abs(view).max() for name, view in params.views.items() if view.size}
    largest = max(names, key=names.get)
    with np.errstate(all="ignore"):  # what is not finite is said below
        loss, grads, trace = gradient_of(model, params, batch, given, meta)
    lines = [f"step {header['step']} of {model.name}, {batch['mask'].shape[1]} fragments, rate {header['rate']:.3g}: "
             f"the loss is {float(loss):.6g}"]  # fmt: skip
    lines.append(f"weights: the largest is {names[largest]:.3g}, in {largest}")
    tensors = {name: array for name, array in trace.items() if np.asarray(array).dtype.kind == "f"}
    tensors = dict(sorted(tensors.items(), key=lambda tensor: tensor[0].startswith(LAST)))  # in the order of the pass
    finite = np.isfinite(loss)
    for words, found in (("forward", tensors), ("gradient", dict(grads.views))):
        bad = {name: np.size(array) - np.isfinite(array).sum() for name, array in found.items()}
        bad = {name: count for name, count in bad.items() if count}
        finite &= not bad
        if not bad:
            lines.append(f"{words}: every number is finite")
            continue
        name = next(iter(bad))
        lines.append(f"{words}: NaN or infinite first in {name}, of the part {name.split('.')[0]}: "
                     f"{bad[name]:,} of {np.size(found[name]):,} numbers")  # fmt: skip
        more = [other for other in bad if other != name]
        lines += [f"{words}: then in {', '.join(more)}"] * bool(more)
    return lines, bool(finite)
