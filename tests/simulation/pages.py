"""Whole pages whose truth is known: how often does a word on them say what is not so?

    python tests/simulation/pages.py [--sets 1000] [--seed 1]

Prints the table of pages in docs/statistics.md. A page is a run against one baseline or two on
seven benchmarks with groups and further metrics, each with the shape of one that there is: accuracy
of single questions, F1 of six questions an image, MME pairs, four pictures a prompt in six tasks,
weighted ratings, ratings of nine types, a few questions in uneven groups. The comparison is the one
that a report makes; only the stored tables behind it are made up.

Shapes: C units, N rows.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
import pandas as pd
from scipy.special import betaincinv

sys.path.insert(0, str(Path(__file__).parents[1]))

from simulation.ties import least_share

from pairuni_eval.cards import Card, MetricSpec, ProtocolSpec
from pairuni_eval.decoding import Decoding
from pairuni_eval.records import (
    RECORD_FORMAT,
    BenchmarkRun,
    Capability,
    ModelIdentity,
    RunCard,
    Status,
)
from pairuni_eval.stats.aggregate import Array
from pairuni_eval.stats.compare import Comparison, Difference, Word, compare_page
from pairuni_eval.stats.tables import Graders, Tables
from pairuni_eval.store.read import StoredRun

SURE = (Word.BETTER, Word.WORSE)
_ALIKE = 0.3  # intraclass correlation of the rows of one unit


class Bench(NamedTuple):
    """A benchmark of made-up samples.

    Attributes:
        groups: Units of each group, by the group's name.
        rows: Rows of each unit.
        steps: A value is this many steps of right and wrong; 1 for right or wrong.
        means: Mean chance of each group.
        metrics: The first is the headline.
        yes: Whether a value is "said yes" and every other row of a unit is labeled yes.
    """

    name: str
    groups: Mapping[str, int]
    rows: int
    steps: int
    means: tuple[float, ...]
    metrics: tuple[MetricSpec, ...]
    low: float = 0.0
    high: float = 1.0
    yes: bool = False

    @property
    def units(self) -> int:
        """How many there are."""
        return sum(self.groups.values())

    @property
    def group_of(self) -> Array:
        """(C,) the group of each unit, as a number."""
        return np.repeat(np.arange(len(self.groups)), list(self.groups.values()))

    def values(self, rng: np.random.Generator, difficulty: Array, lift: Array) -> Array:
        """(N,): the value of each row for a model whose mean chances are lifted, (groups,)."""
        mean = np.clip(np.array(self.means) + lift, 0.01, 0.99)[self.group_of]
        scale = (1 - _ALIKE) / _ALIKE
        chance = np.repeat(betaincinv(mean * scale, (1 - mean) * scale, difficulty), self.rows)
        right = rng.binomial(self.steps, chance) / self.steps
        if self.yes:
            right = np.where(self.gold, right, 1 - right)
        values: Array = self.low + (self.high - self.low) * right
        return values

    @property
    def gold(self) -> Array:
        """(N,): the rows labeled yes."""
        return np.tile(np.arange(self.rows) % 2 == 0, self.units)

    def card(self) -> Card:
        """As a run stores it."""
        rule = ProtocolSpec(
            summary="", source="", headline=self.metrics[0].name, metrics=self.metrics
        )
        return Card(
            name=self.name,
            title=self.name,
            summary="",
            version="1",
            expected=self.units * self.rows,
            unit="unit",
            capability=Capability.UNDERSTAND,
            licence="none",
            protocols={"official": rule},
        )


def _groups(count: int, units: int) -> dict[str, int]:
    return {f"t{number}": units for number in range(count)}


def _metric(name: str, aggregate: str = "mean", by: str | None = None, **more: Any) -> MetricSpec:
    return MetricSpec(name=name, aggregate=aggregate, of="value", by=by, **more)


_WEIGHTS = dict(zip(_groups(6, 0), (0.4, 0.167, 0.133, 0.1, 0.1, 0.1), strict=True))
_FIVE = {"range": (1.0, 5.0), "scale": 1.0}
BENCHES = (
    Bench("questions", _groups(5, 24), 1, 1, (0.6,) * 5, (_metric("accuracy", by="task"),)),
    Bench(
        *("pope", _groups(3, 20), 6, 1, (0.88, 0.85, 0.8)),
        (
            _metric("f1", "f1", by="task"),
            _metric("precision", "precision"),
            _metric("recall", "recall"),
        ),
        yes=True,
    ),
    Bench(
        *("mme", _groups(4, 20), 2, 1, (0.9, 0.8, 0.7, 0.6)),
        (_metric("total", "mme_total", by="task", scale=1.0), _metric("accuracy")),
    ),
    Bench(
        *("geneval", _groups(6, 15), 4, 1, (0.93, 0.8, 0.6, 0.8, 0.5, 0.45)),
        (_metric("overall", "macro_mean", by="task"), _metric("images")),
    ),
    Bench(
        *("wise", _groups(6, 15), 1, 10, (0.2, 0.28, 0.45, 0.24, 0.32, 0.16)),
        (
            _metric("overall", "weighted_mean", by="task", weights=_WEIGHTS),
            _metric("plain mean"),
        ),
    ),
    Bench(
        *("edits", _groups(9, 9), 1, 4, (0.6, 0.5, 0.3, 0.5, 0.45, 0.55, 0.7, 0.35, 0.6)),
        (_metric("overall", "macro_mean", by="task", **_FIVE), _metric("mean", **_FIVE)),
        *(1.0, 5.0),
    ),
    Bench(
        *("choices", {"t0": 60, "t1": 25, "t2": 17, "t3": 8}, 1, 1, (0.5, 0.4, 0.7, 0.9)),
        (_metric("accuracy", by="task"), _metric("macro", "macro_mean", by="task")),
    ),
)


class _Stored(NamedTuple):
    """What the comparison reads of a stored run."""

    card: RunCard
    cards: Mapping[str, Card]
    folder: Path
    samples: pd.DataFrame
    outputs: pd.DataFrame
    unfinished: bool = False

    @property
    def printed_name(self) -> str:
        return self.card.name


class _Shared:
    """The samples and outputs that all runs of these benchmarks have."""

    def __init__(self, benches: Sequence[Bench]) -> None:
        self.cards = {bench.name: bench.card() for bench in benches}
        samples = pd.concat([_samples(bench) for bench in benches], ignore_index=True)
        self.samples = samples
        self.outputs = pd.DataFrame(
            {
                "id": "o-" + samples["uid"],
                "sample": samples["uid"],
                "draw": 0,
                "error": None,
                "skipped": None,
                "parts": "[]",
            }
        )
        self.runs = {
            bench: BenchmarkRun(
                protocols=(f"{bench}@official",),
                decoding=Decoding(),
                batch_size=1,
                origin="made up",
                revision="1",
                judge=None,
                expected=card.expected,
                planned=card.expected,
            )
            for bench, card in self.cards.items()
        }
        tables = Tables(self.run("all"))
        self.by_benchmark = {bench.name: tables.outputs(bench.name) for bench in benches}

    def run(self, name: str) -> StoredRun:
        """A run of that name."""
        card = RunCard(
            format=RECORD_FORMAT,
            code="1",
            name=name,
            checkpoint=ModelIdentity(adapter="made up", name=name, weights=name),
            suite=None,
            benchmarks=self.runs,
            seed=0,
            limit=None,
            environment={},
            command="",
        )
        made = _Stored(card, self.cards, Path(name), self.samples, self.outputs)
        return cast("StoredRun", made)


class _Tables(Tables):
    """The tables of a made-up run: values (N,) by benchmark, NaN where the judge failed."""

    def __init__(self, name: str, values: Mapping[str, Array], shared: _Shared) -> None:
        super().__init__(shared.run(name))
        self._values = values
        self._outputs = dict(shared.by_benchmark)

    def joined(self, benchmark: str, protocol: str, of: str) -> pd.DataFrame:
        """See `Tables.joined`."""
        key = (benchmark, protocol, of)
        if key not in self._joined:
            value = self._values[benchmark]
            status = np.where(np.isfinite(value), str(Status.SCORED), str(Status.JUDGE_FAILED))
            self._joined[key] = self.outputs(benchmark).assign(value=value, status=status)
        return self._joined[key]

    def graders(self, benchmark: str, protocol: str, of: str) -> Graders:
        """See `Tables.graders`."""
        return Graders(frozenset({"made up/1"}), frozenset())


def _samples(bench: Bench) -> pd.DataFrame:
    unit = np.repeat(np.arange(bench.units), bench.rows)
    names = np.array(list(bench.groups), dtype=object)[bench.group_of][unit]
    gold = bench.gold
    tags = [
        json.dumps({"task": task, "label": "yes" if yes else "no"})
        for task, yes in zip(names, gold, strict=True)
    ]
    return pd.DataFrame(
        {
            "uid": [f"{bench.name}-{number}" for number in range(len(unit))],
            "benchmark": bench.name,
            "parts": "[]",
            "tags": tags,
            "unit": [f"u{number}" for number in unit],
        }
    )


class World(NamedTuple):
    """How the runs of a page differ.

    Attributes:
        lifts: By benchmark, how much the mean chances of its groups are lifted in ours.
        seeds: Training seeds of each side.
        between: Standard deviation between training seeds, of every mean chance at once.
        lost: The chance that a wrong output of ours has no value.
        baselines: How many there are.
    """

    what: str
    lifts: Mapping[str, tuple[float, ...]] = {}
    seeds: int = 1
    between: float = 0.0
    lost: float = 0.0
    baselines: int = 2


class Counted(NamedTuple):
    """What the pages of a world said.

    Attributes:
        headlines: Pages with a false word among the headlines.
        under: Pages with a false word among groups and other metrics.
        families: Families of groups or metrics with a false word.
        of: Families that hold a row without a true difference.
        found: True differences of headlines that were found.
        true: True differences of headlines.
    """

    world: World
    pages: int
    headlines: int
    under: int
    families: int
    of: int
    found: int
    true: int

    @property
    def shares(self) -> tuple[float, float, float]:
        """Of pages with a false headline, of pages with a false word under one, of families."""
        return (
            self.headlines / self.pages,
            self.under / self.pages,
            self.families / self.of if self.of else 0.0,
        )

    @property
    def least(self) -> tuple[float, float, float]:
        """The lower ends of the exact 99 % intervals of the shares."""
        return (
            least_share(self.headlines, self.pages),
            least_share(self.under, self.pages),
            least_share(self.families, self.of) if self.of else 0.0,
        )


NULL = World("nothing differs")
WORLDS = (
    NULL,
    World(
        "two benchmarks differ in some of their groups",
        {"geneval": (0.0, 0.15, 0.0, 0.0, 0.25, 0.0), "questions": (0.25, 0.0, 0.0, 0.0, 0.0)},
    ),
    World(
        "nothing differs, three seeds, 3 points between them", seeds=3, between=0.03, baselines=1
    ),
    World("nothing differs, a third of our wrong outputs is missing", lost=1 / 3, baselines=1),
    World(
        "we are worse by 8 points, a third of our wrong outputs is missing",
        {bench.name: (-0.08,) * len(bench.groups) for bench in BENCHES},
        lost=1 / 3,
        baselines=1,
    ),
)


def study(world: World, pages: int, seed: int = 1, benches: Sequence[Bench] = BENCHES) -> Counted:
    """Draw the pages of a world and count what is false on them."""
    rng = np.random.default_rng([11, seed, *map(ord, world.what)])
    shared = _Shared(benches)
    found = Counted(world, pages, 0, 0, 0, 0, 0, 0)
    for _ in range(pages):
        page = _page(world, rng, shared, benches)
        found = _count(found, page, world)
    return found


def _page(
    world: World, rng: np.random.Generator, shared: _Shared, benches: Sequence[Bench]
) -> dict[str, Comparison]:
    difficulty = {bench.name: rng.random(bench.units) for bench in benches}

    def side(name: str, *, ours: bool) -> list[_Tables]:
        return [
            _Tables(f"{name}-{seed}", _values(world, rng, benches, difficulty, ours), shared)
            for seed in range(world.seeds)
        ]

    us = side("ours", ours=True)
    return compare_page(
        us, {f"base{n}": side(f"base{n}", ours=False) for n in range(world.baselines)}
    )


def _values(
    world: World,
    rng: np.random.Generator,
    benches: Sequence[Bench],
    difficulty: Mapping[str, Array],
    ours: bool,
) -> dict[str, Array]:
    found = {}
    for bench in benches:
        lift = np.zeros(len(bench.groups)) + rng.normal(0, world.between)
        if ours:
            lift += np.array(world.lifts.get(bench.name, (0.0,) * len(bench.groups)))
        value = bench.values(rng, difficulty[bench.name], lift)
        if ours and world.lost:
            right = value if not bench.yes else np.where(bench.gold, value, 1 - value)
            wrong = right < (bench.low + bench.high) / 2
            value = np.where(wrong & (rng.random(len(value)) < world.lost), np.nan, value)
        found[bench.name] = value
    return found


def _count(found: Counted, page: Mapping[str, Comparison], world: World) -> Counted:
    rows = [row for one in page.values() for row in one.differences]
    headlines = [row for row in rows if row.headline]
    families: dict[tuple[str, str, bool], list[Difference]] = {}
    for name, one in page.items():
        for row in (*one.differences, *one.groups):
            if not row.headline and _truth(row, world) is not None:
                key = (name, row.benchmark, row.group is None)
                families.setdefault(key, []).append(row)
    false = [any(_is_false(row, world) for row in family) for family in families.values()]
    true = [row for row in headlines if _truth(row, world)]
    return found._replace(
        headlines=found.headlines + any(_is_false(row, world) for row in headlines),
        under=found.under + any(false),
        families=found.families + sum(false),
        of=found.of + len(false),
        found=found.found + sum(row.word in SURE for row in true),
        true=found.true + len(true),
    )


def _truth(row: Difference, world: World) -> float | None:
    """The sign of the true difference, or a number of that sign."""
    lifts = world.lifts.get(row.benchmark)
    if lifts is None:
        return 0.0
    return sum(lifts) if row.group is None else lifts[int(row.group[1:])]


def _is_false(row: Difference, world: World) -> bool:
    """Better or worse where nothing differs or the other way, or tied where something does."""
    truth = _truth(row, world) or 0.0
    if row.word in SURE:
        return (row.word is Word.BETTER) != (truth > 0) if truth else True
    return row.word is Word.TIED and truth != 0


def table(found: Sequence[Counted]) -> str:
    """The table of docs/statistics.md."""
    lines = [
        "| world | false headline, of pages | false word under one, of pages "
        "| false word, of families | true headlines found |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    for one in found:
        shares = " | ".join(f"{100 * share:.1f} %" for share in one.shares)
        power = f"{100 * one.found / one.true:.1f} %" if one.true else ""
        lines.append(f"| {one.world.what} | {shares} | {power} |")
    return "\n".join(lines)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=_AsWritten)
    parser.add_argument("--sets", type=int, default=1000, help="pages of each world")
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    for world in WORLDS:
        found = table([study(world, given.sets, given.seed)])
        print(found if world is WORLDS[0] else found.splitlines()[-1], flush=True)


_AsWritten = argparse.RawDescriptionHelpFormatter

if __name__ == "__main__":
    main()
