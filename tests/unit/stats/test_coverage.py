"""How much of a metric was measured: the most of a total, and coverage of the metric's own rows."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from support import example_run as example

from pairuni_eval import catalog
from pairuni_eval.cards import Card, MetricSpec
from pairuni_eval.data import Data
from pairuni_eval.records import Item
from pairuni_eval.report.build import build_report
from pairuni_eval.report.grade_output import as_lines, read_benchmark
from pairuni_eval.stats.aggregate import GradedRows, make_aggregate
from pairuni_eval.stats.compare import compare_page
from pairuni_eval.stats.tables import MetricRow, Tables, as_measured, protocol_metrics
from pairuni_eval.store.read import StoredRun

TINY = ("tiny-mmstar", "tiny-mme", "tiny-pope", "tiny-geneval", "tiny-imgedit")


def items_of(name: str) -> tuple[Card, list[Item]]:
    benchmark = catalog.load_benchmark(name)
    return benchmark.card, list(benchmark.samples(Data(benchmark.card, benchmark.folder)))


def measured(folder: Path, count: int | None, wrong: int = 0) -> Path:
    """The first questions of tiny MME, all right but for the first few."""
    card, items = items_of("tiny-mme")
    rows = [
        example.Graded(item, item.sample.reference["answer"], {"correct": float(n >= wrong)})
        for n, item in enumerate(items[:count])
    ]
    example.store(folder, [card], {card.name: rows})
    return folder


def metrics(run: Path) -> dict[str, MetricRow]:
    return {
        row.spec.name: row
        for row in protocol_metrics(Tables(StoredRun(run)), "tiny-mme", "official")
    }


def test_the_most_of_a_total_is_that_of_the_groups_that_were_measured(tmp_path: Path) -> None:
    """Forty questions are one task of the four of perception."""
    found = metrics(measured(tmp_path / "run", 40))
    head = found["perception"]
    assert head.spec.title == "perception, of 200, 1 of 4 tasks"
    assert head.estimate.value == 200.0
    assert head.estimate.bounds == (0.0, 200.0)
    assert (head.scored, head.expected, head.covered) == (40, 160, "40/160")
    assert (found["cognition"].scored, found["cognition"].expected) == (0, 80)
    assert (found["accuracy"].scored, found["accuracy"].expected) == (40, 240)
    lines = as_lines(read_benchmark(StoredRun(tmp_path / "run"), "tiny-mme"))
    assert lines[0].startswith("tiny-mme@official, area perception: 40 of 160 outputs (25.0%); ")
    assert lines[1].startswith("  perception           200.0  ")
    assert lines[1].endswith("  (40 of 160)  perception, of 200, 1 of 4 tasks")
    page = build_report(StoredRun(tmp_path / "run"), tmp_path / "out", {})
    markdown = page.with_suffix(".md").read_text()
    assert "| perception, of 200, 1 of 4 tasks | 200.0" in markdown and "of 800" not in markdown
    assert "| 40/160 |" in markdown
    entry = json.loads(page.with_name("summary.json").read_text())["benchmarks"]["tiny-mme"]
    part = entry["protocols"]["official"]["metrics"]["perception"]
    assert (part["value"], part["scored"], part["expected"]) == (200.0, 40, 160)


def test_a_difference_is_of_what_both_measured(tmp_path: Path) -> None:
    ours, theirs = measured(tmp_path / "a", 40), measured(tmp_path / "b", None, wrong=2)
    sides = [(Tables(StoredRun(folder)),) for folder in (ours, theirs)]
    found = compare_page(sides[0], {"theirs": sides[1]})["theirs"].differences
    row = next(row for row in found if row.spec.name == "perception")
    assert row.spec.title == "perception, of 200, 1 of 4 tasks"
    assert (row.ours, row.theirs) == (200.0, pytest.approx(200 - 100 * 2 / 40 - 100 / 20))
    other = next(
        row for row in found if row.protocol != "official" and row.spec.name == "perception"
    )
    assert other.subject.startswith("tiny MME (lmms-eval), perception, of 200, 1 of 4 tasks")


@pytest.mark.parametrize(
    ("name", "count", "metric", "title"),
    [
        ("tiny-geneval", 3, "overall", "mean of the six tasks, 1 of 6 groups"),
        ("tiny-geneval", None, "overall", "mean of the six tasks"),
        ("tiny-wise", 3, "overall", "overall WiScore, 1 of 6 groups"),
        ("tiny-pope", 3, "f1_mean", "mean of the three F1, 1 of 3 groups"),
        ("tiny-pope", 3, "f1", "F1 over all rows"),
        ("tiny-imgedit", 3, "overall", "mean of the type scores, 1 to 5, 1 of 4 groups"),
    ],
)
def test_a_mean_over_groups_says_of_how_many(
    name: str, count: int | None, metric: str, title: str
) -> None:
    """The first samples of one group: a mean over it is not one over all of them."""
    card, items = items_of(name)
    spec = card.protocols[card.default_protocol].metric(metric)
    group = min((item.sample.tags[spec.by or ""] for item in items), key=len)
    kept = [item for item in items if count is None or item.sample.tags[spec.by or ""] == group]
    kept = kept[:count]
    tags = {
        key: np.array([one.sample.tags[key] for one in kept], object) for key in kept[0].sample.tags
    }
    rows = GradedRows(np.ones(len(kept)), np.arange(len(kept)), np.zeros(len(kept), np.int64), tags)
    assert as_measured(spec, make_aggregate(spec, rows), rows, card.counted).title == title


def test_a_group_without_any_value_is_missing_from_its_mean() -> None:
    spec = MetricSpec(name="m", title="mean of all", aggregate="macro_mean", by="task")
    tags = {"task": np.array(["a", "a", "b"], object)}
    rows = GradedRows(np.array([1.0, 0.0, np.nan]), np.arange(3), np.zeros(3, np.int64), tags)
    found = as_measured(spec, make_aggregate(spec, rows), rows)
    assert found.title == "mean of all, 1 of 2 groups"


def test_a_whole_total_keeps_its_title(tmp_path: Path) -> None:
    found = metrics(measured(tmp_path / "run", None, wrong=2))
    head = found["perception"]
    assert head.spec.title == "perception, of 800" and head.estimate.bounds == (0.0, 800.0)
    assert head.estimate.value == pytest.approx(800 - 100 * 2 / 40 - 100 / 20)
    assert (head.scored, head.expected, head.known) == (160, 160, True)


@pytest.mark.parametrize(
    ("expected", "known", "words"), [(16, False, " in this run"), (8, True, "")]
)
def test_a_part_that_nobody_counted_is_of_those_in_the_run(
    tmp_path: Path, expected: int, known: bool, words: str
) -> None:
    """The cards of the example state no counts; eight rows are measured."""
    card = next(one for one in example.cards(expected) if any(m.where for m in specs(one)))
    example.write_run(tmp_path / "run", benchmarks=[card], count=8)
    rows = protocol_metrics(Tables(StoredRun(tmp_path / "run")), card.name, card.default_protocol)
    part = next(row for row in rows if row.spec.where)
    assert part.known is known
    assert part.covered == f"{part.scored}/{part.expected}{words}"
    assert part.expected <= 8


def specs(card: Card) -> list[MetricSpec]:
    return [spec for rule in card.protocols.values() for spec in rule.metrics]


@pytest.mark.parametrize("name", TINY)
def test_the_counts_of_the_tiny_cards_are_those_of_their_data(name: str) -> None:
    card, items = items_of(name)
    held = Counter(
        (tag, one.strip())
        for item in items
        for tag, cell in item.sample.tags.items()
        for one in cell.split(",")
    )
    stated = {
        (tag, group): n for tag, groups in card.counted.items() for group, n in groups.items()
    }
    assert stated and stated == {place: held[place] for place in stated}
    assert {place for spec in specs(card) for place in spec.where.items()} <= set(stated)


@pytest.mark.parametrize(
    "name", ["geneval", "hpsv2", "imgedit", "mme", "mmmu", "mmstar", "wise", "wise-verified"]
)
def test_the_counts_of_a_card_add_up(name: str) -> None:
    """Groups that divide a benchmark have its number of samples together."""
    card = catalog.find_card(name)
    assert card.counted
    assert all(sum(groups.values()) == card.expected for groups in card.counted.values())
    assert {place for spec in specs(card) for place in spec.where.items()} <= {
        (tag, group) for tag, groups in card.counted.items() for group in groups
    }
