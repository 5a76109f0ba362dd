"""Where a run's arithmetic happens: device, precision, ranks.

Here every rank holds the whole model (for parts of it see `pairuni_train.distributed.sharded`), and
gradients are summed over ranks in a pass of its own. Hooks that fire inside backward would hang
where a rank holds no row of a task, and are skipped without an error by whoever calls an inner
module. The objective's normalizers are those of the global batch, so gradients are summed, not
averaged.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from pairuni_eval.toolkit import UserError
from pairuni_eval.toolkit.ranks import note_of_one


def start_process(**options: Any) -> Any:
    """Accelerate's `Accelerator` of this process; without a device the CPU joins its ranks too.

    Warns where `accelerate launch` was asked for several processes on the CPU: it starts one.
    """
    from accelerate import Accelerator

    note = note_of_one(os.environ, "pairuni_train.cli run")
    accelerator = Accelerator(cpu=not torch.accelerator.is_available(), **options)
    if note:
        warnings.warn(note, stacklevel=2)
    return accelerator


@contextmanager
def ends_together(rank: int, ranks: int) -> Iterator[None]:
    """As `Engine.together`, for this rank of so many."""
    try:
        yield
    except Exception as failure:
        _tell_others(ranks, str(failure) or type(failure).__name__)
        raise
    for other, words in enumerate(_tell_others(ranks, None)):
        if words is not None:
            raise UserError(
                f"Rank {rank} of {ranks} ends because rank {other} failed: {words}",
                hint="Mend it and run the same command again: the run goes on from its checkpoint.",
            )


def _tell_others(ranks: int, words: str | None) -> list[str | None]:
    """What each rank says; of one alone nothing is asked."""
    told: list[str | None] = [words] * ranks
    if ranks > 1:
        torch.distributed.all_gather_object(told, words)
    return told


class Parameterized(Protocol):
    """What an engine knows of a model: modules with parameters."""

    def modules(self) -> Iterable[nn.Module]:
        """Every module."""
        ...

    def parameters(self) -> Iterable[nn.Parameter]:
        """Every parameter."""
        ...


class Engine:
    """One process of a run.

    Args:
        accelerator: accelerate's `Accelerator`, which knows ranks and device.
        model: What trains: all of its parameters that require gradients.
        bfloat16: Run the model in bfloat16 where that is safe; weights stay as they are.

    Attributes:
        parameters: The parameters that train.
        sharded: Whether passes of one rank wait for those of the others.
    """

    sharded = False

    def __init__(self, accelerator: Any, model: Parameterized, *, bfloat16: bool = False) -> None:
        self.accelerator = accelerator
        self.model = model
        self._bfloat16 = bfloat16
        self.parameters = [p for p in model.parameters() if p.requires_grad]

    @property
    def rank(self) -> int:
        """This process among all, from 0."""
        return int(self.accelerator.process_index)

    @property
    def ranks(self) -> int:
        """Number of processes."""
        return int(self.accelerator.num_processes)

    @property
    def device(self) -> torch.device:
        """Where this process computes."""
        device: torch.device = self.accelerator.device
        return device

    def wait(self) -> None:
        """Until every rank is here."""
        self.accelerator.wait_for_everyone()

    @contextmanager
    def together(self) -> Iterator[None]:
        """Work that ranks do apart: what fails on one of them ends all, before they wait for it.

        Nothing in it may wait for another rank.

        Raises:
            UserError: on a rank where nothing failed, naming the first on which something did.
        """
        with ends_together(self.rank, self.ranks):
            yield

    def precision(self) -> AbstractContextManager[None]:
        """The context that the model runs in, sampling and scoring alike."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self._bfloat16)

    def backward(self, loss: Tensor) -> None:
        """Add the gradient of a loss."""
        loss.backward()  # type: ignore[no-untyped-call]

    def sum_gradients(self) -> None:
        """Sum the gradients over ranks; a parameter that no row reached has gradient zero.

        An optimizer skips parameters without a gradient, so without the zeros a step would depend
        on which rank met which row.
        """
        self._fill_gradients()
        if self.ranks > 1:
            for parameter in self.parameters:
                torch.distributed.all_reduce(parameter.grad)

    def _fill_gradients(self) -> None:
        for parameter in self.parameters:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)

    def total(self, numbers: Tensor) -> Tensor:
        """Sum of a vector over ranks."""
        return self._reduced(numbers, torch.distributed.ReduceOp.SUM)

    def largest(self, numbers: Tensor) -> Tensor:
        """Largest of each number over ranks."""
        return self._reduced(numbers, torch.distributed.ReduceOp.MAX)

    def _reduced(self, numbers: Tensor, operation: Any) -> Tensor:
        if self.ranks == 1:
            return numbers
        moved = numbers.to(self.device, copy=True)
        torch.distributed.all_reduce(moved, operation)
        return moved.to(numbers.device)

    def total_of_shards(self, numbers: Tensor) -> Tensor:
        """Sum over ranks of what each computed from its own part of the weights or gradients.

        Replicated ones are complete on every rank, so the numbers are the total already.
        """
        return numbers

    def clip_gradients(self, limit: float) -> float:
        """Clip the global gradient norm; returns the norm before."""
        return float(nn.utils.clip_grad_norm_(self.parameters, limit))

    @contextmanager
    def unsharded(self) -> Iterator[None]:
        """All weights at hand on this rank, for sampling: replicated weights always are."""
        yield
