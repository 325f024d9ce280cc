"""A stand-in for CuPy where there is no GPU: NumPy inside, and CuPy's manners outside, or stricter ones.

An array of the host never meets one of the device, nor indexes it: TypeError. NumPy takes no array of the device:
TypeError. All that makes the host wait for a number of the device is counted in `reads`: float(), int(), bool(),
an index, .get(), .item(), .tolist(), a walk over values, and a selection by a mask, whose size the host must know.
Counted in `launches` is all that would be a kernel on a card: whatever gives new numbers, and an assignment to a part.
"""

import functools

import numpy as np

__version__ = "0.0 (a stand-in)"
reads = 0  # how often the host has waited for the device
launches = 0  # how many kernels a card would have been given
runner = None  # the hook for kernels: a class with RawModule's interface; `host(x)` is the memory behind an array

_METHODS = (
    "all any argmax argmin argsort astype clip copy cumsum diagonal fill flatten max mean min prod ravel repeat "
    "reshape round squeeze std sum swapaxes take transpose"
)
_PROPERTIES = "T dtype flags imag itemsize nbytes ndim real shape size strides"
_FUNCTIONS = (
    "abs all any arange argmax argmin argsort ascontiguousarray broadcast_to clip concatenate copyto cumsum dot empty "
    "empty_like exp eye flip full full_like isfinite isinf isnan log log1p logaddexp matmul max maximum mean min "
    "minimum moveaxis ones ones_like outer prod repeat reshape roll sign sqrt square squeeze stack std sum swapaxes "
    "take take_along_axis tanh tile transpose where zeros zeros_like"
)
_SHARED = "bool_ dtype float32 float64 inf int32 int64 nan newaxis pi uint32 uint8"  # CuPy has NumPy's own


def _read(x):
    global reads
    reads += 1
    return x


def host(x):
    """What lies behind an array of the device; scalars and what is no array as they are. TypeError for one of the
    host."""
    if isinstance(x, ndarray):
        return x._host
    if isinstance(x, np.ndarray):
        raise TypeError("Unsupported type <class 'numpy.ndarray'>")
    if isinstance(x, tuple | list):
        return type(x)(map(host, x))
    return x


def _device(x):
    """A result of NumPy as one of CuPy: a number becomes an array ()."""
    if isinstance(x, np.ndarray | np.generic):
        return ndarray(np.asarray(x))
    return type(x)(map(_device, x)) if isinstance(x, tuple | list) else x


def _on_host(function):
    """That function of NumPy, from arrays of the device to arrays of the device."""

    def call(*args, **named):
        global launches
        given = tuple(map(host, args))
        made = function(*given, **{name: host(value) for name, value in named.items()})
        view = any(isinstance(x, np.ndarray) and np.may_share_memory(made, x) for x in given) and "out" not in named
        if function in (np.empty, np.empty_like):
            made.reshape(-1).view("uint8")[...] = 0xFF  # floats are NaN until they are written
        else:
            launches += not view
        return _device(made)

    return call


def _joined(name):
    """`stack` and `concatenate` take arrays of the device and nothing else."""

    def join(arrays, *args, **named):
        if not all(isinstance(x, ndarray) for x in arrays):
            raise TypeError("Only cupy arrays can be joined")
        return _on_host(getattr(np, name))(arrays, *args, **named)

    return join


def _index(key):
    """A key for NumPy. Lists and arrays of the host are refused, though CuPy uploads them: in a loop that is slow."""
    for part in key if isinstance(key, tuple) else (key,):
        if isinstance(part, list | np.ndarray):
            raise TypeError("an index of the host: upload it once, before the loop")
    return host(key)


class ndarray(np.lib.mixins.NDArrayOperatorsMixin):
    __hash__ = None

    def __init__(self, array):
        self._host = array

    def __getattr__(self, name):
        if name in _PROPERTIES.split():
            return _device(getattr(self._host, name))
        if name in _METHODS.split():
            return functools.partial(_on_host(getattr(np.ndarray, name)), self)
        raise AttributeError(f"'ndarray' object has no attribute {name!r}")

    def __array_ufunc__(self, ufunc, method, *inputs, out=None, **named):
        global launches
        if ufunc is np.matmul:  # CuPy copies a matrix that it cannot hand to cuBLAS as it lies
            lies = [x.flags.c_contiguous or (x.ndim == 2 and x.flags.f_contiguous) for x in inputs]
            launches += lies.count(False)
        made = _on_host(getattr(ufunc, method))(*inputs, **named | ({"out": out} if out else {}))
        return out[0] if out else made

    def __array_function__(self, function, types, args, named):
        return _on_host(function)(*args, **named)

    def __array__(self, *args, **named):
        raise TypeError("Implicit conversion to a NumPy array is not allowed. Please use `.get()`")

    def __getitem__(self, key):
        masks = [k for k in (key if isinstance(key, tuple) else (key,)) if isinstance(k, ndarray) and k.dtype == bool]
        return _device((_read(self._host) if masks else self._host)[_index(key)])

    def __setitem__(self, key, value):
        global launches
        launches += 1
        self._host[_index(key)] = host(value)

    def __len__(self):
        return len(self._host)

    def __iter__(self):
        return map(_device, _read(self._host) if self.ndim == 1 else self._host)


for _name in ("get", "item", "tolist", "tobytes", "__float__", "__int__", "__bool__", "__index__", "__complex__"):
    _own = {"get": "copy"}.get(_name, _name)
    setattr(ndarray, _name, lambda self, *args, _own=_own: getattr(_read(self._host), _own)(*args))


def asarray(x, dtype=None):
    """Uploaded, unless it is there already."""
    return x if isinstance(x, ndarray) and dtype in (None, x.dtype) else array(x, dtype)


def array(x, dtype=None):
    return ndarray(np.array(x._host if isinstance(x, ndarray) else x, dtype))


def asnumpy(x):
    return x.get() if isinstance(x, ndarray) else np.asarray(x)


def RawModule(*args, **named):
    """The kernels' module, by whatever runs them here."""
    if runner is None:
        raise NotImplementedError("nothing runs CUDA kernels here: set cupy.runner")
    return runner(*args, **named)


class linalg:
    norm = staticmethod(_on_host(np.linalg.norm))


class cuda:
    class runtime:
        @staticmethod
        def getDeviceProperties(device):
            return {"name": b"no card, NumPy inside"}


def __getattr__(name):
    if name in ("stack", "concatenate"):
        return _joined(name)
    if name == "nonzero":  # how many there are must be known
        return lambda x: _on_host(np.nonzero)(ndarray(_read(x._host)))
    if name in _FUNCTIONS.split():
        return _on_host(getattr(np, name))
    if name in _SHARED.split():
        return getattr(np, name)
    raise AttributeError(f"the stand-in for CuPy has no {name!r}: add it, if CuPy has it")
