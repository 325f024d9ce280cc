"""Ranks: processes that train one model together, a share of every batch each (`mpiexec -n 2 python scripts/train.py`).

Batches and draws are pure functions of (seed, step, row), so a rank makes the rows of its share and nothing else; one
Allreduce per step of the flat gradient, the losses and how many predictions they count gives all ranks the same means,
and so the same weights. Rank 0 judges and writes. Without mpiexec there is one rank, and MPI is not even imported; that
it is there is known from the variables that the mpiexec of MPICH or Open MPI sets, and by nothing else.
"""

import os
import sys
import time
from collections import deque

import numpy as np

from minigen.backend import array_module, to_host
from minigen.errors import MinigenError
from minigen.kernels import cores

MPICH, OPEN_MPI = "PMI_", "OMPI_COMM_WORLD_"  # how the variables begin that mpiexec sets


class Ranks:
    """This process among those of `comm`, an mpi4py communicator, `beside` of which are on this machine; or alone."""

    def __init__(self, comm=None, beside: int = 1):
        self.comm, self.beside = comm, beside
        self.rank, self.size = (comm.Get_rank(), comm.Get_size()) if comm else (0, 1)
        self.vote = self.agreed = 0
        self.bytes, self.times = 0, deque(maxlen=1000)  # of an Allreduce; when each began and ended

    def share(self, rows: range) -> range:
        """This rank's rows: shares that differ by one row at most.

        Raises MinigenError where a rank would have none.
        """
        if self.size > len(rows):
            raise MinigenError(f"{self.size} ranks cannot share a --batch of {len(rows)}: start fewer ranks")
        first, end = (len(rows) * rank // self.size for rank in (self.rank, self.rank + 1))
        return rows[first:end]

    def threads(self) -> int | None:
        """How many threads a rank takes by default: its part of this machine's cores. Alone: None, the default."""
        return max(1, min(cores(), (os.cpu_count() or 1) // self.beside)) if self.comm else None

    def mean(self, flat, losses: dict, count: int):
        """A gradient and losses, means over the `count` predictions of this rank -> means over those of all ranks.

        A gradient on a GPU goes through the host.
        """
        votes = np.zeros(self.size)
        votes[self.rank] = self.vote
        own = np.array([*map(float, losses.values()), 1.0]) * count
        own = np.concatenate([to_host(flat) * count, own, votes], dtype=flat.dtype)
        total, began = np.empty_like(own), time.perf_counter()
        self.comm.Allreduce(own, total)
        self.times.append((began, time.perf_counter()))
        self.bytes, self.agreed = own.nbytes, int(total[-self.size :].max())
        *means, count = np.split(total[: -self.size], [flat.size, flat.size + len(losses)])
        flat_mean, loss_means = (mean / max(count[0], 1) for mean in means)
        xp = array_module(flat)
        return xp.asarray(flat_mean), dict(zip(losses, xp.asarray(loss_means), strict=True))

    def agree(self, vote: int) -> int:
        """The largest vote of any rank, for all to act on after the same step; `vote` goes with the next gradient."""
        self.vote = int(vote)
        return self.agreed if self.comm else self.vote

    def broadcast(self, thing):
        """What rank 0 gives, for every rank."""
        return self.comm.bcast(thing) if self.comm else thing

    def timing(self) -> str:
        """A sentence on what a step took, or "" where there were not two; all ranks have to ask."""
        if len(self.times) < 2:
            return ""
        times = np.array(self.comm.allgather(list(self.times)))
        steps, spent = np.diff(times[0, :, 1]), times[..., 1] - times[..., 0]
        # the rank that comes last waits for nobody: its time is what the Allreduce takes
        step, least, mean = (1e3 * np.median(times) for times in (steps, spent.min(axis=0), spent.mean(axis=0)))
        return (
            f"{self.size} ranks: median step {step:.1f} ms, of which the Allreduce of {self.bytes / 1e6:.1f} MB takes "
            f"{least:.2f} ms, and with the wait for one another {mean:.1f} ms"
        )


def mpi_environment(name: str) -> int:
    """The SIZE or RANK that mpiexec gives a process; 0 without mpiexec."""
    return int(os.environ.get(MPICH + name) or os.environ.get(OPEN_MPI + name) or 0)


def world() -> Ranks:
    """The ranks that mpiexec started, or one alone. Only rank 0 prints; errors are printed by any rank.

    Raises MinigenError where mpi4py is missing, or belongs to another MPI than mpiexec.
    """
    size, rank = mpi_environment("SIZE"), mpi_environment("RANK")
    if size < 2:
        return Ranks()
    if rank:
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115
    try:
        from mpi4py import MPI
    except (ImportError, RuntimeError) as error:  # RuntimeError: there is no MPI library
        raise MinigenError('mpiexec needs mpi4py: pip install -e ".[mpi]", or start one process without it') from error
    comm = MPI.COMM_WORLD
    if comm.Get_size() != size:
        raise MinigenError(f"mpiexec started {size} ranks and mpi4py, of another MPI, sees {comm.Get_size()}: use the "
                           "mpiexec installed beside Python")  # fmt: skip
    return Ranks(comm, comm.Split_type(MPI.COMM_TYPE_SHARED).Get_size())


def together(main):
    """`main(ranks)` as a function of nothing. What ends one rank ends them all, with its exit code."""

    def call():
        try:
            return main(world())
        except BaseException as error:
            if mpi_environment("SIZE") > 1:
                time.sleep(
                    1 if mpi_environment("RANK") else 0
                )  # rank 0 mostly has the same to say, says it and ends them all
                if "mpi4py.MPI" in sys.modules:
                    from mpi4py.run import set_abort_status

                    set_abort_status(getattr(error, "code", error))
            raise

    return call
