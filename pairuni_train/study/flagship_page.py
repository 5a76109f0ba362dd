"""Fills the page of a flagship: answers, every arm's numbers, every hypothesis and part, files.

The page is `report.study`'s, as of every experiment. Beside it lie the scores that all numbers but
those of gradients are of, and the hypotheses and parts as CSV.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from pairuni_eval.toolkit import writing
from pairuni_eval.toolkit.report import (
    Grid,
    GridCell,
    GridRow,
    IntervalChart,
    Rerun,
    Span,
    Study,
    StudyPart,
    asked,
    interval_chart,
    sheet,
    typeset,
    write_page,
    write_study,
)
from pairuni_eval.toolkit.stats import (
    SCORE,
    Interval,
    ScoreNumber,
    p_words,
    plain,
    printed,
    signed_plain,
)
from pairuni_train.study.flagship import ArmLine, FlagshipFigure
from pairuni_train.study.flagship_findings import answers, hypothesis_sentence
from pairuni_train.study.hypotheses import HypothesisResult, PartResult, Verdict
from pairuni_train.study.paper_figures import draw_charts
from pairuni_train.study.score_table import SCORES_FILE, write_scores

_NAME = "flagship"
_NOTHING = "–"
_PARTS = (
    *("hypothesis", "expect", "overlap", "score", "arm", "against", "margin", "seeds"),
    *("against_seeds", "ours", "theirs", "difference", "low", "high", "joint_low", "joint_high"),
    *("p", "p_holm", "p_tied", "p_not_worse", "word", "units", "test", "registered", "reason"),
)
_HYPOTHESES = ("hypothesis", "overlap", "expect", "p", "p_holm", "verdict", "registered", "claim")


def write_flagship(
    figure: FlagshipFigure, folder: Path, *, command: str, figures: Sequence[str]
) -> Path:
    """Write the page with the table of scores beside it; returns the HTML's path."""
    experiment = figure.experiment
    files = {
        f"{_NAME}.md": "this page as Markdown",
        SCORES_FILE: "every score behind the page: a row for each output of each run",
        "hypotheses.csv": "every hypothesis with its p and verdict",
        "parts.csv": "every comparison with its test, unscaled",
        **{f"{_NAME}.{ending}": "the charts of this page for a paper" for ending in figures},
    }
    missing, wanted = figure.missing
    study = Study(
        title=experiment.title,
        tiny=figure.tiny,
        questions=tuple(
            asked(question, *map(typeset, said)) for question, said in answers(figure).items()
        ),
        partial=f"{missing} of {wanted} runs are not there." if missing else "",
        notes=experiment.notes,
        parts=(_scores(figure), _hypotheses(figure), _parts(figure), _matrix(figure)),
        gradients=None,
        quoted=None,
        reruns=(Rerun("This experiment", command),),
        files=files,
    )
    with writing(str(folder)):
        folder.mkdir(parents=True, exist_ok=True)
        write_scores(folder / SCORES_FILE, figure.scores)
        write_page(folder / "hypotheses.csv", sheet(_HYPOTHESES, _hypothesis_rows(figure)))
        write_page(folder / "parts.csv", sheet(_PARTS, _part_rows(figure)))
        for ending in figures:
            draw_charts(study.charts, folder / f"{_NAME}.{ending}")
        return write_study(study, folder, _NAME)


# Numbers


def _scores(figure: FlagshipFigure) -> StudyPart:
    heads = ("arm, overlap", "seeds", *(score.name for score in figure.design.scores))
    rows = tuple(GridRow(_title(one), tuple(_cells(one))) for one in figure.examined.lines)
    facts = (
        f"Shares of held-out outputs that are right, after {figure.steps} steps from "
        f"{figure.checkpoint} (base {figure.base}), mean over training seeds with its 95 % "
        "interval; from three seeds on it covers training again. New are made-up names, common is "
        "what the base was taught. Words about them stand below, where a hypothesis asks."
    )
    charts = (_chart(figure, place) for place in range(len(figure.design.scores)))
    return StudyPart(
        "scores",
        "Held-out scores",
        facts,
        grids=(Grid("Every arm at every overlap.", heads, rows),),
        charts=tuple(chart for chart in charts if chart is not None),
    )


def _title(one: ArmLine) -> str:
    return one.arm if one.overlap is None else f"{one.arm}, {one.overlap:g}"


def _cells(one: ArmLine) -> Iterator[GridCell]:
    seeds = str(one.seeds) if one.seeds == one.wanted else f"{one.seeds} of {one.wanted}"
    yield GridCell(_NOTHING if one.overlap is None else seeds)
    for number in one.numbers:
        yield _cell(number)


def _cell(number: ScoreNumber) -> GridCell:
    lacking = f"; {number.missing} without a score" if number.missing else ""
    if number.estimate.value is None:
        return GridCell("none", lacking.lstrip("; "))
    shown = typeset(printed(number.estimate.value, SCORE))
    return GridCell(shown, f"{_ends(number.estimate.interval)}{lacking}")


def _ends(bounds: Interval | None) -> str:
    if bounds is None:
        return ""
    return typeset(f"[{plain(bounds.low, SCORE)}, {plain(bounds.high, SCORE)}]")


def _chart(figure: FlagshipFigure, place: int) -> IntervalChart | None:
    """One score: every arm's number with its interval and its seeds."""
    scale = SCORE.scale
    rows = []
    for one in figure.examined.lines:
        number = one.numbers[place]
        if number.estimate.value is None:
            continue
        low, high = number.estimate.interval or (None, None)
        span = Span(
            name=_title(one),
            arm=0 if one.arm == figure.experiment.method else 5,
            value=number.estimate.value * scale,
            low=None if low is None else low * scale,
            high=None if high is None else high * scale,
            each=tuple(each * scale for each in number.by_seed) if one.seeds > 1 else (),
        )
        rows.append((_title(one), [span]))
    name = figure.design.scores[place].name
    return interval_chart(f"{'Tiny: ' * figure.tiny}{name}, %", rows, within=())


# Hypotheses


def _hypotheses(figure: FlagshipFigure) -> StudyPart:
    outcome = figure.outcome
    heads = ("hypothesis", "expects", "margin", "p", "corrected p", "verdict", "registered")
    rows = tuple(GridRow(one.title, tuple(_hypothesis_cells(one))) for one in outcome.hypotheses)
    facts = (
        "A hypothesis holds only where all of its parts do, so its p is the largest of theirs; "
        f"Holm corrects over the {outcome.hypotheses_tested} hypotheses of the file."
    )
    points = tuple(typeset(hypothesis_sentence(one)) for one in outcome.hypotheses)
    grid = Grid("Every hypothesis of the file.", heads, rows)
    return StudyPart("hypotheses", "Hypotheses", facts, grids=(grid,), points=points)


def _hypothesis_cells(one: HypothesisResult) -> Iterator[GridCell]:
    hypothesis = one.placed.hypothesis
    yield GridCell(hypothesis.expect)
    yield GridCell(_NOTHING if hypothesis.margin is None else plain(hypothesis.margin, SCORE))
    yield GridCell(_NOTHING if one.p is None else p_words(one.p))
    yield GridCell(_NOTHING if one.corrected is None else p_words(one.corrected))
    yield GridCell(str(one.verdict))
    registered = "yes" if one.registered else "no"
    yield GridCell(_NOTHING if one.verdict is Verdict.NOT_RUN else registered)


def _parts(figure: FlagshipFigure) -> StudyPart:
    heads = (
        *("score, overlap", "arms", "difference", "p", "corrected p", "p of the margin"),
        *("units", "word"),
    )
    made = [one for one in figure.outcome.hypotheses if one.parts]
    grids = tuple(
        Grid(
            one.title,
            heads,
            tuple(
                GridRow(f"{part.part.score}, {part.part.overlap:g}", tuple(_part_cells(part)))
                for part in one.parts
            ),
        )
        for one in made
        if any(part.found.reason is None for part in one.parts)
    )
    facts = (
        "Differences in points, ours minus theirs, with the simultaneous interval that belongs to "
        "the corrected p, or for a tie that of its test; Holm corrects over the "
        f"{figure.outcome.comparisons_tested} comparisons of the file. Outputs meet by sample and "
        "draw; from three seeds on the error is over units and seeds."
    )
    return StudyPart("parts", "Comparisons", facts, grids=grids)


def _part_cells(one: PartResult) -> Iterator[GridCell]:
    found = one.found
    yield GridCell(f"{one.part.arm} against {one.part.against}")
    if found.reason is not None or found.value is None:
        yield GridCell("not compared", found.reason or "")
        yield from [GridCell(_NOTHING)] * 5
        return
    evidence = found.evidence
    margin_p = found.not_worse if one.tie_p is None else one.tie_p
    yield GridCell(typeset(signed_plain(found.value, SCORE)), _ends(one.beside))
    yield GridCell(p_words(evidence.p if evidence else None))
    yield GridCell(p_words(one.step.p if one.step else None))
    yield GridCell(_NOTHING if margin_p is None else p_words(margin_p))
    yield GridCell(str(found.clusters))
    yield GridCell(str(one.word))


def _matrix(figure: FlagshipFigure) -> StudyPart:
    facts = (
        "Aligned pairs, one gradient of the training objective a half, at the base; see "
        "docs/training.md, pair by pair."
    )
    if figure.matrix is None:
        return StudyPart("gradients-of-pairs", "Gradients of pairs", f"{facts} Not measured.")
    heads = ("answers, class", "cosines", "mean cosine", "standard error", "pooled")
    rows = tuple(
        GridRow(
            f"{group.answers}, {one.pair_class}",
            (
                GridCell(str(one.cosines)),
                GridCell(_cosine(one.mean)),
                GridCell(_cosine(one.error).lstrip("+")),
                GridCell(_cosine(one.pooled)),
            ),
        )
        for group in figure.matrix.groups
        for one in group.classes
    )
    grid = Grid("Cosines of understanding halves with generation halves.", heads, rows)
    return StudyPart("gradients-of-pairs", "Gradients of pairs", facts, grids=(grid,))


def _cosine(value: float | None) -> str:
    return _NOTHING if value is None else typeset(f"{value:+.4f}")


# For whoever computes on


def _hypothesis_rows(figure: FlagshipFigure) -> Iterator[dict[str, Any]]:
    for one in figure.outcome.hypotheses:
        yield {
            "hypothesis": one.placed.hypothesis.id,
            "overlap": one.placed.overlap,
            "expect": one.placed.hypothesis.expect,
            "p": one.p,
            "p_holm": one.corrected,
            "verdict": str(one.verdict),
            "registered": one.registered,
            "claim": one.placed.hypothesis.claim,
        }


def _part_rows(figure: FlagshipFigure) -> Iterator[dict[str, Any]]:
    for hypothesis in figure.outcome.hypotheses:
        for one in hypothesis.parts:
            yield {"hypothesis": hypothesis.title, **_part_row(hypothesis, one)}


def _part_row(hypothesis: HypothesisResult, one: PartResult) -> dict[str, Any]:
    found, evidence = one.found, one.found.evidence
    low, high = (evidence.interval if evidence else None) or (None, None)
    joint_low, joint_high = one.joint or (None, None)
    return {
        "expect": hypothesis.placed.hypothesis.expect,
        "overlap": one.part.overlap,
        "score": one.part.score,
        "arm": one.part.arm,
        "against": one.part.against,
        "margin": one.margin,
        "seeds": found.seeds[0],
        "against_seeds": found.seeds[1],
        "ours": found.ours,
        "theirs": found.theirs,
        "difference": found.value,
        "low": low,
        "high": high,
        "joint_low": joint_low,
        "joint_high": joint_high,
        "p": evidence.p if evidence else None,
        "p_holm": one.step.p if one.step else None,
        "p_tied": one.tie_p,
        "p_not_worse": found.not_worse,
        "word": None if found.reason else str(one.word),
        "units": found.clusters,
        "test": evidence.test if evidence else None,
        "registered": one.registered,
        "reason": found.reason,
    }
