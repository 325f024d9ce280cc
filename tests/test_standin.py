"""The stand-in for CuPy has CuPy's manners: what tests/test_device.py finds depends on them."""

import numpy as np
import pytest


def test_the_stand_in_has_the_manners_of_cupy(cupy):
    x, on_host = cupy.asarray(np.arange(4.0)), np.arange(4)
    forbidden = (
        lambda: x + on_host,
        lambda: on_host * x,
        lambda: cupy.concatenate([x, on_host]),
        lambda: cupy.stack([x[0], np.float32(1), 2.0]),
        lambda: cupy.maximum(x, on_host),
        lambda: x[on_host],
        lambda: x[[0, 1]],
        lambda: x.__setitem__(0, on_host[:1]),
        lambda: np.asarray(x),
        lambda: np.add(x, 1, out=on_host),
    )
    for mixed in forbidden:
        with pytest.raises(TypeError):
            mixed()
    y = 2 * x[1:] + np.float64(1) - x[cupy.arange(3)].sum()
    assert type(y) is type(np.exp(y)) is type(y[0]) is type(cupy.where(y > 0, y, 0)) is cupy.ndarray
    assert cupy.reads == 0 and isinstance(cupy.asnumpy(y), np.ndarray) and cupy.reads == 1
    waits = (float, int, bool, list, lambda x: x.item(), lambda x: on_host[x.astype(int)], lambda x: x.get())
    for n, wait in enumerate(waits, start=2):
        wait(y[:1] if wait is list else y[0])
        assert cupy.reads == n
    with pytest.raises(NotImplementedError):
        cupy.RawModule(code="")
