"""All the weights of a model in one flat vector, with a named view for each.

Adam, clipping, "back to the learned weights" and an all-reduce are then one operation on `flat`, and a gradient is
another vector of the same layout. A layer's arrays share a first name: `params.layer("local")` is
`(params["local.Wx"], params["local.Wh"], params["local.b"])`, in the order in which they were declared.
"""

import math

import numpy as np

from minigen.backend import array_module


class Params:
    """`shapes` maps names to shapes; `flat` is the vector (zeros unless given), in any array module and dtype."""

    def __init__(self, shapes: dict[str, tuple], flat=None, dtype=np.float32):
        self.shapes = dict(shapes)
        size = sum(math.prod(shape) for shape in self.shapes.values())
        self.flat = np.zeros(size, dtype) if flat is None else flat
        assert self.flat.shape == (size,), (self.flat.shape, size)
        self.views, self.layers, self.places, end = {}, {}, {}, 0
        for name, shape in self.shapes.items():
            start, end = end, end + math.prod(shape)
            self.places[name] = slice(start, end)
            self.views[name] = self.flat[start:end].reshape(shape)
            self.layers.setdefault(name.rpartition(".")[0], []).append(self.views[name])

    def __getitem__(self, name: str):
        return self.views[name]

    def __iter__(self):
        return iter(self.views)

    @property
    def dtype(self):
        return self.flat.dtype

    def layer(self, name: str) -> tuple:
        """The arrays of one layer, in the order declared."""
        return tuple(self.layers.get(name, ()))

    def between(self, first: str, last: str):
        """The part of `flat` from the array `first` to the array `last`, both included, in the order declared."""
        return self.flat[self.places[first].start : self.places[last].stop]

    def with_flat(self, flat) -> "Params":
        """The same layout over another vector (a copy, another dtype, another device, a gradient)."""
        return Params(self.shapes, flat)

    def gradients(self, layers: dict) -> "Params":
        """A vector of this layout with the gradients of these layers, {name: arrays in the order declared}, else 0."""
        xp, parts, left = array_module(self.flat), [], {name: list(arrays) for name, arrays in layers.items()}
        for name, view in self.views.items():
            layer = name.rpartition(".")[0]
            assert left.get(layer) != [], f"no gradient for {name}"
            array = left[layer].pop(0) if layer in left else xp.zeros_like(view)
            assert (view.shape, view.dtype) == (array.shape, array.dtype), (name, array.shape, array.dtype)
            parts.append(array.ravel())
        assert not any(left.values()), f"gradients of no weight: {[name for name in left if left[name]]}"
        return self.with_flat(xp.concatenate(parts))


def lstm_shapes(name: str, inputs: int, hidden: int) -> dict[str, tuple]:
    """An LSTM's weights: Wx (I, 4H), Wh (H, 4H), b (4H,)."""
    return {f"{name}.Wx": (inputs, 4 * hidden), f"{name}.Wh": (hidden, 4 * hidden), f"{name}.b": (4 * hidden,)}


def linear_shapes(name: str, inputs: int, outputs: int) -> dict[str, tuple]:
    """A linear layer's weights: W (I, O), b (O,)."""
    return {f"{name}.W": (inputs, outputs), f"{name}.b": (outputs,)}


def initialise(params: Params, rng: np.random.Generator) -> None:
    """Glorot-uniform weights, gate by gate for an LSTM; biases 0, but the forget gate's 1."""
    for name, view in params.views.items():
        kind = name.rpartition(".")[2]
        if kind == "b":
            view[...] = 0
            if name[:-1] + "Wh" in params.views:
                hidden = view.shape[0] // 4
                view[hidden : 2 * hidden] = 1  # gate order i f o g
        else:
            fan_in, fan_out = view.shape
            fan_out = fan_out // 4 if kind in ("Wx", "Wh") else fan_out
            limit = math.sqrt(6 / (fan_in + fan_out))
            view[...] = rng.uniform(-limit, limit, view.shape)
