"""Rewards by name: what a rollout is worth.

A reward sees a batch of judged rollouts and gives one number each; NaN means that it declines
(nothing to judge by), which is not the same as zero. Rewards enter through the entry points
`pairuni.rewards` as classes with `load(options)`. The reward of a task is a weighted sum; a rollout
that any of its rewards declines has none.

The paper rewards understanding by the accuracy of the parsed answer and generation by HPSv2.
"""

from __future__ import annotations

import math
import re
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Self, SupportsFloat

from pairuni_eval import catalog
from pairuni_eval.errors import BoundaryError, UserError, boundary
from pairuni_eval.models.base import Reply
from pairuni_train.pairs.record import Generation, Understanding
from pairuni_train.recipe import RewardSpec


class RewardError(BoundaryError):
    """A reward could not judge a batch."""


class Judged(NamedTuple):
    """A rollout to be rewarded: the half of the pair it answers, and what the policy gave."""

    half: Understanding | Generation
    reply: Reply


class Reward(ABC):
    """Base class of every reward."""

    @classmethod
    def load(cls, options: Mapping[str, Any]) -> Self:
        """Make the reward; options come from the backbone's TOML.

        Raises:
            UserError: for an unknown option, or weights that cannot be found.
        """
        check_options(cls.__name__, options, ())
        return cls()

    @abstractmethod
    def __call__(self, batch: Sequence[Judged]) -> list[float]:
        """One number per rollout, in order; NaN where the reward declines."""


class WeightedSum(NamedTuple):
    """The rewards of a task by name, with their weights."""

    parts: tuple[tuple[str, float, Reward], ...]

    def __call__(self, batch: Sequence[Judged]) -> dict[str, list[float]]:
        """Every reward by name, and under "total" their weighted sum.

        Raises:
            UserError: if a reward fails or returns another number of values; it names the reward.
        """
        found = {name: _called(name, reward, batch) for name, _, reward in self.parts}
        weights = {name: weight for name, weight, _ in self.parts}
        total = [
            sum(weights[name] * values[i] for name, values in found.items())
            for i in range(len(batch))
        ]
        return {**found, "total": total}


def load_rewards(specs: Sequence[RewardSpec]) -> WeightedSum:
    """The rewards that a task names, ready to be called."""
    return WeightedSum(
        tuple(
            (spec.name, spec.weight, catalog.load_plugin("rewards", spec.name).load(spec.options))
            for spec in specs
        )
    )


def check_options(reward: str, options: Mapping[str, Any], known: Sequence[str]) -> None:
    """Raise a UserError that names the first option a reward does not have."""
    for key in options:
        if key not in known:
            raise UserError(
                f"The reward '{reward}' has no option '{key}'; "
                f"it has: {', '.join(known) or 'none'}."
            )


def _called(name: str, reward: Reward, batch: Sequence[Judged]) -> list[float]:
    try:
        with boundary(RewardError):
            values = reward(batch)
    except RewardError as failure:
        raise UserError(
            f"The reward '{name}' failed: {failure}.",
            hint="Mend it and run the same command again: the run goes on from its checkpoint.",
        ) from failure
    if len(values) != len(batch):
        raise UserError(
            f"The reward '{name}' gave {len(values)} values for {len(batch)} rollouts.",
            hint="A reward returns one number per rollout, in order; NaN to decline.",
        )
    return [_number(name, value) for value in values]


def _number(name: str, value: object) -> float:
    if not isinstance(value, SupportsFloat):
        raise UserError(f"The reward '{name}' gave {value!r}, which is no number.")
    number = float(value)
    if math.isinf(number):
        raise UserError(f"The reward '{name}' gave an infinite value.", hint="NaN declines.")
    return number


class Accuracy(Reward):
    """1 if the parsed answer is the gold one, else 0.

    Forms: "plain" takes the whole text; "think-answer" takes what stands between the answer tags
    and is 0 without them. A letter may come with punctuation or parentheses, words and numbers are
    compared without case and outer punctuation.
    """

    FORMS = ("plain", "think-answer")

    def __init__(self, form: str) -> None:
        self._form = form

    @classmethod
    def load(cls, options: Mapping[str, Any]) -> Self:
        """Options: `form`."""
        check_options("accuracy", options, ("form",))
        form = str(options.get("form", "plain"))
        if form not in cls.FORMS:
            raise UserError(
                f"The reward 'accuracy' has no form '{form}'; it has: {', '.join(cls.FORMS)}."
            )
        return cls(form)

    def __call__(self, batch: Sequence[Judged]) -> list[float]:
        """0 or 1 for answers; NaN for what is no answer."""
        return [
            float(self._said(one.reply.text or "") == _folded(one.half.answer))
            if isinstance(one.half, Understanding)
            else math.nan
            for one in batch
        ]

    def _said(self, text: str) -> str | None:
        if self._form == "plain":
            return _folded(text)
        tagged = _ANSWER.findall(text)
        return _folded(tagged[-1]) if tagged else None


_ANSWER = re.compile(r"<answer>(.*?)</answer>", re.DOTALL | re.IGNORECASE)


def _folded(text: str) -> str:
    """An answer as it is compared: no case, no outer punctuation; "(B) a cat" keeps its letter."""
    plain = text.strip().strip(".,:;!?'\"").strip()
    letter = re.match(r"^\(?([A-Z])\)?(?:[.:)]|$)", plain)
    return letter.group(1).lower() if letter else plain.lower()


class TinyChecker(Reward):
    """GenEval's verdict on pictures of the tiny world: 1 if the picture is what was asked, else 0.

    Needs `facts["row"]`, the GenEval metadata of the prompt. With `partial`, the verdict counts
    1 - partial and the share of expected objects that are there counts `partial`.
    """

    def __init__(self, partial: float) -> None:
        self._partial = partial

    @classmethod
    def load(cls, options: Mapping[str, Any]) -> Self:
        """Options: `partial`, 0 to 1."""
        check_options("tiny-checker", options, ("partial",))
        partial = float(options.get("partial", 0.0))
        if not 0.0 <= partial <= 1.0:
            raise UserError(f"tiny-checker: partial is {partial}; it lies between 0 and 1.")
        return cls(partial)

    def __call__(self, batch: Sequence[Judged]) -> list[float]:
        """A number from 0 to 1; NaN without a picture or without the facts to judge it by."""
        return [self._judge(one) for one in batch]

    def _judge(self, one: Judged) -> float:
        from pairuni_eval.tiny.prompts import satisfies
        from pairuni_eval.tiny.world import detect

        row = one.half.facts.get("row")
        if row is None or one.reply.image is None:
            return math.nan
        seen = detect(one.reply.image)
        right = float(satisfies(row, seen))
        if not self._partial:
            return right
        names = [thing.shape for thing in seen]
        asked = sum(int(entry["count"]) for entry in row["include"])
        there = sum(min(names.count(e["class"]), int(e["count"])) for e in row["include"])
        return (1 - self._partial) * right + self._partial * there / asked
