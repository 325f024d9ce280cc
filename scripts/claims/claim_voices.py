"""Claim 7: later voices like to repeat what earlier ones played; voice 1's distribution spreads over a chord; pause
begets pause.

While the network plays by itself, 8 pieces of 16 bars: given that a later voice plays, its chance of a class that a
voice before it played at this step; and what that chance is where the voice, in the same state, reads no notes at this
step. Pause begets pause where voice 2 pauses more often after a pause of voice 1 than after a note, on steps that are
not empty (which is evidence against a pause of voice 2 only where voice 1 paused). On held-out songs, at chords of
three classes or more: how much of voice 1's distribution, its pause left out, lies on the chord, and over how many of
its classes it spreads, the exponential of its entropy. The voices have a quiet start: without it voice 1 pauses on 96
steps of 100.
"""

import numpy as np
from claims.common import COLOURS, evaluate, over_seeds, picture, trained

from minigen.ladder import LADDER
from minigen.ops import one_hot
from minigen.run.verdict import above, given_a_note, judge, spread, table
from minigen.voices import voices_forward

PARTS, MINUTES, MUSIC = ("final", "pause-loss"), 4.0, ("bach", "songs", "toys")
PIECES, STEPS, SHOWN = 8, 256, 40


def while_playing(model, params) -> dict:
    """What the voices do while they play."""
    V, K = model.config.voices, model.config.keys
    rng, state, keys = np.random.default_rng(0), model.initial_state(params, PIECES), np.zeros((PIECES, 88), np.uint8)
    no_notes, steps = {"voices.notes": np.full((V, 1, PIECES), K)}, []  # all pause
    for _ in range(STEPS):
        given = {name: rng.random(shape, np.float32) for name, shape in model.draw_shapes(PIECES).items()}
        before = state
        keys, trace, state = model.step(params, before, keys, given)
        p_alone = voices_forward(params, trace["features"][None], V, before, no_notes)[0][0]
        steps.append((trace["voices.notes"], trace["voices.p"], p_alone[:, 0]))
    notes, p, p_alone = (np.concatenate(arrays, axis=1) for arrays in zip(*steps, strict=True))  # (V, N), (V, N, K+1)
    played = np.maximum.accumulate(one_hot(notes, K, bool))  # (V, N, K), by a voice and those before it
    reading, alone = [], []
    for v in range(1, V):
        at = played[v - 1].any(axis=1)
        reading.append(given_a_note(p[v, at], played[v - 1, at]))
        alone.append(given_a_note(p_alone[v, at], played[v - 1, at]))
    first, second = notes[:2, played[-1].any(axis=1)] == K
    return {
        "chance of a note played before, mean of voices 2 to 5": np.mean(reading),
        "had they read none": np.mean(alone),
        "chance of a pause of voice 2, after a pause of voice 1": second[first].mean(),
        "after a note": second[~first].mean(),
    }


def one(claim: str, part: str, seed: int, minutes: float, corpus: str = "bach") -> dict:
    model = LADDER[part]()
    run, _, held_out = trained(model, seed, minutes, corpus)
    batch, _, _, trace = evaluate(model, run.params, held_out)
    p = trace["voices.p"][0]
    x = model.music(batch["roll"][-len(p) :], bool)
    at = (x.sum(axis=-1) >= 3) & batch["mask"]
    on = (p[..., :-1] * x)[at]
    share = on / on.sum(axis=1, keepdims=True)
    sounding = np.flatnonzero(x[:, -1].any(axis=1))[:SHOWN]
    return while_playing(model, run.params) | {
        "voice 1's chance of a note of the true chord": given_a_note(p[at], x[at]),
        "if all notes had the same chance": x[at].mean(),
        "notes of the chord over which it spreads": np.exp(-(share * np.log(share + 1e-30)).sum(axis=1)).mean(),
        "example": (p[sounding, -1], x[sounding, -1]),
    }


def conclude(claim: str, results: list[dict]):
    columns, parts = [], {}
    for name, of in over_seeds(results).items():
        del of["example"]
        reading, alone, after_a_pause, after_a_note, on, chance, width = map(np.array, of.values())
        parts |= {
            f"`{name}`: later voices repeat more for having read the notes": above(reading - alone, 0),
            f"`{name}`: voice 1 lies on the chord more than by chance": above(on - chance, 0),
            f"`{name}`: and spreads over two of its notes or more": above(width, 2),
            f"`{name}`: pause begets pause": above(after_a_pause - after_a_note, 0),
        }
        columns.append([f"`{name}`", *map(spread, of.values())])
    head, *rows = zip(["", *of], *columns, strict=True)
    return table(head, rows), judge("Claim 7", parts)


def draw(claim: str, results: list[dict], path) -> None:
    title = f"voice 1's distribution at {SHOWN} chords of a held-out song; dots: what is struck"
    panels = [{"title": f"{name}: {title}", "ylabel": "class; 12: pause", "xlabel": "chord"} for name in PARTS]
    with picture(path, (11, 6), *panels, rows=2) as axes:
        for panel, name in zip(axes, PARTS, strict=True):
            p, x = results[0][name]["example"]
            panel.imshow(p.T, aspect="auto", cmap="Blues", origin="lower")
            panel.plot(*np.nonzero(x), ".", color=COLOURS[2], ms=4)
