"""What a checkpoint is worth: its loss on held-out songs beside the baselines, and the figures of what it plays.

    python scripts/evaluate.py samples/chorales.npz --check       the songs held out of the corpus it was trained on
    python scripts/evaluate.py runs/my_midi-ordered my_midi/      those held out of the folder it was trained on
    python scripts/evaluate.py samples/chorales.npz TEST          any other music, all of it as it is
    python scripts/evaluate.py samples/chorales.npz --tell        can what it plays be told from the held-out songs?
    python scripts/evaluate.py A/ B/                              two folders of MIDI: what A is like beside B

Which songs were held out is in the checkpoint's header. Losses are in nats per step, the sum over what a step says;
baselines likewise. Figures of music are means over windows of 8 bars (minigen/music/metrics.py), beside the band in
which the mean of as many songs lies by chance, 95 times of 100. --tell trains a logistic regression on them: an AUC of
0.5 is chance, and 1 is always right.

With --check the exit code is 1 where a baseline is not beaten, a piece gets stuck, or the notes per step are off by
30%.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from minigen.errors import until_run

until_run()

import numpy as np

from minigen.backend import use_device
from minigen.errors import MinigenError, Parser, number, plural, run
from minigen.kernels import CHOICES, use_kernels
from minigen.metre import METRES
from minigen.music import metrics
from minigen.music.alike import digest_of
from minigen.music.baseline import baselines
from minigen.music.corpus import CORPORA, find_songs
from minigen.music.dataset import split, trimmed
from minigen.music.metrics import closes
from minigen.music.midi import SUFFIXES
from minigen.ops import NO_END
from minigen.progress import progress
from minigen.run import checkpoint
from minigen.run.folder import check_grid, print_found
from minigen.run.likelihood import nats_per_step, nats_under_melody
from minigen.run.perform import perform
from minigen.run.report import pieces_of, print_figures, print_told
from minigen.run.train import validate

STUCK = 64  # steps without two different chords
OFF = 0.3  # notes per step, relative to the corpus


def is_music(path: Path) -> bool:
    """Whether it is a MIDI file or a folder of them, and no checkpoint and no run."""
    return not (path / "best.npz").exists() if path.is_dir() else path.suffix.lower() in SUFFIXES


def music(args, trained) -> tuple[tuple, tuple, str]:
    """The songs that it was trained on (none where they are not known here) and those to judge it on, each as rolls and
    what sounds in them; what they are."""
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
            return ([], []), ([], [])
        return tuple(trimmed(part, c.bar) for part in split(songs, known["seed"], known["valid"]))

    train, valid = parts(read(args.sources, args.corpus or own))
    if valid[0]:
        return train, valid, "held-out songs"
    if not (args.sources or args.corpus):
        raise MinigenError(f"{args.checkpoint} was trained on other songs than {own} has: name music to judge it on")
    songs = read(args.sources, args.corpus, once=False)
    print_found(songs)
    train = parts(read([], own))[0] if own else ([], [])
    if not train[0]:
        print("no baselines: the songs that it was trained on are not known here")
    learned = sum(digest_of(roll) in header.get("learned", ()) for roll in songs.rolls)
    if learned:
        print(f"take care: it was trained on {plural(learned, 'song')} of these, so this is no held-out loss")
    as_they_are = trimmed(songs, None)
    if songs.digest() == known.get("digest"):
        return train, as_they_are, "songs, on which it was trained"
    held_out = songs.digest() == known.get("held_out")
    return train, as_they_are, "songs, its official held-out part" if held_out else "songs, other than its own"


def compare(args) -> int:
    """Two folders of MIDI."""
    if len(args.sources) != 1:
        raise MinigenError(f"{args.checkpoint} is music and not a checkpoint: name one more folder to compare it with")
    sets = [find_songs([source], None, metre=args.metre, once=False, log=print)[0]
            for source in (args.checkpoint, args.sources[0])]  # fmt: skip
    for songs in sets:
        print_found(songs)
    bar = METRES[args.metre][0]
    ours, theirs = (pieces_of(*trimmed(songs, bar)) for songs in sets)
    print(f"{args.checkpoint} beside {args.sources[0]}")
    print_figures(ours, theirs, [struck for struck, _ in theirs], bar)
    if args.tell:
        print_told(ours, theirs, [], bar)
    return 0


def main():
    parser = Parser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("checkpoint", type=Path, help="or a folder of MIDI, to be compared with another")
    add("sources", nargs="*", metavar="FOLDER", help="music to judge it on (default: what it was trained on)")
    add("--corpus", choices=CORPORA, help="a corpus instead of files")
    add("--seeds", type=number(1, 10**5, int), default=100, help="pieces to generate, of seeds 0, 1, ...")
    add("--bars", type=number(8, 10**4, int), default=16)
    add("--temperature", type=number(0.01, 100), default=1.0, help="of the pieces: under 1 safer, over 1 wilder")
    add("--tell", action="store_true", help="train a classifier to tell the pieces from the songs")
    add("--metre", choices=list(METRES), default="4/4", help="of two folders (a checkpoint knows its own)")
    add("--particles", type=number(1, 10**5, int), default=64, help="of the likelihood, where it is an estimate")
    add("--device", choices=["auto", "cpu", "cuda"], default="cpu", help="where the weights are (default: cpu)")
    add("--kernels", choices=CHOICES, default="auto", help="default: the array code")
    add("--check", action="store_true", help="exit 1 where a bound is missed")
    args = parser.parse_args()
    if is_music(args.checkpoint):
        return compare(args)
    args.checkpoint = checkpoint.file_of(args.checkpoint)
    trained = checkpoint.load(args.checkpoint)
    model, c = trained.model, trained.model.config
    if model.needs_classes:
        raise MinigenError(f"{model.name} plays what it is given: evaluate a model that makes up music")
    train, valid, what = music(args, trained)
    xp, device = use_device(args.device)
    trained = trained.on(xp)
    print(f"device {device}; plays by: {use_kernels(args.kernels, 1, print, xp, playing=True)}")
    seed = trained.header.get("split", {}).get("seed", 0)
    found = validate(model, trained.params, valid[0], seed, sounding=valid[1] if c.sustain else None)
    exact = nats_per_step(model, trained.params, valid[0], args.particles)
    pause = c.loss == "pause"
    cells = c.keys + pause
    base = baselines(train[0], valid[0], c.keys, pause, c.bar, per_step=True) if train[0] else {}
    print(f"{model.name}: {len(valid[0])} {what}, nats per step")
    how = f"{args.particles} particles, standard error {exact['error']:.4f}" if exact["error"] else "exact"
    print(f"  {model.name:20} {exact['own']:.3f} ({how})")
    if c.keys == 12:
        print(f"  {'with its octaves':20} {exact['both']:.3f}")
    if exact["left out"]:
        print(f"  {exact['left out']:.2%} of the steps have more notes than can be played: left out")
    if model.in_order:
        under = nats_under_melody(model, trained.params, *valid)
        print(f"  {'under the top line':20} {under:.3f}")
    if not (model.in_order or model.conditional):
        print(f"  {'its keys one by one':20} {found['cells'] * cells:.3f} (the sum of Bernoulli cross-entropies)")
    for name, value in base.items():
        print(f"  {name:20} {value:.3f}")
    for part, what in (("decoder", "octave decoder"), ("sustain", "sustain decoder")):
        if part in found:
            print(f"  {what:20} {88 * found[part]:.3f}")

    def play(**end):
        seeds = progress(range(args.seeds), "playing")
        return [perform(trained, args.bars * c.bar, seed, temperature=args.temperature, **end) for seed in seeds]

    played = play()
    pieces, songs = [p.roll for p in played], train[0] + valid[0]
    stuck = [metrics.longest_stuck(piece) for piece in pieces]
    made, real = metrics.notes_per_step(pieces), metrics.notes_per_step(songs)
    print(f"{args.seeds} pieces of {args.bars} bars, seeds 0 to {args.seeds - 1}")
    print(f"  longest run without two different chords: {max(stuck)} steps (median {np.median(stuck):g})")
    print(f"  notes per step: {made:.3f}, songs: {real:.3f}")
    ours, held_out, learned = [(p.roll > 0, p.sounding) for p in played], pieces_of(*valid), pieces_of(*train)
    has_bars = c.metre != "none"
    if has_bars:
        print_figures(ours, learned + held_out, train[0], c.bar)
    else:
        print("  no more figures of music: it has no bars")
    if has_bars and c.end_bits:
        on = play(end=NO_END)
        ends = {"pieces": ours, "with no end known": [(p.roll, p.sounding) for p in on], "held-out songs": held_out}
        shares = ", ".join(f"{name} {np.mean([closes(*piece) for piece in ends[name]]):.0%}" for name in ends)
        print(f"  ends on a triad over its root, a half note or longer: {shares}")
    if has_bars and args.tell:
        print_told(ours, held_out, learned, c.bar)
    own = exact["own"] if model.in_order else found["cells"] * cells  # as the baselines count
    failed = {
        "a baseline is not beaten": bool(base) and own >= min(base.values()),
        f"a piece has no two different chords in {STUCK} steps": max(stuck) >= STUCK,
        f"notes per step are off by over {OFF:.0%}": abs(made / real - 1) > OFF,
    }
    for sentence in (sentence for sentence, missed in failed.items() if missed):
        print(f"missed: {sentence}")
    return 1 if args.check and any(failed.values()) else 0


if __name__ == "__main__":
    run(main)
