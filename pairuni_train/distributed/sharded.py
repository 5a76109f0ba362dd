"""Sharded weights: every rank holds a part of each layer (FSDP2), for models that outgrow a device.

Each decoder layer is a group, the rest is another (in bfloat16 each norm of a layer is one as
well). Gradients are summed over ranks as they arrive, so there is nothing left to sum after a
backward pass; a rank holds the sum of its own part.

Every forward and backward pass of one rank waits for the same pass of the others, so all ranks must
run as many micro-batches. Sampling calls inner modules and runs as long as each rank likes, so the
whole weights are put at hand before it and taken away after.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from pairuni_train.distributed.engine import Engine, Parameterized


def shard(
    model: nn.Module,
    layers: Iterable[nn.Module],
    device: torch.device,
    *,
    bfloat16: bool = False,
) -> None:
    """Split the weights of a model over all ranks, in groups: each of its layers, and the rest.

    Args:
        model: The whole.
        layers: Its blocks that repeat.
        device: Of this rank.
        bfloat16: Send the weights of the layers' products in bfloat16, and hold them so where they
            are whole; their shards and the sums of their gradients are in float32. The rest stays
            as it is, as under autocast.
    """
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard

    mesh = init_device_mesh(device.type, (torch.distributed.get_world_size(),))
    policy = MixedPrecisionPolicy()
    if bfloat16:
        policy = MixedPrecisionPolicy(torch.bfloat16, torch.float32, cast_forward_inputs=False)
    for layer in layers:
        if bfloat16:
            for norm in _other_than_products(layer):
                fully_shard(norm, mesh=mesh)
        fully_shard(layer, mesh=mesh, mp_policy=policy)
    fully_shard(model, mesh=mesh)
    for group in _groups(model):
        group.set_gradient_divide_factor(1.0)
        group.set_force_sum_reduction_for_comms(True)


def _other_than_products(layer: nn.Module) -> list[nn.Module]:
    """The modules of a layer whose own weights autocast leaves alone."""
    from pairuni_eval.toolkit.networks import CAST_LAYERS

    return [
        one
        for one in layer.modules()
        if not isinstance(one, CAST_LAYERS) and list(one.parameters(recurse=False))
    ]


def _groups(model: Parameterized) -> list[Any]:
    from torch.distributed.fsdp import FSDPModule

    return [module for module in model.modules() if isinstance(module, FSDPModule)]


def _name_root(model: Parameterized) -> None:
    """Let torch know which module is the outermost before an inner one is called.

    Else the first layer that a sampler calls by itself takes itself for it, and the first call of
    the model is refused. Torch has no public call for this.
    """
    from torch.distributed.fsdp._fully_shard._fsdp_state import _get_module_fsdp_state

    root: Any = model
    state = _get_module_fsdp_state(root)
    assert state is not None
    state._lazy_init()


class ShardedEngine(Engine):
    """One process of a run whose weights are sharded; `shard` has been called."""

    sharded = True

    def sum_gradients(self) -> None:
        """Nothing to sum; a parameter that no row reached has gradient zero."""
        self._fill_gradients()

    def total_of_shards(self, numbers: Tensor) -> Tensor:
        """Sum over ranks of what each computed from its own part."""
        return self.total(numbers)

    def clip_gradients(self, limit: float) -> float:
        """Clip the global gradient norm; returns the norm before."""
        norm: Any = nn.utils.clip_grad_norm_(self.parameters, limit)
        return float(norm.full_tensor())

    @contextmanager
    def unsharded(self) -> Iterator[None]:
        """All weights at hand on this rank."""
        _name_root(self.model)
        groups = _groups(self.model)
        for group in groups:
            group.set_reshard_after_forward(False, recurse=False)
            group.unshard()
        try:
            yield
        finally:
            for group in groups:
                group.reshard()
                group.set_reshard_after_forward(True, recurse=False)


def laid_out_like(full: Tensor, like: Tensor) -> Tensor:
    """A whole tensor on the devices of another, sharded as that one is."""
    from torch.distributed.tensor import DTensor, distribute_tensor

    if not isinstance(like, DTensor):
        return full.to(like.device)
    return distribute_tensor(full.to(like.device), like.device_mesh, like.placements)


def local(tensor: Tensor) -> Tensor:
    """The shard of this rank, for a sharded tensor; else the tensor itself."""
    to_local = getattr(tensor, "to_local", None)
    found: Tensor = to_local() if to_local is not None else tensor
    return found
