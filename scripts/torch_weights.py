"""Weights of `banning` out of PyTorch and into it: a state dict of nn.LSTM and nn.Linear layers, and a checkpoint.

    python scripts/torch_weights.py model.pt banning.npz --decoder samples/final.npz
    python scripts/torch_weights.py runs/songs-banning/best.npz model.pt

The file is opened with weights_only=True: nothing in it is run. The names are those of the author's own files, below;
lags 4, 8, 16, 32, 48, 64, 96, 128, the time bits of the input step, the highest first. What differs: the gates are
i f g o there and i f o g here; a layer has two biases there, whose sum is the one here; weights are (out, in) there;
the aggregator reads [local, reading] there and [reading, local] here. The author's songs begin without an empty step.
His files have no octave decoder: it is taken from another checkpoint, and written beside the rest.
"""

import sys
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from minigen.errors import until_run

until_run()

import numpy as np

from minigen.config import CHOICES
from minigen.errors import MinigenError, Parser, command, number, run
from minigen.files import write_atomically
from minigen.ladder import Banning
from minigen.params import Params
from minigen.run import checkpoint

# layer here -> module there; an LSTM has a layer's number in its names
LSTMS = {"local": "local_lstm", "reader": "history_reader.read_lstm", "aggregator": "aggregation_lstm"}
LSTMS |= {"voice": "sampler.lstm", "octave": "octave_decoder.lstm"}
LINEARS = {"weights": "history_reader.read_linear", "decide": "sampler.linear", "keys": "octave_decoder.linear"}
DECODER = ("octave", "keys")
KEYS = 12


def gates(a, order=(0, 1, 3, 2)):
    """The last two of four blocks of the first axis swapped: i f g o to i f o g, and back."""
    return np.concatenate([np.split(a, 4)[n] for n in order])


def inputs_of(name: str, W, here: bool):
    """Rows (I, ...) in the order of this side: here [reading, local], there [local, reading]."""
    if name != "aggregator":
        return W
    cut = len(W) - KEYS if here else KEYS
    return np.concatenate([W[cut:], W[:cut]])


def from_torch(found: dict) -> dict:
    """{name there: array} -> {name here: array}. Raises KeyError for a layer that is missing."""
    arrays = {}
    for name, module in LSTMS.items():
        if name in DECODER and f"{module}.weight_ih_l0" not in found:
            continue
        W_ih, W_hh, b_ih, b_hh = (
            found[f"{module}.{kind}_l0"] for kind in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        )
        arrays[f"{name}.Wx"] = inputs_of(name, gates(W_ih).T, here=True)
        arrays[f"{name}.Wh"], arrays[f"{name}.b"] = gates(W_hh).T, gates(b_ih + b_hh)
    for name, module in LINEARS.items():
        if name not in DECODER or f"{module}.weight" in found:
            arrays[f"{name}.W"], arrays[f"{name}.b"] = found[f"{module}.weight"].T, found[f"{module}.bias"]
    return arrays


def to_torch(params) -> dict:
    """{name here: array} -> {name there: array}; the whole bias stands in bias_ih."""
    found = {}
    for name, module in LSTMS.items():
        Wx, Wh, b = params.layer(name)
        found[f"{module}.weight_ih_l0"] = gates(inputs_of(name, Wx, here=False).T)
        found[f"{module}.weight_hh_l0"], found[f"{module}.bias_ih_l0"] = gates(Wh.T), gates(b)
        found[f"{module}.bias_hh_l0"] = np.zeros_like(b)
    for name, module in LINEARS.items():
        W, b = params.layer(name)
        found[f"{module}.weight"], found[f"{module}.bias"] = W.T, b
    return found


def names_there() -> list[str]:
    """Every name that a state dict may have."""
    kinds = ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")
    return [f"{module}.{kind}" for module in LSTMS.values() for kind in kinds] + [
        f"{module}.{kind}" for module in LINEARS.values() for kind in ("weight", "bias")
    ]


def to_checkpoint(path: Path, out: Path, args, torch) -> None:
    """Read a state dict, and write a checkpoint."""
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
        arrays = from_torch({name: tensor.detach().numpy().astype(np.float32) for name, tensor in found.items()})
    except Exception as error:  # a foreign file can fail anywhere; a missing layer is a KeyError
        missing = f"the layer {error.args[0]} is missing" if isinstance(error, KeyError) else type(error).__name__
        raise MinigenError(
            f"{path} is no state dict of such a model ({missing}): save model.state_dict() alone, with the names of "
            "LSTMS and LINEARS in this script"
        ) from error
    unknown = sorted(set(found) - set(names_there()))
    if unknown:
        raise MinigenError(f"{path} has a layer {unknown[0]} that banning has not: it is another model")
    if not all(np.isfinite(array).all() for array in arrays.values()):
        raise MinigenError(f"{path} holds weights that are NaN or infinite: use an earlier file")
    c = replace(
        Banning.config, hidden=len(arrays["local.Wh"]), aggregator=len(arrays["aggregator.Wh"]),
        voice_hidden=len(arrays["voice.Wh"]), voices=args.voices, time_order=args.time_order, time_of=args.time_of,
    )  # fmt: skip
    if "octave.Wx" not in arrays:
        if args.decoder is None:
            raise MinigenError(f"{path} has no octave decoder: take one from a checkpoint, --decoder FILE.npz")
        other = checkpoint.load(args.decoder)
        if "octave.Wx" not in other.params.views:
            raise MinigenError(f"{args.decoder} has no octave decoder: name a checkpoint of a model on 12 classes")
        arrays |= {name: view for name, view in other.params.views.items() if name.partition(".")[0] in DECODER}
    c = replace(c, decoder_hidden=len(arrays["octave.Wh"]))
    model = Banning(c)
    params = Params(model.shapes())
    for name, view in params.views.items():
        if name not in arrays or arrays[name].shape != view.shape:
            shape = arrays[name].shape if name in arrays else "none"
            raise MinigenError(f"{path} does not fit: {name} should be {view.shape} and is {shape}")
        view[...] = arrays[name]
    checkpoint.save(out, model, params, data=f"weights out of {path.name}")


def main():
    parser = Parser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("source", type=Path, help="a state dict (.pt), or a checkpoint of banning (.npz)")
    add("out", type=Path, help="what to write: a checkpoint (.npz), or a state dict (.pt)")
    add("--decoder", type=Path, metavar="FILE.npz", help="a checkpoint whose octave decoder is used")
    add("--voices", type=number(1, KEYS, int), default=Banning.config.voices, help="default: 5")
    add(
        "--time-order",
        choices=CHOICES["time_order"],
        default="high first",
        help="of the bits (default: high first)",
    )
    add("--time-of", choices=CHOICES["time_of"], default="input", help="the step whose bits they are (default: input)")
    args = parser.parse_args()
    try:
        import torch
    except ImportError:
        raise MinigenError('this needs PyTorch: pip install -e ".[peers]"') from None
    args.source = checkpoint.file_of(args.source)
    if not args.source.exists():
        raise MinigenError(f"there is no file {args.source}: name a state dict (.pt) or a checkpoint (.npz)")
    if {args.source.suffix, args.out.suffix} != {".pt", ".npz"}:
        raise MinigenError(f"from {args.source} to {args.out}: one is to be a .pt and the other a .npz")
    if args.source.suffix == ".pt":
        to_checkpoint(args.source, args.out, args, torch)
    else:
        trained = checkpoint.load(args.source)
        if trained.model.name != Banning.name:
            raise MinigenError(f"{args.source} is a {trained.model.name}: name a checkpoint of {Banning.name}")
        c = trained.model.config
        if (c.lags, c.metre, c.time_bits) != (Banning.config.lags, "4/4", Banning.config.time_bits):
            raise MinigenError(
                f"{args.source} has other lags, another metre or other time bits than the original, and a state dict "
                "cannot say so: train one without --set and --metre"
            )
        tensors = {name: torch.from_numpy(array.copy()) for name, array in to_torch(trained.params).items()}
        write_atomically(args.out, lambda file: torch.save(tensors, file))
        flags = "--time-order", c.time_order, "--time-of", c.time_of, "--voices", c.voices
        print(f"back: {command('torch_weights', args.out, 'FILE.npz', *flags)}")
    print(f"wrote {args.out}")


if __name__ == "__main__":
    run(main)
