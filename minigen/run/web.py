"""report.html of a run: what is trained on what, how it goes, and what it plays meanwhile, for a browser."""

import json
import re
from html import escape
from pathlib import Path

import numpy as np

from minigen.music.midi import read_song
from minigen.music.midi_out import releases

PAGE = Path(__file__).resolve().parents[1] / "page"
FACTS = ("command", "data", "licence")


def notes_of(path: Path) -> dict:
    """A piece as the page plays it."""
    song = read_song(path, metre="none")
    struck = song.roll > 0
    step, key = np.nonzero(struck)
    ends = releases(struck, song.sounding)[struck]
    notes = np.stack([key, step, ends], axis=1).tolist()
    return {"step": int(re.search(r"\d+", path.stem)[0]), "steps": len(struck), "bpm": song.bpm, "notes": notes}


def table(rows: dict) -> str:
    cells = "".join(
        f"<tr><td>{escape(str(name))}</td><td>{escape(str(value))}</td></tr>" for name, value in rows.items()
    )
    return f"<table>{cells}</table>"


def report_page(folder: Path, model, about: dict, rows: list[dict], baselines: dict) -> str:
    """The page of a run as it is now; its pictures stay in their own files beside it. Words are text, never markup."""
    last = {name: value for name, value in rows[-1].items() if not name.startswith("grad_")}
    best = min(rows, key=lambda row: row["valid_loss"])
    state = f"step {last['step']}, {last['seconds'] / 60:.1f} minutes; held out {last['valid_loss']:.4f}, "
    state += f"at best {best['valid_loss']:.4f} at step {best['step']} ({model.unit})"
    pictures = [path.name for path in (folder / "loss.png", folder / "gradients.png") if path.exists()]
    passages = sorted(path.name for path in folder.glob("passage-*.png"))
    found = []
    for kind in ("refused", "warnings"):
        lines = (
            (folder / f"{kind}.txt").read_text(encoding="utf-8", errors="replace")
            if (folder / f"{kind}.txt").exists()
            else ""
        )
        found.append(f"<details><summary>{kind}: {lines.count(chr(10))}</summary><pre>{escape(lines)}</pre></details>")
    pieces = json.dumps([notes_of(path) for path in sorted(folder.glob("sample-*.mid")) if path.is_file()])
    shown = "".join(f'<p><img src="{name}" alt="{name}"></p>' for name in pictures)
    older = "".join(f'<p>{name}<br><img src="{name}" alt="{name}" loading="lazy"></p>' for name in passages[:-1])
    shown += f'<p><img src="{passages[-1]}" alt="what it makes of a held-out song"></p>' if passages else ""
    shown += f"<details><summary>the same, earlier</summary>{older}</details>" if older else ""
    facts = {name: about[name] for name in FACTS} | {
        f"held out: {name}": f"{value:.4f}" for name, value in baselines.items()
    }
    parts = {
        "title": escape(f"{folder.name}: {model.name}"),
        "state": escape(state),
        "pictures": shown,
        "found": f"<p>{escape(about['data'])}</p>" + "".join(found),
        "facts": table(facts | model.config.as_json() | last),
        "pieces": pieces,
    }
    parts |= {name: (PAGE / name).read_text(encoding="utf-8") for name in ("style.css", "sound.js", "report.js")}
    template = (PAGE / "report.html").read_text(encoding="utf-8")
    return re.sub(r"/\* ([\w.]+) \*/", lambda found: parts.get(found[1], found[0]), template)
