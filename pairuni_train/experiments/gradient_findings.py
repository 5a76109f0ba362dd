"""What a figure of gradients shows, in sentences made from its numbers."""

from __future__ import annotations

from collections.abc import Sequence

from pairuni_eval.analysis.interference import Interference, Scenario, Summary, shown
from pairuni_train.experiments.gradients import CANNOT_TELL, GradientFigure


def findings(figure: GradientFigure) -> list[str]:
    """What the figure shows, the answer first."""
    overall = [one.overall for one in figure.scenarios]
    return [
        _shown_or_not(figure),
        *_signs(overall),
        *(one.sentence for one in figure.against),
        *_noise(overall),
        *_silence(overall),
        _blocks(figure.scenarios),
    ]


def _signs(overall: Sequence[Interference]) -> list[str]:
    """Which scenarios agree, which fight, and of which neither can be told."""
    kinds: dict[str, list[str]] = {}
    for one in overall:
        kinds.setdefault(_sign(one.cosine), []).append(one.scenario)
    return [f"{words}: {', '.join(names)}." for words, names in kinds.items()]


def _sign(cosine: Summary) -> str:
    if cosine.interval is None:
        return "Too few batches to tell whether the gradients agree"
    if cosine.interval.high < 0:
        return "The two tasks' gradients fight"
    if cosine.interval.low > 0:
        return "The two tasks' gradients agree"
    return "Neither agreement nor conflict of the two tasks' gradients can be told"


def _noise(overall: Sequence[Interference]) -> list[str]:
    """How high a cosine could be at this batch size."""
    limits = [one.ceiling.value for one in overall if one.ceiling.value is not None]
    lacking = [one.scenario for one in overall if one.ceiling.value is None]
    found = []
    if limits:
        reach = f"{min(limits):.2f} to {max(limits):.2f}" if len(limits) > 1 else f"{limits[0]:.2f}"
        found.append(
            f"Two tasks with one true gradient would show a cosine of about {reach} at this batch "
            "size: that is the noise ceiling, and cosines are to be read against it."
        )
    if lacking:
        found.append(
            f"No ceiling, and so no cosine corrected for noise, for {', '.join(lacking)}: "
            f"{next(o.ceiling.note for o in overall if o.scenario == lacking[0])}."
        )
    return found


def _silence(overall: Sequence[Interference]) -> list[str]:
    silent = [f"{one.scenario} {one.silent}" for one in overall if one.silent]
    if not silent:
        return []
    return [f"Batches in which a task had no gradient at all, left out: {', '.join(silent)}."]


def _blocks(found: Sequence[Scenario]) -> str:
    """How many blocks have a sign, against what chance alone would give."""
    known = [b for one in found for b in one.blocks if b.cosine.interval is not None]
    if not known:
        return "No block has batches enough for an interval."
    apart = [b for b in known if b.cosine.interval and not _holds_zero(b.cosine)]
    said = (
        f"By block, {len(apart)} of {len(known)} medians (scenarios x blocks) have an interval "
        f"without 0; about {0.05 * len(known):.0f} would by chance"
    )
    named = [f"{b.block} in {b.scenario} ({shown(Summary(b.cosine.value), '+')})" for b in apart]
    return f"{said}{': ' if named else ''}{', '.join(named)}."


def _holds_zero(number: Summary) -> bool:
    held = number.interval
    return held is None or held.low <= 0 <= held.high


def _shown_or_not(figure: GradientFigure) -> str:
    """What this says about the question."""
    world = "The tiny world" if figure.tiny else "This probe"
    told = [one.contrast for one in figure.against if one.contrast.word != CANNOT_TELL]
    if told:
        words = "; ".join(f"{one.ours} against {one.theirs}: {one.word}" for one in told)
        return f"{world} shows a difference in {len(told)} of {len(figure.against)}: {words}."
    widest = max(
        (
            max(map(abs, held))
            for one in figure.against
            if (held := one.contrast.difference.interval)
        ),
        default=None,
    )
    if widest is None:
        return "There are too few batches to compare the scenarios."
    return (
        f"{world} does not show that the pairs change how far the gradients agree; no 95 % "
        f"interval of a difference reaches further than {widest:.3f} from 0."
    )
