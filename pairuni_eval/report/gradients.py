"""The report's section on the two tasks' gradients: do they fight, in this training or in others'?

Goes in: training folders by arm, whose probes wrote inner products of gradients. Comes out: one
answer in words, the numbers of every arm over all parameters and by block, the cosine over steps,
and the own arm against the others batch by batch. Answers are those of `gradients.alignment` and
`gradients.scenario_comparison`, one test over all blocks and batches each, numbers those of
`gradients.interference`; a probe that holds several scenarios shows each as an arm. Blocks differ
in size, and their cosines with them, so each is drawn on an axis of its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from pairuni_eval.gradients.alignment import Alignment, Stance, alignments
from pairuni_eval.gradients.blocks import BlockCosine
from pairuni_eval.gradients.correlation import ArmPoint, Correlation, correlate
from pairuni_eval.gradients.interference import (
    BatchStatistic,
    BlockInterference,
    ScenarioInterference,
    curve,
    scenarios,
)
from pairuni_eval.gradients.rows import read_gradients
from pairuni_eval.gradients.scenario_comparison import ScenarioComparison, compare_scenarios
from pairuni_eval.report.charts import (
    IntervalChart,
    LineChart,
    Series,
    Span,
    interval_chart,
    line_chart,
)
from pairuni_eval.store.training import GRADIENTS


class Gradients(NamedTuple):
    """What a report says about interference.

    Attributes:
        names: The arms in the order of their colors, the run's own first.
        answer: Whether they fight, in words and the run's own numbers.
        noise: How far noise hides the answer.
        raw: Every arm by its gradients as they are.
        preconditioned: The same after Adam's division, where it was probed.
        comparisons: The own arm against the others.
        over_steps: The cosine over training steps.
        by_block: The cosine in each block of parameters, an axis for each.
        alignments: Whether each arm's gradients agree, over all blocks and batches.
        correlations: By benchmark, whether arms that agree more score higher.
    """

    names: tuple[str, ...]
    answer: str
    noise: str
    raw: tuple[ScenarioInterference, ...]
    preconditioned: tuple[ScenarioInterference, ...]
    comparisons: tuple[ScenarioComparison, ...]
    over_steps: LineChart | None
    by_block: tuple[IntervalChart, ...]
    correlations: tuple[tuple[str, Correlation], ...]
    alignments: tuple[Alignment, ...] = ()


def gradients(
    arms: Mapping[str, Sequence[Path]], scores: Mapping[str, Mapping[str, float]]
) -> Gradients | None:
    """Read the probes of every arm; None if no arm has any.

    Args:
        arms: Training folders by name, the run's own first.
        scores: By benchmark's title, the headline of every arm that was measured.

    Raises:
        UserError: for a line that cannot be read.
    """
    tables = [
        _named(read_gradients(probed), name)
        for name, folders in arms.items()
        if (probed := [folder for folder in folders if (folder / GRADIENTS).is_file()])
    ]
    if not any(len(table) for table in tables):
        return None
    table = pd.concat(tables, ignore_index=True)
    found = scenarios(table)
    against = compare_scenarios(table, found[0].name)
    section = gradient_section(table, found, alignments(table), against)
    return section._replace(correlations=_correlations(section.raw, scores))


def gradient_section(
    table: pd.DataFrame,
    found: Sequence[ScenarioInterference],
    aligned: Sequence[Alignment],
    against: Sequence[ScenarioComparison],
) -> Gradients:
    """What is said of scenarios whose numbers are made already.

    Args:
        table: Of `gradient_table`.
        found: Its scenarios, raw gradients first, the one in question before all others.
        aligned: Whether the gradients of each agree, in the same order.
        against: That one against others.
    """
    raw = tuple(one for one in found if not one.preconditioned)
    names = tuple(one.name for one in raw)
    return Gradients(
        names=names,
        answer=_answer(aligned[0], against),
        noise=_noise(raw[0].overall),
        raw=raw,
        preconditioned=tuple(one for one in found if one.preconditioned),
        comparisons=tuple(against),
        over_steps=cosine_over_steps(table, names),
        by_block=_by_block(raw),
        correlations=(),
        alignments=tuple(aligned),
    )


def _named(table: pd.DataFrame, arm: str) -> pd.DataFrame:
    """The rows under their arm's name; under the scenario's as well where there are several."""
    if table["scenario"].nunique() > 1:
        return table
    return table.assign(scenario=arm)


def _answer(own: Alignment, against: Sequence[ScenarioComparison]) -> str:
    told = "; ".join(one.brief for one in against)
    compared = f" {told[0].upper()}{told[1:]}." if told else ""
    return f"{_VERDICTS[own.stance]} {own.sentence}{compared}"


def _noise(own: BlockInterference) -> str:
    if own.cosine.value is None:
        return ""
    return f"{own.scenario}: {own.noise}."


_VERDICTS = {
    Stance.FIGHT: "They fight.",
    Stance.AGREE: "On the whole they agree.",
    Stance.MIXED: "They agree in some blocks and fight in others.",
    Stance.CANNOT_TELL: "Neither agreement nor conflict can be told.",
    Stance.TOO_FEW: "Too few batches to tell.",
}


def cosine_over_steps(
    table: pd.DataFrame, names: Sequence[str], *, across: Sequence[float] = ()
) -> LineChart | None:
    """The moving median of the cosine; an arm that was probed at one step only has no line.

    Args:
        table: Of `gradient_table`.
        names: The scenarios in the order of their colors.
        across: Steps that the axis must show.
    """
    series = []
    for arm, name in enumerate(names):
        found = curve(table, name)
        if len(found.steps) > 1:
            columns = (found.steps, found.median, found.low, found.high)
            x, y, low, high = (np.array(column, dtype=np.float64) for column in columns)
            series.append(Series(name, arm, x, y, low, high))
    title = "Cosine of the two tasks' gradients"
    return line_chart(title, series, smoothing=False, within=(0.0,), across=across)


def _by_block(arms: Sequence[ScenarioInterference]) -> tuple[IntervalChart, ...]:
    """A chart for each block, with a row for each arm: its axis is scaled by its own numbers."""
    blocks = list(dict.fromkeys(one.block for arm in arms for one in arm.blocks))
    charts = []
    for block in blocks:
        rows = [
            (arm.name, [span])
            for number, arm in enumerate(arms)
            for one in arm.blocks
            if one.block == block and (span := _span(arm.name, number, one.cosine))
        ]
        charts.append(interval_chart(f"Median cosine, {block.replace('_', ' ')}", rows))
    return tuple(chart for chart in charts if chart is not None)


def _span(name: str, arm: int, number: BatchStatistic) -> Span | None:
    if number.value is None:
        return None
    low, high = number.interval or (None, None)
    return Span(name, arm, number.value, low, high)


def _correlations(
    arms: Sequence[ScenarioInterference], scores: Mapping[str, Mapping[str, float]]
) -> tuple[tuple[str, Correlation], ...]:
    found = []
    for title, by_arm in scores.items():
        points = [
            ArmPoint(arm.name, arm.overall.cosine.value, by_arm[arm.name])
            for arm in arms
            if arm.name in by_arm and arm.overall.cosine.value is not None
        ]
        correlation = correlate(points)
        if correlation.value is not None:
            found.append((title, correlation))
    return tuple(found)


def gradients_entry(found: Gradients) -> dict[str, Any]:
    """The same for programs."""
    return {
        "answer": found.answer,
        "arms": [_arm_entry(arm) for arm in (*found.raw, *found.preconditioned)],
        "contrasts": [
            {
                "ours": one.ours,
                "theirs": one.theirs,
                "difference": _number(one.difference),
                "p": one.p,
                "p_holm": one.corrected,
                "batches": one.batches,
                "left_out": one.left_out._asdict(),
                "word": str(one.word),
                "blocks": _means_entry(one.blocks),
                "sentence": one.sentence,
            }
            for one in found.comparisons
        ],
        "alignments": [
            {
                "arm": one.scenario,
                "stance": str(one.stance),
                "p_holm": one.p,
                "batches": one.batches,
                "silent": one.silent,
                "blocks": _means_entry(one.blocks),
                "sentence": one.sentence,
            }
            for one in found.alignments
        ],
    }


def _means_entry(blocks: Sequence[BlockCosine]) -> dict[str, Any]:
    return {
        one.block: {"mean": _number(one.mean), "p_corrected": one.p, "batches": one.batches}
        for one in blocks
    }


def _arm_entry(arm: ScenarioInterference) -> dict[str, Any]:
    return {
        "name": arm.name,
        "preconditioned": arm.preconditioned,
        "all": _block_entry(arm.overall),
        "blocks": {one.block: _block_entry(one) for one in arm.blocks},
    }


def _block_entry(one: BlockInterference) -> dict[str, Any]:
    numbers = {
        "cosine": one.cosine,
        "ratio": one.ratio,
        "similarity": one.similarity,
        "conflict": one.conflict,
        "ceiling": one.ceiling,
        "corrected": one.corrected,
    }
    return {"batches": one.batches} | {key: _number(number) for key, number in numbers.items()}


def _number(number: BatchStatistic) -> dict[str, Any]:
    interval = list(number.interval) if number.interval else None
    return {"value": number.value, "interval": interval, "note": number.note}
