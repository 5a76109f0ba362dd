"""A benchmark's own rule as a training reward: `scorer:mmmu@no-guess`, `scorer:geneval`.

What training pays for an answer or a picture is the score that the benchmark gives it under the
named protocol, made by the same call as the evaluation's (`Benchmark.score_under`): the score
`correct`, or what the protocol's headline is a mean of where there is none of that name. An answer
that the rule cannot read counts as the protocol says, wrong or not at all.

A protocol that draws an option for what it cannot read, or takes an empty answer for one, is
refused: it would pay a policy for saying nothing. So is a benchmark that asks a judge.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from pairuni_eval.api import (
    Answer,
    Benchmark,
    ImagePart,
    MetricValue,
    Output,
    Sample,
    Status,
    TextPart,
)
from pairuni_eval.api.scorers import tagged_answer
from pairuni_eval.toolkit import UserError, unknown_name
from pairuni_eval.toolkit.models import catalog
from pairuni_train.grpo.rewards import Judged, Reward, RewardError, check_options
from pairuni_train.pair_data.record import Generation, Half, Understanding

if TYPE_CHECKING:
    from PIL import Image

_OPTIONS = {"of": str, "form": str, "tagged": bool, "data": str, "device": str}
_DRAWN = "drawn"  # the id by which a rollout's picture is asked for


class ScorerReward(Reward):
    """The score of a benchmark under one of its protocols, from 0 to 1.

    Args:
        benchmark: Grades; `equip` was called.
        protocol: A protocol of its card.
        form: Only halves whose `facts["form"]` is this are judged; None judges all.
        tagged: An answer without a pair of answer tags is worth 0, whatever it says.
    """

    def __init__(
        self,
        benchmark: Benchmark,
        protocol: str,
        *,
        form: str | None = None,
        tagged: bool = False,
    ) -> None:
        self._benchmark, self._protocol = benchmark, protocol
        self._form, self._tagged = form, tagged

    @classmethod
    def extra_for(cls, options: Mapping[str, Any]) -> str | None:
        """The extra that the benchmark's grading needs."""
        return _named(options).benchmark.extra

    @classmethod
    def load(cls, options: Mapping[str, Any]) -> Self:
        """Options: `of` ("mmmu@no-guess"), `form`, `tagged`, `device`, `data`.

        `data` is the folder of `pairuni-eval run --data`, where weights are looked for.

        Raises:
            UserError: for an unknown benchmark or protocol, and for one that cannot be a reward.
        """
        check_options("scorer", options, tuple(_OPTIONS))
        _check_kinds(options)
        benchmark, protocol = _named(options)
        _check_can_reward(benchmark, protocol)
        from pairuni_eval.toolkit.networks import AUTO, pick_device

        device = pick_device(
            str(options.get("device", AUTO)), setting="the option `device` of the reward 'scorer'"
        )
        folder = Path(options["data"]).expanduser() if "data" in options else None
        if folder is not None and not folder.is_dir():
            raise UserError(
                f"The option `data` of the reward 'scorer': there is no folder {folder}."
            )
        benchmark.equip(benchmark.data(folder), device=str(device))
        return cls(
            benchmark,
            protocol,
            form=options.get("form"),
            tagged=bool(options.get("tagged", False)),
        )

    def judges(self, half: Half) -> bool:
        """Whether a half is one of the form that this reward is for."""
        return self._form is None or half.facts.get("form") == self._form

    def __call__(self, batch: Sequence[Judged]) -> list[float]:
        """The scores; NaN for what the rule cannot grade.

        Raises:
            RewardError: if the benchmark lacks what it grades with, e.g. a detector's weights.
        """
        answers = {place: self._answer(one) for place, one in enumerate(batch)}
        graded = {place: answer for place, answer in answers.items() if answer is not None}
        rows = self._benchmark.score_under(
            list(graded.values()), protocol=self._protocol, judge=None
        )
        values = [math.nan] * len(batch)
        for (place, answer), marks in zip(graded.items(), rows, strict=True):
            values[place] = self._value(answer, marks)
        return values

    def _answer(self, one: Judged) -> Answer | None:
        """A rollout as the benchmark sees an output; None if there is nothing to grade it by."""
        half, reply = one.half, one.reply
        request = half.question if isinstance(half, Understanding) else half.prompt
        gold = half.answer if isinstance(half, Understanding) else None
        reference = self._benchmark.reward_reference(request, gold, half.facts)
        if reference is None or (isinstance(half, Generation) and reply.image is None):
            return None
        item = self._benchmark.item(key=half.id, parts=(request,), reference=reference)
        part = TextPart(reply.text or "") if gold is not None else ImagePart(_DRAWN)
        return Answer(item.sample, _output(item.sample, part), lambda _: _rgb(reply.image))

    def _value(self, answer: Answer, marks: Sequence[MetricValue]) -> float:
        spec = self._benchmark.card.protocols[self._protocol]
        if self._tagged and answer.output.image is None and tagged_answer(answer.text) is None:
            return 0.0
        named = {mark.metric: mark for mark in marks}
        mark = named.get("correct") or named[spec.metric(spec.headline).of or spec.headline]
        if mark.value is not None:
            return mark.value
        if mark.status is Status.SKIPPED:
            raise RewardError(f"{self._benchmark.card.title} cannot grade: {mark.verdict}")
        wrong = mark.status is Status.UNPARSED and spec.unparsed == "wrong"
        return 0.0 if wrong else math.nan


class _Rule(NamedTuple):
    benchmark: Benchmark
    protocol: str


def _check_kinds(options: Mapping[str, Any]) -> None:
    for name, value in options.items():
        if not isinstance(value, _OPTIONS[name]):
            wanted = "true or false" if _OPTIONS[name] is bool else "a text"
            raise UserError(
                f"The option `{name}` of the reward 'scorer' is {value!r}, not {wanted}."
            )


def _named(options: Mapping[str, Any]) -> _Rule:
    """The benchmark and the protocol that `of` names; without "@" the card's first one."""
    name, _, protocol = str(options.get("of", "")).partition("@")
    if not name:
        raise UserError(
            "The reward 'scorer' does not say which benchmark's: write scorer:BENCHMARK@PROTOCOL, "
            "e.g. scorer:mmmu@no-guess.",
            hint="pairuni-eval list benchmarks",
        )
    benchmark = catalog.load_benchmark(name)
    known = benchmark.card.protocols
    if protocol and protocol not in known:
        raise unknown_name(
            "protocol", protocol, known, of=f"'{name}'", list_command="pairuni-eval list benchmarks"
        )
    return _Rule(benchmark, protocol or benchmark.card.default_protocol)


def _check_can_reward(benchmark: Benchmark, protocol: str) -> None:
    card = benchmark.card
    if card.judge is not None:
        raise UserError(f"{card.title} cannot be a reward: it asks a judge about every output.")
    if type(benchmark).reward_reference is Benchmark.reward_reference:
        raise UserError(
            f"{card.title} cannot be a reward: it does not say how an answer to a question from "
            "elsewhere is graded (`Benchmark.reward_reference`)."
        )
    if card.protocols[protocol].counts_empty:
        fit = [name for name, spec in card.protocols.items() if not spec.counts_empty]
        raise UserError(
            f"scorer:{card.name}@{protocol} cannot be a reward: under this protocol an answer that "
            "says nothing of the question may be right, and a policy would be paid for it.",
            hint=" or ".join(f"scorer:{card.name}@{name}" for name in fit),
        )


def _output(sample: Sample, part: TextPart | ImagePart) -> Output:
    """A rollout in the form of a stored output, of which only the part is looked at."""
    return Output(id=sample.uid, sample=sample.uid, draw=0, seed=0, decoding="", parts=(part,))


def _rgb(image: Image.Image | None) -> Image.Image:
    assert image is not None, "a half without a picture is not asked for one"
    return image.convert("RGB")
