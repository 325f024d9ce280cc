"""What the gradient cases are made of: sizes that are odd and all different, so that a wrong axis shows, and arrays
that are the same each time."""

from types import SimpleNamespace

import numpy as np

from minigen.params import Params

T, B, K, V, F, H = 7, 3, 12, 3, 6, 5
LAGS, BITS = (1, 2, 5), 2


class Case(SimpleNamespace):
    """forward, backward and inputs of one check."""


def fresh():
    return np.random.default_rng(1)


def weights_of(shapes) -> dict:
    rng = fresh()
    return {name: rng.normal(size=shape) * 0.5 for name, shape in shapes.items()}


def params_of(shapes, arrays) -> Params:
    return Params(shapes, np.concatenate([array.ravel() for array in arrays]))


def in_order(shapes, grads: dict) -> tuple:
    """Gradients by layer as one tuple in the order of the flat vector."""
    return tuple(Params(shapes, dtype=np.float64).gradients(grads).views.values())


def state_of(shapes) -> dict:
    rng = fresh()
    layers = {name[:-3]: shape[0] for name, shape in shapes.items() if name.endswith(".Wh")}
    return {f"{name}.{part}": rng.normal(size=(B, size)) for name, size in layers.items() for part in "hc"}


def struck(*shape):
    return (fresh().random(shape) < 0.3).astype(np.float64)


def over_features(shapes, run, run_back):
    """A part that reads features: run(params, features) -> (p, ...), cache; run_back(dp, cache) -> dfeatures, grads."""

    def forward(features, *arrays):
        (p, *_), cache = run(params_of(shapes, arrays), features)
        return p, cache

    def backward(dp, cache):
        dfeatures, grads = run_back(dp, cache)
        return dfeatures, *in_order(shapes, grads)

    features = fresh().normal(size=(T, B, F))
    return Case(forward=forward, backward=backward, inputs={"features": features} | weights_of(shapes))
