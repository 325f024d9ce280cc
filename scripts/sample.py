"""Play a trained model: write new music as MIDI and a picture of it.

python scripts/sample.py                                        16 bars by samples/chorales.npz
python scripts/sample.py runs/bach-final/best.npz --bars 64 --seed 7 --temperature 0.9
python scripts/sample.py --primer my_song.mid --num-outputs 4   go on from the first bar of a song, four times
python scripts/sample.py --info                                 what is in the checkpoint
"""

import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))


from minigen import checkpoint, metrics
from minigen.dataset import trim
from minigen.errors import MinigenError, Parser, finite, run
from minigen.kernels import use_kernels
from minigen.midi import Refused, read_midi, write_midi
from minigen.plots import plot_roll
from minigen.sample import generate

DEFAULT = Path(__file__).resolve().parents[1] / "samples" / "chorales.npz"


def arguments():
    parser = Parser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("checkpoint", nargs="?", type=Path, default=DEFAULT, help="default: samples/chorales.npz")
    add("--bars", type=finite(1, 10_000, int), default=16, help="bars of new music")
    add("--seed", type=finite(0, 2**62, int), default=0, help="another seed, another piece")
    add("--temperature", type=finite(0.01, 100), default=1.0, help="under 1 safer, over 1 wilder")
    add("--primer", type=Path, metavar="FILE.mid", help="go on from the first bar of this; without it, from silence")
    add("--num-outputs", type=finite(1, 10_000, int), default=1, help="pieces, of seeds SEED, SEED+1, ...")
    add("--bpm", type=finite(10, 1000), default=120, help="quarters a minute (default: 120)")
    add("--out", type=Path, default=Path("generated"), metavar="FOLDER", help="where to write")
    add("--info", action="store_true", help="print what is in the checkpoint, and stop")
    return parser.parse_args()


def info(trained: checkpoint.Trained) -> None:
    header, c = trained.header, trained.model.config
    print(f"model     {trained.model.name} (diary {trained.model.date}), {trained.params.flat.size:,} parameters")
    print(f"config    {', '.join(f'{name} {value}' for name, value in c.as_json().items())}")
    for name in ("data", "licence", "command"):
        print(f"{name:9} {header.get(name, 'not stated')}")
    print(f"training  {header.get('training', 'not stated')}")
    for name, value in header.get("metrics", {}).items():
        print(f"  {name:15} {value}")


def main():
    args = arguments()
    use_kernels("reference", threads=1)  # one stream: every product is a vector times a matrix
    if args.checkpoint.is_dir():
        args.checkpoint /= "best.npz"  # a run folder
    trained = checkpoint.load(args.checkpoint)
    if args.info:
        info(trained)
        return
    bar, primer = trained.model.config.steps_a_bar, None
    if args.primer:
        try:
            primer = trim(read_midi(args.primer), bar)
        except Refused as reason:
            raise MinigenError(f"{args.primer} cannot be a primer, {reason}: name a MIDI file in 4/4") from reason
    heard = 0 if primer is None or trained.model.follows else min(len(primer), bar)
    begins = "it plays the primer's classes" if trained.model.follows else "it starts from silence"
    label = args.checkpoint.stem
    if label in ("best", "last"):  # of a run
        label = f"{args.checkpoint.resolve().parent.name}-{label}"
    args.out.mkdir(parents=True, exist_ok=True)
    for seed in range(args.seed, args.seed + args.num_outputs):
        began = time.monotonic()
        roll = generate(trained, args.bars, seed, primer, args.temperature)
        took = time.monotonic() - began
        name = args.out / f"{label}-{trained.model.name}-seed{seed}"
        title = f"{label}, {trained.model.name}, seed {seed}"
        write_midi(f"{name}.mid", roll, bpm=args.bpm, steps_a_bar=bar)
        plot_roll(f"{name}.png", roll, heard, bar, title)
        where = f"the primer ends at step {heard} (bar {heard / bar:g})" if heard else begins
        print(f"wrote {name}.mid and {name}.png: {(len(roll) - heard) / bar:g} bars in {took:.1f} s, ", end="")
        print(f"{metrics.notes_a_step([roll[heard:]]):.2f} notes a step; {where}")


if __name__ == "__main__":
    run(main)
