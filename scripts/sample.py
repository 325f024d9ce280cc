"""Play a trained model: write new music as MIDI and a picture of it.

python scripts/sample.py                                        16 bars by samples/chorales.npz
python scripts/sample.py runs/bach-ordered/best.npz --bars 64 --seed 7 --temperature 0.9
python scripts/sample.py --primer my_song.mid --primer-bars 4   go on from the first four bars of a song, at its tempo
python scripts/sample.py --key Am --chords "Am|Dm|E7"           in a key, one chord per bar
python scripts/sample.py --inject melody.mid                    the voices harmonise a melody
python scripts/sample.py --finetune reset --finetune-rate 1e-4  the network trains on what it is playing
python scripts/sample.py --album 58 --bars 32                   an hour: 58 pieces in one file, each from another song
python scripts/sample.py --wav                                  its sound, too: no soundfont is needed
python scripts/sample.py --trace piece.npz                      every number behind every step, for scripts/plot.py
python scripts/sample.py --info                                 what is in the checkpoint
"""

import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from minigen.errors import until_run

until_run()

import numpy as np
from tqdm import tqdm

from minigen.backend import use_device
from minigen.errors import MinigenError, Parser, attempt, command, number, plural, run
from minigen.kernels import CHOICES, use_kernels
from minigen.ladder import LADDER
from minigen.music import metrics
from minigen.music.corpus import CORPORA, find_songs
from minigen.music.dataset import trim
from minigen.music.midi import Song
from minigen.music.midi_out import write_midi
from minigen.music.songset import SongSet
from minigen.music.steering import Steering, steer, top_line
from minigen.music.synth import write_wav
from minigen.progress import progress
from minigen.run import checkpoint
from minigen.run.finetune import MODES, Finetune
from minigen.run.folder import check_grid, print_found
from minigen.run.perform import check_album, join_album, music_of, perform, remarks, song_of, sounding_head
from minigen.run.sample import begin
from minigen.run.trace import save_trace

BPM = 10, 1000
DEFAULT = Path(__file__).resolve().parents[1] / "samples" / "chorales.npz"


def arguments():
    parser = Parser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("checkpoint", nargs="?", type=Path, default=DEFAULT, help="default: samples/chorales.npz")
    add("--info", action="store_true", help="print what is in the checkpoint, and stop")
    add("--device", choices=["auto", "cpu", "cuda"], default="cpu", help="where the weights are (default: cpu)")
    add("--kernels", choices=CHOICES, default="auto", help="default: the array code; to learn while playing, fast")
    add = parser.add_argument_group("the piece").add_argument
    add("--bars", type=number(1, 10_000, int), help="bars of new music (default: 16, or those of a melody)")
    add("--seed", type=number(0, 2**62, int), default=0, help="another seed, another piece")
    add("--temperature", type=number(0.01, 100), default=1.0, help="under 1 safer, over 1 wilder")
    add("--primer", type=Path, metavar="FILE.mid", help="go on from the first bar of this; without it, from silence")
    add("--primer-bars", type=number(1, 10_000, int), metavar="N", help="from its first N bars (default: 1)")
    add("--album", type=number(1, 10_000, int), metavar="N", help="N pieces in one file, from songs of --primer FOLDER")
    add("--num-outputs", type=number(1, 10_000, int), default=1, help="pieces, of seeds SEED, SEED+1, ...")
    add = parser.add_argument_group("steering (ordered, and models on 12 classes)").add_argument
    add("--key", help="the voices keep to this key: C, F#, Am, ...")
    add("--chords", help='and to one chord per bar, again and again: "C|Am|F|G7"')
    add("--inject", type=Path, metavar="FILE.mid", help="its notes sound as they are, and the voices harmonise them")
    add = parser.add_argument_group("learning while playing").add_argument
    add("--finetune", choices=["off", *MODES], default="off", help="train on what was played before every step")
    add("--finetune-rate", type=number(0, 1), help="Adam's rate (default: 1e-4)")
    add("--finetune-iters", type=number(1, 10**6, int), help="updates per step (default: 1)")
    add("--finetune-window", type=number(1, 10**6, int), help="on the last so many steps (default: 256)")
    add = parser.add_argument_group("what is written").add_argument
    add("--bpm", type=number(*BPM), help="quarters per minute (default: those of the primer or melody, or 120)")
    add("--out", type=Path, default=Path("generated"), metavar="FOLDER", help="where to write")
    add("--wav", action="store_true", help="its sound, too")
    add("--trace", type=Path, metavar="FILE.npz", help="every number behind every step, for scripts/plot.py")
    args = parser.parse_args()
    if args.trace and (args.num_outputs > 1 or args.album):
        raise MinigenError("--trace is of one piece: leave out --num-outputs and --album")
    if args.album and args.num_outputs > 1:
        raise MinigenError("--album N is N pieces in one file: leave out --num-outputs")
    if args.primer_bars and not (args.primer or args.album):
        raise MinigenError("--primer-bars is how much of a primer is used: name one, --primer FILE.mid")
    args.primer_bars = args.primer_bars or 1
    given = {name: getattr(args, f"finetune_{name}") for name in ("rate", "iters", "window")}
    given = {name: value for name, value in given.items() if value is not None}
    if given and args.finetune == "off":
        raise MinigenError(f"--finetune-{next(iter(given))} is for learning while playing: add --finetune reset")
    args.tune = None if args.finetune == "off" else Finetune(args.finetune, **given)
    return args


def asked_for(args, model, melody: Song | None) -> Steering | None:
    """What --key, --chords and --inject ask for."""
    if args.key is None and args.chords is None and args.inject is None:
        return None
    c = model.config
    if not model.steerable:
        able = ", ".join(name for name, rung in LADDER.items() if rung().steerable)
        why = "the classes that it is given" if model.needs_classes else f"{c.keys} keys"
        raise MinigenError(f"{model.name} plays {why} and cannot be steered: use a model of {able}")
    roll = sounding = ceiling = None
    if melody:
        roll = trim(melody.roll, c.bar) > 0
        sounding = melody.sounding[-len(roll) :]
    if model.in_order:
        ceiling = np.full(args.bars * c.bar, 88)
        if melody:
            notes = roll.sum()
            roll, ceiling = top_line(roll, sounding)
            if roll.sum() < notes:
                print(f"of {args.inject} the top line is used: {roll.sum()} of its {notes} notes")
    return steer(args.bars * c.bar, c.voices, args.key, args.chords, roll, c.bar, ceiling, sounding)


def info(trained: checkpoint.Trained) -> None:
    header, c = trained.header, trained.model.config
    print(f"model     {trained.model.name} (diary {trained.model.date}), {trained.params.flat.size:,} parameters")
    print(f"config    {', '.join(f'{name} {value}' for name, value in c.as_json().items())}")
    for name in ("data", "licence", "command"):
        print(f"{name:9} {header.get(name, 'not stated')}")
    for kind in ("training", "metrics"):
        print(f"{kind:9} {'' if kind in header else 'not stated'}".rstrip())
        for name, value in header.get(kind, {}).items():
            of = ", ".join(f"{n} {x:.4g}" for n, x in value.items()) if isinstance(value, dict) else value
            print(f"  {name:15} {of:.4g}" if isinstance(of, float) else f"  {name:15} {of}")


def album(args, trained, asked: Steering | None, label: str, bpm: float):
    """Pieces of seeds SEED, SEED+1, ..., each from the first bars of a song drawn by its seed, in one file. What was
    played before an error or Ctrl-C is written."""
    from minigen.run.plots import plot_album  # here, for matplotlib takes long to load

    c, pieces, songs, ended = trained.model.config, [], songs_of(args, trained), None
    try:
        for seed in progress(range(args.seed, args.seed + args.album), "playing pieces"):
            song = song_of(len(songs), seed)
            primer, head = begin(trained.model, songs.rolls[song], args.bars, args.primer_bars)
            sounds = sounding_head(songs.rolls[song], songs.sounding(song), head, c.bar)
            tuned = args.temperature, asked, args.tune
            played = perform(trained, args.bars * c.bar, seed, primer, *tuned, primer_sounding=sounds)
            pieces.append(played)
            for line in remarks(played, asked, c.bar):
                tqdm.write(f"piece {len(pieces)}: {line}", file=sys.stdout)
            if played.error:
                raise played.error
    except (MinigenError, KeyboardInterrupt) as error:
        ended = error
    if pieces:
        roll, sounding = join_album(pieces)
        name = args.out / f"{label}-{trained.model.name}-album{len(pieces)}-seed{args.seed}"
        write_midi(f"{name}.mid", roll, bpm, sounding, metre=c.metre)
        title = f"{label}, {trained.model.name}, seeds {args.seed} to {args.seed + len(pieces) - 1}"
        drawn = attempt(f"the picture {name}.png", lambda: plot_album(f"{name}.png", pieces, c.bar, title))
        if args.wav:
            write_wav(f"{name}.wav", roll, sounding, bpm)
        files = ", ".join([f"{name}.mid", *[f"{name}.png"] * drawn, *[f"{name}.wav"] * args.wav])
        notes = metrics.notes_per_step([p.roll for p in pieces])
        print(f"wrote {files}: {plural(len(pieces), 'piece')}, {len(roll):,} steps, {notes:.2f} notes per step; "
              "each goes on from a song, which is left out")  # fmt: skip
    if ended:
        raise ended


def songs_of(args, trained) -> SongSet:
    """The songs of the --primer folder, or of the corpus that the checkpoint was trained on."""
    c, corpus = trained.model.config, checkpoint.corpus_of(trained.header)
    if not args.primer and corpus not in CORPORA:
        raise MinigenError(f"{args.checkpoint} was trained on no corpus: name songs to begin from, --primer FOLDER")
    songs, _ = find_songs([args.primer] if args.primer else [], corpus, metre=c.metre, log=print)
    check_grid(songs, c, "name a folder of such songs, --primer FOLDER")
    if args.primer:
        print_found(songs)
    return songs


def main():
    args = arguments()
    args.checkpoint = checkpoint.file_of(args.checkpoint)
    trained = checkpoint.load(args.checkpoint)
    if args.info:
        return info(trained)
    from minigen.run.plots import plot_roll

    xp, device = use_device(args.device)
    if args.device != "cpu":
        print(f"device {device}")
    model, trained = trained.model, trained.on(xp)
    bar, metre = model.config.bar, model.config.metre
    primer = None if args.album else music_of(args.primer, metre, "primer")
    melody = music_of(args.inject, metre, "melody")
    args.bars = args.bars or (len(trim(melody.roll, bar)) // bar if melody else 16)
    asked = asked_for(args, model, melody)
    given = primer or melody
    bpm = args.bpm or (min(max(given.bpm, BPM[0]), BPM[1]) if given else 120)
    if model.needs_classes and (args.tune or args.album):
        raise MinigenError(f"{model.name} plays what it is given: leave out --finetune and --album")
    if args.album:
        check_album(args.album, args.bars * bar)
    song = primer
    primer, head = (None, None) if args.album else begin(model, song and song.roll, args.bars, args.primer_bars)
    sounds = sounding_head(song.roll, song.sounding, head, bar) if song and not args.album else None
    begins = "it plays the primer's classes" if model.needs_classes else "it starts from silence"
    if head is not None and len(head):
        begins = f"the primer ends at step {len(head)} (after bar {len(head) / bar:g})"
    # one stream: nothing is worth a second thread
    print("plays by:", use_kernels(args.kernels, 1, print, xp, playing=args.tune is None))
    ended, label = None, checkpoint.label_of(args.checkpoint)
    args.out.mkdir(parents=True, exist_ok=True)
    if args.album:
        return album(args, trained, asked, label, bpm)
    for seed in range(args.seed, args.seed + args.num_outputs):
        began = time.monotonic()
        tuned = args.temperature, asked, args.tune, bool(args.trace)
        played = perform(trained, args.bars * bar, seed, primer, *tuned, primer_sounding=sounds)
        rows = played.roll
        sounding = np.concatenate([head if sounds is None else sounds, played.sounding]) > 0
        took = time.monotonic() - began
        roll = np.concatenate([head, rows])
        name = args.out / f"{label}-{model.name}-seed{seed}"
        word = "replaced" if Path(f"{name}.mid").exists() else "wrote"
        write_midi(f"{name}.mid", roll, bpm, sounding, metre=metre)
        picture = f"{name}.png", roll, len(head), bar, f"{label}, {model.name}, seed {seed}", sounding
        drawn = attempt(f"the picture {name}.png", lambda picture=picture: plot_roll(*picture))
        if args.wav:
            write_wav(f"{name}.wav", roll, sounding, bpm)
        wrote = ", ".join([f"{name}.mid", *[f"{name}.png"] * drawn, *[f"{name}.wav"] * args.wav])
        print(f"{word} {wrote}: {len(rows) / bar:g} bars in {took:.2f} s, ", end="")
        print(f"{metrics.notes_per_step([rows]):.2f} notes per step; {begins}")
        for line in remarks(played, asked, bar):
            print(line)
        if args.trace:
            end = len(head) + args.bars * bar
            save_trace(args.trace, trained, roll, played.traces, seed, args.temperature, end, args.tune)
            print(f"wrote {args.trace}: {command('plot', args.trace, '--step', len(rows) // 2)}")
        ended = ended or played.error
    if ended:
        raise ended
    if not args.wav:
        print(f"hear it: {command('plot', Path(f'{name}.mid'), '--wav')}")
    return 0


if __name__ == "__main__":
    run(main)
