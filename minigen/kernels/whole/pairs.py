"""Two independent LSTMs, each on one song, side by side on two cores: the functions of kernels/cpu/lstm.py, twice."""

from numba import prange

from minigen.kernels.cpu.activations import compiled
from minigen.kernels.cpu.lstm import ROWS, room_for, room_for_backward, rows_backward, rows_forward
from minigen.kernels.cpu.threads import share


@compiled
def _two_forward(one, other, chunk):
    for s in prange(2):
        if s == 0:
            rows_forward(*one, 0, 1, chunk)
        else:
            rows_forward(*other, 0, 1, chunk)


@compiled
def _two_backward(one, other, chunk):
    for s in prange(2):
        if s == 0:
            rows_backward(*one, 0, 1, chunk)
        else:
            rows_backward(*other, 0, 1, chunk)


def two_forward(one, other):
    """`lstm_forward` of two independent LSTMs, each on one song, side by side."""
    rooms = [room_for(*args) for args in (one, other)]
    share(sum(gates.size for _, _, _, gates, *_ in rooms))
    _two_forward(*rooms, min(ROWS, len(rooms[0][0])))
    return [((h, c), (x, h, c, gates, Wx, Wh)) for x, h, c, gates, Wx, Wh, _ in rooms]


def two_backward(one, other):
    """`lstm_backward` of two, (dh, cache, need_dx, dW, db) each: dW (I+H, 4H) and db (4H,) are filled -> dx of each,
    empty where it is not needed."""
    rooms = [(*room_for_backward(dh, None, cache, need_dx), dW, db) for dh, cache, need_dx, dW, db in (one, other)]
    for *_, db in rooms:
        db[...] = 0
    share(sum(gates.size for *_, gates, _, _, _, _, _ in rooms))
    _two_backward(*rooms, min(ROWS, len(rooms[0][0])))
    return [dx for *_, dx, _, _ in rooms]
