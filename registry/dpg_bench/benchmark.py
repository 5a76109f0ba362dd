"""DPG-Bench: questions about every picture of a long prompt. See `scorers/dependent_questions.py`.

File: dpg_bench.csv, a row a question: {item_id, text, proposition_id, dependency, tuple,
question_natural_language} and columns that are not read; prompts/ITEM.txt beside it holds what is
drawn, else `text` does. mPLUG is looked for when one of its protocols is first graded; without it
their rows are skipped, with the reason.
Departures: a picture that is missing lowers the coverage, where the official script leaves the
prompt out, and a picture without an answer to each question has no score.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pairuni_eval.api import (
    Answer,
    Benchmark,
    BoundaryError,
    Card,
    Data,
    DatasetError,
    Equipment,
    Item,
    Judge,
    JudgeError,
    JudgeReply,
    MetricValue,
    Question,
    Row,
    Status,
    UserError,
    boundary,
)
from pairuni_eval.api.scorers import (
    DPG_METRICS,
    NotAsked,
    Proposition,
    broad_category_of,
    dpg_marks,
    marks_without_score,
    official_propositions,
    point_tags,
    question_about,
    repaired_propositions,
    replies_about,
    said_yes_or_no,
)

if TYPE_CHECKING:
    from pairuni_eval.api.grading_models import MPlug

_COLUMNS = (
    "item_id",
    "text",
    "proposition_id",
    "dependency",
    "tuple",
    "question_natural_language",
)
_BLOB = "98457fc9901943f51ff9a30367250fc292533bed"  # of the official csv, as git names it
_ID = re.compile(r"[\w.-]+", re.ASCII)
_REQUEST = "Answer with one word, yes or no."
_TRIES = 3
_READERS = ("official", "repaired")  # the protocols that ask mPLUG

Listed = dict[int, Proposition]


class DpgBench(Benchmark):
    """See the module docstring."""

    def __init__(self, card: Card, folder: Path) -> None:
        super().__init__(card, folder)
        self._equipment: Equipment | None = None
        self._mplug: MPlug | UserError | None = None

    def samples(self, data: Data) -> Iterator[Item]:
        """One sample an item, in the order of the file.

        Raises:
            UserError: for a row of another form, or a file that is complete and not the official
                one.
        """
        rows = list(data.table_rows(_COLUMNS))
        for row in rows:
            _check(row)
        official, repaired = official_propositions(rows), repaired_propositions(rows)
        first = {row["item_id"]: row for row in reversed(rows)}
        if len(repaired) == self.card.expected:
            _check_blob(data.files(), self.card)
        for item, listed in repaired.items():
            yield self._item(item, first[item], official.get(item, {}), listed)

    def equip(self, data: Data, *, device: str) -> None:
        """Remember where weights are; mPLUG is loaded when it is first asked."""
        self._equipment, self._mplug = Equipment(data, device), None

    def score(
        self, answers: Sequence[Answer], *, protocol: str, judge: Judge | None
    ) -> Iterator[list[MetricValue]]:
        """`score`, and how many questions of each broad category are right."""
        listed = [_propositions(answer, protocol) for answer in answers]
        replies = (
            (self._by_mplug(answer, one) for answer, one in zip(answers, listed, strict=True))
            if protocol in _READERS
            else _by_judge(judge, answers, listed)
        )
        for one, said in zip(listed, replies, strict=True):
            if isinstance(said, JudgeReply):
                yield marks_without_score(DPG_METRICS, said)
            else:
                yield dpg_marks(said, one, protocol)

    def _item(self, item: str, first: Row, official: Listed, repaired: Listed) -> Item:
        beside = first.file.parent / "prompts" / f"{item}.txt"
        prompt = beside.read_text(encoding="utf-8").strip() if beside.is_file() else first["text"]
        return self.item(
            key=item,
            parts=(prompt,),
            reference={"official": _stored(official), "repaired": _stored(repaired)},
            tags=point_tags("official_categories", map(broad_category_of, official.values()))
            | point_tags("categories", map(broad_category_of, repaired.values())),
        )

    def _by_mplug(self, answer: Answer, listed: Listed) -> dict[int, JudgeReply] | JudgeReply:
        """MPLUG's answers about a picture, or why there are none."""
        model = self._loaded()
        if isinstance(model, UserError):
            reason = " ".join(filter(None, ("no mPLUG:", model.message, model.hint)))
            return JudgeReply(" ".join(reason.split()), Status.SKIPPED)
        name = self.card.weights["mplug"].summary.partition(":")[0]
        try:
            picture = answer.image
            with boundary(JudgeError):
                return {
                    number: JudgeReply(model.answer(picture, one.question), judge=name)
                    for number, one in listed.items()
                }
        except DatasetError as failure:
            return JudgeReply(str(failure), Status.MISSING_OUTPUT)
        except BoundaryError as failure:
            return JudgeReply(str(failure), Status.JUDGE_FAILED, name)

    def _loaded(self) -> MPlug | UserError:
        if self._mplug is None:
            self._mplug = self._load()
        return self._mplug

    def _load(self) -> MPlug | UserError:
        if self._equipment is None:
            return UserError("no weights were looked for.")
        try:
            (configuration,) = self._equipment.data.weights("mplug")[:1]
            from pairuni_eval.api.grading_models import MPlug

            return MPlug.load(configuration.parent, device=self._equipment.device)
        except UserError as failure:
            return failure


def _by_judge(
    judge: Judge | None, answers: Sequence[Answer], listed: Sequence[Listed]
) -> Iterator[dict[int, JudgeReply] | JudgeReply]:
    """A judge's answers about each picture, all asked together."""
    asked: list[list[Question | NotAsked]] = []
    for answer, one in zip(answers, listed, strict=True):
        shown = question_about(answer, "", lambda it: (it.image,))
        asked.append(
            [
                shown
                if isinstance(shown, NotAsked)
                else shown._replace(prompt=f"{each.question} {_REQUEST}")
                for each in one.values()
            ]
        )
    every = [question for one in asked for question in one]
    replies = iter(replies_about(judge, every, _readable, tries=_TRIES))
    for one in listed:
        found = {number: next(replies) for number in one}
        yield next((it for it in found.values() if not _is_answer(it)), found)


def _is_answer(reply: JudgeReply) -> bool:
    """Whether a judge answered; where one question has no answer the picture has no score."""
    return reply.status is Status.SCORED and _readable(reply.said)


def _readable(said: str) -> bool:
    return said_yes_or_no(said) is not None


def _propositions(answer: Answer, protocol: str) -> Listed:
    """The propositions of an item under a protocol, as they were stored."""
    stored = answer.sample.reference["official" if protocol == "official" else "repaired"]
    return {
        number: Proposition(about, tuple(parents), question)
        for number, about, parents, question in stored
    }


def _stored(listed: Mapping[int, Proposition]) -> list[list[Any]]:
    return [[n, one.about, list(one.parents), one.question] for n, one in listed.items()]


def _check(row: Row) -> None:
    """Raise a UserError for a row that is no question, naming file, line and column."""
    place = f"{row.file}, line {row.number}"
    if not _ID.fullmatch(row["item_id"]):
        raise UserError(f"{place}: item_id is {row['item_id']!r}, not letters, digits, '.', '-'.")
    numbers = [row["proposition_id"], *row["dependency"].split(",")]
    for text in numbers:
        if not text.strip().isdecimal():
            raise UserError(
                f"{place}: '{text}' in proposition_id or dependency is not a whole number.",
                hint="Use the file of the dataset as published.",
            )


def _check_blob(paths: Sequence[Path], card: Card) -> None:
    """Raise a UserError if a complete file is not the official one."""
    for path in paths:
        content = path.read_bytes()
        head = f"blob {len(content)}\0".encode()
        found = hashlib.sha1(head + content, usedforsecurity=False).hexdigest()
        if found != _BLOB:
            raise UserError(
                f"{path}: as many items as the official data, but git names it {found[:12]}, not "
                f"{_BLOB[:12]}: this is another version of the file.",
                hint=f"Get it at {card.homepage}/tree/{card.data.revision}.",
            )
