"""Fills the page of an experiment and writes it with all that lies beside it.

The page is `report.study`'s: here is only what goes into it, for a table of arms, for reward curves
and for gradients. `NAME.html` and `NAME.md` are the page, NAME being `table` or `figure`; beside
them lie the numbers as CSV and, in the formats that are asked for, the charts for a paper.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pairuni_eval.toolkit import writing
from pairuni_eval.toolkit.gradients import ALL, BlockInterference, cosines
from pairuni_eval.toolkit.report import (
    Grid,
    GridCell,
    GridRow,
    IntervalChart,
    LineChart,
    QuotedNumbers,
    Rerun,
    Series,
    Span,
    Study,
    StudyPart,
    arm_table,
    as_cell,
    asked,
    gradient_section,
    interval_chart,
    line_chart,
    sheet,
    write_page,
    write_study,
)
from pairuni_eval.toolkit.stats import ArmTable, Array, SeedCurve, p_words, spread_of
from pairuni_train.study import curve_findings, gradient_findings
from pairuni_train.study.curve_arms import ArmCurve, part_of, window_of
from pairuni_train.study.curves import CurveFigure
from pairuni_train.study.gradients import GradientFigure
from pairuni_train.study.paper_figures import draw_charts
from pairuni_train.study.spec import Experiment

_CSV = "every number behind the page"
_REWARDS = ("task", "arm", "seed", "prompts", "step", "reward")
_INTERFERENCE = (
    *("cosine", "ratio", "similarity", "conflict"),
    *("und_reliability", "gen_reliability", "ceiling", "corrected"),
)


def write_table(
    table: ArmTable,
    experiment: Experiment,
    folder: Path,
    *,
    tiny: bool,
    steps: int,
    command: str,
    figures: Sequence[str],
) -> Path:
    """Write the page of a table of arms; returns the HTML's path."""
    title = experiment.title
    study = _study(experiment, tiny=tiny, command=command)._replace(
        questions=arm_table.questions(table, experiment.question, command),
        partial=arm_table.partial(table),
        notes=(*experiment.notes, *experiment.method_notes),
        parts=arm_table.parts(table, tiny=tiny, steps=steps),
        files=dict(arm_table.FILES),
    )
    contents = arm_table.exports(table, title=title, tiny=tiny, steps=steps)
    return _write(study, folder, "table", contents, figures)


def write_curves(
    figure: CurveFigure, folder: Path, *, command: str, figures: Sequence[str]
) -> Path:
    """Write the page of reward curves; returns the HTML's path."""
    experiment = figure.experiment
    study = _study(experiment, tiny=figure.tiny, command=command)._replace(
        questions=(asked(experiment.question, *curve_findings.findings(figure)),),
        notes=(*experiment.notes, *curve_findings.notes(figure)),
        parts=_curves(figure),
    )
    contents = {"figure.csv": sheet(_REWARDS, _rewards(figure))}
    return _write(study, folder, "figure", contents, figures)


def write_gradients(
    figure: GradientFigure, folder: Path, *, command: str, figures: Sequence[str]
) -> Path:
    """Write the page of gradients; returns the HTML's path."""
    experiment = figure.experiment
    section = gradient_section(figure.table, figure.scenarios, figure.alignments, ())
    study = _study(experiment, tiny=figure.tiny, command=command)._replace(
        questions=(
            asked("Does the probe find cosines that are known?", _controls(figure)),
            asked(experiment.question, *gradient_findings.findings(figure)),
        ),
        notes=(*experiment.notes, *_scores(figure)),
        parts=(_scenarios(figure), _contrasts(figure), _blocks(figure)),
        # All batches are at the same weights, no steps of a training; the findings say the rest.
        gradients=section._replace(
            over_steps=None, alignments=(), correlations=figure.correlations
        ),
    )
    contents = {"figure.csv": sheet(tuple(next(_numbers(figure))), _numbers(figure))}
    return _write(study, folder, "figure", contents, figures)


def _study(experiment: Experiment, *, tiny: bool, command: str) -> Study:
    """The page of an experiment with nothing of ours on it yet."""
    return Study(
        title=experiment.title,
        tiny=tiny,
        questions=(),
        partial="",
        notes=(),
        parts=(),
        gradients=None,
        quoted=_quoted(experiment, tiny=tiny),
        reruns=(Rerun("This experiment", command),),
        files={"figure.csv": _CSV},
    )


def _quoted(experiment: Experiment, *, tiny: bool) -> QuotedNumbers | None:
    """The paper's rows, the numbers of a column with as many decimals as its longest."""
    if not experiment.printed:
        return None
    columns = list(zip(*(row.cells for row in experiment.printed), strict=True))
    places = [max(len(str(cell).partition(".")[2]) for cell in column) for column in columns]
    rows = tuple(
        GridRow(
            row.row,
            tuple(
                GridCell(cell if isinstance(cell, str) else f"{cell:.{count}f}")
                for cell, count in zip(row.cells, places, strict=True)
            ),
        )
        for row in experiment.printed
    )
    apart = ", and none of it may be read beside the tiny numbers above" if tiny else ""
    facts = f"Other models on the real benchmarks, quoted; no test is made against it{apart}."
    return QuotedNumbers(experiment.source, facts, Grid("", ("", *experiment.heads), rows))


def _write(
    study: Study, folder: Path, name: str, contents: Mapping[str, str], figures: Sequence[str]
) -> Path:
    drawn = figures if study.charts else ()  # without a live gradient there is nothing to draw
    pictures = {f"{name}.{ending}": "the charts of this page for a paper" for ending in drawn}
    study = study._replace(files={f"{name}.md": "this page as Markdown", **study.files, **pictures})
    with writing(str(folder)):
        folder.mkdir(parents=True, exist_ok=True)
        for file, content in contents.items():
            write_page(folder / file, content)
        for file in pictures:
            draw_charts(study.charts, folder / file)
        return write_study(study, folder, name)


# Reward curves


def _curves(figure: CurveFigure) -> tuple[StudyPart, ...]:
    """The rewards on fixed prompts where there are any, then those of training."""
    names = tuple(arm.name for arm in reversed(figure.experiment.arms))  # the method comes first
    levels = (
        "Before any update, the mean over the steps (the area under the curve), the end and the "
        "steps to a level are those on prompts that are the same for all arms, where these were "
        "measured; else the end is that of training, each arm's on its own prompts. Arms are "
        "compared by Welch's t test over seeds, p corrected by Holm over the "
        f"{len(figure.verdicts)} comparisons. Verdicts on fixed prompts hold for these prompts; "
        "what a checkpoint can do is measured in the tables."
    )
    window, part = window_of(figure.steps), part_of(figure.steps)
    own = (
        f"The reward of each step's own prompts: a line is the mean over seeds, smoothed over "
        f"{window} step{'s' * (window > 1)}, a band reaches from the lowest seed to the highest. "
        f"Its end is the last {part} of {figure.steps} steps."
    )
    fixed = tuple(_charts(figure, names, "fixed prompts", _on_fixed))
    training = tuple(_charts(figure, names, "in training", _in_training))
    return (
        StudyPart("levels", "Levels of the reward", levels, names, fixed, (_level_grid(figure),)),
        StudyPart("training", "Rewards of training", own, names, training),
    )


def _charts(
    figure: CurveFigure,
    names: Sequence[str],
    where: str,
    curve_of: Callable[[ArmCurve], tuple[Array, SeedCurve] | None],
) -> Iterator[LineChart]:
    """A chart for each task, its ceiling and the level that steps are counted to marked."""
    for panel in figure.panels:
        found = {one.arm: curve for one in panel.arms if (curve := curve_of(one)) is not None}
        series = [
            Series(arm, names.index(arm), steps, curve.mean, curve.low, curve.high)
            for arm, (steps, curve) in found.items()
        ]
        levels = {} if panel.ceiling is None else {f"ceiling {panel.ceiling:g}": panel.ceiling}
        if curve_of is _on_fixed and panel.level is not None:
            levels[f"level {panel.level:.3f}"] = panel.level
        title = f"{'Tiny r' if figure.tiny else 'R'}eward, {panel.title}, {where}"
        chart = line_chart(title, series, smoothing=False, levels=levels)
        if chart is not None:
            yield chart


def _on_fixed(one: ArmCurve) -> tuple[Array, SeedCurve] | None:
    return None if one.fixed is None else (one.fixed.steps_T, spread_of(one.fixed.reward_RT))


def _in_training(one: ArmCurve) -> tuple[Array, SeedCurve]:
    return np.arange(len(one.curve.mean), dtype=np.float64), one.curve


def _level_grid(figure: CurveFigure) -> Grid:
    heads = (
        *("reward, arm", "seeds", "before any update", "mean over the steps", "end"),
        *("steps to level", "end of each seed", "training reward at the end"),
    )
    rows = tuple(
        GridRow(
            f"{'tiny ' * figure.tiny}{panel.title}, {one.arm}",
            (
                GridCell(str(len(one.run.seeds))),
                as_cell(one.start),
                as_cell(one.area),
                as_cell(one.end),
                _steps_cell(one, panel.level),
                GridCell(", ".join(f"{end:.3f}" for end in one.end_R.tolist())),
                as_cell(one.own_end),
            ),
        )
        for panel in figure.panels
        for one in panel.arms
    )
    return Grid("With 95 % t intervals over seeds.", heads, rows)


def _steps_cell(one: ArmCurve, level: float | None) -> GridCell:
    """How many steps an arm took to a level, or how many seeds never came there."""
    if level is None:
        return GridCell("none")
    if one.missed:
        return GridCell(f"not reached by {one.missed} of {len(one.run.seeds)} (to {level:.3f})")
    return GridCell(f"{one.steps_to_level.value or 0.0:.0f} (to {level:.3f})")


def _rewards(figure: CurveFigure) -> Iterator[dict[str, Any]]:
    """Every reward as it was measured, in training and on the fixed prompts; else nothing.

    A training reward is that of step number `step`, a fixed one that after so many steps.
    """
    for panel in figure.panels:
        for one in panel.arms:
            steps = range(one.run.reward_RS.shape[1])
            measured = [("training", steps, one.run.seeds, one.run.reward_RS)]
            if one.fixed is not None:
                steps_T = one.fixed.steps_T.astype(int).tolist()
                measured.append(("fixed", steps_T, one.fixed.seeds, one.fixed.reward_RT))
            for prompts, steps, seeds, lines in measured:
                for seed, rewards in zip(seeds, lines, strict=True):
                    for step, reward in zip(steps, rewards.tolist(), strict=True):
                        yield {
                            "task": panel.task,
                            "arm": one.arm,
                            "seed": seed,
                            "prompts": prompts,
                            "step": step,
                            "reward": None if math.isnan(reward) else reward,
                        }


# Gradients


def _controls(figure: GradientFigure) -> str:
    """The cases that run in every probe before anything else."""
    found = (f"{one.name} {one.found:.4f} (right: {one.expected:g})" for one in figure.controls)
    return f"{', '.join(found)}."


def _scenarios(figure: GradientFigure) -> StudyPart:
    """All scenarios over all parameters."""
    batches = figure.probes.batches
    facts = (
        f"All scenarios at the weights of {figure.probes.options.recipe.checkpoint}: "
        f"{batches.per_seed} batches of {batches.pairs} pairs for each of {batches.seeds} "
        f"seed{'s' * (batches.seeds > 1)} of the probe, pairs counted alike. Intervals are 95 % "
        "over batches; they cover other batches and other rollouts, not other pair sets or other "
        "weights. A tick is a batch."
    )
    return StudyPart("scenarios", "Median cosine", facts, charts=tuple(_cosines(figure)))


def _cosines(figure: GradientFigure) -> Iterator[IntervalChart | LineChart]:
    rows = []
    for number, scenario in enumerate(figure.scenarios):
        one = scenario.overall.cosine
        each = cosines(figure.table, scenario.name, ALL, preconditioned=False)["cosine"].dropna()
        if one.value is not None:
            low, high = one.interval or (None, None)
            span = Span(scenario.name, number, one.value, low, high, tuple(each.tolist()))
            rows.append((scenario.name, [span]))
    chart = interval_chart(f"{'Tiny: m' if figure.tiny else 'M'}edian cosine of the tasks", rows)
    if chart is not None:
        yield chart


def _contrasts(figure: GradientFigure) -> StudyPart:
    facts = (
        "One test covers all shared parameters and every block: p is that of “no difference in "
        "any of them”, and intervals belong to the corrected p. Where the batches of both hold the "
        "same questions or the same prompts, they meet batch by batch in a permutation test; "
        "where they do not, no paired test is possible, and batches are permuted between the two. "
        "Holm corrects over the "
        f"{len(figure.against)} comparisons; “cannot tell” is not “equal”."
    )
    heads = ("scenarios", "difference", "test", "what the batches share", "p", "p, Holm", "word")
    rows = tuple(
        GridRow(
            f"{one.contrast.ours} against {one.contrast.theirs}",
            (
                as_cell(one.contrast.difference, "+"),
                GridCell(one.test),
                GridCell(one.overlap.words),
                GridCell(p_words(one.contrast.p)),
                GridCell(p_words(one.contrast.corrected)),
                GridCell(str(one.contrast.word)),
            ),
        )
        for one in figure.against
    )
    grid = Grid("Difference of the mean cosines over all shared parameters.", heads, rows)
    return StudyPart("contrasts", "Scenario against scenario", facts, grids=(grid,))


def _blocks(figure: GradientFigure) -> StudyPart:
    heads = ("block", *(one.name for one in figure.scenarios))
    rows = tuple(
        GridRow(name.replace("_", " "), tuple(as_cell(one.cosine) for one in blocks))
        for name, blocks in zip(
            figure.blocks, zip(*(one.blocks for one in figure.scenarios), strict=True), strict=True
        )
    )
    caption = "Median cosine in each block of the shared parameters."
    return StudyPart("blocks", "By block", grids=(Grid(caption, heads, rows),))


def _scores(figure: GradientFigure) -> Iterator[str]:
    """What must be known beside the scores of the scenarios' arms."""
    if not figure.correlations:
        yield (
            "No arm of these scenarios has been measured here yet, so that cosine and score are "
            "not set against each other; table5 measures them."
        )
    elif not figure.told_apart:
        yield (
            "No scenario could be told from another by its cosine, so that the scores of their "
            "arms are set against noise."
        )


def _numbers(figure: GradientFigure) -> Iterator[dict[str, Any]]:
    """Every scenario, all parameters first, then its blocks."""
    for scenario in figure.scenarios:
        for one in (scenario.overall, *scenario.blocks):
            yield {
                "scenario": one.scenario,
                "block": one.block,
                "batches": one.batches,
                "silent": one.silent,
                **_bounds(one),
                "und_live": one.und_live,
                "gen_live": one.gen_live,
            }


def _bounds(one: BlockInterference) -> dict[str, float | None]:
    found: dict[str, float | None] = {}
    for name in _INTERFERENCE:
        number = getattr(one, name)
        low, high = number.interval or (None, None)
        found |= {name: number.value, f"{name}_low": low, f"{name}_high": high}
    return found
