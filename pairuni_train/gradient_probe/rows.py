"""What a probe saw, as rows that the measuring side reads without torch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from pairuni_eval.models.base import Task
from pairuni_eval.records import GradientRow
from pairuni_train.gradient_probe.capture import Look
from pairuni_train.gradient_probe.gram import BlockGrams, Gram


def rows_of(look: Look, *, scenario: str) -> Iterator[GradientRow]:
    """One row per block, raw first, then preconditioned where the optimizer has a state."""
    yield from _rows(look, look.raw, scenario, preconditioned=False)
    if look.preconditioned is not None:
        yield from _rows(look, look.preconditioned, scenario, preconditioned=True)


def _rows(
    look: Look, grams: Mapping[str, BlockGrams], scenario: str, *, preconditioned: bool
) -> Iterator[GradientRow]:
    for block, found in grams.items():
        yield GradientRow(
            scenario=scenario,
            step=look.step,
            block=block,
            preconditioned=preconditioned,
            tasks=_numbers(found.tasks),
            und_halves=_halves(found, "und"),
            gen_halves=_halves(found, "gen"),
            und_live=look.live["und"],
            gen_live=look.live["gen"],
            rows=look.rows,
        )


def _halves(found: BlockGrams, task: Task) -> tuple[float, float, float] | None:
    """The Gram of a task's halves; None where they were not taken apart."""
    gram = found.halves[task]
    return _numbers(gram) if gram.bb else None


def _numbers(gram: Gram) -> tuple[float, float, float]:
    return (gram.aa, gram.ab, gram.bb)
