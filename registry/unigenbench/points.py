"""What all lists of UniGenBench++ share: a row a prompt, its test points, a question a picture.

Files: a csv of {index, prompt_LANG, sub_dims_LANG}, the last one JSON with the names of the points
and what each is in the prompt. See `scorers/point_verdicts.py` for the rules and
`stats/pooled_points.py` for the numbers. Chinese points stand under their English names in tags, so
that the dimensions of all lists are called the same; the judge reads the Chinese ones.
Departures: a comma that is missing between two texts of the JSON is put in, as in row 509 of the
long English list, at which the official script ends; a picture is handed over as PNG; one that is
missing lowers the coverage, where the official script ends.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar, NamedTuple

from pairuni_eval.api import (
    Answer,
    Benchmark,
    Data,
    Item,
    Judge,
    MetricValue,
    Question,
    Row,
    UserError,
)
from pairuni_eval.api.scorers import (
    MOST_POINTS,
    POINT_RULES,
    NotAsked,
    check_complete,
    consult_until_read,
    point_marks,
    point_tags,
    question_about,
)

from .judge_prompts import ENGLISH_NAMES, Language

_TRIES = 11
_COMMA_LOST = re.compile(r'(?<=[^\\:,\[{\s])"(\s+)"(?=[^:,\]}\s])')


class Points(NamedTuple):
    """The test points of a prompt: their names, and what each is in it."""

    names: list[str]
    descriptions: list[str]


class PointBenchmark(Benchmark):
    """Base of every list.

    Attributes:
        language: The columns that are read, and what the judge is asked.
    """

    language: ClassVar[Language]

    def samples(self, data: Data) -> Iterator[Item]:
        """One sample a row, in the order of the file; the key is its index.

        Raises:
            UserError: for a row of another form, an index that is repeated, or a file that is
                complete and not the official one.
        """
        rows = list(data.table_rows(("index", self.language.prompt, self.language.facts)))
        if len(rows) == self.card.expected:
            place = f"{self.card.homepage}/tree/{self.card.data.revision}"
            check_complete(data.files(), self.card.data.published, revision=place)
        known: set[str] = set()
        for row in rows:
            key = _index(row)
            if key in known:
                raise UserError(
                    f"{row.file}, line {row.number}: index {key} occurs twice.",
                    hint="Use the file of the dataset as published.",
                )
            known.add(key)
            yield self._item(row, key)

    def score(
        self, answers: Sequence[Answer], *, protocol: str, judge: Judge | None
    ) -> Iterator[list[MetricValue]]:
        """All questions at once, and up to ten times more those whose reply cannot be read."""
        read = POINT_RULES[protocol]
        names = [answer.sample.reference["points"] for answer in answers]
        asked = [
            (self._question(answer), lambda reply, points=points: read(reply, points) is not None)
            for answer, points in zip(answers, names, strict=True)
        ]
        replies = consult_until_read(judge, asked, tries=_TRIES)
        for reply, points in zip(replies, names, strict=True):
            yield point_marks(reply, points, protocol)

    def _item(self, row: Row, key: str) -> Item:
        prompt, points = row[self.language.prompt], _points(row, self.language)
        names = [ENGLISH_NAMES.get(name, name) for name in points.names]
        return self.item(
            key=key,
            parts=(prompt,),
            reference={"points": points.names, "descriptions": points.descriptions},
            tags=point_tags("primary", [name.partition(" - ")[0] for name in names])
            | point_tags("point", names),
        )

    def _question(self, answer: Answer) -> Question | NotAsked:
        facts = answer.sample.reference
        text = self.language.question(answer.sample.text, facts["points"], facts["descriptions"])
        return question_about(answer, text, lambda one: (one.image,))


def _index(row: Row) -> str:
    try:
        return str(int(row["index"]))
    except ValueError as failure:
        raise UserError(
            f"{row.file}, line {row.number}: index is {row['index']!r}, not a whole number."
        ) from failure


def _points(row: Row, language: Language) -> Points:
    """The points of a row.

    Raises:
        UserError: naming the file, the line and what is wrong.
    """
    place = f"{row.file}, line {row.number}, {language.facts}"
    facts = _facts(row[language.facts])
    if not isinstance(facts, dict):
        raise UserError(f"{place}: not a JSON object.")
    names, descriptions = facts.get(language.points), facts.get(language.descriptions)
    for key, listed in ((language.points, names), (language.descriptions, descriptions)):
        if not isinstance(listed, list) or not all(isinstance(one, str) for one in listed):
            raise UserError(f"{place}: '{key}' must be a list of texts.")
    points = Points(names or [], descriptions or [])
    if not 1 <= len(points.names) <= min(MOST_POINTS, len(points.descriptions)):
        raise UserError(
            f"{place}: {len(points.names)} test points with {len(points.descriptions)} "
            f"descriptions; there must be 1 to {MOST_POINTS}, each with its own."
        )
    unknown = [name for name in points.names if name not in language.explanations]
    if unknown:
        raise UserError(
            f"{place}: no test point is called '{unknown[0]}'.",
            hint=f"They are: {', '.join(language.explanations)}.",
        )
    return points


def _facts(text: str) -> Any:
    """What a cell says; None if it is no JSON even with lost commas put in."""
    for attempt in (text, _COMMA_LOST.sub(r'",\1"', text)):
        try:
            return json.loads(attempt)
        except ValueError:
            continue
    return None
