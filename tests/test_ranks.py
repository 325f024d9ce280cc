"""Ranks: as many processes as you like train as one does, write as one does and end together. Real ones, by mpiexec."""

import csv
import importlib.util
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from helpers import ROOT, run_of, small, songs_of

from minigen.errors import MinigenError, run
from minigen.ladder import LADDER
from minigen.music.dataset import Dataset
from minigen.run import checkpoint
from minigen.run.folder import Folder
from minigen.run.ranks import Ranks, together
from minigen.run.train import update

MPIEXEC = shutil.which("mpiexec", path=Path(sys.executable).parent) or shutil.which("mpiexec")
THERE = MPIEXEC and importlib.util.find_spec("mpi4py")
several = pytest.mark.skipif(not THERE, reason='mpi4py or mpiexec is not installed (pip install -e ".[mpi]")')
linux = pytest.mark.skipif(not Path("/proc").exists(), reason="ranks are found in /proc")

SMALL = [word for name in ("hidden", "voice_hidden", "decoder_hidden") for word in ("--set", f"{name}=8")]
SMALL += ["--set", "fragment=32", "--kernels", "reference"]
TRAIN = [str(ROOT / "scripts" / "train.py"), str(ROOT / "samples" / "songs")]
ROWS = 5  # which neither 2 nor 3 ranks can share evenly


def start(n, *args):
    command = [str(word) for word in (MPIEXEC, "-n", n, sys.executable, *args)]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)


def ended(process):
    """(exit code, stdout, stderr) of ranks that were started."""
    out, err = process.communicate(timeout=60)
    return process.returncode, out, err


def losses(ranks, steps=6) -> dict[str, list]:
    """Every step's losses of three rungs whose voices hear each other; songs shorter than a fragment, and longer."""
    found, data = {}, songs_of(80, 7, 20, 60, 3)
    for name in ("conditional", "final", "pause-loss"):
        model = small(name, hidden=8, voice_hidden=8, decoder_hidden=8)
        state, music = run_of(model), Dataset(data, model.config.past, 24, 8, model.config.key_shift)
        rows = ranks.share(range(ROWS))
        state.ledger.ranks = ranks
        steps_taken = [update(model, state, music, 0, rows) for _ in range(steps)]
        found[name] = [{part: float(value) for part, value in step.items()} for step in steps_taken]
    weights = state.params.flat.tobytes()
    return found | {"weights": len(set(ranks.comm.allgather(weights) if ranks.comm else [weights]))}


def rank_main(ranks):
    """What a rank of these tests does."""
    task, *args = sys.argv[1:]
    if task == "losses":
        print(json.dumps(losses(ranks)))
    elif task == "best":
        model = LADDER["decoder"]()
        state = run_of(model, seed=ranks.rank)
        folder = Folder(Path(args[0]) if ranks.rank == 0 else Path("nowhere"), model, state, {}, {}, None, ranks)
        folder.back_to_best()
        arrays = [state.params.flat, state.moments.m, state.moments.v]
        print(json.dumps([[float(abs(array).sum()) for array in some] for some in ranks.comm.allgather(arrays)]))
    elif ranks.rank == 1:
        raise MinigenError("one rank has lost its music", code=3)
    else:
        ranks.comm.Barrier()


def rank_of(process, rank: int) -> int:
    """The process that mpiexec, through its own helper, started as this rank."""
    for path in Path("/proc").glob("[0-9]*"):
        try:
            environment = (path / "environ").read_bytes().split(b"\0")
            parent = int((path / "stat").read_text().rpartition(")")[2].split()[1])
            grandparent = int(Path(f"/proc/{parent}/stat").read_text().rpartition(")")[2].split()[1])
        except OSError:  # another's process, or one that has just ended
            continue
        if grandparent == process.pid and f"PMI_RANK={rank}".encode() in environment:
            return int(path.name)
    raise AssertionError(f"mpiexec has no rank {rank}")


def rows_of(folder):
    with open(folder / "metrics.csv", newline="") as file:
        return [
            {name: float(value) for name, value in row.items() if name != "seconds"} for row in csv.DictReader(file)
        ]


@pytest.mark.parametrize("size", [1, 2, 3, 7])
def test_shares_are_the_batch(size):
    ranks = [Ranks() for _ in range(size)]
    for number, each in enumerate(ranks):
        each.rank, each.size = number, size
    shares = [each.share(range(7)) for each in ranks]
    assert [row for share in shares for row in share] == list(range(7))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1
    with pytest.raises(MinigenError, match="cannot share"):
        ranks[0].share(range(size - 1))


@pytest.mark.slow
@several
@pytest.mark.parametrize("size", [1, 2, 3])
def test_ranks_learn_what_one_process_learns(size):
    """Every step's losses to 1e-5, though shares count different numbers of predictions; the same weights on all."""
    code, out, err = ended(start(size, __file__, "losses"))
    assert code == 0, err
    found, alone = json.loads(out), losses(Ranks())
    assert found.pop("weights") == 1 and alone.pop("weights") == 1
    for name, steps in alone.items():
        for one, other in zip(steps, found[name], strict=True):
            assert other == pytest.approx(one, rel=1e-5, abs=1e-5), name


@pytest.mark.slow
@several
def test_two_ranks_write_one_run_and_three_go_on_with_it(tmp_path):
    options = [*SMALL, "--batch", ROWS, "--out"]
    code, out, err = ended(start(2, *TRAIN, *options, tmp_path / "two", "--steps", 26))
    assert code == 0, err
    assert out.count("songs: ") == out.count("step    25") == out.count("hear it") == 1
    assert re.search(r"^2 ranks: median step [\d.]+ ms, of which the Allreduce of 0\.\d MB takes [\d.]+ ms", out, re.M)
    command = [sys.executable, *TRAIN, *map(str, options), str(tmp_path / "one"), "--steps", "26"]
    one = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert one.returncode == 0 and "Allreduce" not in one.stdout, one.stderr
    assert {path.name for path in (tmp_path / "one").iterdir()} == {path.name for path in (tmp_path / "two").iterdir()}
    for ours, theirs in zip(rows_of(tmp_path / "two"), rows_of(tmp_path / "one"), strict=True):
        assert ours == pytest.approx(theirs, rel=1e-4)
    # a rank's clock ends all three
    code, out, err = ended(start(3, TRAIN[0], "--resume", tmp_path / "two", "--minutes", 0.01, *SMALL[-2:]))
    assert code == 0, err
    assert rows_of(tmp_path / "two")[-1]["step"] > 26


@pytest.mark.slow
@several
@pytest.mark.parametrize("name", ["judged.npz", "best.npz"])
def test_the_best_weights_are_those_of_rank_0(name, tmp_path):
    """They are in judged.npz, or in best.npz where an older run had no judged.npz."""
    model = LADDER["decoder"]()
    best = run_of(model, seed=5)
    checkpoint.save(tmp_path / name, model, best.params, best.moments)
    code, out, err = ended(start(2, __file__, "best", tmp_path))
    assert code == 0, err
    first, second = json.loads(out)
    assert first == second == pytest.approx([float(abs(best.params.flat).sum()), 0, 0], rel=1e-6)


@pytest.mark.slow
@several
@linux
@pytest.mark.parametrize("number, code", [(signal.SIGKILL, None), (signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_what_ends_one_rank_ends_them_all_and_can_be_resumed(number, code, tmp_path):
    """SIGKILL and SIGTERM reach rank 1 alone, Ctrl-C mpiexec; then one process goes on."""
    process = start(2, *TRAIN, *SMALL, "--batch", ROWS, "--out", tmp_path / "run")
    assert any(line.startswith("step    25") for line in process.stdout)

    def saved() -> int:
        """The step of last.npz, which is written after the line, and after the other two."""
        return checkpoint.load(tmp_path / "run" / "last.npz").header["training"]["step"]

    for _ in range(1000):
        if saved() >= 25:
            break
        time.sleep(0.01)
    os.kill(process.pid if number == signal.SIGINT else rank_of(process, 1), number)
    returned, out, err = ended(process)
    assert "Traceback" not in err
    if code:
        assert returned == code and out.count("stopped and saved; go on") == 1, err
    else:
        assert returned != 0 and re.search("(?i)signal", out + err)
    step = saved()
    assert step >= 25
    command = [sys.executable, TRAIN[0], "--resume", tmp_path / "run", "--steps", step + 1, *SMALL[-2:]]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
@several
def test_an_error_is_one_sentence(tmp_path):
    """Of all ranks alike, or of one alone while the others wait."""
    code, out, err = ended(start(3, *TRAIN, "--batch", 2, "--out", tmp_path / "run"))
    assert code == 2 and err.count("error: 3 ranks cannot share a --batch of 2: start fewer ranks") == 1 and not out
    assert not (tmp_path / "run").exists()
    code, out, err = ended(start(2, __file__, "fail"))
    assert code == 3 and err.count("error: one rank has lost its music") == 1


def test_without_mpi4py(tmp_path):
    """Alone nothing asks for it; under mpiexec a sentence does."""
    (tmp_path / "mpi4py").mkdir()
    (tmp_path / "mpi4py" / "__init__.py").write_text("raise ImportError('there is no mpi4py')")
    path = os.pathsep.join([str(tmp_path), str(ROOT)])
    for variables, expected in (
        ({}, 0),
        ({"PMI_SIZE": "2"}, 2),
        ({"OMPI_COMM_WORLD_SIZE": "2"}, 2),
    ):
        environment = os.environ | {"PYTHONPATH": path} | variables
        command = [sys.executable, TRAIN[0], "--help"]
        done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=60)
        assert done.returncode == expected, done.stderr
        assert done.stderr == (
            ""
            if not expected
            else ('error: mpiexec needs mpi4py: pip install -e ".[mpi]", or start one process without it\n')
        )


if __name__ == "__main__":
    run(together(rank_main))
