"""What both languages of GEdit-Bench share: rows of the same parquet files, two questions an edit.

Columns: task_type, key, instruction, instruction_language, input_image, input_image_raw,
Intersection_exist. The model edits `input_image`, the picture that the judge sees as the source;
upstream's example hands the model `input_image_raw`, scaled to about 512 x 512. The edited picture
is scaled to the source's size before it is judged. See `scorers/viescore.py` for the rules.
Departure: pictures go to the judge as PNG, upstream's client sends JPEG.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, ClassVar

from pairuni_eval.api import Answer, Benchmark, Data, Item, Judge, MetricValue, UserError
from pairuni_eval.api.scorers import (
    METRICS,
    EditQuestions,
    NotAsked,
    ask_edits,
    edit_marks,
    marks_without_score,
    question_about,
)

from . import judge_prompts

if TYPE_CHECKING:
    from PIL import Image

_COLUMNS = (
    "task_type",
    "key",
    "instruction",
    "instruction_language",
    "input_image",
    "Intersection_exist",
)


class GEditBenchmark(Benchmark):
    """Base of both languages.

    Attributes:
        language: The value of `instruction_language` whose rows are read.
    """

    language: ClassVar[str]

    def samples(self, data: Data) -> Iterator[Item]:
        """One sample a row of the language, in the order of the files.

        Raises:
            UserError: if there are rows, but none of the language.
        """
        others: dict[str, None] = {}
        found = False
        for row in data.parquet_rows(_COLUMNS):
            if row["instruction_language"] != self.language:
                others[str(row["instruction_language"])] = None
                continue
            found = True
            task = row.text("task_type")
            yield self.item(
                key=row.text("key"),
                parts=(data.picture_of(row, "input_image"), row.text("instruction")),
                reference={"task_type": task},
                tags={
                    "task_type": task,
                    "intersection": "yes" if row["Intersection_exist"] else "no",
                },
            )

        if others and not found:
            files = ", ".join(str(path) for path in data.files()[:3])
            raise UserError(
                f"{files}: the files hold the languages {', '.join(sorted(others))}, not "
                f"{self.language} (column instruction_language).",
                hint="Use the files of the dataset as published: they hold en and cn.",
            )

    def score(
        self, answers: Sequence[Answer], *, protocol: str, judge: Judge | None
    ) -> Iterator[list[MetricValue]]:
        """Both questions about all edits at once, and again both where one cannot be read."""
        failure_counts = 0.0 if protocol == "lmms-eval" else None
        asked = [_questions(answer) for answer in answers]
        edits = iter(ask_edits(judge, [one for one in asked if isinstance(one, EditQuestions)]))
        for one in asked:
            if isinstance(one, EditQuestions):
                yield edit_marks(next(edits), failure_counts=failure_counts)
            else:
                yield marks_without_score(METRICS, one.reply)


def _questions(answer: Answer) -> EditQuestions | NotAsked:
    """The question about source and edit, and the one about the edit alone."""
    first = question_about(answer, judge_prompts.semantics(answer.sample.text), _pictures)
    if isinstance(first, NotAsked):
        return first
    return EditQuestions(
        first, first._replace(prompt=judge_prompts.QUALITY, images=first.images[1:])
    )


def _pictures(answer: Answer) -> tuple[Image.Image, Image.Image]:
    """Source and edited picture, the latter scaled as upstream does (Pillow's default filter)."""
    source, edited = answer.source_images[0], answer.image
    return source, edited.resize(source.size)
