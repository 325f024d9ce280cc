"""A kernel stands in for the array code only while that code is what the kernel was tested against.

Every module that a kernel translates has a digest in originals.json: of its functions, classes and constants as they
are in memory, without comments and docstrings. Where a digest differs, or a function or constant is replaced later
while the program runs, the kernel stays out, the array code runs, and one line reports it.

    python -m minigen.kernels.originals     writes the digests anew: run it after an edit, once the tests pass
"""

import hashlib
import inspect
import io
import json
import textwrap
import tokenize
import warnings
from importlib import import_module
from pathlib import Path

PATH = Path(__file__).with_name("originals.json")
MARKS = {tokenize.INDENT: ">", tokenize.DEDENT: "<", tokenize.NEWLINE: ";"}
LEFT_OUT = (tokenize.COMMENT, tokenize.NL, tokenize.ENDMARKER)


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


def _parts(namespace: dict, module: str):
    """What stands in a module or class, line by line; what is imported by its name."""
    for name, thing in sorted(namespace.items()):
        thing = getattr(thing, "__func__", getattr(thing, "fget", thing))
        if inspect.isclass(thing) and thing.__module__ == module:
            yield name
            yield from _parts(vars(thing), module)
        elif inspect.isclass(thing) or inspect.isfunction(thing):
            imported = thing.__module__ != module
            yield f"{name} {f'{thing.__module__}.{thing.__qualname__}' if imported else _source_of(thing)}"
        elif not name.startswith("__"):
            yield f"{name} {'' if inspect.ismodule(thing) else repr(thing)}"


def _source_of(function) -> str:
    try:
        return code_of(inspect.getsource(function))
    except (OSError, SyntaxError):  # made by a decorator of a class, or typed at a prompt
        return "has no source"


def digest(module) -> str:
    """A digest of a module as it is in memory."""
    return hashlib.sha256("\n".join(_parts(vars(module), module.__name__)).encode()).hexdigest()[:16]


def names_of(modules) -> list[tuple[str, dict, dict]]:
    """(module's name, namespace, what it holds now) for every module and every class in it."""
    spaces = [(module.__name__, vars(module)) for module in modules]
    spaces += [(name, vars(c)) for name, space in spaces for c in space.values() if getattr(c, "__module__", 0) == name]
    return [
        (name, space, {key: thing for key, thing in space.items() if not key.startswith("__") or key == "__init__"})
        for name, space in spaces
    ]


class Originals:
    """The modules that one kernel translates; `kernel` and `names` are files below minigen/, without .py."""

    def __init__(self, kernel: str, names: tuple[str, ...]):
        self.kernel, self.modules = kernel, [import_module(f"minigen.{name.replace('/', '.')}") for name in names]
        self.now, self.warned = names_of(self.modules), False

    def edited(self) -> str:
        """A line on the first module that is not as it was tested, or ""."""
        tested = json.loads(PATH.read_text())
        changed = [m.__name__ for m in self.modules if digest(m) != tested.get(m.__name__.removeprefix("minigen."))]
        return self._line(changed[0]) if changed else ""

    def stand(self) -> bool:
        """Whether nothing was replaced since; the first time that something was, it warns."""
        for name, space, kept in self.now:
            for key, thing in kept.items():
                if space.get(key) is not thing:
                    if not self.warned:
                        warnings.warn(self._line(name), stacklevel=2)
                    self.warned = True
                    return False
        return True

    def _line(self, module: str) -> str:
        return f"{module.replace('.', '/')}.py was edited: its array code runs, and minigen/{self.kernel} stays out"


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
