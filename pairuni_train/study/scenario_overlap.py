"""Which halves two scenarios of a probe have in common, batch by batch.

A half has the same rollouts, rewards and gradient in whatever batch it stands. So two scenarios
whose batches hold the same questions (or the same prompts) are compared batch by batch, and the
rest of the batch is all that differs; where they share none, a batch of one has nothing to do with
that of the other. Ids are read, images are not.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, get_args

from pairuni_eval.toolkit.models import Task
from pairuni_train.gradient_probe.scenarios import addressed, read_scenario
from pairuni_train.grpo.sampler import PairSampler
from pairuni_train.pair_data.dataset import read_columns
from pairuni_train.pair_data.record import Generation, Kind, Pair, Understanding

_TASKS: tuple[Task, ...] = get_args(Task)
_SIDES = ("understanding", "generation")
_COLUMNS = ("id", "kind", *(f"{side}_{name}" for side in _SIDES for name in ("id", "source")))


class ProbeBatches(NamedTuple):
    """What a probe takes from a scenario.

    Attributes:
        folder: The pair sets.
        per_seed: Batches of a seed.
        pairs: Pairs in a batch.
        seeds: Seeds of the probes.
    """

    folder: Path
    per_seed: int
    pairs: int
    seeds: int


class ScenarioOverlap(NamedTuple):
    """The share of a batch's halves, in [0, 1], that the same batch of another scenario has."""

    und: float
    gen: float

    @property
    def paired(self) -> bool:
        """Whether one of the tasks sees the same halves in every batch."""
        return 1.0 in self

    @property
    def words(self) -> str:
        """What is shared, e.g. "every batch has the same questions"."""
        same = {"questions": self.und, "prompts": self.gen}
        whole = [name for name, share in same.items() if share == 1.0]
        if whole:
            return f"every batch has the same {' and '.join(whole)}"
        some = [f"{100 * share:.0f} % of the {name}" for name, share in same.items() if share > 0]
        return f"batches share {' and '.join(some) or 'no row'}"


def scenario_overlap(ours: str, theirs: str, batches: ProbeBatches) -> ScenarioOverlap:
    """How far the batches of two scenarios are made of the same halves."""
    shares: dict[Task, list[float]] = {task: [] for task in _TASKS}
    for seed in range(batches.seeds):
        one, two = (_order(name, batches, seed) for name in (ours, theirs))
        for step in range(batches.per_seed):
            for task in _TASKS:
                mine, other = (_halves(order.of_step(step), task) for order in (one, two))
                shares[task].append(len(mine & other) / max(len(mine), len(other), 1))
    return ScenarioOverlap(*(sum(found) / len(found) for found in shares.values()))


def batches_in(name: str, batches: ProbeBatches) -> int:
    """How many batches a pair set fills before a row comes a second time."""
    order = _order(name, batches, 0)
    return len(read_outlines_of(name, batches, 0)) // order.rows_per_step


def read_outlines_of(name: str, batches: ProbeBatches, seed: int) -> list[Pair]:
    """The outlines of a scenario's pairs."""
    return read_scenario(name, batches.folder, seed, read=read_outlines).pairs


def read_outlines(path: Path) -> list[Pair]:
    """The pairs of a file as far as who is in them: ids and sources, nothing to answer or draw."""
    columns = read_columns(path, _COLUMNS)
    rows = zip(*(columns[name] for name in _COLUMNS), strict=True)
    return [
        Pair(
            id=str(pair),
            kind=Kind(kind),
            understanding=None
            if u is None
            else Understanding(
                id=u, source=u_source, licence="", image=b"", question="", answer=""
            ),
            generation=None
            if g is None
            else Generation(id=g, source=g_source, licence="", prompt=""),
        )
        for pair, kind, u, u_source, g, g_source in rows
    ]


def _order(name: str, batches: ProbeBatches, seed: int) -> PairSampler:
    pairs = read_outlines_of(name, batches, seed)
    return PairSampler(pairs, pairs_per_step=batches.pairs, seed=seed)


def _halves(rows: Sequence[Pair], task: Task) -> set[str]:
    return {pair.id for pair in addressed(rows, task)}
