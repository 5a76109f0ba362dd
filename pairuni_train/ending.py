"""What the commands that train print at their end: the checkpoint, the page, what comes next."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import MappingProxyType

from pairuni_eval.toolkit import as_typed
from pairuni_eval.toolkit.publishing import (
    best_step,
    read_evaluations,
    read_plan,
    values_by_step,
)

_SUITES = MappingProxyType(  # of a world with a suite of its own, by the preset of its pairs
    {"tiny": "tiny", "tiny-names": "tiny-heldout", "tiny-names-exact": "tiny-heldout"}
)


def ending(checkpoint: Path, pairs: str | None) -> Iterator[str]:
    """The lines; of a training that measured its checkpoints its page is written first.

    Args:
        checkpoint: The last one.
        pairs: The preset of pairs that its recipe names, and so the world it learned; the command
            that comes next measures it there, or by the default suite.
    """
    training = checkpoint.parent
    plan, rows = read_plan(training), read_evaluations(training)
    best = best_step(values_by_step(rows, plan)) if plan is not None else None
    yield f"Checkpoint: {checkpoint}"
    if plan is not None and plan.elsewhere:
        yield f"Next:       {as_typed('pairuni-eval', 'follow', training)}"
        return
    suite = ("--suite", _SUITES[pairs]) if pairs is not None and pairs in _SUITES else ()
    chosen = checkpoint
    if best is not None:
        from pairuni_eval.toolkit.report import build_timeline

        chosen = training / f"checkpoint-{best.step}" if best.step else checkpoint
        page = build_timeline([training], Path("reports") / f"{training.resolve().name}-timeline")
        yield f"Best:       {chosen if best.step else 'where training began'}"
        yield f"Report:     {page}"
    yield f"Next:       {as_typed('pairuni-eval', 'run', '--checkpoint', chosen, *suite)}"
