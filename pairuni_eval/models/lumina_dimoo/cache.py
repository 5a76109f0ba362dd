"""ML-Cache: most places of a step reuse what an earlier step computed. Faster, and not exact.

A place whose largest code logit was high is taken to change little. At a cached step only the
places at or below a quantile of that logit, in each row, go through the network as queries; keys
and values (before rotation) and logits of all others are those of the step before (Xin et al. 2025,
Lumina-DiMOO; official settings 0.9, 0.3 and 5). The first steps and every few after them are whole.
An option that the run card names, never a default.

Legend: R rows, T places, P places computed, C hidden size, V codes, H heads, D width of a head.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from pairuni_eval.models.lumina_dimoo.masked_batch import MaskedBatch
from pairuni_eval.models.lumina_dimoo.network import Network, VocabularySlice


class CachePlan(NamedTuple):
    """When and how much is reused.

    Attributes:
        ratio: Share of places that a cached step reuses.
        warmup: Share of the steps before the first cached one.
        refresh: A whole step comes this often after that.
    """

    ratio: float = 0.9
    warmup: float = 0.3
    refresh: int = 5

    def whole(self, step: int, steps: int) -> bool:
        """Whether a step computes every place."""
        first = int(steps * self.warmup)
        return step <= first or (step - first) % self.refresh == 0


class CachedLogits:
    """Gives a sampler its logits; remembers one drawing, so each batch has one of its own.

    Args:
        network: Gives what is not reused.
        codes: VocabularySlice of the vocabulary that are codes.
        steps: Steps of the drawing.
        plan: When and how much is reused.
    """

    def __init__(self, network: Network, codes: VocabularySlice, steps: int, plan: CachePlan):
        self._network, self._codes, self._steps, self._plan = network, codes, steps, plan
        self._memory: list[tuple[Tensor, Tensor]] = []
        self._logits_RTV: Tensor | None = None

    def logits(self, batch: MaskedBatch, step: int, index_BP: Tensor) -> Tensor:
        """Logits of every branch at the asked places, (G, B, P, V)."""
        ids_RT = batch.ids_GBT.flatten(0, 1)
        keep_RT = None if batch.keep_GBT is None else batch.keep_GBT.flatten(0, 1)
        if self._logits_RTV is None or self._plan.whole(step, self._steps):
            everywhere_RT = torch.arange(ids_RT.shape[1], device=ids_RT.device).expand_as(ids_RT)
            self._logits_RTV = self._computed(ids_RT, keep_RT, everywhere_RT)
        else:
            unsure_RP = self._unsure(self._logits_RTV, keep_RT)
            found_RPV = self._computed(ids_RT, keep_RT, unsure_RP)
            index_RPV = unsure_RP[..., None].expand_as(found_RPV)
            self._logits_RTV = self._logits_RTV.scatter(1, index_RPV, found_RPV)
        places_RP = batch.places_GBN.gather(2, index_BP.expand(len(batch.ids_GBT), -1, -1))
        places_RP1 = places_RP.flatten(0, 1)[..., None]
        found = self._logits_RTV.gather(1, places_RP1.expand(-1, -1, self._logits_RTV.shape[-1]))
        return found.view(*batch.ids_GBT.shape[:2], *found.shape[1:])

    def _unsure(self, logits_RTV: Tensor, keep_RT: Tensor | None) -> Tensor:
        """Places of each row at or below the quantile, in order; short rows repeat their last."""
        sure_RT = logits_RTV.float().amax(-1)
        if keep_RT is None:
            keep_RT = torch.ones_like(sure_RT, dtype=torch.bool)
        rows = []
        for sure_T, keep_T in zip(sure_RT, keep_RT, strict=True):
            bound = torch.quantile(sure_T[keep_T], 1 - self._plan.ratio)
            rows.append(((sure_T <= bound) & keep_T).nonzero()[:, 0])
        most = max(len(row) for row in rows)
        return torch.stack([torch.cat((row, row[-1:].expand(most - len(row)))) for row in rows])

    def _computed(self, ids_RT: Tensor, keep_RT: Tensor | None, places_RP: Tensor) -> Tensor:
        """Logits (R, P, V) of some places; keys and values of the others are remembered ones."""
        network = self._network
        transformer = network.model.transformer
        by = network.rotation(ids_RT.shape[1], ids_RT.device)
        keys_R11T = None if keep_RT is None else keep_RT[:, None, None, :]
        whole = places_RP.shape == ids_RT.shape
        x_RPC = transformer.wte(ids_RT.gather(1, places_RP))
        memory = []
        for number, block in enumerate(network.blocks):
            before = None if whole else self._memory[number]
            x_RPC, remembered = block.cached(x_RPC, by, keys_R11T, places_RP, before)
            memory.append(remembered)
        self._memory = memory
        return network.logits(transformer.ln_f(x_RPC), self._codes)
