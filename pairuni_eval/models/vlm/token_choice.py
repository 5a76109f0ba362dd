"""Which token comes next in each row: ours, inside transformers' own `generate`.

`generate` runs the network and its caches; it is asked to be greedy over what this leaves of the
logits, which is one token a row. So a token depends on its row's logits and its request's own
numbers (`sampling`), not on a generator that the rows of a batch share.

Minus infinity is a token that the network itself rules out; a row without any finite logit, or with
NaN or plus infinity, ends there.

Legend: B rows, T tokens, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import torch
from torch import Tensor

from pairuni_eval.decoding import Decoding
from pairuni_eval.models.sampling import pick, uniforms, warp


class TokenChoice:
    """Chooses the next token of every row; `generate` takes it as a processor of logits.

    Args:
        decoding: Temperature, top-k, top-p and the longest answer.
        seeds: One for each row.
        ends: Tokens that end an answer; may be empty.
        filler: What a row that has ended says.
        device: Where the logits are.

    Attributes:
        finite_B: True where every distribution so far was made of finite numbers.
    """

    def __init__(
        self,
        decoding: Decoding,
        seeds: Sequence[int],
        *,
        ends: Collection[int],
        filler: int,
        device: torch.device,
    ) -> None:
        self._decoding = decoding
        self._uniform_BT = uniforms(seeds, decoding.max_tokens, device)
        self._ends = torch.tensor(sorted(ends), dtype=torch.long, device=device)
        self._filler = min(ends, default=filler)
        self._alive_B = torch.ones(len(seeds), dtype=torch.bool, device=device)
        self._tokens: list[Tensor] = []
        self._masks: list[Tensor] = []
        self.finite_B = self._alive_B

    def __call__(self, _: Tensor, logits_BV: Tensor) -> Tensor:
        """Zero for the token of each row and minus infinity for all others: (B, V)."""
        logits_BV = logits_BV.float()
        usable_B = logits_BV.amax(-1).isfinite()  # NaN is the largest of all
        self.finite_B = self.finite_B & (usable_B | ~self._alive_B)
        self._alive_B = self._alive_B & usable_B
        token_B = self._choose(logits_BV.masked_fill(~usable_B[:, None], 0.0))
        token_B = token_B.masked_fill(~self._alive_B, self._filler)
        self._tokens.append(token_B)
        self._masks.append(self._alive_B)
        self._alive_B = self._alive_B & ~torch.isin(token_B, self._ends)
        only_BV = torch.full_like(logits_BV, float("-inf"))
        return only_BV.scatter_(-1, token_B[:, None], 0.0)

    def _choose(self, logits_BV: Tensor) -> Tensor:
        one = self._decoding
        warped_BV = warp(logits_BV, one.temperature, one.top_k, one.top_p)
        uniform_B = self._uniform_BT[:, len(self._tokens)]
        return pick(warped_BV, uniform_B, greedy=one.temperature == 0.0)

    def said(self) -> list[list[int]]:
        """The tokens of each row up to its end, which counts."""
        if not self._tokens:
            return [[] for _ in self._alive_B]
        tokens_BT, mask_BT = torch.stack(self._tokens, 1), torch.stack(self._masks, 1)
        return [row_T[kept_T].tolist() for row_T, kept_T in zip(tokens_BT, mask_BT, strict=True)]
