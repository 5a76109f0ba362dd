"""Asking a judge about many answers at once, and again about those whose reply cannot be read.

In go answers and what makes the question of one, out comes one ruling per answer, in order. What
cannot be asked at all (there is no judge prompt, a picture is broken) is a ruling too, with its own
status and nobody's snapshot, so that a rubric has one kind of input. As in the official scripts a
failed call is one of the tries, and what is still unreadable after the last one stays so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from pairuni_eval.benchmark import Answer, Mark
from pairuni_eval.errors import DatasetError
from pairuni_eval.judges.judge import Judge, Question, Ruling, Verdict, consult_all
from pairuni_eval.records import UNREADABLE_REPLY, Status

if TYPE_CHECKING:
    from PIL import Image


class Unasked(NamedTuple):
    """Why there is no question about an answer."""

    status: Status
    reason: str


def question_about(
    answer: Answer, prompt: str, pictures: Callable[[Answer], tuple[Image.Image, ...]]
) -> Question | Unasked:
    """The question about an answer, or that a picture it needs is missing or broken.

    Args:
        answer: What is judged; programmatic judges are told its sample's key.
        prompt: What the judge reads.
        pictures: Loads what it sees, in order.
    """
    try:
        seen = pictures(answer)
    except DatasetError as failure:
        return Unasked(Status.MISSING_OUTPUT, str(failure))
    return Question(prompt, seen, {"key": answer.sample.key})


def ask_until_read(
    judge: Judge | None,
    questions: Sequence[Question],
    readable: Callable[[str], bool],
    *,
    tries: int,
) -> list[Ruling]:
    """Ask everything, then again what failed or cannot be read, until `tries` are used up.

    Args:
        judge: None gives the status `skipped`, once.
        questions: Asked together, so that a judge can have several under way.
        readable: Whether the rubric can use a reply.
        tries: How often one question is asked at most, at least 1.
    """
    if not questions:
        return []
    rulings = consult_all(judge, questions)
    for attempt in range(1, tries):
        again = [i for i, ruling in enumerate(rulings) if _is_owed(ruling.verdict, readable)]
        if not again:
            break
        fresh = consult_all(judge, [questions[i]._replace(attempt=attempt) for i in again])
        for i, ruling in zip(again, fresh, strict=True):
            rulings[i] = ruling
    return rulings


def _is_owed(verdict: Verdict, readable: Callable[[str], bool]) -> bool:
    if verdict.status is Status.SKIPPED:
        return False
    return verdict.status is not Status.SCORED or not readable(verdict.said)


def rulings_on(
    judge: Judge | None,
    questions: Iterable[Question | Unasked],
    readable: Callable[[str], bool],
    *,
    tries: int,
) -> list[Ruling]:
    """`ask_until_read` for the questions that there are; the others keep their reason."""
    listed = list(questions)
    asked = [question for question in listed if isinstance(question, Question)]
    answers = iter(ask_until_read(judge, asked, readable, tries=tries))
    return [
        next(answers) if isinstance(question, Question) else unasked_ruling(question)
        for question in listed
    ]


def unasked_ruling(why: Unasked) -> Ruling:
    """A ruling that nobody gave."""
    return Ruling(Verdict(why.reason, why.status), None)


def marks_without_score(
    metrics: Iterable[str], ruling: Ruling, *, failure_counts: float | None = None
) -> list[Mark]:
    """Marks for a ruling that gives no scores; an unreadable reply is the judge's failure.

    Args:
        metrics: The metrics there would be.
        ruling: The reply, or why there is none.
        failure_counts: What a judge's failure is worth under the protocol, None if it has no value.
            It is never given to what was not asked.
    """
    verdict, judge = ruling
    unread = verdict.status is Status.SCORED
    status = Status.JUDGE_FAILED if unread else verdict.status
    words = f"{UNREADABLE_REPLY}: {verdict.text}" if unread else verdict.text
    if failure_counts is not None and status in (Status.JUDGE_FAILED, Status.REFUSED):
        said = f"no verdict, counts {failure_counts:g}: {words}"
        return [Mark(metric, failure_counts, verdict=said, judge=judge) for metric in metrics]
    return [Mark(metric, None, status, words, judge) for metric in metrics]
