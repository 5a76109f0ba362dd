"""Writes an experiment's figure: Markdown, a picture, and CSV for whoever computes on."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from pairuni_eval.analysis.interference import Interference, Scenario, Summary, shown
from pairuni_eval.analysis.intervals import Estimate
from pairuni_eval.analysis.verdict import p_words
from pairuni_eval.report import text
from pairuni_train.experiments import curve_findings, gradient_findings
from pairuni_train.experiments.curve_picture import draw_curves
from pairuni_train.experiments.curves import CurveFigure
from pairuni_train.experiments.gradient_picture import draw_gradients
from pairuni_train.experiments.gradients import GradientFigure

_FOLDER = Path(__file__).parent / "templates"
_NUMBERS = (
    *("cosine", "ratio", "similarity", "conflict"),
    *("und_reliability", "gen_reliability", "ceiling", "corrected"),
)


def write_curves(figure: CurveFigure, folder: Path, *, command: str) -> Path:
    """Write `figure.md`, `figure.svg` and `figure.csv`; returns the Markdown's path."""
    folder.mkdir(parents=True, exist_ok=True)
    draw_curves(figure, folder / "figure.svg")
    _write_csv(folder / "figure.csv", _curve_lines(figure))
    found, notes = curve_findings.findings(figure), curve_findings.notes(figure)
    return _write_page(folder, "curves.md.j2", figure, found, notes, command)


def write_gradients(figure: GradientFigure, folder: Path, *, command: str) -> Path:
    """Write `figure.md`, `figure.svg` and `figure.csv`; returns the Markdown's path."""
    folder.mkdir(parents=True, exist_ok=True)
    draw_gradients(figure, folder / "figure.svg")
    _write_csv(folder / "figure.csv", _gradient_lines(figure.scenarios))
    found = gradient_findings.findings(figure)
    return _write_page(folder, "gradients.md.j2", figure, found, (), command)


def _write_page(
    folder: Path,
    template: str,
    figure: CurveFigure | GradientFigure,
    findings: Iterable[str],
    notes: Iterable[str],
    command: str,
) -> Path:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(_FOLDER),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        autoescape=False,  # Markdown: `say` escapes what people wrote
    )
    environment.filters |= {
        "say": _say,
        "shown": _shown,
        "plain": _plain,
        "percent": _percent,
        "p": p_words,
    }
    page = folder / "figure.md"
    values = {"findings": list(findings), "notes": [*figure.experiment.notes, *notes]}
    words = environment.get_template(template).render(figure=figure, command=command, **values)
    page.write_text(words, encoding="utf-8")
    return page


def _say(words: str) -> str:
    return text.escape_markdown(text.arrows(words))


def _plain(value: float | None) -> str:
    return "none" if value is None or math.isnan(value) else f"{value:.3f}"


def _shown(number: Summary | Estimate, sign: str = "") -> str:
    """Value and interval, e.g. "0.812 [0.790, 0.834]"."""
    return shown(Summary(number.value, number.interval), sign)


def _percent(share: Summary) -> str:
    """A share and its interval in per cent."""
    if share.value is None:
        return "none"
    whole = f"{100 * share.value:.0f} %"
    if share.interval is None:
        return whole
    return f"{whole} [{100 * share.interval.low:.0f}, {100 * share.interval.high:.0f}]"


# For whoever computes on


def _write_csv(path: Path, lines: Iterable[Sequence[Any]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as stream:
        csv.writer(stream).writerows(lines)


def _curve_lines(figure: CurveFigure) -> Iterable[Sequence[Any]]:
    """Every reward as it was measured, in training and on the fixed prompts; else nothing.

    A training reward is that of step number `step`, a fixed one that after so many steps.
    """
    yield ("task", "arm", "seed", "prompts", "step", "reward")
    for panel in figure.panels:
        for one in panel.arms:
            for seed, rewards in zip(one.run.seeds, one.run.reward_RS, strict=True):
                for step, reward in enumerate(rewards.tolist()):
                    yield (panel.task, one.arm, seed, "training", step, _known(reward))
            if one.fixed is not None:
                steps = one.fixed.steps_T.astype(int).tolist()
                for seed, rewards in zip(one.fixed.seeds, one.fixed.reward_RT, strict=True):
                    for step, reward in zip(steps, rewards.tolist(), strict=True):
                        yield (panel.task, one.arm, seed, "fixed", step, _known(reward))


def _known(reward: float) -> float | str:
    return "" if math.isnan(reward) else reward


def _gradient_lines(scenarios: Iterable[Scenario]) -> Iterable[Sequence[Any]]:
    """Every scenario, all parameters first, then its blocks."""
    bounds = [f"{name}{end}" for name in _NUMBERS for end in ("", "_low", "_high")]
    yield ("scenario", "block", "batches", "silent", *bounds, "und_live", "gen_live")
    for scenario in scenarios:
        for one in (scenario.overall, *scenario.blocks):
            live = (one.und_live, one.gen_live)
            yield (one.scenario, one.block, one.batches, one.silent, *_bounds(one), *live)


def _bounds(one: Interference) -> Iterable[Any]:
    for name in _NUMBERS:
        number: Summary = getattr(one, name)
        yield from ("" if number.value is None else number.value, *(number.interval or ("", "")))
