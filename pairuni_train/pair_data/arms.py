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
of the seed and the pair, so that neither files nor their order favor a row. A `balanced` set has
as many answers yes as no in each arm: of one word no more pairs are taken than of the other, and
more is clustered or drawn than needed, so that there is something to leave out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import isqrt
from typing import NamedTuple

import msgspec

from pairuni_eval.toolkit import seed_for
from pairuni_train.pair_data.balance import balanced
from pairuni_train.pair_data.builder import PairPool, PairRef
from pairuni_train.pair_data.complete import NewQuestion, RowRef, halves_of
from pairuni_train.pair_data.config import PairArm, PairConfig
from pairuni_train.pair_data.record import (
    SIDES,
    Generation,
    Half,
    Kind,
    Pair,
    Side,
    Understanding,
    pair_id,
)

_COMPLETED: dict[PairArm, tuple[Side, ...]] = {  # the rows that aligned pairs are made from
    "pairug": SIDES,
    "half": SIDES,
    "aligned": SIDES,
    "u_only": ("understanding",),
    "g_only": ("generation",),
}


class Clustering(NamedTuple):
    """The rows that an arm's aligned pairs are made from, and how many clusters of them."""

    sides: tuple[Side, ...]
    clusters: int


def completes(arms: Sequence[PairArm]) -> bool:
    """Whether some of these arms have halves that must be written first."""
    return any(arm in _COMPLETED for arm in arms)


def clustering_of(arm: PairArm, pool: PairPool) -> Clustering | None:
    """What is clustered for an arm; None if it has no aligned pairs."""
    if arm not in _COMPLETED:
        return None
    config = pool.config
    mixed = arm in ("pairug", "half")
    return Clustering(_COMPLETED[arm], config.selection.clusters if mixed else _with_spare(config))


def _with_spare(config: PairConfig) -> int:
    """As many candidates as an arm needs to have its pairs, whatever is left out.

    Of fair answers the excess of one word stays below three times the root of their number; a
    sixteenth more is for completions that one word is refused more often than the other.
    """
    spare = config.pairs // 16 + 3 * isqrt(config.pairs)
    return config.pairs + (spare if config.balanced else 0)


def select_arm(arm: PairArm, pool: PairPool) -> list[PairRef]:
    """The pairs of an arm, in an order that the seed draws."""
    clustering, pairs = clustering_of(arm, pool), pool.config.pairs
    found = pool.aligned(*clustering) if clustering else []
    if arm == "pairug":
        found = _filled_up(found, pool)
    elif arm == "half":
        found = _halved(_filled_up(found, pool), pool)
    elif clustering:
        found = _drawn(found, pairs, pool)
    elif arm == "retrieved":
        found = _drawn(pool.retrieved(frozenset()), pairs, pool)
    elif arm == "unpaired":
        us, gs = _shuffled(pool, "unpaired")
        found = _cut([PairRef(Kind.UNPAIRED, understanding=u) for u in us], pairs, pool)
        found += [PairRef(Kind.UNPAIRED, generation=g) for g in gs[:pairs]]
    elif arm == "random":
        us, gs = _shuffled(pool, "random")
        drawn = [PairRef(Kind.RANDOM, u, g) for u, g in zip(us, gs, strict=False)]
        found = _cut(drawn, pairs, pool)
    elif arm == "low_similarity":
        found = _dissimilar(pool)
    return _drawn(found, None, pool)


def to_pair(ref: PairRef, read: Callable[[RowRef], Half], *, generation_images: bool) -> Pair:
    """The pair of a reference, images included.

    Args:
        ref: The rows or the completed row.
        read: Gives the half of a row.
        generation_images: False leaves out the image that training never looks at.
    """
    understanding, generation = _halves(ref, read)
    if generation is not None and not generation_images:
        generation = msgspec.structs.replace(generation, image=None)
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
    found = {row.side: read(row) for row in ref.rows}
    understanding, generation = found.get("understanding"), found.get("generation")
    assert understanding is None or isinstance(understanding, Understanding)
    assert generation is None or isinstance(generation, Generation)
    return understanding, generation


def _drawn(refs: Sequence[PairRef], count: int | None, pool: PairPool) -> list[PairRef]:
    """Some of the pairs, or all, in an order that depends on the seed and each pair alone."""

    def address(ref: PairRef) -> int:
        rows = " ".join(f"{row.side} {row.number}" for row in sorted(ref.rows))
        return seed_for(pool.config.seed, f"{ref.kind} {rows}", 0, "arm")

    ordered = sorted(refs, key=address)
    return ordered if count is None else _cut(ordered, count, pool)


def _cut(refs: Sequence[PairRef], count: int, pool: PairPool) -> list[PairRef]:
    """The first so many pairs; in a balanced set no yes or no that has none to go with it."""
    if not pool.config.balanced:
        return list(refs[:count])
    return [refs[place] for place in balanced((_answer(ref, pool) for ref in refs), count)]


def _answer(ref: PairRef, pool: PairPool) -> str | None:
    """The gold answer of a pair's understanding half; None without one."""
    if ref.completion is not None and isinstance(ref.completion.new, NewQuestion):
        return ref.completion.new.answer
    row = next((row for row in ref.rows if row.side == "understanding"), None)
    return None if row is None else pool.rows["understanding"].answer(row.number)


def _shuffled(pool: PairPool, purpose: str) -> tuple[list[int], ...]:
    """The usable rows of both sides in an order that the seed draws."""

    def order(side: Side) -> Callable[[int], int]:
        return lambda row: seed_for(pool.config.seed, f"{side} {row}", 0, purpose)

    return tuple(sorted(pool.usable(side), key=order(side)) for side in SIDES)


def _filled_up(aligned: Sequence[PairRef], pool: PairPool) -> list[PairRef]:
    """Aligned pairs, and retrieved ones of the rows that are left."""
    pairs = pool.config.pairs
    found = _drawn(aligned, pairs, pool)
    used = frozenset(row for ref in found for row in ref.rows)
    left = pairs - len(found)
    return [*found, *_drawn(pool.retrieved(used), left, pool)] if left else found


def _halved(whole: Sequence[PairRef], pool: PairPool) -> list[PairRef]:
    """Half of an arm, of each kind the same share."""
    aligned = [ref for ref in whole if ref.kind is Kind.ALIGNED]
    retrieved = [ref for ref in whole if ref.kind is Kind.RETRIEVED]
    half = pool.config.pairs // 2
    share = round(len(aligned) * half / max(1, len(whole)))
    return [*_drawn(aligned, share, pool), *_drawn(retrieved, half - share, pool)]


def _dissimilar(pool: PairPool) -> list[PairRef]:
    """For each generation image the first understanding image that is below the threshold."""
    us, gs = _shuffled(pool, "low similarity")
    refs: list[PairRef] = []
    for g in gs:
        if len(refs) == _with_spare(pool.config):
            break
        for place, u in enumerate(us):
            cosine = pool.cosine(u, g)
            if cosine < pool.config.retrieval.threshold:
                refs.append(PairRef(Kind.LOW_SIMILARITY, u, g, max(0.0, cosine)))
                del us[place]
                break
    return _cut(refs, pool.config.pairs, pool)
