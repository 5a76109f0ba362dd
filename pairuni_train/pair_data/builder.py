"""The stages of a build, each made once and then found on the disk.

A stage leaves one file or folder in OUT/stages, or in a folder that several builds share, whose
name is the hash of everything that moves it, and which exists only when it is whole. So the same
command goes on where a build was stopped, and a changed threshold makes anew only what comes after
it. Paid replies are remembered by content, whatever the stage.

    rows-*  one copy of each side's usable rows     features-*   unit vectors of their images
    clusters-*  rows by cluster, nearest first      aligned-*    completed rows
    retrieved-*  neighbors above the threshold      replies/     what models replied
    ivf-*   an index of the understanding images    recall-*     how many neighbors it finds
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import msgspec
import numpy as np

from pairuni_eval.toolkit import UserError, stable_hash
from pairuni_eval.toolkit.ranks import RankGroup
from pairuni_eval.toolkit.store import write_whole
from pairuni_train.pair_data.complete import (
    CompletedRow,
    Completer,
    CompletionResult,
    CompletionTally,
    RowRef,
    complete_clusters,
)
from pairuni_train.pair_data.config import LoadedConfig
from pairuni_train.pair_data.embed import PARTS, Features, embed, read_features
from pairuni_train.pair_data.encoders import Encoder, load_encoder
from pairuni_train.pair_data.feature_files import StackedFeatures
from pairuni_train.pair_data.ivf import (
    IvfIndex,
    IvfSpec,
    Recall,
    ivf_spec,
    measure_recall,
    write_ivf,
)
from pairuni_train.pair_data.record import SIDES, Half, Kind, Side
from pairuni_train.pair_data.rows import Reject, RowStore, write_rows
from pairuni_train.pair_data.search_job import SearchJob, SearchLeader
from pairuni_train.pair_data.search_waves import RetrievedMatch
from pairuni_train.pair_data.select import Clusters, at_random, medoids
from pairuni_train.pair_data.sources import fingerprint, locate, read_source, root_of

STAGES = "stages"

_Stored = TypeVar("_Stored")


class BuildProgress(NamedTuple):
    """Who is told how far a build is.

    Attributes:
        begin: Called with the name of a stage and the number of its steps, None if unknown.
        step: Called with a number of steps that are done.
        note: Called with a line for people.
    """

    begin: Callable[[str, int | None], None] = lambda *_: None
    step: Callable[[int], None] = lambda _: None
    note: Callable[[str], None] = lambda _: None


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
        numbers = zip(SIDES, (self.understanding, self.generation), strict=True)
        return frozenset(RowRef(side, number) for side, number in numbers if number is not None)


class PairPool:
    """What arms are selected from.

    Args:
        read: The configuration.
        stages: The folder of the stages.
        progress: Is told of progress.
        partial: Go on although some completions could not be asked for.
        completes: Whether halves will have to be written. Who writes them is then found before
            any row is read, as the encoder is.
        group: The ranks that search neighbors, of which this is the first.

    Attributes:
        ivf: The index that neighbors are searched with; None if they are searched exactly.

    Raises:
        UserError: for anything in configuration, sources or endpoint that a user can mend.
    """

    def __init__(
        self,
        read: LoadedConfig,
        stages: Path,
        *,
        progress: BuildProgress,
        partial: bool,
        completes: bool,
        group: RankGroup,
    ) -> None:
        self.config = read.config
        self._source, self._stages = read.path, stages
        self._progress, self._partial = progress, partial
        self._completer: Completer | None = None
        self._completes = completes
        self.encoder: Encoder = load_encoder(self.config.encoder)
        self.rows = {side: self._make_rows(side) for side in SIDES}
        self.features = {side: self._make_features(side) for side in SIDES}
        self._places = {
            side: {int(row): place for place, row in enumerate(self.features[side].rows_N)}
            for side in SIDES
        }
        self.ivf = self._ivf_spec()
        self._searches = SearchLeader(stages, group)
        self._asked: dict[Path, CompletionResult] = {}  # nobody is asked twice in one build

    def half(self, row: RowRef) -> Half:
        """One row, image included."""
        return self.rows[row.side][row.number]

    def usable(self, side: Side) -> Sequence[int]:
        """The rows of a side that have features."""
        return [int(row) for row in self.features[side].rows_N]

    def cosine(self, understanding: int, generation: int) -> float:
        """Of the features of two rows."""
        u_D, g_D = (
            self.features[side].matrix_ND[self._places[side][row]].astype(np.float64)
            for side, row in zip(SIDES, (understanding, generation), strict=True)
        )
        return float((u_D * g_D).sum())

    def aligned(self, sides: Sequence[Side], clusters: int) -> list[PairRef]:
        """Aligned pairs of the rows of these sides, at most one per cluster."""
        completions = self.completed(sides, clusters).completions
        return [PairRef(Kind.ALIGNED, similarity=1.0, completion=one) for one in completions]

    def retrieved(self, used: frozenset[RowRef]) -> list[PairRef]:
        """Retrieved pairs of all rows but these."""
        return [
            PairRef(Kind.RETRIEVED, match.understanding, match.generation, match.similarity)
            for match in self._matches(used)
        ]

    def refused(self) -> list[Reject]:
        """Rows that no arm can use, and why."""
        found = [reject for side in SIDES for reject in self.rows[side].about.rejects]
        return found + [reject for side in SIDES for reject in self.features[side].broken]

    def clusters_from_disk(self, sides: Sequence[Side]) -> bool:
        """Whether k-means of these sides reads mini-batches from the disk."""
        spec = self.config.selection
        images = sum(len(self.features[side].rows_N) for side in sides)
        return spec.method == "kmeans" and images > spec.in_memory

    # Stages

    def completed(self, sides: Sequence[Side], clusters: int) -> CompletionResult:
        """The completed rows of clusters of these sides."""
        found = self._clusters(sides, clusters)
        rows = self._of(sides)
        groups = [[rows[member] for member in members] for members in found.members]
        named = [[tuple(row) for row in group] for group in groups]
        spec = msgspec.to_builtins(self.config.completion)
        path = self._path("aligned", named, clusters, spec, *self._base_key(), suffix=".json")
        if path not in self._asked:
            if path.exists():
                kept = msgspec.json.decode(path.read_bytes(), type=CompletionResult)
            else:
                kept = self._complete(groups, found.empty, f"{' and '.join(sides)}: completing")
                self._keep(path, kept)
            self._asked[path] = kept
        return self._asked[path]

    def _keep(self, path: Path, completed: CompletionResult) -> None:
        """Write what was completed; with open rows it is not whole, and only --partial goes on."""
        if not completed.tally.open:
            write_whole(path, msgspec.json.encode(completed))
        elif not self._partial:
            raise _not_completed(completed.tally)

    def _complete(
        self, groups: Sequence[Sequence[RowRef]], empty: int, stage: str
    ) -> CompletionResult:
        clusters = len(groups) + empty
        self._progress.begin(stage, clusters)
        completer = self._find_completer()
        completed = complete_clusters(
            groups,
            self.half,
            completer,
            verify=self.config.completion.verify,
            wanted=clusters,
            done=self._progress.step,
        )
        if completer.usage:
            self._progress.note(f"{stage}: {completer.usage}")
        return msgspec.structs.replace(completed, empty_clusters=empty)

    def _find_completer(self) -> Completer:
        spec, seed = self.config.completion, self.config.seed
        if self._completer is None and spec.completer == "tiny":
            from pairuni_train.pair_data.tiny_completer import TinyCompleter

            self._completer = TinyCompleter(seed, spare=self.config.spares)
        elif self._completer is None:
            from pairuni_train.pair_data.endpoint_completer import load_completer

            folder = self._stages / "replies"
            self._completer = load_completer(spec, seed=seed, folder=folder, source=self._source)
        return self._completer

    def _clusters(self, sides: Sequence[Side], clusters: int) -> Clusters:
        spec, seed = self.config.selection, self.config.seed

        def make() -> Clusters:
            self._progress.begin(f"{clusters} clusters of {' and '.join(sides)}", None)
            names = [f"{side} {self.rows[side].name(number)}" for side, number in self._of(sides)]
            if spec.method == "random":
                return at_random(names, clusters=clusters, seed=seed, depth=spec.attempts)
            features = StackedFeatures([self.features[side].matrix_ND for side in sides])
            return medoids(
                features,
                names,
                clusters=clusters,
                seed=seed,
                depth=spec.attempts,
                in_memory=spec.in_memory,
            )

        key = [list(sides), clusters, spec.method, spec.attempts, *self._base_key()]
        if self.clusters_from_disk(sides):
            key.append("from disk")
        return self._stored(self._path("clusters", *key, suffix=".json"), Clusters, make)

    def _matches(self, used: frozenset[RowRef]) -> list[RetrievedMatch]:
        spec, path = self.config.retrieval, self._matches_path(used)

        def make() -> list[RetrievedMatch]:
            if words := self.index_words():
                self._progress.note(words)
            job = self._search_job(used, path.with_suffix(PARTS).name)
            self._progress.begin("neighbors", len(self.usable("generation")) - len(job.used_g))
            found = self._searches.run(
                job,
                [self.rows["understanding"].name(row) for row in self.usable("understanding")],
                threshold=spec.threshold,
                done=self._progress.step,
            )
            if not found.matches:
                raise self._nothing_left(found.highest)
            u_N, g_N = (self.features[side].rows_N for side in SIDES)
            return [RetrievedMatch(int(u_N[u]), int(g_N[g]), cos) for u, g, cos in found.matches]

        matches = self._stored(path, list[RetrievedMatch], make)
        shutil.rmtree(path.with_suffix(PARTS), ignore_errors=True)
        return matches

    def _matches_path(self, used: frozenset[RowRef]) -> Path:
        spec = self.config.retrieval
        settings = [spec.threshold, spec.neighbors, *([self.ivf] if self.ivf else [])]
        key = (sorted(tuple(row) for row in used), settings, *self._base_key())
        return self._path("retrieved", *key, suffix=".json")

    def _search_job(self, used: frozenset[RowRef], folder: str) -> SearchJob:
        """The search of all rows but these."""
        places = {
            side: tuple(sorted(self._places[side][row] for of, row in used if of == side))
            for side in SIDES
        }
        return SearchJob(
            understanding=self._features_path("understanding").name,
            generation=self._features_path("generation").name,
            used_u=places["understanding"],
            used_g=places["generation"],
            neighbors=self.config.retrieval.neighbors,
            folder=folder,
            ivf=self._make_ivf(self.ivf).name if self.ivf else None,
            nprobe=self.ivf.nprobe if self.ivf else 1,
        )

    def _ivf_spec(self) -> IvfSpec | None:
        spec = self.config.retrieval
        if spec.index == "exact":
            return None
        return ivf_spec(len(self.usable("understanding")), spec.nlist, spec.nprobe)

    def _make_ivf(self, spec: IvfSpec) -> Path:
        path = self._path("ivf", spec.nlist, *self._base_key(), suffix=".faiss")
        if not path.exists():
            matrix = self.features["understanding"].matrix_ND
            self._progress.begin(f"index of {spec.nlist} lists", len(matrix))
            write_ivf(
                matrix, path, nlist=spec.nlist, seed=self.config.seed, done=self._progress.step
            )
        return path

    def index_words(self) -> str | None:
        """The index that neighbors are searched with and how much it finds; None without one."""
        return None if self.ivf is None else f"{self.ivf}; {self._recall(self.ivf)}"

    def _recall(self, ivf: IvfSpec) -> Recall:
        spec = self.config.retrieval

        def make() -> Recall:
            index = IvfIndex(self._make_ivf(ivf), nprobe=ivf.nprobe)
            self._progress.begin("recall of the index", None)
            return measure_recall(
                self.features["understanding"].matrix_ND,
                self.features["generation"].matrix_ND,
                index,
                threshold=spec.threshold,
                queries=spec.recall_queries,
                seed=self.config.seed,
            )

        key = (ivf, spec.threshold, spec.recall_queries, *self._base_key())
        return self._stored(self._path("recall", *key, suffix=".json"), Recall, make)

    def _make_rows(self, side: Side) -> RowStore:
        sources = self.config.sources(side)
        found = [(source, locate(source, self._source.parent)) for source in sources]
        state = [[msgspec.to_builtins(source), fingerprint(paths)] for source, paths in found]
        folder = self._path(f"rows-{side}", state, self.config.seed)
        if folder.exists():
            return RowStore(folder)
        if self._completes:  # before what takes long: what completes its rows must be there
            self._find_completer()
        self._progress.begin(f"{side}: reading rows", None)
        rows = (
            row
            for source, paths in found
            for row in read_source(
                source, paths, side, self.config.seed, root=root_of(source, self._source.parent)
            )
        )
        written = write_rows(folder, side, rows, seen=lambda: self._progress.step(1))
        if not len(written):
            raise _no_rows(self._source, written)
        return written

    def _make_features(self, side: Side) -> Features:
        rows, path = self.rows[side], self._features_path(side)
        if path.exists():
            return read_features(path)
        if self._completes:
            self._find_completer()
        self._progress.begin(f"{side}: features", len(rows))
        size = self.config.encoder.batch_size
        return embed(rows, self.encoder, path, batch_size=size, done=self._progress.step)

    def _features_path(self, side: Side) -> Path:
        key = [self.rows[side].about.digest, *self.encoder.identity.key]
        return self._path(f"features-{side}", *key, suffix=".safetensors")

    # What they share

    def _path(self, stage: str, *key: Any, suffix: str = "") -> Path:
        return self._stages / f"{stage}-{stable_hash(stage, *key)[:16]}{suffix}"

    def _base_key(self) -> list[Any]:
        """What moves every stage after the features."""
        digests = [self.rows[side].about.digest for side in SIDES]
        return [digests, self.encoder.identity.key, self.config.seed]

    def _stored(self, path: Path, kind: type[_Stored], make: Callable[[], _Stored]) -> _Stored:
        """What a JSON stage holds, made if it is not there."""
        if path.exists():
            return msgspec.json.decode(path.read_bytes(), type=kind)
        made = make()
        write_whole(path, msgspec.json.encode(made))
        return made

    def _of(self, sides: Sequence[Side]) -> list[RowRef]:
        """The rows with features of some sides, in the order of their features."""
        return [RowRef(side, row) for side in sides for row in self.usable(side)]

    def _nothing_left(self, best: float) -> UserError:
        threshold = self.config.retrieval.threshold
        return UserError(
            f"{self._source}: retrieval.threshold {threshold:g} leaves no pair: the two most "
            f"similar images have a cosine of {best:.3f}.",
            hint=f"Set retrieval.threshold below {best:.3f}, or take another encoder.",
        )


def _no_rows(source: Path, rows: RowStore) -> UserError:
    about = rows.about
    first = next(iter(about.rejects), None)
    example = f" The first one, {first.where}: {first.words}." if first else ""
    return UserError(
        f"{source}: no row of {about.side} can be used.{example}",
        hint=f"Look at [[{about.side}]]: its columns, drop and files.",
    )


def _not_completed(tally: CompletionTally) -> UserError:
    reason = max(tally.open, key=tally.open.__getitem__)
    return UserError(
        f"{sum(tally.open.values())} rows were not completed, most often for this: {reason}. "
        f"{tally.accepted} were; their replies are kept.",
        hint="Look at the endpoint and at max_calls in the configuration; the same command asks "
        "for the rest, with --partial it goes on without them.",
    )
