"""Rewards by name: what a rollout is worth.

A reward sees a batch of judged rollouts and gives one number each; NaN means that it declines
(nothing to judge by), which is not the same as zero. Rewards enter through the entry points
`pairuni.rewards` as classes with `load(options)`; what follows a colon in a reward's name is its
option `of`, as in `scorer:mmmu@no-guess` (`scorer_reward`). The reward of a task is a weighted sum
over the rewards that are meant for a half (`Reward.judges`); a rollout that any of these declines
has none, nor has one that none is meant for.

The paper rewards understanding by the accuracy of the parsed answer and generation by HPSv2.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence, Set
from typing import Any, ClassVar, NamedTuple, Self, SupportsFloat

from pairuni_eval.toolkit import BoundaryError, UserError, boundary, needs
from pairuni_eval.toolkit.models import Reply, catalog
from pairuni_train.grpo.config import RewardSpec
from pairuni_train.pair_data.record import Half


class RewardError(BoundaryError):
    """A reward could not judge a batch."""


class Judged(NamedTuple):
    """A rollout to be rewarded: the half of the pair it answers, and what the policy gave."""

    half: Half
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

    @classmethod
    def extra_for(cls, options: Mapping[str, Any]) -> str | None:  # noqa: ARG003
        """The extra of pairuni that it needs with these options."""
        return cls.extra

    def judges(self, half: Half) -> bool:  # noqa: ARG002
        """Whether it is meant for a half; what is not meant for it counts neither way."""
        return True

    def memory(self) -> int:
        """Bytes of the weights that it holds on the device that trains."""
        return 0

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
        found: dict[str, list[float]] = {}
        total = [0.0] * len(batch)
        meant = [False] * len(batch)
        for name, weight, reward in self.parts:
            places = [place for place, one in enumerate(batch) if reward.judges(one.half)]
            mine = [batch[place] for place in places]
            values = _called(name, reward, mine) if mine else []
            found[name] = [math.nan] * len(batch)
            for place, value in zip(places, values, strict=True):
                found[name][place] = value
                total[place] += weight * value
                meant[place] = True
        return {**found, "total": [t if m else math.nan for t, m in zip(total, meant, strict=True)]}


def load_rewards(specs: Sequence[RewardSpec]) -> WeightedSum:
    """The rewards that a task names, ready to be called.

    Raises:
        UserError: for an unknown name or option, an extra that is not installed, or weights that
            cannot be found.
    """
    parts = []
    for spec in specs:
        plugin, options = reward_plugin(spec)
        extra = plugin.extra_for(options)
        needs(f"The reward '{spec.name}'", *((extra,) if extra else ()))
        parts.append((spec.name, spec.weight, plugin.load(options)))
    return WeightedSum(tuple(parts))


def reward_plugin(spec: RewardSpec) -> tuple[type[Reward], dict[str, Any]]:
    """The class behind a reward's name and its options, `of` among them.

    Raises:
        UserError: for an unknown name, or a plugin that cannot be imported.
    """
    name, colon, of = spec.name.partition(":")
    if name in _FORMER:
        raise UserError(
            f"There is no reward '{name}': a benchmark's own rule is the reward.",
            hint=f'rewards = [{{ name = "{_FORMER[name]}',
        )
    plugin: type[Reward] = catalog.import_plugin("rewards", name)
    if colon and "of" in spec.options:
        raise UserError(
            f"The reward '{spec.name}' says twice of what it is: leave the option `of` out."
        )
    return plugin, {**spec.options, "of": of} if colon else dict(spec.options)


# Rewards of recipes written for an earlier release, and what says the same.
_FORMER = {
    "accuracy": 'scorer:mmmu@reasoning", options = { tagged = true } }]',
    "tiny-checker": 'scorer:tiny-geneval" }]',
}


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


class TinyObjects(Reward):
    """The share of the objects a prompt asks for that a picture of the tiny world holds, 0 to 1.

    Needs the metadata of the prompt in GenEval's schema: `facts["row"]`, or `facts["exactly"]`.
    """

    def __call__(self, batch: Sequence[Judged]) -> list[float]:
        """A number from 0 to 1; NaN without a picture or without the facts to judge it by."""
        return [self._share(one) for one in batch]

    def _share(self, one: Judged) -> float:
        from pairuni_eval.api.tiny import detect

        row = one.half.facts.get("row") or one.half.facts.get("exactly")
        if row is None or one.reply.image is None:
            return math.nan
        names = [thing.shape for thing in detect(one.reply.image)]
        asked = sum(int(entry["count"]) for entry in row["include"])
        there = sum(min(names.count(e["class"]), int(e["count"])) for e in row["include"])
        return there / asked
