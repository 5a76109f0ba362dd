"""Do the two tasks pull the shared weights the same way? Exact Gram entries of their gradients.

A probe of one step holds the gradient of each half of each task's batch as it stands after the
reduction over ranks: the mean over the global batch, for a cosine of per-rank gradients is noisier
and biased toward 0. From them come, per block of parameters and exact (float64 sums of the
gradients' own values): u.u, u.g, g.g, and for each task the Gram of its two halves. The halves tell
how much of a gradient is noise: without that ceiling a low cosine may only mean a small batch.

What is measured is the gradient of the loss that trains, pair weights and dead groups included; the
share of live groups stands beside every row. `preconditioned` rows divide both gradients by Adam's
running root mean square first: the directions in which the weights will move.

Legend: none; every tensor here has the shape of its parameter.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from pairuni_eval.toolkit.models import Task
from pairuni_train.distributed.engine import Engine
from pairuni_train.distributed.sharded import local
from pairuni_train.grpo.hooks import TaskGradients

Gradients = Mapping[str, Tensor]
"""Gradients by parameter name; sharded parameters give their local shard."""

ALL = "all"  # the block that holds every shared parameter
# Numbers of each vector that are widened to float64 at a time; on a CPU they stay in its cache.
_CHUNK, _CHUNK_CPU = 1 << 22, 1 << 15


class Gram(NamedTuple):
    """Inner products of two vectors a and b."""

    aa: float
    ab: float
    bb: float

    @property
    def cosine(self) -> float:
        """Cosine of the angle between them; NaN if one is zero."""
        norm = (self.aa * self.bb) ** 0.5
        return self.ab / norm if norm > 0 else float("nan")


class BlockGrams(NamedTuple):
    """What a probe knows about one block of parameters.

    Attributes:
        tasks: Understanding against generation.
        halves: For each task, the first half of its batch against the second.
    """

    tasks: Gram
    halves: Mapping[Task, Gram]


class Grams(NamedTuple):
    """What a probe knows, by block: of the gradients, and of the preconditioned ones if asked."""

    raw: dict[str, BlockGrams]
    preconditioned: dict[str, BlockGrams] | None


def task_grams(held: TaskGradients, scale: Gradients | None = None) -> Grams:
    """The Gram entries of every block and of all together.

    Args:
        held: The gradients of each part, before they are put back.
        scale: Factors that precondition a gradient, by parameter name.
    """
    raw: dict[str, _Sums] = {}
    scaled: dict[str, _Sums] = {}
    for name, own in held.blocks.items():
        found = {key: part[name] for key, part in held.parts.items() if name in part}
        vectors = [local(gradient).flatten() for gradient in found.values()]
        factors = None if scale is None else local(scale[name]).flatten()
        products = gramian(vectors, factors)
        for sums, matrix in ((raw, products.raw), (scaled, products.scaled)):
            for block in (ALL, own):
                _add(sums.setdefault(block, {}), list(found), matrix)
    return Grams(_by_block(raw), None if scale is None else _by_block(scaled))


def total_grams(engine: Engine, grams: Mapping[str, BlockGrams]) -> dict[str, BlockGrams]:
    """Grams over ranks, of which each has its own part of sharded gradients."""
    numbers = [number for found in grams.values() for number in _numbers(found)]
    total = engine.total_of_shards(torch.tensor(numbers, dtype=torch.float64))
    stream = iter(total.tolist())
    return {block: _from_numbers(stream) for block in grams}


_Key = tuple[Task, int]
_Sums = dict[tuple[_Key, _Key], float]


def _add(total: _Sums, keys: Sequence[_Key], matrix: Sequence[Sequence[float]]) -> None:
    """Add the inner products of some parts, each pair once."""
    for i, row in enumerate(matrix):
        for j in range(i, len(row)):
            pair = keys[i], keys[j]
            total[pair] = total.get(pair, 0.0) + row[j]


def _by_block(sums: Mapping[str, _Sums]) -> dict[str, BlockGrams]:
    return {block: _block_grams(total) for block, total in sums.items()}


def _block_grams(total: _Sums) -> BlockGrams:
    def between(first: Iterable[_Key], second: Iterable[_Key]) -> float:
        return sum(total.get((a, b), total.get((b, a), 0.0)) for a in first for b in tuple(second))

    def gram(first: tuple[_Key, ...], second: tuple[_Key, ...]) -> Gram:
        return Gram(between(first, first), between(first, second), between(second, second))

    und: tuple[_Key, ...] = (("und", 0), ("und", 1))
    gen: tuple[_Key, ...] = (("gen", 0), ("gen", 1))
    return BlockGrams(
        gram(und, gen), {"und": gram(und[:1], und[1:]), "gen": gram(gen[:1], gen[1:])}
    )


class Products(NamedTuple):
    """Inner products of some vectors with each other, as they are and all scaled."""

    raw: list[list[float]]
    scaled: list[list[float]]


def gramian(vectors: Sequence[Tensor], scale: Tensor | None = None) -> Products:
    """All inner products of some flat vectors, summed in float64.

    Goes through them in chunks, so that no float64 copy of the whole is made.

    Args:
        vectors: Of one length.
        scale: A factor for each place of every vector; without it nothing is scaled.
    """
    if not vectors:
        return Products([], [])
    length, device = len(vectors[0]), vectors[0].device
    chunk = min(length, _CHUNK_CPU if device.type == "cpu" else _CHUNK)
    raw = torch.zeros(len(vectors), len(vectors), dtype=torch.float64, device=device)
    scaled = torch.zeros_like(raw)
    wide = torch.empty(len(vectors), chunk, dtype=torch.float64, device=device)
    for start in range(0, length, chunk):
        rows = wide[:, : min(chunk, length - start)]
        for row, vector in zip(rows, vectors, strict=True):
            row.copy_(vector[start : start + chunk])
        raw += rows @ rows.T
        if scale is not None:
            rows *= scale[start : start + chunk]
            scaled += rows @ rows.T
    return Products(raw.tolist(), scaled.tolist() if scale is not None else [])


def adam_scale(
    parameters: Mapping[str, nn.Parameter], optimizer: torch.optim.Optimizer
) -> Gradients | None:
    """1 / (sqrt(v) + eps) of AdamW for each parameter, bias-corrected; None before its first step.

    v is the one *before* the step that is probed. A factor is computed when it is asked for, so
    that those of all parameters are never held together.
    """
    groups = {id(one): group for group in optimizer.param_groups for one in group["params"]}
    known = {name: one for name, one in parameters.items() if id(one) in groups}
    if any(not optimizer.state.get(one) for one in known.values()):
        return None
    return _AdamScale({n: (groups[id(one)], optimizer.state[one]) for n, one in known.items()})


class _AdamScale(Mapping[str, Tensor]):
    def __init__(self, states: Mapping[str, tuple[Mapping[str, Any], Mapping[str, Any]]]) -> None:
        self._states = states

    def __getitem__(self, name: str) -> Tensor:
        group, state = self._states[name]
        correction = 1 - group["betas"][1] ** float(state["step"])
        # In place after the first: of large tensors, fresh memory costs more than arithmetic.
        root: Tensor = state["exp_avg_sq"].sqrt().div_(correction**0.5)
        return root.add_(group["eps"]).reciprocal_()

    def __iter__(self) -> Iterator[str]:
        return iter(self._states)

    def __len__(self) -> int:
        return len(self._states)


def _numbers(grams: BlockGrams) -> tuple[float, ...]:
    return (*grams.tasks, *grams.halves["und"], *grams.halves["gen"])


def _from_numbers(stream: Iterator[float]) -> BlockGrams:
    def gram() -> Gram:
        return Gram(next(stream), next(stream), next(stream))

    return BlockGrams(gram(), {"und": gram(), "gen": gram()})
