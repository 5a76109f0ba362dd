"""The figure of gradients: scenarios at one set of weights, each against the one in question.

Goes in: finished probes. Comes out: the controls, the numbers of every scenario over all shared
parameters and by block, whether its gradients agree, the contrasts, and what can be said, in
sentences made from the figures.

Every answer is one test over all blocks and batches. A contrast is paired, batch by batch, where
the batches of both scenarios hold the same questions or prompts; else no paired test is possible
and the batches are permuted between the two. Holm corrects over all contrasts of the figure. Where
arms of these scenarios were trained and measured under the same root, cosine and score are
correlated across arms.

The departure from the paper: all scenarios are probed at the weights that training starts from,
with pairs that count alike, so that what differs is the pairs alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import msgspec
import pandas as pd

from pairuni_eval.toolkit.gradients import (
    Alignment,
    ArmPoint,
    Correlation,
    ScenarioComparison,
    ScenarioInterference,
    ScenarioVerdict,
    alignments,
    compare_two,
    corrected_together,
    correlate,
    scenarios,
)
from pairuni_train.study.jobs import StudyOptions
from pairuni_train.study.probes import (
    Probes,
    WorstControl,
    read_controls,
    read_probes,
    unfinished_seeds,
)
from pairuni_train.study.scenario_overlap import ScenarioOverlap, scenario_overlap
from pairuni_train.study.spec import Experiment
from pairuni_train.study.table import make_table, measured_columns

CANNOT_TELL = ScenarioVerdict.CANNOT_TELL


class ScenarioContrast(NamedTuple):
    """Two scenarios, what their batches share, and what that allows to say."""

    contrast: ScenarioComparison
    overlap: ScenarioOverlap

    @property
    def test(self) -> str:
        """How the two were compared."""
        if self.contrast.reason is not None:
            return "none"
        return "paired" if self.overlap.paired else "not paired"

    @property
    def sentence(self) -> str:
        """E.g. "PairUG against random: cannot tell, p = .3 (one test of ...); ..."."""
        one = self.contrast
        shared = "" if one.reason else f" ({self.test}: {self.overlap.words})"
        return f"{one.ours} against {one.theirs}: {one.description}{shared}."


class GradientFigure(NamedTuple):
    """Everything that is printed and drawn.

    Attributes:
        table: The rows behind it, as `gradient_table` has them, scenarios by their arms' names.
        scenarios: The numbers of every scenario.
        alignments: Whether the gradients of every scenario agree, in the order of `scenarios`.
        against: The contrasts.
        unfinished: Seeds whose probe is not finished: none of its batches is used.
        correlations: By column, cosine against score across arms; empty if no arm was measured.
    """

    experiment: Experiment
    tiny: bool
    probes: Probes
    controls: tuple[WorstControl, ...]
    table: pd.DataFrame
    scenarios: tuple[ScenarioInterference, ...]
    against: tuple[ScenarioContrast, ...]
    correlations: tuple[tuple[str, Correlation], ...]
    alignments: tuple[Alignment, ...] = ()
    unfinished: tuple[int, ...] = ()

    @property
    def told_apart(self) -> bool:
        """Whether any two scenarios differ for certain."""
        return any(one.contrast.word != CANNOT_TELL for one in self.against)

    @property
    def blocks(self) -> tuple[str, ...]:
        """The blocks of parameters, in the order of the rows."""
        return tuple(one.block for one in self.scenarios[0].blocks)


def make_gradients(probes: Probes) -> GradientFigure:
    """Read the probes and compare the scenarios.

    Raises:
        UserError: if no probe is finished.
    """
    table = read_probes(probes)
    found = tuple(one for one in scenarios(table) if not one.preconditioned)
    order = {arm.name: place for place, arm in enumerate(probes.experiment.arms)}
    found = tuple(sorted(found, key=lambda one: order[one.name]))
    against = compare(table, probes)
    stances = sorted(alignments(table), key=lambda one: order[one.scenario])
    return GradientFigure(
        experiment=probes.experiment,
        tiny=probes.options.tiny,
        probes=probes,
        controls=read_controls(probes),
        table=table,
        scenarios=found,
        against=against,
        correlations=_correlations(found, probes.experiment, probes.options),
        alignments=tuple(stances),
        unfinished=unfinished_seeds(probes),
    )


def compare(table: pd.DataFrame, probes: Probes) -> tuple[ScenarioContrast, ...]:
    """Every scenario against each one in question, over all blocks at once."""
    uncorrected, shares = [], []
    for theirs, ours in probes.experiment.comparisons:
        one, two = (probes.scenarios[name] for name in (ours, theirs))
        shared = scenario_overlap(one, two, probes.batches)
        uncorrected.append(compare_two(table, ours, theirs, paired=shared.paired))
        shares.append(shared)
    made = corrected_together(uncorrected)
    return tuple(ScenarioContrast(one, shared) for one, shared in zip(made, shares, strict=True))


def _correlations(
    found: Sequence[ScenarioInterference], experiment: Experiment, options: StudyOptions
) -> tuple[tuple[str, Correlation], ...]:
    """Each column's score against the cosine, across the arms measured under this root."""
    columns = measured_columns(experiment, options)
    if not columns:
        return ()
    scores = make_table(msgspec.structs.replace(experiment, columns=columns, against=()), options)
    cosine = {one.name: one.overall.cosine.value for one in found}
    correlations = []
    for place, heading in enumerate(scores.columns):
        points = [
            ArmPoint(row.name, agreed, cell.estimate.value)
            for row in scores.rows
            if (cell := row.cells[place]) is not None
            and cell.estimate.value is not None
            and (agreed := cosine.get(row.name)) is not None
        ]
        correlations.append((heading.title, correlate(points)))
    return tuple(correlations)
