"""Outputs that are all one and the same are said in the report, and nothing less certain is."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
from support import example_run as example

from pairuni_eval.records import Picture
from pairuni_eval.report.build import build_report
from pairuni_eval.stats.alike import Alike, alike
from pairuni_eval.stats.tables import Tables
from pairuni_eval.store.read import StoredRun

Replies = list[str | Picture | None]


def stored(folder: Path, name: str, replies: Replies, *, missing: int = 0) -> StoredRun:
    """A run of one benchmark whose outputs are these; the last `missing` ones are errors."""
    card = next(card for card in example.cards(len(replies)) if card.name == name)
    rows = [
        row._replace(reply=reply)
        for row, reply in zip(
            example.graded(card, len(replies), 0.5, random.Random(0)), replies, strict=True
        )
    ]
    for i in range(len(rows) - missing, len(rows)):
        rows[i] = rows[i]._replace(reply=None, error="the model failed", scores={})
    example.store(folder, [card], {name: rows})
    return StoredRun(folder)


RED, BLUE = example.picture("red", "circle"), example.picture("blue", "circle")


@pytest.mark.parametrize(
    ("name", "replies", "missing", "found"),
    [
        ("tiny-pope", ["Yes."] * 8, 0, Alike(8, "Yes.")),
        ("tiny-pope", ["Yes.", "Yes. "] * 4, 0, Alike(8, "Yes.")),
        ("tiny-pope", ["", " \n"] * 4, 0, Alike(8, "")),
        ("tiny-pope", ["Yes."] * 9 + ["No."] * 3, 3, Alike(9, "Yes.")),
        ("tiny-pope", ["Yes."] * 20 + ["No."], 0, None),
        ("tiny-pope", ["Yes."] * 7, 0, None),
        ("tiny-pope", ["Yes."] * 9, 2, None),
        ("tiny-geneval", [RED] * 8, 0, Alike(8, None)),
        ("tiny-geneval", [RED] * 11 + [BLUE], 0, None),
        ("tiny-geneval", [RED] * 8, 8, None),
    ],
)
def test_what_is_certain_is_found(
    tmp_path: Path, name: str, replies: Replies, missing: int, found: Alike | None
) -> None:
    assert alike(Tables(stored(tmp_path / "run", name, replies, missing=missing)), name) == found


def test_draws_of_one_sample_may_be_alike_by_chance(tmp_path: Path) -> None:
    """Eight outputs are enough only over two samples."""
    run = stored(tmp_path / "run", "tiny-pope", ["Yes."] * 8)
    tables = Tables(run)
    tables.outputs("tiny-pope")["sample"] = "one"
    assert alike(tables, "tiny-pope") is None


@pytest.mark.parametrize(
    ("name", "replies", "sentence"),
    [
        ("tiny-pope", ["Yes."] * 9, "All 9 answers are the same: 'Yes.'."),
        ("tiny-pope", [""] * 9, "All 9 answers are empty."),
        ("tiny-geneval", [RED] * 9, "All 9 pictures are one and the same."),
    ],
)
def test_the_report_says_it_near_the_top_and_in_the_section(
    tmp_path: Path, name: str, replies: Replies, sentence: str
) -> None:
    run = stored(tmp_path / "run", name, replies)
    out = build_report(run, tmp_path / "report", {}).parent
    page = (out / "report.html").read_text().replace("&#39;", "'")
    assert page.count(sentence) == 2
    assert page.index(sentence) < page.index('id="headlines"')
    plain = (out / "report.md").read_text().replace("\\", "")
    assert plain.index(sentence) < plain.index("## Headline results")
    summary = json.loads((out / "summary.json").read_text())
    assert summary["benchmarks"][name]["alike"] == sentence


def test_an_answer_is_escaped_and_cut(tmp_path: Path) -> None:
    run = stored(tmp_path / "run", "tiny-pope", [example.HOSTILE] * 9)
    page = build_report(run, tmp_path / "report", {}).read_text()
    assert "<script>alert(1)" not in page
    assert "characters)" in page


def test_outputs_that_differ_say_nothing(tmp_path: Path) -> None:
    few = example.one_of_each(12)
    run = StoredRun(example.write_run(tmp_path / "run", count=12, benchmarks=few))
    tables = Tables(run)
    assert [alike(tables, name) for name in run.card.benchmarks] == [None] * 3
    out = build_report(run, tmp_path / "report", {}).parent
    assert "one and the same" not in (out / "report.html").read_text()
