"""The history reader ("HistoryUser", diary 19/12): soft attention over a few lags, and the LSTMs around it.

    w[t] = softmax(LSTM_reader([x[t], bits]) W + b)              one weight per lag
    reading[t] = sum_l w[t, l] x[t+1-l]                          a K-vector out of the past
    features[t] = LSTM_aggregator([reading[t], LSTM_local([x[t], bits])])      and, with `skip`, [x[t], bits] too

The weights are made without looking at the memory: the reader can only learn *where* repeats are, from the beat and
from the music so far. Lags count from the step being predicted, so lag 16 is what was struck a bar before it.

Translations of this file: kernels/cuda/pointwise.py and reader.cu (the reading).
"""

from minigen.backend import array_module, replaceable
from minigen.linear import linear_backward, linear_forward, softmax_backward, softmax_forward
from minigen.lstm import lstm_layer, lstm_layer_backward
from minigen.ops import join, lagged
from minigen.params import linear_shapes, lstm_shapes


@replaceable
def read_forward(w, x, lags):
    """`reading = sum_l w[..., l] x[t+1-l]`: w (T, B, L), x (N, B, K) whose last T steps are inputs
    -> reading (T, B, K), cache."""
    xp = array_module(w)
    T, B, _ = w.shape
    reading = xp.zeros((T, B, x.shape[-1]), w.dtype)
    for l, lag in enumerate(lags):
        reading += w[:, :, l, None] * lagged(x, lag, T)
    return reading, (w, x, lags)


@replaceable
def read_backward(dreading, cache):
    """dreading (T, B, K) -> dw (T, B, L). The past is music: it needs no gradient."""
    w, x, lags = cache
    dw = array_module(w).empty_like(w)
    for l, lag in enumerate(lags):
        # in the forward pass this was: reading += w[:, :, l, None] * lagged(x, lag, T)
        dw[:, :, l] = (dreading * lagged(x, lag, len(w))).sum(axis=-1)
    return dw


def history_shapes(K: int, bits: int, lags, H: int, aggregator=0, reader=0, skip=False) -> dict[str, tuple]:
    """The weights: reader, local and aggregator LSTMs of H (where they are not 0, of `reader` and `aggregator` units;
    the last are the features), and the linear layer that gives the lags' weights."""
    return {
        **lstm_shapes("reader", K + bits, reader or H),
        **linear_shapes("weights", reader or H, len(lags)),
        **lstm_shapes("local", K + bits, H),
        **lstm_shapes("aggregator", K + H + (K + bits) * skip, aggregator or H),
    }


def history_forward(params, x, bits, lags, state, skip=False, keep=None):
    """x (N, B, K), steps whose last T are inputs, at least max(lags) - 1 before them; bits (T, B, n); keep (T, B, H),
    what is left by dropout of each unit of the local LSTM, or None -> (features (T, B, H), w (T, B, L), state), cache.
    """
    T = len(bits)
    inputs = join(x[-T:], bits)
    (h_reader, reader_state), reader = lstm_layer(params, "reader", inputs, state)
    z, weights = linear_forward(h_reader, *params.layer("weights"))
    w, softmax = softmax_forward(z)
    reading, read = read_forward(w, x, lags)
    (h_local, local_state), local = lstm_layer(params, "local", inputs, state)
    h_local = h_local if keep is None else h_local * keep
    joined = join(reading, h_local, inputs) if skip else join(reading, h_local)
    (features, aggregator_state), aggregator = lstm_layer(params, "aggregator", joined, state)
    new_state = reader_state | local_state | aggregator_state
    return (features, w, new_state), (reader, weights, softmax, read, local, keep, aggregator)


def history_backward(dfeatures, cache):
    """dfeatures (T, B, H) -> gradients by layer: {"reader": (dWx, dWh, db), "weights": (dW, db), ...}."""
    reader, weights, softmax, read, local, keep, aggregator = cache
    K, H = read[1].shape[-1], local[1].shape[-1]
    djoined, daggregator = lstm_layer_backward(dfeatures, aggregator)
    # in the forward pass this was: join(reading, h_local * keep), and perhaps the inputs, which need no gradient
    dreading, dh_local = djoined[..., :K], djoined[..., K : K + H]
    dh_local = dh_local if keep is None else dh_local * keep
    _, dlocal = lstm_layer_backward(dh_local, local, need_dx=False)
    dz = softmax_backward(read_backward(dreading, read), softmax)
    dh_reader, *dweights = linear_backward(dz, weights)
    _, dreader = lstm_layer_backward(dh_reader, reader, need_dx=False)
    return {"reader": dreader, "weights": dweights, "local": dlocal, "aggregator": daggregator}
