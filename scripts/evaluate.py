"""What a checkpoint is worth: its loss on held-out songs beside the baselines, and the figures of what it plays.

    python scripts/evaluate.py samples/chorales.npz --check       the songs held out of the corpus it was trained on
    python scripts/evaluate.py runs/my_midi-final my_midi/        those held out of the folder it was trained on
    python scripts/evaluate.py samples/chorales.npz TEST          any other music, all of it as it is

Which songs were held out is in the checkpoint's header. It prints

    final: 32 held-out songs, 12 cells per step
      final                0.0990 nats per cell
      class frequency      0.2538 nats per cell
      ...

With --check the exit code is 1 where a baseline is not beaten, a piece gets stuck, or the notes per step are off by
30%.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np

from minigen.backend import use_device
from minigen.errors import MinigenError, Parser, number, plural, run
from minigen.kernels import CHOICES, use_kernels
from minigen.music import metrics
from minigen.music.alike import digest_of
from minigen.music.corpus import CORPORA, find_songs
from minigen.music.dataset import split, trim
from minigen.run import checkpoint
from minigen.run.folder import check_grid, print_found
from minigen.run.likelihood import nats_per_step
from minigen.run.sample import generate
from minigen.run.train import validate

STUCK = 64  # steps without two different chords
OFF = 0.3  # notes per step, relative to the corpus


def music(args, trained) -> tuple[list, list, str]:
    """The songs that it was trained on (none where they are not known here), those to judge it on, what they are."""
    header, c = trained.header, trained.model.config
    known = header.get("split", {})
    limits = {name: known.get(name) for name in ("max_tracks", "max_tempos")} | {"metre": c.metre, "log": print}
    name = checkpoint.corpus_of(header)
    own = name if name in CORPORA else None
    if not (args.sources or args.corpus or own):
        raise MinigenError(f"{args.checkpoint} was trained on a folder: name it, or other music to judge it on")

    def read(sources, corpus, once=True):
        songs, _ = find_songs(sources, corpus, **limits, once=once)
        check_grid(songs, c, "use a model that was made for them")
        return songs

    def parts(songs):
        """What was learned of these songs, and what was held out by minigen; nothing if it was trained on others."""
        if songs.digest() != known.get("digest") or known.get("official", "held_out" in known):
            return [], []
        return ([trim(r, c.bar) for r in part.rolls] for part in split(songs, known["seed"], known["valid"]))

    train, valid = parts(read(args.sources, args.corpus or own))
    if valid:
        return train, valid, "held-out songs"
    if not (args.sources or args.corpus):
        raise MinigenError(f"{args.checkpoint} was trained on other songs than {own} has: name music to judge it on")
    songs = read(args.sources, args.corpus, once=False)
    print_found(songs)
    train = list(parts(read([], own)))[0] if own else []
    if not train:
        print("no baselines: the songs that it was trained on are not known here")
    learned = sum(digest_of(roll) in header.get("learned", ()) for roll in songs.rolls)
    if learned:
        print(f"take care: it was trained on {plural(learned, 'song')} of these, so this is no held-out loss")
    if songs.digest() == known.get("digest"):
        return train, songs.rolls, "songs, on which it was trained"
    held_out = songs.digest() == known.get("held_out")
    return train, songs.rolls, "songs, its official held-out part" if held_out else "songs, other than its own"


def main():
    parser = Parser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("checkpoint", type=Path)
    add("sources", nargs="*", metavar="FOLDER", help="music to judge it on (default: what it was trained on)")
    add("--corpus", choices=CORPORA, help="a corpus instead of files")
    add("--seeds", type=number(1, 10**5, int), default=100, help="pieces to generate, of seeds 0, 1, ...")
    add("--bars", type=number(8, 10**4, int), default=16)
    add("--particles", type=number(1, 10**5, int), default=64, help="of the likelihood, where it is an estimate")
    add("--device", choices=["auto", "cpu", "cuda"], default="cpu", help="where the weights are (default: cpu)")
    add("--kernels", choices=CHOICES, default="auto", help="default: the array code")
    add("--check", action="store_true", help="exit 1 where a bound is missed")
    args = parser.parse_args()
    args.checkpoint = checkpoint.file_of(args.checkpoint)
    trained = checkpoint.load(args.checkpoint)
    model, c = trained.model, trained.model.config
    if model.needs_classes:
        raise MinigenError(f"{model.name} plays what it is given: evaluate a model that makes up music")
    train, valid, what = music(args, trained)
    xp, device = use_device(args.device)
    trained = trained.on(xp)
    print(f"device {device}; plays by: {use_kernels(args.kernels, 1, print, xp, playing=True)}")
    found = validate(model, trained.params, valid, trained.header.get("split", {}).get("seed", 0))
    pieces = [generate(trained, args.bars, seed) for seed in range(args.seeds)]
    base = metrics.baselines(train, valid, c.keys, c.loss == "pause", c.bar) if train else {}
    print(f"{model.name}: {len(valid)} {what}, {c.keys + (c.loss == 'pause')} cells per step")
    for name, value in {model.name: found["cells"], **base}.items():
        print(f"  {name:20} {value:.4f} nats per cell")
    if "decoder" in found:
        print(f"  {'octave decoder':20} {found['decoder']:.4f} nats per key")
    print(f"measuring whole steps ({args.particles} particles, where there is no exact way)", flush=True)
    exact = nats_per_step(model, trained.params, valid, args.particles)
    how = f"{args.particles} particles, standard error {exact['error']:.4f}" if exact["error"] else "exact"
    octaves = f", {exact['both']:.3f} with the octaves" if c.keys == 12 else ""
    print(f"  {'whole steps':20} {exact['own']:.3f} nats per step{octaves} ({how})")
    if exact["left out"]:
        print(f"  {exact['left out']:.2%} of the steps have more notes than can be played: left out of the last line")

    stuck = [metrics.longest_stuck(piece) for piece in pieces]
    made, real = metrics.notes_per_step(pieces), metrics.notes_per_step(train + valid)
    spread = np.percentile([metrics.notes_per_step([piece]) for piece in pieces], [5, 95])
    copied = metrics.copied_windows(pieces, train, 8, c.bar)
    print(f"{args.seeds} pieces of {args.bars} bars, seeds 0 to {args.seeds - 1}")
    print(f"  longest run without two different chords: {max(stuck)} steps (median {np.median(stuck):g})")
    print(f"  notes per step: {made:.3f} (5% to 95% of pieces: {spread[0]:.2f} to {spread[1]:.2f}), songs: {real:.3f}")
    if train:
        print(f"  8-bar windows that stand in a training song, in any transposition: {copied:.2%}")
    failed = {
        "a baseline is not beaten": bool(base) and found["cells"] >= min(base.values()),
        f"a piece has no two different chords in {STUCK} steps": max(stuck) >= STUCK,
        f"notes per step are off by over {OFF:.0%}": abs(made / real - 1) > OFF,
    }
    for sentence in (sentence for sentence, missed in failed.items() if missed):
        print(f"missed: {sentence}")
    return 1 if args.check and any(failed.values()) else 0


if __name__ == "__main__":
    run(main)
