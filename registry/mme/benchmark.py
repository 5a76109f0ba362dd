"""MME from its parquet files: two yes/no questions about each of 1187 images, in fourteen tasks.

Columns: question_id (the image's, e.g. `code_reasoning/0020.png`), image, question, answer,
category. The official tool takes consecutive lines for a pair, here a pair is what shares
category and question_id: the same in the published order, and right in any other. The two questions
of an image come one after the other whatever the files' order, so that --limit keeps pairs whole.

An image without exactly two questions, or a gold answer that is neither yes nor no, marks its rows
as missing with the reason: lmms-eval stops there, and the official tool as well.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from pairuni_eval.api import (
    Answer,
    Benchmark,
    Data,
    Item,
    Judge,
    MetricValue,
    Row,
    Sample,
    Status,
    UserError,
)
from pairuni_eval.api.prompts import mme_prompt
from pairuni_eval.api.scorers import MME_COGNITION, MME_PERCEPTION, mme_marks, yes_no_reference

_TEXT_COLUMNS = ("question_id", "question", "answer", "category")
_TASKS = (*MME_PERCEPTION, *MME_COGNITION)


class MME(Benchmark):
    """See the module docstring."""

    def samples(self, data: Data) -> Iterator[Item]:
        """The questions image by image, in the order in which an image is complete."""
        counts = _count(data)
        waiting: dict[str, list[Row]] = {}
        for row in data.parquet_rows([*_TEXT_COLUMNS, "image"]):
            image = _image(row)
            rows = [*waiting.pop(image, []), row]
            if len(rows) < counts[image]:
                waiting[image] = rows
                continue
            for name, one in zip(_keys(rows), rows, strict=True):
                yield self._item(data, one, name, len(rows))

    def _item(self, data: Data, row: Row, key: str, rows: int) -> Item:
        answer = _label(row)
        broken = _flaw(row, rows)
        return self.item(
            key=key,
            parts=(data.picture_of(row, "image"), mme_prompt(row.text("question"))),
            reference={"answer": answer} | ({"broken": broken} if broken else {}),
            unit=_image(row),
            tags={
                "category": row["category"],
                "area": "perception" if row["category"] in MME_PERCEPTION else "cognition",
                "label": answer,
            },
        )

    def mark(self, answer: Answer, *, protocol: str, judge: Judge | None) -> list[MetricValue]:
        """`correct` of the answer."""
        reference = answer.sample.reference
        if "broken" in reference:
            return [MetricValue("correct", None, Status.MISSING_OUTPUT, reference["broken"])]
        return mme_marks(answer.text, reference["answer"], protocol)

    def reward_reference(
        self, request: str, answer: str | None, facts: Mapping[str, Any]
    ) -> dict[str, Any] | None:
        """A question whose right answer is yes or no."""
        return yes_no_reference(answer or "")

    def gold(self, sample: Sample) -> str | None:
        """The gold word."""
        return None if "broken" in sample.reference else str(sample.reference["answer"])

    def rows(self, data: Data) -> Iterator[str]:
        """All rows in the files' order."""
        seen: Counter[str] = Counter()
        for row in data.parquet_rows(_TEXT_COLUMNS):
            yield _key(row, seen)


def _image(row: Row) -> str:
    """The image by its task and name, which in the published files begins with the task."""
    task, name = row.text("category"), row.text("question_id")
    return name if name.startswith(f"{task}/") else f"{task}/{name}"


def _label(row: Row) -> str:
    return str(row["answer"]).strip().lower()


def _key(row: Row, seen: Counter[str]) -> str:
    """IMAGE:ANSWER, for an image has one question of each; a number tells further ones apart."""
    name = f"{_image(row)}:{_label(row)}"
    seen[name] += 1
    return name if seen[name] == 1 else f"{name}:{seen[name]}"


def _keys(rows: list[Row]) -> list[str]:
    seen: Counter[str] = Counter()
    return [_key(row, seen) for row in rows]


def _count(data: Data) -> Counter[str]:
    """The questions of every image; reads no image.

    Raises:
        UserError: for a category that is not a task of MME.
    """
    counts: Counter[str] = Counter()
    for row in data.parquet_rows(_TEXT_COLUMNS):
        if row["category"] not in _TASKS:
            raise UserError(
                f"MME: the category '{row['category']}' of '{row['question_id']}' is none of its "
                f"tasks ({', '.join(_TASKS)}).",
                hint="Use the files of the dataset as published.",
            )
        counts[_image(row)] += 1
    return counts


def _flaw(row: Row, rows: int) -> str | None:
    """Why a row cannot be graded, or None."""
    if rows != 2:
        return f"the image has {rows} question{'s' * (rows != 1)} in the data, MME asks two"
    if _label(row) not in ("yes", "no"):
        return "the row's gold answer is neither yes nor no"
    return None
