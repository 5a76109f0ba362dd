"""Reports that need not be built again: what each was made of, kept in the user's cache.

A command that finds its run finished finds its report as well: the page is a function of the stores
and of this version alone. What it was made of is one hash; beside it stand the files that were
written, so that a page that was changed or lost since is built anew, and what was said of it. The
command `report` always builds.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path

import msgspec

from pairuni_eval import __version__
from pairuni_eval.cache import cache_folder
from pairuni_eval.errors import UserError
from pairuni_eval.places import is_file, is_folder
from pairuni_eval.report.seeds import Seeds
from pairuni_eval.seeds import stable_hash
from pairuni_eval.store import layout
from pairuni_eval.store.read import StoredRun
from pairuni_eval.store.training import TRAINING
from pairuni_eval.store.write import write_whole

_FORMAT = "pairuni-kept-report/1"
_IMAGES = "images"
_REMEMBERED = 200  # reports


class _KeptReport(msgspec.Struct, frozen=True):
    """What is known of a report folder.

    Attributes:
        made_of: See `made_of`.
        files: What was written, as `_files` has it.
        notices: What was said when it was built.
    """

    format: str
    made_of: str
    files: dict[str, str]
    notices: tuple[str, ...]


def made_of(run: StoredRun, baselines: Mapping[str, StoredRun], seeds: Seeds) -> str | None:
    """What the report of a run is made of, as one hash; None if some run has not ended.

    Raises:
        UserError: if a file of a run is changed.
    """
    sides = [[run, *seeds.ours]]
    sides += [[one, *seeds.theirs.get(name, ())] for name, one in baselines.items()]
    if any(one.unfinished for side in sides for one in side):
        return None
    return stable_hash(
        _FORMAT, __version__, list(baselines), [[_address(one) for one in side] for side in sides]
    )


def _address(run: StoredRun) -> list[object]:
    """What a page tells of a run: what its mark names, times, training, bills and pictures."""
    run.verify()
    folder = run.folder
    beside = [folder / layout.COMPLETE, folder / layout.JOURNAL]
    beside += [path for part in (layout.JUDGE, TRAINING) for path in (folder / part).glob("*")]
    told = {path.name: _digest(path) for path in sorted(beside) if is_file(path)}
    pictures = stable_hash(
        [*_sizes(folder / layout.IMAGES), *_sizes(folder / TRAINING / layout.IMAGES)]
    )
    return [run.address, run.card.name, told, pictures]


def kept_notices(out: Path, made: str) -> tuple[str, ...] | None:
    """What was said of the report in a folder, if it is whole and made of the same; else None."""
    path = _place(out)
    if not (is_folder(out) and is_file(path)):
        return None
    try:
        kept = msgspec.json.decode(path.read_bytes(), type=_KeptReport)
    except (OSError, msgspec.DecodeError, UnicodeDecodeError):
        return None
    same = (kept.format, kept.made_of) == (_FORMAT, made) and kept.files == _files(out)
    return kept.notices if same else None


def keep(out: Path, made: str, notices: tuple[str, ...]) -> None:
    """Remember what a report was made of, and forget those of long ago.

    A cache that cannot be written remembers nothing.
    """
    path = _place(out)
    kept = _KeptReport(_FORMAT, made, _files(out), notices)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, msgspec.json.encode(kept))
        by_age = sorted(path.parent.glob("*.json"), key=lambda one: one.stat().st_mtime)
        for old in by_age[:-_REMEMBERED]:
            old.unlink()
    except (OSError, UserError):
        return


def _place(out: Path) -> Path:
    return cache_folder() / "reports" / f"{stable_hash(str(out.resolve()))[:16]}.json"


def _files(out: Path) -> dict[str, str]:
    """The files of a report with their hashes, and its pictures, which are named by theirs."""
    found = {path.name: _digest(path) for path in sorted(out.iterdir()) if is_file(path)}
    return found | {_IMAGES: stable_hash(list(_sizes(out / _IMAGES)))}


def _sizes(folder: Path) -> Iterator[tuple[str, int]]:
    """The files below a folder, each with its size."""
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            yield path.relative_to(folder).as_posix(), path.stat().st_size


def _digest(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
