"""A Janus checkpoint in the other format: DeepSeek's original one, or transformers'.

Weights keep their precision unless another is asked for, and there and back again they are the same
bits: what transformers has no place for is kept beside it (`original_files`).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from pairuni_eval.errors import UserError
from pairuni_eval.models.base import AUTO, LoadOptions
from pairuni_eval.models.checkpoint import DECLARATION, read_declaration
from pairuni_eval.models.formats import CheckpointFormat
from pairuni_eval.models.janus.loading import load_janus
from pairuni_eval.models.janus.original_files import write_original
from pairuni_eval.places import exists
from pairuni_eval.store.write import atomic_path


def convert(
    source: str, folder: Path, form: CheckpointFormat | None, *, dtype: str = AUTO
) -> CheckpointFormat:
    """Write a checkpoint in another format; returns which one it is now in.

    Args:
        source: Whatever `--checkpoint` takes.
        folder: Where to write; must not exist. It exists only when it is complete.
        form: The format to write; None is the other one.
        dtype: The precision to write; "auto" is the checkpoint's own.

    Raises:
        UserError: for a source that cannot be loaded, a folder that exists, or a model that the
            original format cannot hold.
    """
    if exists(folder):
        raise UserError(
            f"{folder} exists already; a conversion writes a new folder.", hint="Name another one."
        )
    loaded = load_janus(source, LoadOptions("cpu", dtype))
    policy = loaded.policy
    other = CheckpointFormat.TRANSFORMERS if loaded.original else CheckpointFormat.ORIGINAL
    chosen = form or other
    declared = _declaration(loaded.located.folder)
    with atomic_path(folder) as partial:
        partial.mkdir()
        if chosen is CheckpointFormat.TRANSFORMERS:
            policy.save(partial, declared)
        else:
            write_original(policy.janus, policy.processor, policy.original, partial)
            if declared:
                (partial / DECLARATION).write_bytes(msgspec.json.encode(declared))
    return chosen


def _declaration(folder: Path) -> dict[str, Any]:
    """What the source says of itself, without the fields that it leaves out."""
    said = msgspec.to_builtins(read_declaration(folder))
    return {name: value for name, value in said.items() if value is not None}
