"""What the halves of a pair set teach, and what two runs say became of it in the other task."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from pairuni_eval.toolkit import UserError
from pairuni_eval.toolkit.stats import Taught
from pairuni_train.pair_data.concepts import CONCEPT_RULE, concepts_of
from pairuni_train.pair_data.dataset import read_pairs
from pairuni_train.pair_data.record import Half


def taught_by(file: Path) -> Taught:
    """The concepts of all understanding halves and of all generation halves of a pair set.

    Raises:
        UserError: if no half of it names a concept, or it cannot be read.
    """
    pairs = read_pairs(file)
    found = Taught(
        questions=_concepts(one.understanding for one in pairs),
        drawings=_concepts(one.generation for one in pairs),
    )
    if not (found.questions or found.drawings):
        raise UserError(
            f"{file}: no half says what it is about (rule {CONCEPT_RULE}).",
            hint="Give the rows of your sources a list `concepts` among their facts.",
        )
    return found


def _concepts(halves: Iterable[Half | None]) -> frozenset[str]:
    known = (concepts_of(half) for half in halves if half is not None)
    return frozenset(name for names in known for name in names or ())
