"""Upstream's own JSON files and judge prompts, read from the user's copy: many have no license.

The user has the upstream repository, or single files of it, in the folder of `--data`; a judge
prompt is looked for beside the data files and one folder above them. Hashes tell whether a copy is
the official one. Data that are complete must be; a part of them (a test, a subset) may be anything,
for the run is PARTIAL then. A judge prompt that is not the official one is used all the same, and
every score it gives names it beside the judge.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pairuni_eval.data import Data, check_columns
from pairuni_eval.errors import UserError
from pairuni_eval.records import Status
from pairuni_eval.scorers.judge_calls import NotAsked


def text_fields(path: Path, place: str, row: Any, names: Sequence[str]) -> list[str]:
    """The texts that a row of a JSON file must have, in order.

    Args:
        path: The file, for the error.
        place: The row, for the error: "row 3".
        row: What stands there.
        names: Keys whose values must be texts.

    Raises:
        UserError: naming the file, the row and the key, with the nearest one that is there.
    """
    if not isinstance(row, dict):
        raise UserError(f"{path}, {place}: expected an object, found {type(row).__name__}.")
    check_columns(path, names, list(row))
    for name in names:
        if not isinstance(row[name], str):
            kind = type(row[name]).__name__
            raise UserError(f"{path}, {place}: '{name}' must be a text, not {kind}.")
    return [row[name] for name in names]


def find_beside(data: Data, names: Sequence[str], *, source: str) -> Path | NotAsked:
    """The first file of one of these names beside the data or one folder above.

    Args:
        data: The benchmark's data.
        names: File names, the most likely first.
        source: Where the file is from, for the reason if there is none.
    """
    try:
        folders = {path.parent: None for path in data.files()}
    except UserError as failure:
        return no_prompt(failure.message)
    for folder in folders:
        for place in (folder, folder.resolve().parent):
            for name in names:
                if (place / name).is_file():
                    return place / name
    where = ", ".join(map(str, folders)) or "the folder of --data"
    return no_prompt(f"put {names[0]} of {source} into {where}")


def no_prompt(reason: str) -> NotAsked:
    """That rows are skipped for lack of a judge prompt, with what to do."""
    return NotAsked(Status.SKIPPED, f"no judge prompt: {reason}")


def judge_with_prompt(snapshot: str | None, digest: str, official: str) -> str | None:
    """How a judge is named in scores: with the prompt's digest where it is not the official one."""
    if snapshot is None or digest == official:
        return snapshot
    return f"{snapshot} with another prompt, sha256 {digest[:12]}"


def check_complete(paths: Sequence[Path], digests: Mapping[str, str], *, revision: str) -> None:
    """Check the files of a complete benchmark against the official ones.

    Args:
        paths: All of its files.
        digests: SHA-256 by file name; a file without one is not checked.
        revision: Where the official files are, for the hint.

    Raises:
        UserError: naming the first file that differs.
    """
    for path in paths:
        found = hashlib.sha256(path.read_bytes()).hexdigest()
        expected = digests.get(path.name, found)
        if found != expected:
            raise UserError(
                f"{path}: as many rows as the official data, but SHA-256 is {found[:12]}..., not "
                f"{expected[:12]}...: this is another version of the file.",
                hint=f"Get it at {revision}.",
            )
