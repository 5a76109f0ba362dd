"""`self:NAME-choices`: the same facts of the same pictures as multiple choice.

A fact becomes one question with four options (`FactChoice`), put in four orders: the options, in an
order drawn by seed, move on by one place each time, so that every option has every letter once and
whoever answers one letter is right in a quarter of all answers, whatever the pictures show. Wording
and reading are MMMU's (`scorers.choice`), without the option that its rule draws for an answer that
names none.

Beside them each fact is asked once with yes or no, so that both forms stand over the same facts and
their agreement can be told. Yes is to the one what naming the option that the prompt wants is to
the other: `said_yes` of both.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

from pairuni_eval.benchmark import Answer, Benchmark, Fact, FactChoice, MetricValue
from pairuni_eval.judges.judge import Judge
from pairuni_eval.prompts import lettered, mmmu_prompt
from pairuni_eval.records import Sample
from pairuni_eval.scorers.choice import choice_letters, mmmu_marks
from pairuni_eval.self_consistency.benchmark import (
    Question,
    SelfBenchmark,
    lone,
    said,
    yes_or_no,
)
from pairuni_eval.self_consistency.card import SWAP, make_choices_card
from pairuni_eval.stats.coupling import ASKED, CHOICE

_METRICS = ("correct", "said_yes")
_KIND = "multiple-choice"  # as MMMU has it


class ChoiceBenchmark(SelfBenchmark):
    """See the module docstring.

    Args:
        source: The benchmark whose pictures are read.
    """

    def __init__(self, source: Benchmark) -> None:
        super().__init__(source, make_choices_card(source.card))

    def put(self, fact: Fact) -> Iterator[Question]:
        """The fact with yes or no, and its choice in every order."""
        if isinstance(fact.choice, str):
            yield lone(fact, fact.choice)
        elif fact.choice is not None:
            assert fact.holds is not None
            yield yes_or_no(fact, ASKED, fact.asked, holds=fact.holds)
            for number in range(len(fact.choice.options)):
                yield _in_order(fact, fact.choice, number)

    def put_unknown(self, fact: Fact) -> Iterator[Question]:
        """As with twins; a swap is about its twins."""
        if fact.kind != SWAP:
            yield from super().put_unknown(fact)

    def mark(self, answer: Answer, *, protocol: str, judge: Judge | None) -> list[MetricValue]:
        """Whether the answer is right, and whether it names what the prompt wants."""
        sample = answer.sample
        if sample.tags["form"] != CHOICE:
            marks = super().mark(answer, protocol=protocol, judge=judge)
            return [one for one in marks if one.metric in _METRICS]
        right = mmmu_marks(answer.text, sample.reference, sample.uid, "no-guess")[0]
        if right.value is None:
            return [right._replace(metric=name) for name in _METRICS]
        named = float(right.verdict == sample.reference["asked"])
        return [right, right._replace(metric="said_yes", value=named)]

    def option_letters(self, sample: Sample) -> Collection[str]:
        """Those of a choice."""
        return choice_letters(sample.reference) if sample.tags["form"] == CHOICE else ()


def _in_order(fact: Fact, choice: FactChoice, number: int) -> Question:
    """The choice with its options moved on by so many places."""
    options = [*choice.options[number:], *choice.options[:number]]
    letter = {option: mark for mark, option in lettered(options).items()}
    return Question(
        fact,
        f"{CHOICE} {number}",
        {"form": CHOICE, "twin": "", "label": said(yes=bool(fact.holds))},
        mmmu_prompt(choice.question, options),
        {
            "type": _KIND,
            "options": options,
            "answer": letter[choice.shown],
            "asked": letter[choice.asked],
        },
    )
