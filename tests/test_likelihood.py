"""Likelihoods against exact enumeration: every path of every voice, on small K and V."""

from itertools import combinations, product

import numpy as np
import pytest
from scipy.stats import chisquare

from minigen.draws import uniforms
from minigen.gradcheck import toy_batch
from minigen.ladder import LADDER
from minigen.linear import softmax_forward
from minigen.ops import one_hot
from minigen.params import Params
from minigen.run.likelihood import (
    independent_keys,
    linear_voices,
    log_likelihood,
    nats_per_step,
    octaves,
    particles,
    path_weight,
    playable,
    voices_at_once,
)
from minigen.voices import force_truth, voices_forward, voices_shapes

V, K, F = 3, 4, 5


def subsets():
    """Every chord of K keys, as rows of 0/1."""
    return np.array(list(product([0, 1], repeat=K)))


def weights(H=0, seed=0):
    shapes = voices_shapes(V, K, F, H)
    rng = np.random.default_rng(seed)
    return Params(shapes, rng.normal(size=sum(int(np.prod(shape)) for shape in shapes.values())))


def paths_of(params, features, S, state=None):
    """Every path of notes that plays exactly S at one step: (path, its chance, the state after)."""
    for path in product(range(K + 1), repeat=V):
        if {k for k in path if k < K} != set(np.flatnonzero(S)):
            continue
        given = {"voices.notes": np.array(path)[:, None, None]}
        (p, _, after), _ = voices_forward(params, features, V, state or {}, given)
        yield path, np.prod([p[v, 0, 0, k] for v, k in enumerate(path)]), after


def test_independent_keys():
    P = np.array([0.2, 0.5, 0.9, 0.3])
    z = np.log(P / (1 - P))
    assert np.exp(independent_keys(z, subsets())).sum() == pytest.approx(1)
    assert np.exp(independent_keys(z, np.array([1, 0, 1, 0]))) == pytest.approx(0.2 * 0.5 * 0.9 * 0.7)
    far = np.array([-30, 30, -30, 30], np.float32)  # where a sigmoid in float32 is 0 or 1
    assert independent_keys(far, np.array([1, 0, 1, 0])) == pytest.approx(-120)
    assert independent_keys(far, np.array([0, 1, 0, 1])) == pytest.approx(-4 * np.exp(-30))


def test_voices_at_once():
    """Against all paths, against inclusion and exclusion; and all chords together have the chance 1."""
    rng = np.random.default_rng(1)
    p = softmax_forward(rng.normal(size=(V, 1, K + 1)) * 2)[0]
    chances = [np.exp(voices_at_once(p, S[None]))[0] for S in subsets()]
    assert sum(chances) == pytest.approx(1, abs=1e-12)
    for S, chance in zip(subsets(), chances, strict=True):
        keys = np.flatnonzero(S)
        played = [path for path in product(range(K + 1), repeat=V) if {k for k in path if k < K} == set(keys)]
        assert chance == pytest.approx(sum(np.prod([p[v, 0, k] for v, k in enumerate(path)]) for path in played))
        signed = 0
        for n in range(len(keys) + 1):
            for A in combinations(keys, n):
                signed += (-1) ** (len(keys) - n) * np.prod([p[v, 0, K] + p[v, 0, list(A)].sum() for v in range(V)])
        assert chance == pytest.approx(signed, abs=1e-12)


def test_linear_conditional_voices():
    params, features = weights(), np.random.default_rng(2).normal(size=(1, 1, F))
    chances = [np.exp(linear_voices(params, features[0], S[None], V))[0] for S in subsets()]
    assert sum(chances) == pytest.approx(1, abs=1e-12)
    for S, chance in zip(subsets(), chances, strict=True):
        assert chance == pytest.approx(sum(p for _, p, _ in paths_of(params, features, S)), abs=1e-12)


def test_the_union_played_has_these_chances():
    """20,000 steps played by conditional voices, by chi-square against the enumeration; chords too large never come."""
    n, rng = 20_000, np.random.default_rng(11)
    params, features = weights(seed=12), np.random.default_rng(13).normal(size=(1, 1, F))
    given = {"voices.u": rng.random((V, 1, n))}
    (_, notes, _), _ = voices_forward(params, np.repeat(features, n, axis=1), V, {}, given)
    played = one_hot(notes[:, 0], K, int).max(axis=0)
    counts = np.bincount(played @ 2 ** np.arange(K)[::-1], minlength=1 << K)  # the order of `subsets`
    exact = np.exp(linear_voices(params, features[0].repeat(1 << K, axis=0), subsets(), V))
    assert (counts[exact == 0] == 0).all() and exact[-1] == 0
    assert chisquare(counts[exact > 0], n * exact[exact > 0]).pvalue > 1e-3


def test_draws_of_training_have_their_exact_chances():
    """Every path of restricted draws: the product of each p_v on the true keys and the pause, renormalised."""
    n, rng = 20_000, np.random.default_rng(14)
    params, features = weights(seed=15), np.random.default_rng(16).normal(size=(1, 1, F))
    x = np.array([[[1.0, 0, 1, 0]]])
    given = {"voices.u": rng.random((V, 1, n)), "truth": np.repeat(x, n, axis=1)}
    (_, notes, _), _ = voices_forward(params, np.repeat(features, n, axis=1), V, {}, given)
    counts, exact = [], []
    for path in product([0, 2, K], repeat=V):
        (p, _, _), _ = voices_forward(params, features, V, {}, {"voices.notes": np.array(path)[:, None, None]})
        some = p[:, 0, 0, [0, 2, K]]
        exact.append(np.prod([p[v, 0, 0, k] / some[v].sum() for v, k in enumerate(path)]))
        counts.append((notes[:, 0].T == path).all(axis=1).sum())
    assert sum(counts) == n and sum(exact) == pytest.approx(1)
    assert chisquare(counts, n * np.array(exact)).pvalue > 1e-3


def test_proposal_times_weight_is_the_likelihood():
    """Summed over all paths that the forced proposal can draw; those that miss a key have no mass."""
    params, features = weights(seed=3), np.random.default_rng(4).normal(size=(1, 1, F))
    for S in subsets():
        if S.sum() > V:
            continue
        total = drawn = 0.0
        for path in product(range(K + 1), repeat=V):
            notes = np.array(path)
            (p, _, _), _ = voices_forward(params, features, V, {}, {"voices.notes": notes[:, None, None]})
            q, played = 1.0, np.zeros((1, 1, K))
            for v, k in enumerate(path):
                some = force_truth(S[None, None], played, V - 1 - v)
                q *= p[v, 0, 0, k] * some[0, 0, k] / (p[v] * some).sum()
                if k < K:
                    played[..., k] = 1
            if q:
                assert {k for k in path if k < K} == set(np.flatnonzero(S))
            drawn += q
            total += q * path_weight(p, notes[:, None, None], S[None, None])[0, 0]
        assert drawn == pytest.approx(1, abs=1e-10)
        assert total == pytest.approx(np.exp(linear_voices(params, features[0], S[None], V))[0], abs=1e-10)


def test_the_particle_estimate():
    """Voices with states over three steps: against every path of all three, within four standard errors."""
    H, T = 3, 3
    params, rng = weights(H, 5), np.random.default_rng(6)
    features, x = rng.normal(size=(T, 1, F)), np.array([[[1, 0, 1, 0]], [[0, 0, 0, 0]], [[0, 1, 1, 1]]])
    rest = {f"voice{v + 1}.{part}": np.zeros((1, H)) for v in range(V) for part in "hc"}
    reached = [(1.0, rest)]
    for t in range(T):
        reached = [
            (chance * p, after)
            for chance, state in reached
            for _, p, after in paths_of(params, features[t : t + 1], x[t, 0], state)
        ]
    exact = sum(chance for chance, _ in reached)
    runs = []
    for seed in range(40):
        out, _ = particles(params, features, x, V, 16, seed)
        runs.append(np.exp(out.sum()))
    error = np.std(runs, ddof=1) / np.sqrt(len(runs))
    assert abs(np.mean(runs) - exact) < 4 * error and error < 0.1 * exact


def filtered(params, features, x, N, seed):
    """The particle filter in loops, a particle and a voice at a time -> log Pr of each step, how often it resampled."""
    T, H, resampled, out = len(x), params["voice1.Wh"].shape[0], 0, []
    states = [{f"voice{v + 1}.{part}": np.zeros((1, H)) for v in range(V) for part in "hc"} for _ in range(N)]
    W = [1 / N] * N
    for t in range(T):
        S, u = set(np.flatnonzero(x[t, 0])), uniforms(seed, "particles", t, [0], (N, V + 1), np.float64)[0]
        weights = []
        for i in range(N):
            path, weight = [], 1.0
            for v in range(V):
                given = {"voices.notes": np.array(path + [K] * (V - v))[:, None, None]}
                (p, _, _), _ = voices_forward(params, features[t : t + 1], V, states[i], given)
                unplayed = S - set(path)
                some = sorted(unplayed) if len(unplayed) > V - 1 - v else [*sorted(S), K]
                cdf = np.cumsum([p[v, 0, 0, k] for k in some])
                weight *= cdf[-1]
                path.append(some[int((cdf <= u[i, v] * cdf[-1]).sum())])
            given = {"voices.notes": np.array(path)[:, None, None]}
            states[i] = voices_forward(params, features[t : t + 1], V, states[i], given)[0][2]
            weights.append(W[i] * weight)
        out.append(np.log(sum(weights)))
        W = [weight / sum(weights) for weight in weights]
        if 1 / sum(w * w for w in W) < N / 2:
            chosen = [int((np.cumsum(W) < (i + u[0, V]) / N).sum()) for i in range(N)]
            states, W, resampled = [states[i] for i in chosen], [1 / N] * N, resampled + 1
    return out, resampled


def test_the_filter_step_by_step():
    """Same uniforms, same estimate, at every step: weights kept between steps, states moved where it resamples."""
    params, rng = weights(4, 18), np.random.default_rng(19)
    params.flat[:] *= 3  # sure of themselves, so that weights soon differ
    features, x = rng.normal(size=(12, 1, F)), (rng.random((12, 1, K)) < 0.4).astype(float)
    expected, resampled = filtered(params, features, x, 8, 3)
    assert 2 <= resampled <= 10
    np.testing.assert_allclose(particles(params, features, x, V, 8, 3)[0][:, 0], expected, rtol=1e-9)


def test_particles_go_on_where_they_stopped():
    params, rng = weights(3, 7), np.random.default_rng(8)
    features, x = rng.normal(size=(6, 2, F)), (rng.random((6, 2, K)) < 0.4).astype(float)
    x[2, 0] = 1  # more notes than voices
    first, state = particles(params, features[:3], x[:3], V, 8, 0)
    assert np.isneginf(first[2, 0]) and np.isfinite(np.delete(first.ravel(), 4)).all()
    second, _ = particles(params, features[3:], x[3:], V, 8, 0, state, 3)
    whole, _ = particles(params, features, x, V, 8, 0)
    np.testing.assert_allclose(np.concatenate([first, second]), whole, rtol=1e-12)


def test_octaves():
    """All ways to play a class have together the chance 1, the fallback to the likeliest octave included."""
    z = np.random.default_rng(9).normal(size=88) * 2
    other = np.zeros(88)
    other[5] = 1  # one choice of another class, whose chance is taken out again
    total = 0
    for low in product([0, 1], repeat=8):
        if any(low):
            keys = other.copy()
            keys[0:88:12] = low
            total += np.exp(octaves(z, keys) - octaves(z, other))
    assert total == pytest.approx(1)
    assert octaves(z, np.zeros(88)) == 0
    far = np.full(88, -30.0)
    far[5] = -29
    assert octaves(far, other) == pytest.approx(0, abs=1e-9)  # no key is drawn, and the likeliest octave is taken
    assert np.isfinite(octaves(far.astype(np.float32), np.roll(other, 12)))


@pytest.mark.parametrize("name", LADDER)
def test_every_rung_has_one(name):
    """Finite where the voices suffice, never positive, and carried from block to block."""
    model, T, B = LADDER[name](), 6, 2
    params, batch = model.init(0), toy_batch(LADDER[name](), 6, 2, density=0.02)
    own, given, state = log_likelihood(model, params, batch, N=4)
    sizes = model.music(batch["roll"][-T:], int).sum(axis=-1)
    enough = sizes <= (model.config.voices or 88)
    assert own.shape == given.shape == (T, B) and (own <= 1e-9).all() and (given <= 0).all()
    assert (np.isfinite(own) == enough | bool(model.needs_classes)).all() and np.isfinite(given).all()
    assert np.isfinite(log_likelihood(model, params, batch, state, N=4)[0][enough]).all()


def test_the_mean_over_whole_songs_and_its_error():
    """Against each song alone; steps with more notes than voices are in no mean; a filter's error is its spread."""
    rng = np.random.default_rng(17)
    songs = [(rng.random((length, 88)) < 0.02).astype(np.uint8) for length in (40, 24)]
    songs[0][5, :20] = 1
    model = LADDER["history"]()
    params = model.init(0)
    found, logs, left_out = nats_per_step(model, params, songs), [], 0
    for song in songs:
        roll = np.concatenate([np.zeros((model.config.past, 88), np.uint8), song])[:, None]
        batch = {"roll": roll, "start": np.zeros(1, np.int64), "mask": np.ones((len(song), 1), bool)}
        own = log_likelihood(model, params, batch)[0][:, 0]
        fits = playable(model, song)
        logs, left_out = [*logs, *own[fits]], left_out + (~fits).sum()
    assert left_out >= 1 and np.isfinite(logs).all()
    assert found["own"] == found["both"] == pytest.approx(-np.mean(logs), rel=1e-6)
    assert found["error"] == 0 and found["left out"] == left_out / 64
    model = LADDER["final"]()
    params = model.init(0)
    runs = [nats_per_step(model, params, songs, N=4, runs=1, seed=seed)["own"] for seed in (5, 6, 7)]
    found = nats_per_step(model, params, songs, N=4, runs=3, seed=5)
    assert found["own"] == pytest.approx(np.mean(runs)) and found["own"] < found["both"]
    assert found["error"] == pytest.approx(np.std(runs, ddof=1) / np.sqrt(3)) and found["error"] > 0
