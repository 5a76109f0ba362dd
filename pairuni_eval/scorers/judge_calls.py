"""Calls to a judge: about many answers at once, and again where a reply cannot be read.

In go answers and what makes the question of one, out comes one reply per answer, in order. What
cannot be asked at all (there is no judge prompt, a picture is broken) is a reply too, with its own
status and of no judge, so that a rubric has one kind of input. As in the official scripts a
failed call is one of the tries, and what is still unreadable after the last one stays so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from pairuni_eval.benchmark import Answer, MetricValue
from pairuni_eval.errors import DatasetError
from pairuni_eval.judges.judge import Judge, JudgeReply, Question, consult_all
from pairuni_eval.records import UNREADABLE_REPLY, Status

if TYPE_CHECKING:
    from PIL import Image


class NotAsked(NamedTuple):
    """Why there is no question about an answer."""

    status: Status
    reason: str

    @property
    def reply(self) -> JudgeReply:
        """The reply that nobody gave."""
        return JudgeReply(self.reason, self.status)


def question_about(
    answer: Answer, prompt: str, pictures: Callable[[Answer], tuple[Image.Image, ...]]
) -> Question | NotAsked:
    """The question about an answer, or that a picture it needs is missing or broken.

    Args:
        answer: What is judged; programmatic judges are told its sample's key.
        prompt: What the judge reads.
        pictures: Loads what it sees, in order.
    """
    try:
        seen = pictures(answer)
    except DatasetError as failure:
        return NotAsked(Status.MISSING_OUTPUT, str(failure))
    return Question(prompt, seen, {"key": answer.sample.key})


Readable = Callable[[str], bool]
"""Whether a rubric can use a reply."""


def ask_until_read(
    judge: Judge | None, questions: Sequence[Question], readable: Readable, *, tries: int
) -> list[JudgeReply]:
    """Ask everything, then again what failed or cannot be read, until `tries` are used up.

    Args:
        judge: None gives the status `skipped`, once.
        questions: Asked together, so that a judge can have several under way.
        readable: Whether the rubric can use a reply.
        tries: How often one question is asked at most, at least 1.
    """
    return _ask_each(judge, questions, [readable] * len(questions), tries)


def _ask_each(
    judge: Judge | None, questions: Sequence[Question], readable: Sequence[Readable], tries: int
) -> list[JudgeReply]:
    """`ask_until_read` with what can be read of each question."""
    if not questions:
        return []
    replies = consult_all(judge, questions)
    for attempt in range(1, tries):
        again = [i for i, reply in enumerate(replies) if _may_be_mended(reply, readable[i])]
        if not again:
            break
        fresh = consult_all(judge, [questions[i]._replace(attempt=attempt) for i in again])
        for i, reply in zip(again, fresh, strict=True):
            replies[i] = reply
    return replies


def _may_be_mended(reply: JudgeReply, readable: Readable) -> bool:
    """Whether asking again may bring a reply that can be read."""
    if reply.status is Status.SKIPPED:
        return False
    return reply.status is not Status.SCORED or not readable(reply.said)


def replies_about(
    judge: Judge | None,
    questions: Iterable[Question | NotAsked],
    readable: Readable,
    *,
    tries: int,
) -> list[JudgeReply]:
    """`ask_until_read` for the questions that there are; the others keep their reason."""
    return consult_until_read(judge, [(one, readable) for one in questions], tries=tries)


def consult_until_read(
    judge: Judge | None, questions: Iterable[tuple[Question | NotAsked, Readable]], *, tries: int
) -> list[JudgeReply]:
    """`replies_about` where what can be read is another thing for each question."""
    listed = list(questions)
    asked = [(one, readable) for one, readable in listed if isinstance(one, Question)]
    found = _ask_each(judge, [one for one, _ in asked], [readable for _, readable in asked], tries)
    replies = iter(found)
    return [one.reply if isinstance(one, NotAsked) else next(replies) for one, _ in listed]


def marks_without_score(
    metrics: Iterable[str], reply: JudgeReply, *, failure_counts: float | None = None
) -> list[MetricValue]:
    """Values for a reply that gives no scores; an unreadable reply is the judge's failure.

    Args:
        metrics: The metrics there would be.
        reply: What was said, or why there is nothing.
        failure_counts: What a judge's failure is worth under the protocol, None if it has no value.
            It is never given to what was not asked.
    """
    unread = reply.status is Status.SCORED
    status = Status.JUDGE_FAILED if unread else reply.status
    words = f"{UNREADABLE_REPLY}: {reply.text}" if unread else reply.text
    if failure_counts is not None and status in (Status.JUDGE_FAILED, Status.REFUSED):
        said = f"no verdict, counts {failure_counts:g}: {words}"
        return [
            MetricValue(metric, failure_counts, verdict=said, judge=reply.judge)
            for metric in metrics
        ]
    return [MetricValue(metric, None, status, words, reply.judge) for metric in metrics]
