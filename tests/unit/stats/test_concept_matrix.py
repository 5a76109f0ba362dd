"""What was taught in one task, measured in the other."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.concept_runs import CONCEPTS, EACH, written

from pairuni_eval.errors import UserError
from pairuni_eval.stats.concept_matrix import DRAWINGS, LINES, QUESTIONS, Taught, concept_matrix
from pairuni_eval.stats.verdict import Word
from pairuni_eval.store.partial_run import open_run

TAUGHT = Taught(questions=frozenset({"wug", "dax"}), drawings=frozenset({"dax", "zib"}))


@pytest.mark.parametrize(("cell", "line"), CONCEPTS.items())
def test_the_line_of_a_sample(cell: str, line: str) -> None:
    assert TAUGHT.line(cell.split(",")) == line


def test_a_transfer_is_what_rose_off_the_diagonal(tmp_path: Path) -> None:
    before = written(tmp_path / "before", {})
    after = written(
        tmp_path / "after",
        {
            ("asks", "wug"): True,  # as taught
            ("draws", "wug"): True,  # from questions to drawings
            ("asks", "zib"): False,  # what drawings cost the questions
        },
    )
    found = concept_matrix([open_run(after)], open_run(before), TAUGHT)
    assert [(cell.row.benchmark, cell.row.group) for cell in found.cells] == [
        (name, line) for name in ("asks", "draws") for line in LINES
    ]
    words = {(cell.row.benchmark, cell.row.group): cell.row.word for cell in found.cells}
    assert words["asks", QUESTIONS] is Word.BETTER
    assert words["draws", QUESTIONS] is Word.BETTER
    assert words["asks", DRAWINGS] is Word.WORSE
    others = {place: word for place, word in words.items() if place not in _told()}
    assert set(others.values()) <= {Word.TIED, Word.CANNOT_TELL}
    assert [(cell.row.benchmark, cell.row.group) for cell in found.transfers] == [
        ("asks", DRAWINGS),
        ("draws", QUESTIONS),
    ]
    row = found.transfers[1].row
    assert (row.theirs, row.ours, row.shared) == (0.5, 1.0, EACH)
    assert row.sentence is not None and QUESTIONS in row.sentence
    assert len(found.cells) == 12 and found.family.tests == 12


def _told() -> set[tuple[str, str]]:
    return {("asks", QUESTIONS), ("draws", QUESTIONS), ("asks", DRAWINGS)}


def test_a_run_without_the_tag_names_those_that_there_are(tmp_path: Path) -> None:
    after, before = (
        open_run(written(tmp_path / name, {}, tag="thing")) for name in ("after", "before")
    )
    with pytest.raises(UserError, match="names its concepts by the tag 'concept'") as refused:
        concept_matrix([after], before, TAUGHT)
    assert "--tag one of" in refused.value.hint and "thing" in refused.value.hint
    assert concept_matrix([after], before, TAUGHT, tag="thing").cells
