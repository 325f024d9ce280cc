"""Check every hand-written backward pass by direction, in float64; exit code 1 where one is wrong.

python scripts/gradcheck.py                      every layer, then every model whole
python scripts/gradcheck.py --model pause-loss   one model whole
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from minigen.errors import until_run

until_run()

from minigen.checks.cases import CASES
from minigen.errors import Parser, run
from minigen.gradcheck import BOUND, check, check_model
from minigen.kernels import use_kernels
from minigen.ladder import LADDER


def main():
    parser = Parser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", choices=list(LADDER), help="only this model, whole")
    args = parser.parse_args()
    use_kernels("reference", threads=1)
    tables = {}
    if not args.model:
        for name, case in CASES.items():
            tables[name] = check(**vars(case()))
    for name in [args.model] if args.model else LADDER:
        tables[f"{name}, whole"] = check_model(LADDER[name]())
    for name, rows in tables.items():
        print(f"\n{name}")
        for row in rows:
            print(f"  {row}")
    rows = [row for table in tables.values() for row in table]
    wrong = sum(not row.ok for row in rows)
    print(
        f"\n{len(rows)} gradients, bound {BOUND:g}, largest error {max(row.error for row in rows):.1e}: {wrong} wrong"
    )
    return 1 if wrong else 0


if __name__ == "__main__":
    run(main)
