"""Cases that can be followed with a pencil. Each docstring holds the arithmetic, each function holds minigen to it.

They are plain functions without arguments, and CASES lists them: pytest collects them, a script can call them.
"""

from math import log

import numpy as np

from minigen.adam import Moments, adam
from minigen.decoder import draw_keys
from minigen.linear import softmax_backward, softmax_forward
from minigen.lstm import lstm_backward, lstm_forward
from minigen.ops import pitch_classes, time_bits
from minigen.reader import read_backward, read_forward
from minigen.union import cross_entropy_backward, cross_entropy_forward, union_backward, union_forward
from minigen.voices import allow_truth, draw

STEP = np.ones((1, 1), bool)  # one step of one song, and it counts


def near(ours, by_hand):
    """The same to the four digits that are written down."""
    ours = np.ravel(ours)
    assert ours.shape == np.shape(np.ravel(by_hand)) and np.allclose(ours, np.ravel(by_hand), rtol=0, atol=5e-5), ours


def one_step_of_an_lstm():
    """x = 1, h0 = 1, c0 = 0.4863; the four weights that are not 0, and the activations."""
    x, h0, c0 = np.ones((1, 1, 1)), np.ones((1, 1)), np.full((1, 1), 2 * log(2) - 0.9)
    Wx, Wh, b = np.array([[log(3), 0, 0, 0]]), np.array([[0, 0, 0, log(2)]]), np.array([0, 0, log(3), 0])
    return lstm_forward(x, h0, c0, Wx, Wh, b)


def test_one_step_of_an_lstm():
    """The gates i f o g: only i reads x, with the weight ln 3; only g reads h0, with ln 2; o has the bias ln 3.

    i = sigmoid(ln 3) = 3/4    f = sigmoid(0) = 1/2    o = sigmoid(ln 3) = 3/4    g = tanh(ln 2) = 3/5
    c = f c0 + i g = 0.5 * 0.4863 + 0.75 * 0.6 = 0.2431 + 0.45 = 0.6931, which is ln 2
    h = o tanh(c) = 0.75 * 0.6 = 0.45
    """
    (h, c), _ = one_step_of_an_lstm()
    near(c[1], 0.6931)
    near(h[1], 0.45)


def test_and_back():
    """With dh = 1, through the numbers above; sigmoid' = s (1 - s), tanh' = 1 - tanh^2.

    do = dh tanh(c) = 0.6           dc = dh o (1 - 0.6^2) = 0.75 * 0.64 = 0.48
    di = dc g = 0.288               df = dc c0 = 0.48 * 0.4863 = 0.2334     dg = dc i = 0.36
    da = (0.288 * 3/16, 0.2334 * 1/4, 0.6 * 3/16, 0.36 * 0.64) = (0.054, 0.0584, 0.1125, 0.2304)
    dc0 = dc f = 0.24               dx = 0.054 ln 3 = 0.0593                dh0 = 0.2304 ln 2 = 0.1597
    x = h0 = 1, so that dWx = dWh = db = da
    """
    _, cache = one_step_of_an_lstm()
    dx, dh0, dc0, dWx, dWh, db = lstm_backward(np.ones((1, 1, 1)), None, cache)
    near([dx.item(), dh0.item(), dc0.item()], [0.0593, 0.1597, 0.24])
    for da in (dWx, dWh, db):
        near(da, [0.054, 0.0584, 0.1125, 0.2304])


def test_softmax_and_back():
    """z = (ln 1, ln 2, ln 5): the numbers 1, 2, 5 over their sum 8 are p = (0.125, 0.25, 0.625).

    dp = (0, 0, 1): sum dp p = 0.625, dz = p (dp - 0.625) = (-0.0781, -0.1562, 0.2344); they sum to 0
    """
    p, cache = softmax_forward(np.log([1, 2, 5]))
    near(p, [0.125, 0.25, 0.625])
    near(softmax_backward(np.array([0, 0, 1]), cache), [-0.0781, -0.1562, 0.2344])


def test_a_draw():
    """p = (0.2, 0.5, 0.3) add up to 0.2, 0.7, 1. The outcome is the first whose sum is over u.

    u = 0.1 -> 0    u = 0.25 -> 1    u = 0.65 -> 1    u = 0.75 -> 2
    """
    z = np.log([[0.2, 0.5, 0.3]] * 4)
    assert draw(z, np.array([0.1, 0.25, 0.65, 0.75])).tolist() == [0, 1, 1, 2]


def test_a_draw_from_what_is_true():
    """A voice has p = C 0.1, E 0.4, G 0.3, pause 0.2. C and G are struck: E is left out, and 0.6 is left over.

    C 0.1, G 0.3, pause 0.2 add up to 0.1, 0.4, 0.6; u is a share of 0.6
    u = 0.1 -> 0.06 -> C    u = 0.5 -> 0.3 -> G    u = 0.7 -> 0.42 -> the pause, which is always allowed
    Without the restriction u = 0.3 is E: 0.1 is not over it, 0.1 + 0.4 is
    """
    z, u, truth = np.log([[0.1, 0.4, 0.3, 0.2]] * 3), np.array([0.1, 0.5, 0.7]), np.array([[1, 0, 1]] * 3)
    assert draw(z, u, allow_truth(truth)).tolist() == [0, 2, 3]
    assert draw(z[0], np.array(0.3)) == 1


# one key, two voices, each with p = 0.5 for the key and 0.5 for the pause
HALVES = np.full((2, 1, 1, 2), 0.5)


def test_the_union_of_two_voices():
    """P = 1 - (1 - 0.5)(1 - 0.5) = 0.75. The key is struck: L = -ln 0.75 = 0.2877.

    dL/dP = -1/0.75 = -4/3
    dP/dp1 = 1 - p2 = 0.5 and dP/dp2 = 1 - p1 = 0.5, so dL/dp = (-2/3, -2/3)
    with the stop-gradient trick P = p1 + (1 - p1) p2, the factor taken as a constant: dP/dp1 = 1, dP/dp2 = 0.5,
    so dL/dp = (-4/3, -2/3): the first voice keeps the whole gradient
    """
    P, union = union_forward(HALVES, pause_cell=False)
    loss, cross = cross_entropy_forward(P, np.ones((1, 1, 1)), STEP)
    near(P, 0.75)
    near(loss, 0.2877)
    dP = cross_entropy_backward(cross)
    near(dP, -4 / 3)
    near(union_backward(dP, union, stop_gradient=False)[..., 0], [-2 / 3, -2 / 3])
    near(union_backward(dP, union, stop_gradient=True)[..., 0], [-4 / 3, -2 / 3])


def test_the_pause_cell():
    """Q = 0.5 * 0.5 = 0.25 is one more cell beside P = 0.75; the loss is the mean of the two.

    The key is struck, so Q should be 0: L = -(ln 0.75 + ln(1 - 0.25)) / 2 = 0.2877
        dL/dQ = 1/(1 - 0.25) / 2 = 2/3, times the other's pause 0.5: dL/dp[pause] = (1/3, 1/3)
    Nothing is struck, so P should be 0 and Q 1: L = -(ln(1 - 0.75) + ln 0.25) / 2 = 1.3863
        dL/dQ = -1/0.25 / 2 = -2, times 0.5: dL/dp[pause] = (-1, -1), which is -1/p[pause] over two cells
    """
    cells, union = union_forward(HALVES, pause_cell=True)
    near(cells, [0.75, 0.25])
    for truth, by_hand, slope in (([1, 0], 0.2877, 1 / 3), ([0, 1], 1.3863, -1)):
        loss, cross = cross_entropy_forward(cells, np.array([[truth]]), STEP)
        near(loss, by_hand)
        near(union_backward(cross_entropy_backward(cross), union, False)[..., 1], [slope, slope])


def test_a_reading():
    """Two lags, 1 and 4, with the weights 0.75 and 0.25. The step just played is C E, the one 4 before what comes, E G.

    reading = 0.75 (1, 1, 0) + 0.25 (0, 1, 1) = (0.75, 1, 0.25) for C, E, G
    back from dreading = (1, 2, 4): dw = (1 + 2, 2 + 4) = (3, 6), what was read times its gradient
    """
    x, w = np.zeros((4, 1, 3)), np.array([[[0.75, 0.25]]])
    x[3, 0], x[0, 0] = [1, 1, 0], [0, 1, 1]  # steps t-3 ... t; step t+1 is predicted
    reading, cache = read_forward(w, x, (1, 4))
    near(reading, [0.75, 1, 0.25])
    near(read_backward(np.array([[[1, 2, 4]]]), cache), [3, 6])


def test_two_steps_of_adam():
    """w = 1, rate 0.01. The first gradient is 5, clipped to 1; the second -0.5.

    1:  m = 0.1 * 1 = 0.1, over 1 - 0.9 = 0.1 is 1        v = 0.001 * 1, over 1 - 0.999 = 0.001 is 1
        w = 1 - 0.01 * 1 / sqrt(1) = 0.99
    2:  m = 0.9 * 0.1 - 0.1 * 0.5 = 0.04, over 1 - 0.9^2 = 0.19 is 0.2105
        v = 0.999 * 0.001 + 0.001 * 0.25 = 0.001249, over 1 - 0.999^2 = 0.001999 is 0.6248, its root 0.7905
        w = 0.99 - 0.01 * 0.2105 / 0.7905 = 0.99 - 0.0027 = 0.9873
    """
    w, moments = np.array([1.0]), Moments(np.zeros(1), np.zeros(1))
    w, moments = adam(w, np.array([5.0]), moments, 0.01)
    near([w, moments.m, 1000 * moments.v], [0.99, 0.1, 1])
    w, moments = adam(w, np.array([-0.5]), moments, 0.01)
    near([w, moments.m, 1000 * moments.v], [0.9873, 0.04, 1.249])


def test_the_time_of_step_37():
    """37 = 32 + 4 + 1: bits 0, 2 and 5 are on. It is 16th 5 of its bar (37 = 2 * 16 + 5), in bar 2 of 0 to 3."""
    assert time_bits(np.array([37]), 1, 6, float).ravel().tolist() == [1, 0, 1, 0, 0, 1]


def test_the_octaves_of_two_classes():
    """A and C are on. Each octave is drawn on its own; a class that got none takes its likeliest.

    A (keys 0, 12, 24, ...):  P = 0.2 at key 12, 0.6 at key 24;  u = 0.5 and 0.7: neither is under P, so key 24 sounds
    C (keys 3, 15, 27, ...):  P = 0.2 at key 15, 0.9 at key 27;  u = 0.1 and 0.95: key 15 sounds, and 27 does not
    """
    P, u, classes = np.zeros(88), np.ones(88), np.zeros(12)
    P[[12, 24, 15, 27]], u[[12, 24, 15, 27]], classes[[0, 3]] = [0.2, 0.6, 0.2, 0.9], [0.5, 0.7, 0.1, 0.95], 1
    keys = draw_keys(P, u, classes)
    assert np.flatnonzero(keys).tolist() == [15, 24]
    assert np.flatnonzero(pitch_classes(keys)).tolist() == [0, 3]


CASES = [case for name, case in list(globals().items()) if name.startswith("test_")]
