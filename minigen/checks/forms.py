"""What a layer of your own takes and gives, for `minigen.gradcheck.check`: arrays of float64, alone or in a flat tuple,
list or dict. All else is refused in a sentence.
"""

import inspect

import numpy as np

from minigen.errors import MinigenError


def array_of(what: str, value, remedy: str = "give one array of floats") -> np.ndarray:
    """A copy of one array of numbers."""
    if isinstance(value, np.ma.MaskedArray):
        raise MinigenError(f"{what} is a masked array, and the mask would be lost: give an array without one")
    try:
        array = np.array(value)
    except (TypeError, ValueError):  # rows of several lengths, an array of a GPU
        array = np.array(None)
    if array.dtype.kind not in "fiubc":
        kind = array.dtype if array.dtype.kind != "O" or isinstance(value, np.ndarray) else type(value).__name__
        raise MinigenError(f"{what} is {kind}, which is not checked: {remedy}")
    return array


def is_double(array) -> bool:
    """In either byte order."""
    return array.dtype.newbyteorder("=") == np.float64


def input_of(name: str, value, step: float) -> np.ndarray:
    """In float64, if it holds floats, and small enough for a step to move it."""
    value = array_of(name, value)
    if value.dtype.kind == "c":
        raise MinigenError(
            f"{name} is {value.dtype}, which is not checked: give its real and imaginary part as two inputs"
        )
    if not value.size or not np.isfinite(value).all():
        raise MinigenError(f"{name} {'holds NaN or infinity' if value.size else 'has no element'}: give other numbers")
    if value.dtype.kind != "f":
        return value
    value = value.astype(np.float64)
    if np.any(value + step == value):
        raise MinigenError(
            f"{name} holds {abs(value).max():.1e}, which a step of {step:g} does not move: scale it down"
        )
    return value


def called(function, which: str, names, *values):
    """function(*values), if it takes as many."""
    try:
        inspect.signature(function).bind(*values)
    except TypeError as error:
        raise MinigenError(f"{which} is called with ({', '.join(map(str, names))}): {error}") from None
    except ValueError:  # compiled code, which does not tell
        pass
    return function(*values)


def outputs_of(out) -> list[np.ndarray]:
    """The arrays of what forward returned."""
    parts = out.values() if isinstance(out, dict) else out if isinstance(out, tuple | list) else [out]
    remedy = "return an array of floats, or a flat tuple, list or dict of arrays"
    arrays = [array_of("an output of forward", part, remedy) for part in parts]
    for array in arrays:
        if not is_double(array):
            raise MinigenError(f"forward returns {array.dtype}: float64 in should be float64 out, in every output")
        if not np.isfinite(array).all():
            raise MinigenError("forward returns NaN or infinity: give other inputs")
    if not sum(array.size for array in arrays):
        raise MinigenError("forward returns no number: there is nothing to check")
    return arrays


def in_form_of(out, arrays: list):
    """Arrays in the form of `out`."""
    if isinstance(out, tuple):
        return tuple.__new__(type(out), arrays)  # named or not
    if not isinstance(out, dict | list):
        return arrays[0]
    try:
        return type(out)(zip(out, arrays, strict=True) if isinstance(out, dict) else arrays)
    except TypeError:
        raise MinigenError(f"forward returns a {type(out).__name__}: return a plain tuple, list or dict") from None


def gradients_of(answer, inputs: dict, values: list) -> list:
    """What backward returned, a copy of each gradient, in the order of the inputs."""
    if isinstance(answer, dict):
        for name in set(answer) - set(inputs):
            raise MinigenError(f"backward returned a gradient of {name}, which is no input")
        for name, value in zip(inputs, values, strict=True):
            if name not in answer and value.dtype.kind == "f":
                raise MinigenError(f"backward returned no gradient of {name}: add it, or None for one that is not made")
        answer = [answer.get(name) for name in inputs]
    grads = list(answer) if isinstance(answer, tuple | list) else [answer]
    if len(grads) != len(inputs):
        raise MinigenError(
            f"backward returned {len(grads)} gradients for {len(inputs)} inputs: None stands for one left out"
        )
    return [None if grad is None else _gradient(name, grad, value)
            for name, grad, value in zip(inputs, grads, values, strict=True)]  # fmt: skip


def _gradient(name: str, grad, value) -> np.ndarray:
    """The gradient of an input, if it can be one."""
    grad = array_of(f"d{name}", grad)
    if value.dtype.kind != "f":
        raise MinigenError(f"{name} holds whole numbers, which have no gradient: give floats, or return None for it")
    if not is_double(grad) and grad.dtype.kind not in "iu":
        raise MinigenError(f"d{name} is {grad.dtype}: the gradient of float64 is float64")
    if grad.shape != value.shape:
        raise MinigenError(f"d{name} has shape {grad.shape} and {name} has {value.shape}: check backward's order")
    return grad.astype(np.float64)
