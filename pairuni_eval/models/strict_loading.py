"""Weights into a module of ours, every tensor in its place: strictly, and without a second copy.

A module is built without memory for its weights, which are then mapped from their files. A tensor
that is missing would stay random without a word, so that none may be; nor may one be left over.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import torch
from torch import nn

from pairuni_eval.errors import UserError
from pairuni_eval.models.network_loading import without_place
from pairuni_eval.models.weights import Weights

Built = TypeVar("Built", bound=nn.Module)
_NAMED = 3  # tensors that a message names


def on_meta(build: Callable[[], Built]) -> Built:
    """A module without memory for its weights."""
    with torch.device("meta"):
        return build()


def fill(module: nn.Module, weights: Weights, what: str) -> None:
    """Put every tensor in its place, and refuse what is missing or left over.

    Args:
        module: Built by `on_meta`.
        weights: Its tensors, under its own names.
        what: What the module is called, for messages.

    Raises:
        UserError: naming tensors that are missing, of another shape, not finite or without a place.
    """
    place, tensors = _place(weights), weights.tensors()
    wanted = module.state_dict()
    missing, extra = sorted(wanted.keys() - tensors.keys()), sorted(tensors.keys() - wanted.keys())
    if missing:
        raise UserError(
            f"{place}: {len(missing)} weights of {what} are missing: {_some(missing)}.",
            hint="Copy the whole checkpoint, every shard of it.",
        )
    if extra:
        raise without_place(weights, extra, name=what)
    for name, one in wanted.items():
        if one.shape != tensors[name].shape:
            raise UserError(
                f"{place}: {name} is {tuple(tensors[name].shape)}, and its configuration says "
                f"{tuple(one.shape)}."
            )
    weights.refuse_broken()
    module.load_state_dict(tensors, assign=True)


def _place(weights: Weights) -> str:
    """The file, or the folder of several."""
    first = weights.files[0]
    return str(first if len(weights.files) == 1 else first.parent)


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return f"{', '.join(names[:_NAMED])}{more}"
