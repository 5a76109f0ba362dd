"""Cases with a known answer, by which a per-pair matrix shows that it can be believed.

    itself    each gradient against itself                                  1
    noise     pairs of independent Gaussian vectors                         0 within its error
    planted   pairs of vectors with a shared part, made for a cosine        0.5

The first runs on the gradients that were measured, the others on vectors as long as they are, each
with an address for its seed; all of them go through the same projection and the same table. They
stand beside the controls of the probe (`controls`), which run through the model and the objective.
`itself` measures the projection's error as well: it is off by sqrt(2) times the error of a cosine
near 0.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import msgspec
import numpy as np
import torch
from torch import Tensor

from pairuni_eval.toolkit import UserError, seed_for
from pairuni_eval.toolkit.gradients import (
    ALL,
    NOT_KNOWN,
    PairClass,
    PairTable,
    class_means,
)
from pairuni_eval.toolkit.stats import Array
from pairuni_train.gradient_probe.gram import Gradients
from pairuni_train.gradient_probe.half_store import HalfRow
from pairuni_train.gradient_probe.projection import Projection, squares

PLANTED = 0.5
_PAIRS = 4  # of vectors that are made
_ERRORS = 5.0  # standard errors that a control may be off
_ROUNDING = 1e-5  # vectors are kept in float32


class MatrixControl(msgspec.Struct, frozen=True):
    """A case with a known answer.

    Attributes:
        name: See the module docstring, and that of `controls`.
        expected: What its cosine is.
        found: What the table, or the probe, says.
        within: How far off it may be.
    """

    name: str
    expected: float
    found: float
    within: float

    @property
    def holds(self) -> bool:
        """Whether the table is right."""
        return abs(self.found - self.expected) <= self.within


class VectorControls:
    """Makes vectors like gradients.

    Args:
        projection: What the table is made with.
        sizes: How many numbers each parameter has, by name.
        blocks: The block of each parameter.
        device: Where the vectors are made.
        seed: Of their numbers.
    """

    def __init__(
        self,
        projection: Projection,
        sizes: Mapping[str, int],
        blocks: Mapping[str, str],
        device: torch.device,
        seed: int,
    ) -> None:
        self._projection = projection
        self._sizes = sizes
        self._blocks = blocks
        self._device = device
        self._seed = seed

    def run(self) -> list[MatrixControl]:
        """The cases on vectors that are made."""
        total = sum(self._sizes.values())
        shares = {block: size / total for block, size in self._projection.sizes.items()}
        error = self._projection.error(shares)
        noise = _ERRORS * math.sqrt((1 / total + error**2) / _PAIRS)
        off = _ERRORS * error * math.sqrt((1 + PLANTED**2) / _PAIRS)
        return [
            MatrixControl("noise", 0.0, self._within("noise", None), noise),
            MatrixControl("planted", PLANTED, self._within("planted", PLANTED), _ROUNDING + off),
        ]

    def _within(self, name: str, cosine: float | None) -> float:
        """The mean cosine that the table finds within the pairs."""
        made = [self._pair(name, place, cosine) for place in range(_PAIRS)]
        found = class_means(made_table(name, made))[list(PairClass).index(PairClass.WITHIN)].mean
        assert found is not None
        return found

    def _pair(self, name: str, place: int, cosine: float | None) -> tuple[_Kept, _Kept]:
        first, second = (self._noise(name, place, side) for side in ("und", "gen"))
        if cosine is not None:
            second = self._mixed(first, second, cosine)
        return self._kept(first), self._kept(second)

    def _noise(self, name: str, place: int, side: str) -> dict[str, Tensor]:
        found = {}
        for parameter, size in self._sizes.items():
            seed = seed_for(self._seed, f"{name}/{side}/{parameter}", place, "matrix control")
            generator = torch.Generator(self._device).manual_seed(seed)
            found[parameter] = torch.randn(size, generator=generator, device=self._device)
        return found

    def _mixed(self, first: Gradients, second: Gradients, cosine: float) -> dict[str, Tensor]:
        """A vector of the cosine with the first: the rest of it is of the second."""
        aa, bb = (sum(squares(one, self._blocks).values()) for one in (first, second))
        ab = sum(float(first[name].double() @ second[name].double()) for name in first)
        factor = math.sqrt((1 - cosine**2) * aa / (bb - ab**2 / aa))
        return {
            name: (cosine - factor * ab / aa) * first[name] + factor * second[name]
            for name in first
        }

    def _kept(self, gradients: Gradients) -> _Kept:
        return _Kept(self._projection.vectors(gradients), squares(gradients, self._blocks))


class _Kept(NamedTuple):
    vectors: dict[str, Tensor]
    squares: dict[str, float]


def made_table(name: str, pairs: Sequence[tuple[_Kept, _Kept]]) -> PairTable:
    """The table of vectors that are in memory, over all blocks together."""
    count = len(pairs)
    inner = np.array([[_inner(one, other) for _, other in pairs] for one, _ in pairs])
    return PairTable(
        name,
        tuple(str(place) for place in range(count)),
        np.zeros(count, dtype=bool),
        np.full((count, count), NOT_KNOWN),
        {ALL: inner},
        {ALL: _norms(one for one, _ in pairs)},
        {ALL: _norms(other for _, other in pairs)},
    )


def _norms(kept: Iterator[_Kept]) -> Array:
    return np.array([sum(one.squares.values()) for one in kept])


def _inner(one: _Kept, other: _Kept) -> float:
    return sum(
        float(vector.double() @ other.vectors[block].double())
        for block, vector in one.vectors.items()
    )


def against_itself(rows: Sequence[HalfRow], projection: Projection) -> MatrixControl | None:
    """Each measured gradient against itself; None if no half has one."""
    live = [row for row in rows if row.live]
    if not live:
        return None
    found = [sum(row.kept.values()) / sum(row.squares.values()) for row in live]
    worst = max(_error(row, projection) for row in live)
    within = _ROUNDING + _ERRORS * math.sqrt(2) * worst
    return MatrixControl("itself", 1.0, float(np.mean(found)), within)


def measured_error(rows: Sequence[HalfRow]) -> dict[str, float]:
    """The error of a cosine near 0 that the projection makes, by block, as `itself` shows it."""
    live = [row for row in rows if row.live]
    off: dict[str, list[float]] = {ALL: []}
    for row in live:
        off[ALL].append(sum(row.kept.values()) / sum(row.squares.values()) - 1)
        for block, square in row.squares.items():
            if square:
                off.setdefault(block, []).append(row.kept[block] / square - 1)
    return {
        block: float(np.sqrt(np.mean(np.square(found)) / 2))
        for block, found in off.items()
        if found
    }


def _error(row: HalfRow, projection: Projection) -> float:
    total = sum(row.squares.values())
    return projection.error({block: one / total for block, one in row.squares.items()})


def check_controls(controls: Sequence[MatrixControl]) -> None:
    """Raise a UserError for the first control that does not hold."""
    for control in controls:
        if not control.holds:
            raise UserError(
                f"The matrix cannot be believed: its control '{control.name}' gives a cosine of "
                f"{control.found:.6f} where {control.expected:g} is right, within "
                f"{control.within:.6f}.",
                hint="Measure in float32, and keep more of each gradient: "
                "--set precision=no --project 262144",
            )
