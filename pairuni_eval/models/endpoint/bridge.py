"""Writes `serve_model.py`, by which a model in an environment of its own becomes an endpoint."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from pairuni_eval.commands import as_typed
from pairuni_eval.errors import UserError, writing
from pairuni_eval.places import exists, is_folder
from pairuni_eval.store.write import write_whole

SCRIPT = "serve_model.py"


def script() -> str:
    """The script as it is shipped."""
    return (files(__package__) / SCRIPT).read_text(encoding="utf-8")


def write_script(path: Path, *, force: bool = False) -> None:
    """Write the script to a file.

    Args:
        path: The file; its folder is made.
        force: Replace a file of that name, with whatever was filled in.

    Raises:
        UserError: if there is such a file and it is not to be replaced, or it cannot be written.
    """
    if is_folder(path):
        raise UserError(
            f"{path} is a folder; the script is a file.",
            hint=as_typed("pairuni-eval", "bridge", "--write", path / SCRIPT),
        )
    if exists(path) and not force:
        raise UserError(
            f"{path} is there already, and may hold what was filled in.",
            hint=f"Choose another name, or replace it: "
            f"{as_typed('pairuni-eval', 'bridge', '--write', path, '--force')}",
        )
    with writing(str(path)):
        write_whole(path, script().encode())
