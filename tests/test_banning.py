"""Banning voices: what is masked and flipped, the paths they take, their likelihood, their weights in PyTorch."""

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from helpers import close, done, fresh, one_after_the_other, small, songs_of
from scipy.stats import chisquare

from minigen.banning import (
    banning_forward,
    banning_shapes,
    decision_weight,
    flip,
    marginal_forward,
    true_decisions,
    undecided,
)
from minigen.ladder import Banning
from minigen.params import Params
from minigen.run import checkpoint
from minigen.run.likelihood import particles

K, V, F, H = 3, 2, 4, 5


def voices(seed: int = 0):
    """Weights of banning voices, K keys and V voices, and a state of B songs."""
    shapes = banning_shapes(K, F, H)
    rng = np.random.default_rng(seed)
    params = Params(shapes, rng.normal(size=Params(shapes).flat.size))
    return params, rng.normal(size=(1, 1, F))


def state_of(B: int) -> dict:
    return {f"voice{v + 1}.{part}": np.zeros((B, H)) for v in range(V) for part in "hc"}


def chances(params, features) -> dict[tuple, float]:
    """Every path, decisions of voice 1, 2, ..., and its chance: the product of its decisions' chances."""
    found = {}
    for path in product(range(2 * K), repeat=V):
        given = {"voices.notes": np.array(path)[:, None, None]}
        p = banning_forward(params, features, V, state_of(1), given)[0][0]
        chance = float(np.prod([p[v, 0, 0, n] for v, n in enumerate(path)]))
        if chance:
            found[path] = chance
    return found


def test_a_decided_key_is_masked():
    decided = np.array([[1, 0, 0, 0, 1, 0.0]])  # key 0 is on, key 1 is banned
    assert undecided(decided).tolist() == [[False, False, True, False, False, True]]
    params, features = voices()
    paths = chances(params, features)
    assert abs(sum(paths.values()) - 1) < 1e-12
    assert all(len({n % K for n in path}) == V for path in paths)  # no key is decided twice


def test_a_wrong_decision_is_flipped_to_the_truth():
    truth = np.array([[1.0, 0, 1]])
    outcomes = np.array([[0], [1], [2], [3], [4], [5]])  # on, on, on, banned, banned, banned
    flipped = flip(outcomes, np.broadcast_to(truth, (6, 1, 3)))
    assert flipped[:, 0].tolist() == [0, 4, 2, 0, 4, 2]


def test_while_training_every_decision_is_true_and_as_likely_as_its_key():
    """No posterior: voice 1 takes key k with chance p_on[k] + p_ban[k], whatever the truth is."""
    params, features = voices()
    B, truth = 20_000, np.array([1.0, 0, 1])
    u = np.random.default_rng(1).random((V, 1, B))
    given = {"voices.u": u, "truth": np.broadcast_to(truth, (1, B, K))}
    (p, notes, _), _ = banning_forward(params, features.repeat(B, axis=1), V, state_of(B), given)
    assert ((notes < K) == (truth[notes % K] > 0)).all()
    counts = np.bincount(notes[0, 0] % K, minlength=K)
    expected = p[0, 0, 0, :K] + p[0, 0, 0, K:]
    assert chisquare(counts, B * expected).pvalue > 0.001


def test_steered_voices_play_as_often_as_they_would_have():
    """What keys that are not allowed had is shared among the allowed ones; bans keep what they had."""
    params, features = voices()
    B, allowed = 20_000, np.array([True, False, True, True])
    u = np.random.default_rng(4).random((V, 1, B))
    given = {"voices.u": u, "voices.allowed": np.broadcast_to(allowed, (V, 1, B, K + 1))}
    (p, notes, _), _ = banning_forward(params, features.repeat(B, axis=1), V, state_of(B), given)
    p = p[0, 0, 0]
    on = p[:K] * allowed[:K]
    on *= p[:K].sum() / on.sum()
    expected = B * np.concatenate([on, p[K:]])
    counts = np.bincount(notes[0, 0], minlength=2 * K)
    assert counts[1] == 0 and chisquare(counts[expected > 0], expected[expected > 0]).pvalue > 0.001


def test_the_paths_have_the_chances_that_they_claim():
    params, features = voices()
    paths, B = chances(params, features), 50_000
    u = np.random.default_rng(2).random((V, 1, B))
    (_, notes, _), _ = banning_forward(params, features.repeat(B, axis=1), V, state_of(B), {"voices.u": u})
    counts = dict.fromkeys(paths, 0)
    for path in zip(*notes[:, 0].tolist(), strict=True):
        counts[path] += 1
    expected = np.array([B * chance for chance in paths.values()])
    often = expected > 5
    seen = np.array(list(counts.values()))
    seen, expected = (np.append(of[often], of[~often].sum()) for of in (seen, expected))
    some = expected > 0  # the rare ones together, if there are any
    assert chisquare(seen[some], expected[some]).pvalue > 0.001


def test_the_particle_filter_gives_the_chance_of_a_step():
    """Every set of keys: the sum over the paths that play it, and the mean weight of forced particles."""
    params, features = voices()
    exact = {}
    for path, chance in chances(params, features).items():
        played = tuple(sorted(n for n in path if n < K))
        exact[played] = exact.get(played, 0) + chance
    assert abs(sum(exact.values()) - 1) < 1e-12
    for played, chance in exact.items():
        x = np.zeros((1, 1, K))
        x[..., list(played)] = 1
        found, _ = particles(params, features, x, V, 4000, seed=0)
        assert abs(found[0, 0] - np.log(chance)) < 0.05, played


def test_forced_decisions_leave_no_true_key_over():
    truth, none = np.array([[1.0, 1, 0]]), np.zeros((1, 6))
    assert true_decisions(truth, none, 2).tolist() == [[True, True, False, False, False, True]]
    assert true_decisions(truth, none, 1).tolist() == [[True, True, False, False, False, False]]
    one = np.array([[1.0, 0, 0, 0, 0, 0]])
    assert true_decisions(truth, one, 0).tolist() == [[False, True, False, False, False, False]]
    p = np.full((2, 1, 6), 1 / 6)
    notes = np.array([[0], [1]])
    np.testing.assert_allclose(decision_weight(p, notes, truth), [2 / 6 * 1 / 6])


def test_the_marginal_is_that_of_two_unions():
    p = np.random.default_rng(3).dirichlet(np.ones(2 * K), (V, 1, 2))
    P, _ = marginal_forward(p)
    for b, k in product(range(2), range(K)):
        on, ban = (1 - np.prod([1 - p[v, 0, b, n] for v in range(V)]) for n in (k, K + k))
        assert abs(P[0, b, k] - on * (1 - ban)) < 1e-12


def test_a_quiet_start_plays_the_songs_notes_per_step():
    songs = songs_of(512, 512)
    model = small("banning").quiet(songs)
    trained = fresh(model, 3)
    trained.params.flat[:] = 0  # the biases decide alone
    trained.params["decide.b"][12:] = model.config.pause_bias
    given = {"voices.u": np.random.default_rng(0).random((5, 2000, 1))}
    features = np.zeros((2000, 1, model.config.aggregator or model.config.hidden))
    state = {name: np.zeros((1, size)) for name, size in model.states().items()}
    state = {f"{name}.{part}": array for name, array in state.items() for part in "hc"}
    (_, notes, _), _ = banning_forward(trained.params, features, 5, state, given)
    wanted = np.mean([model.music(song > 0, float).sum(axis=1).mean() for song in songs])
    assert abs((notes < 12).sum(axis=0).mean() / wanted - 1) < 0.1


@pytest.mark.torch
def test_weights_go_into_pytorch_and_back(tmp_path):
    """To the last bit; and a PyTorch program has the same features, p and P to 1e-6."""
    torch = pytest.importorskip("torch")
    model = Banning(replace(small("banning").config, time_order="high first", time_of="input", aggregator=9))
    trained = fresh(model)
    rng = np.random.default_rng(0)
    trained.params.flat[:] = rng.normal(size=trained.params.flat.shape) * 0.3
    checkpoint.save(tmp_path / "a.npz", model, trained.params)
    done("torch_weights", tmp_path / "a.npz", tmp_path / "a.pt")
    done("torch_weights", tmp_path / "a.pt", tmp_path / "b.npz")
    again = checkpoint.load(tmp_path / "b.npz")
    assert (again.params.flat == trained.params.flat).all()
    assert replace(again.model.config, capsule=model.config.capsule) == model.config

    weights = torch.load(tmp_path / "a.pt", weights_only=True)
    T, past, c = 40, model.config.past, model.config
    roll = np.zeros((past + T, 1, 88), np.uint8)
    roll[past - 1 :] = rng.random((T + 1, 1, 88)) < 0.05  # the song begins with a step, not with an empty one
    batch = {"roll": roll, "start": np.ones(1, np.int64), "mask": np.ones((T, 1), bool)}
    _, _, trace, _ = model.loss(trained.params, batch, model.draws(0, "test", 0, [0], T), grad=False)

    def lstm(name, x):
        inputs, hidden = weights[f"{name}.weight_ih_l0"].shape[1], weights[f"{name}.weight_hh_l0"].shape[1]
        layer = torch.nn.LSTM(inputs, hidden)
        layer.load_state_dict({key.rpartition(".")[2]: w for key, w in weights.items() if key.startswith(f"{name}.")})
        return layer(x)[0]

    def linear(name, x):
        return x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]

    x = torch.tensor(model.music(roll[past - 1 :], np.float32))  # T + 1 steps, of which T are inputs
    time = torch.arange(T)[:, None, None]
    bits = ((time >> torch.arange(c.time_bits - 1, -1, -1)) & 1).float()
    inputs = torch.cat([x[:T], bits], -1)
    w = linear("history_reader.read_linear", lstm("history_reader.read_lstm", inputs)).softmax(-1)
    padded = torch.cat([torch.zeros(past, 1, 12), x])
    lagged = torch.stack([padded[past + 1 - lag : past + 1 - lag + T] for lag in c.lags], -1)
    reading = (lagged * w[:, :, None]).sum(-1)
    features = lstm("aggregation_lstm", torch.cat([lstm("local_lstm", inputs), reading], -1))
    decided, ps = torch.zeros(T, 1, 24), []
    for v in range(c.voices):
        z = linear("sampler.linear", lstm("sampler.lstm", torch.cat([features, decided], -1)))
        done_keys = (decided[..., :12] + decided[..., 12:]) > 0
        ps.append(z.masked_fill(torch.cat([done_keys, done_keys], -1), -torch.inf).softmax(-1))
        decided = decided + torch.nn.functional.one_hot(torch.tensor(trace["voices.notes"][v]), 24)
    neither = torch.prod(1 - torch.stack(ps), dim=0)
    P = (1 - neither[..., :12]) * neither[..., 12:]
    for ours, theirs in ((trace["features"], features), (trace["voices.p"], torch.stack(ps)), (trace["cells.P"], P)):
        close(ours, theirs.detach().numpy(), 1e-5)
        assert np.abs(ours - theirs.detach().numpy()).max() < 1e-6


@pytest.mark.torch
def test_a_foreign_file_is_refused(tmp_path):
    torch = pytest.importorskip("torch")
    torch.save({"local_lstm.weight_ih_l0": torch.zeros(4, 18)}, tmp_path / "few.pt")
    (tmp_path / "junk.pt").write_bytes(b"junk")
    names = ("few.pt", "junk.pt", "none.pt")
    ended = one_after_the_other([("torch_weights", [name, "out.npz"]) for name in names], tmp_path)
    for name, (code, _, err) in zip(names, ended, strict=True):
        assert code == 2 and err.startswith("error: ") and name in err
    assert not (tmp_path / "out.npz").exists()
