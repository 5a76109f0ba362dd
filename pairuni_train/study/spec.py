"""What an experiment is: one TOML file under `registry/suites/experiments`.

It names arms (of `pairuni-train run`, or "base" for the checkpoint that training starts from), the
benchmarks and the columns of the table, and the rows that the paper prints. The same file runs on
the tiny model and under any other recipe: `sisters` names the tiny world's benchmark that stands
for each real one, and a tiny number is never put into one column with the paper's. What only one of
the two worlds has says so by `only`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import msgspec

from pairuni_eval.toolkit import UserError, unknown_name
from pairuni_eval.toolkit.data import Strict, as_record, read_table
from pairuni_eval.toolkit.models import Task, catalog
from pairuni_train.study.design import Design, design_troubles

BASE = "base"
World = Literal["tiny", "real"]
Method = Literal["grpo", "sft"]
HeldOut = Literal["answers", "drawings"]
_HELD_OUT = {"answers": "tiny-heldout-questions", "drawings": "tiny-heldout-drawings"}


class Column(Strict, frozen=True, kw_only=True):
    """One column of the table.

    Attributes:
        title: As the paper prints it.
        benchmark: The real benchmark's name.
        protocol: Its protocol; None is the default one.
        metric: The metric; None is the headline of the protocol.
        group: A group of the metric, e.g. a category; None is the whole.
        tiny_metric: The metric of the tiny sister, where it has another name.
        tiny_group: The group of the tiny sister, where it has another name.
        only: "real" where the tiny world has nothing that stands for it: dashes stand there.
    """

    title: str
    benchmark: str
    protocol: str | None = None
    metric: str | None = None
    group: str | None = None
    tiny_metric: str | None = None
    tiny_group: str | None = None
    only: Literal["real"] | None = None


class PaperRow(Strict, frozen=True, kw_only=True):
    """A row of the paper's table: one cell a column, "-" where it prints none."""

    row: str
    cells: tuple[float | str, ...]


class StudyArm(Strict, frozen=True, kw_only=True):
    """One row of our table.

    Attributes:
        name: As printed.
        trained_as: The arm of `pairuni-train run` that trains it, or "base"; the key `arm`, in
            older files `recipe`.
        pairs: The pair set, where it is not that arm's own.
        changes: Keys of the pair sets' configuration that differ, e.g. "retrieval.threshold".
        settings: Keys of the recipe that differ, as for `pairuni-train run --set`; what makes
            arms comparable (steps, checkpoint) is not among them.
        only: The world that this arm belongs to, where it makes no sense in the other.
        method: How it is trained: reinforced ("grpo") or taught ("sft").
    """

    name: str
    trained_as: str = msgspec.field(name="arm")
    pairs: str | None = None
    changes: dict[str, str | int | float] = {}
    settings: dict[str, Any] = {}
    only: World | None = None
    method: Method = "grpo"

    @property
    def trained(self) -> bool:
        """Whether anything is trained; the base is measured as it is."""
        return self.trained_as != BASE


class FixedPromptsSpec(Strict, frozen=True, kw_only=True):
    """Prompts that all arms are measured on while they train; see `grpo.fixed_prompts`.

    Attributes:
        prompts: Prompts of each task, at most.
        draws: Rollouts of each prompt.
        points: Measurements after the first, at most, evenly spaced.
        seed: Which of the prompts that all arms train on are drawn.
    """

    prompts: int = 64
    draws: int = 2
    points: int = 15
    seed: int = 0


class Experiment(Strict, frozen=True, kw_only=True):
    """One table or figure.

    Attributes:
        kind: "table" compares arms by benchmarks; "curves" draws rewards over steps; "gradients"
            compares scenarios of the probe at one set of weights; "flagship" tests the hypotheses
            of its design.
        source: Where the paper prints it.
        arms: Rows, in order.
        against: Names of the arms that the others are compared with.
        method: The arm that the experiment is about, if it is about one; its answers come first.
        columns: Columns, in order.
        held_out: What the table shows of the held-out suite besides, in the tiny world alone.
        printed: The paper's rows.
        printed_heads: Titles of the paper's columns, where they are not those of `columns`.
        sisters: For each real benchmark, the tiny world's.
        steps: Training steps by recipe, where they differ from the recipe's own.
        question: What the experiment asks, in a sentence; the answer is written from the figures.
        reward_range: Lowest and highest reward of a rollout, by recipe and task, where known; a
            hundredth of it counts as no difference.
        fixed: Prompts that the arms of a figure of curves are measured on; None measures none.
        batches: Batches of each scenario that a probe looks at, by recipe.
        pairs_per_batch: Pairs in such a batch by recipe, where it is not a training step's.
        notes: In what it is not the paper's experiment, a sentence each.
        design: Of a flagship: bases, overlaps, scores, hypotheses and their number.
        recipe: What it is run under where a command names no recipe; None is `tiny-names`.
    """

    name: str
    title: str
    question: str
    source: str
    kind: Literal["table", "curves", "gradients", "flagship"] = "table"
    arms: tuple[StudyArm, ...] = ()
    against: tuple[str, ...] = ()
    method: str | None = None
    columns: tuple[Column, ...] = ()
    held_out: tuple[HeldOut, ...] = ()
    printed: tuple[PaperRow, ...] = ()
    printed_heads: tuple[str, ...] = ()
    sisters: dict[str, str] = {}
    steps: dict[str, int] = {}
    reward_range: dict[str, dict[Task, tuple[float, float]]] = {}
    fixed: FixedPromptsSpec | None = None
    batches: dict[str, int] = {}
    pairs_per_batch: dict[str, int] = {}
    notes: tuple[str, ...] = ()
    design: Design | None = None
    recipe: str | None = None

    @property
    def heads(self) -> tuple[str, ...]:
        """Titles of the paper's columns."""
        return self.printed_heads or tuple(column.title for column in self.columns)

    @property
    def method_notes(self) -> tuple[str, ...]:
        """Which arms are taught and not reinforced, in a sentence; nothing where none is."""
        taught = [arm.name for arm in self.arms if arm.trained and arm.method == "sft"]
        if not taught:
            return ()
        others = [arm.name for arm in self.arms if arm.trained and arm.method != "sft"]
        said = f"Trained by supervised fine-tuning on both halves (sft): {', '.join(taught)}"
        return (f"{said}; by PairGRPO: {', '.join(others)}." if others else f"{said}.",)

    @property
    def comparisons(self) -> tuple[tuple[str, str], ...]:
        """Each arm against each of `against`; two that are both in `against` once."""
        found: dict[frozenset[str], tuple[str, str]] = {}
        for other in self.against:
            for arm in self.arms:
                if arm.name != other:
                    found.setdefault(frozenset((arm.name, other)), (arm.name, other))
        return tuple(found.values())

    def on(self, *, tiny: bool) -> Experiment:
        """The experiment in one world: with its arms alone, on tiny with the held-out columns."""
        other = "real" if tiny else "tiny"
        columns = self.columns + tuple(_held_out_columns(self.held_out) if tiny else ())
        arms = tuple(arm for arm in self.arms if arm.only != other)
        names = {arm.name for arm in arms}
        against = tuple(name for name in self.against if name in names)
        method = self.method if self.method in names else None
        return msgspec.structs.replace(
            self,
            arms=arms,
            against=against,
            method=method,
            columns=columns,
            printed_heads=self.heads,
            sisters=self.sisters | {name: name for name in _HELD_OUT.values()},
            held_out=(),
        )

    def benchmark_of(self, column: Column, *, tiny: bool) -> str | None:
        """What a column reads; None where the tiny world has nothing that stands for it."""
        if not tiny:
            return column.benchmark
        return None if column.only == "real" else self.sisters[column.benchmark]

    def benchmarks(self, *, tiny: bool) -> tuple[str, ...]:
        """The benchmarks that its columns read, each once."""
        read = (self.benchmark_of(column, tiny=tiny) for column in self.columns)
        return tuple(dict.fromkeys(name for name in read if name is not None))


def _held_out_columns(shown: tuple[HeldOut, ...]) -> Iterator[Column]:
    """The score of a task, and its parts: made-up names, and what the base could do before."""
    for what in shown:
        yield Column(title=f"held-out {what}", benchmark=_HELD_OUT[what])
        for part in ("new", "common"):
            yield Column(title=f"{what}, {part}", benchmark=_HELD_OUT[what], metric=part)


def experiments() -> dict[str, Path]:
    """Every experiment file by name, in the order of people: table9 before table10."""
    found = {
        path.stem: path
        for root in catalog.registry_roots()
        for path in root.glob("suites/experiments/*.toml")
    }
    return dict(sorted(found.items(), key=lambda one: _natural(one[0])))


def _natural(name: str) -> list[tuple[int, str]]:
    """A key for sorting that takes digits as the number they are."""
    parts = re.findall(r"\d+|\D+", name)
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in parts]


def find_experiment(name: str) -> Experiment:
    """An experiment by name; UserError with the nearest name if there is none."""
    known = experiments()
    if name not in known:
        raise unknown_name("experiment", name, known, list_command="pairuni-train list")
    return read_experiment(known[name])


def read_experiment(path: Path) -> Experiment:
    """Read and check an experiment file.

    Raises:
        UserError: naming file and key, for bad TOML, an unknown key or a table that does not fit.
    """
    found = as_record(_with_arms(read_table(path)), Experiment, path)
    trouble = next(_troubles(found), None)
    if trouble is not None:
        raise UserError(f"{path}: {trouble}.")
    return found


def _with_arms(table: dict[str, Any]) -> dict[str, Any]:
    """The table with `arm` where an older file says `recipe`."""
    for arm in table["arms"] if isinstance(table.get("arms"), list) else ():
        if isinstance(arm, dict) and "recipe" in arm and "arm" not in arm:
            arm["arm"] = arm.pop("recipe")
    return table


def _troubles(found: Experiment) -> Iterator[str]:
    """What is wrong between its keys, which their types cannot say."""
    names = [arm.name for arm in found.arms]
    yield from (f"two arms are called '{name}'" for name in names if names.count(name) > 1)
    for name in (*found.against, *([found.method] if found.method else ())):
        if name not in names:
            yield f"against or method names '{name}', which is not one of its arms"
    for printed in found.printed:
        if len(printed.cells) != len(found.heads):
            cells = f"{len(printed.cells)} cells for {len(found.heads)} columns"
            yield f"the row '{printed.row}' has {cells}"
    for arm in found.arms:
        for key in sorted({"name", "checkpoint", "steps"} & arm.settings.keys()):
            yield f"the arm '{arm.name}' sets '{key}', which all arms share"
    for column in found.columns:
        if column.only is None and column.benchmark not in found.sisters:
            yield f"sisters lacks '{column.benchmark}'"
    if found.fixed is not None:
        yield from _fixed_troubles(found.fixed, found.kind)
    if (found.kind == "flagship") != (found.design is not None):
        yield "a design belongs to a flagship, and a flagship has one"
    if found.design is not None:
        yield from design_troubles(found.design, tuple(names))
    if found.kind in ("curves", "gradients") and (len(found.arms) < 2 or not found.against):
        yield "a figure needs two arms, and `against` that names one of them"


def _fixed_troubles(fixed: FixedPromptsSpec, kind: str) -> Iterator[str]:
    if kind != "curves":
        yield "fixed prompts belong to a figure of curves"
    for key in ("prompts", "draws", "points"):
        if getattr(fixed, key) < 1:
            yield f"fixed.{key} is {getattr(fixed, key)}, at least 1"
