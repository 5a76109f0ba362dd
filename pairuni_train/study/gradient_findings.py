"""What a figure of gradients shows, in sentences made from its numbers."""

from __future__ import annotations

from collections.abc import Sequence

from pairuni_eval.toolkit.gradients import Alignment, BlockInterference, Stance
from pairuni_train.study.gradients import CANNOT_TELL, GradientFigure


def findings(figure: GradientFigure) -> list[str]:
    """What the figure shows, the answer first."""
    overall = [one.overall for one in figure.scenarios]
    return [
        _shown_or_not(figure),
        *_stances(figure.alignments),
        *(one.sentence for one in figure.alignments),
        *(one.sentence for one in figure.against),
        *_noise(overall),
        *_left_out(figure),
    ]


_SAID = {
    Stance.AGREE: "The two tasks' gradients agree",
    Stance.FIGHT: "The two tasks' gradients fight",
    Stance.MIXED: "The two tasks' gradients agree in some blocks and fight in others",
    Stance.TOO_FEW: "Too few batches to tell whether the gradients agree",
    Stance.CANNOT_TELL: "Neither agreement nor conflict of the two tasks' gradients can be told",
}


def _stances(found: Sequence[Alignment]) -> list[str]:
    """Which scenarios agree, which fight, and of which neither can be told."""
    kinds: dict[Stance, list[str]] = {}
    for one in found:
        kinds.setdefault(one.stance, []).append(one.scenario)
    return [f"{_SAID[stance]}: {', '.join(names)}." for stance, names in kinds.items()]


def _noise(overall: Sequence[BlockInterference]) -> list[str]:
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


def _left_out(figure: GradientFigure) -> list[str]:
    """Batches that no number rests on, and why."""
    silent = [f"{one.scenario} {one.silent}" for one in figure.alignments if one.silent]
    found = []
    if silent:
        found.append(
            f"Batches in which a task had no gradient at all, left out: {', '.join(silent)}."
        )
    if figure.unfinished:
        seeds = ", ".join(map(str, figure.unfinished))
        batches = figure.probes.batches.per_seed
        found.append(
            f"Probes that are not finished, left out with their {batches} batches of each "
            f"scenario: seed {seeds}."
        )
    return found


def _shown_or_not(figure: GradientFigure) -> str:
    """What this says about the question."""
    world = "The tiny world" if figure.tiny else "This probe"
    told = [one.contrast for one in figure.against if one.contrast.word != CANNOT_TELL]
    if told:
        words = "; ".join(f"{one.ours} against {one.theirs}: {one.word}" for one in told)
        return f"{world} shows a difference in {len(told)} of {len(figure.against)}: {words}."
    tested = [one.contrast for one in figure.against if one.contrast.p is not None]
    if not tested:
        return "There are too few batches to compare the scenarios."
    ends = [max(map(abs, held)) for one in tested if (held := one.difference.interval)]
    reach = ""
    if len(ends) == len(tested):
        reach = (
            "; no interval of a difference over all shared parameters reaches further than "
            f"{max(ends):.3f} from 0"
        )
    return f"{world} does not show that the pairs change how far the gradients agree{reach}."
