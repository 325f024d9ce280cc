"""One error class and one wrapper for every script: a sentence with a remedy, and an exit code; words for the screen.

0 done, 1 a fault of minigen or a failed check, 2 bad input, 3 the numbers blew up, 130 Ctrl-C, 141 nobody reads what is
printed, 143 asked to stop, 129 the terminal was closed.
"""

import argparse
import os
import shlex
import signal
import sys
from contextlib import contextmanager
from pathlib import Path


class MinigenError(Exception):
    """A sentence that names the thing and the remedy; `code` is what the script exits with."""

    def __init__(self, sentence: str, code: int = 2):
        super().__init__(printable(sentence))  # it may hold the name of a stranger's file
        self.code = code


class Parser(argparse.ArgumentParser):
    """argparse, but a wrong argument is one sentence like every other bad input."""

    def error(self, message):
        raise MinigenError(f"{message} (see {command(Path(self.prog).stem, '--help')})")


def number(low: float, high: float, kind=float):
    """An argparse type: a number of `kind` from `low` to `high`. NaN is in no range."""

    def parse(text: str):
        try:
            value = kind(text)
        except ValueError:
            value = float("nan")
        if not low <= value <= high:
            noun = "a whole number" if kind is int else "a number"
            raise argparse.ArgumentTypeError(f"{text!r} is not {noun} from {low:g} to {high:g}")
        return value

    return parse


def plural(n: int, noun: str) -> str:
    """ "1 song", "1,200 songs"."""
    return f"{n:,} {noun}{'s' * (n != 1)}"


def printable(text: str) -> str:
    """Text of a stranger's file, for a terminal: what cannot be seen, or would move the cursor, as an escape."""
    return "".join(sign if sign.isprintable() else ascii(sign)[1:-1] for sign in text)


def quoted(*words) -> str:
    """Words of a command, to be pasted: a path that begins with a dash is not taken for a flag."""
    return shlex.join(f"./{word}" if isinstance(word, Path) and str(word)[0] == "-" else str(word) for word in words)


def command(script: str, *args) -> str:
    """A command that can be pasted where this one was called: of a script beside the one that runs."""
    return quoted("python", Path(sys.argv[0]).with_name(f"{script}.py"), *args)


def attempt(what: str, make, quiet: bool = False) -> bool:
    """Call `make()`, which writes what a run can do without -> whether it could; what it raises becomes one line on the
    screen, or none if `quiet`."""
    try:
        make()
        return True
    except Exception as error:
        if quiet:
            return False
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())[:100] or type(error).__name__
        print(f"take care: {what} could not be written ({reason})", file=sys.stderr)
        return False


ASKED = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]  # Windows: 2


class Stop:
    """One of ASKED, noted and not obeyed at once, so that a step can end and be saved: `code` is 130, 143, 129 or 0.

    A second one does not wait. A context manager: outside it the signals do what they did before.
    """

    def __enter__(self):
        self.code = 0
        self.before = _handled_by(self._note)
        return self

    def __exit__(self, *_):
        for number, handler in self.before.items():
            signal.signal(number, handler)

    def _note(self, signum, frame):
        if self.code:
            sys.exit(self.code)
        self.code = 128 + signum


def _handled_by(handler) -> dict:
    """ASKED -> what was done with each; one that is ignored, as in a background job or by nohup, stays so."""
    heeded = (number for number in ASKED if signal.getsignal(number) is not signal.SIG_IGN)
    return {number: signal.signal(number, handler) for number in heeded}


def until_run() -> None:
    """A script that still loads its modules is ended by a signal at once, without a traceback."""
    _handled_by(signal.SIG_DFL)


def _ended(signum, frame):
    if signum == signal.SIGINT:
        raise KeyboardInterrupt
    sys.exit(128 + signum)


@contextmanager
def ended_at_once():
    """Meanwhile a signal ends a script by itself, without an exception: where one is raised inside of the compiler, the
    process can crash. Elsewhere than in a script nothing changes."""
    if _ended not in map(signal.getsignal, ASKED):
        yield
        return
    before = _handled_by(signal.SIG_DFL)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _streams() -> None:
    """Both streams take whatever a file is called, and are there even where they were closed."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name) or open(os.devnull, "w")  # noqa: SIM115  open until the end
        stream.reconfigure(errors="backslashreplace")  # a file's name may hold what the terminal cannot show
        setattr(sys, name, stream)


def run(main) -> None:
    """Call `main()` and leave with its exit code; no traceback for anything the user can mend."""
    _handled_by(_ended)
    _streams()
    said = ""
    try:
        code = main() or 0
        sys.stdout.flush()
    except MinigenError as error:
        said, code = f"error: {error}", error.code
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # it ends already
        said, code = "stopped", 130
    except BrokenPipeError:  # as after `| head`
        code = 141
    except (PermissionError, FileExistsError, FileNotFoundError, NotADirectoryError, IsADirectoryError) as error:
        remedy = "name another place, with --out if it was to be written"
        said, code = printable(f"error: {error.filename} cannot be used ({error.strerror}): {remedy}"), 2
    except MemoryError:
        said, code = "error: there is not enough memory: use smaller files, a smaller --batch or a smaller model", 1
    except OSError as error:  # a full disk
        said, code = f"error: {error.filename or 'a file'}: {error.strerror or error}", 1
    try:
        print(said, end="\n" * bool(said), file=sys.stderr, flush=True)
        sys.stdout.flush()
    except OSError:  # nobody reads: what is still to be written goes nowhere
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    sys.exit(code)
