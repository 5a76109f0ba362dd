"""The runs below a folder: every folder with a `run.json`, and why the others are none.

A folder that is a run is not looked into; one that is not is, a few levels deep, since studies keep
their runs in folders of folders. Links are not followed: a page about a folder reads nothing
outside it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from pairuni_eval.commands import as_typed
from pairuni_eval.errors import UserError
from pairuni_eval.places import is_file, is_folder
from pairuni_eval.store import layout
from pairuni_eval.store.training import METRICS

DEPTH = 4  # levels below the folder that are looked into


class FoundRuns(NamedTuple):
    """What lies below a folder.

    Attributes:
        runs: The run folders, in the order of their names.
        others: Why a folder directly below it is none and holds none, by its name.
    """

    runs: tuple[Path, ...]
    others: dict[str, str]


def find_runs(folder: Path) -> FoundRuns:
    """The runs below a folder.

    Raises:
        UserError: if there is no such folder, or it is a run itself.
    """
    if not is_folder(folder):
        raise UserError(
            f"There is no folder {folder}.",
            hint="Name the folder that holds run folders, e.g. runs.",
        )
    if is_file(folder / layout.RUN_FILE):
        raise UserError(
            f"{folder} is a run, not a folder of runs.",
            hint=f"Name the folder above it, or read it alone: "
            f"{as_typed('pairuni-eval', 'report', folder)}",
        )
    runs: list[Path] = []
    others: dict[str, str] = {}
    for path in _below(folder):
        found = () if path.is_symlink() else tuple(_runs_in(path, DEPTH - 1))
        runs += found
        if not found:
            others[path.name] = _why_none(path)
    return FoundRuns(tuple(runs), others)


def _runs_in(path: Path, depth: int) -> Iterator[Path]:
    if is_file(path / layout.RUN_FILE):
        yield path
    elif depth:
        for below in _below(path):
            if not below.is_symlink():
                yield from _runs_in(below, depth - 1)


def _below(folder: Path) -> list[Path]:
    """The folders directly below one, hidden ones left out; none where it may not be read."""
    try:
        with os.scandir(folder) as entries:
            names = [one.name for one in entries if one.is_dir() and not one.name.startswith(".")]
    except OSError:
        return []
    return [folder / name for name in sorted(names)]


def _why_none(path: Path) -> str:
    if path.is_symlink():
        return "a link, which is not followed: name the folder that it leads to"
    if not os.access(path, os.R_OK | os.X_OK):
        return "it may not be read"
    if is_file(path / METRICS):
        return f"a training folder: it has {METRICS} and no {layout.RUN_FILE}"
    return f"not a run folder: it has no {layout.RUN_FILE}"
