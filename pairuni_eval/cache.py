"""The user's cache: what can be made or fetched again is kept there, in folders named by hashes."""

from __future__ import annotations

import os
from pathlib import Path

from pairuni_eval.errors import UserError


def cache_folder() -> Path:
    """Where this project keeps what it can make again; XDG_CACHE_HOME moves it."""
    given = os.environ.get("XDG_CACHE_HOME")
    return (Path(given) if given else Path.home() / ".cache") / "pairuni"


def unpacked_runs() -> Path:
    """Where packed runs are unpacked, each into a folder of its own."""
    return cache_folder() / "runs"


def is_unpacked(run: Path) -> bool:
    """Whether a run folder is a packed run that was unpacked: where it lies says so."""
    return run.resolve().parent == unpacked_runs().resolve()


def make_in_cache(folder: Path, *, use: str, instead: str) -> None:
    """Make a folder in the cache.

    Args:
        folder: The folder.
        use: What it is for, up to its name: "Packed baselines are unpacked into".
        instead: What one can do without it, for the hint.

    Raises:
        UserError: if the user's home is not there or may not be written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (PermissionError, FileNotFoundError, NotADirectoryError) as failure:
        raise UserError(
            f"{use} {folder}, which cannot be made: {failure.strerror}.",
            hint=f"Set XDG_CACHE_HOME to a folder that you may write to, or {instead}.",
        ) from failure
