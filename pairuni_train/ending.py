"""What the commands that train print at their end: the checkpoint, the page, what comes next."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from pairuni_eval.toolkit import as_typed
from pairuni_eval.toolkit.publishing import (
    best_step,
    read_evaluations,
    read_plan,
    values_by_step,
)


def ending(checkpoint: Path, suite: Sequence[str]) -> Iterator[str]:
    """The lines; of a training that measured its checkpoints its page is written first.

    Args:
        checkpoint: The last one.
        suite: The option that names the suite of its world; empty for the default.
    """
    training = checkpoint.parent
    plan, rows = read_plan(training), read_evaluations(training)
    best = best_step(values_by_step(rows, plan)) if plan is not None else None
    yield f"Checkpoint: {checkpoint}"
    if plan is not None and plan.elsewhere:
        yield f"Next:       {as_typed('pairuni-eval', 'follow', training)}"
        return
    chosen = checkpoint
    if best is not None:
        from pairuni_eval.toolkit.report import build_timeline

        chosen = training / f"checkpoint-{best.step}" if best.step else checkpoint
        page = build_timeline([training], Path("reports") / f"{training.resolve().name}-timeline")
        yield f"Best:       {chosen if best.step else 'where training began'}"
        yield f"Report:     {page}"
    yield f"Next:       {as_typed('pairuni-eval', 'run', '--checkpoint', chosen, *suite)}"
