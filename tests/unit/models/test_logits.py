"""Log-probs in chunks of positions are those of all positions at once, and so is their gradient."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from pairuni_eval.models.logits import LazyLogits, scored_tokens

ROWS, LENGTH, HIDDEN, WORDS = 3, 7, 5, 11


def scored(held: int | None, entropies: bool = True) -> tuple[list[Tensor], list[int]]:
    """Log-probs, entropies and the gradients of what they are of; the positions of each call."""
    torch.manual_seed(0)
    head = nn.Linear(HIDDEN, WORDS)
    one, other = (torch.randn(ROWS, LENGTH, HIDDEN, requires_grad=True) for _ in range(2))
    tokens_NT = torch.randint(WORDS, (ROWS, LENGTH))
    seen: list[int] = []

    def apart(first: Tensor, second: Tensor) -> Tensor:
        seen.append(first.shape[1])
        return head(first) - 0.5 * head(second)

    logits = LazyLogits((one, other), apart, WORDS)
    logp_NT, entropy_NT = scored_tokens(
        logits, tokens_NT, temperature=0.7, with_entropy=entropies, held=held
    )
    assert (entropy_NT is None) != entropies
    (logp_NT * torch.arange(LENGTH)).sum().backward()
    parts = [logp_NT, *([entropy_NT] if entropy_NT is not None else [])]
    grads = [one.grad, other.grad, head.weight.grad]
    return [part.detach() for part in (*parts, *grads) if part is not None], seen


def test_by_hand() -> None:
    logits = LazyLogits((torch.tensor([[[2.0, 0.0]]]),), nn.Identity(), 2)
    logp_NT, entropy_NT = scored_tokens(
        logits, torch.tensor([[1]]), temperature=2.0, with_entropy=True
    )
    share = 1 / (1 + torch.tensor(1.0).exp())  # of the second word: e^0 / (e^1 + e^0)
    assert float(logp_NT) == pytest.approx(float(share.log()))
    assert entropy_NT is not None
    expected = -(share * share.log() + (1 - share) * (1 - share).log())
    assert float(entropy_NT) == pytest.approx(float(expected))


@pytest.mark.parametrize("entropies", [True, False])
@pytest.mark.parametrize(
    ("held", "forward"), [(ROWS * WORDS * 3, [3, 3, 1]), (1, [1] * 7), (ROWS * WORDS * 7, [7])]
)
def test_chunks_change_nothing(held: int, forward: list[int], entropies: bool) -> None:
    whole, once = scored(None, entropies)
    found, seen = scored(held, entropies)
    assert once == [LENGTH]
    assert seen[: len(forward)] == forward
    assert len(seen) == (len(forward) if forward == [7] else 2 * len(forward)), "and backward"
    for ours, theirs in zip(found, whole, strict=True):
        assert torch.allclose(ours, theirs, rtol=1e-5, atol=1e-6)
