"""Which pairs a step trains on: a pure function of the seed and the step.

Every epoch is a permutation with an address of its own, so a resumed run needs to know its step and
nothing else, and two arms of one size walk through their pairs alike. Both halves of a pair are
always in the same optimizer step, unless an arm deals them anew (`repaired`): then the generation
halves go in an order of their own, each still once an epoch and with its own pair's weight. What is
trained is the same; what meets in a step is chance. A row that holds one half only counts half, so
that arms with and without pairs see the same number of prompts a step.

Ranks take contiguous slices of the step's rows: which rank holds a row changes no seed.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from functools import lru_cache
from typing import TypeVar

from pairuni_eval.toolkit import UserError, seed_for
from pairuni_eval.toolkit.models import Task
from pairuni_train.pair_data.record import Kind, Pair
from pairuni_train.pair_data.stored_pairs import StoredPairs

Item = TypeVar("Item")
_ORDER = "order"


class PairSampler:
    """The pairs of every step.

    Args:
        pairs: The whole pair set; of a stored one a step reads its own rows.
        pairs_per_step: Pairs in a global batch; rows of one half come two for one.
        seed: The run's seed.
        repaired: Whether the generation halves go in an order of their own.

    Raises:
        UserError: if the set is smaller than one step's batch, or holds rows of one half that
            cannot be dealt anew.
    """

    def __init__(
        self, pairs: Sequence[Pair], *, pairs_per_step: int, seed: int, repaired: bool = False
    ) -> None:
        kinds = pairs.kinds if isinstance(pairs, StoredPairs) else {pair.kind for pair in pairs}
        single = kinds <= {Kind.UNPAIRED}
        self.rows_per_step = pairs_per_step * (2 if single else 1)
        if len(pairs) < self.rows_per_step:
            raise UserError(
                f"The pair set has {len(pairs)} rows, a step takes {self.rows_per_step}.",
                hint="Build a larger set, or lower pairs_per_step.",
            )
        if repaired and len(pairs) < 2:
            raise UserError("One pair alone cannot be dealt anew.", hint="Build a larger set.")
        if repaired and Kind.UNPAIRED in kinds:
            raise UserError(
                "The pair set has rows of one half only: there is no other half to deal anew.",
                hint="Take an arm whose pairs have two halves, as pairuni does.",
            )
        self._pairs = pairs
        self._repaired = repaired
        self._permutation = lru_cache(maxsize=4)(self._permute)
        self._seed = seed

    def of_step(self, step: int) -> list[Pair]:
        """The rows of a step (from 0), whole over all ranks."""
        return self.rows(self._places(step, _ORDER))

    def answered(self, step: int, task: Task) -> list[Pair]:
        """The rows whose half a task answers in a step, whole over all ranks."""
        return self.rows(self.places(step, task))

    def places(self, step: int, task: Task) -> list[int]:
        """Where these rows stand in the pair set.

        Only where halves are dealt anew do the two tasks answer halves of different rows.
        """
        return self._places(step, self._order(task))

    def further(self, step: int, number: int, task: Task) -> list[int]:
        """Where as many rows as a step has stand that are none of it, or what is left of them.

        Args:
            step: The step.
            number: From 1; no two numbers have a row in common.
            task: Whose halves are answered.
        """
        order = self._order(task)
        taken = set(self._places(step, order))
        left = [one for one in self._permutation(step, f"{order}, further") if one not in taken]
        return left[(number - 1) * self.rows_per_step : number * self.rows_per_step]

    def rows(self, places: Sequence[int]) -> list[Pair]:
        """The rows at some places of the pair set."""
        return [self._pairs[place] for place in places]

    def _order(self, task: Task) -> str:
        return "order of the other halves" if self._repaired and task == "gen" else _ORDER

    def _places(self, step: int, address: str) -> list[int]:
        first = step * self.rows_per_step
        return [self._at(place, address) for place in range(first, first + self.rows_per_step)]

    def _at(self, place: int, address: str) -> int:
        epoch, index = divmod(place, len(self._pairs))
        return self._permutation(epoch, address)[index]

    def _permute(self, epoch: int, address: str) -> list[int]:
        order = list(range(len(self._pairs)))
        random.Random(seed_for(self._seed, "pairs", epoch, address)).shuffle(order)
        return order


def slice_of(rows: Sequence[Item], rank: int, ranks: int) -> list[Item]:
    """A rank's share of a step: contiguous, and as even as can be."""
    return list(rows[rank * len(rows) // ranks : (rank + 1) * len(rows) // ranks])
