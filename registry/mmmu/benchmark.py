"""MMMU's validation split from its parquet files: the authors' thirty, or lmms-lab's merged one.

Columns: id, question, options (a string that spells a list), answer, question_type,
topic_difficulty, subfield, image_1 to image_7. The request is the official text with each image
before the first `<image n>` that names it; images that nothing names are left out, for in a few
rows (Pharmacy_4, Pharmacy_22) they give the answer away. The authors' own run showed its model the
first image alone.

A row that cannot be asked as it stands (options that spell no list, a gold letter that is none of
them) is asked as far as it goes and marked as missing under every protocol, with the reason.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
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
from pairuni_eval.api.prompts import LETTERS, mmmu_parts, mmmu_prompt
from pairuni_eval.api.scorers import (
    MMMU_DISCIPLINES,
    choice_letters,
    mmmu_marks,
    mmmu_reference,
    mmmu_subject,
    spelled_list,
    vlmevalkit_question,
)

_TEXT_COLUMNS = (
    "id",
    "question",
    "options",
    "answer",
    "question_type",
    "topic_difficulty",
    "subfield",
)
_IMAGE_COLUMNS = tuple(f"image_{number}" for number in range(1, 8))
_CHOICE = "multiple-choice"
_DISCIPLINE_OF = {
    subject: discipline for discipline, held in MMMU_DISCIPLINES.items() for subject in held
}


class MMMU(Benchmark):
    """See the module docstring."""

    def samples(self, data: Data) -> Iterator[Item]:
        """One sample a row."""
        for row in data.parquet_rows([*_TEXT_COLUMNS, *_IMAGE_COLUMNS]):
            yield self._item(data, row)

    def _item(self, data: Data, row: Row) -> Item:
        reference = _reference(row)
        prompt = mmmu_prompt(row.text("question"), reference["options"])
        return self.item(
            key=row.text("id"),
            parts=tuple(
                part if isinstance(part, str) else data.picture_of(row, f"image_{part}")
                for part in mmmu_parts(prompt)
            ),
            reference=reference,
            tags=_tags(row) | {"question_type": reference["type"]},
        )

    def mark(self, answer: Answer, *, protocol: str, judge: Judge | None) -> list[MetricValue]:
        """`correct` and, but for `vlmevalkit`, `guessed` of the answer."""
        sample = answer.sample
        broken = sample.reference.get("broken")
        if broken is None:
            return mmmu_marks(answer.text, sample.reference, sample.uid, protocol)
        draws = protocol in ("official", "lmms-eval")
        metrics = ("correct", "guessed") if draws else ("correct",)
        return [MetricValue(name, None, Status.MISSING_OUTPUT, broken) for name in metrics]

    def option_letters(self, sample: Sample) -> Collection[str]:
        """Those of a multiple-choice question."""
        return choice_letters(sample.reference)

    def reward_reference(
        self, request: str, answer: str | None, facts: Mapping[str, Any]
    ) -> dict[str, Any] | None:
        """Options are read back from the question; without any it is an open one."""
        return mmmu_reference(request, answer or "")

    def gold(self, sample: Sample) -> str | None:
        """The gold letter or value; None where `vlmevalkit` takes no answer for right."""
        reference = sample.reference
        if "broken" in reference:
            return None
        asked = vlmevalkit_question(reference["answer"], reference["options"])
        return str(reference["answer"]) if asked.gold in asked.options else None


def _reference(row: Mapping[str, Any]) -> dict[str, Any]:
    """What the scorer needs: `type`, `answer`, `options`; `broken` if it cannot grade the row."""
    kind = _CHOICE if row["question_type"] == _CHOICE else "open"
    answer = "" if row["answer"] is None else str(row["answer"])
    options = _options(row["options"]) if kind == _CHOICE else []
    broken = _flaw(answer, options) if kind == _CHOICE else None
    if not answer.strip():
        broken = "the row has no gold answer"
    if broken is not None:
        return {"type": kind, "answer": answer, "options": [], "broken": broken}
    return {"type": kind, "answer": answer, "options": options}


def _flaw(answer: str, options: list[str] | None) -> str | None:
    """Why a multiple-choice row cannot be graded, or None."""
    if not options:
        return "the row's options are not a list of options"
    if len(options) > len(LETTERS):
        return f"the row has more options than there are letters: {len(options)}"
    if answer not in tuple(LETTERS[: len(options)]):
        return "the row's gold answer is none of its options"
    return None


def _options(cell: Any) -> list[str] | None:
    """The options of a row, whether the file spells the list or holds one."""
    if isinstance(cell, list):
        return [str(option) for option in cell]
    return spelled_list(cell) if isinstance(cell, str) else None


def _tags(row: Mapping[str, Any]) -> dict[str, str]:
    subject = mmmu_subject(str(row["id"]))
    if subject not in _DISCIPLINE_OF:
        raise UserError(
            f"MMMU: the id '{row['id']}' names no subject of MMMU; ids read validation_Art_1.",
            hint="Use the files of the dataset as published.",
        )
    return {
        "subject": subject,
        "discipline": _DISCIPLINE_OF[subject],
        "difficulty": str(row["topic_difficulty"]),
        "subfield": str(row["subfield"]),
    }
