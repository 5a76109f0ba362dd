"""As many yes as no: which of some pairs an arm of a balanced set takes.

A model that says yes more often than no earns where yes is more often right, and then two arms
differ by their answers and not by their pairs.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

_OTHER = {"yes": "no", "no": "yes"}


def balanced(answers: Iterable[str | None], count: int) -> list[int]:
    """The places of at most `count` answers, of which as many are yes as no.

    Answers are gone through in order, and only as far as needed. A yes is taken when a no comes
    to go with it, and the other way round, the one that has waited longest first; every other
    answer is taken as it comes. So nothing is preferred but the balance, and where one word runs
    short, what is left of the other is left out.

    Args:
        answers: In any case; None where there is no question.
        count: How many are wanted. One place may stay empty, where only a couple is left.

    Returns:
        Places, in the order that they were taken in.
    """
    chosen: list[int] = []
    waiting: dict[str, deque[int]] = {word: deque() for word in _OTHER}
    for place, answer in enumerate(answers):
        if len(chosen) >= count:
            break
        word = (answer or "").strip().lower()
        if word not in _OTHER:
            chosen.append(place)
        elif waiting[_OTHER[word]] and len(chosen) + 2 <= count:
            chosen += [waiting[_OTHER[word]].popleft(), place]
        else:
            waiting[word].append(place)
    return chosen
