"""Claim 7: later voices like to repeat what earlier ones played; voice 1's distribution spreads over a chord; pause
begets pause.

While the network plays by itself, 8 pieces of 16 bars: given that a voice plays, its chance of a class that a voice
before it played at this step; beside it, what that chance is where the voice, in the same state, reads no notes at
this step. Pause begets pause where voice 2 pauses more often after a pause of voice 1 than after a note, on steps that
are not empty. On held-out chorales, at chords of three classes or more: how much of voice 1's distribution (given that
it plays) lies on the chord, and over how many of its classes it spreads, the exponential of its entropy there: 1 where
it knows which one to play. The voices have a quiet start: without it voice 1 pauses on 96 steps of 100. (That a step is
not empty says more about voice 2 after a pause than after a note, and against a pause: hence the figures had it read
none.)"""

from dataclasses import replace

import numpy as np
from claims.common import QUIET, above, judge, spread, table, trained
from matplotlib.figure import Figure

from minigen.ladder import LADDER
from minigen.music.corpus import learned_and_held_out
from minigen.music.dataset import whole_songs
from minigen.ops import one_hot
from minigen.run.plots import save
from minigen.voices import voices_forward

PARTS = ("final", "pause-loss")
MINUTES = 4.0
PIECES, STEPS, SHOWN = 8, 256, 40


def given_a_note(p, keys) -> float:
    """The chance of `keys` (N, K) of 0/1 under p (N, K+1), over all N steps, given that a note is played."""
    return float((p[:, :-1] * keys).sum() / p[:, :-1].sum()) if len(p) else np.nan


def listen(model, params) -> dict:
    """What the voices do while they play."""
    B, V, K = PIECES, model.config.voices, model.config.keys
    rng, state, keys = np.random.default_rng(0), model.initial_state(params, PIECES), np.zeros((PIECES, 88), np.uint8)
    steps = []
    for _ in range(STEPS):
        given = {name: rng.random(shape, np.float32) for name, shape in model.draw_shapes(B).items()}
        before = state
        keys, trace, state = model.step(params, before, keys, given)
        silent = {"voices.notes": np.full((V, 1, B), K)}  # all pause, so that no voice reads a note
        (p_alone, _, _), _ = voices_forward(params, trace["features"][None], V, before, silent)
        steps.append((trace["voices.notes"], trace["voices.p"], p_alone[:, 0]))
    notes, p, p_alone = (np.concatenate(arrays, axis=1) for arrays in zip(*steps, strict=True))  # (V, N), (V, N, K+1)
    played = np.maximum.accumulate(one_hot(notes, K, bool))  # (V, N, K), by a voice and those before it
    reading, alone = [np.nan], [np.nan]
    for v in range(1, V):
        there = played[v - 1].any(axis=1)
        for found, of in ((reading, p), (alone, p_alone)):
            found.append(given_a_note(of[v, there], played[v - 1, there]))
    paused = notes[:, played[-1].any(axis=1)] == K
    plays = notes[0] < K
    return {
        "reading": reading,
        "alone": alone,
        "pauses": (notes == K).mean(axis=1).tolist(),
        "second pauses": [float(paused[1, paused[0] == first].mean()) for first in (True, False)],
        "second": [float(of[1, plays, K].mean()) for of in (p, p_alone)],  # voice 2's pause, after a note of voice 1
    }


def chords(model, params, songs) -> dict:
    """What voice 1 says about true chords, before anything is decided."""
    _, batch = next(iter(whole_songs(songs, model.config.past, chunk=max(map(len, songs)))))
    T, B = batch["mask"].shape
    trace = model.loss(params, batch, model.draws(0, "chords", 0, range(B), T), grad=False)[2]
    x, p = model.music(batch["roll"][-T:], bool), trace["voices.p"][0]
    at = (x.sum(axis=-1) >= 3) & batch["mask"]
    on = (p[..., :-1] * x)[at]
    share = on / on.sum(axis=1, keepdims=True)
    sounding = np.flatnonzero(x[:, -1].any(axis=1))[:SHOWN]
    return {
        "on": given_a_note(p[at], x[at]),
        "width": float(np.exp(-(share * np.log(share + 1e-30)).sum(axis=1)).mean()),
        "size": float(x[at].sum(axis=1).mean()),
        "example": (p[sounding, -1], x[sounding, -1]),
    }


def one(claim: str, part: str, seed: int, minutes: float) -> dict:
    learned, held_out = learned_and_held_out("bach")
    model = LADDER[part](replace(LADDER[part].config, pause_bias=QUIET))
    run = trained(model, learned, seed, minutes)
    return listen(model, run.params) | chords(model, run.params, held_out) | {"steps": run.step}


def conclude(claim: str, found: list[dict]):
    lines, parts = [], {}
    for name in PARTS:
        seeds = {key: np.array([seed[name][key] for seed in found]) for key in found[0][name] if key != "example"}
        words = {"reading": "its chance of a note played before it", "alone": "had it read none", "pauses": "it pauses"}
        rows = [
            [line, *("" if np.isnan(x) else f"{x:.2f}" for x in seeds[key].mean(axis=0))] for key, line in words.items()
        ]
        head = [f"`{name}`, {spread(seeds['steps'], 0)} steps", *(f"voice {v + 1}" for v in range(len(rows[0]) - 1))]
        lines += [*table(head, rows), ""]
        shown = {key: spread(seeds[key], 2) for key in ("on", "width")}
        paused, played = (spread(seeds["second pauses"][:, n], 2) for n in (0, 1))
        reading, alone = (spread(seeds["second"][:, n], 2) for n in (0, 1))
        lines += [
            f"Voice 2 pauses after a pause of voice 1: {paused}; after a note: {played} (at all steps with that note, "
            f"its chance of a pause: {reading}; had it not read it: {alone}). At chords, {seeds['size'].mean():.1f} "
            f"classes on average, {shown['on']} of voice 1's distribution lies on the chord, over {shown['width']} of "
            "its classes.",
            "",
        ]
        more = np.nanmean(seeds["reading"] - seeds["alone"], axis=1)
        parts |= {
            f"`{name}`: later voices repeat more for having read the notes": above(more, 0),
            f"`{name}`: voice 1 lies on the chord more than by chance": above(seeds["on"] - seeds["size"] / 12, 0),
            f"`{name}`: and spreads over two of its notes or more": above(seeds["width"], 2),
            f"`{name}`: pause begets pause": above(seeds["second pauses"][:, 0] - seeds["second pauses"][:, 1], 0),
        }
    return lines[:-1], judge("Claim 7", parts)


def draw(claim: str, found: list[dict], path) -> None:
    figure = Figure(figsize=(11, 6))
    for axes, name in zip(figure.subplots(2, 1), PARTS, strict=True):
        p, x = found[0][name]["example"]
        axes.imshow(p.T, aspect="auto", cmap="Blues", origin="lower")
        t, k = np.nonzero(x)
        axes.plot(t, k, ".", color="#f2a541", ms=4)
        axes.set(title=f"{name}: voice 1's distribution at {SHOWN} chords of a held-out chorale; dots: what is struck")
        axes.set(ylabel="class; 12: pause", xlabel="chord")
    figure.tight_layout()
    save(figure, path)
