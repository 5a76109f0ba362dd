"""Retrieved pairs: nearest neighbors above a threshold, every image used at most once.

Algorithm 1, second half: for each remaining generation image g, J = top-n of the remaining
understanding images by cosine, those below the threshold left out; the pairs (u, g) are taken and
J and g removed. The g are gone through in the order that they stand in.

What takes long, the search, does not depend on the order, and what does, the taking, is quick. So
the g are dealt with in waves: ranks search the parts of a wave among the images that were free when
it began, each its own, and leave a list of nearest images per g in a file; then the first rank goes
through the wave in order, takes, and writes the pairs of the wave. Waves and parts are the same
whatever the number of ranks, and each file exists only when it is whole: a search that was stopped
goes on, with any number of ranks.

A list only says who can be the nearest: whoever comes within the rounding error of the best is
measured again in float64, row by row, and a list that is used up is searched again. Hence with an
exact index the pairs are those of float64 arithmetic, on any machine, in whatever pieces they were
searched. Ties go to the smaller id.

Shapes: U understanding and G generation images, D features, B queries of a block, K neighbors
listed, Q generation images that are asked about.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np

from pairuni_eval.toolkit.ranks import RankGroup
from pairuni_eval.toolkit.store import write_whole
from pairuni_train.pair_data.encoders import FloatArray
from pairuni_train.pair_data.free_images import UNIT, FreeImages, NobodyNamed, ranks_of
from pairuni_train.pair_data.nearest import BoolArray, Index, IntArray, NearestList
from pairuni_train.pair_data.search_waves import (
    RetrievedMatch,
    Search,
    Wave,
    WaveResult,
    Waves,
    read_lists,
    write_lists,
)

BLOCK = 2048  # rows that are looked at together
_TOGETHER = 4  # parts that are searched together
_SCANS = 32  # lists found used up after which the rest of a part is searched again


class Retrieved(NamedTuple):
    """What was retrieved.

    Attributes:
        matches: Pairs in the order they were made.
        highest: The largest cosine in the lists; -1 without any.
    """

    matches: list[RetrievedMatch]
    highest: float


def retrieve(
    search: Search,
    index: Index,
    ids_U: Sequence[str],
    folder: Path,
    *,
    threshold: float,
    group: RankGroup | None = None,
    done: Callable[[int], None] = lambda _: None,
) -> Retrieved:
    """Pair generation images with understanding images, as the first rank or alone.

    Args:
        search: What is searched for what.
        index: Searches the understanding images.
        ids_U: Ids of the understanding images; the smaller one wins a tie.
        folder: Where lists and pairs lie until the end; what is whole in it is not made anew.
        threshold: Least cosine of a pair.
        group: The ranks; the others call `help_retrieve`.
        done: Called with a number of generation images that are dealt with.

    Raises:
        RankLost: if another rank has ended.
        ValueError: if vectors are not of length one (or zero), or differ in width.
    """
    _check(search.features_UD, search.features_GD)
    group = group or RankGroup()
    waves = Waves(search, folder)
    free = FreeImages(search.features_UD, waves.free_U, ranks_of(ids_U), threshold, index)
    matches: list[RetrievedMatch] = []
    highest = -1.0
    for wave in waves:
        if not wave.path.exists():
            _search_share(search, index, waves.free_U, wave, group)
            group.wait()
            group.lead(partial(_take_in_order, search, free, wave))
        result = wave.result()
        matches += result.matches
        highest = max(highest, result.highest)
        waves.apply(result)
        done(len(wave.places))
    group.wait()  # the others have read the last wave
    return Retrieved(matches, highest)


def help_retrieve(
    search: Search, index: Index, folder: Path, *, finished: int, group: RankGroup
) -> None:
    """Search this rank's parts of every wave but the first `finished` ones, as another rank.

    Raises:
        RankLost: if another rank has ended.
        UserError: if the folder does not show what the first rank has written.
    """
    waves = Waves(search, folder)
    for wave in waves:
        if wave.number >= finished:
            _search_share(search, index, waves.free_U, wave, group)
            group.wait()
            if not group.follow():
                return
        waves.apply(wave.result())
    group.wait()


def _search_share(
    search: Search, index: Index, free_U: BoolArray, wave: Wave, group: RankGroup
) -> None:
    """Write the lists of this rank's parts, those apart that are there."""
    mine = group.ranks.share(wave.parts)
    owed = [part for part in mine if not wave.part_path(part).exists()]
    for start in range(0, len(owed), _TOGETHER):
        parts = owed[start : start + _TOGETHER]
        query_BD = np.concatenate([search.queries(part) for part in parts])
        lists = index.nearest(query_BD, free_U)
        first = 0
        for part in parts:
            write_lists(wave.part_path(part), lists.part(first, len(part)))
            first += len(part)


# Taking in order


def _take_in_order(search: Search, free: FreeImages, wave: Wave) -> WaveResult:
    """Go through a wave whose lists lie in files, and write its pairs; what is missing is made."""
    matches: list[RetrievedMatch] = []
    highest = -1.0
    for part in wave.parts:
        query_BD, path = search.queries(part), wave.part_path(part)
        lists = read_lists(path).one_by_one() if path.exists() else free.nearest(query_BD)
        tops = [float(one.cosine_K.max()) for one in lists if len(one.cosine_K)]
        highest = max([highest, *tops])
        rows = search.asked_Q[part.start : part.stop]
        matches += _matches_of_part(free, query_BD, rows, lists, search.neighbors)
    result = WaveResult(tuple(matches), highest)
    write_whole(wave.path, msgspec.json.encode(result))
    for part in wave.parts:
        wave.part_path(part).unlink(missing_ok=True)
    return result


def _matches_of_part(
    free: FreeImages,
    query_BD: FloatArray,
    rows: IntArray,
    lists: list[NearestList],
    neighbors: int,
) -> list[RetrievedMatch]:
    matches: list[RetrievedMatch] = []
    scans = 0
    for place, row in enumerate(rows.tolist()):
        query_D = query_BD[place]
        for _ in range(neighbors):
            best = free.best(query_D, lists[place])
            if best is NobodyNamed.UNSEEN:
                scans += 1
                if scans % _SCANS == 0:
                    lists[place:] = free.nearest(query_BD[place:])
                best = free.surely_best(query_D, lists[place])
            if isinstance(best, NobodyNamed):
                break
            cosine, taken = best
            matches.append(RetrievedMatch(taken, row, min(1.0, max(0.0, cosine))))
            free.take(taken)
    return matches


# Input


def _check(features_UD: FloatArray, features_GD: FloatArray) -> None:
    if features_UD.shape[1] != features_GD.shape[1]:
        raise ValueError(f"{features_UD.shape[1]} features against {features_GD.shape[1]}")
    for features in (features_UD, features_GD):
        for start in range(0, len(features), BLOCK):
            length = np.linalg.norm(features[start : start + BLOCK], axis=1)
            if not ((np.abs(length - 1) < UNIT) | (length == 0)).all():
                raise ValueError("features must be unit vectors")
