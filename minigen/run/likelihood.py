"""How likely a step of music is under a rung, exactly: the one footing on which all rungs can be compared.

The loss of the cells sees only how often each key sounds; a chord is its keys together. For a step whose struck keys
are the set S, log Pr(S) is

    independent keys           sum_{k in S} log P_k + sum_{k not in S} log (1 - P_k)
    voices at once             log g_V[S], where g_v[C] is the chance that voices 1..v have played C: g_0[{}] = 1,
                               g_v[C] = g_{v-1}[C] (p_v[pause] + sum_{k in C} p_v[k])
                                        + sum_{k in C} g_{v-1}[C - k] p_v[k]
    linear conditional voices  the same recursion, each p_v evaluated for the C that it reads
    voices with LSTM states    a particle filter, since a voice's state remembers which notes it played
    ordered voices             the sum of their decisions: a step has one path (minigen/ordered.py)

The chance of a step with more notes than voices is 0. Sums and products are float64; what a network gives is
float32. Networks run where their weights are, particles too; what they give is summed on the host.
"""

import numpy as np

from minigen.backend import array_module, on_device, to_host
from minigen.banning import banning_forward, decision_weight
from minigen.draws import uniforms
from minigen.linear import softmax_forward
from minigen.music.dataset import whole_songs
from minigen.music.midi_out import ringing
from minigen.music.steering import top_line
from minigen.ops import one_hot, pitch_classes
from minigen.progress import progress
from minigen.voices import force_truth, voices_forward

CLASSES, KEYS = 5, 7  # the largest chord that every rung of the ladder can play


def log_sigmoid(z):
    """log(1 / (1 + exp(-z))), exact where the sigmoid itself is 0 or 1 in any precision."""
    return -np.logaddexp(0, -np.asarray(z, np.float64))


def independent_keys(z, x):
    """Logits z and x (..., K) -> log Pr (...)."""
    return np.where(x > 0, log_sigmoid(z), log_sigmoid(-z)).sum(axis=-1)


def chords(x, V: int, p_of):
    """Enumerate who could have played what: x (N, K) of 0/1 -> log Pr (N,).

    p_of(v, rows, played (n, K)) gives the distributions (n, K+1) of voice v at these rows, given what was played.
    """
    N, K = x.shape
    out, sizes = np.full(N, -np.inf), (x > 0).sum(axis=1)
    for size in range(min(V, sizes.max(initial=0)) + 1):
        rows = np.flatnonzero(sizes == size)
        if not len(rows):
            continue
        keys = np.nonzero(x[rows])[1].reshape(len(rows), size)
        g = np.zeros((1 << size, len(rows)))  # a subset of S is a number, its bits the keys played
        g[0] = 1
        for v in range(V):
            new = np.zeros_like(g)
            for played in range(1 << size):
                bits = (played >> np.arange(size)) & 1
                cells = np.zeros((len(rows), K))
                np.put_along_axis(cells, keys, np.broadcast_to(bits, keys.shape), axis=1)
                p = p_of(v, rows, cells)
                chosen = np.take_along_axis(p, keys, axis=1)
                new[played] += g[played] * (p[:, K] + chosen @ bits)
                for k in np.flatnonzero(bits == 0):
                    new[played | 1 << k] += g[played] * chosen[:, k]
            g = new
        with np.errstate(divide="ignore"):
            out[rows] = np.log(g[-1])
    return out


def voices_at_once(p, x):
    """p (V, N, K+1), x (N, K) -> log Pr (N,)."""
    p = np.asarray(p, np.float64)
    return chords(x, len(p), lambda v, rows, played: p[v, rows])


def linear_voices(params, features, x, V: int):
    """The weights of linear conditional voices, features (N, F), x (N, K) -> log Pr (N,)."""
    F = features.shape[1]
    weights = [[to_host(a).astype(np.float64) for a in params.layer(f"head{v + 1}")] for v in range(V)]
    base = [to_host(features).astype(np.float64) @ W[:F] + b for W, b in weights]
    return chords(x, V, lambda v, rows, played: softmax_forward(base[v][rows] + played @ weights[v][0][F:])[0])


def path_weight(p, notes, truth):
    """`prod_v m_v`, m_v the mass that voice v was restricted to, by `voices.force_truth`: p (V, ..., K+1),
    notes (V, ...), truth (..., K) -> (...)."""
    xp, V, K = array_module(p), len(p), p.shape[-1] - 1
    weight, played = xp.ones(notes.shape[1:]), xp.zeros((*notes.shape[1:], K))
    for v in range(V):
        weight *= (p[v].astype(np.float64) * force_truth(truth, played, V - 1 - v)).sum(axis=-1)
        played = xp.maximum(played, one_hot(notes[v], K, np.float64))
    return weight


def particles(params, features, x, V: int, N: int, seed: int, state: dict | None = None, begin: int = 0):
    """Voices with LSTM states: features (T, B, F), x (T, B, K) on the host -> an estimate of log Pr (T, B), state.

    N particles per song, each with voice states of its own, draw what is true and leaves no key unplayed
    (`voices.force_truth`, `banning.true_decisions`); log Pr of step t is
    log sum_i W_i w_i(t), W the normalised weights so far. Resampled (systematically) where the effective number falls
    under N/2. `begin` is the time of the first step: no uniform is used twice in a song. A step with more notes than
    voices moves the states and gives -inf. Minus the log of a mean overstates the loss; the more particles, the less.
    """
    xp, (T, B, _) = array_module(params.flat), x.shape
    bans = "decide.W" in params.views
    forward, weight_of = (banning_forward, decision_weight) if bans else (voices_forward, path_weight)
    if state is None:
        sizes = {f"voice{v + 1}": params["voice.Wh" if bans else f"voice{v + 1}.Wh"].shape[0] for v in range(V)}
        state = {f"{name}.{part}": xp.zeros((B * N, H), params.dtype) for name, H in sizes.items() for part in "hc"}
        state["weights"] = np.full((B, N), 1 / N)
    state, out = dict(state), np.full((T, B), -np.inf)
    W = state.pop("weights")
    for t in range(T):
        rows = xp.asarray(x[t].repeat(N, axis=0)[None])
        playable = x[t].sum(axis=1) <= V
        u = uniforms(seed, "particles", begin + t, range(B), (N, V + 1), np.float64)
        own_u = np.moveaxis(u[..., :V], 2, 0).reshape(V, 1, B * N)
        given = {"voices.u": xp.asarray(own_u), "truth": rows, "forced": True}
        (p, notes, state), _ = forward(params, features[t].repeat(N, axis=0)[None], V, state, given)
        joint = W * to_host(weight_of(p, notes, rows))[0].reshape(B, N)
        total = joint.sum(axis=1)
        playable &= total > 0  # a chance under the smallest float
        out[t, playable] = np.log(total[playable])
        W = np.where(playable[:, None], joint / np.where(playable, total, 1)[:, None], W)
        poor, chosen = np.flatnonzero(1 / (W * W).sum(axis=1) < N / 2), np.arange(B * N).reshape(B, N)
        for b in poor:
            chosen[b] = b * N + np.searchsorted(W[b].cumsum(), (np.arange(N) + u[b, 0, V]) / N).clip(0, N - 1)
            W[b] = 1 / N
        if len(poor):
            chosen = xp.asarray(chosen.reshape(-1))
            state = {name: array[chosen] for name, array in state.items()}
    return out, state | {"weights": W}


def octaves(z, keys):
    """The octave decoder: logits z (..., 88), keys (..., 88) of 0/1 -> log Pr of the keys given their classes (...).

    For a class that is on and its octaves O, since a class that got no key takes its likeliest octave:
    `prod_{o in O} p_o prod_{o not in O} (1-p_o) + [O = {argmax}] prod_o (1-p_o)`.
    """
    shape = (*keys.shape[:-1], 96)
    there, x, logits = np.zeros(96, bool), np.zeros(shape, bool), np.full(shape, -np.inf)
    there[:88], x[..., :88], logits[..., :88] = True, keys > 0, z
    there, x, logits = (array.reshape(*array.shape[:-1], 8, 12) for array in (there, x, logits))
    on, off = log_sigmoid(np.where(there, logits, 0)), log_sigmoid(-np.where(there, logits, 0))
    drawn, none = (np.where(there, of, 0).sum(axis=-2) for of in (np.where(x, on, off), off))
    alone = (x.sum(axis=-2) == 1) & (x.argmax(axis=-2) == logits.argmax(axis=-2))
    return np.where(x.any(axis=-2), np.where(alone, np.logaddexp(drawn, none), drawn), 0).sum(axis=-1)


def log_likelihood(model, params, batch: dict, state: dict | None = None, N: int = 64, seed: int = 0):
    """Every step of a batch of the host -> log Pr of what the rung itself plays (T, B), of the octaves given the
    classes (T, B; 0 on 88 keys), and the state to go on from. `decoder` plays nothing itself: 0."""
    c, (T, B), xp = model.config, batch["mask"].shape, array_module(params.flat)
    state = dict(state or {})
    filtered = state.pop("particles", None)
    given = model.draws(seed, "likelihood", int(batch["start"][0]), range(B), T)
    _, _, trace, new_state = model.loss(params, on_device(xp, batch), on_device(xp, given), state, grad=False)
    roll = batch["roll"][-T:]
    x = model.music(roll, np.float64)
    flat = x.reshape(T * B, -1)
    if model.needs_classes:
        own = np.zeros((T, B))
    elif model.in_order:
        own = -to_host(trace["step.nats"]).astype(np.float64)
    elif not c.voices:
        own = independent_keys(to_host(trace["cells.z"]), x)
    elif not model.conditional:
        own = voices_at_once(to_host(trace["voices.p"]).reshape(c.voices, T * B, -1), flat).reshape(T, B)
    elif not c.voice_hidden:
        own = linear_voices(params, trace["features"].reshape(T * B, -1), flat, c.voices).reshape(T, B)
    else:
        own, new_state["particles"] = particles(
            params, trace["features"], x, c.voices, N, seed, filtered, int(batch["start"][0])
        )
    of_octaves = octaves(to_host(trace["decoder.z"]), roll) if c.keys == 12 else np.zeros((T, B))
    return own, of_octaves, new_state


def under_melody(p, nats, roll, sounding):
    """What a step costs where its melody is known: p (V, T, B, K+1), nats (T, B) of ordered voices, roll and sounding
    (T, B, 88) -> nats (T, B). A strike of the top line is no decision; under one that sounds, voice 1 decides among the
    keys that are left (minigen/music/steering.py)."""
    found = np.array(nats, np.float64)
    for b in range(roll.shape[1]):
        line, ceiling = top_line(roll[:, b], sounding[:, b])
        for t in range(len(roll)):
            kept = np.append((np.arange(88) < ceiling[t]) if not line[t].any() else line[t] > 0, not line[t].any())
            found[t, b] += np.log(max((p[0, t, b] * kept).sum(), 1e-30))
    return found


def nats_under_melody(model, params, songs, sounding) -> float:
    """`under_melody`, mean over the steps of whole songs; sounding: what sounds in each, None where it is not known."""
    total, count = 0.0, 0
    sounding = [ringing(song) if s is None else s for song, s in zip(songs, sounding, strict=True)]
    for _, batch in whole_songs(songs, model.config.past, max(map(len, songs)), 4, sounding):  # a line is not cut
        trace = model.spread(model.loss(params, on_device(array_module(params.flat), batch), {}, grad=False)[2])
        p, nats, roll = to_host(trace["voices.p"]), to_host(trace["step.nats"]), batch["roll"][-len(batch["mask"]) :]
        total += under_melody(p, nats, roll, batch["sounding"][1:])[batch["mask"]].sum()
        count += int(batch["mask"].sum())
    return float(total / count)


def playable(model, roll, by_all: bool = False):
    """Which steps (...) of a roll (..., 88) this rung can play at all; `by_all`: every rung as the diary has it too."""
    classes, keys = pitch_classes(roll).sum(axis=-1), (roll > 0).sum(axis=-1)
    own = (classes if model.config.keys == 12 else keys) <= (88 if model.in_order else model.config.voices or 88)
    return own & (classes <= CLASSES) & (keys <= KEYS) if by_all else own


def nats_per_step(
    model, params, songs, N: int = 64, runs: int = 3, seed: int = 0, by_all: bool = False
) -> dict[str, float]:
    """Minus log Pr, mean over the steps of whole songs that are `playable`, the states carried through each song.

    -> {"own": nats of what the rung itself plays, "both": of that and its octaves, "error": the standard error of both,
    "left out": the share of steps that cannot be played}. Exact, error 0, but for voices with LSTM states: the mean of
    `runs` particle filters of N particles with uniforms of their own, and the standard error that their spread gives.
    """
    filtered = model.conditional and model.config.voice_hidden
    found = []
    for run in progress(range(runs if filtered else 1), "measuring"):
        own = both = counted = left_out = 0
        state = None
        for first, batch in whole_songs(songs, model.config.past, model.config.fragment):
            mine, of_octaves, state = log_likelihood(model, params, batch, None if first else state, N, seed + run)
            use = batch["mask"] & playable(model, batch["roll"][-len(mine) :], by_all)
            own, both = own - mine[use].sum(), both - (mine + of_octaves)[use].sum()
            counted, left_out = counted + int(use.sum()), left_out + int((batch["mask"] & ~use).sum())
        found.append((own / counted, both / counted))
    own, both = np.mean(found, axis=0)
    error = np.std([run[0] for run in found], ddof=1) / np.sqrt(len(found)) if len(found) > 1 else 0
    return {
        "own": float(own),
        "both": float(both),
        "error": float(error),
        "left out": left_out / (counted + left_out),
    }
