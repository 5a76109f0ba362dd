"""A batch of sequences with unknown places, every guidance branch a row of it.

Rows differ in length, so they are padded on the right and their padding is never looked at. The
branches of a request share its tail; what is known of the tail is written into all of them.

Legend: B requests, G branches, R = G B rows (branch by branch), T places, N places of the tail that
are filled in, P of them asked for, V columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from pairuni_eval.models.lumina_dimoo.layout import Ids, Tail
from pairuni_eval.models.lumina_dimoo.network import Columns, Network


class Branches(NamedTuple):
    """What stands before the tail of one request, in each branch of guidance, and the tail.

    Attributes:
        prefixes: The conditional one first.
        tail: The same in every branch.
    """

    prefixes: tuple[Ids, ...]
    tail: Tail


class MaskedBatch(NamedTuple):
    """Rows of a batch as tensors; `written` gives those of another state of the tail.

    Attributes:
        ids_RT: Tokens.
        keep_RT: False where there is padding; None if no row has any.
        places_RN: Where the tail's places stand.
        branches: G.
    """

    ids_RT: Tensor
    keep_RT: Tensor | None
    places_RN: Tensor
    branches: int

    @property
    def state_BN(self) -> Tensor:
        """The tokens at the tail's places."""
        rows = len(self.ids_RT) // self.branches
        return self.ids_RT[:rows].gather(1, self.places_RN[:rows])

    def written(self, tokens_BN: Tensor) -> MaskedBatch:
        """The batch with other tokens at the tail's places."""
        tokens_RN = tokens_BN.repeat(self.branches, 1)
        return self._replace(ids_RT=self.ids_RT.scatter(1, self.places_RN, tokens_RN))

    def logits(
        self, network: Network, index_BP: Tensor | None = None, columns: Columns | None = None
    ) -> Tensor:
        """Logits of every branch at some of the tail's places, (G, B, P, V); of all without any.

        Args:
            network: What gives them.
            index_BP: Which of the N places; None for all.
            columns: Columns of the vocabulary; None for all.
        """
        places = self.places_RN
        if index_BP is not None:
            places = places.gather(1, index_BP.repeat(self.branches, 1))
        found_RPV: Tensor = network(self.ids_RT, self.keep_RT, places_BP=places, columns=columns)
        return found_RPV.unflatten(0, (self.branches, -1))


def masked_batch(requests: Sequence[Branches], device: torch.device) -> MaskedBatch:
    """The rows of some requests, which have equally many branches and places to fill in."""
    rows = [
        (*one.prefixes[branch], *one.tail.ids)
        for branch in range(len(requests[0].prefixes))
        for one in requests
    ]
    starts = [
        len(one.prefixes[branch]) for branch in range(len(requests[0].prefixes)) for one in requests
    ]
    longest = max(map(len, rows))
    ids_RT = torch.zeros(len(rows), longest, dtype=torch.long)
    keep_RT = torch.zeros(len(rows), longest, dtype=torch.bool)
    for row, tokens in enumerate(rows):
        ids_RT[row, : len(tokens)] = torch.tensor(tokens)
        keep_RT[row, : len(tokens)] = True
    tails = [one.tail.places for one in requests] * len(requests[0].prefixes)
    places_RN = torch.tensor(tails) + torch.tensor(starts)[:, None]
    keep = None if bool(keep_RT.all()) else keep_RT.to(device)
    return MaskedBatch(ids_RT.to(device), keep, places_RN.to(device), len(requests[0].prefixes))
