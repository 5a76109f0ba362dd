"""Which numbers of a board may stand in one order: those of one kind.

A kind is everything that makes two headlines the same number of two checkpoints: the benchmark with
its version and data revision, the protocol and its rule, how many samples were planned, the judge
and the scorers, whether the number is tiny, and whether the run has ended. What differs in any of
it stands in a table of its own. Decoding is part of none: models of different families are asked
differently, so a row says where its decoding is another than that of most.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import msgspec

from pairuni_eval.cards import Card
from pairuni_eval.decoding import Decoding
from pairuni_eval.records import RunCard
from pairuni_eval.report.headline_cache import Headline
from pairuni_eval.report.sections import further_in_words
from pairuni_eval.report.tiny_label import is_tiny
from pairuni_eval.seeds import stable_hash
from pairuni_eval.stats.comparable import definition

_DIGITS = 12  # of a revision that are printed
_FIRST = ("temperature", "top_k", "top_p", "max_tokens", "cfg_scale")


class NumberKind(NamedTuple):
    """What numbers of one order have in common.

    Attributes:
        rule: Hash of the metric's definition.
        asked: The judge that the run asks; None for none.
        judges, scorers: Who gave the values.
    """

    benchmark: str
    tiny: bool
    unfinished: bool
    protocol: str
    metric: str
    version: str
    rule: str
    planned: int
    expected: int
    revision: str
    asked: str | None
    judges: tuple[str, ...]
    scorers: tuple[str, ...]

    def facts(self) -> Iterator[str]:
        """What must be known to read the numbers, in words."""
        if self.unfinished:
            yield "the run has not ended: the outputs so far"
        whole = self.planned >= self.expected
        yield f"all {self.expected:,} samples" if whole else self._limited
        yield f"{self.benchmark}@{self.protocol}, {self.metric}"
        yield f"version {self.version}"
        yield f"data revision {self.revision[:_DIGITS]}"
        judges = self.judges or ((self.asked,) if self.asked else ())
        if judges:
            yield f"judged by {', '.join(judges)}"
        if self.scorers:
            yield f"scored by {', '.join(self.scorers)}"
        if self.tiny:
            yield "tiny"

    @property
    def _limited(self) -> str:
        return f"PARTIAL: {self.planned:,} of {self.expected:,} samples"


def kind_of(card: Card, run: RunCard, headline: Headline, *, unfinished: bool) -> NumberKind:
    """The kind of a headline.

    Args:
        card: The benchmark's card as the run stored it.
        run: The run's card.
        headline: Its number.
        unfinished: Whether the run has not ended.
    """
    row, asked = headline.row, run.benchmarks[card.name]
    return NumberKind(
        benchmark=card.name,
        tiny=is_tiny(card, run),
        unfinished=unfinished,
        protocol=row.protocol,
        metric=row.spec.name,
        version=str(card.version),
        rule=stable_hash("rule/1", definition(card, row.protocol, row.spec.name)),
        planned=asked.planned,
        expected=asked.expected,
        revision=asked.revision,
        asked=asked.judge,
        judges=headline.judges,
        scorers=headline.scorers,
    )


def differing(kinds: Sequence[NumberKind]) -> list[str]:
    """What sets each of several kinds of one benchmark apart from the others, in words."""
    said = [[*kind.facts(), f"rule {kind.rule[:_DIGITS]}"] for kind in kinds]
    common = set(said[0]).intersection(*said[1:])
    return ["; ".join(fact for fact in facts if fact not in common) for facts in said]


def decoding_notes(decodings: Sequence[Decoding]) -> list[str]:
    """What is set otherwise than in most of these decodings, in words; "" for those like most."""
    if not decodings:
        return []
    common_id = Counter(one.id for one in decodings).most_common(1)[0][0]
    common = next(one for one in decodings if one.id == common_id)
    return [_otherwise(one, common) for one in decodings]


def _otherwise(one: Decoding, common: Decoding) -> str:
    if one.id == common.id:
        return ""
    ours, theirs = (msgspec.to_builtins(each) for each in (one, common))
    changed = [
        f"{_said(name)} {_value(ours[name])}" for name in _FIRST if ours[name] != theirs[name]
    ]
    if one.further != common.further:
        changed.append(further_in_words(one) if one.further else "no further settings")
    return ", ".join(changed)


def _said(name: str) -> str:
    return name.replace("_", " ")


def _value(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
