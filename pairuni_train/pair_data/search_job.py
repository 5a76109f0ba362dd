"""A search that the ranks of a build share: the first says what is searched, and all search it.

`torchrun --nproc_per_node N -m pairuni_train.cli pairs build ...` starts N processes of a build.
The first makes all of it; the others wait for searches of neighbors, by far the longest part that
needs no encoder, and search a share of each (`retrieve`). What they know of one stands in a file
among the stages; which rank searched what moves no pair.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import count
from pathlib import Path

import msgspec
import numpy as np

from pairuni_eval.toolkit.ranks import RankGroup
from pairuni_eval.toolkit.store import write_whole
from pairuni_train.pair_data.embed import read_features
from pairuni_train.pair_data.nearest import BoolArray, ExactIndex, Index
from pairuni_train.pair_data.retrieve import Retrieved, help_retrieve, retrieve
from pairuni_train.pair_data.search_waves import Search, finished_waves, wait_for_file

JOBS = "search-*.json"


class SearchJob(msgspec.Struct, frozen=True, kw_only=True):
    """What is searched; files are names among the stages, images are rows of features.

    Attributes:
        understanding: File of the understanding features.
        generation: File of the generation features.
        used_u: Understanding images that may not be taken.
        used_g: Generation images that are not to be paired.
        neighbors: Understanding images per generation image.
        folder: Where lists and pairs lie until the end.
        ivf: File of the index; None searches exactly.
        nprobe: Lists that a query of the index looks into.
        finished: Waves that have been gone through already.
    """

    understanding: str
    generation: str
    used_u: tuple[int, ...]
    used_g: tuple[int, ...]
    neighbors: int
    folder: str
    ivf: str | None = None
    nprobe: int = 1
    finished: int = 0

    def search(self, stages: Path) -> Search:
        """What is searched for what, mapped from files."""
        u_UD, g_GD = (
            read_features(stages / name).matrix_ND for name in (self.understanding, self.generation)
        )
        free_U, asked_G = (
            _all_but(used, len(matrix))
            for used, matrix in ((self.used_u, u_UD), (self.used_g, g_GD))
        )
        return Search(u_UD, g_GD, free_U, np.flatnonzero(asked_G), self.neighbors)

    def index(self, search: Search, stages: Path) -> Index:
        """What searches."""
        if self.ivf is None:
            return ExactIndex(search.features_UD)
        from pairuni_train.pair_data.ivf import IvfIndex

        return IvfIndex(stages / self.ivf, nprobe=self.nprobe)


class SearchLeader:
    """The first rank's side of the searches of a build.

    Args:
        stages: The folder of the stages.
        group: The ranks.
    """

    def __init__(self, stages: Path, group: RankGroup) -> None:
        self._stages, self._group = stages, group
        self._started = 0

    def run(
        self,
        job: SearchJob,
        ids_U: Sequence[str],
        *,
        threshold: float,
        done: Callable[[int], None],
    ) -> Retrieved:
        """Make a search with the other ranks; arguments as those of `retrieve`."""
        folder = self._stages / job.folder
        folder.mkdir(exist_ok=True)
        path = _job_path(self._stages, self._started)
        if self._group.ranks.several:
            self._announce(msgspec.structs.replace(job, finished=finished_waves(folder)), path)
        search = job.search(self._stages)
        index = job.index(search, self._stages)
        found = retrieve(
            search, index, ids_U, folder, threshold=threshold, group=self._group, done=done
        )
        path.unlink(missing_ok=True)
        self._started += 1
        return found

    def _announce(self, job: SearchJob, path: Path) -> None:
        def write() -> Path:
            write_whole(path, msgspec.json.encode(job))
            return path

        self._group.lead(write)


def help_build(stages: Path, group: RankGroup) -> None:
    """Take part in every search of a build, as another rank than the first.

    Raises:
        RankLost: if another rank has ended.
        UserError: if files are not to be seen, or the disk is full.
    """
    for number in count():
        if not group.follow():
            return
        path = _job_path(stages, number)
        wait_for_file(path)
        job = msgspec.json.decode(path.read_bytes(), type=SearchJob)
        search = job.search(stages)
        help_retrieve(
            search,
            job.index(search, stages),
            stages / job.folder,
            finished=job.finished,
            group=group,
        )


def _job_path(stages: Path, number: int) -> Path:
    return stages / JOBS.replace("*", f"{number:04d}")


def _all_but(used: Sequence[int], rows: int) -> BoolArray:
    kept = np.ones(rows, dtype=bool)
    kept[list(used)] = False
    return kept
