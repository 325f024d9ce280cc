"""Look at one step of a piece that scripts/sample.py --trace saved: every number behind it, in words and as a picture.

python scripts/sample.py --trace piece.npz
python scripts/plot.py piece.npz --step 37                             writes piece-step37.png beside it
python scripts/plot.py piece.npz --replay samples/chorales.npz         plays it again: is it the same music?
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from minigen.errors import MinigenError, Parser, number, run
from minigen.run import checkpoint
from minigen.run.plots import plot_step
from minigen.run.trace import in_words, load_trace, outcomes_of, replay


def main():
    parser = Parser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("trace", type=Path, metavar="FILE.npz", help="what scripts/sample.py --trace wrote")
    add("--step", type=number(0, 10**9, int), default=0, help="which new step of the piece, from 0")
    add("--out", type=Path, metavar="FILE.png", help="default: beside the trace")
    add("--replay", type=Path, metavar="CHECKPOINT", help="play it again with these weights, and compare")
    args = parser.parse_args()
    if args.out and args.out.suffix != ".png":
        raise MinigenError(f"{args.out} would be no PNG: name a --out that ends in .png")
    trace = load_trace(args.trace)
    if args.step >= len(trace["keys"]):
        raise MinigenError(f"the piece has {len(trace['keys'])} new steps: ask for a --step from 0 on, less than that")
    if args.replay:
        same = (replay(checkpoint.load(args.replay), trace) == trace["keys"][:, 0]).all(axis=1)
        print(f"replayed: {same.sum()} of {len(same)} steps are the same")
        return 0 if same.all() else 1
    path = args.out or args.trace.with_name(f"{args.trace.stem}-step{args.step}.png")
    path.parent.mkdir(parents=True, exist_ok=True)
    plot_step(path, trace, args.step, outcomes_of(trace["header"]["config"]))
    print("\n".join(in_words(trace, args.step)))
    print(f"wrote {path}")
    return 0


if __name__ == "__main__":
    run(main)
