"""Processes that measure one run together: which of them this one is, and where they wait.

A launcher (`accelerate launch`, `torchrun`, `mpirun`) starts one command several times and tells
each process its number, its *rank*, in environment variables; ranks count from 0. Between them they
share the run folder alone: what one made the others read there. torch.distributed (gloo) is used to
wait for one another, and for the first rank to say whether there is anything to do.

Which variable holds what is the same as in accelerate, of those below in this order: torch's own,
Open MPI's, MVAPICH's, and those of the process managers of MPICH and Intel MPI.
"""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import timedelta
from typing import Any, NamedTuple, Self, TypeVar

from pairuni_eval.errors import UserError
from pairuni_eval.extras import pip_line

Item = TypeVar("Item")
Found = TypeVar("Found")

_PATIENCE = timedelta(days=1)  # that a rank may be behind the others
_COMING = timedelta(minutes=10)  # within which all must have come at the beginning
_MISSING = re.compile(r"Rank (\d+) failed to pass")
_ADDRESS, _PORT = "MASTER_ADDR", "MASTER_PORT"
_USUAL_PORT = "29500"  # as torchrun and accelerate have it


class _Variables(NamedTuple):
    """The variables of one kind of launcher; `here` counts the processes of this machine."""

    of: str
    rank: str
    local: str
    here: str


_LAUNCHERS = (
    _Variables("WORLD_SIZE", "RANK", "LOCAL_RANK", "LOCAL_WORLD_SIZE"),
    _Variables(*(f"OMPI_COMM_WORLD_{one}" for one in ("SIZE", "RANK", "LOCAL_RANK", "LOCAL_SIZE"))),
    _Variables(*(f"MV2_COMM_WORLD_{one}" for one in ("SIZE", "RANK", "LOCAL_RANK", "LOCAL_SIZE"))),
    _Variables("PMI_SIZE", "PMI_RANK", "MPI_LOCALRANKID", "MPI_LOCALNRANKS"),
)


class Ranks(NamedTuple):
    """Which of how many processes this one is.

    Attributes:
        rank: From 0.
        of: How many there are.
        local: Which of those of this machine.
        together: Whether all of them are known to be on this machine.
    """

    rank: int = 0
    of: int = 1
    local: int = 0
    together: bool = True

    @property
    def first(self) -> bool:
        """Whether it is the one that plans, grades what a judge is asked about, and speaks."""
        return self.rank == 0

    @property
    def several(self) -> bool:
        """Whether there are others."""
        return self.of > 1

    def share(self, items: Sequence[Item]) -> list[Item]:
        """Its part of what is to be done: every item is in the part of exactly one rank."""
        return list(items[self.rank :: self.of])

    def device(self, name: str) -> str:
        """The device of this rank: of several each takes a GPU of its own, as far as they go.

        Args:
            name: What `--device` says.
        """
        gpu = self.gpu if name in ("auto", "cuda") else None
        return name if gpu is None else f"cuda:{gpu}"

    @property
    def gpu(self) -> int | None:
        """The number of this rank's GPU; None for a process alone, or without any."""
        if not self.several:
            return None
        import torch

        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        return self.local % count if count else None

    def __str__(self) -> str:
        return f"rank {self.rank} of {self.of}"


ALONE = Ranks()


def ranks_here(environment: Mapping[str, str]) -> Ranks:
    """Which rank this process is, by what a launcher left in the environment; one without.

    Raises:
        UserError: for a number of processes without a rank, or numbers that are none.
    """
    found = [one for one in _LAUNCHERS if one.of in environment]
    several = [one for one in found if _number(environment, one.of) > 1]
    if not several:
        return Ranks()
    names = several[0]
    of = _number(environment, names.of)
    if names.rank not in environment:
        raise UserError(
            f"{names.of} is {of}, and {names.rank}, which says which of them this process is, is "
            "not set.",
            hint=f"Start it by a launcher: torchrun --nproc_per_node {of} -m pairuni_eval run ...; "
            f"or unset {names.of}.",
        )
    rank = _number(environment, names.rank)
    if not 0 <= rank < of:
        raise UserError(
            f"{names.rank} is {rank}: of {of} processes ({names.of}) they count from 0 to {of - 1}."
        )
    local = _number(environment, names.local) if names.local in environment else rank
    here = _number(environment, names.here) if names.here in environment else 0
    return Ranks(rank, of, local, together=here == of)


def launch_line(count: int) -> str:
    """How a run is started on so many devices, as a sentence."""
    if importlib.util.find_spec("accelerate") is not None:
        return f"`accelerate launch --num_processes {count} -m pairuni_eval run ...` takes all."
    return (
        f"`torchrun --nproc_per_node {count} -m pairuni_eval run ...` takes all; so does "
        f"`accelerate launch`, which needs: {pip_line('train')}"
    )


def note_of_one(environment: Mapping[str, str], command: str) -> str | None:
    """What is to be said where accelerate was asked for several processes and started one.

    Args:
        environment: Of this process.
        command: What is started, as after `python -m`.
    """
    by_accelerate = any(name.startswith("ACCELERATE_") for name in environment)
    counted = any(one.of in environment for one in _LAUNCHERS)
    if counted or not by_accelerate or _ADDRESS not in environment:
        return None
    return (
        "This is one process, though a launcher was asked for several: on the CPU accelerate needs "
        "mpirun and --mpirun_hostfile for that. torchrun --nproc_per_node N "
        f"-m {command} ... starts N without. The numbers are the same with one."
    )


def _number(environment: Mapping[str, str], name: str) -> int:
    try:
        return int(environment[name])
    except ValueError as failure:
        raise UserError(
            f"The environment variable {name} is '{environment[name]}', which is not a number.",
            hint=f"unset {name}, or start the command by a launcher, which sets it.",
        ) from failure


class RankGroup:
    """The ranks of one run, to wait for one another; a process alone waits for nobody.

    Use it as a context, and in it only from the thread that opened it. Where the ranks have met
    already, as those of a training have, they stay together afterward.

    Args:
        ranks: Which of them this one is.
        environment: Where the first rank is found: MASTER_ADDR and MASTER_PORT.
    """

    def __init__(self, ranks: Ranks = ALONE, environment: Mapping[str, str] = {}) -> None:
        self.ranks = ranks
        self._environment = environment
        self._group: Any = None
        self._met_here = False

    def __enter__(self) -> Self:
        if self.ranks.several:
            self._join()
        return self

    def __exit__(self, failure: type[BaseException] | None, *_: object) -> None:
        if self._met_here and failure is None:
            import torch.distributed as dist

            dist.destroy_process_group()

    def wait(self) -> None:
        """Until every rank is here.

        Raises:
            RankLost: for the first rank found that has ended, or that is a day behind.
        """
        if not self.ranks.several:
            return
        import torch.distributed as dist

        try:
            dist.monitored_barrier(self._group, timeout=_PATIENCE)
        except RuntimeError as failure:
            raise self._lost(failure) from failure

    def lead(self, work: Callable[[], Found | None]) -> Found | None:
        """Do what only the first rank does, while the others wait in `follow`.

        They go on if it gives something, and leave if it gives None or fails.

        Raises:
            RankLost: as `wait`.
        """
        try:
            found = work()
        except Exception:
            with suppress(RankLost):
                self._tell(go_on=False)
            raise
        self._tell(go_on=found is not None)
        return found

    def follow(self) -> bool:
        """Wait for what the first rank does in `lead`; returns whether to go on.

        Raises:
            RankLost: as `wait`.
        """
        return self._tell(go_on=False)

    def _tell(self, *, go_on: bool) -> bool:
        """What the first rank says, on every rank."""
        self.wait()
        if not self.ranks.several:
            return go_on
        import torch
        import torch.distributed as dist

        said = torch.tensor([int(go_on)])
        try:
            dist.broadcast(said, 0, group=self._group)
        except RuntimeError as failure:
            raise self._lost(failure) from failure
        return bool(said)

    def _join(self) -> None:
        import torch
        import torch.distributed as dist

        if self.ranks.gpu is not None:
            torch.cuda.set_device(self.ranks.gpu)  # for code that takes "the" GPU
        if dist.is_initialized():
            self._group = dist.new_group(backend="gloo", timeout=_PATIENCE)
            return
        address, port = self._meeting_place()
        try:
            dist.init_process_group(
                "gloo",
                init_method=None if self._by_torch else f"tcp://{address}:{port}",
                rank=self.ranks.rank,
                world_size=self.ranks.of,
                timeout=_COMING,
            )
            self._met_here = True
            self._group = dist.new_group(backend="gloo", timeout=_PATIENCE)
        except (RuntimeError, ValueError) as failure:
            raise UserError(
                f"{self.ranks} found no way to the others at {address}:{port}: "
                f"{str(failure).splitlines()[0]}",
                hint=f"See that all {self.ranks.of} were started, that {_ADDRESS} names the "
                f"machine of rank 0, and that {_PORT} is free there, e.g. {_PORT}=29501.",
            ) from failure

    @property
    def _by_torch(self) -> bool:
        """Whether the launcher has said all that torch wants to know, and may hold the meeting."""
        return _ADDRESS in self._environment and _PORT in self._environment

    def _meeting_place(self) -> tuple[str, str]:
        """Address and port of the first rank; mpirun does not say, so on one machine it is here.

        Raises:
            UserError: for several machines without an address.
        """
        address = self._environment.get(_ADDRESS, "127.0.0.1" if self.ranks.together else "")
        if not address:
            raise UserError(
                f"{self.ranks}: {_ADDRESS}, the machine of rank 0, is not set, and not all ranks "
                "are known to be on this one.",
                hint=f"export {_ADDRESS}=HOST on all of them (mpirun: -x {_ADDRESS}=HOST).",
            )
        return address, self._environment.get(_PORT, _USUAL_PORT)

    def _lost(self, failure: RuntimeError) -> RankLost:
        named = _MISSING.search(str(failure))
        late = named is not None and "Original exception" not in str(failure)
        rank = 0 if not self.ranks.first else int(named[1]) if named else self._gone()
        what = "is a day behind the others" if late else "has ended before its part was done"
        return RankLost(rank, f"rank {rank} of {self.ranks.of} {what}.")

    def _gone(self) -> int:
        """The first of the other ranks whose connection to this one is closed."""
        import torch
        import torch.distributed as dist

        for rank in range(1, self.ranks.of):
            try:  # to one that is there nothing is waited for
                dist.isend(torch.zeros(1), rank, group=self._group)
            except RuntimeError:
                return rank
        return self.ranks.of - 1


class RankLost(UserError):
    """Another rank is gone: what it stored is kept.

    Attributes:
        rank: Which one.
    """

    def __init__(self, rank: int, message: str) -> None:
        super().__init__(
            message,
            hint="It says why in its own lines. What was finished is kept: the same command "
            "continues, with any number of ranks.",
        )
        self.rank = rank
