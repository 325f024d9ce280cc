"""Pages for a browser: report.html of a run, what is trained on what, how it goes, and what it plays meanwhile."""

import json
import re
from html import escape
from pathlib import Path
from urllib.parse import quote

import numpy as np

from minigen.music.midi import Refused, read_song
from minigen.music.midi_out import releases

PAGE = Path(__file__).resolve().parents[1] / "page"
FACTS = ("command", "data", "licence")


def filled(template: str, parts: dict[str, str]) -> str:
    """A file of minigen/page in which `/* NAME */` is the part of that name, or else the file of that name there."""

    def part(found):
        name = found[1]
        return parts[name] if name in parts else (PAGE / name).read_text(encoding="utf-8")

    return re.sub(r"/\* ([\w.]+) \*/", part, (PAGE / template).read_text(encoding="utf-8"))


def notes_of(path: Path) -> dict:
    """A piece as the page plays it; one without a note is silent."""
    step = int(path.stem.removeprefix("sample-"))
    try:
        song = read_song(path, metre="none")
    except Refused:
        return {"step": step, "steps": 1, "bpm": 120, "notes": []}
    struck = song.roll > 0
    begin, key = np.nonzero(struck)
    notes = np.stack([key, begin, releases(struck, song.sounding)[struck]], axis=1).tolist()
    return {"step": step, "steps": len(struck), "bpm": song.bpm, "notes": notes}


def image(name: str, what: str) -> str:
    return f'<p><img src="{escape(quote(name))}" alt="{what}" loading="lazy"></p>'


def listed(path: Path) -> str:
    """A file of lines, folded away."""
    lines = path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""
    return f"<details><summary>{path.stem}: {lines.count(chr(10))}</summary><pre>{escape(lines)}</pre></details>"


def report_page(folder: Path, model, about: dict, rows: list[dict], baselines: dict) -> str:
    """The page of a run as it is now; its pictures stay in their own files beside it. Words are text, never markup."""
    last = {name: value for name, value in rows[-1].items() if not name.startswith("grad_")}
    best = min(rows, key=lambda row: row["valid_loss"])
    state = f"step {last['step']}, {last['seconds'] / 60:.1f} minutes; held out {last['valid_loss']:.4f}, "
    state += f"at best {best['valid_loss']:.4f} at step {best['step']} ({model.unit})"
    pictures = {"loss.png": "losses over steps", "gradients.png": "norms of the gradient over steps"}
    passages = sorted(path.name for path in folder.glob("passage-*.png"))
    pictures = {name: what for name, what in pictures.items() if (folder / name).exists()}
    pictures |= dict.fromkeys(passages[-1:], "what it makes of a held-out song")
    older = "".join(escape(name) + image(name, "the same, earlier") for name in passages[:-1])
    facts = {name: about[name] for name in FACTS} | {f"held out, {name}": value for name, value in baselines.items()}
    facts |= model.config.as_json() | last
    facts = {name: f"{value:.6g}" if isinstance(value, float) else str(value) for name, value in facts.items()}
    cells = [f"<tr><td>{escape(name)}</td><td>{escape(value)}</td></tr>" for name, value in facts.items()]
    pieces = [path for path in sorted(folder.glob("sample-*.mid")) if path.stem[7:].isdecimal() and path.is_file()]
    parts = {
        "title": escape(f"{folder.name}: {model.name}"),
        "state": escape(state),
        "pictures": "".join(image(name, what) for name, what in pictures.items())
        + (f"<details><summary>the same, earlier</summary>{older}</details>" if older else ""),
        "found": f"<p>{escape(about['data'])}</p>"
        + "".join(listed(folder / f"{kind}.txt") for kind in ("refused", "warnings")),
        "facts": f"<table>{''.join(cells)}</table>",
        "pieces": json.dumps([notes_of(path) for path in pieces]),
    }
    return filled("report.html", parts)
