"""External answer files: how the rows of another toolkit are matched to our samples.

By one of the id-like columns the file has, or by position, row i of the dataset: whichever makes
the most rows carry the gold answer and question of their sample, for a column called `index` may
count what it likes. Nearly all must agree in the end; an order or a dataset that is not ours is an
error and never a score. How the rows were matched is told in notes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from pairuni_eval.errors import UserError
from pairuni_eval.responses.rows import MatchedResponses, Response
from pairuni_eval.responses.sample_index import IndexedSample, SampleIndex

_IMAGE_MARK = re.compile(r"<image \d+>")
ENOUGH = 0.9  # of the rows must agree; two answers in any order agree by chance on half


class ExternalRow(NamedTuple):
    """One row of another toolkit's file.

    Attributes:
        line: Line or sheet row, from 1.
        ids: Values of the id-like columns, by column.
        position: Number of the dataset's row, from 0.
        texts: What the model said, one per output; None where it said nothing.
        gold: The gold answer as the file has it.
        question: The question as the file has it.
    """

    line: int
    ids: Mapping[str, str]
    position: int
    texts: tuple[str | None, ...]
    gold: str | None = None
    question: str | None = None


class ExternalFile(NamedTuple):
    """The rows of another toolkit's file in order, and what is to be said about them."""

    rows: Sequence[ExternalRow]
    notes: tuple[str, ...] = ()


class _Matched(NamedTuple):
    row: ExternalRow
    entry: IndexedSample


class _Matching(NamedTuple):
    """One way to match the rows: those it matched, and whether each agrees where that shows."""

    how: str
    matched: Sequence[_Matched]
    checked: Sequence[tuple[_Matched, bool]]

    @property
    def agreeing(self) -> int:
        """Rows whose gold answer and question are those of their samples."""
        return sum(agrees for _, agrees in self.checked)


def match_rows(source: str, rows: Sequence[ExternalRow], index: SampleIndex) -> MatchedResponses:
    """Put another toolkit's rows under the keys of our samples.

    Raises:
        UserError: if no row can be matched, or what was matched is another order or dataset.
    """
    best = _best(source, rows, index)
    _refuse_disagreement(source, best)
    notes = [f"{len(best.matched)} of {len(rows)} rows matched {best.how}"]
    if best.checked:
        notes.append(f"{best.agreeing} of {len(best.checked)} agree with the dataset's own rows")
    else:
        notes.append("the file carries no gold answers or questions to check this by")
    if any(len(one.row.texts) > index.draws for one in best.matched):
        notes.append(f"rows hold several answers; the first {index.draws} of each counts")
    if empty := sum(not any(text is not None for text in one.row.texts) for one in best.matched):
        notes.append(f"Rows that hold no answer, whose samples are missing and not wrong: {empty}")
    answers = [response for one in best.matched for response in _responses(one, index.draws)]
    matched = index.match(source, answers)
    return MatchedResponses(matched.responses, (*notes, *matched.notes))


def _best(source: str, rows: Sequence[ExternalRow], index: SampleIndex) -> _Matching:
    """The way that makes the most rows agree, or match if nothing shows; ids before position."""
    columns = dict.fromkeys(column for row in rows for column in row.ids)
    ways = [_way(f"by '{column}'", _by_id(rows, index, column)) for column in columns]
    ways.append(_way("by position", _by_position(rows, index)))
    best = max(ways, key=lambda way: (way.agreeing, len(way.matched)))
    if not best.matched:
        last = max(rows, key=lambda row: row.position)
        raise UserError(
            f"{source}: none of its {len(rows)} rows is a sample of '{index.benchmark}' by id, "
            f"and row {last.line} has position {last.position} where the data has "
            f"{len(index.in_order(len(rows)))} rows.",
            hint="Give the data that the answers were made on with --data.",
        )
    return best


def _way(how: str, matched: Sequence[_Matched]) -> _Matching:
    checked = [(one, agrees) for one in matched if (agrees := _agrees(one)) is not None]
    return _Matching(how, matched, checked)


def _by_id(rows: Sequence[ExternalRow], index: SampleIndex, column: str) -> list[_Matched]:
    found = [(row, index.find(row.ids.get(column, ""))) for row in rows]
    return [_Matched(row, entry) for row, entry in found if entry is not None]


def _by_position(rows: Sequence[ExternalRow], index: SampleIndex) -> list[_Matched]:
    """Every row by its position; none if one lies outside, for then it is another dataset."""
    order = index.in_order(len(rows))
    if any(not 0 <= row.position < len(order) for row in rows):
        return []
    found = [(row, index.find(order[row.position])) for row in rows]
    return [_Matched(row, entry) for row, entry in found if entry is not None]


def _refuse_disagreement(source: str, best: _Matching) -> None:
    wrong = [one for one, agrees in best.checked if not agrees]
    if len(wrong) > (1 - ENOUGH) * len(best.checked):
        first = wrong[0]
        raise UserError(
            f"{source}: matched {best.how}, {len(wrong)} of {len(best.checked)} rows carry another "
            f"question or gold answer than our sample, the first in row {first.row.line} (sample "
            f"'{first.entry.key}'): it is another dataset or another order of it.",
            hint="Give the data that the answers were made on with --data, or rows of the form "
            "{id, text}.",
        )


def _agrees(one: _Matched) -> bool | None:
    """Whether gold answer and question are the sample's; None if there is nothing to compare."""
    row, entry = one
    evidence = []
    if row.gold is not None and entry.gold is not None:
        evidence.append(_plain(row.gold) == _plain(entry.gold))
    if row.question is not None:
        evidence.append(_plain(row.question) in _plain(entry.text))
    return all(evidence) if evidence else None


def _plain(text: str) -> str:
    """Letters and digits in lower case: toolkits differ in blanks, punctuation, image marks."""
    return " ".join(re.findall(r"\w+", _IMAGE_MARK.sub(" ", text.lower())))


def _responses(one: _Matched, draws: int) -> list[Response]:
    return [
        Response(id=one.entry.key, line=one.row.line, text=text, draw=draw)
        for draw, text in enumerate(one.row.texts[:draws])
    ]
