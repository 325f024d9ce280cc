"""Look inside: a whole piece or song as pictures of 16 bars each, or one step of a piece, every number behind it.

python scripts/plot.py samples/chorales.npz song.mid              what a network makes of a song (without one: of a song
                                                                  of its corpus, the first that was held out)
python scripts/sample.py --trace piece.npz
python scripts/plot.py piece.npz                                  a whole generated piece
python scripts/plot.py piece.npz --step 37                        one step of it, in words and as piece-step37.png
python scripts/plot.py piece.npz --replay samples/chorales.npz    plays it again: is it the same music?
python scripts/plot.py song.mid --wav                             the sound of any MIDI file, song.wav
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from minigen.errors import until_run

until_run()

from minigen.errors import MinigenError, Parser, number, run
from minigen.music.corpus import CORPORA, find_songs
from minigen.music.dataset import split, trim
from minigen.music.midi import SUFFIXES
from minigen.music.synth import write_wav
from minigen.run import checkpoint
from minigen.run.passage import generated, pages, read
from minigen.run.perform import music_of
from minigen.run.plots import plot_passage, plot_step
from minigen.run.trace import in_words, is_trace, load_trace, model_of, outcomes_of, replay

BARS = 16  # of a picture


def of_song(args) -> tuple[dict, object, str]:
    """What a checkpoint makes of a song: the passage, the configuration, a title."""
    trained = checkpoint.load(args.file)
    model, header, c = trained.model, trained.header, trained.model.config
    corpus, known = checkpoint.corpus_of(header), header.get("split", {})
    if args.song:
        roll, title = trim(music_of(args.song, c.metre, "song").roll, c.bar), args.song.name
    elif corpus in CORPORA and "seed" in known:
        songs, _ = find_songs([], corpus, metre=c.metre, log=print)
        roll, title = (
            trim(split(songs, known["seed"], known["valid"])[1].rolls[0], c.bar),
            f"a held-out song of {corpus}",
        )
    else:
        raise MinigenError(f"it is not known which songs {args.file} holds out: name a song, FILE.mid, to look at")
    return read(model, trained.params, roll), c, f"{args.file.name}, {model.name}: {title}"


def sound(args) -> int:
    """The sound of a MIDI file."""
    if args.song or args.step is not None or args.replay:
        raise MinigenError(f"{args.file} is music, and has no steps to look into: leave all but --wav and --out out")
    if not args.wav:
        raise MinigenError(f"{args.file} is music: hear it with --wav, or name a checkpoint before it")
    song, path = music_of(args.file, "none", "song"), args.out or Path(f"{args.file.stem}.wav")
    print(f"wrote {path}: {write_wav(path, song.roll, song.sounding, song.bpm):.1f} seconds")
    return 0


def main():
    parser = Parser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("file", type=Path, metavar="FILE", help="a checkpoint, what scripts/sample.py --trace wrote, or a MIDI file")
    add("song", nargs="?", type=Path, metavar="SONG.mid", help="what a checkpoint is to read")
    add("--step", type=number(0, 10**9, int), help="of a trace: only this new step of the piece, from 0")
    add(
        "--out",
        type=Path,
        metavar="FILE.png",
        help="default: beside the trace, or here; pages are called FILE-barsN-M.png",
    )
    add("--wav", action="store_true", help="of a MIDI file: its sound")
    add("--replay", type=Path, metavar="CHECKPOINT", help="of a trace: play it again with these weights, and compare")
    args = parser.parse_args()
    ending = ".wav" if args.wav else ".png"
    if args.out and args.out.suffix != ending:
        raise MinigenError(f"{args.out} would be no {ending[1:].upper()}: name a --out that ends in {ending}")
    if args.file.suffix.lower() in SUFFIXES and not args.file.is_dir():
        return sound(args)
    args.file = checkpoint.file_of(args.file)
    if args.wav:
        raise MinigenError(f"--wav is for a MIDI file, and {args.file} is none: sample.py --wav plays a checkpoint")
    traced = is_trace(args.file)
    if not traced and (args.step is not None or args.replay):
        raise MinigenError(f"--step and --replay are for what sample.py --trace wrote: {args.file} is none")
    if traced and args.song:
        raise MinigenError(f"{args.file} is a piece and needs no song: leave out {args.song}")
    label = checkpoint.label_of(args.file)
    base = args.out or (args.file if traced else Path(f"{args.song.stem if args.song else label}.png"))
    base.parent.mkdir(parents=True, exist_ok=True)
    if traced:
        trace = load_trace(args.file)
        if args.step is not None and args.step >= len(trace["keys"]):
            raise MinigenError(f"the piece has {len(trace['keys'])} new steps: ask for a --step from 0, less than that")
        if args.replay:
            same = (replay(checkpoint.load(checkpoint.file_of(args.replay)), trace) == trace["keys"][:, 0]).all(axis=1)
            print(f"replayed: {same.sum()} of {len(same)} steps are the same")
            return 0 if same.all() else 1
        if args.step is not None:
            path = args.out or base.with_name(f"{base.stem}-step{args.step}.png")
            plot_step(path, trace, args.step, outcomes_of(trace["header"]))
            print("\n".join(in_words(trace, args.step)))
            print(f"wrote {path}")
            return 0
        passage, config, title = generated(trace), model_of(trace["header"]).config, args.file.name
    else:
        passage, config, title = of_song(args)
    for page in pages(passage, BARS * config.bar):
        first, last = page["first"] // config.bar + 1, (page["first"] + len(page["struck"]) - 1) // config.bar + 1
        path = base.with_name(f"{base.stem}-bars{first}-{last}.png")
        plot_passage(path, page, config, title, read=not traced)
        print(f"wrote {path}")
    return 0


if __name__ == "__main__":
    run(main)
