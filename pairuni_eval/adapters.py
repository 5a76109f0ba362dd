"""From what the user typed after --checkpoint to a loaded model.

`scripted:FILE` and `replay:RUN` go to the adapter of that name; a folder or hub id goes to the
plugin named like the `model_type` in its config.json; --model overrides both.
"""

from __future__ import annotations

from typing import NamedTuple

from pairuni_eval import catalog
from pairuni_eval.errors import UserError
from pairuni_eval.models.base import LoadOptions, Model
from pairuni_eval.models.checkpoint import find_folder, is_hub_id, read_config


class Resolved(NamedTuple):
    """A checkpoint argument taken apart."""

    adapter: str
    location: str


def load_model(checkpoint: str, adapter: str | None, options: LoadOptions) -> Model:
    """Find the adapter of a checkpoint and load it.

    Raises:
        UserError: for an unknown checkpoint or adapter, and for weights that cannot be used.
    """
    resolved = find_adapter(checkpoint, adapter)
    plugin = catalog.load_plugin("models", resolved.adapter)
    model = plugin.load(resolved.location, options)
    if not isinstance(model, Model):
        raise UserError(
            f"The model plugin '{resolved.adapter}' returned a {type(model).__name__}, "
            "which is not a pairuni Model."
        )
    return model


def check_checkpoint(checkpoint: str, adapter: str | None = None) -> None:
    """Look for a checkpoint on this machine, before anything else is asked for.

    Raises:
        UserError: for one that is nowhere, or that no adapter reads; a hub's is left to loading.
    """
    if not is_hub_id(checkpoint):
        find_adapter(checkpoint, adapter)


def find_adapter(checkpoint: str, adapter: str | None = None) -> Resolved:
    """Say which adapter reads a checkpoint, without loading any weights."""
    if adapter is not None:
        return Resolved(adapter, checkpoint)
    prefix, colon, rest = checkpoint.partition(":")
    if colon and prefix in catalog.plugin_names("models"):
        return Resolved(prefix, rest)
    model_type = read_config(find_folder(checkpoint)).get("model_type")
    known = catalog.plugin_names("models")
    if model_type not in known:
        raise UserError(
            f"No adapter for model_type '{model_type}' of {checkpoint}. "
            f"Installed: {', '.join(known)}.",
            hint="Name one with --model, or install the plugin that brings it.",
        )
    return Resolved(str(model_type), checkpoint)
