"""Conditional voice sampling (diary 26/12; one LSTM per voice, 29/12): each voice reads what those before it played.

    p_v = softmax([features, played] W_v + b_v)                   over K keys and the pause, outcome K
    p_v = softmax(LSTM_v([features, played]) W_v + b_v)           the final form
    played = the K-vector of 0/1 that voices 1..v-1 played at this very step

No label says which voice plays which note. While training, each voice's draw is from p_v restricted to the true keys
and the pause, so that the next voice reads something true; the loss takes the unrestricted p_v, and no gradient flows
through a draw. While generating nothing is restricted. All steps of voice v run in one pass, since voice v-1 has drawn
for every step by then.

Translations of this file: kernels/cpu/voices.py and pointwise.py, kernels/cuda/voices.py.
"""

from minigen.backend import array_module, replaceable
from minigen.linear import linear_backward, linear_forward, softmax_backward, softmax_forward
from minigen.lstm import lstm_layer, lstm_layer_backward
from minigen.ops import join, one_hot
from minigen.params import linear_shapes, lstm_shapes


@replaceable
def draw(z, u, allowed=None):
    """One outcome of softmax(z), restricted to `allowed` and renormalised, by inverse CDF in outcome order.

    z (..., K+1) logits, u (...) uniforms in [0, 1), allowed (..., K+1) bool or None -> (...) whole numbers.
    """
    xp = array_module(z)
    z = z.real if allowed is None else xp.where(allowed, z.real, -xp.inf)
    cdf = xp.exp(z - z.max(axis=-1, keepdims=True)).cumsum(axis=-1)
    # u < 1 is scaled by the total rather than the masses by 1/total: an outcome of mass zero is never drawn
    return (cdf <= (u * cdf[..., -1])[..., None]).sum(axis=-1)


def allow_truth(truth):
    """The true keys and the pause: truth (..., K) of 0/1 -> (..., K+1) bool."""
    xp = array_module(truth)
    return join(truth > 0, xp.ones((*truth.shape[:-1], 1), bool))


def force_truth(truth, played, voices_left: int):
    """`allow_truth`, less any outcome that leaves more unplayed true keys than there are voices left."""
    xp = array_module(truth)
    unplayed = (truth > 0) & ~(played > 0)
    must = (unplayed.sum(axis=-1) > voices_left)[..., None]
    return join(xp.where(must, unplayed, truth > 0), ~must)


def keep_pause_probability(z, allowed):
    """Logits (..., K+1) for a draw restricted to `allowed`: the pause keeps its probability, and that of the keys that
    are not allowed is shared among the allowed ones, in proportion."""
    xp = array_module(z)
    keys, kept = z[..., :-1], xp.where(allowed[..., :-1], z[..., :-1], -xp.inf)
    top, top_kept = keys.max(axis=-1, keepdims=True), kept.max(axis=-1, keepdims=True)
    any_kept = xp.isfinite(top_kept)
    top, top_kept = (xp.where(any_kept, a, 0) for a in (top, top_kept))
    total, total_kept = (xp.exp(a - b).sum(axis=-1, keepdims=True) for a, b in ((keys, top), (kept, top_kept)))
    total, total_kept = (xp.where(any_kept, a, 1) for a in (total, total_kept))
    shift = top + xp.log(total) - top_kept - xp.log(total_kept)
    return join(keys + xp.where(any_kept, shift, 0), z[..., -1:])


def steered_draw(z, u, allowed):
    """`draw` among the outcomes `allowed`, the pause keeping its probability; allowed None: `draw`."""
    return draw(z, u) if allowed is None else draw(keep_pause_probability(z, allowed), u, allowed)


def voices_shapes(V: int, K: int, features: int, H: int) -> dict[str, tuple]:
    """For each voice an LSTM of H (none where H is 0) and a linear head, named voice1, head1, ..., of its own."""
    shapes = {}
    for v in range(1, V + 1):
        shapes |= lstm_shapes(f"voice{v}", features + K, H) if H else {}
        shapes |= linear_shapes(f"head{v}", H or features + K, K + 1)
    return shapes


def _play(z, v: int, V: int, played, given):
    """What voice v plays: z (T, B, K+1) logits, played (T, B, K) by the voices before it -> outcomes (T, B)."""
    if "voices.notes" in given:
        return given["voices.notes"][v]
    u = given["voices.u"][v]
    if "voices.allowed" in given:
        return steered_draw(z, u, given["voices.allowed"][v])
    if "forced" in given:
        return draw(z, u, force_truth(given["truth"], played, V - 1 - v))
    return draw(z, u, allow_truth(given["truth"]) if "truth" in given else None)


@replaceable
def voices_forward(params, features, V: int, state, given, temperature=1.0):
    """features (T, B, F), given (minigen/draws.py): `voices.u`, and `truth` or `voices.allowed` where draws are
    restricted; or `voices.notes` -> (p (V, T, B, K+1), notes (V, T, B), state), cache."""
    xp = array_module(features)
    T, B, F = features.shape
    K = params["head1.b"].shape[0] - 1
    p = xp.empty((V, T, B, K + 1), features.dtype)
    notes = xp.empty((V, T, B), "int64")
    played = xp.zeros((T, B, K), features.real.dtype)
    caches, new_state = [], {}
    for v in range(V):
        h, lstm = join(features, played), None
        if f"voice{v + 1}.Wh" in params.views:
            (h, voice_state), lstm = lstm_layer(params, f"voice{v + 1}", h, state)
            new_state |= voice_state
        z, linear = linear_forward(h, *params.layer(f"head{v + 1}"))
        z = z / temperature
        p[v], softmax = softmax_forward(z)
        notes[v] = _play(z, v, V, played, given)
        played = xp.maximum(played, one_hot(notes[v], K, played.dtype))
        caches.append((lstm, linear, softmax))
    return (p, notes, new_state), (F, caches)


@replaceable
def voices_backward(dp, cache):
    """dp (V, T, B, K+1) at temperature 1 -> dfeatures (T, B, F), gradients by layer {"voice1": (dWx, dWh, db), ...}."""
    F, caches = cache
    grads, dfeatures = {}, array_module(dp).zeros((*dp.shape[1:3], F), dp.dtype)
    for v in reversed(range(len(caches))):
        lstm, linear, softmax = caches[v]
        dz = softmax_backward(dp[v], softmax)
        dx, *grads[f"head{v + 1}"] = linear_backward(dz, linear)
        if lstm is not None:
            dx, grads[f"voice{v + 1}"] = lstm_layer_backward(dx, lstm)
        # in the forward pass this was: join(features, played); nothing flows into what was drawn
        dfeatures += dx[..., :F]
    return dfeatures, grads
