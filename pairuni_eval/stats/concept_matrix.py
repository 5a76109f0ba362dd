"""What a training taught of its concepts in one task, and what became of them in the other.

A tag of the samples names the concepts that an output is about, and a training set names those of
its questions and those of its drawings. Every output then belongs to one of four lines: its
concepts were taught by both, by questions alone, by drawings alone, or not at all; an output about
concepts of different lines stands in a fifth, and one that names none in a sixth. Each line is
compared before and after training, in every benchmark that has the tag, by the paired comparison of
every page.

    taught by    | asked about     | drawn
    questions    | what was taught | transfer
    drawings     | transfer        | what was taught
    not at all   | what any training does: the control of both

A move off the diagonal is a transfer from one task to the other only beyond what the line "not at
all" does in the same benchmark; the page says both and subtracts nothing.

All cells are corrected together, as the groups of a page are (`families`).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from pairuni_eval.errors import UserError
from pairuni_eval.records import Capability
from pairuni_eval.stats.aggregate import NO_GROUP, names_in
from pairuni_eval.stats.compare import TIE_MARGIN, compare_groups
from pairuni_eval.stats.difference import Difference, NotCompared
from pairuni_eval.stats.multiple import Multiplicity
from pairuni_eval.stats.tables import Tables
from pairuni_eval.store.read import StoredRun

TAUGHT = "taught"  # the tag of the line; its cells are the words of sentences
BOTH, QUESTIONS, DRAWINGS, NOT, SEVERAL, NAMELESS = LINES = (
    "concepts taught by both",
    "concepts taught by questions alone",
    "concepts taught by drawings alone",
    "concepts not taught",
    "concepts of several lines",
    "no concept",
)
_NAMELESS = frozenset({"none", NO_GROUP})  # how a cell says so
_TAG = "tag."


class Taught(NamedTuple):
    """The concepts of a training set, by the task that its halves teach them in."""

    questions: frozenset[str]
    drawings: frozenset[str]

    def line(self, concepts: Collection[str]) -> str:
        """The line of an output that is about these concepts."""
        found = {self._line(concept) for concept in concepts if concept not in _NAMELESS}
        if not found:
            return NAMELESS
        return found.pop() if len(found) == 1 else SEVERAL

    def _line(self, concept: str) -> str:
        asked, drawn = concept in self.questions, concept in self.drawings
        return BOTH if asked and drawn else QUESTIONS if asked else DRAWINGS if drawn else NOT


class TaughtTables(Tables):
    """A run's tables, with the line of every sample as a tag.

    Args:
        run: A finished run.
        taught: What training taught.
        tag: The tag that names the concepts of a sample.
    """

    def __init__(self, run: StoredRun, taught: Taught, tag: str) -> None:
        super().__init__(run)
        self._taught, self._tag = taught, f"{_TAG}{tag}"

    def samples(self, benchmark: str) -> pd.DataFrame:
        """As of any run; samples without the tag have no line."""
        frame = super().samples(benchmark)
        if self._tag not in frame:
            return frame
        codes, cells = pd.factorize(frame[self._tag].astype(object))
        lines = np.asarray([self._taught.line(names_in(cell)) for cell in cells], dtype=object)
        return frame.assign(**{f"{_TAG}{TAUGHT}": pd.Categorical(lines[codes])})

    def names_concepts(self, benchmark: str) -> bool:
        """Whether the samples of a benchmark have the tag."""
        return self._tag in self.samples(benchmark)


class ConceptCell(NamedTuple):
    """One line in one benchmark, after training against before.

    Attributes:
        drawn: Whether the benchmark draws; else it asks.
        transfer: Whether the line was taught in the other task alone.
        row: The comparison; its `group` is the line.
    """

    drawn: bool
    transfer: bool
    row: Difference


class ConceptMatrix(NamedTuple):
    """All cells, and what could not be compared."""

    cells: tuple[ConceptCell, ...]
    refusals: tuple[NotCompared, ...]
    family: Multiplicity

    @property
    def transfers(self) -> tuple[ConceptCell, ...]:
        """The cells off the diagonal."""
        return tuple(cell for cell in self.cells if cell.transfer)


def concept_matrix(
    after: Sequence[StoredRun],
    before: StoredRun,
    taught: Taught,
    *,
    tag: str = "concept",
    margin: float = TIE_MARGIN,
) -> ConceptMatrix:
    """Every line of every benchmark that has the tag, the checkpoint after training as ours.

    Args:
        after: The run of the trained checkpoint, or those of several training seeds.
        before: The run of the checkpoint that training began from.
        taught: What the training set names.
        tag: The tag that names the concepts of a sample; several are joined by commas.
        margin: What counts as no difference, as a share of each metric's range.

    Raises:
        UserError: if no benchmark that both runs have names concepts by the tag.
    """
    ours = tuple(TaughtTables(run, taught, tag) for run in after)
    theirs = TaughtTables(before, taught, tag)
    everyone = (*after, before)
    shared = [
        name
        for name in before.card.benchmarks
        if all(name in run.card.benchmarks for run in everyone)
    ]
    named = [name for name in shared if theirs.names_concepts(name)]
    if not named:
        raise UserError(
            f"None of the benchmarks that both runs have names its concepts by the tag '{tag}': "
            f"{', '.join(shared) or 'they have none in common'}.",
            hint=f"Give --tag one of {', '.join(_tags(theirs, shared)) or 'those of other runs'}.",
        )
    found = compare_groups(ours, (theirs,), named, TAUGHT, margin=margin)
    rows = sorted(found.groups, key=lambda row: (named.index(row.benchmark), _place(row)))
    return ConceptMatrix(tuple(_cell(theirs, row) for row in rows), found.refusals, found.family)


def _cell(run: Tables, row: Difference) -> ConceptCell:
    drawn = run.card(row.benchmark).capability is not Capability.UNDERSTAND
    return ConceptCell(drawn, row.group == (QUESTIONS if drawn else DRAWINGS), row)


def _place(row: Difference) -> int:
    return LINES.index(row.group) if row.group in LINES else len(LINES)


def _tags(run: Tables, benchmarks: Sequence[str]) -> list[str]:
    """The tags that any of these benchmarks has."""
    columns = {name for one in benchmarks for name in run.samples(one).columns}
    return sorted(name.removeprefix(_TAG) for name in columns if name.startswith(_TAG))
