"""What every trainer needs of a model: a torch module's weights, their blocks, and saving."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Protocol, Self

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor, nn


class TrainedModule(Protocol):
    """A model that is trained.

    Names of parameters are the same in `named_parameters`, `state_dict`, `shared_parameters` and
    the weights that `save` takes.
    """

    def save(
        self,
        folder: Path,
        declaration: Mapping[str, Any],
        *,
        weights: Mapping[str, Tensor] | None = None,
    ) -> None:
        """Write a checkpoint folder that the adapter can load, of these weights or its own."""
        ...

    def weight_files(self) -> Mapping[str, Mapping[str, str]]:
        """Under which name each tensor of the weights lies in a checkpoint, by file.

        A tensor that has several names in `state_dict` has one here.
        """
        ...

    def layers(self) -> Iterable[nn.Module]:
        """The blocks of the network that repeat, in order: what sharding takes one by one."""
        ...

    def checkpoint_activations(self) -> None:
        """Run layers again in the backward pass instead of keeping what they computed."""
        ...

    def shared_parameters(self) -> dict[str, str]:
        """Names of the parameters both tasks train, each with the block it belongs to."""
        ...

    def modules(self) -> Iterator[nn.Module]:
        """Itself and every module inside."""
        ...

    def named_modules(self) -> Iterator[tuple[str, nn.Module]]:
        """The same by name."""
        ...

    def parameters(self) -> Iterator[nn.Parameter]:
        """Every parameter."""
        ...

    def named_parameters(self) -> Iterator[tuple[str, nn.Parameter]]:
        """Every parameter by name."""
        ...

    def state_dict(self) -> Mapping[str, Any]:
        """Every tensor of the weights by name."""
        ...

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True) -> object:
        """Take tensors by name; not `strict`, some may be missing."""
        ...

    def requires_grad_(self, requires_grad: bool = True) -> Self:
        """Whether its parameters train; returns itself."""
        ...

    def train(self, mode: bool = True) -> Self:
        """Training mode, or evaluation mode; returns itself."""
        ...

    def eval(self) -> Self:
        """Evaluation mode; returns itself."""
        ...
