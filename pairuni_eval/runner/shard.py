"""A shard of a run: the outputs of every n-th batch, for array jobs on a shared file system.

Shards need no launcher and know nothing of one another: one after the other plans, or finds the
plan, and each then makes the batches that are its own by their place in the plan. The command
without `--shard` makes what they left, grades and reports.
"""

from __future__ import annotations

import re
from collections.abc import Container
from contextlib import ExitStack
from typing import NamedTuple

from rich.console import Console

from pairuni_eval.adapters import check_checkpoint
from pairuni_eval.errors import UserError
from pairuni_eval.ranks import Ranks
from pairuni_eval.runner.plan import OutputBatch
from pairuni_eval.runner.settings import RunSettings
from pairuni_eval.runner.start import (
    Started,
    compare,
    components_of,
    infer,
    load,
    read_outputs,
    start,
)
from pairuni_eval.store import layout
from pairuni_eval.store.locks import Worker, turn, workers, working
from pairuni_eval.store.pictures import Pictures
from pairuni_eval.store.rank_rows import READING, Mends, RowShare

_FORM = re.compile(r"(\d{1,6})/(\d{1,6})")


class Shard(NamedTuple):
    """One of several shards, counted from 1."""

    number: int
    of: int

    def __str__(self) -> str:
        return f"{self.number}/{self.of}"

    @property
    def worker(self) -> Worker:
        """As whom it works on the run folder."""
        return Worker("shard", self.number, self.of)


class Left(NamedTuple):
    """How many outputs of a shard are not made."""

    shard: Shard
    outputs: int


def read_shard(text: str) -> Shard:
    """What `--shard` says.

    Raises:
        UserError: for what is not of the form I/N with I from 1 to N.
    """
    found = _FORM.fullmatch(text.strip())
    if found is None:
        raise UserError(
            f"--shard '{text}' is not of the form I/N.",
            hint="The first of four is --shard 1/4; in a SLURM array --shard "
            '"$SLURM_ARRAY_TASK_ID/$SLURM_ARRAY_TASK_COUNT" with --array=1-4.',
        )
    number, of = int(found[1]), int(found[2])
    if not 1 <= number <= of:
        nearest = Shard(min(max(number, 1), max(of, 1)), max(of, 1))
        raise UserError(
            f"--shard {text}: shards count from 1 to {max(of, 1)}.", hint=f"--shard {nearest}"
        )
    return Shard(number, of)


def measure_shard(settings: RunSettings, shard: Shard, console: Console) -> list[Left] | None:
    """Make the outputs of a shard that are missing.

    Returns:
        The shards that have outputs left, this one not among them, as far as can be seen now; None
        if the run is complete.

    Raises:
        UserError: for whatever the user can mend; the rows so far are kept.
    """
    settings.cards()
    check_checkpoint(settings.checkpoint, settings.adapter)
    components = components_of(settings)
    model = load(settings, console)
    with ExitStack() as held:
        with turn(settings.out, lambda: console.print("waiting: another shard is planning")):
            others = workers(settings.out)
            _check(shard, others)
            if (settings.out / layout.COMPLETE).exists():
                compare(settings, components, model)
                return None
            held.enter_context(working(settings.out, shard.worker))
            started = start(
                settings,
                components,
                model,
                console,
                share=RowShare(shard.number - 1, shard.of, Mends.OWN),
                beside_others=bool(others),
            )
        infer(started, _place(shard).share(started.batches), console)
        return _left(started, shard)


def _place(shard: Shard) -> Ranks:
    """The rank that has the same part of the batches, and the same files."""
    return Ranks(shard.number - 1, shard.of)


def _check(shard: Shard, others: list[Worker]) -> None:
    """See that whoever works on the run cuts it as this shard does.

    Raises:
        UserError: if not.
    """
    for other in others:
        if (other.kind, other.of) != ("shard", shard.of):
            raise UserError(
                f"{other} works on this run, and this is shard {shard}: the two cut it otherwise.",
                hint=f"--shard {min(shard.number, other.of)}/{other.of}, or wait for it."
                if other.kind == "shard"
                else "Wait for it.",
            )


def _left(started: Started, shard: Shard) -> list[Left]:
    """What the other shards have not made yet."""
    run, plan = started.settings.out, started.plan
    made = read_outputs(run, plan, started.model, Pictures(run), READING).outputs
    found = []
    for number in range(1, shard.of + 1):
        one = Shard(number, shard.of)
        left = sum(_missing(batch, made) for batch in _place(one).share(started.batches))
        if left and one != shard:
            found.append(Left(one, left))
    return found


def _missing(batch: OutputBatch, made: Container[str]) -> int:
    return sum(pending.id not in made for pending in batch.outputs)
