"""The quiet start: voices mostly pause at first.

Voices that begin as uniform play V K / (K+1) notes per step, where music has about one: all learn to pause, and past
it, and a voice that is sure of its pause passes no gradient to its keys.
"""

import math


def pause_bias(model, songs) -> float:
    """The first bias of every pause with which the voices play as many notes per step as the songs (T, 88) have:
    `log(K (1-p) / p)`, p the notes that a voice plays; of bans `log((1-p) / p)`. Of ordered voices p is the chance
    m / (m + 1) that the first does not stop, m the songs' notes per step; those after it have fewer keys left, and stop
    sooner."""
    c = model.config
    notes = sum(float(model.music(song > 0, float).sum()) for song in songs) / sum(map(len, songs))
    outcomes = 1 if model.bans else c.keys
    p = notes / (notes + 1) if model.in_order else notes / c.voices
    p = min(max(p, 1e-3), outcomes / (outcomes + 1))  # more is not said by fewer pauses
    return round(math.log(outcomes * (1 - p) / p), 2)
