"""The layers of a Llama decoder as a step reads them: callables, tensors and numbers.

Compiled code checks whatever it was handed before every step: of a module that is dozens of things,
of a tensor a few. Layers of one batch copy as little as they can. Those that are kept from batch to
batch read weights anew into the same memory, for graphs know places, not names.

Legend: T positions, I and O inputs and outputs of a projection.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pairuni_eval.models.cast_weights import autocast_precision
from pairuni_eval.models.joint_products import plain_linears, worth_copying

Projection = Callable[[Tensor], Tensor]


class Norm(NamedTuple):
    """An RMSNorm as what a step reads of it."""

    weight_D: Tensor
    epsilon: float


class StepLayer(NamedTuple):
    """A decoder layer as what a step reads of it."""

    query_key_value: Projection
    output: Projection
    gate_up: Projection
    down: Projection
    norm_in: Norm
    norm_mid: Norm
    groups: int
    head_size: int
    scaling: float


def layers_of(llama: Any) -> list[StepLayer]:
    """The layers of transformers' `LlamaModel` for one batch: joined where that is cheap."""
    small = worth_copying(llama.layers.parameters())
    return [_layer(one, _joined if small else _SideBySide) for one in llama.layers]


class KeptLayers:
    """The layers of a network, kept from batch to batch.

    Args:
        llama: transformers' `LlamaModel`, on the device and in the precision that it will be in.

    Attributes:
        layers: As steps read them; copies hold what they were last given by `read`.
        called: The modules that steps call as they are.
    """

    def __init__(self, llama: Any) -> None:
        self._copies: list[_Copy] = []
        self.called: list[nn.Module] = []
        weights = list(llama.layers.parameters())
        self._small = worth_copying(weights)
        self._on_cpu = weights[0].device.type == "cpu"
        self.layers = [_layer(one, self._together) for one in llama.layers]

    @torch.no_grad()
    def read(self) -> None:
        """Read the weights of all copies anew, where they lie."""
        for one in self._copies:
            one.read()

    def _together(self, modules: list[nn.Module]) -> Projection:
        """One product over a copy, where copies are small or cast anyway; else the modules."""
        precision = autocast_precision(next(modules[0].parameters()).device)
        if plain_linears(modules):
            linears = cast("list[nn.Linear]", modules)
            own = linears[0].weight.dtype
            dtype = precision if precision and own == torch.float32 else own
            if self._small or dtype != own:
                self._copies.append(_Copy(linears, dtype, by_input=self._on_cpu))
                return self._copies[-1].product
        self.called += modules
        return _SideBySide(modules)


def norm_of(module: Any) -> Norm:
    """Of transformers' `LlamaRMSNorm`."""
    return Norm(module.weight, module.variance_epsilon)


def _layer(layer: Any, together: Callable[[list[nn.Module]], Projection]) -> StepLayer:
    attention, mlp = layer.self_attn, layer.mlp
    return StepLayer(
        together([attention.q_proj, attention.k_proj, attention.v_proj]),
        together([attention.o_proj]),
        together([mlp.gate_proj, mlp.up_proj]),
        together([mlp.down_proj]),
        norm_of(layer.input_layernorm),
        norm_of(layer.post_attention_layernorm),
        attention.config.num_key_value_heads,
        attention.head_dim,
        attention.scaling,
    )


class _SideBySide:
    """Several projections of one input, concatenated; each is called as the module it is."""

    def __init__(self, modules: list[nn.Module]) -> None:
        self.modules = modules

    def __call__(self, x: Tensor) -> Tensor:
        if len(self.modules) == 1:
            out: Tensor = self.modules[0](x)
            return out
        return torch.cat([module(x) for module in self.modules], dim=-1)


class _OneProduct:
    """Several linear projections of one input as a single product.

    Args:
        weight_IO: Inputs along the rows, in whatever layout.
        bias_O: None for none.
    """

    def __init__(self, weight_IO: Tensor, bias_O: Tensor | None) -> None:
        self.weight_IO = weight_IO
        self.bias_O = bias_O

    def __call__(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight_IO.T, self.bias_O)


def _joined(modules: list[nn.Module]) -> Projection:
    """Several projections as one product, if they are plain (LoRA wrappers are not)."""
    if not plain_linears(modules):
        return _SideBySide(modules)
    linears = cast("list[nn.Linear]", modules)
    biases = [linear.bias.data for linear in linears if linear.bias is not None]
    weight_OI = _end_to_end([linear.weight.data for linear in linears])
    return _OneProduct(weight_OI.T, _end_to_end(biases) if biases else None)


def _end_to_end(parts: list[Tensor]) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(parts)


class _Copy:
    """Linear projections of one input as a single product over memory of its own.

    Args:
        linears: Their weights are read by `read`.
        dtype: The precision of the copy.
        by_input: Lay weights out as a product of few rows reads fastest on a CPU, by a quarter or
            so; else as the modules have them.
    """

    def __init__(self, linears: Sequence[nn.Linear], dtype: torch.dtype, *, by_input: bool) -> None:
        first = linears[0].weight
        sizes = [len(linear.weight) for linear in linears]
        shape = (sum(sizes), first.shape[1])
        weight_OI = torch.empty(
            shape[::-1] if by_input else shape, dtype=dtype, device=first.device
        )
        weight_OI = weight_OI.T if by_input else weight_OI
        bias_O = torch.empty(shape[0], dtype=dtype, device=first.device)
        self._linears = linears
        self._weights = torch.split(weight_OI, sizes)
        biased = linears[0].bias is not None
        self._biases = torch.split(bias_O, sizes) if biased else ()
        self.product = _OneProduct(weight_OI.T, bias_O if biased else None)

    def read(self) -> None:
        """Read the weights."""
        for mine_OI, linear in zip(self._weights, self._linears, strict=True):
            mine_OI.copy_(linear.weight)
        for mine_O, linear in zip(self._biases, self._linears, strict=False):
            mine_O.copy_(linear.bias)


def places_of(*modules: nn.Module) -> tuple[tuple[int, int], ...]:
    """Where the weights of some modules lie: another answer means that they have moved."""
    return tuple((id(one), one.data_ptr()) for one in _parameters(modules))


def _parameters(modules: Sequence[nn.Module]) -> Iterator[nn.Parameter]:
    for module in modules:
        yield from module.parameters()
