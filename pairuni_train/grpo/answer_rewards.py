"""Rewards that look at the form of an answer and not at what it says.

They add to a reward of the content, with a weight of their own; halves that ask for a picture are
not meant for them.

`length` is DAPO's soft penalty of overlong answers (arXiv 2503.14476): nothing up to `free` tokens,
then linearly down to -1 at `limit`. Departure: the paper punishes what is close to the longest
answer that sampling allows; here both bounds are told.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, Self

from pairuni_eval.toolkit import UserError
from pairuni_train.grpo.rewards import Judged, Reward, check_options
from pairuni_train.pair_data.record import Half, Understanding

THINK_AND_ANSWER = r"<think>(?!.*<think>).*</think>\s*<answer>(?!.*<answer>).*</answer>"


class OfAnswers(Reward):
    """Base of rewards for what was said; one without a text is declined."""

    def judges(self, half: Half) -> bool:
        """Whether the half asks for an answer."""
        return isinstance(half, Understanding)

    def __call__(self, batch: Sequence[Judged]) -> list[float]:
        """A number per answer."""
        return [math.nan if one.reply.text is None else self.value(one) for one in batch]

    def value(self, one: Judged) -> float:
        """What an answer is worth."""
        raise NotImplementedError


class AnswerFormat(OfAnswers):
    """1 for an answer that is of a form from end to end, else 0.

    Args:
        pattern: A regular expression in which a dot is any character.
    """

    def __init__(self, pattern: re.Pattern[str]) -> None:
        self._pattern = pattern

    @classmethod
    def load(cls, options: Mapping[str, Any]) -> Self:
        """Option `pattern`; without it a thought and an answer in their tags, each pair once."""
        check_options("format", options, ["pattern"])
        pattern = options.get("pattern", THINK_AND_ANSWER)
        try:
            return cls(re.compile(pattern, re.DOTALL))
        except (re.error, TypeError) as failure:
            raise UserError(
                f"The reward 'format': the pattern {pattern!r} is no regular expression: {failure}."
            ) from failure

    def value(self, one: Judged) -> float:
        """1 or 0."""
        return float(self._pattern.fullmatch((one.reply.text or "").strip()) is not None)


class AnswerLength(OfAnswers):
    """0 for answers of up to `free` tokens, down to -1 for those of `limit` or more.

    Args:
        free: Tokens that cost nothing.
        limit: Tokens that cost 1; more than `free`.
    """

    def __init__(self, free: int, limit: int) -> None:
        self._free, self._limit = free, limit

    @classmethod
    def load(cls, options: Mapping[str, Any]) -> Self:
        """Options `free` and `limit`, both in tokens."""
        check_options("length", options, ["free", "limit"])
        free, limit = options.get("free"), options.get("limit")
        if type(free) is not int or type(limit) is not int or not 0 <= free < limit:
            raise UserError(
                f"The reward 'length': free is {free!r} and limit {limit!r}; it needs both, whole "
                "numbers of tokens, the first below the second.",
                hint='rewards = [..., { name = "length", options = { free = 384, limit = 512 } }]',
            )
        return cls(free, limit)

    def value(self, one: Judged) -> float:
        """0 to -1."""
        over = (one.reply.tokens - self._free) / (self._limit - self._free)
        return -min(1.0, max(0.0, over))
