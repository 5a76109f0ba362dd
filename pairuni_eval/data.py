"""Where a benchmark's rows come from.

In this order: `--data DIR` (DIR itself or DIR/<benchmark>), the files beside the benchmark's card,
and, without `--data`, the hub at the card's revision or the card's pinned addresses, kept in the
user's cache. The first place that has every pattern wins; if none does, the error lists what was
looked for. Rows keep the dataset's own columns. A row whose image is of no known form, or lies
outside of the folder that the files were found in (see `data_folder`), has a picture with a flaw:
the run records it on the row.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any, Literal, NamedTuple

import msgspec

from pairuni_eval.cache import cache_folder, make_in_cache
from pairuni_eval.cards import Card, WeightSpec
from pairuni_eval.data_folder import DataFolder, files_matching
from pairuni_eval.errors import DatasetError, UserError, nearest, writing
from pairuni_eval.records import Picture
from pairuni_eval.seeds import stable_hash
from pairuni_eval.user_text import json_lines, text_of

_AS_PUBLISHED = "Use the files of the dataset as published, columns unchanged."


class Origin(NamedTuple):
    """Where the files were found, for the run card.

    `kind` is "made here", "folder" (the user's), "shipped" (beside the card), "hub:" with the
    dataset or "url:" with the site; `revision` the card's, for what is made here its version.
    """

    kind: str
    revision: str


class Row(dict[str, Any]):
    """A row of a file by its columns, which knows where it stands.

    Attributes:
        file: The file.
        number: The row or line in it, from 1.
    """

    def __init__(self, cells: Mapping[str, Any], file: Path, number: int) -> None:
        super().__init__(cells)
        self.file, self.number = file, number

    def text(self, column: str) -> str:
        """A cell that must be a text.

        Raises:
            UserError: if it is none, naming file, row and column.
        """
        cell = self[column]
        if not isinstance(cell, str):
            raise self._unfit(f"column '{column}' holds {_kind(cell)}, not a text")
        return cell

    def check(self, form: type[msgspec.Struct]) -> None:
        """Check a row whose cells are nested.

        Args:
            form: What it must be like; further columns may hold what they like.

        Raises:
            UserError: naming file, row and the place in it.
        """
        try:
            msgspec.convert(dict(self), form)
            stable_hash(dict(self)), msgspec.json.encode(self)
        except msgspec.ValidationError as failure:
            raise self._unfit(str(failure)) from failure
        except (TypeError, ValueError, OverflowError, RecursionError) as failure:
            raise self._unfit(f"it holds what cannot be stored: {failure}") from failure

    def _unfit(self, what: str) -> UserError:
        return UserError(f"{self.file}, row {self.number}: {what}.", hint=_AS_PUBLISHED)


class Data:
    """The files of one benchmark.

    Args:
        card: Says which files there must be.
        folder: The benchmark's own folder, for data shipped beside the card.
        user_folder: What the user gave as `--data`, or None.
    """

    def __init__(self, card: Card, folder: Path, user_folder: Path | None = None) -> None:
        self._card = card
        self._folder = folder
        self._user_folder = user_folder

    def files(self) -> list[Path]:
        """All files that match the card's patterns, in the order of the patterns, then by name.

        Raises:
            UserError: if they are nowhere to be found, or a file's SHA-256 is not the card's.
        """
        paths = self._locate()[1]
        for path in paths:
            self._check_digest(path, self._card.data.sha256, self._card.data.revision)
        return paths

    def weights(self, name: str) -> list[Path]:
        """The files of one of the card's `weights`, in the order of its patterns.

        Raises:
            UserError: if they are nowhere to be found, or a file's SHA-256 is not the card's.
            KeyError: if the card has no weights of that name.
        """
        spec = self._card.weights[name]
        paths = self._locate_weights(name, spec)
        for path in paths:
            self._check_digest(path, spec.sha256, spec.revision)
        return paths

    def origin(self) -> Origin:
        """Where the files come from; what must be fetched for that is fetched."""
        return self._locate()[0]

    def at_hand(self) -> Origin | None:
        """Where the files lie on this machine; None if they do not. Asks no network."""
        here = self._locate_here()
        if here is not None:
            return here[0]
        spec = self._card.data
        if self._user_folder is not None or spec.source is None:
            return None
        place = _cached(spec.hub, spec.revision) if spec.hub else _fetched_folder(self._card)
        if _matches(place, spec.remote_files) is None:
            return None
        return Origin(spec.source, spec.revision)

    def has(self, patterns: Sequence[str]) -> bool:
        """Whether one of the local places has files for each of these patterns."""
        return any(_matches(place, patterns) is not None for place in self._local_places())

    def parquet_rows(self, columns: Sequence[str]) -> Iterator[Row]:
        """Rows of the parquet files, a block at a time.

        Raises:
            UserError: if a file lacks one of the columns or is not parquet.
        """
        import pyarrow as pa
        import pyarrow.parquet as pq

        for path in self.files():
            try:
                with path.open("rb") as stream:
                    table = pq.ParquetFile(stream)
                    check_columns(path, columns, table.schema_arrow.names)
                    numbers = count(1)
                    for block in table.iter_batches(batch_size=256, columns=list(columns)):
                        yield from (Row(cells, path, next(numbers)) for cells in block.to_pylist())
            except (pa.ArrowException, OSError, ValueError) as failure:
                raise UserError(f"{path}: not a readable parquet file: {failure}.") from failure

    def jsonl_rows(self) -> Iterator[Row]:
        """Rows of the JSON-lines files.

        Raises:
            UserError: naming file and line, for a line that is not a JSON object.
        """
        for path in self.files():
            for number, row in json_lines(path):
                yield Row(_json_object(path, number, row), path, number)

    def table_rows(self, columns: Sequence[str]) -> Iterator[Row]:
        """Rows of the tables (.csv), every cell a text; an empty one where a row ends early.

        Raises:
            UserError: naming the file, for one that lacks a column or is no readable table.
        """
        from pairuni_eval.responses.delimited import table_of

        for path in self.files():
            for number, cells in table_of(path, text_of(path), ","):
                check_columns(path, columns, list(cells))
                yield Row({name: cells[name] or "" for name in columns}, path, number)

    def picture_of(self, row: Row, column: str) -> Picture:
        """The image of a row, in any form that `image_cell` knows.

        An empty cell gives an empty picture, which the runner records as a missing image; a cell of
        another form one whose flaw names file, column and what was found.

        Args:
            row: A row of `parquet_rows` or `jsonl_rows`.
            column: The column that holds the image.
        """
        return self._picture(row[column], row.file, f"{row.file.name}, column {column}: ")

    def picture(self, cell: Any) -> Picture:
        """As `picture_of`, of a cell alone: paths start beside the first file."""
        file = next(iter(self._locate()[1]), self._folder / "rows")
        return self._picture(cell, file, "")

    def folder_of(self, file: Path) -> DataFolder:
        """Where a file's rows may name files: the place that the file was found in."""
        places = [place for place in self._local_places() if file.is_relative_to(place)]
        return DataFolder.around(file, places[0] if places else None)

    def _picture(self, cell: Any, file: Path, place: str) -> Picture:
        from pairuni_eval.image_cell import encoded_image  # late: brings Pillow and numpy

        try:
            return Picture.from_bytes(encoded_image(cell, self.folder_of(file)))
        except DatasetError as failure:
            return Picture.broken(f"{place}{failure}")

    def _locate(self) -> tuple[Origin, list[Path]]:
        here = self._locate_here()
        if here is not None:
            return here
        spec = self._card.data
        if self._user_folder is None and spec.source is not None and spec.by_hand is None:
            paths = _matches(self._fetched(), spec.remote_files)
            if paths is not None:
                return Origin(spec.source, spec.revision), paths
        raise self._not_found()

    def _fetched(self) -> Path:
        """The folder of the files that are fetched on first use, by the hub's client or by us."""
        spec = self._card.data
        if spec.hub is not None:
            return _snapshot(
                spec.hub, spec.revision, spec.remote_files, hint=_other_ways(self._card)
            )
        from filelock import FileLock

        from pairuni_eval.download import PinnedFiles, fetch_urls, is_whole

        place = _fetched_folder(self._card)
        if not all(is_whole(place, url) for url in spec.urls):
            use = f"The files of '{self._card.name}' are kept in"
            make_in_cache(place, use=use, instead="give --data DIR")
            with writing(f"{place} (XDG_CACHE_HOME moves it)"), FileLock(f"{place}.lock"):
                fetch_urls(PinnedFiles(self._card.name, spec.urls), place)
        return place

    def _locate_here(self) -> tuple[Origin, list[Path]] | None:
        """The files if they are made here, in the user's folder or beside the card."""
        spec = self._card.data
        if not spec.files:
            return Origin("made here", self._card.version), []
        for place in self._local_places():
            paths = _matches(place, spec.files)
            if paths is not None:
                kind = "shipped" if place == self._folder else "folder"
                return Origin(kind, spec.revision), paths
        return None

    def _locate_weights(self, name: str, spec: WeightSpec) -> list[Path]:
        given = self._user_folder
        places = (
            [given / self._card.name / "weights" / name, given / "weights" / name] if given else []
        )
        for place in places:
            paths = _matches(place, spec.files)
            if paths is not None:
                return paths
        if spec.hub is not None:
            hint = (
                f"Where there is network: pairuni-eval fetch --benchmarks {self._card.name} --to "
                f"DIR; copy DIR here and give --data DIR. Or put {', '.join(spec.files)} of "
                f"https://huggingface.co/{spec.hub} into DIR/weights/{name}/."
            )
            place = _snapshot(spec.hub, spec.revision, spec.files, kind="model", hint=hint)
            paths = _matches(place, spec.files)
            if paths is not None:
                return paths
        raise UserError(
            f"The weights '{name}' of '{self._card.name}' ({spec.summary}) were not found. Looked "
            f"for {', '.join(spec.files)} in {', '.join(map(str, places)) or 'no folder'}.",
            hint=f"Put them into DIR/weights/{name}/ and give --data DIR.",
        )

    def _local_places(self) -> list[Path]:
        given = self._user_folder
        below = [given / self._card.name, given] if given is not None else []
        return [*below, self._folder]

    def _not_found(self) -> UserError:
        wanted = ", ".join(self._card.data.files)
        places = ", ".join(str(place) for place in self._local_places())
        have = sorted(path.name for path in (self._user_folder or self._folder).glob("*"))[:10]
        return UserError(
            f"The data of '{self._card.name}' was not found. Looked for {wanted} in {places}; "
            f"the folder holds: {', '.join(have) or 'nothing'}.",
            hint=_other_ways(self._card),
        )

    def _check_digest(self, path: Path, digests: Mapping[str, str], revision: str) -> None:
        expected = digests.get(path.name)
        if expected is None:
            return
        with path.open("rb") as stream:
            found = hashlib.file_digest(stream, "sha256").hexdigest()
        if found != expected:
            raise UserError(
                f"{path}: SHA-256 is {found[:12]}..., the card of '{self._card.name}' expects "
                f"{expected[:12]}...: this is another version of the file.",
                hint=f"Get it at revision {revision}.",
            )


def check_columns(path: Path, wanted: Sequence[str], have: Sequence[str]) -> None:
    """Raise a UserError that names the first missing column and the nearest present one."""
    for column in wanted:
        if column not in have:
            guess = nearest(column, have)
            offer = f" Is it '{guess}'?" if guess else ""
            raise UserError(
                f"{path}: column '{column}' is missing.{offer} It has: {', '.join(have)}.",
                hint=_AS_PUBLISHED,
            )


def _kind(cell: Any) -> str:
    return "nothing" if cell is None else f"a value of the type {type(cell).__name__}"


def _json_object(path: Path, number: int, row: Any) -> dict[str, Any]:
    if not isinstance(row, dict):
        raise UserError(f"{path}, line {number}: expected an object, found {type(row).__name__}.")
    return row


def _matches(place: Path, patterns: Sequence[str]) -> list[Path] | None:
    """All files below `place` that match, or None unless every pattern has a match."""
    if not place.is_dir():
        return None
    found: list[Path] = []
    for pattern in patterns:
        hits = files_matching(place, pattern)
        if not hits:
            return None
        found += [hit for hit in hits if hit not in found]
    return found


def _cached(repository: str, revision: str) -> Path:
    """Where the hub's client keeps a dataset at a revision, without importing the client."""
    home = os.environ.get("HF_HOME") or Path.home() / ".cache" / "huggingface"
    root = Path(os.environ.get("HF_HUB_CACHE") or Path(home) / "hub")
    folder = root / f"datasets--{repository.replace('/', '--')}"
    newest = folder / "refs" / "main"
    if revision == "unpinned" and newest.is_file():
        revision = newest.read_text().strip()
    return folder / "snapshots" / revision


def _fetched_folder(card: Card) -> Path:
    """Where files from pinned addresses are kept: a folder for these files and no others."""
    listed = "".join(f"{url.file} {url.sha256}\n" for url in card.data.urls)
    digest = hashlib.sha256(listed.encode()).hexdigest()
    return cache_folder() / "data" / f"{card.name}-{digest[:16]}"


def _other_ways(card: Card) -> str:
    """How data that is not here comes here: by `fetch` elsewhere, or by hand."""
    spec = card.data
    if spec.urls:
        from pairuni_eval.download import PinnedFiles

        more = f" Only by hand: {spec.by_hand.source}." if spec.by_hand else ""
        return PinnedFiles(card.name, spec.urls).other_ways + more
    if spec.hub is None:
        return f"Put the files of {card.homepage} into DIR/{card.name}/ and give --data DIR."
    return (
        f"Where there is network: pairuni-eval fetch --benchmarks {card.name} --to DIR; copy DIR "
        f"here and give --data DIR. Or put {', '.join(spec.remote_files)} of "
        f"https://huggingface.co/datasets/{spec.hub} into DIR/{card.name}/."
    )


def _snapshot(
    repository: str,
    revision: str,
    patterns: Sequence[str],
    *,
    kind: Literal["dataset", "model"] = "dataset",
    hint: str,
) -> Path:
    """Download (or find in the cache) the matching files of a repository at a revision.

    Raises:
        UserError: with `hint`, if they cannot be had.
    """
    from huggingface_hub import HfApi, snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError
    from huggingface_hub.utils import httpx  # type: ignore[attr-defined] # its own HTTP client

    from pairuni_eval.download import hub_connection

    pinned = None if revision == "unpinned" else revision
    fetch = partial(
        snapshot_download,
        repository,
        repo_type=kind,
        revision=pinned,
        allow_patterns=list(patterns),
    )
    try:
        if pinned is None:
            with hub_connection():
                return Path(fetch())
        try:
            return Path(fetch(local_files_only=True))
        except LocalEntryNotFoundError:
            with hub_connection():
                # Fails at once without network; listing a commit's files is retried for 23 s.
                HfApi().repo_info(repository, repo_type=kind, revision=pinned)
                return Path(fetch())
    except (
        httpx.HTTPError,
        HfHubHTTPError,
        LocalEntryNotFoundError,
        ValueError,  # a name that the client refuses
        OSError,
    ) as failure:
        raise UserError(
            f"Cannot get the {kind} {repository} at revision {revision}: "
            f"{str(failure).rstrip('.')}.",
            hint=hint,
        ) from failure
