"""From a configuration to pair sets: a parquet file and a data card per arm.

The stages are those of `builder`; here arms are cut from them and written. An arm that lies there
with the same content is left alone. OUT/config.json replays the build, OUT/rejects.jsonl holds
every row that was left out.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
from filelock import FileLock

from pairuni_eval.toolkit import UserError, stable_hash, writing
from pairuni_eval.toolkit.ranks import RankGroup
from pairuni_eval.toolkit.store import clear_temporaries, encode_lines, exclusive, write_whole
from pairuni_train.pair_data.arms import clustering_of, completes, select_arm, to_pair
from pairuni_train.pair_data.builder import STAGES, BuildProgress, PairPool, PairRef
from pairuni_train.pair_data.card import write_card
from pairuni_train.pair_data.complete import CompletionResult, CompletionTally
from pairuni_train.pair_data.config import FileSource, LoadedConfig, PairArm, PairConfig
from pairuni_train.pair_data.dataset import read_about, write_pairs
from pairuni_train.pair_data.embed import PARTS
from pairuni_train.pair_data.means_from_disk import PASSES
from pairuni_train.pair_data.record import SIDES, Pair, Side
from pairuni_train.pair_data.rows import Reject
from pairuni_train.pair_data.search_job import JOBS

_RETRIEVED: tuple[PairArm, ...] = ("pairug", "half", "retrieved")
_REJECTS, _CONFIG = "rejects.jsonl", "config.json"


class WrittenArm(NamedTuple):
    """An arm on the disk.

    Attributes:
        arm: Its name.
        path: Its file.
        rows: Its rows.
        asked: The rows that its budget asked for.
        searched: What its retrieved pairs were searched with and how much that finds; None if they
            were searched exactly, or there are none.
    """

    arm: PairArm
    path: Path
    rows: int
    asked: int
    searched: str | None = None


def build(
    read: LoadedConfig,
    out: Path,
    *,
    arms: Sequence[PairArm] | None = None,
    partial: bool = False,
    progress: BuildProgress | None = None,
    stages: Path | None = None,
    group: RankGroup | None = None,
) -> list[WrittenArm]:
    """Build the pair sets of a configuration into a folder; continues what was stopped.

    Args:
        read: The configuration.
        out: The folder.
        arms: Instead of the configuration's.
        partial: Go on although some completions could not be asked for.
        progress: Is told of progress.
        stages: Where stages are kept, shared by builds that differ in what comes after them;
            default: OUT/stages.
        group: Ranks that search neighbors together, of which this is the first; the others are in
            `help_build` meanwhile.

    Raises:
        UserError: for anything in configuration, sources or endpoint that a user can mend.
        RankLost: if another rank has ended.
    """
    chosen = tuple(arms or read.config.arms)
    written: list[WrittenArm] = []
    group = group or RankGroup()

    def work() -> None:
        written.extend(
            _build(read, out, chosen, partial, progress or BuildProgress(), stages, group)
        )

    group.lead(work)
    return written


def _build(
    read: LoadedConfig,
    out: Path,
    arms: Sequence[PairArm],
    partial: bool,
    progress: BuildProgress,
    stages: Path | None,
    group: RankGroup,
) -> list[WrittenArm]:
    with exclusive(out), _sharing(stages):
        stages = stages or out / STAGES
        _tidy(out, stages)
        pool = PairPool(
            read,
            stages,
            progress=progress,
            partial=partial,
            completes=completes(arms),
            group=group,
        )
        write_whole(out / _CONFIG, _resolved(read))
        written: list[WrittenArm] = []
        rejects = dict.fromkeys(pool.refused())
        for arm in arms:
            written.append(_write(arm, pool, out, progress))
            rejects |= dict.fromkeys(_rejects(arm, pool))
        write_whole(out / _REJECTS, encode_lines(rejects))
    return written


def _sharing(stages: Path | None) -> AbstractContextManager[Any]:
    """Builds that share stages wait for each other."""
    if stages is None:
        return nullcontext()
    with writing(str(stages)):
        stages.mkdir(parents=True, exist_ok=True)
    return FileLock(stages / ".lock")


def _tidy(out: Path, stages: Path) -> None:
    """Remove what a killed build was in the middle of writing."""
    clear_temporaries(out)
    clear_temporaries(stages)
    for left in stages.glob(JOBS):
        left.unlink()
    for parts in stages.glob(f"*{PARTS}"):
        if any(parts.with_suffix(whole).exists() for whole in (".json", ".safetensors")):
            shutil.rmtree(parts)


def _resolved(read: LoadedConfig) -> bytes:
    """The configuration with absolute folders, so that it can be read from anywhere."""

    def absolute(source: Any) -> Any:
        if not isinstance(source, FileSource) or source.folder is None:
            return source
        place = (read.path.parent / source.folder).expanduser().resolve()
        return msgspec.structs.replace(source, folder=str(place))

    config = msgspec.structs.replace(
        read.config,
        understanding=tuple(map(absolute, read.config.understanding)),
        generation=tuple(map(absolute, read.config.generation)),
    )
    return msgspec.json.format(msgspec.json.encode(config), indent=2) + b"\n"


def _write(arm: PairArm, pool: PairPool, out: Path, progress: BuildProgress) -> WrittenArm:
    """Cut an arm, write it and its card."""
    config, path = pool.config, out / f"{arm}.parquet"
    refs = select_arm(arm, pool)
    pairs = config.pairs // 2 if arm == "half" else config.pairs
    key = _key(refs, pool)
    about = {"arm": arm, "name": config.name, "budget": 2 * pairs, "key": key}

    def pair(ref: PairRef) -> Pair:
        progress.step(1)
        return to_pair(ref, pool.half, generation_images=config.generation_images)

    if not _is_there(path, about):
        progress.begin(f"{arm}: writing", len(refs))
        write_pairs(path, map(pair, refs), about)
    rejects = [*pool.refused(), *_rejects(arm, pool)]
    write_card(path, facts=_facts(arm, pool), rejects=rejects)
    asked = 2 * pairs if arm == "unpaired" else pairs
    searched = pool.index_words() if arm in _RETRIEVED else None
    return WrittenArm(arm, path, len(refs), asked, searched)


def _key(refs: Sequence[PairRef], pool: PairPool) -> str:
    """Everything that moves the bytes of an arm."""
    digests = [pool.rows[side].about.digest for side in SIDES]
    plain = msgspec.to_builtins([tuple(ref) for ref in refs])
    return stable_hash("arm/1", digests, plain, pool.config.generation_images)


def _is_there(path: Path, about: dict[str, Any]) -> bool:
    """Whether a whole file with the same content lies there already."""
    if not path.exists():
        return False
    try:
        found = read_about(path)
    except UserError:  # another file of that name: it is written anew
        return False
    return {key: found.get(key) for key in about} == about


def _rejects(arm: PairArm, pool: PairPool) -> tuple[Reject, ...]:
    """Rows that gave an arm no aligned pair."""
    clustering = clustering_of(arm, pool)
    return pool.completed(*clustering).rejects if clustering else ()


# What the card says of the making


def _facts(arm: PairArm, pool: PairPool) -> dict[str, str]:
    config, identity = pool.config, pool.encoder.identity
    facts = {
        "configuration": f"{config.name}, seed {config.seed}, {config.pairs} pairs asked for",
        "encoder": f"{identity.name} {identity.checkpoint}".strip(),
        "encoder's weights": identity.weights,
        "preprocessing": identity.preprocessing,
    }
    facts |= {f"{side} rows": _rows_words(side, pool) for side in SIDES}
    if arm in ("pairug", "half", "retrieved", "low_similarity"):
        facts["threshold"] = f"cosine {config.retrieval.threshold:g}"
    if arm in _RETRIEVED:
        facts["retrieval"] = _retrieval_words(config)
        facts["neighbors"] = pool.index_words() or "an exact search of all"
    clustering = clustering_of(arm, pool)
    if clustering:
        completed = pool.completed(*clustering)
        facts["selection"] = _selection_words(*clustering, completed, pool)
        facts["completion"] = _tally_words(completed.tally, verify=config.completion.verify)
    return facts


def _rows_words(side: Side, pool: PairPool) -> str:
    rows, broken = pool.rows[side], len(pool.features[side].broken)
    words = f"{len(rows)} rows, {len(rows.about.rejects)} refused, {broken} broken images"
    dropped = [f"{count} by {rule}" for rule, count in sorted(rows.about.dropped.items())]
    return f"{words}, dropped: {', '.join(dropped)}" if dropped else words


def _retrieval_words(config: PairConfig) -> str:
    return (
        "generation rows in the given order (Algorithm 1), "
        f"{config.retrieval.neighbors} per generation image, each image used once"
    )


def _selection_words(
    sides: Sequence[Side], clusters: int, completed: CompletionResult, pool: PairPool
) -> str:
    spec = pool.config.selection
    how = "medoids of MiniBatchKMeans" if spec.method == "kmeans" else "a random draw"
    if pool.clusters_from_disk(sides):
        how += f" from the disk in {PASSES} passes"
    empty = f", {completed.empty_clusters} of them empty" if completed.empty_clusters else ""
    return (
        f"{how}, {clusters} clusters of {' and '.join(sides)} rows{empty}; "
        f"up to {spec.attempts} rows tried per cluster"
    )


def _tally_words(tally: CompletionTally, *, verify: bool) -> str:
    rejected = sum(tally.rejected.values())
    words = (
        f"{tally.tried} tried, {tally.written} written, {rejected} rejected, {tally.accepted} kept"
    )
    if not verify:
        words += f"; nobody checked the {tally.unverified} kept ones"
    if tally.open:
        words += f"; {sum(tally.open.values())} could not be asked"
    return words
