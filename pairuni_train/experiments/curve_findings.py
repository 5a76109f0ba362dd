"""What a figure of reward curves shows, in sentences made from its numbers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pairuni_eval.analysis.arms import ENOUGH_SEEDS
from pairuni_eval.analysis.verdict import Word
from pairuni_eval.report.curves import TASKS
from pairuni_train.experiments.curves import ArmCurve, CurveFigure, Verdict


def findings(figure: CurveFigure) -> Iterator[str]:
    """What the figure shows, the answer first."""
    yield _answer(figure.verdicts, tiny=figure.tiny)
    yield from (one.sentence for one in figure.verdicts)
    for panel in figure.panels:
        yield from (_rise(one, panel.title) for one in panel.arms)


def _answer(verdicts: Sequence[Verdict], *, tiny: bool) -> str:
    world = "The tiny world" if tiny else "This experiment"
    told = [one for one in verdicts if one.word is not Word.CANNOT_TELL]
    if not told:
        return f"{world} does not show whether one of the arms earns more: {_why(verdicts)}."
    words = "; ".join(
        f"{one.ours} against {one.theirs}, {one.what.format(TASKS[one.task])}: {one.word}"
        for one in told
    )
    return f"{world} shows a verdict in {len(told)} of {len(verdicts)} comparisons: {words}."


def _why(verdicts: Sequence[Verdict]) -> str:
    limits = [
        one.evidence.detectable
        for one in verdicts
        if one.evidence is not None and one.evidence.detectable is not None
    ]
    if not limits:
        return f"a verdict needs {ENOUGH_SEEDS} seeds of both arms"
    return f"so few seeds would at best reveal a difference of {min(limits):.3f}"


def _rise(one: ArmCurve, task: str) -> str:
    name = f"{one.arm}, {task} reward"
    start, end, rise = one.start.value, one.end.value, one.rise
    if start is None or end is None or rise.value is None:
        return f"{name}: start or end have no reward."
    way = f"from {start:.3f} to {end:.3f}"
    if rise.interval is None:
        seeds = f"{rise.clusters} seed{'s' * (rise.clusters != 1)}"
        return f"{name}: {way}, {rise.value:+.3f}; no interval from {seeds}."
    low, high = rise.interval
    verb = "rose" if low > 0 else "fell" if high < 0 else "went"
    flat = ", which cannot be told from flat" if verb == "went" else ""
    bounds = f"{rise.value:+.3f} [{low:+.3f}, {high:+.3f}] over {rise.clusters} seeds"
    return f"{name} {verb} {way}{flat}: {bounds}."


def notes(figure: CurveFigure) -> Iterator[str]:
    """Which arms say nothing about training again."""
    few = {
        one.arm: one.end.clusters
        for one in figure.panels[0].arms
        if one.end.clusters < ENOUGH_SEEDS
    }
    for name, seeds in few.items():
        told = "one seed" if seeds == 1 else f"{seeds} seeds"
        these = "this run" if seeds == 1 else "these runs"
        yield f"{name} has {told}: what is said holds for {these}, not for training again."
