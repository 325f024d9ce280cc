"""The trace of a piece: every number behind every step, saved, read back, replayed, and put into words.

A file is a .npz of `header` (JSON: magic, version, model, config, seed, temperature, ...), `roll` (the whole piece, its
primer included) and an array for each name of a rung's trace, one row per new step (minigen/ladder/rung.py names them;
the LSTMs' states are not among them: a replay makes them again).
"""

import json
import zlib
from dataclasses import asdict

import numpy as np

from minigen.backend import to_host
from minigen.errors import MinigenError, printable
from minigen.files import read_arrays, write_atomically
from minigen.ladder import rung
from minigen.music.midi import LONGEST
from minigen.ops import NO_END
from minigen.run.checkpoint import Trained
from minigen.run.finetune import MODES, Finetune, play_learning
from minigen.run.sample import play

MAGIC, VERSION = "minigen trace", 2
LARGEST = 2**28  # bytes
NAMES = ("A", "Bb", "B", "C", "C#", "D", "Eb", "E", "F", "F#", "G", "G#")
GIVEN = ("voices.u", "cells.u", "decoder.u", "voices.allowed", "inject", "ceiling", "classes")  # what a step was given


def save_trace(path, trained: Trained, roll, traces: list[dict], seed: int, temperature: float, end, tune=None) -> None:
    """roll (T, 88), the whole piece; traces, one for each of its last steps; end: the time at which it was to end."""
    header = {"magic": MAGIC, "version": VERSION, "model": trained.model.name, "config": trained.model.config.as_json()}
    header |= {"seed": seed, "temperature": temperature, "end": end, "finetune": tune and asdict(tune)}
    header["weights"] = fingerprint(trained, tune)
    every = {name: np.stack([np.asarray(trace.get(name, np.nan)) for trace in traces]) for name in traces[-1]}
    encoded = np.frombuffer(json.dumps(header).encode(), np.uint8)
    write_atomically(path, lambda file: np.savez_compressed(file, header=encoded, roll=roll, **every))


def fingerprint(trained: Trained, tune) -> int:
    """Of the weights, and of the optimiser's moments where they matter."""
    moments = [trained.moments.m, trained.moments.v] if tune and trained.moments else []
    return zlib.crc32(b"".join(to_host(array).tobytes() for array in (trained.params.flat, *moments)))


def load_trace(path) -> dict:
    """The arrays by name, and the header. Raises MinigenError where it is no trace."""
    foreign = MinigenError(f"{path} is not a trace: name a .npz that scripts/sample.py --trace wrote")
    try:
        trace = read_arrays(path, LARGEST)
        header = json.loads(trace["header"].tobytes())
        known = header["magic"], header["version"]
        model = model_of(header)
        header["config"] = model.config.as_json()
        fits = known == (MAGIC, VERSION) and _fits(trace, header, model)
    except (MemoryError, PermissionError):
        raise
    except FileNotFoundError as error:
        raise MinigenError(f"{path} does not exist: name a .npz that scripts/sample.py --trace wrote") from error
    except Exception as error:  # a damaged archive fails in as many ways as there are readers inside
        raise foreign from error
    if known == (MAGIC, 1):
        raise MinigenError(f"{path} is a trace of an older minigen: play the piece again with --trace")
    if not fits:
        raise foreign
    return trace | {"header": header}


def _fits(trace: dict, header: dict, model) -> bool:
    """Whether all that is read out of a trace is there, of the right shape and kind. May raise anything."""
    c, T = model.config, len(trace["keys"])
    V, outcomes = c.voices, len(outcomes_of(header))
    shapes = dict.fromkeys(("keys", "inject", "decoder.p", "decoder.u"), (1, 88))
    shapes |= {"reader.w": (1, len(c.lags)), "voices.p": (V, 1, outcomes), "voices.allowed": (V, 1, c.keys + 1)}
    shapes |= dict.fromkeys(("voices.notes", "voices.u"), (V, 1))
    shapes |= {
        "cells.P": (1, c.keys + (c.loss == "pause")),
        "cells.u": (1, c.keys),
        "classes": (1, 12),
        "ceiling": (1,),
    }
    shapes |= dict.fromkeys((name for name in trace if name.startswith("finetune.")), ())
    together = ("voices.p", "voices.notes", "voices.u"), ("decoder.p", "decoder.u")
    notes, tune, end = trace.get("voices.notes", np.zeros(1, int)), header["finetune"], header.get("end", NO_END)
    return (
        0 < T <= LONGEST
        and trace["roll"].shape[1:] == (88,)
        and len(trace["roll"]) >= T
        and all(trace[name].shape == (T, *shape) for name, shape in shapes.items() if name in trace)
        and all(array.dtype.kind in "biuf" for array in trace.values())
        and (V == 0 or "voices.p" in trace)
        and ("cells.P" in trace or "decoder.p" in trace)
        and all(len({name in trace for name in names}) == 1 for names in together)
        and all(((0 <= u) & (u < 1)).all() for name, u in trace.items() if name.endswith(".u"))
        and all(((0 <= p) & (p < 1.001)).all() for name, p in trace.items() if name.endswith((".p", ".P", ".w")))
        and notes.dtype.kind in "iu"
        and 0 <= notes.min() <= notes.max() < outcomes
        and all(type(number) is int and 0 <= number < 2**63 for number in (header["seed"], end, header["weights"]))
        and type(header["temperature"]) in (int, float)
        and 0 < header["temperature"] < 1e6
        and (tune is None or _is_finetune(tune))
    )


def _is_finetune(found: dict) -> bool:
    usual = asdict(Finetune())
    numbers = [found[name] for name in usual if name != "mode"]
    return (
        set(found) == set(usual)
        and found["mode"] in MODES
        and all(type(found[name]) is type(value) for name, value in usual.items())
        and all(0 <= number < 1e6 for number in numbers)
    )


def replay(trained: Trained, trace: dict) -> np.ndarray:
    """The new steps (T, 88) again, from the trace's own uniforms. Raises MinigenError for other weights."""
    header, T = trace["header"], len(trace["keys"])
    same = trained.model.name == header["model"] and trained.model.config.as_json() == header["config"]
    if not same or header["weights"] != fingerprint(trained, header["finetune"]):
        raise MinigenError(f"this trace was made with other weights of {header['model']}: name the checkpoint it is of")
    extra = [{name: trace[name][t] for name in GIVEN if name in trace} for t in range(T)]
    primer = trace["roll"] if trained.model.needs_classes else trace["roll"][: len(trace["roll"]) - T]
    settings = {"seed": header["seed"], "primer": primer if len(primer) else None, "extra": extra}
    settings |= {"temperature": header["temperature"], "end": header.get("end", NO_END)}
    if header["finetune"]:
        steps = play_learning(trained, Finetune(**header["finetune"]), **settings)
    else:
        steps = play(trained, **settings)
    return np.array([keys for keys, _ in steps])


def key_name(k: int) -> str:
    """Key 0 is A0, key 39 is C4."""
    return f"{NAMES[k % 12]}{(k + 9) // 12}"


def struck(row, keys: int = 88) -> str:
    """Who sounds in a row of 88 keys, or of 12 classes."""
    names = [key_name(k) if keys == 88 else NAMES[k] for k in np.flatnonzero(row)]
    return " ".join(names) or "nothing"


def model_of(header: dict):
    """The rung that a trace is of."""
    model = rung(header["model"])
    return type(model)(model.config.with_fields(header["config"]))


def outcomes_of(header: dict) -> list[str]:
    """What a voice can play, by name: 12 classes or 88 keys, and the pause, or the stop; or for each that it does not
    sound."""
    model = model_of(header)
    keys = list(NAMES) if model.config.keys == 12 else list(map(key_name, range(88)))
    return keys + ([f"no {name}" for name in keys] if model.bans else ["stop" if model.in_order else "pause"])


def is_trace(path) -> bool:
    """Whether a file claims to be a trace, whatever is in it."""
    try:
        return json.loads(read_arrays(path, LARGEST, "header")["header"].tobytes())["magic"] == MAGIC
    except Exception:  # `load_trace` and `checkpoint.load` say what is wrong
        return False


def in_words(trace: dict, n: int) -> list[str]:
    """Everything behind new step n, line by line."""
    T, config = len(trace["keys"]), trace["header"]["config"]
    model = model_of(trace["header"])
    bar, at = model.config.bar, len(trace["roll"]) - T + n  # the row of the step in the piece
    end = np.array([trace["header"].get("end", NO_END)])
    bits = "".join(map(str, model.time_bits(np.array([at]), 1, int, end)[0, 0])) or "none"
    outcomes = outcomes_of(trace["header"])

    def struck_before(lag):
        return struck(trace["roll"][at - lag] if at >= lag else [])

    lines = [f"step {n} (bar {at // bar + 1}, 16th {at % bar + 1}), time bits {bits}"]
    lines += [f"input     {struck_before(1)}"]
    if "reader.w" in trace:
        for w, lag in zip(trace["reader.w"][n, 0], config["lags"], strict=True):
            lines.append(f"reader    lag {lag:3}  {w:.3f}  {struck_before(lag)}")
    if "voices.p" in trace:
        for v, p in enumerate(trace["voices.p"][n, :, 0]):
            likely = "  ".join(f"{outcomes[k]} {p[k]:.3f}" for k in np.argsort(-p, kind="stable")[:5])
            played = outcomes[trace["voices.notes"][n, v, 0]]
            may = trace["voices.allowed"][n, v, 0] if "voices.allowed" in trace else np.ones(config["keys"] + 1, bool)
            names = [*outcomes[: config["keys"]], "bans" if model.bans else outcomes[-1]]
            allowed = " ".join(names[k] for k in np.flatnonzero(may)) if may.sum() < 16 else f"{may.sum()} outcomes"
            steered = "" if may.all() else f"   may play {allowed}"
            lines.append(f"voice {v + 1}   {likely}{steered}   u {trace['voices.u'][n, v, 0]:.3f} -> {played}")
            if played == "stop":  # and nothing is told after it
                break
    P = trace["cells.P"][n, 0] if "cells.P" in trace else np.zeros(0)
    likely = [k for k in np.argsort(-P, kind="stable")[:8] if P[k] > 0.005]
    if likely:
        lines.append(f"together  {'  '.join(f'{outcomes[k]} {P[k]:.3f}' for k in sorted(likely))}")
    if "decoder.p" in trace:
        p, u = trace["decoder.p"][n, 0], trace["decoder.u"][n, 0]
        for name in range(12):
            octaves = [k for k in range(name, 88, 12) if p[k] > 0.005]
            if octaves:
                lines.append(f"octaves   {'  '.join(f'{key_name(k)} {p[k]:.3f} (u {u[k]:.3f})' for k in octaves)}")
    lines += [f"{printable(name):24}{trace[name][n]:.6g}" for name in trace if name.startswith("finetune.")]
    if "inject" in trace:
        lines.append(f"given     {struck(trace['inject'][n, 0])}")
    return [*lines, f"struck    {struck(trace['keys'][n, 0])}"]
