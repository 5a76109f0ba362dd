"""AdamW over the parameters that train, and its learning rate at a step."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from pairuni_train.grpo.config import OptimizerSpec


def make_optimizer(
    parameters: Mapping[str, nn.Parameter], spec: OptimizerSpec, *, eps: float = 1e-8
) -> torch.optim.Optimizer:
    """The optimizer of these parameters, before its first step; `eps` is AdamW's."""
    return torch.optim.AdamW(
        parameters.values(), lr=spec.lr, betas=spec.betas, eps=eps, weight_decay=spec.weight_decay
    )


def fresh_state(parameter: nn.Parameter) -> dict[str, Tensor]:
    """What AdamW keeps of a parameter, as before its first step; sharded as the parameter is."""
    return {
        "step": torch.zeros(()),
        "exp_avg": torch.zeros_like(parameter, requires_grad=False),
        "exp_avg_sq": torch.zeros_like(parameter, requires_grad=False),
    }


def set_rate(optimizer: torch.optim.Optimizer, spec: OptimizerSpec, step: int) -> float:
    """Linear warm-up, then constant; returns the learning rate."""
    share = min(1.0, (step + 1) / spec.warmup) if spec.warmup else 1.0
    rate = spec.lr * share
    for group in optimizer.param_groups:
        group["lr"] = rate
    return rate
