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
of the seed and the entry, so that neither files nor their order favor a row.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

from pairuni_eval.seeds import seed_for
from pairuni_train.pair_data.complete import Completion, Row, halves_of
from pairuni_train.pair_data.config import Arm
from pairuni_train.pair_data.record import Generation, Kind, Pair, Understanding, pair_id
from pairuni_train.pair_data.rows import SIDES, Half, Side


class Entry(NamedTuple):
    """A pair before its images are read: rows of the stores, or a completed row."""

    kind: Kind
    understanding: int | None = None
    generation: int | None = None
    similarity: float | None = None
    completion: Completion | None = None

    @property
    def rows(self) -> frozenset[Row]:
        """The rows that it uses up."""
        if self.completion is not None:
            return frozenset({Row(self.completion.side, self.completion.row)})
        numbers = (self.understanding, self.generation)
        return frozenset(
            Row(side, number)
            for side, number in zip(SIDES, numbers, strict=True)
            if number is not None
        )


class Ingredients(Protocol):
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

    def aligned(self, sides: Sequence[Side], clusters: int) -> list[Entry]:
        """Aligned pairs of the rows of these sides, at most one per cluster."""
        ...

    def retrieved(self, used: frozenset[Row]) -> list[Entry]:
        """Retrieved pairs of all rows but these."""
        ...


def cut(arm: Arm, ingredients: Ingredients, *, pairs: int, seed: int) -> list[Entry]:
    """The entries of an arm, in an order that the seed draws."""
    return _drawn(_ARMS[arm](ingredients, pairs, seed), None, seed)


def to_pair(entry: Entry, read: Callable[[Row], Half], *, generation_images: bool) -> Pair:
    """The pair of an entry, images included.

    Args:
        entry: The entry.
        read: Gives the half of a row.
        generation_images: False leaves out the image that training never looks at.
    """
    understanding, generation = _halves(entry, read)
    if generation is not None and not generation_images:
        generation = Generation(
            id=generation.id,
            source=generation.source,
            licence=generation.licence,
            prompt=generation.prompt,
            facts=generation.facts,
        )
    return Pair(
        id=pair_id(entry.kind, understanding, generation),
        kind=entry.kind,
        understanding=understanding,
        generation=generation,
        similarity=entry.similarity,
        completed=entry.completion.provenance if entry.completion else None,
    )


def _halves(
    entry: Entry, read: Callable[[Row], Half]
) -> tuple[Understanding | None, Generation | None]:
    if entry.completion is not None:
        return halves_of(entry.completion, read(Row(entry.completion.side, entry.completion.row)))
    understanding: Half | None = None
    generation: Half | None = None
    if entry.understanding is not None:
        understanding = read(Row("understanding", entry.understanding))
    if entry.generation is not None:
        generation = read(Row("generation", entry.generation))
    assert understanding is None or isinstance(understanding, Understanding)
    assert generation is None or isinstance(generation, Generation)
    return understanding, generation


def _drawn(entries: Sequence[Entry], count: int | None, seed: int) -> list[Entry]:
    """Some of the entries, or all, in an order that depends on the seed and each entry alone."""

    def address(entry: Entry) -> int:
        rows = " ".join(f"{row.side} {row.number}" for row in sorted(entry.rows))
        return seed_for(seed, f"{entry.kind} {rows}", 0, "arm")

    return sorted(entries, key=address)[:count]


def _shuffled(rows: Sequence[int], side: Side, purpose: str, seed: int) -> list[int]:
    return sorted(rows, key=lambda row: seed_for(seed, f"{side} {row}", 0, purpose))


# One function per arm


def _pairug(ingredients: Ingredients, pairs: int, seed: int) -> list[Entry]:
    aligned = _drawn(ingredients.aligned(SIDES, ingredients.clusters), pairs, seed)
    used = frozenset(row for entry in aligned for row in entry.rows)
    left = pairs - len(aligned)
    return [*aligned, *_drawn(ingredients.retrieved(used), left, seed)] if left else aligned


def _half(ingredients: Ingredients, pairs: int, seed: int) -> list[Entry]:
    whole = _pairug(ingredients, pairs, seed)
    aligned = [entry for entry in whole if entry.kind is Kind.ALIGNED]
    retrieved = [entry for entry in whole if entry.kind is Kind.RETRIEVED]
    share = round(len(aligned) * (pairs // 2) / max(1, len(whole)))
    return [
        *_drawn(aligned, share, seed),
        *_drawn(retrieved, pairs // 2 - share, seed),
    ]


def _aligned(ingredients: Ingredients, pairs: int, seed: int) -> list[Entry]:  # noqa: ARG001
    return ingredients.aligned(SIDES, pairs)


def _u_only(ingredients: Ingredients, pairs: int, seed: int) -> list[Entry]:  # noqa: ARG001
    return ingredients.aligned(("understanding",), pairs)


def _g_only(ingredients: Ingredients, pairs: int, seed: int) -> list[Entry]:  # noqa: ARG001
    return ingredients.aligned(("generation",), pairs)


def _retrieved(ingredients: Ingredients, pairs: int, seed: int) -> list[Entry]:
    return _drawn(ingredients.retrieved(frozenset()), pairs, seed)


def _unpaired(ingredients: Ingredients, pairs: int, seed: int) -> list[Entry]:
    us, gs = (_shuffled(ingredients.usable(side), side, "unpaired", seed) for side in SIDES)
    return [
        *(Entry(Kind.UNPAIRED, understanding=u) for u in us[:pairs]),
        *(Entry(Kind.UNPAIRED, generation=g) for g in gs[:pairs]),
    ]


def _random(ingredients: Ingredients, pairs: int, seed: int) -> list[Entry]:
    us, gs = (_shuffled(ingredients.usable(side), side, "random", seed) for side in SIDES)
    return [Entry(Kind.RANDOM, u, g) for u, g in zip(us[:pairs], gs[:pairs], strict=False)]


def _low_similarity(ingredients: Ingredients, pairs: int, seed: int) -> list[Entry]:
    us, gs = (_shuffled(ingredients.usable(side), side, "low similarity", seed) for side in SIDES)
    entries: list[Entry] = []
    for g in gs:
        if len(entries) == pairs:
            break
        for place, u in enumerate(us):
            cosine = ingredients.cosine(u, g)
            if cosine < ingredients.threshold:
                entries.append(Entry(Kind.LOW_SIMILARITY, u, g, max(0.0, cosine)))
                del us[place]
                break
    return entries


_ARMS: dict[Arm, Callable[[Ingredients, int, int], list[Entry]]] = {
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
