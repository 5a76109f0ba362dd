"""The PairGRPO objective of one task: a clipped surrogate over tokens, as pure tensor functions.

    L = - 1/M  sum over sequences i  sum over views v  w_vi  1/|o_vi|  sum over tokens t of o_vi
            min(rho A, clip(rho, 1 - eps_low, 1 + eps_high) A)  -  beta KL

with rho = pi / pi_old per token, A = w_p times the group-relative advantage (paper, PairGRPO
objective), and KL the k3 estimate exp(d) - d - 1, d = log pi_ref - log pi (0 by default), or of a
noisy step of flow matching |mean - mean_ref|^2 / 2 s^2, a mean over its numbers as its log-prob is.
A view is a way to score a sequence, o_vi are the tokens that it scores, and the weights w of a
sequence's views sum to 1: an autoregressive policy has one, and the paper's objective.

The mean is taken over sequences of their token means. trl's default ("dapo") divides by all tokens
of the batch instead, so that in a joint batch one picture of 576 tokens would outweigh an answer of
20 tokens 29 to 1. M comes from the *global* batch and is passed in, so that neither micro-batches
nor ranks change the loss.

Sequences of fixed length (pictures) are never taken as truncated.

Two parts may be others. Dr.GRPO (arXiv 2503.20783) divides the sum over a sequence's tokens by a
constant, so that a long wrong answer is not worth less per token than a short one (`length_norm`).
GSPO (arXiv 2507.18071) has one ratio for a sequence, the exponential of the mean over its tokens of
log pi - log pi_old, clipped as a whole (`importance_level`); of several views each has one.

Legend: N sequences of a micro-batch, each under one view, T token positions.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from pairuni_eval.toolkit.models import LogProbs
from pairuni_train.grpo.config import ObjectiveSpec


class Terms(NamedTuple):
    """The loss of a micro-batch and what is worth watching, as sums that add up over micro-batches.

    Attributes:
        loss: Scalar with gradient; the sum over micro-batches is the loss of the task.
        tokens: Number of tokens.
        clipped_low: Tokens held back at 1 - eps_low (negative advantage).
        clipped_high: Tokens held back at 1 + eps_high (positive advantage).
        ratio_off: Largest |ratio - 1|.
        kl: Sum of the k3 estimates over tokens; 0 without a reference.
    """

    loss: Tensor
    tokens: Tensor
    clipped_low: Tensor
    clipped_high: Tensor
    ratio_off: Tensor
    kl: Tensor


def surrogate(
    logp_NT: Tensor,
    mask_NT: Tensor,
    advantage_N: Tensor,
    objective: ObjectiveSpec,
    *,
    sequences: float,
    weight_N: Tensor | None = None,
    length: float | None = None,
    old_logp_NT: Tensor | None = None,
    reference_logp_NT: Tensor | None = None,
    kl_NT: Tensor | None = None,
) -> Terms:
    """The clipped surrogate of a micro-batch.

    Args:
        logp_NT: Log-probs under the policy, with gradient.
        mask_NT: True at the view's targets.
        advantage_N: Advantages, pair weight included.
        objective: Bounds of the ratio and weight of the KL penalty.
        sequences: M, the number of sequences that the mean is taken over.
        weight_N: Weight of the view in each sequence; None is 1, the weight of an only view.
        length: What the sum over a sequence's tokens is divided by; None is their number.
        old_logp_NT: Log-probs under the policy that sampled, from the same scoring function; None
            on the first inner step, where they equal `logp_NT`.
        reference_logp_NT: Log-probs under the reference; needed for `beta` > 0,
        kl_NT: or the divergence from it, where that is known in closed form.

    Raises:
        ValueError: `beta` without a reference.
    """
    if objective.beta and reference_logp_NT is None and kl_NT is None:
        raise ValueError("a KL penalty needs the reference's log-probs")
    old_NT = logp_NT.detach() if old_logp_NT is None else old_logp_NT
    ratio_NT = importance(logp_NT - old_NT, mask_NT, objective)
    bound_NT = ratio_NT.clamp(1 - objective.clip_low, 1 + objective.clip_high)
    scale_N1 = advantage_N[:, None]
    gain_NT = torch.minimum(ratio_NT * scale_N1, bound_NT * scale_N1)
    if kl_NT is None:
        kl_NT = (
            torch.zeros_like(logp_NT)
            if reference_logp_NT is None
            else k3(logp_NT, reference_logp_NT)
        )
    mean_N = _token_means(gain_NT - objective.beta * kl_NT, mask_NT, length)
    loss = -(mean_N if weight_N is None else weight_N * mean_N).sum() / sequences
    with torch.no_grad():
        held_NT = mask_NT & (gain_NT < ratio_NT * scale_N1)
        return Terms(
            loss,
            mask_NT.sum(),
            (held_NT & (scale_N1 < 0)).sum(),
            (held_NT & (scale_N1 > 0)).sum(),
            (ratio_NT - 1).abs().masked_fill(~mask_NT, 0.0).amax(),
            kl_NT.masked_fill(~mask_NT, 0.0).sum(),
        )


def importance(off_NT: Tensor, mask_NT: Tensor, objective: ObjectiveSpec) -> Tensor:
    """The ratio that each token's advantage is multiplied by: its own, or its sequence's.

    Args:
        off_NT: log pi - log pi_old.
        mask_NT: True at the tokens that count.
        objective: Says which (`importance_level`).
    """
    if objective.importance_level == "sequence":
        off_NT = _token_means(off_NT, mask_NT)[:, None].expand_as(off_NT)
    return off_NT.exp()


def divergence(scored: LogProbs, reference: LogProbs) -> Tensor:
    """Each token's divergence from a reference: of means where they are known, else k3."""
    if scored.steps is None or reference.steps is None:
        return k3(scored.logp_NT, reference.logp_NT)
    apart_NT = (scored.steps.mean - reference.steps.mean).square().flatten(2).mean(2)
    return apart_NT / (2 * scored.steps.width_NT**2)


def k3(logp_NT: Tensor, reference_logp_NT: Tensor) -> Tensor:
    """Schulman's estimate of KL(policy, reference) per token: unbiased and never negative."""
    off_NT = reference_logp_NT - logp_NT
    return off_NT.exp() - off_NT - 1


def _token_means(value_NT: Tensor, mask_NT: Tensor, length: float | None = None) -> Tensor:
    """Mean over the tokens of each sequence, or their sum over a length; 0 without tokens."""
    kept_NT = torch.where(mask_NT, value_NT, 0.0)
    tokens_N = mask_NT.sum(1).clamp(min=1) if length is None else length
    mean_N: Tensor = kept_NT.sum(1) / tokens_N
    return mean_N
