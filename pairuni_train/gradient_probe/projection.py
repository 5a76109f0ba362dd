"""Gradients as short vectors whose inner products are nearly those of the whole ones.

A block of parameters with no more numbers than places is kept as it is: its inner products are
exact. A longer one is count-sketched (Charikar, Chen and Farach-Colton 2002): every number goes,
with a sign, to one of the places, and what meets there adds up. Place and sign are a hash of the
number's position, the block and the seed (the finalizer of SplitMix64, Steele et al. 2014), so they
are stored nowhere and are the same on every device.

An inner product is right in the mean over seeds, with a variance of at most
(|u|^2 |g|^2 + <u, g>^2) / places: a cosine near 0 is off by about 1 / sqrt(places), that of a
vector with itself by sqrt(2) times as much.

Legend: none; a vector has the numbers of one block.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from pairuni_eval.toolkit import seed_for
from pairuni_train.gradient_probe.gram import Gradients

_CHUNK = 1 << 22  # positions that are hashed at a time
_GOLDEN = 0x9E3779B97F4A7C15
_FACTORS = ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB))


class Projection:
    """See the module docstring.

    Args:
        sizes: How many numbers each parameter has, by name.
        blocks: The block of each of them.
        places: Of a block, at most; None keeps every block whole.
        seed: Of places and signs.

    Attributes:
        lengths: Numbers of each block's vector.
        whole: Blocks that are kept as they are.
    """

    def __init__(
        self,
        sizes: Mapping[str, int],
        blocks: Mapping[str, str],
        *,
        places: int | None,
        seed: int,
    ) -> None:
        self._blocks = dict(blocks)
        self._first: dict[str, int] = {}
        self.sizes: dict[str, int] = {}
        for name, block in blocks.items():
            self._first[name] = self.sizes.get(block, 0)
            self.sizes[block] = self._first[name] + sizes[name]
        self.lengths = {
            block: size if places is None else min(size, places)
            for block, size in self.sizes.items()
        }
        self.whole = frozenset(one for one, size in self.sizes.items() if self.lengths[one] == size)
        self._seeds = {block: seed_for(seed, block, 0, "count-sketch") for block in self.sizes}

    @property
    def exact(self) -> bool:
        """Whether every block is kept whole."""
        return len(self.whole) == len(self.sizes)

    def vectors(self, gradients: Gradients) -> dict[str, Tensor]:
        """A float32 vector a block, on the CPU; a parameter without a gradient counts as 0.

        Args:
            gradients: By parameter name.
        """
        found: dict[str, Tensor] = {}
        for name, block in self._blocks.items():
            if name not in gradients:
                continue
            flat = gradients[name].detach().flatten()
            if block not in found:
                found[block] = torch.zeros(
                    self.lengths[block], dtype=torch.float64, device=flat.device
                )
            self._add(found[block], flat, block, self._first[name])
        return {
            block: found[block].float().cpu() if block in found else torch.zeros(length)
            for block, length in self.lengths.items()
        }

    def error(self, shares: Mapping[str, float]) -> float:
        """Standard deviation of a cosine near 0 between vectors spread alike over the blocks.

        Args:
            shares: The share of each block in the squared norm of both vectors.
        """
        lost = (
            share**2 / self.lengths[block]
            for block, share in shares.items()
            if block not in self.whole
        )
        return math.sqrt(sum(lost))

    def _add(self, vector: Tensor, flat: Tensor, block: str, first: int) -> None:
        if block in self.whole:
            vector[first : first + len(flat)] += flat
            return
        for start in range(0, len(flat), _CHUNK):
            part = flat[start : start + _CHUNK].double()
            keys = torch.arange(first + start, first + start + len(part), device=flat.device)
            hashed = hashes(keys, self._seeds[block])
            place = (hashed >> 1).remainder(len(vector))
            vector.index_add_(0, place, torch.where(hashed & 1 == 0, part, -part))


def hashes(keys: Tensor, seed: int) -> Tensor:
    """64 mixed bits of each key: the outputs of SplitMix64 that began at the seed.

    Args:
        keys: int64, from 0.
        seed: Not negative.
    """
    mixed = (keys + 1) * _signed(_GOLDEN) + _signed(seed)
    for shift, factor in _FACTORS:
        mixed = (mixed ^ _shifted(mixed, shift)) * _signed(factor)
    return mixed ^ _shifted(mixed, 31)


def _signed(number: int) -> int:
    """Its 64 bits as a signed number; products of int64 wrap around."""
    number &= (1 << 64) - 1
    return number - (1 << 64) if number >> 63 else number


def _shifted(bits: Tensor, by: int) -> Tensor:
    """To the right, with zeros from the left."""
    return (bits >> by) & ((1 << (64 - by)) - 1)


def squares(gradients: Gradients, blocks: Mapping[str, str]) -> dict[str, float]:
    """The squared norm of each block, of the gradients themselves, summed in float64."""
    found = dict.fromkeys(blocks.values(), 0.0)
    for name, total in _squares(gradients, blocks):
        found[blocks[name]] += total
    return found


def _squares(gradients: Gradients, blocks: Mapping[str, str]) -> Iterator[tuple[str, float]]:
    for name in blocks:
        if name in gradients:
            flat = gradients[name].detach().flatten()
            parts = (flat[at : at + _CHUNK].double() for at in range(0, len(flat), _CHUNK))
            yield name, sum(float(part.square().sum()) for part in parts)
