"""A batch of sequences with unknown places, every guidance branch a row of it.

Rows differ in length, so they are padded on the right and their padding is never looked at. The
branches of a request share its tail; what is known of the tail is written into all of them. A
branch whose rows are much shorter (an edit without its source) goes through the network by itself,
so that it is not padded to the length of the others. Rows that are the same as long as nothing is
written into them, as those without a prompt and those of one prompt's draws, are computed once.

Legend: B requests, G branches, R = G B rows (branch by branch), T places, N places of the tail that
are filled in, P of them asked for, V columns.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor

from pairuni_eval.models.lumina_dimoo.layout import Ids, Tail
from pairuni_eval.models.lumina_dimoo.network import GivesLogits, VocabularySlice

_ALIKE = 0.9  # branches go together if the shortest has this share of the longest's places


class Branches(NamedTuple):
    """What stands before the tail of one request, in each branch of guidance, and the tail.

    Attributes:
        prefixes: The conditional one first.
        tail: The same in every branch.
    """

    prefixes: tuple[Ids, ...]
    tail: Tail


class BranchRows(NamedTuple):
    """What the rows of a branch have in common.

    Attributes:
        longest: Places of the longest.
        padded: Whether another one has fewer.
    """

    longest: int
    padded: bool


@dataclass(frozen=True)
class MaskedBatch:
    """Rows of a batch as tensors.

    Attributes:
        ids_GBT: Tokens.
        keep_GBT: False where there is padding; None if no row has any.
        places_GBN: Where the tail's places stand.
        spans: The rows of each branch.
        same_GB: A number for each row, that of the first one like it; None once the batch was
            written into or cut.
    """

    ids_GBT: Tensor
    keep_GBT: Tensor | None
    places_GBN: Tensor
    spans: tuple[BranchRows, ...]
    same_GB: tuple[tuple[int, ...], ...] | None = None

    def __len__(self) -> int:
        """The number of requests B."""
        return int(self.ids_GBT.shape[1])

    @property
    def state_BN(self) -> Tensor:
        """The tokens at the tail's places."""
        return self.ids_GBT[0].gather(1, self.places_GBN[0])

    def rows(self, index: slice | Tensor) -> MaskedBatch:
        """Some of the requests."""
        return self._each(lambda tensor: tensor[:, index])

    def branches(self, stop: int, start: int = 0) -> MaskedBatch:
        """Some of the branches."""
        some = self._each(lambda tensor: tensor[start:stop])
        same_GB = self.same_GB and self.same_GB[start:stop]
        return replace(some, spans=self.spans[start:stop], same_GB=same_GB)

    def _each(self, change: Callable[[Tensor], Tensor]) -> MaskedBatch:
        keep_GBT = None if self.keep_GBT is None else change(self.keep_GBT)
        ids_GBT, places_GBN = change(self.ids_GBT), change(self.places_GBN)
        return MaskedBatch(ids_GBT, keep_GBT, places_GBN, self.spans)

    def written(self, tokens_BN: Tensor) -> MaskedBatch:
        """The batch with other tokens at the tail's places."""
        tokens_GBN = tokens_BN.expand(len(self.ids_GBT), -1, -1)
        ids_GBT = self.ids_GBT.scatter(2, self.places_GBN, tokens_GBN)
        return replace(self, ids_GBT=ids_GBT, same_GB=None)

    def blank(self, mask: int) -> MaskedBatch:
        """The batch with a second branch in which every token is a mask, for guidance of answers.

        What is written into it later is seen in both.
        """
        doubled = self._each(lambda tensor: tensor.repeat(2, 1, 1))
        doubled.ids_GBT[1:] = mask
        return replace(doubled, spans=self.spans * 2)

    def logits(
        self,
        network: GivesLogits,
        index_BP: Tensor | None = None,
        columns: VocabularySlice | None = None,
    ) -> Tensor:
        """Logits of every branch at some of the tail's places, (G, B, P, V); of all without any.

        Args:
            network: What gives them.
            index_BP: Which of the N places; None for all.
            columns: VocabularySlice of the vocabulary; None for all.
        """
        parts = [
            self.branches(group.stop, group.start)._together(network, index_BP, columns)
            for group in alike_branches([one.longest for one in self.spans])
        ]
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def _together(
        self, network: GivesLogits, index_BP: Tensor | None, columns: VocabularySlice | None
    ) -> Tensor:
        """Logits of all branches in one call, without the places that only others' rows have."""
        width = max(one.longest for one in self.spans)
        even = all(one == BranchRows(width, padded=False) for one in self.spans)
        keep_GBT = None if self.keep_GBT is None or even else self.keep_GBT[..., :width]
        places_GBP = self.places_GBN
        if index_BP is not None:
            places_GBP = places_GBP.gather(2, index_BP.expand(len(places_GBP), -1, -1))
        kept_RT = None if keep_GBT is None else keep_GBT.flatten(0, 1)
        inputs = (self.ids_GBT[..., :width].flatten(0, 1), kept_RT, places_GBP.flatten(0, 1))
        found_RPV = self._each_once(network, *inputs, columns)
        return found_RPV.view(*self.ids_GBT.shape[:2], *found_RPV.shape[1:])

    def _each_once(
        self,
        network: GivesLogits,
        ids_RT: Tensor,
        keep_RT: Tensor | None,
        places_RP: Tensor,
        columns: VocabularySlice | None,
    ) -> Tensor:
        """Logits of all rows; of those that are known to be the same, of the first alone."""
        same_R = [number for same_B in self.same_GB or () for number in same_B]
        first = list(dict.fromkeys(same_R))
        if len(first) == len(same_R):
            return network(ids_RT, keep_RT, places_BP=places_RP, columns=columns)
        at = torch.tensor([same_R.index(number) for number in first], device=ids_RT.device)
        back = torch.tensor([first.index(number) for number in same_R], device=ids_RT.device)
        found = network(
            ids_RT[at],
            None if keep_RT is None else keep_RT[at],
            places_BP=places_RP[at],
            columns=columns,
        )
        return found[back]


def alike_branches(longest: Sequence[int]) -> list[range]:
    """Branches that go through the network together: neighbors of about one length."""
    groups = [range(1)]
    for branch in range(1, len(longest)):
        wider = range(groups[-1].start, branch + 1)
        lengths = [longest[one] for one in wider]
        if min(lengths) >= _ALIKE * max(lengths):
            groups[-1] = wider
        else:
            groups.append(range(branch, branch + 1))
    return groups


def masked_batch(requests: Sequence[Branches], device: torch.device | str) -> MaskedBatch:
    """The rows of some requests, which have equally many branches and places to fill in."""
    count, branches = len(requests), len(requests[0].prefixes)
    placed = [(one.prefixes[branch], one.tail) for branch in range(branches) for one in requests]
    longest = max(len(prefix) + len(tail.ids) for prefix, tail in placed)
    ids_RT = torch.zeros(len(placed), longest, dtype=torch.long)
    keep_RT = torch.zeros(len(placed), longest, dtype=torch.bool)
    for row, (prefix, tail) in enumerate(placed):
        length = len(prefix) + len(tail.ids)
        ids_RT[row, :length] = torch.tensor((*prefix, *tail.ids))
        keep_RT[row, :length] = True
    places_RN = torch.tensor(
        [[len(prefix) + place for place in tail.places] for prefix, tail in placed]
    )
    ids, keep, places = (
        one.view(branches, count, -1).to(device) for one in (ids_RT, keep_RT, places_RN)
    )
    lengths_GB = keep_RT.sum(1).view(branches, count).tolist()
    spans = tuple(BranchRows(max(row), padded=min(row) < max(row)) for row in lengths_GB)
    numbers: dict[tuple[Ids, Tail], int] = {}
    same_R = [numbers.setdefault(one, len(numbers)) for one in placed]
    same_GB = tuple(tuple(same_R[start : start + count]) for start in range(0, len(same_R), count))
    return MaskedBatch(ids, None if bool(keep_RT.all()) else keep, places, spans, same_GB)
