"""What the README says is so: its code runs, its flags exist, its tree is the tree, its answers are where it says."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

from minigen.ladder import LADDER

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
RESULTS = (ROOT / "samples" / "results.md").read_text(encoding="utf-8")
DIARY = ROOT / "samples" / "diary"
FILES = [path for top in ("minigen", "scripts") for kind in ("py", "cu") for path in (ROOT / top).rglob(f"*.{kind}")]


def section(title: str) -> str:
    """The README from one heading to the next."""
    return re.search(rf"^## {re.escape(title)}.*?\n(.*?)(?=^## |\Z)", README, re.M | re.S)[1]


def rows(text: str) -> list[list[str]]:
    """The cells of a table, row by row, without its head."""
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines[2:]]


def test_it_is_a_front_door():
    assert README.count("\n") <= 200
    songs = len(list((ROOT / "samples" / "songs").glob("*.mid")))
    assert f"own {songs} songs" in README and f"**{songs} songs" in README


def test_the_two_commands():
    """The lines that continuous integration runs, word for word, each with what it printed."""
    commands = re.findall(r"^pip install -e .*$", README, re.M)
    assert commands == [
        'pip install -e ".[corpus]" && python scripts/sample.py && python scripts/train.py --corpus bach --minutes 3',
        'pip install -e ".[test]" && pytest',
    ]
    first, second = (
        README.partition(f"<!-- {name} command: begin -->\n")[2].partition(f"<!-- {name} command: end -->")[0]
        for name in ("first", "second")
    )
    assert "plays by: reference, the array code" in first and "held-out nats per step to beat: " in first
    assert re.search(r"\d+ passed", second)


@pytest.mark.parametrize("block", re.findall(r"```python\n(.*?)```", README, re.S))
def test_python_blocks_run(block, tmp_path):
    (tmp_path / "samples").mkdir()
    shutil.copy(ROOT / "samples" / "chorales.npz", tmp_path / "samples")
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", block], cwd=tmp_path, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    assert done.stdout and "WRONG" not in done.stdout


@cache
def options_of(script: str) -> dict[str, list[str]]:
    """Every option of a script, by its --help, with its choices."""
    done = subprocess.run([sys.executable, str(ROOT / script), "--help"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    text = done.stdout.partition("\n\n")[2]
    found = re.findall(r"^ +(?:-h, )?(--[\w-]+)(?: \{([^}]*)\})?", text, re.M)
    positional = re.findall(r"^ +\{([^}]*)\}", text, re.M)
    return {name: choices.split(",") for name, choices in [*found, *(("", choices) for choices in positional)]}


def check_command(line: str) -> None:
    """Every flag of a command is one of its script, and what has choices is one of them."""
    _, script, *words = shlex.split(line, comments=True)
    options = options_of(script)
    for n, word in enumerate(words):
        if word.startswith("--"):
            assert word in options, (script, word)
            assert options[word] == [""] or words[n + 1] in options[word], (script, word, words[n + 1])
    if "" in options:
        assert words[0] in options[""], (script, words[0])


def commands_of(text: str) -> list[str]:
    """Every command of a text that starts one of the scripts."""
    return re.findall(r"python scripts/\w+\.py[^`\n#&]*", text)


def test_every_flag_shown_exists():
    commands = commands_of(README)
    assert len(commands) > 20
    for line in commands:
        check_command(line)
    for sentence in re.findall(r"`(--[\w-]+(?: [\w=.-]+)?)`", README):
        assert any(sentence.split()[0] in options_of(f"scripts/{name}.py") for name in ("sample", "train")), sentence


def test_a_flag_that_does_not_exist_is_seen():
    for line in ("python scripts/train.py --modle final", "python scripts/train.py --model fianl"):
        with pytest.raises(AssertionError):
            check_command(line)
    with pytest.raises(AssertionError):
        check_command("python scripts/diary.py crutches")


def named_in_the_tree() -> dict[str, set[str]]:
    """folder -> the files that the tree names on its lines; {a,b}.py stands for a.py and b.py."""
    found, folder = {}, None
    for token in re.findall(r"[\w/]*/(?=[ {])|[\w]*\{[\w,]+\}\.\w+|\b\w+\.(?:py|cu)\b", section("The tree")):
        if token.endswith("/"):
            folder = token.rstrip("/")
            found.setdefault(folder, set())
        elif "{" in token:
            before, names, after = re.split(r"[{}]", token)
            found[folder] |= {f"{before}{name}{after}" for name in names.split(",")}
        else:
            found[folder].add(token)
    return found


def test_the_tree_is_the_tree():
    """It names every file, and none that is not there."""
    there = {}
    for path in FILES:
        there.setdefault(path.parent.relative_to(ROOT).as_posix(), set()).add(path.name)
    named = named_in_the_tree()
    assert {"minigen", "minigen/kernels/cuda", "scripts"} < set(there) <= set(named)
    for folder, files in named.items():
        assert (ROOT / folder).is_dir(), folder
        assert files - {"__init__.py"} == there.get(folder, set()) - {"__init__.py"}, folder


def defined(path: Path) -> set[str]:
    """The functions, classes, methods and constants that a file defines."""
    found = re.findall(r"^\s*(?:def|class) (\w+)|^([A-Z_]+(?:, [A-Z_]+)*)\s*=", path.read_text(encoding="utf-8"), re.M)
    return {name for pair in found for names in pair for name in names.split(", ") if name}


def test_where_is():
    """Every answer is a file that is there and what is defined in it."""
    answers = rows(section("Where is ..."))
    assert len(answers) >= 22
    for question, answer in answers:
        names = re.findall(r"`([^`]+)`", answer)
        assert names[0].endswith(".py"), question
        places = []  # [file, the names that it should define]
        for name in names:
            if name.endswith(".py"):
                places.append((ROOT / name, []))
            else:
                places[-1][1].append(name)
        for path, functions in places:
            assert path.is_file() and functions, (question, path)
            assert set(functions) <= defined(path), (question, path, functions)


def test_every_link_leads_somewhere():
    """Files that are there, and headings in them."""
    for page in (ROOT / "README.md", ROOT / "samples" / "results.md", DIARY / "README.md"):
        text = page.read_text(encoding="utf-8")
        for target in re.findall(r"\]\(([^)]+)\)", text):
            if target.startswith("https://"):
                continue
            name, _, anchor = target.partition("#")
            path = page.parent / name if name else page
            assert path.exists(), (page, target)
            if anchor:
                headings = re.findall(r"^#+ (.+)$", path.read_text(encoding="utf-8"), re.M)
                assert anchor in {re.sub(r"[^\w -]", "", h).lower().replace(" ", "-") for h in headings}, target


def ladder_of_the_readme() -> list[list[str]]:
    """date, rung, what changed, recipe; without the rows on finetuning."""
    found = [[*row[0].split(" ", 1), *row[1:]] for row in rows(section("The ladder"))]
    return [row for row in found if row[1].startswith("`")]


def test_the_ladder_is_the_ladder():
    """Every rung with its date and what was measured, in the order of the diary."""
    table = rows(RESULTS.partition("<!-- ladder: begin -->")[2].partition("<!-- ladder: end -->")[0])
    measured = {row[1].strip("`"): row for row in table if "key shifts" not in row[1]}
    assert list(measured) == [name for name in LADDER if name in measured] and len(measured) >= 11
    shown = ladder_of_the_readme()
    assert [(row[0], row[1].split("`")[1]) for row in shown] == [(LADDER[name].date, name) for name in LADDER]
    for _, rung, words, _ in shown:
        row = measured.get(rung.split("`")[1])
        nats = re.search(r": (\d\.\d\d|not measured yet)(?: \(octaves alone\))?$", words)
        assert nats and (row[5].startswith(f"{nats[1]} ") if row else nats[1] == "not measured yet"), rung


def test_the_recipes_are_the_rungs():
    for _, rung, words, recipe in ladder_of_the_readme():
        name, first = rung.split("`")[1], commands_of(recipe)[0]
        assert first.split()[1:4] == ["scripts/train.py", "--model", name]
        for setting in re.findall(r"--set ([^`\s]+)", words + recipe):
            LADDER[name].config.with_settings([setting])
    split = [[*row[0].split(" ", 1), *row[1:]] for row in rows(section("The ladder"))]
    other = [row for row in split if not row[1].startswith("`")]
    assert [row[0] for row in other] == ["13/12", "15/12", "20/12", "21/12,"]
    assert "--album 58" in other.pop()[3]
    for _, _, words, recipe in other:
        name = words.split("`")[1]
        assert name in LADDER and f"sample.py runs/songs-{name}/best.npz --finetune " in recipe


def answer_of(claim: str) -> tuple[str, str, set[tuple[str, str]]]:
    """What a claim's own report says: all of it, the outcome, and {(part, yes, no or not decided)}."""
    text = (DIARY / f"{claim}.md").read_text(encoding="utf-8")
    sentence = re.findall(r"^\*\*(.+?)\.\*\*", text, re.M)[-1]
    verdict, _, parts = sentence.partition(": ")
    outcome = re.search(r"does not hold|holds|not decided", verdict)[0]
    return " ".join(text.split()), outcome, {tuple(part.rsplit(": ", 1)) for part in parts.split("; ")}


def test_the_verdicts_shown_are_the_verdicts_reached():
    """Every claim that was run has its report, its picture, and its own last sentence in the table."""
    text = (DIARY / "README.md").read_text(encoding="utf-8")
    shown = rows(text.partition("<!-- diary: begin -->\n")[2].partition("<!-- diary: end -->")[0])
    claims = [re.fullmatch(r"\[([\w-]+)\]\(([\w-]+)\.md\)", row[0]) for row in shown]
    assert all(claim and claim[1] == claim[2] for claim in claims)
    names = [claim[1] for claim in claims]
    assert sorted(names) == sorted(path.stem for path in DIARY.glob("*.md") if path.stem != "README")
    assert {name.partition("-")[0] for name in names} == set(options_of("scripts/diary.py")[""])
    for name, (_, words, outcome, parts, took) in zip(names, shown, strict=True):
        assert (DIARY / f"{name}.png").exists() and f"({took})" in (DIARY / f"{name}.md").read_text(encoding="utf-8")
        report, own_outcome, own_parts = answer_of(name)
        assert words.partition(" *(")[0] in report and outcome == own_outcome, name
        kinds = re.findall(r"\*(yes|no|not decided):\* (.*?)(?=\. \*|$)", parts)
        assert {(part, kind) for kind, some in kinds for part in some.split("; ")} == own_parts, name
