"""`final` and `pause-loss` in PyTorch: the judge of minigen's hand-written gradients.

Written from the specification alone (the equations, not minigen's code) and sharing nothing with minigen:
autograd does every backward pass here, and `torch.lstm` every LSTM: the operator that `torch.nn.LSTM.forward` calls,
time-major (oneDNN in float32). `prepare` makes its weights, inside the graph or once beforehand. The benchmark uses
this program as its peer.

Weights are a dict by name, `(in, out)`, gate order i f o g in blocks of H along the last axis.
T time, B batch, K classes, V voices, L lags, H hidden, P rows of past.
"""

import torch
import torch.nn.functional as F

CLIP = 1e-6
TORCH_NAMES = {"Wx": "weight_ih_l0", "Wh": "weight_hh_l0", "b": "bias_ih_l0"}


def prepare(weights):
    """The weights as `torch.nn.LSTM` names and holds them: gates i f g o, (out, in). Differentiable."""
    prepared = {}
    for name, w in weights.items():
        part, _, kind = name.rpartition(".")
        if f"{part}.Wh" in weights:  # an LSTM, not a linear layer
            i, f, o, g = w.t().chunk(4)
            name, w = f"{part}.{TORCH_NAMES[kind]}", torch.cat([i, f, g, o]).contiguous()
        prepared[name] = w
    return prepared


def lstm(x, h, c, w_ih, w_hh, bias):
    """All steps in one call -> every h (T, B, H), the last h and c (B, H). Torch's second bias is zero."""
    flat = [w_ih, w_hh, bias, torch.zeros_like(bias)]
    hs, h, c = torch.lstm(x, (h[None], c[None]), flat, True, 1, 0.0, torch.is_grad_enabled(), False, False)
    return hs, h[0], c[0]


def fold(roll, keys):
    """(..., 88) -> (..., keys): class p is on when any of the keys p, p + keys, p + 2 keys, ... is struck."""
    whole = F.pad(roll, (0, -roll.shape[-1] % keys))
    return whole.unflatten(-1, (-1, keys)).amax(-2)


def loss(
    weights, roll, start, mask, notes, *, lags, pause_loss, stop_gradient,
    keys=12, voices=5, time_bits=6, state=None,
):  # fmt: skip
    """All that a training step needs, as a dict; `loss` is the scalar to call `.backward()` on.

    roll (P+T, B, 88) 0/1, row P the first predicted step; start (B,) its absolute time; mask (T, B), the
    predictions that count; notes (T, B, V) what each voice drew, K a pause; state `{"reader.h": (B, H),
    "reader.c": ...}`, or None: zeros. The result: loss = voices_loss + decoder_loss, voices_p (T, B, V, K+1),
    reader_w (T, B, L), cells (T, B, K or K+1) before the clip, the pause cell last, decoder_p (T, B, 88), 0
    where the class is off, and the state after the last step.
    """
    if "reader.Wx" in weights:
        weights = prepare(weights)
    T, B = mask.shape
    P = len(roll) - T
    dtype = weights["weights.W"].dtype
    state, last = state or {}, {}

    def layer(name, *parts):
        x = torch.cat(parts, -1)
        w = [weights[f"{name}.{kind}"] for kind in TORCH_NAMES.values()]
        h, c = (state.get(f"{name}.{s}", x.new_zeros(B, w[2].shape[-1] // 4)) for s in "hc")
        hs, last[f"{name}.h"], last[f"{name}.c"] = lstm(x, h, c, *w)
        return hs

    def linear(name, x):
        return F.linear(x, weights[f"{name}.W"].T, weights[f"{name}.b"])

    # the rows: row P + t is predicted at t, from row P + t - 1; lag l is counted from the predicted row
    roll = roll.to(dtype)
    mask = mask.to(dtype)[..., None]
    classes = fold(roll, keys)
    x, target = classes[P - 1 : -1], classes[P:]
    steps = start + torch.arange(T)[:, None]
    bits = (steps[..., None] >> torch.arange(time_bits) & 1).to(dtype)

    # the history reader
    reader_w = linear("weights", layer("reader", x, bits)).softmax(-1)
    reading = sum(reader_w[..., n : n + 1] * classes[P - lag : P - lag + T] for n, lag in enumerate(lags))
    features = layer("aggregator", reading, layer("local", x, bits))

    # the voices, each reading what those before it played in the same step
    played = features.new_zeros(T, B, keys)
    p = []
    for v in range(voices):
        p.append(linear(f"head{v + 1}", layer(f"voice{v + 1}", features, played)).softmax(-1))
        played = torch.maximum(played, F.one_hot(notes[..., v], keys + 1)[..., :keys].to(dtype))

    # their union
    cells, truth = torch.zeros_like(target), target
    for p_v in p:
        rest = 1 - cells
        cells = cells + (rest.detach() if stop_gradient else rest) * p_v[..., :keys]
    if pause_loss:
        pause = torch.ones_like(mask)
        for p_v in p:
            pause = pause * p_v[..., keys:]
        cells = torch.cat([cells, pause], -1)
        truth = torch.cat([target, (target.sum(-1, keepdim=True) == 0).to(dtype)], -1)
    clipped = cells.clamp(CLIP, 1 - CLIP)  # clamp passes no gradient outside
    entropy = F.binary_cross_entropy(clipped, truth, weight=mask, reduction="sum")
    voices_loss = entropy / (mask.sum() * cells.shape[-1])

    # the octave decoder, judged on the keys whose class is on
    logits = linear("keys", layer("octave", roll[P - 1 : -1], target, bits))
    allowed = target[..., torch.arange(88) % keys]
    entropy = F.binary_cross_entropy_with_logits(logits, roll[P:], weight=allowed * mask, reduction="sum")
    decoder_loss = entropy / (mask.sum() * 88)
    return {
        "loss": voices_loss + decoder_loss, "voices_loss": voices_loss, "decoder_loss": decoder_loss,
        "voices_p": torch.stack(p, 2), "reader_w": reader_w, "cells": cells,
        "decoder_p": logits.sigmoid() * allowed, "state": last,
    }  # fmt: skip


@torch.no_grad()
def play(weights, roll, time, state, uniforms, octave_uniforms, *, lags, keys=12, voices=5, time_bits=6):
    """One step of playing, one stream. roll (P, 88) 0/1, the last P steps; time, that of the step to play; state as
    `loss` returns it, or {}; uniforms (V,), octave_uniforms (88,). -> the keys struck (88,), state, p (V, K+1).

    Draws are by inverse CDF in outcome order; a class that is on and got no key takes its likeliest octave.
    """
    last = {}

    def layer(name, *parts):
        x = torch.cat(parts, -1)[None, None]
        w = [weights[f"{name}.{kind}"] for kind in TORCH_NAMES.values()]
        h, c = (state.get(f"{name}.{s}", x.new_zeros(1, w[1].shape[-1])) for s in "hc")
        hs, last[f"{name}.h"], last[f"{name}.c"] = lstm(x, h, c, *w)
        return hs[0, 0]

    def linear(name, x):
        return F.linear(x, weights[f"{name}.W"].T, weights[f"{name}.b"])

    classes = fold(roll, keys)
    bits = (torch.tensor(time) >> torch.arange(time_bits) & 1).to(roll.dtype)
    w = linear("weights", layer("reader", classes[-1], bits)).softmax(-1)
    reading = w @ classes[[len(roll) - lag for lag in lags]]
    features = layer("aggregator", reading, layer("local", classes[-1], bits))

    played, p = features.new_zeros(keys), []
    for v in range(voices):
        p.append(linear(f"head{v + 1}", layer(f"voice{v + 1}", features, played)).softmax(-1))
        cdf = p[v].cumsum(-1)
        note = int((cdf <= uniforms[v] * cdf[-1]).sum())
        if note < keys:
            played = played.index_fill(0, torch.tensor(note), 1)

    logits = linear("keys", layer("octave", roll[-1], played, bits))
    octaves = F.pad(logits.sigmoid() * played[torch.arange(88) % keys], (0, -88 % keys)).unflatten(-1, (-1, keys))
    struck = F.pad(octave_uniforms, (0, -88 % keys), value=1.0).unflatten(-1, (-1, keys)) < octaves
    missed = (played > 0) & ~struck.any(0)
    struck = struck | F.one_hot(octaves.argmax(0), len(octaves)).T.bool() & missed
    return struck.flatten()[:88].to(roll.dtype), last, torch.stack(p)


def optimiser(weights, rate):
    """Adam over leaf tensors, as the specification fixes it."""
    return torch.optim.Adam(list(weights.values()), lr=rate, betas=(0.9, 0.999), eps=1e-8, fused=True)


def clip(weights):
    """Every component of the gradients into [-1, 1], in place."""
    torch.nn.utils.clip_grad_value_(weights.values(), 1.0)


def step(weights, adam, batch, **options):
    """One training step in place: gradients, every component clipped to [-1, 1], Adam. Returns the loss."""
    adam.zero_grad()
    out = loss(weights, **batch, **options)
    out["loss"].backward()
    clip(weights)
    adam.step()
    return out["loss"].detach()
