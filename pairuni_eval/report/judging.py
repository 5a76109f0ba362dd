"""The report's section on judges: who was asked, whether the card says so, cost, agreement."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from pairuni_eval.cards import MetricSpec
from pairuni_eval.judges.usage import Usage, total_usage
from pairuni_eval.stats.agreement import Agreement, agreements
from pairuni_eval.stats.intervals import Estimate
from pairuni_eval.stats.tables import Tables

SHARE = MetricSpec(name="exact")  # how a share of equal values is printed
ALPHA = MetricSpec(name="alpha", scale=1.0, decimals=3)


class JudgingReport(NamedTuple):
    """The judges of one benchmark.

    Attributes:
        judge: The judge that was asked, None if none was.
        prescribed: The card's judge, where another one or none was asked.
        named: The judges that the scores name otherwise: with another prompt than the official one.
        second: The judge that was asked again and its share, None if there was none.
        accounts: What each was asked and what it cost, by the words for it.
        agreements: How far the second one agrees with the first.
    """

    judge: str | None
    prescribed: str | None
    named: tuple[str, ...]
    second: str | None
    accounts: Mapping[str, Usage]
    agreements: tuple[Agreement, ...]

    @property
    def difference(self) -> str | None:
        """That it was not the card's judge, in words."""
        if self.prescribed is None:
            return None
        if self.judge is None:
            return f"No judge was asked; the card's is {self.prescribed}."
        return f"The judge {self.judge} differs from the card's, {self.prescribed}."

    @property
    def lines(self) -> tuple[str, ...]:
        """The accounts in words."""
        return tuple(f"{who}: {_words(who, usage)}." for who, usage in self.accounts.items())

    @property
    def specs(self) -> tuple[MetricSpec, MetricSpec]:
        """How exact agreement and alpha are printed."""
        return SHARE, ALPHA


def judging(tables: Tables, benchmark: str) -> JudgingReport | None:
    """What there is to say about the judges of a benchmark; None if there is nothing."""
    card, run = tables.card(benchmark), tables.run.card.benchmarks[benchmark]
    if card.judge is None:
        return None
    mine = [row for row in tables.run.judge_usage if row.benchmark == benchmark]
    rows = {
        f"Judge {run.judge}": [row for row in mine if not row.second],
        f"Second judge {run.second_judge}": [row for row in mine if row.second],
    }
    differs = run.judge is None or card.judge.snapshot not in (None, run.judge)
    found = JudgingReport(
        judge=run.judge,
        prescribed=card.judge.snapshot or card.judge.name if differs else None,
        named=tuple(name for name in judges_named(tables, benchmark) if name != run.judge),
        second=run.second_judge,
        accounts={who: total_usage(some) for who, some in rows.items() if some},
        agreements=agreements(tables, benchmark) if run.second_judge else (),
    )
    return found if any((found.prescribed, found.accounts, found.named, found.second)) else None


def judges_named(tables: Tables, benchmark: str) -> tuple[str, ...]:
    """The judges that the scores of a benchmark name, each once."""
    scores = tables.run.scores
    protocols = scores["protocol"].unique()
    whose = [name for name in protocols if name.rpartition("@")[0] == benchmark]
    mine = scores.loc[scores["protocol"].isin(whose), "judge"]
    return tuple(sorted(mine.dropna().unique()))


def _words(who: str, usage: Usage) -> str:
    """An account in one line; the endpoint's name for itself only where it is another one."""
    paid = f"{usage.calls} calls"
    if usage.prompt_tokens is not None and usage.completion_tokens is not None:
        paid += f" ({usage.prompt_tokens:,} tokens in, {usage.completion_tokens:,} out)"
    if usage.cost is not None and usage.calls:
        paid += f" for {usage.cost:,.4f}"
    words = f"{usage.questions} questions, {paid}, {usage.remembered} answered from memory"
    if others := [name for name in usage.served if name not in who]:
        words += f", served by {', '.join(others)}"
    if usage.troubles:
        reasons = ", ".join(f"{count} {reason}" for reason, count in usage.troubles)
        words += f"; no usable reply to {sum(n for _, n in usage.troubles)}: {reasons}"
    return words + (f"; {usage.open} open, the same command asks them" if usage.open else "")


def judging_entry(found: JudgingReport) -> dict[str, Any]:
    """The same for programs."""
    return {
        "judge": found.judge,
        "differs_from_card": found.prescribed,
        "named_in_scores": list(found.named),
        "second_judge": found.second,
        "usage": {
            who: {**usage._asdict(), "troubles": dict(usage.troubles)}
            for who, usage in found.accounts.items()
        },
        "agreement": [_agreement_entry(one) for one in found.agreements],
    }


def _agreement_entry(one: Agreement) -> dict[str, Any]:
    return {
        "protocol": one.protocol,
        "metric": one.metric,
        "asked": one.asked,
        "both": one.both,
        "exact": _number(one.exact),
        "alpha": {alpha.level: _number(alpha.estimate) for alpha in one.alphas},
    }


def _number(number: Estimate) -> dict[str, Any]:
    return {
        "value": number.value,
        "interval": list(number.interval) if number.interval else None,
        "clusters": number.clusters,
    }
