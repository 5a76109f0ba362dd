"""What every policy does alike around its own sampling and scoring.

Legend: N rows, T completion positions, V vocabulary or codebook.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from pairuni_eval.decoding import Decoding
from pairuni_eval.finite import no_finite
from pairuni_eval.models.base import Reply, Request, Rollout


def shared_decoding(requests: Sequence[Request]) -> Decoding:
    """The decoding of all requests of a rollout.

    Raises:
        ValueError: if they do not share one.
    """
    decoding = requests[0].decoding
    if any(request.decoding != decoding for request in requests):
        raise ValueError("the requests of one rollout must share their decoding")
    return decoding


@contextmanager
def eval_mode(module: nn.Module) -> Iterator[None]:
    """Evaluation mode; afterwards training mode, if that was found.

    A module that evaluates already is left alone: a small one has hundreds of parts to tell.
    """
    if not module.training:
        yield
        return
    module.eval()
    try:
        yield
    finally:
        module.train()


def tensor_names(module: nn.Module) -> list[str]:
    """Names of the tensors that a checkpoint holds, each tensor once."""
    kept = module.state_dict().keys()
    named = (*module.named_parameters(), *module.named_buffers())
    return [name for name, _ in named if name in kept]


def finite_replies(rollout: Rollout, made: list[Reply], dtype: torch.dtype) -> list[Reply]:
    """What was made of a rollout, with an error for each row of logits that are not finite."""
    if rollout.finite_N is None:
        return made
    none = Reply(error=no_finite("logits", dtype))
    return [
        reply if finite else none
        for reply, finite in zip(made, rollout.finite_N.tolist(), strict=True)
    ]


def entropy(logp_NTV: Tensor) -> Tensor:
    """Entropy in nats per position (N, T); banned tokens (log-prob -inf) contribute nothing."""
    return -(logp_NTV.exp() * logp_NTV.clamp(min=-1e4)).sum(-1)


def parameters_by_block(module: nn.Module, prefix: str, *, repeated: str) -> dict[str, str]:
    """Parameters below a prefix, each with its block: "layers.3" of what repeats, else "norm".

    Args:
        module: Whose they are.
        prefix: What their names begin with.
        repeated: What the name of a block that repeats begins with, behind the prefix.
    """
    found = {}
    for name, _ in module.named_parameters():
        if name.startswith(prefix):
            parts = name.removeprefix(prefix).split(".")
            found[name] = ".".join(parts[: 2 if parts[0] == repeated else 1])
    return found
