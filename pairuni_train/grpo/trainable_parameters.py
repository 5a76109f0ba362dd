"""Which weights train, and what a checkpoint holds of them.

Either the parameters with the recipe's prefixes train, or low-rank adapters beside them (peft).
A checkpoint holds whole weights in both cases, adapters merged, so that transformers reads it; a
resumed run takes the adapters from a file of their own, for merged weights cannot be taken apart.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from pairuni_eval.toolkit import UserError, nearest
from pairuni_eval.toolkit.models import TrainedModule
from pairuni_train.distributed.sharded import laid_out_like
from pairuni_train.grpo.config import LoraSpec

_ADAPTER = "default"
# What peft puts into the name of a weight that has an adapter, and of the adapter.
_BESIDE, _ADAPTED = ".base_layer.", ".lora_"


def select_trainable(
    policy: TrainedModule, prefixes: Sequence[str], lora: LoraSpec | None = None
) -> dict[str, nn.Parameter]:
    """Let the parameters with these prefixes train and no others; returns them by name.

    With `lora`, adapters beside them train in their place.

    Raises:
        UserError: if a prefix or an adapter's target names no parameter.
    """
    _check_prefixes(policy, prefixes)
    policy.requires_grad_(False)
    if lora is not None:
        _add_adapters(policy, lora, prefixes)
    for name, parameter in policy.named_parameters():
        inside = name.startswith(tuple(prefixes))
        parameter.requires_grad_(inside and (lora is None or _ADAPTED in name))
    return trainable_parameters(policy)


def halve_frozen(policy: TrainedModule) -> None:
    """Keep the weights of products that do not train in bfloat16; those of norms stay as they are.

    Under autocast a product reads them so anyway, and they are not cast again for every pass.
    """
    from pairuni_eval.toolkit.networks import CAST_LAYERS

    for module in policy.modules():
        if isinstance(module, CAST_LAYERS):
            for parameter in module.parameters(recurse=False):
                if not parameter.requires_grad and parameter.dtype == torch.float32:
                    parameter.data = parameter.data.to(torch.bfloat16)


def trainable_parameters(policy: TrainedModule) -> dict[str, nn.Parameter]:
    """The parameters that train, by name."""
    return {name: one for name, one in policy.named_parameters() if one.requires_grad}


def _check_prefixes(policy: TrainedModule, prefixes: Sequence[str]) -> None:
    names = [name for name, _ in policy.named_parameters()]
    for prefix in prefixes:
        if not any(name.startswith(prefix) for name in names):
            guess = nearest(prefix, {name.rpartition(".")[0] + "." for name in names})
            raise UserError(
                f"No parameter's name begins with '{prefix}'."
                + (f" Did you mean '{guess}'?" if guess else "")
            )


def _add_adapters(policy: TrainedModule, spec: LoraSpec, prefixes: Sequence[str]) -> None:
    from peft import LoraConfig, inject_adapter_in_model

    targets = [
        name
        for name, module in policy.named_modules()
        if isinstance(module, nn.Linear)
        and name.startswith(tuple(prefixes))
        and name.rpartition(".")[2] in spec.targets
    ]
    found = {name.rpartition(".")[2] for name in targets}
    if set(spec.targets) - found:
        raise UserError(
            f"lora.targets: no linear layer in {', '.join(prefixes)} is called "
            f"{', '.join(sorted(set(spec.targets) - found))}."
        )
    config = LoraConfig(r=spec.rank, lora_alpha=spec.alpha, target_modules=targets)
    inject_adapter_in_model(config, policy, adapter_name=_ADAPTER)


@torch.no_grad()
def full_weights(policy: TrainedModule, saved_as: str = "float32") -> dict[str, Tensor] | None:
    """All weights as a checkpoint holds them, adapters merged, by the policy's names.

    None if the policy holds them so itself.
    """
    merged = _merged(policy) if adapters_of(policy) else None
    if saved_as == "float32":
        return merged
    precision = getattr(torch, saved_as)
    whole = policy.state_dict() if merged is None else merged
    return {n: one.to(precision) if one.is_floating_point() else one for n, one in whole.items()}


def _merged(policy: TrainedModule) -> dict[str, Tensor]:
    from peft.tuners.lora import LoraLayer

    deltas = {
        f"{name}{_BESIDE}weight": module.get_delta_weight(_ADAPTER)
        for name, module in policy.named_modules()
        if isinstance(module, LoraLayer)
    }
    found = {}
    for name, tensor in policy.state_dict().items():
        if _ADAPTED not in name:
            full = tensor + deltas[name] if name in deltas else tensor
            found[name.replace(_BESIDE, ".")] = full.detach().cpu().contiguous()
    return found


def adapters_of(policy: TrainedModule) -> dict[str, Tensor]:
    """The adapters by name, which a checkpoint's weights hold merged; empty without."""
    return {
        name: one.detach().cpu()
        for name, one in trainable_parameters(policy).items()
        if _ADAPTED in name
    }


def optimizer_state(policy: TrainedModule, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Every tensor of the optimizer's state as "PARAMETER/KEY", on the CPU."""
    found = named_state(policy, optimizer)
    return {address: value.cpu().contiguous() for address, value in found.items()}


def named_state(policy: TrainedModule, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The same as it lies in the optimizer, sharded as the parameters are."""
    return {
        f"{name}/{key}": value.detach()
        for name, parameter in trainable_parameters(policy).items()
        for key, value in optimizer.state.get(parameter, {}).items()
    }


def restore_optimizer(
    policy: TrainedModule, optimizer: torch.optim.Optimizer, state: Mapping[str, Tensor]
) -> None:
    """The inverse of `optimizer_state`.

    Raises:
        UserError: if it is the state of other parameters.
    """
    parameters = trainable_parameters(policy)
    for address, tensor in state.items():
        name, _, key = address.rpartition("/")
        parameter = parameters.get(name)
        if parameter is None or (tensor.dim() and tensor.shape != parameter.shape):
            raise UserError(
                f"The checkpoint keeps an optimizer's state for '{name}', which is not a "
                "parameter of that shape here."
            )
        whole = laid_out_like(tensor, parameter) if tensor.dim() else tensor
        optimizer.state[parameter][key] = whole
