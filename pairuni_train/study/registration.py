"""Under which experiment file a run was made: a small file in its folder, written before it begins.

`experiment.json` stands in training and evaluation folders. It is written into a folder that holds
nothing yet and never changed, so a run that was begun under another file, or under none, cannot be
taken for one that was registered.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import msgspec

from pairuni_eval.toolkit.store import write_whole

STAMP = "experiment.json"


class Registration(msgspec.Struct, frozen=True):
    """An experiment file: its name, and the SHA-256 of its bytes."""

    name: str
    sha256: str


def registration_of(file: Path, name: str) -> Registration:
    """The registration of an experiment file as it is now."""
    return Registration(name, hashlib.sha256(file.read_bytes()).hexdigest())


def stamp(folder: Path, registration: Registration) -> None:
    """Say in a folder under which file it is made; one that holds anything stays as it is."""
    if folder.is_dir() and any(folder.iterdir()):
        return
    folder.mkdir(parents=True, exist_ok=True)
    write_whole(folder / STAMP, msgspec.json.encode(registration) + b"\n")


def is_registered(folder: Path, registration: Registration) -> bool:
    """Whether a folder was made under this very file."""
    try:
        found = msgspec.json.decode((folder / STAMP).read_bytes(), type=Registration)
    except (OSError, msgspec.DecodeError):
        return False
    return found == registration
