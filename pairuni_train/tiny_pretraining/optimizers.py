"""Muon for matrices, AdamW for the rest, and the schedule of both.

Shapes: X matrices of A x B.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from transformers import JanusForConditionalGeneration

from pairuni_train.tiny_pretraining.config import PretrainConfig


class Muon(torch.optim.Optimizer):
    """Muon with match-RMS scaling, all matrices of one shape orthogonalized together.

    The same update as `torch.optim.Muon(adjust_lr_fn="match_rms_adamw")`, but in float32: that
    one iterates in bfloat16, which many CPUs emulate at a tenth of the speed.
    """

    def __init__(
        self, params: Sequence[nn.Parameter], *, lr: float, weight_decay: float, momentum: float
    ):
        """Group `params`, matrices and kernels (taken as matrices, one row a filter), by shape."""
        shapes: dict[tuple[int, ...], list[nn.Parameter]] = {}
        for parameter in params:
            shapes.setdefault(tuple(parameter.shape), []).append(parameter)
        groups = [{"params": group} for group in shapes.values()]
        super().__init__(groups, {"lr": lr, "weight_decay": weight_decay, "momentum": momentum})

    @torch.no_grad()
    def step(self) -> None:  # type: ignore[override]
        """Take one step."""
        for group in self.param_groups:
            parameters = [p for p in group["params"] if p.grad is not None]
            if not parameters:
                continue
            update_XAB = orthogonal(torch.stack([self._nesterov(p, group) for p in parameters]))
            scale = group["lr"] * 0.2 * max(update_XAB.shape[1:]) ** 0.5
            for parameter, update_AB in zip(parameters, update_XAB, strict=True):
                parameter.mul_(1 - group["lr"] * group["weight_decay"])
                parameter.sub_(scale * update_AB.view_as(parameter))

    def _nesterov(self, parameter: nn.Parameter, group: dict[str, Any]) -> Tensor:
        gradient = parameter.grad
        assert gradient is not None
        state = self.state[parameter]
        if "momentum" not in state:
            state["momentum"] = torch.zeros_like(parameter)
        velocity: Tensor = state["momentum"].lerp_(gradient, 1 - group["momentum"])
        update: Tensor = gradient.lerp(velocity, group["momentum"])
        return update.flatten(1)


def orthogonal(matrices_XAB: Tensor) -> Tensor:
    """Near-orthogonal factors of a stack of matrices by five Newton-Schulz steps (Jordan 2024)."""
    a, b, c = 3.4445, -4.7750, 2.0315
    tall = matrices_XAB.shape[1] > matrices_XAB.shape[2]
    x: Tensor = matrices_XAB.mT if tall else matrices_XAB
    x = x / x.norm(dim=(1, 2), keepdim=True).clamp_min(1e-7)
    for _ in range(5):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.mT if tall else x


# Matrices of Janus at the edge of the network.
_OUTER = ("embed", "lm_head", "vision_head", "generation_aligner.fc1")


class Optimizers(NamedTuple):
    """Muon for hidden matrices, AdamW for the rest, each with its peak learning rate."""

    muon: Muon
    adamw: torch.optim.AdamW

    def set_rate(self, matrix_lr: float, other_lr: float, share: float) -> None:
        """Set both learning rates to `share`, in [0, 1], of these peaks."""
        for group in self.muon.param_groups:
            group["lr"] = matrix_lr * share
        for group in self.adamw.param_groups:
            group["lr"] = other_lr * share

    def step(self) -> None:
        """Take one step with both and clear the gradients."""
        for optimizer in self:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)


def build_optimizers(model: JanusForConditionalGeneration, cfg: PretrainConfig) -> Optimizers:
    """Freeze the VQ and split the other parameters by kind."""
    model.model.vqmodel.requires_grad_(False)
    return optimizers_for(model, cfg, outer=_OUTER)


def optimizers_for(model: nn.Module, cfg: PretrainConfig, *, outer: Sequence[str]) -> Optimizers:
    """Muon for matrices, except those with `outer` in their names, and AdamW for the rest."""
    matrices: list[nn.Parameter] = []
    others: list[nn.Parameter] = []
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            inner = parameter.ndim == 2 and not any(part in name for part in outer)
            (matrices if inner else others).append(parameter)
    muon = Muon(matrices, lr=cfg.matrix_lr, weight_decay=cfg.weight_decay, momentum=0.95)
    adamw = torch.optim.AdamW(others, lr=cfg.other_lr, betas=(0.9, 0.95), weight_decay=0.0)
    return Optimizers(muon, adamw)


def rate_share(step: int, cfg: PretrainConfig, *, start: int = 0, hold: float = 0.0) -> float:
    """Warm-up from step `start`, and a straight line to zero at the last step.

    Args:
        step: From 0.
        cfg: How many steps there are, and how long the warm-up is.
        start: Where the optimizers began.
        hold: Share of all steps before the line begins; at least the warm-up.
    """
    warm = max(1, round(cfg.warmup * cfg.steps))
    line = cfg.steps - max(warm, round(hold * cfg.steps))
    return min((step - start + 1) / warm, (cfg.steps - step) / max(1, line), 1.0)
