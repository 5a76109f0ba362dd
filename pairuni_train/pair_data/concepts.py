"""What a half asks for: its concepts, by one rule with a name.

    facts["concepts"]   a list of words, wherever a source gives one
    the tiny world      the shapes, colors and relations that its text names: of a prompt all of
                        it, of a question its stem and the right answer
    anything else       not known

Two halves have a concept in common if one word is in both lists. A half that is known to name none
("How many shapes are there?") has none in common with any other, but it does not count as one that
asks for something else either.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pairuni_eval.toolkit import UserError
from pairuni_eval.toolkit.gradients import APART, NOT_KNOWN, SHARED
from pairuni_eval.toolkit.stats import Codes
from pairuni_train.pair_data.record import Generation, Half, Understanding
from pairuni_train.pair_data.tiny_answers import words_asked_for, words_of_world

CONCEPT_RULE = "concepts/1"
_GIVEN = "concepts"
_TINY = "tiny/"

Concepts = frozenset[str]


def concepts_of(half: Half) -> Concepts | None:
    """The concepts of a half; None where they are not known.

    Raises:
        UserError: if the facts of a half have something else than a list of words there.
    """
    if _GIVEN in half.facts:
        given = half.facts[_GIVEN]
        if not isinstance(given, list) or not all(isinstance(one, str) for one in given):
            raise UserError(
                f"The facts of half '{half.id}' of {half.source} say {_GIVEN} = {given!r}, which "
                "is no list of words."
            )
        return frozenset(given)
    if not half.source.startswith(_TINY):
        return None
    if isinstance(half, Generation):
        return frozenset(words_of_world(half.prompt))
    return words_asked_for(half.question, half.answer)


def in_common(und: Sequence[Concepts | None], gen: Sequence[Concepts | None]) -> Codes:
    """(N, N): whether understanding half i and generation half j ask for a concept in common."""
    return np.array([[_common(one, other) for other in gen] for one in und], dtype=np.int64)


def _common(one: Concepts | None, other: Concepts | None) -> int:
    if not one or not other:
        return NOT_KNOWN
    return SHARED if one & other else APART


def says_no(half: Understanding) -> bool:
    """Whether the right answer is "no": what is asked about is not in the picture."""
    return half.answer.strip().strip(".").lower() == "no"
