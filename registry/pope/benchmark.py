"""POPE from its parquet files: the default `test` file or the three splits of `Full`.

Of the 9000 rows only 5127 are different questions about an image; each is asked once and counts in
every split that holds it (tag `split`), so all figures are those of the 9000 rows.
Columns: question_id, question, answer, image_source, image, category.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from pairuni_eval.api import (
    Answer,
    Benchmark,
    Data,
    Item,
    Judge,
    MetricValue,
    Row,
    Sample,
    UserError,
)
from pairuni_eval.api.prompts import pope_prompt
from pairuni_eval.api.scorers import pope_marks, yes_no_reference

_TEXT_COLUMNS = ("question_id", "question", "answer", "image_source", "category")


class _Asked(NamedTuple):
    """One question about one image: its gold answer and the rows that hold it, by split."""

    answer: str
    rows: dict[str, str]


class Pope(Benchmark):
    """See the module docstring."""

    def samples(self, data: Data) -> Iterator[Item]:
        """Each different question once, in the order of its first row."""
        asked = _collect(data)
        for row in data.parquet_rows([*_TEXT_COLUMNS, "image"]):
            question = asked.pop(_key(row), None)
            if question is not None:
                yield self._item(data, row, question)

    def _item(self, data: Data, row: Row, asked: _Asked) -> Item:
        splits = sorted(asked.rows)
        return self.item(
            key=",".join(f"{split}/{asked.rows[split]}" for split in splits),
            parts=(data.picture_of(row, "image"), pope_prompt(row.text("question"))),
            reference={"answer": asked.answer},
            unit=row.text("image_source"),
            tags={"split": ",".join(splits), "label": asked.answer},
        )

    def mark(self, answer: Answer, *, protocol: str, judge: Judge | None) -> list[MetricValue]:
        """`correct` and `said_yes` of the answer."""
        return pope_marks(answer.text, answer.sample.reference["answer"], protocol)

    def reward_reference(
        self, request: str, answer: str | None, facts: Mapping[str, Any]
    ) -> dict[str, Any] | None:
        """A question whose right answer is yes or no."""
        return yes_no_reference(answer or "")

    def gold(self, sample: Sample) -> str:
        """The gold word."""
        return str(sample.reference["answer"])

    def aliases(self, sample: Sample) -> tuple[str, ...]:
        """The key, each row's own id as SPLIT/QUESTION_ID, and QUESTION_ID where that is enough."""
        rows = sample.key.split(",")
        return (sample.key, *rows, *(row.partition("/")[2] for row in rows))

    def rows(self, data: Data) -> Iterator[str]:
        """All 9000 rows in the files' order."""
        for row in data.parquet_rows(("category", "question_id")):
            yield f"{_split(row)}/{row['question_id']}"


def _key(row: Row) -> tuple[str, str]:
    return row.text("image_source"), row.text("question")


def _split(row: Row) -> str:
    return str(row["category"]).strip().lower()


def _collect(data: Data) -> dict[tuple[str, str], _Asked]:
    """All questions with the splits that hold them; reads no image.

    Raises:
        UserError: if two rows give different answers to one question.
    """
    found: dict[tuple[str, str], _Asked] = {}
    for row in data.parquet_rows(_TEXT_COLUMNS):
        answer = str(row["answer"]).strip().lower()
        asked = found.setdefault(_key(row), _Asked(answer, {}))
        if asked.answer != answer:
            raise UserError(
                f"POPE: the rows of image '{row['image_source']}' answer "
                f"'{row['question']}' with both '{asked.answer}' and '{answer}'.",
                hint="Use the files of the dataset as published.",
            )
        asked.rows[_split(row)] = str(row["question_id"])
    return found
