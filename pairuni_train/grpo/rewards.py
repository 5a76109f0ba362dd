"""Rewards by name: what a rollout is worth.

A reward sees a batch of judged rollouts and gives one number each; NaN means that it declines
(nothing to judge by), which is not the same as zero. Rewards enter through the entry points
`pairuni.rewards` as classes with `load(options)`. The reward of a task is a weighted sum; a rollout
that any of its rewards declines has none.

The paper rewards understanding by the accuracy of the parsed answer and generation by HPSv2.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence, Set
from typing import Any, ClassVar, NamedTuple, Self, SupportsFloat

from pairuni_eval.api.scorers import same_answer, tagged_answer
from pairuni_eval.toolkit import BoundaryError, UserError, boundary
from pairuni_eval.toolkit.models import Reply, catalog
from pairuni_train.grpo.config import RewardSpec
from pairuni_train.pair_data.record import Generation, Understanding


class RewardError(BoundaryError):
    """A reward could not judge a batch."""


class Judged(NamedTuple):
    """A rollout to be rewarded: the half of the pair it answers, and what the policy gave."""

    half: Understanding | Generation
    reply: Reply


class Reward(ABC):
    """Base class of every reward.

    Attributes:
        extra: The extra of pairuni that it needs.
    """

    extra: ClassVar[str | None] = None

    @classmethod
    def load(cls, options: Mapping[str, Any]) -> Self:
        """Make the reward; options come from the recipe's TOML.

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
    return _checked(name, values, len(batch))


def _checked(name: str, values: object, wanted: int) -> list[float]:
    """What a reward returned, as numbers.

    Raises:
        UserError: naming the reward and what it gave, unless that is one number per rollout.
    """
    listed = isinstance(values, Collection) and not isinstance(values, str | bytes | Mapping | Set)
    try:
        found = list(values) if listed else None  # type: ignore[call-overload]
    except TypeError:  # an array of one number alone, which cannot be walked through
        found = None
    if found is None:
        raise UserError(
            f"The reward '{name}' gave {_shown(values)} instead of one number per rollout.",
            hint=_ASKED,
        )
    if len(found) != wanted:
        raise UserError(
            f"The reward '{name}' gave {len(found)} values for {wanted} rollouts.", hint=_ASKED
        )
    return [_number(name, value) for value in found]


_ASKED = "A reward returns one number per rollout, in order; NaN declines."
_SHOWN = 60


def _shown(value: object) -> str:
    """A value in an error, short."""
    words = repr(value)
    return words if len(words) <= _SHOWN else f"{words[:_SHOWN]}..."


def _number(name: str, value: object) -> float:
    try:
        number = float(value) if isinstance(value, SupportsFloat) else None
    except (TypeError, ValueError, OverflowError, RuntimeError):  # an array of several numbers
        number = None
    if number is None:
        raise UserError(
            f"The reward '{name}' gave {_shown(value)}, which is not a number.", hint=_ASKED
        )
    if math.isinf(number):
        raise UserError(f"The reward '{name}' gave an infinite value.", hint=_ASKED)
    return number


class Accuracy(Reward):
    """1 if the parsed answer is the gold one, else 0.

    Forms: "plain" takes the whole text; "think-answer" takes what stands between the answer tags
    and is 0 without them. Both are compared by `same_answer`: where the gold answer is a letter,
    it may come with punctuation, in brackets, in bold or in a box; words and numbers are compared
    without case.
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
        """0 or 1 for answers; NaN for what is not an answer."""
        return [
            float(self._right(one.reply.text or "", one.half.answer))
            if isinstance(one.half, Understanding)
            else math.nan
            for one in batch
        ]

    def _right(self, text: str, gold: str) -> bool:
        said = text if self._form == "plain" else tagged_answer(text)
        return said is not None and same_answer(said, gold)


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
        from pairuni_eval.api.tiny import detect, satisfies

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
