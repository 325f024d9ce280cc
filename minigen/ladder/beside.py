"""What is trained beside a rung, with no gradient between them: the octave decoder, the sustain decoder."""

from minigen.decoder import octaves_backward, octaves_forward
from minigen.places import places_in, prefixed
from minigen.sustain import empty_state, questions, sustain_backward, sustain_forward


def beside_prepared(c, batch: dict) -> dict:
    """What the host makes of a batch for it, so that a GPU need not be read."""
    if not (c.sustain and "sounding" in batch):
        return {}
    mask = batch["mask"]
    return prefixed("questions", questions(batch["roll"][-len(mask) :], batch["sounding"], mask))


def beside_forward(c, params, batch: dict, truth, bits, state, given):
    """truth (T, B, K), what the rung plays; bits (T, B, n) of the time -> (loss, trace, state), caches. The sustain
    decoder learns where the batch says what sounds; its loss is in the trace alone, since it has no say in what is
    best."""
    loss, trace, new_state, caches = 0, {}, {}, {}
    if c.keys == 12:
        (loss, trace, new_state), caches["octaves"] = octaves_forward(
            params, batch["roll"], truth, bits, batch["mask"], state
        )
    if c.sustain and "sounding" in batch:
        struck, sounding = (rows.astype(truth.dtype) for rows in (batch["roll"][-len(truth) :], batch["sounding"]))
        known = state if "sustain.h" in state else empty_state(params, truth.shape[1])
        (found, sustained), caches["sustain"] = sustain_forward(
            params, struck, sounding, bits, batch["mask"], known, places_in(given, "questions")
        )
        trace, new_state = trace | {"loss.sustain": found}, new_state | sustained
    return (loss, trace, new_state), caches


def beside_backward(caches: dict) -> dict:
    """-> gradients by layer."""
    layers = octaves_backward(caches["octaves"]) if "octaves" in caches else {}
    return layers | (sustain_backward(caches["sustain"]) if "sustain" in caches else {})
