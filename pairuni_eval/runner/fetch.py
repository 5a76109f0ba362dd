"""Downloads of everything a suite reads into one folder, for machines without network.

Each benchmark's files go to DIR/<benchmark>/ under the names they have in their repository on the
hub, or under those of its card for files at pinned addresses; the weights of models that grade to
DIR/<benchmark>/weights/<name>/: the places where `--data DIR` looks for them. DIR/manifest.json
says what was fetched, at which commit, with the SHA-256 of every file; what it says is complete and
is so on the disk is not asked for again, even without network. Nothing is written outside DIR:
names come from a card or are checked, and a link that leads out of DIR is refused. One process
fills a folder at a time, others wait.
"""

from __future__ import annotations

import glob
import hashlib
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Literal, NamedTuple

import msgspec
from filelock import FileLock, Timeout

from pairuni_eval import catalog
from pairuni_eval.benchmark import Benchmark
from pairuni_eval.cards import ByHandSpec, Card, DataSpec, WeightSpec, is_plain_name
from pairuni_eval.download import PinnedFiles, check_inside, fetch_urls, hub_connection
from pairuni_eval.errors import UserError, writing
from pairuni_eval.places import is_folder
from pairuni_eval.store.write import write_record

MANIFEST = "manifest.json"
_FORMAT = "pairuni-fetch/1"
_LOCK = ".fetch.lock"


class FetchedFile(msgspec.Struct, frozen=True):
    """One file: its size in bytes and its SHA-256."""

    bytes: int
    sha256: str


class FetchedFolder(msgspec.Struct, frozen=True, kw_only=True):
    """What one repository gave.

    Attributes:
        hub: Repository on the hub; None for files at pinned addresses.
        revision: As the card asks for it.
        commit: What that was when it was fetched.
        patterns: What was asked for.
        files: By path below the fetched folder.
        urls: Where each file is from, for files at pinned addresses.
    """

    hub: str | None
    revision: str
    commit: str
    patterns: tuple[str, ...]
    files: dict[str, FetchedFile]
    urls: dict[str, str] = {}


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """Everything in a fetched folder, by its sub-folder."""

    format: str = _FORMAT
    folders: dict[str, FetchedFolder] = {}


class RepositoryPart(NamedTuple):
    """One repository's part in a benchmark: where from, and which sub-folder it fills."""

    folder: str
    kind: Literal["dataset", "model"]
    hub: str
    revision: str
    patterns: tuple[str, ...]


class FetchResult(NamedTuple):
    """What became of one sub-folder; `complete` is False where the user must add files by hand."""

    folder: str
    complete: bool
    words: str


def fetch(
    names: Sequence[str], to: Path, tell: Callable[[FetchResult], None], also: Sequence[str] = ()
) -> bool:
    """Fill a folder with the files of benchmarks; True if nothing is left to do by hand.

    Args:
        names: The benchmarks.
        to: The folder.
        tell: Hears of each part when it is there.
        also: Benchmarks that are fetched too, whose parts for hands are told but not waited for.

    Raises:
        UserError: for an unknown benchmark, no network, or a file that is not the card's.
    """
    asked = dict.fromkeys(names)
    more = [name for name in dict.fromkeys(also) if name not in asked]
    benchmarks = [catalog.load_benchmark(name) for name in (*asked, *more)]
    whole = True
    with _alone(to, tell):
        for benchmark in benchmarks:
            for result in _fetch(benchmark, to):
                whole = whole and (result.complete or benchmark.card.name in more)
                tell(result)
    return whole


@contextmanager
def _alone(to: Path, tell: Callable[[FetchResult], None]) -> Iterator[None]:
    """Hold the folder; one that we may not write to is only looked at."""
    if is_folder(to) and not os.access(to, os.W_OK):
        yield
        return
    with writing(str(to)):
        to.mkdir(parents=True, exist_ok=True)
        lock = FileLock(to / _LOCK)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            tell(
                FetchResult(
                    str(to), True, "another process fetches into it; waiting until it is done"
                )
            )
            lock.acquire()
    try:
        yield
    finally:
        lock.release()


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
    names = (name for part, held in found.folders.items() for name in (part, *held.files))
    for name in names:
        if not is_plain_name(name):
            raise UserError(
                f"{path}: '{name}' is not a plain name below this folder.",
                hint="Delete it: everything is checked anew.",
            )
    return found


def _fetch(benchmark: Benchmark, to: Path) -> Iterator[FetchResult]:
    yield from _fetch_data(benchmark, to)
    card = benchmark.card
    for name, spec in card.weights.items():
        folder = f"{card.name}/weights/{name}"
        if spec.hub is None:
            words = _by_hand(to / folder, spec, f"{spec.summary} ({spec.licence})")
            yield FetchResult(folder, True, f"never fetched; to grade with them {words}")
        else:
            yield _get(RepositoryPart(folder, "model", spec.hub, spec.revision, spec.files), to)
            benchmark.data(to).weights(name)


def _fetch_data(benchmark: Benchmark, to: Path) -> Iterator[FetchResult]:
    card, data = benchmark.card, benchmark.card.data
    origin = benchmark.data(None).at_hand()
    if origin is not None and origin.kind in ("made here", "shipped"):
        yield FetchResult(card.name, True, f"nothing to fetch: the data is {origin.kind}")
        return
    by_hand = benchmark.data(to).at_hand() is not None
    if data.urls and not (by_hand and not _begun(card, to)):
        yield _get_urls(card, to)
    elif data.hub is not None:
        yield _get(
            RepositoryPart(card.name, "dataset", data.hub, data.revision, data.remote_files), to
        )
    elif by_hand:
        yield FetchResult(card.name, True, "put there by hand already")
    else:
        source = f"{card.homepage} at revision {data.revision}"
        yield FetchResult(
            card.name, False, f"not on the hub: {_by_hand(to / card.name, data, source)}"
        )
        return
    benchmark.data(to).files()  # checks that what was fetched is what will be found
    if data.by_hand is not None:
        yield _left_to_hands(benchmark, data.by_hand, to)


def _begun(card: Card, to: Path) -> bool:
    """Whether files at pinned addresses are where they are put, and not elsewhere below `to`."""
    return any((to / card.name / url.file).exists() for url in card.data.urls)


def _left_to_hands(benchmark: Benchmark, spec: ByHandSpec, to: Path) -> FetchResult:
    """Whether a person has put there what cannot be fetched."""
    name = benchmark.card.name
    if benchmark.data(to).has(spec.files):
        return FetchResult(name, True, f"there by hand: {spec.source}")
    words = f"cannot be fetched: put {spec.source}, into {to / name} by hand"
    return FetchResult(name, False, words)


def _by_hand(folder: Path, spec: DataSpec | WeightSpec, source: str) -> str:
    return f"put {', '.join(spec.files)} of {source} into {folder} by hand"


def _get_urls(card: Card, to: Path) -> FetchResult:
    """Fetch a benchmark's files at pinned addresses, those that are not there whole."""
    place = to / card.name
    check_inside(to, place)
    came = fetch_urls(PinnedFiles(card.name, card.data.urls), place)
    made = FetchedFolder(
        hub=None,
        revision=card.data.revision,
        commit=card.data.revision,
        patterns=card.data.remote_files,
        files={url.file: _describe(place / url.file) for url in card.data.urls},
        urls={url.file: url.url for url in card.data.urls},
    )
    _note(card.name, made, to)
    if not came:
        return FetchResult(card.name, True, f"complete, not fetched again: {_size(made)}")
    site = (card.data.source or "").removeprefix("url:")
    return FetchResult(card.name, True, f"{_size(made)} of {site} at {made.commit[:12]}")


def _note(folder: str, made: FetchedFolder, to: Path) -> None:
    """Write into the manifest what one part holds now."""
    manifest = read_manifest(to)
    if manifest.folders.get(folder) != made:
        folders = dict(sorted({**manifest.folders, folder: made}.items()))
        write_record(to / MANIFEST, Manifest(folders=folders))


def _get(wanted: RepositoryPart, to: Path) -> FetchResult:
    """Fetch one repository's part, unless the manifest and the disk say that it is there."""
    manifest = read_manifest(to)
    place = to / wanted.folder
    former = manifest.folders.get(wanted.folder)
    if former is not None and _same(wanted, former) and _whole(place, former):
        return FetchResult(wanted.folder, True, f"complete, not fetched again: {_size(former)}")
    if former is not None:
        _drop_changed(place, former)
    twin = _twin(wanted, manifest, to)
    if twin is not None:
        made = _copied(manifest.folders[twin], twin, wanted.folder, to)
        words = f"{_size(made)} as in {twin}"
    else:
        made = _downloaded(wanted, to)
        words = f"{_size(made)} of {wanted.hub} at {made.commit[:12]}"
    _note(wanted.folder, made, to)
    return FetchResult(wanted.folder, True, words)


def _twin(wanted: RepositoryPart, manifest: Manifest, to: Path) -> str | None:
    """A sub-folder that holds the same files already: two benchmarks may grade with one model."""
    same = (name for name, held in manifest.folders.items() if _same(wanted, held))
    return next((name for name in same if _whole(to / name, manifest.folders[name])), None)


def _copied(held: FetchedFolder, twin: str, folder: str, to: Path) -> FetchedFolder:
    with writing(str(to / folder)):
        for name in held.files:
            target = to / folder / name
            check_inside(to, target.parent)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.unlink(missing_ok=True)  # a link would be written through
            shutil.copyfile(to / twin / name, target)
    return held


def _downloaded(wanted: RepositoryPart, to: Path) -> FetchedFolder:
    place = to / wanted.folder
    _refuse_links(to, place)
    commit, names = _listed(wanted, place)
    for name in names:
        check_inside(to, (place / name).parent)
    _snapshot(wanted, place, revision=commit, patterns=[glob.escape(name) for name in names])
    return FetchedFolder(
        hub=wanted.hub,
        revision=wanted.revision,
        commit=commit,
        patterns=wanted.patterns,
        files={name: _describe(place / name) for name in sorted(names)},
    )


def _refuse_links(to: Path, place: Path) -> None:
    """Refuse a folder in which the hub's client would write through a link to somewhere else.

    Raises:
        UserError: naming the link.
    """
    cache = place / ".cache"  # where the client keeps halves
    check_inside(to, cache)
    for below, folders, files in os.walk(cache):
        for name in (*folders, *files):
            path = Path(below, name)
            if path.is_symlink():
                raise UserError(
                    f"{path} is a link: the hub's client would write through it.",
                    hint=f"Remove {cache}: it only holds what the client remembers.",
                )


def _same(wanted: RepositoryPart, former: FetchedFolder) -> bool:
    asked = (wanted.hub, wanted.revision, wanted.patterns)
    return asked == (former.hub, former.revision, former.patterns)


def _whole(place: Path, former: FetchedFolder) -> bool:
    return all(
        (place / name).is_file() and _describe(place / name) == file
        for name, file in former.files.items()
    )


def _drop_changed(place: Path, former: FetchedFolder) -> None:
    """Remove files that are not what was fetched.

    The hub's client takes a file for its own that changed less than a second after it came.
    """
    for name, file in former.files.items():
        path = place / name
        check_inside(place, path.parent)  # the manifest is a file that anybody may have written
        if path.is_file() and not path.is_symlink() and _describe(path) != file:
            with writing(str(path)):
                path.unlink()


def _describe(path: Path) -> FetchedFile:
    with path.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    return FetchedFile(path.stat().st_size, digest)


def _size(fetched: FetchedFolder) -> str:
    total = sum(file.bytes for file in fetched.files.values())
    return f"{len(fetched.files)} files, {total / 1e6:.1f} MB"


def _listed(wanted: RepositoryPart, place: Path) -> tuple[str, list[str]]:
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
    for name in meant:
        if not is_plain_name(name):
            raise UserError(
                f"{wanted.hub} at revision {wanted.revision} names a file '{name}', which is "
                "not a plain name below a folder.",
                hint="Do not use this copy of the repository: nothing of it was written.",
            )
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
    wanted: RepositoryPart,
    place: Path,
    *,
    revision: str | None,
    patterns: list[str],
    dry: bool = False,
) -> list[_Listed]:
    """Put the matching files of a repository into a folder; `dry` only lists them."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import DryRunError, HfHubHTTPError

    try:
        with hub_connection():
            found = snapshot_download(
                wanted.hub,
                repo_type=wanted.kind,
                revision=revision,
                allow_patterns=patterns,
                local_dir=place,
                dry_run=dry,
            )
    except (DryRunError, HfHubHTTPError, ValueError, OSError) as failure:  # or a name it refuses
        raise UserError(
            f"Cannot fetch the {wanted.kind} {wanted.hub} at revision {wanted.revision}: "
            f"{str(failure.__cause__ or failure).rstrip('.')}.",
            hint="Run the same command where there is network and copy the folder here; what is "
            "complete is not fetched again.",
        ) from failure
    return [_Listed(one.filename, one.commit_hash) for one in found] if dry else []  # type: ignore[union-attr]
