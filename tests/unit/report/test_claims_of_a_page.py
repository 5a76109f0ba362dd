"""What a page may not claim beyond its data: parts, siblings, missing outputs, copies, scope."""

from __future__ import annotations

import json
import random
from html import unescape
from pathlib import Path
from typing import Any

import msgspec
import pytest
from support import example_run as example

from pairuni_eval.cards import Card
from pairuni_eval.errors import UserError
from pairuni_eval.report.baseline_comparison import describe_comparison
from pairuni_eval.report.build import build_report
from pairuni_eval.report.seeds import Seeds
from pairuni_eval.stats.compare import Comparison, compare_page
from pairuni_eval.stats.tables import Tables
from pairuni_eval.store.read import StoredRun

pytestmark = pytest.mark.light

MMMU, MMSTAR, MME, POPE = (*example.choice_cards(48), *example.yes_no_cards(48))


def run(
    folder: Path, cards: list[Card], skill: float = 0.7, *, seed: int = 7, count: int = 48
) -> StoredRun:
    """A run of the folder's name; its answers are drawn from the seed, the skill and the name."""
    rows = {
        one.name: example.graded(one, count, skill, random.Random(f"{folder.name}/{one.name}"))
        for one in cards
    }
    example.store(folder, cards, rows, name=folder.name, seed=seed, with_images=False)
    return StoredRun(folder)


def compared(ours: list[StoredRun], theirs: list[StoredRun]) -> Comparison:
    sides = [tuple(map(Tables, side)) for side in (ours, theirs)]
    return compare_page(sides[0], {"ctl": sides[1]})["ctl"]


class Written:
    """The files of a report."""

    def __init__(self, out: Path) -> None:
        self.html = unescape((out / "report.html").read_text())
        self.markdown = unescape((out / "report.md").read_text()).replace("\\", "")
        self.latex = (out / "tables.tex").read_text()
        self.summary: dict[str, Any] = json.loads((out / "summary.json").read_text())


def written(
    out: Path, ours: StoredRun, baselines: dict[str, StoredRun], seeds: Seeds | None = None
) -> Written:
    build_report(ours, out, baselines, seeds=seeds or Seeds())
    return Written(out)


# Which runs lack a benchmark


def test_it_is_said_which_sibling_lacks_a_benchmark(tmp_path: Path) -> None:
    ours = [run(tmp_path / "a1", [MMMU, MME]), run(tmp_path / "a2", [MMMU])]
    ctl = [run(tmp_path / "c1", [MMMU, MME]), run(tmp_path / "c2", [MMMU, MME])]
    found = compared(ours, ctl)
    assert [one.sentence for one in found.refusals] == [
        "tiny-mme: a2 of our side was not measured on it"
    ]
    assert "; not compared on tiny-mme; " in describe_comparison("ctl", found)
    turned = compared(ctl, ours)
    assert [one.sentence for one in turned.refusals] == [
        "tiny-mme: a2 of the other side was not measured on it"
    ]
    seeds = Seeds(ours[1:], {"ctl": ctl[1:]})
    page = written(tmp_path / "out", ours[0], {"ctl": ctl[0]}, seeds)
    for text in (page.html, page.markdown, page.latex):
        assert "not compared: a2 of our side was not measured on it" in text
        assert "not in it" not in text
    assert "not compared on 1 benchmark; " in page.html


def test_what_the_baseline_lacks_is_not_in_it(tmp_path: Path) -> None:
    ours, other = run(tmp_path / "a", [MMMU, MME]), run(tmp_path / "c", [MMMU, POPE])
    page = written(tmp_path / "out", ours, {"c": other})
    assert "not in it" in page.html and "not in it" in page.markdown
    assert "not compared on 1 benchmark" in page.html  # POPE was not asked of ours


def test_why_what_both_have_is_not_compared_comes_first(tmp_path: Path) -> None:
    ours = run(tmp_path / "a", [MMMU, MMSTAR, MME, POPE])
    newer = msgspec.structs.replace(POPE, version="2")
    found = compared([ours], [run(tmp_path / "c", [newer])])
    assert describe_comparison("c", found).startswith(
        "Against c nothing can be compared: tiny-pope, 5 numbers: the benchmark's version is 1 in "
        "one run and 2 in another; tiny-mmmu: the other side was not measured on it; "
    )
    with pytest.raises(UserError, match="Nothing can be compared: tiny-pope, 5 numbers"):
        found.checked()
