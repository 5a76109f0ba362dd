"""The arms of the paper's comparison (T5, F8), all cut from the same rows with one budget and seed.

The budget is a number of training halves: 2 x `pairs`, whatever the arm. So `unpaired` has two rows
of one half for each pair of the others; `half` alone has half of it, as its name says.

    pairug          aligned pairs of `clusters` clusters, filled up with retrieved ones
    aligned         aligned pairs only, of as many clusters as pairs
    retrieved       retrieved pairs only, from all rows
    half            half of pairug, aligned and retrieved in the same proportion
    u_only, g_only  aligned pairs completed from understanding or from generation rows only
    unpaired        rows of one half, as many of each task
    low_similarity  two images whose features have a cosine below the threshold
    random          two images drawn without looking

A row whose completion is rejected is not used up: it may still be retrieved. Where the rows do not
give as many pairs, an arm is short and its card says so. What is too much is left out by the hash
of the seed and the pair, so that neither files nor their order favor a row.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

from pairuni_eval.seeds import seed_for
from pairuni_train.pair_data.complete import CompletedRow, RowRef, halves_of
from pairuni_train.pair_data.config import PairArm
from pairuni_train.pair_data.record import Generation, Kind, Pair, Understanding, pair_id
from pairuni_train.pair_data.rows import SIDES, Half, Side


class PairRef(NamedTuple):
    """A pair before its images are read: rows of the stores, or a completed row."""

    kind: Kind
    understanding: int | None = None
    generation: int | None = None
    similarity: float | None = None
    completion: CompletedRow | None = None

    @property
    def rows(self) -> frozenset[RowRef]:
        """The rows that it uses up."""
        if self.completion is not None:
            return frozenset({RowRef(self.completion.side, self.completion.row)})
        numbers = (self.understanding, self.generation)
        return frozenset(
            RowRef(side, number)
            for side, number in zip(SIDES, numbers, strict=True)
            if number is not None
        )


class PairPool(Protocol):
    """What arms are cut from."""

    @property
    def clusters(self) -> int:
        """K of the arm `pairug`."""
        ...

    @property
    def threshold(self) -> float:
        """Least cosine of a retrieved pair."""
        ...

    def usable(self, side: Side) -> Sequence[int]:
        """The rows of a side that have features."""
        ...

    def cosine(self, understanding: int, generation: int) -> float:
        """Of the features of two rows."""
        ...

    def aligned(self, sides: Sequence[Side], clusters: int) -> list[PairRef]:
        """Aligned pairs of the rows of these sides, at most one per cluster."""
        ...

    def retrieved(self, used: frozenset[RowRef]) -> list[PairRef]:
        """Retrieved pairs of all rows but these."""
        ...


def select_arm(arm: PairArm, pool: PairPool, *, pairs: int, seed: int) -> list[PairRef]:
    """The pairs of an arm, in an order that the seed draws."""
    return _drawn(_ARMS[arm](pool, pairs, seed), None, seed)


def to_pair(ref: PairRef, read: Callable[[RowRef], Half], *, generation_images: bool) -> Pair:
    """The pair of a reference, images included.

    Args:
        ref: The rows or the completed row.
        read: Gives the half of a row.
        generation_images: False leaves out the image that training never looks at.
    """
    understanding, generation = _halves(ref, read)
    if generation is not None and not generation_images:
        generation = Generation(
            id=generation.id,
            source=generation.source,
            licence=generation.licence,
            prompt=generation.prompt,
            facts=generation.facts,
        )
    return Pair(
        id=pair_id(ref.kind, understanding, generation),
        kind=ref.kind,
        understanding=understanding,
        generation=generation,
        similarity=ref.similarity,
        completed=ref.completion.provenance if ref.completion else None,
    )


def _halves(
    ref: PairRef, read: Callable[[RowRef], Half]
) -> tuple[Understanding | None, Generation | None]:
    if ref.completion is not None:
        return halves_of(ref.completion, read(RowRef(ref.completion.side, ref.completion.row)))
    understanding: Half | None = None
    generation: Half | None = None
    if ref.understanding is not None:
        understanding = read(RowRef("understanding", ref.understanding))
    if ref.generation is not None:
        generation = read(RowRef("generation", ref.generation))
    assert understanding is None or isinstance(understanding, Understanding)
    assert generation is None or isinstance(generation, Generation)
    return understanding, generation


def _drawn(refs: Sequence[PairRef], count: int | None, seed: int) -> list[PairRef]:
    """Some of the pairs, or all, in an order that depends on the seed and each pair alone."""

    def address(ref: PairRef) -> int:
        rows = " ".join(f"{row.side} {row.number}" for row in sorted(ref.rows))
        return seed_for(seed, f"{ref.kind} {rows}", 0, "arm")

    return sorted(refs, key=address)[:count]


def _shuffled(rows: Sequence[int], side: Side, purpose: str, seed: int) -> list[int]:
    return sorted(rows, key=lambda row: seed_for(seed, f"{side} {row}", 0, purpose))


# One function per arm


def _pairug(pool: PairPool, pairs: int, seed: int) -> list[PairRef]:
    aligned = _drawn(pool.aligned(SIDES, pool.clusters), pairs, seed)
    used = frozenset(row for ref in aligned for row in ref.rows)
    left = pairs - len(aligned)
    return [*aligned, *_drawn(pool.retrieved(used), left, seed)] if left else aligned


def _half(pool: PairPool, pairs: int, seed: int) -> list[PairRef]:
    whole = _pairug(pool, pairs, seed)
    aligned = [ref for ref in whole if ref.kind is Kind.ALIGNED]
    retrieved = [ref for ref in whole if ref.kind is Kind.RETRIEVED]
    share = round(len(aligned) * (pairs // 2) / max(1, len(whole)))
    return [
        *_drawn(aligned, share, seed),
        *_drawn(retrieved, pairs // 2 - share, seed),
    ]


def _aligned(pool: PairPool, pairs: int, seed: int) -> list[PairRef]:  # noqa: ARG001
    return pool.aligned(SIDES, pairs)


def _u_only(pool: PairPool, pairs: int, seed: int) -> list[PairRef]:  # noqa: ARG001
    return pool.aligned(("understanding",), pairs)


def _g_only(pool: PairPool, pairs: int, seed: int) -> list[PairRef]:  # noqa: ARG001
    return pool.aligned(("generation",), pairs)


def _retrieved(pool: PairPool, pairs: int, seed: int) -> list[PairRef]:
    return _drawn(pool.retrieved(frozenset()), pairs, seed)


def _unpaired(pool: PairPool, pairs: int, seed: int) -> list[PairRef]:
    us, gs = (_shuffled(pool.usable(side), side, "unpaired", seed) for side in SIDES)
    return [
        *(PairRef(Kind.UNPAIRED, understanding=u) for u in us[:pairs]),
        *(PairRef(Kind.UNPAIRED, generation=g) for g in gs[:pairs]),
    ]


def _random(pool: PairPool, pairs: int, seed: int) -> list[PairRef]:
    us, gs = (_shuffled(pool.usable(side), side, "random", seed) for side in SIDES)
    return [PairRef(Kind.RANDOM, u, g) for u, g in zip(us[:pairs], gs[:pairs], strict=False)]


def _low_similarity(pool: PairPool, pairs: int, seed: int) -> list[PairRef]:
    us, gs = (_shuffled(pool.usable(side), side, "low similarity", seed) for side in SIDES)
    refs: list[PairRef] = []
    for g in gs:
        if len(refs) == pairs:
            break
        for place, u in enumerate(us):
            cosine = pool.cosine(u, g)
            if cosine < pool.threshold:
                refs.append(PairRef(Kind.LOW_SIMILARITY, u, g, max(0.0, cosine)))
                del us[place]
                break
    return refs


_ARMS: dict[PairArm, Callable[[PairPool, int, int], list[PairRef]]] = {
    "pairug": _pairug,
    "aligned": _aligned,
    "retrieved": _retrieved,
    "half": _half,
    "u_only": _u_only,
    "g_only": _g_only,
    "unpaired": _unpaired,
    "low_similarity": _low_similarity,
    "random": _random,
}
