"""What a figure of reward curves shows, in sentences made from its numbers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pairuni_eval.toolkit.stats import ENOUGH_SEEDS, Word
from pairuni_train.study.curve_arms import ArmCurve, Panel
from pairuni_train.study.curve_verdicts import CurveVerdict
from pairuni_train.study.curves import CurveFigure


def findings(figure: CurveFigure) -> Iterator[str]:
    """What the figure shows, the answer first."""
    yield _answer(figure.verdicts, tiny=figure.tiny)
    yield from (one.sentence for one in figure.verdicts)
    for panel in figure.panels:
        if panel.comparable.equal:
            yield from (_rise(one, panel) for one in panel.arms)


def _answer(verdicts: Sequence[CurveVerdict], *, tiny: bool) -> str:
    world = "The tiny world" if tiny else "This experiment"
    told = [one for one in verdicts if one.word is not Word.CANNOT_TELL]
    if not told:
        return f"{world} does not show whether one of the arms earns more: {_why(verdicts)}."
    words = "; ".join(f"{one.ours} against {one.theirs}, {one.subject}: {one.word}" for one in told)
    return f"{world} shows a verdict in {len(told)} of {len(verdicts)} comparisons: {words}."


def _why(verdicts: Sequence[CurveVerdict]) -> str:
    limits = [
        one.evidence.detectable
        for one in verdicts
        if one.measure != "steps"
        and one.evidence is not None
        and one.evidence.detectable is not None
    ]
    if limits:
        return f"so few seeds would at best reveal a difference of {min(limits):.3f}"
    rewards = (one.reason for one in verdicts if one.measure != "steps")
    reasons = dict.fromkeys(reason for reason in rewards if reason is not None)
    return "; ".join(reasons) or "nothing could be compared"


def _rise(one: ArmCurve, panel: Panel) -> str:
    """How far an arm came on the fixed prompts, from the start that all arms have."""
    name = f"{one.arm}, {panel.title} reward"
    start, end, rise = one.start.value, one.end.value, one.rise
    if start is None or end is None or rise.value is None:
        return f"{name}: the fixed prompts have no reward at the end."
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
    """What may be compared, which arms sit at the ceiling, and whose seeds are few."""
    for panel in figure.panels:
        yield f"{panel.title.capitalize()}: {panel.comparable.sentence}" + (
            f" {panel.comparable.hint}" if panel.comparable.hint else ""
        )
        if panel.level is not None:
            yield (
                f"{panel.title.capitalize()}: steps are counted to a reward of {panel.level:.3f}, "
                "halfway from the common start to the lower of the ends."
            )
        for name in panel.saturated:
            yield (
                f"{name} ends at the ceiling of the {panel.title} reward, {panel.ceiling:g}: what "
                "lies beyond cannot be seen."
            )
    few = {
        one.arm: one.end.clusters
        for one in figure.panels[0].arms
        if one.end.clusters < ENOUGH_SEEDS
    }
    for name, seeds in few.items():
        told = "one seed" if seeds == 1 else f"{seeds} seeds"
        these = "this run" if seeds == 1 else "these runs"
        yield f"{name} has {told}: what is said holds for {these}, not for training again."
