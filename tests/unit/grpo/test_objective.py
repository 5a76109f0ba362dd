"""The clipped surrogate against numbers worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch

from pairuni_train.grpo.config import ObjectiveSpec
from pairuni_train.grpo.objective import k3, surrogate

CLIP = ObjectiveSpec(clip_low=0.2, clip_high=0.3)
PENALTY = ObjectiveSpec(beta=0.1)


def logs(*ratios: float) -> torch.Tensor:
    return torch.tensor([[math.log(ratio) for ratio in ratios]])


def test_tokens_are_averaged_within_a_sequence_and_sequences_with_each_other() -> None:
    logp_NT = torch.zeros(2, 4)
    mask_NT = torch.tensor([[True, True, True, True], [True, False, False, False]])
    terms = surrogate(logp_NT, mask_NT, torch.tensor([1.0, 3.0]), CLIP, sequences=2)
    assert terms.loss.item() == -2.0  # -(1 + 3) / 2, not -(4 * 1 + 3) / 5
    assert int(terms.tokens) == 5


@pytest.mark.parametrize(
    ("ratio", "advantage", "gain", "held"),
    [
        (1.5, 2.0, 2.6, "high"),  # min(3.0, 1.3 * 2)
        (1.5, -2.0, -3.0, None),  # min(-3.0, -2.6)
        (0.5, 2.0, 1.0, None),  # min(1.0, 1.6)
        (0.5, -2.0, -1.6, "low"),  # min(-1.0, -1.6)
        (1.1, 2.0, 2.2, None),
    ],
)
def test_the_clip(ratio: float, advantage: float, gain: float, held: str | None) -> None:
    logp_NT = logs(ratio).requires_grad_()
    terms = surrogate(
        logp_NT,
        torch.ones(1, 1, dtype=torch.bool),
        torch.tensor([advantage]),
        CLIP,
        sequences=1,
        old_logp_NT=torch.zeros(1, 1),
    )
    assert terms.loss.item() == pytest.approx(-gain)
    assert (int(terms.clipped_low), int(terms.clipped_high)) == (held == "low", held == "high")
    terms.loss.backward()
    assert float(logp_NT.grad) == pytest.approx(0.0 if held else -ratio * advantage)


def test_on_policy_the_ratio_is_one_and_the_gradient_is_reinforce() -> None:
    logp_NT = torch.tensor([[-1.0, -2.0]], requires_grad=True)
    mask_NT = torch.tensor([[True, True]])
    terms = surrogate(logp_NT, mask_NT, torch.tensor([0.5]), CLIP, sequences=4)
    assert float(terms.ratio_off) == 0.0
    assert int(terms.clipped_low) == int(terms.clipped_high) == 0
    terms.loss.backward()
    # d/dlogp of -(1/4) (1/2) sum ratio * 0.5
    assert logp_NT.grad.tolist() == [[-0.0625, -0.0625]]


def test_over_a_constant_length_every_token_counts_alike() -> None:
    logp_NT = torch.zeros(2, 4)
    mask_NT = torch.tensor([[True, True, True, True], [True, False, False, False]])
    terms = surrogate(logp_NT, mask_NT, torch.tensor([1.0, 3.0]), CLIP, sequences=2, length=8)
    assert terms.loss.item() == -(4 * 1 / 8 + 1 * 3 / 8) / 2


SEQUENCE = ObjectiveSpec(clip_low=0.2, clip_high=0.3, importance_level="sequence")


def test_a_sequence_has_one_ratio_that_is_clipped_as_a_whole() -> None:
    # root(2 * 1.125) = 1.5 is above 1.3; root(2 * .605) = 1.1 is not, though a token's own is
    logp_NT = torch.cat([logs(2.0, 1.125, 7.0), logs(2.0, 0.605, 1.0)]).requires_grad_()
    mask_NT = torch.tensor([[True, True, False], [True, True, False]])
    terms = surrogate(
        logp_NT,
        mask_NT,
        torch.tensor([2.0, 2.0]),
        SEQUENCE,
        sequences=2,
        old_logp_NT=torch.zeros(2, 3),
    )
    assert terms.loss.item() == pytest.approx(-(1.3 * 2 + 1.1 * 2) / 2)
    assert (int(terms.clipped_low), int(terms.clipped_high)) == (0, 2)  # its tokens
    assert float(terms.ratio_off) == pytest.approx(0.5)
    terms.loss.backward()
    # d/dlogp of -(1/2) s A with s the exponential of a mean over two tokens
    assert logp_NT.grad.flatten().tolist() == pytest.approx([0, 0, 0, -0.55, -0.55, 0])


def test_on_policy_a_ratio_of_sequences_has_the_gradient_of_ratios_of_tokens() -> None:
    found = []
    for objective in (CLIP, SEQUENCE):
        logp_NT = torch.tensor([[-1.0, -2.0, -3.0], [-1.0, -1.0, -5.0]], requires_grad=True)
        mask_NT = torch.tensor([[True, True, True], [True, False, False]])
        surrogate(
            logp_NT, mask_NT, torch.tensor([0.5, -2.0]), objective, sequences=2
        ).loss.backward()
        found.append(logp_NT.grad)
    assert torch.equal(*found)


def test_the_penalty_is_k3_and_pulls_toward_the_reference() -> None:
    logp_NT = torch.tensor([[-1.0]], requires_grad=True)
    reference_NT = torch.tensor([[-1.5]])
    # d = -0.5: exp(-0.5) + 0.5 - 1
    assert float(k3(logp_NT, reference_NT)) == pytest.approx(math.exp(-0.5) - 0.5)
    terms = surrogate(
        logp_NT,
        torch.ones(1, 1, dtype=torch.bool),
        torch.zeros(1),
        PENALTY,
        sequences=1,
        reference_logp_NT=reference_NT,
    )
    assert terms.loss.item() == pytest.approx(0.1 * (math.exp(-0.5) - 0.5))
    terms.loss.backward()
    assert float(logp_NT.grad) == pytest.approx(0.1 * (1 - math.exp(-0.5)))  # falls when lowered
    with pytest.raises(ValueError, match="reference"):
        surrogate(logp_NT, torch.ones(1, 1, dtype=torch.bool), torch.zeros(1), PENALTY, sequences=1)


def test_masked_tokens_and_empty_sequences_count_nothing() -> None:
    logp_NT = torch.tensor([[0.0, float("-inf")], [0.0, 0.0]], requires_grad=True)
    mask_NT = torch.tensor([[True, False], [False, False]])
    terms = surrogate(logp_NT, mask_NT, torch.tensor([2.0, 5.0]), CLIP, sequences=2)
    assert terms.loss.item() == -1.0
    assert float(terms.ratio_off) == 0.0
