"""The CUDA kernels by name, for CuPy arrays in float32; each is compiled when first launched."""

from minigen.kernels import lstm_cuda, pointwise_cuda, voices_cuda

NAMES = {
    lstm_cuda: ["lstm_forward", "lstm_backward"],
    voices_cuda: ["voices_forward", "voices_backward", "draw", "union_forward", "union_backward"],
    pointwise_cuda: [
        "softmax_forward",
        "softmax_backward",
        "cross_entropy_forward",
        "cross_entropy_backward",
        "octave_loss_forward",
        "octave_loss_backward",
        "all_finite",
        "adam",
    ],
}
KERNELS = {name: getattr(module, name) for module, names in NAMES.items() for name in names}
