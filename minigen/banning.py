"""Banning voices (the author's last model): a voice decides that a key sounds, or that it surely does not.

    p_v = softmax(LSTM([features, on, banned]) W + b)      2K outcomes: on 0..K-1, then banned K..2K-1
    P[k] = P_on[k] (1 - P_ban[k]),  P_on[k] = 1 - prod_v (1 - p_v[k]),  P_ban[k] = 1 - prod_v (1 - p_v[K + k])

`on` and `banned` are what the voices before v have decided at this very step, K-vectors of 0/1; a decided key is
masked: p_v gives its two outcomes nothing. One LSTM and one linear layer serve all voices, each with its own state.
Nobody pauses. No posterior: while training a voice draws from p_v itself, and a wrong decision is flipped to the truth,
so that the next voice reads something true; no gradient flows through a draw. The loss is the cross-entropy of P.
"""

from minigen.backend import array_module
from minigen.linear import linear_backward, linear_forward, softmax_backward, softmax_forward
from minigen.lstm import lstm_forward, lstm_layer_backward
from minigen.ops import join, one_hot
from minigen.params import linear_shapes, lstm_shapes
from minigen.union import products_of_others
from minigen.voices import draw, keep_pause_probability


def banning_shapes(K: int, features: int, H: int) -> dict[str, tuple]:
    """The LSTM and the linear layer that all voices share."""
    return lstm_shapes("voice", features + 2 * K, H) | linear_shapes("decide", H, 2 * K)


def undecided(decided):
    """decided (..., 2K) of 0/1, on and banned -> (..., 2K) bool: the outcomes of keys that nobody has decided."""
    K = decided.shape[-1] // 2
    still = (decided[..., :K] + decided[..., K:]) == 0
    return join(still, still)


def true_decisions(truth, decided, voices_left: int):
    """The undecided outcomes that are true, less any that leaves more unplayed true keys than there are voices left:
    truth (..., K), decided (..., 2K) -> (..., 2K) bool."""
    K = truth.shape[-1]
    on, ban = truth > 0, truth == 0
    unplayed = (on & (decided[..., :K] == 0)).sum(axis=-1, keepdims=True)
    return undecided(decided) & join(on, ban & (unplayed <= voices_left))


def flip(outcomes, truth):
    """A wrong decision made true: outcomes (...), truth (..., K) -> outcomes of the same keys (...)."""
    K = truth.shape[-1]
    key = outcomes % K
    true = array_module(truth).take_along_axis(truth > 0, key[..., None], axis=-1)[..., 0]
    return key + K * (1 - true.astype(key.dtype))


def _decide(z, v: int, V: int, decided, given):
    """What voice v decides: z (T, B, 2K) masked logits, decided (T, B, 2K) by the voices before it -> (T, B)."""
    if "voices.notes" in given:
        return given["voices.notes"][v]
    u, K = given["voices.u"][v], z.shape[-1] // 2
    if "voices.allowed" in given:
        allowed = given["voices.allowed"][v]
        may_ban = array_module(z).broadcast_to(allowed[..., K:], allowed[..., :K].shape)
        open_keys = undecided(decided) & join(allowed[..., :K], may_ban)
        # bans keep their probability, and that of the keys that are not allowed is shared among the allowed ones
        on = keep_pause_probability(join(z[..., :K], z[..., :1]), join(open_keys[..., :K], allowed[..., K:]))[..., :K]
        return draw(join(on, z[..., K:]), u, open_keys)
    if "forced" in given:
        return draw(z, u, true_decisions(given["truth"], decided, V - 1 - v))
    outcomes = draw(z, u)
    return flip(outcomes, given["truth"]) if "truth" in given else outcomes


def banning_forward(params, features, V: int, state, given, temperature=1.0):
    """features (T, B, F), the voices' states (B, H), given (minigen/draws.py): `voices.u`, with `truth` where decisions
    are flipped (or with `forced` too: true ones drawn), or with `voices.allowed` (V, T, B, K+1), whose last is for all
    bans; or `voices.notes` -> (p (V, T, B, 2K), notes (V, T, B) the outcomes, state), cache."""
    xp = array_module(features)
    T, B, F = features.shape
    outcomes = params["decide.b"].shape[0]
    p, notes = xp.empty((V, T, B, outcomes), features.dtype), xp.empty((V, T, B), "int64")
    decided = xp.zeros((T, B, outcomes), features.real.dtype)
    caches, new_state = [], {}
    for v in range(V):
        name = f"voice{v + 1}"  # of the state alone: the weights are shared
        (h, c), lstm = lstm_forward(
            join(features, decided), state[f"{name}.h"], state[f"{name}.c"], *params.layer("voice")
        )
        new_state |= {f"{name}.h": h[-1], f"{name}.c": c[-1]}
        z, linear = linear_forward(h[1:], *params.layer("decide"))
        z = xp.where(undecided(decided), z / temperature, -xp.inf)
        p[v], softmax = softmax_forward(z)
        notes[v] = _decide(z, v, V, decided, given)
        decided = decided + one_hot(notes[v], outcomes, decided.dtype)
        caches.append((lstm, linear, softmax))
    return (p, notes, new_state), (F, caches)


def banning_backward(dp, cache):
    """dp (V, T, B, 2K) at temperature 1 -> dfeatures (T, B, F), gradients by layer, sums over the voices."""
    F, caches = cache
    grads, dfeatures = {}, array_module(dp).zeros((*dp.shape[1:3], F), dp.dtype)
    for v in reversed(range(len(caches))):
        lstm, linear, softmax = caches[v]
        dh, *ddecide = linear_backward(softmax_backward(dp[v], softmax), linear)
        dx, dvoice = lstm_layer_backward(dh, lstm)
        # in the forward pass this was: join(features, decided); nothing flows into what was drawn
        dfeatures += dx[..., :F]
        for layer, arrays in (("voice", dvoice), ("decide", ddecide)):
            grads[layer] = [a + b for a, b in zip(grads[layer], arrays, strict=True)] if layer in grads else arrays
    return dfeatures, grads


def marginal_forward(p):
    """`P = P_on (1 - P_ban)`, each 1 - prod_v (1 - p_v): p (V, T, B, 2K) -> P (T, B, K), cache. It is no marginal of
    the draws, in which a decided key is masked."""
    K = p.shape[-1] // 2
    neither = (1 - p).prod(axis=0)
    P_on, not_banned = 1 - neither[..., :K], neither[..., K:]
    return P_on * not_banned, (p, P_on, not_banned)


def marginal_backward(dP, cache):
    """dP (T, B, K) -> dp (V, T, B, 2K)."""
    p, P_on, not_banned = cache
    prefix, suffix = products_of_others(1 - p)
    # in the forward pass this was: P_on * not_banned, 1 less a product of (1 - p_v), and such a product
    return join(dP * not_banned, -dP * P_on) * prefix * suffix


def decision_weight(p, notes, truth):
    """`prod_v m_v`, m_v the mass of the true decisions that voice v was restricted to (`true_decisions`):
    p (V, ..., 2K), notes (V, ...), truth (..., K) -> (...)."""
    xp, V, outcomes = array_module(p), len(p), p.shape[-1]
    weight, decided = xp.ones(notes.shape[1:]), xp.zeros((*notes.shape[1:], outcomes))
    for v in range(V):
        weight *= (p[v].astype("float64") * true_decisions(truth, decided, V - 1 - v)).sum(axis=-1)
        decided = decided + one_hot(notes[v], outcomes, decided.dtype)
    return weight
