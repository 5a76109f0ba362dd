"""Everything a suite reads, put into one folder: for machines without network.

Each benchmark's files go to DIR/<benchmark>/ under the names they have in their repository, the
weights of models that grade to DIR/<benchmark>/weights/<name>/: the places where `--data DIR` looks
for them. DIR/manifest.json says what was fetched, at which commit, with the SHA-256 of every file;
what it says is complete and is so on the disk is not asked for again, even without network.
"""

from __future__ import annotations

import glob
import hashlib
import shutil
from collections.abc import Callable, Iterator, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Literal, NamedTuple

import msgspec

from pairuni_eval import catalog
from pairuni_eval.benchmark import Benchmark
from pairuni_eval.cards import DataSpec, WeightSpec
from pairuni_eval.errors import UserError, writing
from pairuni_eval.store.write import write_record

MANIFEST = "manifest.json"
_FORMAT = "pairuni-fetch/1"


class FetchedFile(msgspec.Struct, frozen=True):
    """One file: its size in bytes and its SHA-256."""

    bytes: int
    sha256: str


class Fetched(msgspec.Struct, frozen=True, kw_only=True):
    """What one repository gave.

    Attributes:
        hub: Repository on the hub.
        revision: As the card asks for it.
        commit: What that was when it was fetched.
        patterns: What was asked for.
        files: By path below the fetched folder.
    """

    hub: str
    revision: str
    commit: str
    patterns: tuple[str, ...]
    files: dict[str, FetchedFile]


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """Everything in a fetched folder, by its sub-folder."""

    format: str = _FORMAT
    folders: dict[str, Fetched] = {}


class Wanted(NamedTuple):
    """One repository's part in a benchmark: where from, and which sub-folder it fills."""

    folder: str
    kind: Literal["dataset", "model"]
    hub: str
    revision: str
    patterns: tuple[str, ...]


class Result(NamedTuple):
    """What became of one sub-folder; `complete` is False where the user must add files by hand."""

    folder: str
    complete: bool
    words: str


def fetch(names: Sequence[str], to: Path, tell: Callable[[Result], None]) -> bool:
    """Fill a folder with the files of benchmarks; True if nothing is left to do by hand.

    Args:
        names: The benchmarks.
        to: The folder.
        tell: Hears of each part when it is there.

    Raises:
        UserError: for an unknown benchmark, no network, or a file that is not the card's.
    """
    whole = True
    for benchmark in [catalog.load_benchmark(name) for name in dict.fromkeys(names)]:
        for result in _fetch(benchmark, to):
            whole = whole and result.complete
            tell(result)
    return whole


def read_manifest(folder: Path) -> Manifest:
    """The manifest of a fetched folder; empty if there is none.

    Raises:
        UserError: if it cannot be read.
    """
    path = folder / MANIFEST
    if not path.is_file():
        return Manifest()
    try:
        found = msgspec.json.decode(path.read_bytes(), type=Manifest)
    except msgspec.DecodeError as failure:
        hint = "Delete it: everything is checked anew."
        raise UserError(f"{path}: {failure}.", hint=hint) from failure
    if found.format != _FORMAT:
        raise UserError(
            f"{path}: written in format '{found.format}', this version reads '{_FORMAT}'.",
            hint="Delete it: everything is checked anew.",
        )
    return found


def _fetch(benchmark: Benchmark, to: Path) -> Iterator[Result]:
    card, data = benchmark.card, benchmark.card.data
    origin = benchmark.data(None).at_hand()
    if origin is not None and origin.kind in ("made here", "shipped"):
        yield Result(card.name, True, f"nothing to fetch: the data is {origin.kind}")
    elif data.hub is None and benchmark.data(to).at_hand() is not None:
        yield Result(card.name, True, "put there by hand already")
    elif data.hub is None:
        source = f"{card.homepage} at revision {data.revision}"
        yield Result(card.name, False, f"not on the hub: {_by_hand(to / card.name, data, source)}")
    else:
        yield _get(Wanted(card.name, "dataset", data.hub, data.revision, data.remote_files), to)
        benchmark.data(to).files()  # checks that what was fetched is what will be found
    for name, spec in card.weights.items():
        folder = f"{card.name}/weights/{name}"
        if spec.hub is None:
            words = _by_hand(to / folder, spec, f"{spec.summary} ({spec.licence})")
            yield Result(folder, True, f"never fetched; to grade with them {words}")
        else:
            yield _get(Wanted(folder, "model", spec.hub, spec.revision, spec.files), to)
            benchmark.data(to).weights(name)


def _by_hand(folder: Path, spec: DataSpec | WeightSpec, source: str) -> str:
    return f"put {', '.join(spec.files)} of {source} into {folder} by hand"


def _get(wanted: Wanted, to: Path) -> Result:
    """Fetch one repository's part, unless the manifest and the disk say that it is there."""
    manifest = read_manifest(to)
    place = to / wanted.folder
    former = manifest.folders.get(wanted.folder)
    if former is not None and _same(wanted, former) and _whole(place, former):
        return Result(wanted.folder, True, f"complete, not fetched again: {_size(former)}")
    twin = _twin(wanted, manifest, to)
    if twin is not None:
        made = _copied(manifest.folders[twin], to / twin, place)
        words = f"{_size(made)} as in {twin}"
    else:
        made = _downloaded(wanted, place)
        words = f"{_size(made)} of {wanted.hub} at {made.commit[:12]}"
    folders = dict(sorted({**manifest.folders, wanted.folder: made}.items()))
    write_record(to / MANIFEST, Manifest(folders=folders))
    return Result(wanted.folder, True, words)


def _twin(wanted: Wanted, manifest: Manifest, to: Path) -> str | None:
    """A sub-folder that holds the same files already: two benchmarks may grade with one model."""
    same = (name for name, held in manifest.folders.items() if _same(wanted, held))
    return next((name for name in same if _whole(to / name, manifest.folders[name])), None)


def _copied(held: Fetched, source: Path, place: Path) -> Fetched:
    with writing(str(place)):
        for name in held.files:
            (place / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source / name, place / name)
    return held


def _downloaded(wanted: Wanted, place: Path) -> Fetched:
    commit, names = _listed(wanted, place)
    _snapshot(wanted, place, revision=commit, patterns=[glob.escape(name) for name in names])
    return Fetched(
        hub=wanted.hub,
        revision=wanted.revision,
        commit=commit,
        patterns=wanted.patterns,
        files={name: _describe(place / name) for name in sorted(names)},
    )


def _same(wanted: Wanted, former: Fetched) -> bool:
    asked = (wanted.hub, wanted.revision, wanted.patterns)
    return asked == (former.hub, former.revision, former.patterns)


def _whole(place: Path, former: Fetched) -> bool:
    return all(
        (place / name).is_file() and _describe(place / name) == file
        for name, file in former.files.items()
    )


def _describe(path: Path) -> FetchedFile:
    with path.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    return FetchedFile(path.stat().st_size, digest)


def _size(fetched: Fetched) -> str:
    total = sum(file.bytes for file in fetched.files.values())
    return f"{len(fetched.files)} files, {total / 1e6:.1f} MB"


def _listed(wanted: Wanted, place: Path) -> tuple[str, list[str]]:
    """The commit behind the revision, and the repository's files that the patterns mean.

    The hub's client matches `*` across slashes and `**/` with at least one; our patterns are those
    of `Path.glob`. So we ask for more and keep what is meant.
    """
    revision = None if wanted.revision == "unpinned" else wanted.revision
    wider = sorted({p.replace("**/", "") for p in wanted.patterns} | set(wanted.patterns))
    found = _snapshot(wanted, place, revision=revision, patterns=wider, dry=True)
    meant: list[str] = []
    for pattern in wanted.patterns:
        parts = pattern.split("/")
        names = [one.filename for one in found if _means(parts, one.filename.split("/"))]
        if not names:
            raise UserError(
                f"{wanted.hub} at revision {wanted.revision} has no file '{pattern}', which "
                f"{wanted.folder} needs.",
                hint=f"Put it into {place} by hand.",
            )
        meant += names
    return found[0].commit_hash, list(dict.fromkeys(meant))


def _means(pattern: Sequence[str], path: Sequence[str]) -> bool:
    """Whether `Path.glob` finds a path for a pattern, both in parts."""
    if not pattern or not path:
        return not pattern and not path
    if pattern[0] == "**":
        return _means(pattern[1:], path) or _means(pattern, path[1:])
    return fnmatchcase(path[0], pattern[0]) and _means(pattern[1:], path[1:])


class _Listed(NamedTuple):
    """A file of a repository."""

    filename: str
    commit_hash: str


def _snapshot(
    wanted: Wanted,
    place: Path,
    *,
    revision: str | None,
    patterns: list[str],
    dry: bool = False,
) -> list[_Listed]:
    """Put the matching files of a repository into a folder; `dry` only lists them."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import DryRunError, HfHubHTTPError, HFValidationError

    try:
        found = snapshot_download(
            wanted.hub,
            repo_type=wanted.kind,
            revision=revision,
            allow_patterns=patterns,
            local_dir=place,
            dry_run=dry,
        )
    except (DryRunError, HfHubHTTPError, HFValidationError, OSError) as failure:
        raise UserError(
            f"Cannot fetch the {wanted.kind} {wanted.hub} at revision {wanted.revision}: "
            f"{str(failure.__cause__ or failure).rstrip('.')}.",
            hint="Run the same command where there is network and copy the folder here; what is "
            "complete is not fetched again.",
        ) from failure
    return [_Listed(one.filename, one.commit_hash) for one in found] if dry else []  # type: ignore[union-attr]
