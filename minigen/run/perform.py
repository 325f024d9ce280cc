"""A whole piece by a trained model, what to remark about it, and an album of pieces."""

from itertools import islice
from typing import NamedTuple

import numpy as np

from minigen.draws import uniforms
from minigen.errors import MinigenError
from minigen.music import metrics, steering
from minigen.music.dataset import trim
from minigen.music.midi import LONGEST, Refused, Song, read_song
from minigen.music.steering import Steering
from minigen.progress import progress
from minigen.run.checkpoint import Trained
from minigen.run.finetune import Finetune, play_learning
from minigen.run.sample import play, sounding_of

SILENT = 8  # steps before each piece of an album


class Performance(NamedTuple):
    """The new steps of a piece, and what was behind them."""

    roll: np.ndarray  # (T, 88) of 0/1
    sounding: np.ndarray  # (T, 88) bool
    traces: list[dict]  # of each step, where they were asked for
    entropy: list[float]  # of the voices at each step, their mean in nats
    error: MinigenError | None  # what ended it early


def perform(
    trained: Trained, steps: int, seed: int, primer=None, temperature: float = 1.0, asked: Steering | None = None,
    tune: Finetune | None = None, traced: bool = False, primer_sounding=None, end: int | None = None,
) -> Performance:  # fmt: skip
    """Play so many steps, learning meanwhile if `tune` is given; the piece is to end with them, if no other `end` is
    given. primer_sounding: what sounds in the primer. Weights that become NaN end the piece early; before its first
    step the error is raised."""
    past = np.zeros((0, 88), np.uint8) if primer is None or trained.model.needs_classes else primer
    settings = {
        "seed": seed,
        "primer": primer,
        "temperature": temperature,
        "end": len(past) + steps if end is None else end,
    }
    settings |= {"extra": asked and steering.given_steps(asked, trained.model.config.voices)}
    playing = play_learning(trained, tune, **settings) if tune else play(trained, **settings)
    rows, traces, entropy, ended = [], [], [], None
    try:
        for keys, trace in progress(islice(playing, steps), "playing", steps):
            rows.append(keys)
            traces += [trace] * traced
            p = trace.get("voices.p", np.zeros((0, 1, 1)))[:, 0]
            entropy.append(-(p * np.log(p + 1e-30)).sum(axis=1).mean() if len(p) else 0.0)
    except MinigenError as error:
        if error.code != 3 or not rows:
            raise
        ended = error
    roll = np.array(rows)
    held = None
    if asked and asked.held is not None:
        held = np.concatenate([np.zeros(past.shape, bool), asked.held])[: len(past) + len(roll)]
    sounding = sounding_of(trained, np.concatenate([past, roll]), seed, primer_sounding, held)[len(past) :]
    return Performance(roll, sounding, traces, entropy, ended)


def remarks(played: Performance, asked: Steering | None, bar: int) -> list[str]:
    """How far the music did what was asked, and where it got stuck."""
    lines = []
    if asked:
        shares = steering.satisfied(played.roll, asked, bar)
        lines.append("steering: " + ", ".join(f"{words} {share:.0%}" for words, share in shares.items()))
    found = metrics.stuck(played.roll, played.entropy if any(played.entropy) else None)
    if found:
        lines.append("take care, the music is stuck: " + "; ".join(f"from step {step} {what}" for step, what in found))
    return lines


def music_of(path, metre: str, what: str) -> Song | None:
    """A MIDI file in a model's metre; None for none. What was left out of it is said. Raises MinigenError where it
    cannot be used."""
    if path is None:
        return None
    try:
        song = read_song(path, metre=metre)
    except Refused as reason:
        flag = reason.remedy.removeprefix("train on it with ")
        remedy = f"name a MIDI file in {metre}" + f", or a model of train.py {flag}" * (flag != reason.remedy)
        raise MinigenError(f"{path} cannot be a {what}, {reason}: {remedy}") from reason
    for warning in song.warnings:
        print(f"take care, {path}: {warning}")
    return song


def check_album(pieces: int, steps: int) -> None:
    """Raises MinigenError where so many pieces of so many steps are longer than a file may be."""
    room = LONGEST // (steps + SILENT)
    if pieces > room:
        remedy = f"ask for at most {room}" if room else "ask for fewer --bars"
        raise MinigenError(f"{pieces} pieces of {steps} steps are longer than a file of {LONGEST:,} steps: {remedy}")


def song_of(songs: int, seed: int) -> int:
    """Of so many songs, the one whose beginning the piece of this seed goes on from."""
    return int(uniforms(seed, "album", 0, [0], (1,), np.float64)[0, 0] * songs)


def sounding_head(roll, sounding, head, bar: int):
    """What sounds in the head of a song, its trimmed beginning: of sounding (T, 88), or None."""
    return None if sounding is None else sounding[len(roll) - len(trim(roll, bar)) :][: len(head)]


def join_album(pieces: list[Performance]) -> tuple[np.ndarray, np.ndarray]:
    """Pieces one after the other, 8 silent steps before each -> what is struck and what sounds (T, 88); the last notes
    of a piece sound to its end at most."""
    silence = np.zeros((SILENT, 88), np.uint8)
    struck, sounding = ([part for piece in pieces for part in (silence, piece[which])] for which in (0, 1))
    return np.concatenate(struck), np.concatenate(sounding)
