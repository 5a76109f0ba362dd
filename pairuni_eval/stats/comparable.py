"""The reasons why two runs cannot be compared, in words.

Numbers are of one kind if the version of the benchmark, the rule that makes the number, the scorer
and the judge are the same. Other decoding or another data revision does not forbid it, since
outputs meet by the content of their samples, but must be said.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from pairuni_eval.cards import Card, MetricSpec
from pairuni_eval.stats.planned import lost_samples
from pairuni_eval.stats.tables import Tables

_MAKES_THE_NUMBER = ("aggregate", "of", "by", "where", "weights", "direction", "range")

Side = Sequence[Tables]
"""One run, or the runs of one arm."""


def lacking_benchmark(ours: Side, theirs: Side, benchmark: str) -> str | None:
    """Who was not measured on a benchmark; None if all were."""
    for side, name in ((ours, "our side"), (theirs, "the other side")):
        lacking = [run for run in side if benchmark not in run.run.card.benchmarks]
        if lacking:
            return f"{_those(lacking, side, name)} not measured on it"
    return None


def lacking_protocol(ours: Side, theirs: Side, benchmark: str, protocol: str) -> str | None:
    """Who was not graded under a protocol; None if all were."""
    for side, name in ((ours, "our side"), (theirs, "the other side")):
        lacking = [run for run in side if protocol not in run.graded_under(benchmark)]
        if lacking:
            return f"{_those(lacking, side, name)} not graded under this protocol"
    return None


def _those(some: Side, side: Side, name: str) -> str:
    """Some runs of a side and their verb: "our side was", "a1 and a2 of our side were"."""
    if len(some) == len(side):
        return f"{name} was"
    names = tuple(dict.fromkeys(run.run.printed_name for run in some))
    listed = " and ".join([*filter(None, [", ".join(names[:-1])]), names[-1]])
    return f"{listed} of {name} {'was' if len(some) == 1 else 'were'}"


def other_rule(everyone: Side, benchmark: str, protocol: str, spec: MetricSpec) -> str | None:
    """What differs in how the number is defined; None if nothing does."""
    one = definition(everyone[0].card(benchmark), protocol, spec.name)
    for run in everyone[1:]:
        other = definition(run.card(benchmark), protocol, spec.name)
        for key, value in one.items():
            if other.get(key) != value:
                there = _shown(other.get(key))
                return f"{key} is {_shown(value)} in one run and {there} in another"
    return None


def definition(card: Card, protocol: str, metric: str) -> dict[str, object]:
    """Everything that makes a number what it is, but for the outputs."""
    rule = card.protocols[protocol]
    found: dict[str, object] = {"the benchmark's version": card.version}
    if metric not in [spec.name for spec in rule.metrics]:
        return found | {"the metric": "not defined"}
    plain = msgspec.to_builtins(rule.metric(metric))
    found |= {"the metric": "defined", "the rule for unparsed answers": rule.unparsed}
    return found | {f"the metric's `{key}`": plain[key] for key in _MAKES_THE_NUMBER}


def other_grader(everyone: Side, benchmark: str, protocol: str, spec: MetricSpec) -> str | None:
    """Judges or scorers that differ; None if the same ones gave the values."""
    found = [run.graders(benchmark, protocol, spec.of) for run in everyone]
    judges, scorers = [one.judges for one in found], [one.scorers for one in found]
    for kind, sets in (("judge", judges), ("scorer", scorers)):
        for other in sets[1:]:
            if other != sets[0] and other and sets[0]:
                one, two = (", ".join(sorted(names)) for names in (sets[0], other))
                return f"the {kind} is {one} in one run and {two} in another"
    return None


def lacking_samples(ours: Side, theirs: Side, benchmark: str) -> str | None:
    """Which side lost samples that it planned; None if both have them all."""
    for side, name in ((ours, "our side"), (theirs, "the other side")):
        for run in side:
            planned = run.run.card.benchmarks[benchmark].planned
            if lost := lost_samples(run, benchmark):
                return f"{name} holds {planned - lost:,} of the {planned:,} samples that it planned"
    return None


def drawn_alike(everyone: Side, benchmark: str) -> bool:
    """Whether equal weights must say the same: decoding is greedy, or all draws have one seed."""
    return _greedy(everyone, benchmark) or len({run.run.card.seed for run in everyone}) == 1


def _greedy(everyone: Side, benchmark: str) -> bool:
    return all(run.run.card.benchmarks[benchmark].decoding.temperature == 0 for run in everyone)


def other_settings(everyone: Side, benchmark: str) -> tuple[str, ...]:
    """What differs between the runs besides the checkpoint, in words.

    The seed of a run is among it where outputs are drawn: a greedy answer has none.
    """
    parts = [run.run.card.benchmarks[benchmark] for run in everyone]
    told = [
        msgspec.to_builtins(part.decoding) | {"judge": part.judge, "data revision": part.revision}
        for part in parts
    ]
    if not _greedy(everyone, benchmark):
        told = [one | {"seed": run.run.card.seed} for one, run in zip(told, everyone, strict=True)]
    return tuple(
        dict.fromkeys(
            f"{key.replace('_', ' ')} {_shown(value)} and {_shown(other[key])}"
            for other in told[1:]
            for key, value in told[0].items()
            if other[key] != value
        )
    )


def _shown(value: object) -> str:
    return "not set" if value is None else str(value)
