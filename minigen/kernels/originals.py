"""A kernel stands in for the array code only while that code is what the kernel was tested against.

Every module that a kernel translates has a digest in originals.json: of its functions, classes and constants as they
are in memory, without comments and docstrings. Where a digest differs, or a function or constant is replaced later
while the program runs, the kernel is switched off, the array code runs, and one line reports it.

    python -m minigen.kernels.originals     writes the digests anew: run it after an edit, once the tests pass
"""

import hashlib
import inspect
import io
import json
import sys
import textwrap
import tokenize
import warnings
from importlib import import_module
from pathlib import Path

from minigen.backend import replaceable

PATH = Path(__file__).with_name("originals.json")
MARKS = {tokenize.INDENT: ">", tokenize.DEDENT: "<", tokenize.NEWLINE: ";"}
LEFT_OUT = (tokenize.COMMENT, tokenize.NL, tokenize.ENDMARKER)
WRAPPER = replaceable(print).__code__  # of every function that `replaceable` has wrapped


def code_of(source: str) -> str:
    """Source as its tokens, without comments, docstrings and spaces: the same on every version of Python."""
    kept, begins, docstring = [], True, False
    for token in tokenize.generate_tokens(io.StringIO(textwrap.dedent(source)).readline):
        if token.type in LEFT_OUT or (docstring and token.type == tokenize.NEWLINE):
            continue
        docstring = begins and token.type == tokenize.STRING
        if not docstring:
            begins = token.type in MARKS
            kept.append(MARKS.get(token.type, token.string))
    return "".join("".join(kept).split())


def _parts(namespace: dict, module: str, file: str):
    """What stands in a module or class, line by line; what is imported by its name."""
    for name, thing in sorted(namespace.items()):
        thing = getattr(thing, "__func__", getattr(thing, "fget", thing))
        if inspect.isclass(thing) and thing.__module__ == module:
            yield name
            yield from _parts(vars(thing), module, file)
        elif inspect.isclass(thing) or inspect.isfunction(thing):
            imported = thing.__module__ != module
            # what a decorator adds to a class is left out: it differs between versions of Python
            if not name.startswith("__") or (not imported and thing.__code__.co_filename == file):
                yield f"{name} {_name_of(thing) if imported else _source_of(thing, file)}"
        elif not name.startswith("__"):
            yield f"{name} {'' if inspect.ismodule(thing) else repr(thing)}"


def _from_file(function, file: str) -> bool:
    """Whether a function's code is of that file: else it was wrapped, or replaced by another."""
    function = function.reference if function.__code__ is WRAPPER else function
    return not file or function.__code__.co_filename == file


def _name_of(imported) -> str:
    home = getattr(sys.modules.get(imported.__module__), "__file__", "")
    genuine = inspect.isclass(imported) or _from_file(imported, home)
    return f"{imported.__module__}.{imported.__qualname__}" if genuine else "was replaced"


def _source_of(function, file: str) -> str:
    try:
        return code_of(inspect.getsource(function)) if _from_file(function, file) else "was replaced"
    except (OSError, SyntaxError, tokenize.TokenError):
        return "has no source"


def digest(module) -> str:
    """A digest of a module as it is in memory."""
    parts = _parts(vars(module), module.__name__, getattr(module, "__file__", ""))
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def contents(namespace: dict) -> list[tuple]:
    """(name, thing, its code where it is a function) of all that counts in a module's or class's namespace."""
    functions = {name: getattr(thing, "reference", thing) for name, thing in namespace.items()}
    return [
        (name, namespace[name], getattr(function, "__code__", None))
        for name, function in functions.items()
        if not name.startswith("__") or inspect.isfunction(function)
    ]


class Originals:
    """The modules that one kernel translates; `kernel` and `names` are files below minigen/, without .py."""

    def __init__(self, kernel: str, names: tuple[str, ...]):
        self.kernel, self.modules = kernel, [import_module(f"minigen.{name.replace('/', '.')}") for name in names]
        spaces = [(m.__name__, vars(m)) for m in self.modules]
        for name, space in tuple(spaces):
            classes = [c for c in space.values() if inspect.isclass(c) and c.__module__ == name]
            spaces += [(name, vars(c)) for c in classes]
        self.at_start = [(name, space, len(space), contents(space)) for name, space in spaces]
        self.warned = False

    def edited(self) -> str:
        """A line on the first module that is not as it was tested, or ""."""
        tested = json.loads(PATH.read_text())
        changed = [m.__name__ for m in self.modules if digest(m) != tested.get(m.__name__.removeprefix("minigen."))]
        return self._line(changed[0]) if changed else ""

    def stand(self, home: str = "") -> bool:
        """Whether nothing was replaced or added since; the first time that something was, it warns.

        `home`: the module of the function that asks; a copy of it in another module is not what the kernel translates.
        """
        if home and home != self.modules[0].__name__:
            return False
        for name, space, size, kept in self.at_start:
            same_size = len(space) - ("__warningregistry__" in space) <= size
            if not same_size or not all(
                space.get(key) is thing and (code is None or getattr(thing, "reference", thing).__code__ is code)
                for key, thing, code in kept
            ):
                if not self.warned:
                    warnings.warn(self._line(name), stacklevel=2)
                self.warned = True
                return False
        return True

    def _line(self, module: str) -> str:
        file = module.replace(".", "/")
        return f"{file}.py was edited: minigen/{self.kernel} is switched off"


def all_originals() -> list:
    """Every module that some kernel translates."""
    from minigen.kernels import TABLES

    rows = [row for table in TABLES.values() for row in table]
    names = sorted({name.replace("/", ".") for row in rows for name in row[2]})
    return [import_module(f"minigen.{name}") for name in names]


def main() -> None:
    digests = {module.__name__.removeprefix("minigen."): digest(module) for module in all_originals()}
    PATH.write_text(json.dumps(digests, indent=1) + "\n")
    print(f"wrote {PATH}: {len(digests)} modules are now what the kernels stand for")


if __name__ == "__main__":
    main()
