"""The loop of scripts/train.py: steps, a validation now and then, the falling rate, what is written and printed."""

import sys
import time

import numpy as np
from tqdm import tqdm

from minigen.errors import Stop
from minigen.run.ahead import Ahead
from minigen.run.folder import Folder
from minigen.run.meta import Meta
from minigen.run.ranks import Ranks
from minigen.run.train import READ, Run, interval, judge, norms_of, rate_at, update_on, validate

PLAYED = (100, 1_000, 10_000, 100_000)  # steps after which it plays, beside the first and the last
SLOW = 2  # seconds: in the last ones no piece and no picture is begun, but those of the end
PATIENCE = 6, 150  # validations, and steps, without a better one before the rate falls, on a plateau


def loop(
    args, model, state: Run, folder: Folder, ahead: Ahead, valid: tuple, stop: Stop, ranks: Ranks, meta: Meta | None
):  # fmt: skip
    """Train on the inputs that `ahead` gives until the budget, the lowest rate or a signal ends it, on all ranks after
    the same step -> which, the signal's exit code or 0. valid: rolls, and what sounds in each (`dataset.trimmed`)."""
    valid, sounding = valid
    sounding = sounding if model.config.sustain else None
    every, began, before = interval(valid, args.batch, model.config), time.monotonic(), state.seconds
    first, shown, ended = state.step, state.rows[-1]["valid_loss"] if state.rows else float("nan"), ""
    form, quiet = "{percentage:3.0f}%|{bar:20}| {postfix}", True if ranks.rank else None
    bar = tqdm(total=100, bar_format=form, disable=quiet, leave=False)
    linear, limited = args.schedule == "linear", bool(args.steps or args.minutes)

    def share(seconds: float) -> float:
        """How much of the steps or minutes is used up, by this rank's clock."""
        of_time = (before + seconds) / 60 / args.minutes if args.minutes else 0
        return min(1, max(of_time, state.step / args.steps if args.steps else 0))

    done, took = share(0), 0.0  # seconds of the last validation, and of saving
    if linear and state.step and rate_at(args.rate, state.step, done) > 1.01 * state.rate:
        print(f"the rate rises from {state.rate:.2g} to {rate_at(args.rate, state.step, done):.2g}, for the end is new")
    if not state.step and not ranks.rank:
        folder.play(args.seed)
    while not ended:
        if linear:
            state.rate = rate_at(args.rate, state.step, ranks.broadcast(done) if args.minutes else done)
        with np.errstate(all="ignore"):  # what is not finite ends the run
            update_on(ahead.take(state.step), model, state, meta)
        spent = time.monotonic() - began
        done = share(spent)
        agreed = ranks.agree(stop.code or done >= 1)
        reached = args.steps and state.step >= args.steps  # which all ranks know, and agree on a step later
        ended = "stopped" if agreed > 1 else "done" if agreed or reached else ""
        mean = state.read() if state.step % READ == 0 or ended or not state.mean else state.mean
        speed = (state.step - first) / spent
        bar.n = 100 * done
        remaining = (before + spent) * (1 / done - 1) if limited else float("inf")
        left = f", {remaining:.0f} s left" if limited else ""
        shows = not ranks.rank and (ended or not args.minutes or remaining > SLOW)
        bar.set_postfix_str(f"step {state.step} loss {mean['loss']:.4f} held-out {shown:.4f}, {speed:.2f}/s{left}")
        if shows and (state.step in PLAYED or state.step % (10 * every) == 0 or ended):
            folder.play(args.seed)
        # no validation is begun that would end after the time is over, for there is one at the end
        lasts = took or every * spent / (state.step - first) / 4  # before the first: see `interval`
        due = state.step % every == 0 and not (args.minutes and ranks.broadcast(remaining < lasts))
        if not (ended or due):
            continue
        started = time.monotonic()
        state.seconds = round(before + spent, 3)
        found = None if ranks.rank else validate(model, state.average, valid, args.seed, meta, sounding)
        found, rate = ranks.broadcast(found), state.rate
        # nothing is judged where a run is stopped between two validations: see `Folder.save_all`
        patience = float("inf") if linear else max(PATIENCE[0] * every, PATIENCE[1])
        verdict = "" if state.step % every else judge(state, found["loss"], patience)
        shown = found["loss"]
        row = {"step": state.step, "seconds": state.seconds, "rate": rate}
        row |= {f"train_{name}": value for name, value in mean.items()}
        state.rows.append(row | {f"valid_{name}": value for name, value in found.items()} | norms_of(state.gradient))
        training, held_out = (
            " + ".join(f"{p[n]:.4f}" for n in p if n not in ("loss", "sustain")) for p in (mean, found)
        )
        # a last row that is not judged may be the best for all that
        lowest = found["loss"] < min((row["valid_loss"] for row in state.rows[:-1]), default=float("inf"))
        lengths = f"  lengths {found['sustain']:.4f}" if "sustain" in found else ""
        line = f"step {state.step:5}  training {training}  held-out {held_out}{lengths}  rate {rate:.3g}  "
        line += f"{speed:.2f} steps/s"
        if verdict == "lowered":
            folder.back_to_best()
        if not ranks.rank:
            folder.report()
            folder.save_all(verdict)
        bar.write(f"{line}  {verdict or 'best' * lowest}".rstrip(), file=sys.stdout)  # once it is saved
        if not ranks.rank:
            if shows and (state.step % (10 * every) == 0 or ended):
                folder.draw()
            folder.write_page()
        took = time.monotonic() - started
        ended = ended or ("flat" if verdict == "over" else "")
    bar.close()
    return ended, agreed if ended == "stopped" else 0
