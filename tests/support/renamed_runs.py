"""Copies of a finished run under other names."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path
from typing import Any

import msgspec

from pairuni_eval.records import RunCard
from pairuni_eval.store import layout
from pairuni_eval.store.seal import Seal
from pairuni_eval.store.write import record_bytes, write_record


def rename_run(run: Path, folder: Path, name: str, **changes: Any) -> Path:
    """Copy a run, without its pictures, under another name and with other fields of its card."""
    shutil.copytree(run, folder, ignore=shutil.ignore_patterns(layout.IMAGES))
    return change_card(folder, name=name, **changes)


def change_card(run: Path, **changes: Any) -> Path:
    """Give a finished run's card other fields, and let COMPLETE say so."""
    card = msgspec.json.decode((run / layout.RUN_FILE).read_bytes(), type=RunCard)
    data = record_bytes(msgspec.structs.replace(card, **changes))
    (run / layout.RUN_FILE).write_bytes(data)
    path = run / layout.COMPLETE
    seal = msgspec.json.decode(path.read_bytes(), type=Seal)
    files = seal.files | {layout.RUN_FILE: hashlib.sha256(data).hexdigest()}
    write_record(path, msgspec.structs.replace(seal, files=files))
    return run
