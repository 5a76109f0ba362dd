"""The timeline: what the checkpoints of one or several trainings measure, over their steps.

Goes in: runs, and training folders with a gradient probe. Comes out: `timeline.html` and
`timeline.md`: every benchmark's headline over steps, the trade-off of understanding against
generation, the cosine of the two tasks' gradients on the same axis, and the last checkpoint of each
arm against its first. Words are those of a comparison page, of last against first in every arm,
corrected together; a last step at which a rule stopped the training has none on the rows that
decided it. No step is chosen here; one that a training chose by its plan of evaluations is told
with what held-out rows say of it (`chosen_step`). Groups that a training kept as it sampled them
stand at the end.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from pairuni_eval.commands import as_typed
from pairuni_eval.errors import UserError, writing
from pairuni_eval.gradients.rows import read_gradients
from pairuni_eval.places import is_file, is_folder
from pairuni_eval.report import text
from pairuni_eval.report.baseline_comparison import describe_comparison
from pairuni_eval.report.charts import Array, LineChart, Series, line_chart
from pairuni_eval.report.chosen_step import ChosenStep, choice_part, choice_sentences, choices_of
from pairuni_eval.report.copied_images import FOLDER, ImageCopier, drop_stale
from pairuni_eval.report.gradients import cosine_over_steps
from pairuni_eval.report.headline_cache import HeadlineCache
from pairuni_eval.report.questions import OpeningAnswer, OpeningQuestion
from pairuni_eval.report.rollouts import rollouts
from pairuni_eval.report.study import Grid, GridCell, GridRow, Study, StudyPart, asked, write_study
from pairuni_eval.report.timeline_numbers import (
    ArmEnds,
    MeasuredBenchmark,
    MeasuredStep,
    PickedEnd,
    RuleStop,
    measured_benchmarks,
    page_of_tests,
    understanding_and_generation,
)
from pairuni_eval.report.trade_off import TradeOff
from pairuni_eval.report.trajectories import TimedRun, Trajectories, Trajectory, trajectories
from pairuni_eval.stats.difference import Comparison
from pairuni_eval.stats.tables import Tables
from pairuni_eval.store import layout
from pairuni_eval.store.evaluations import EVALUATED, read_plan, training_of
from pairuni_eval.store.partial_run import open_run
from pairuni_eval.store.run_folders import find_runs
from pairuni_eval.store.training import GRADIENTS, ROLLOUTS, TRAINING, has_training

CACHE = "headlines.json"
FILES = {
    "timeline.md": "this page as Markdown",
    CACHE: "the headlines, which the next timeline reads instead of making them again",
}
_CHOSEN = (
    "No step is chosen here: the words compare the last checkpoint with the first. A best step "
    "that is read off these curves was chosen on the same rows that measure it, and looks better "
    "than it is; choose on a tuning split and report on another."
)


class Timed(NamedTuple):
    """What was named: runs by where they lie, trainings, and why something is neither."""

    runs: tuple[Path, ...]
    trainings: tuple[Path, ...]
    left_out: tuple[str, ...]


def named_things(named: Sequence[Path]) -> Timed:
    """The runs and trainings that somebody names: runs, folders of runs, training folders.

    Raises:
        UserError: for a folder that is not there.
    """
    runs: list[Path] = []
    trainings: list[Path] = []
    left_out: list[str] = []
    for path in named:
        is_training = has_training(path)
        if is_training:
            trainings.append(path)
        if not is_folder(path) or is_file(path / layout.RUN_FILE):
            runs.append(path)
            continue
        found = find_runs(path)
        runs += found.runs
        if not is_training:  # whose own folders are no runs, and need no word
            left_out += [f"{path / name}: {why}" for name, why in found.others.items()]
    return Timed(tuple(dict.fromkeys(runs)), tuple(dict.fromkeys(trainings)), tuple(left_out))


def state_of(named: Sequence[Path]) -> tuple[object, ...]:
    """What tells whether a timeline of these would be another one: runs that have ended, probes."""
    try:
        things = named_things(named)
    except UserError:
        return ()
    ended = tuple(run for run in things.runs if is_file(run / layout.COMPLETE))
    grown = tuple(
        (folder / name).stat().st_size
        for folder in things.trainings
        for name in (GRADIENTS, ROLLOUTS, EVALUATED)
        if is_file(folder / name)
    )
    return ended, grown


def _how_to_measure(trainings: Sequence[Path]) -> str:
    """What gives a run a training step: of the training that was named, or of any."""
    if not trainings:
        return "Measure a checkpoint: pairuni-eval run --checkpoint TRAINING/checkpoint-100"
    one = trainings[0]
    unplanned = ("--evaluate", "SUITE") if read_plan(one) is None else ()
    return f"Measure its checkpoints: {as_typed('pairuni-eval', 'follow', one, *unplanned)}"


def build_timeline(named: Sequence[Path], out: Path) -> Path:
    """Write the timeline of what is named; returns the path of its HTML file.

    Args:
        named: Runs, folders of runs, training folders.
        out: The page's folder; made if it is not there.

    Raises:
        UserError: if no run has a training step, or the page cannot be written.
    """
    things = named_things(named)
    cache = HeadlineCache(out / CACHE)
    runs, unread = _read(things.runs, cache)
    found = trajectories(runs)
    left_out = (*things.left_out, *unread, *found.left_out)
    if not found.arms:
        said = f": {left_out[0].rstrip('.')}" if left_out else ""
        raise UserError(
            f"None of these runs has a training step{said}.",
            hint=_how_to_measure(things.trainings),
        )
    chosen, unknown = choices_of(things.trainings)
    sources = _Sources(
        found=found,
        probed=_probed(things.trainings, runs),
        choices=tuple(chosen),
        stops=_stops(chosen, things),
        left_out=(*left_out, *unknown),
    )
    with ImageCopier(out) as copier:
        kept = rollouts({one.resolve().name: [one] for one in things.trainings}, copier)
    study = _study(named, sources)._replace(rollouts=kept)
    with writing(str(out)):
        out.mkdir(parents=True, exist_ok=True)
        drop_stale(out / FOLDER, copier.files)
        page = write_study(study, out, "timeline")
    cache.keep()
    return page


def _read(paths: Sequence[Path], cache: HeadlineCache) -> tuple[list[TimedRun], list[str]]:
    runs: list[TimedRun] = []
    left_out: list[str] = []
    for path in paths:
        try:
            run = open_run(path)
            if run.unfinished:
                left_out.append(f"{path}: the run has not ended")
                continue
            runs.append(TimedRun(str(path), Tables(run), cache.headlines(run)))
        except UserError as failure:
            about = "" if failure.message.startswith(str(path)) else f"{path}: "
            left_out.append(f"{about}{failure.message}")
        except OSError as failure:  # e.g. a file that may not be read
            left_out.append(f"{path}: it cannot be read: {failure.strerror}")
    return runs, left_out


def _stops(chosen: Sequence[ChosenStep], things: Timed) -> tuple[RuleStop, ...]:
    """Of the trainings that were named, and of those whose evaluations were."""
    named = {one.resolve() for one in things.trainings}
    owners = dict.fromkeys(filter(None, map(training_of, things.runs)))
    others, _ = choices_of([one for one in owners if one not in named])
    return tuple(one.stop for one in (*chosen, *others) if one.stop is not None)


def _probed(trainings: Sequence[Path], runs: Sequence[TimedRun]) -> tuple[Path, ...]:
    """The folders with a probe: those that were named, else what the latest run kept of its own."""
    named = tuple(folder for folder in trainings if is_file(folder / GRADIENTS))
    if named:
        return named
    kept = [one.run for one in runs if is_file(one.run.folder / TRAINING / GRADIENTS)]
    latest: dict[str | None, tuple[int, Path]] = {}
    for run in kept:
        step, recipe = run.card.checkpoint.step or 0, run.card.checkpoint.recipe
        if recipe not in latest or step > latest[recipe][0]:
            latest[recipe] = step, run.folder / TRAINING
    return tuple(folder for _, folder in latest.values())


class _Sources(NamedTuple):
    """What the page is made of.

    Attributes:
        probed: Folders with a gradient probe.
        choices: Best steps that trainings chose.
        stops: Where trainings were stopped by their rule.
        left_out: What is not on the page, in sentences.
    """

    found: Trajectories
    probed: tuple[Path, ...]
    choices: tuple[ChosenStep, ...]
    stops: tuple[RuleStop, ...]
    left_out: tuple[str, ...]


def _study(named: Sequence[Path], sources: _Sources) -> Study:
    found, probed, chosen, stops, left_out = sources
    benchmarks = measured_benchmarks(found)
    held_out = {str(one.training): one.ends for one in chosen if one.ends is not None}
    reported = {name for one in chosen for name in one.reported}
    tests = page_of_tests(found, held_out, reported, stops)
    ends = tests.ends
    steps = [step for arm in found.arms for step in arm.steps]
    span = (float(min(steps)), float(max(steps)))
    picture = understanding_and_generation(benchmarks, found, reported)
    parts = [_over_steps(benchmarks, found, span)]
    cosine = _cosine(probed, span)
    if cosine is not None:
        parts.append(cosine)
    if picture is not None:
        parts.append(_traded(picture))
    said = [(one, tests.beside.get(str(one.training))) for one in chosen]
    parts += [choice_part(one, held, number) for number, (one, held) in enumerate(said)]
    picked = tuple(_picked(tests.picked, benchmarks))
    parts += [_last(ends, benchmarks, picked), _numbers(benchmarks, found)]
    if left_out:
        parts.append(StudyPart("left-out", "Left out", points=tuple(left_out)))
    partial = [one.title for one in benchmarks if one.partial]
    return Study(
        title=f"Timeline of {text.listed([arm.name for arm in found.arms])}",
        tiny=all(one.tiny for one in benchmarks),
        questions=(
            asked("Did training move anything?", *_told(ends, picked)),
            asked("Which step is best?", *_best(said)),
            OpeningQuestion(
                "How do I build it again?",
                (OpeningAnswer("", commands=(as_typed("pairuni-eval", "timeline", *named),)),),
            ),
        ),
        partial=f"Not all samples of {text.listed(partial)} were measured." if partial else "",
        notes=(),
        parts=tuple(parts),
        gradients=None,
        quoted=None,
        reruns=(),
        files=FILES,
        kind="timeline",
    )


def _best(said: Sequence[tuple[ChosenStep, Comparison | None]]) -> list[str]:
    """What the trainings chose; without a choice, why none is made here."""
    sentences = [each for one, held in said for each in choice_sentences(one, held)]
    return list(dict.fromkeys(sentences)) or [_CHOSEN]


def _picked(found: Sequence[PickedEnd], benchmarks: Sequence[MeasuredBenchmark]) -> Iterator[str]:
    """Of which last steps no word is printed, and why."""
    titles = {one.name: one.title for one in benchmarks}
    for arm, step, names in found:
        yield (
            f"{arm.name} was stopped by its rule at step {step}, which the rows of "
            f"{text.listed([titles[name] for name in names])} decided: no word is printed of that "
            "step on them. A later step, or a checkpoint fixed before, can be compared."
        )


def _told(ends: Sequence[ArmEnds], picked: Sequence[str]) -> list[str]:
    if not ends:
        return list(picked) or ["Nothing can be told yet: no arm has two measured steps."]
    ended = [
        f"{one.arm.name}, step {one.last} against step {one.first}: "
        f"{describe_comparison(f'step {one.first}', comparison)}"
        for one in ends
        for comparison in one.comparisons
    ]
    return [*picked, *ended]


def _over_steps(
    benchmarks: Sequence[MeasuredBenchmark], found: Trajectories, span: tuple[float, float]
) -> StudyPart:
    charts = (_chart(one, span) for one in benchmarks)
    return StudyPart(
        "steps",
        "Over training steps",
        facts=(
            "Every benchmark's headline under its default protocol. A band is the 95 % interval: "
            "of one run over its units, of several training seeds that of their mean, which from "
            "three seeds on covers training again."
        ),
        key=tuple(arm.name for arm in found.arms),
        charts=tuple(chart for chart in charts if chart is not None),
    )


def _chart(benchmark: MeasuredBenchmark, span: tuple[float, float]) -> LineChart | None:
    spec = benchmark.place.spec
    series = [
        Series(arm.name, arm.number, *_columns(points, spec.scale))
        for arm, points in benchmark.arms
        if points
    ]
    marks = f"{', tiny' * benchmark.tiny}{', PARTIAL' * benchmark.partial}"
    unit = text.unit(spec)
    title = f"{benchmark.title}{marks}: {spec.title or spec.name}{', ' * bool(unit)}{unit}"
    return line_chart(title, series, smoothing=False, across=span, spots=True)


def _columns(points: Sequence[MeasuredStep], scale: float) -> tuple[Array, Array, Array, Array]:
    """Step, number and both ends of the interval; NaN where there is none."""
    rows = [
        (
            one.step,
            _or_nan(one.estimate.value, scale),
            *(
                (end * scale for end in one.estimate.interval)
                if one.estimate.interval
                else (np.nan, np.nan)
            ),
        )
        for one in points
    ]
    step, value, low, high = np.array(rows, dtype=np.float64).T
    return step, value, low, high


def _or_nan(value: float | None, scale: float) -> float:
    return float("nan") if value is None else value * scale


def _cosine(probed: Sequence[Path], span: tuple[float, float]) -> StudyPart | None:
    """The cosine of the trainings' own probes, on the axis of the benchmarks."""
    if not probed:
        return None
    table = read_gradients(probed)
    names = tuple(dict.fromkeys(table["scenario"]))
    chart = cosine_over_steps(table, names, across=span)
    if chart is None:
        return None
    return StudyPart(
        "gradients",
        "Do the gradients fight meanwhile?",
        facts=(
            "The cosine of the two tasks' gradients on the parameters that they share, as the "
            "training probed it: the moving median with a bootstrap band, on the axis of the "
            "benchmarks above. The report of a run tests it."
        ),
        key=names,
        charts=(chart,),
    )


def _traded(picture: TradeOff) -> StudyPart:
    return StudyPart(
        "trade-off",
        "Understanding against generation",
        facts=(
            "Each axis is the mean of its benchmarks' headlines, each on its own range; a path is "
            "an arm, its last step is written beside it. Crosses are the 95 % intervals of the "
            "paired difference to the arm's first point, by themselves. Rings are the Pareto front "
            "of all points, by their numbers alone: it was chosen on the same rows."
        ),
        key=tuple(path.name for path in picture.paths),
        charts=(picture,),
    )


def _last(
    ends: Sequence[ArmEnds], benchmarks: Sequence[MeasuredBenchmark], picked: Sequence[str]
) -> StudyPart:
    titles = {one.name: one.title for one in benchmarks}
    grids = tuple(_end_grid(one, titles) for one in ends)
    family = next((c.family.sentence for one in ends for c in one.comparisons), "")
    refused = tuple(
        f"{one.arm.name}: {refusal.sentence}"
        for one in ends
        for comparison in one.comparisons
        for refusal in comparison.refusals
        if refusal.benchmark in titles and refusal.metric is None and len(one.comparisons) == 1
    )
    facts = (
        "On the outputs that both steps have, with the simultaneous interval and the corrected p "
        f"of everything that is compared here. {family}"
    )
    notes = tuple(dict.fromkeys(c.note for one in ends for c in one.comparisons if c.note))
    return StudyPart(
        "last", "Last against first", facts=facts, grids=grids, points=(*picked, *notes, *refused)
    )


def _end_grid(one: ArmEnds, titles: Mapping[str, str]) -> Grid:
    heads = ("benchmark", f"step {one.first}", f"step {one.last}", "difference", "shared", "word")
    rows = tuple(
        GridRow(
            titles[name],
            (
                GridCell(text.number(row.theirs, row.spec)),
                GridCell(text.number(row.ours, row.spec)),
                GridCell(text.signed(row.value, row.spec), text.interval(row.interval, row.spec)),
                GridCell(f"{row.shared} of {row.planned}"),
                GridCell("", verdicts=(("", row),)),
            ),
        )
        for name, row in one.rows.items()
    )
    return Grid(f"{one.arm.name}: step {one.last} against step {one.first}", heads, rows)


def _numbers(benchmarks: Sequence[MeasuredBenchmark], found: Trajectories) -> StudyPart:
    grids = tuple(_number_grid(arm, benchmarks) for arm in found.arms)
    return StudyPart("numbers", "Every number", grids=grids)


def _number_grid(arm: Trajectory, benchmarks: Sequence[MeasuredBenchmark]) -> Grid:
    heads = ("step", "seeds", *(one.title for one in benchmarks))
    rows = []
    for step in arm.steps:
        cells = [_number_cell(one, arm, step) for one in benchmarks]
        seeds = max(map(len, arm.points[step].values()))
        rows.append(GridRow(f"{step}", (GridCell(str(seeds)), *cells)))
    return Grid(f"{arm.name}: headline with its 95 % interval", heads, tuple(rows))


def _number_cell(benchmark: MeasuredBenchmark, arm: Trajectory, step: int) -> GridCell:
    points = next(points for one, points in benchmark.arms if one is arm)
    point = next((one for one in points if one.step == step), None)
    if point is None:
        return GridCell("no run")
    spec = benchmark.place.spec
    under = text.interval(point.estimate.interval, spec)
    if point.by_seed:
        under += f" seeds {', '.join(text.number(one, spec) for one in point.by_seed)}"
    return GridCell(text.printed(point.estimate.value, spec), under)
