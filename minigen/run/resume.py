"""A run folder read again: where its training stopped."""

import csv
import io
import json
from pathlib import Path

from minigen.adam import Moments
from minigen.errors import MinigenError, quoted
from minigen.files import opened
from minigen.run import checkpoint
from minigen.run.train import COUNTERS, Run


def resumed(folder: Path, xp):
    """Where a run stopped -> its model, the run, the header of its last checkpoint."""
    path = folder / "last.npz"
    model, params, header, moments, raw = checkpoint.load(path)
    try:
        moments = Moments(xp.asarray(moments.m), xp.asarray(moments.v), moments.step)
        counters = {name: header["training"][name] for name in (*COUNTERS, "mean") if name in header["training"]}
        rows = []
        if (folder / "metrics.csv").exists():
            with opened(folder / "metrics.csv", 2**28) as file:
                lines = csv.DictReader(io.TextIOWrapper(file, encoding="utf-8", newline=""))
                rows = [{name: json.loads(value) for name, value in row.items() if value} for row in lines]
        if counters.get("step") and not rows:
            print(f"take care: {folder / 'metrics.csv'} is missing or empty: of the losses before, only those that the "
                  "checkpoints hold are known")  # fmt: skip
            rows = _rows_of(folder)
        if not all(type(value) in (int, float) and abs(value) < 1e300 for row in rows for value in row.values()):
            raise ValueError("metrics.csv")
        if not all({"step", "seconds", "valid_loss"} <= set(row) for row in rows):
            raise ValueError("metrics.csv")
        if {name for name, value in counters.items() if isinstance(value, dict)} != {"mean"} or "rate" not in counters:
            raise ValueError("training")
        rows = [row for row in rows if row["step"] <= counters["step"]]
        if rows and "seconds" not in counters:  # of an older run
            counters["seconds"] = rows[-1]["seconds"]
    except (AttributeError, KeyError, ValueError, TypeError, csv.Error, RecursionError) as error:
        raise MinigenError(
            f"{folder} cannot be resumed, a part of it is damaged: use {quoted('--init', path)}"
        ) from error
    average = params.with_flat(xp.asarray(params.flat))
    params = average if raw is None else params.with_flat(xp.asarray(raw))
    return model, Run(params, moments, **counters, average=average, rows=rows), header


def _rows_of(folder: Path) -> list[dict]:
    """The rows that the checkpoints of a run hold, in order: the best one is not forgotten."""
    rows = {}
    for path in (folder / "best.npz", folder / "last.npz"):
        row = checkpoint.load(path).header.get("metrics", {}) if path.exists() else {}
        rows[row.get("step")] = {name: value for name, value in row.items() if name != "baselines"}
    return [rows[step] for step in sorted(rows.keys() - {None})]
