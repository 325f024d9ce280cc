"""Write the instrument: one HTML file, without a network, in which a checkpoint plays, is looked into, plays with you.

python scripts/player.py                             samples/chorales.npz -> generated/chorales.html
python scripts/player.py runs/bach-final/best.npz    another model: ordered, conditional, final, pause-loss
"""

import base64
import json
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from minigen.errors import until_run

until_run()

import numpy as np

from minigen.errors import MinigenError, Parser, run
from minigen.files import write_atomically
from minigen.ladder.conditional import Conditional
from minigen.run import checkpoint
from minigen.run.web import PAGE, filled

CODE = ("draws", "equations", "rung", "steering", "sound", "instrument", "roll", "inside", "keyboard", "page")
DEFAULT = ROOT / "samples" / "chorales.npz"


def layers_of(params) -> dict:
    """{"reader": {"Wx": {"shape": [94, 400], "data": base64 of float32, little-endian}, ...}, ...}."""
    layers = {}
    for name, array in params.views.items():
        layer, kind = name.rsplit(".", 1)
        data = base64.b64encode(np.ascontiguousarray(array, "<f4").tobytes()).decode()
        layers.setdefault(layer, {})[kind] = {"shape": list(array.shape), "data": data}
    return layers


def page_of(trained: checkpoint.Trained, label: str) -> str:
    """The whole file. Nothing of the checkpoint's words is markup: they stand in JSON, `<` written as an escape."""
    model, c = trained.model, trained.model.config
    config = c.as_json() | {"bar": c.bar, "in_order": model.in_order}
    about = f"{label}: {model.name}, {trained.params.flat.size:,} numbers"
    if "data" in trained.header:
        about += f", trained on {trained.header['data']}"
    known = json.dumps({"name": label, "about": about, "config": config, "layers": layers_of(trained.params)})
    code = "\n".join((PAGE / f"{name}.js").read_text(encoding="utf-8") for name in CODE)
    escaped = known.replace("<", "\\u003c")
    return filled("page.html", {"code": f"const MODEL = {escaped};\n{code}"})


def main():
    parser = Parser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("checkpoint", nargs="?", type=Path, default=DEFAULT, help="default: samples/chorales.npz")
    add("--out", type=Path, metavar="FILE.html", help="default: generated/NAME.html")
    args = parser.parse_args()
    args.checkpoint = checkpoint.file_of(args.checkpoint)
    trained, label = checkpoint.load(args.checkpoint), checkpoint.label_of(args.checkpoint)
    model = trained.model
    if model.bans or not (model.in_order or isinstance(model, Conditional)):
        raise MinigenError(
            f"{model.name} cannot play in a page: use a model of ordered, conditional, final, pause-loss"
        )
    path = args.out or Path("generated") / f"{label}.html"
    text = page_of(trained, label).encode()
    write_atomically(path, lambda file: file.write(text))
    print(f"wrote {path}: {len(text) / 1e6:.1f} MB; open it in a browser")
    return 0


if __name__ == "__main__":
    run(main)
