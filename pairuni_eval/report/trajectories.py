"""Runs of the checkpoints of one or several trainings, in the order of their steps.

Goes in: finished runs. Comes out: for each arm its points, one a step, each with the runs of that
step by training seed. Arm, seed and step are what the checkpoint's own record says (`trained`); the
parent that an arm was trained from is its step 0, whatever its own record says. What cannot be
placed, and numbers of another kind than most of a benchmark (`board_kinds`), are left out and told.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from pairuni_eval.report.board_kinds import NumberKind, kind_of
from pairuni_eval.report.headline_cache import Headline
from pairuni_eval.stats.tables import Tables
from pairuni_eval.store.read import StoredRun
from pairuni_eval.training_record import trained


class TimedRun(NamedTuple):
    """A run with its headlines.

    Attributes:
        place: Where it lies, as a page names it.
        headlines: By benchmark.
    """

    place: str
    tables: Tables
    headlines: Mapping[str, Headline]

    @property
    def run(self) -> StoredRun:
        """The run itself."""
        return self.tables.run

    def kind(self, benchmark: str) -> NumberKind:
        """What its number of a benchmark may be compared with."""
        run = self.run
        return kind_of(
            run.cards[benchmark],
            run.card,
            self.headlines[benchmark],
            unfinished=run.unfinished,
        )


class Trajectory(NamedTuple):
    """An arm: by step and training seed, the runs that hold each benchmark.

    Attributes:
        number: Of its color.
        points: By step, in their order: by benchmark, the run of each seed.
    """

    name: str
    number: int
    points: Mapping[int, Mapping[str, tuple[TimedRun, ...]]]

    @property
    def steps(self) -> tuple[int, ...]:
        """The steps that were measured."""
        return tuple(self.points)

    def of(self, benchmark: str) -> dict[int, tuple[TimedRun, ...]]:
        """The runs of a benchmark by step."""
        return {step: held[benchmark] for step, held in self.points.items() if benchmark in held}


class Trajectories(NamedTuple):
    """All arms, the benchmarks that any of them has, and what was left out, in sentences."""

    arms: tuple[Trajectory, ...]
    kinds: Mapping[str, NumberKind]
    left_out: tuple[str, ...]


class _Placed(NamedTuple):
    """A run with the arm, the seed and the step that it is a point of."""

    arm: str
    seed: int | None
    step: int
    run: TimedRun


def trajectories(runs: Sequence[TimedRun]) -> Trajectories:
    """Order runs by arm, step and training seed."""
    left_out: list[str] = []
    kinds = _kinds(runs)
    placed = list(_placed(runs, left_out))
    names = sorted({one.arm for one in placed})
    arms = tuple(
        Trajectory(
            name, number, _points([one for one in placed if one.arm == name], kinds, left_out)
        )
        for number, name in enumerate(names)
    )
    return Trajectories(arms, kinds, tuple(dict.fromkeys(left_out)))


def _kinds(runs: Sequence[TimedRun]) -> dict[str, NumberKind]:
    """The kind that most numbers of each benchmark are of, in the order of the runs."""
    found: dict[str, Counter[NumberKind]] = {}
    for one in runs:
        for name in one.headlines:
            found.setdefault(name, Counter())[one.kind(name)] += 1
    return {name: counts.most_common(1)[0][0] for name, counts in found.items()}


def _placed(runs: Sequence[TimedRun], left_out: list[str]) -> Iterator[_Placed]:
    """Where each run belongs; a parent is the first point of every arm that came from it."""
    parents: dict[str, set[tuple[str, int | None]]] = {}
    for one in runs:
        checkpoint = one.run.card.checkpoint
        record = trained(checkpoint)
        if checkpoint.parent is not None and record.step is not None:
            parents.setdefault(checkpoint.parent, set()).add((_arm(one), record.seed))
    for one in runs:
        checkpoint, record = one.run.card.checkpoint, trained(one.run.card.checkpoint)
        came = parents.get(checkpoint.weights, set()) | parents.get(checkpoint.name, set())
        for arm in sorted({arm for arm, _ in came}):
            yield _Placed(arm, None, 0, one)
        if came:
            continue
        if record.step is None:
            left_out.append(f"{one.place}: its checkpoint does not say its training step")
        else:
            yield _Placed(_arm(one), record.seed, record.step, one)


def _arm(one: TimedRun) -> str:
    """The arm of a run; where its record names none, its checkpoint without the step."""
    checkpoint = one.run.card.checkpoint
    return trained(checkpoint).arm or checkpoint.name.rpartition("-checkpoint-")[0] or "training"


def _points(
    placed: Sequence[_Placed], kinds: Mapping[str, NumberKind], left_out: list[str]
) -> dict[int, dict[str, tuple[TimedRun, ...]]]:
    made: dict[int, dict[str, tuple[TimedRun, ...]]] = {}
    for step in sorted({one.step for one in placed}):
        here = sorted(
            (one for one in placed if one.step == step),
            key=lambda one: (-1 if one.seed is None else one.seed, one.run.place),
        )
        held = {name: _by_seed(name, here, kinds[name], left_out) for name in kinds}
        made[step] = {name: runs for name, runs in held.items() if runs}
    return {step: held for step, held in made.items() if held}


def _by_seed(
    name: str, placed: Sequence[_Placed], kind: NumberKind, left_out: list[str]
) -> tuple[TimedRun, ...]:
    """The run of each seed at one step; of two runs of the same weights the first."""
    found: dict[str, TimedRun] = {}
    for _, _, step, one in placed:
        if name not in one.headlines:
            continue
        if one.kind(name) != kind:
            left_out.append(f"{one.place}, {name}: another kind of number than most of these runs")
            continue
        weights = one.run.card.checkpoint.weights
        if weights in found:
            left_out.append(
                f"{one.place}, {name}: step {step} is there from {found[weights].place}"
            )
            continue
        found[weights] = one
    return tuple(found.values())
