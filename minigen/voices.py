"""Conditional voice sampling (diary 26/12; with an LSTM a voice, 29/12): each voice hears what those before it played.

    p_v = softmax([features, notes] W_v + b_v)                   over K keys and the pause, outcome K
    p_v = softmax(LSTM_v([features, notes]) W_v + b_v)           the final form
    notes = the K-vector of 0/1 that voices 1..v-1 played at this very step

No label says which voice plays which note. While training, each voice's draw is from p_v restricted to the true keys
and the pause (`allowed`), so that the next voice hears something true; the loss sees the unrestricted p_v, and no
gradient flows through a draw. While generating nothing is restricted. All steps of voice v run in one pass, since
voice v-1 has drawn for every step by then.
"""

from minigen.backend import array_module, replaceable
from minigen.linear import linear_backward, linear_forward, softmax_backward, softmax_forward
from minigen.lstm import lstm_backward, lstm_layer
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


def allow_truth(x):
    """The true keys and the pause: x (T, B, K) of 0/1 -> (T, B, K+1) bool."""
    xp = array_module(x)
    return join(x > 0, xp.ones((*x.shape[:-1], 1), bool))


def leave_the_pause(z, allowed):
    """Logits (..., K+1) whose draw, restricted to `allowed`, leaves the pause the chance that it had: what is taken
    from the keys that are not allowed goes to the others in proportion."""
    xp = array_module(z)
    keys, some = z[..., :-1], xp.where(allowed[..., :-1], z[..., :-1], -xp.inf)
    top, top_some = keys.max(axis=-1, keepdims=True), some.max(axis=-1, keepdims=True)
    there = xp.isfinite(top_some)
    top_some = xp.where(there, top_some, 0)
    total, rest = (xp.exp(a - b).sum(axis=-1, keepdims=True) for a, b in ((keys, top), (some, top_some)))
    shift = xp.where(there, top + xp.log(total) - top_some - xp.log(xp.where(there, rest, 1)), 0)
    return join(keys + shift, z[..., -1:])


def voices_shapes(V: int, K: int, features: int, H: int) -> dict[str, tuple]:
    """For each voice an LSTM of H (none where H is 0) and a linear head, named voice1, head1, ..., of its own."""
    shapes = {}
    for v in range(1, V + 1):
        shapes |= lstm_shapes(f"voice{v}", features + K, H) if H else {}
        shapes |= linear_shapes(f"head{v}", H or features + K, K + 1)
    return shapes


@replaceable
def voices_forward(params, features, V: int, state, draws, allowed=None, temperature=1.0):
    """features (T, B, F), draws {"voices": uniforms (T, B, V)} or {"notes": outcomes (T, B, V)}, allowed (T, B, K+1)
    or a function of (v, heard) that gives it -> (p (V, T, B, K+1), notes (V, T, B), state), cache.

    `notes` in `draws` are played as they are: for gradient checks, parity tests, likelihoods. `allowed` (T, B, V, K+1)
    in `draws` steers: keys that are not allowed are not drawn, and the pause keeps its chance.
    """
    xp = array_module(features)
    T, B, F = features.shape
    K = params["head1.b"].shape[0] - 1
    p = xp.empty((V, T, B, K + 1), features.dtype)
    notes = xp.empty((V, T, B), "int64")
    heard = xp.zeros((T, B, K), features.dtype)
    caches, after = [], {}
    for v in range(V):
        h, lstm = join(features, heard), None
        if f"voice{v + 1}.Wh" in params.views:
            (h, on), lstm = lstm_layer(params, f"voice{v + 1}", h, state)
            after |= on
        z, linear = linear_forward(h, *params.layer(f"head{v + 1}"))
        z = z / temperature
        p[v], softmax = softmax_forward(z)
        if "notes" in draws:
            notes[v] = draws["notes"][:, :, v]
        else:
            some = allowed(v, heard) if callable(allowed) else allowed
            if "allowed" in draws:
                some = draws["allowed"][:, :, v]
                z = leave_the_pause(z, some)
            notes[v] = draw(z, draws["voices"][:, :, v], some)
        heard = xp.maximum(heard.real, one_hot(notes[v], K, features.real.dtype))
        caches.append((lstm, linear, softmax))
    return (p, notes, after), (F, caches)


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
            dx, _, _, *grads[f"voice{v + 1}"] = lstm_backward(dx, None, lstm)
        # in the forward pass this was: join(features, heard); nothing flows into what was drawn
        dfeatures += dx[..., :F]
    return dfeatures, grads
