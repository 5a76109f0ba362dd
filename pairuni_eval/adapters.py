"""From what the user typed after --checkpoint to a loaded model.

`scripted:FILE` and `replay:RUN` go to the adapter of that name, RUN being any run that can be named
(a folder, a packed run, suite:SUITE/NAME); a folder or hub id goes to the plugin named like the
`model_type` in its config.json; --model overrides both.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from pairuni_eval import catalog
from pairuni_eval.errors import UserError
from pairuni_eval.models.arguments import refuse_secrets
from pairuni_eval.models.base import LoadOptions, Memory, Model
from pairuni_eval.models.checkpoint import find_folder, is_hub_id, read_config
from pairuni_eval.models.families import TAKEN_BY, ModelFamily, family_of
from pairuni_eval.models.outline import Outline
from pairuni_eval.named_runs import located
from pairuni_eval.places import is_folder
from pairuni_eval.shipped import SHIPPED

_REPLAY = "replay"
# What a publisher calls the model_type of an adapter's family.
_ALSO_CALLED = {"multi_modality": "janus"}


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
    _check_arguments(resolved, plugin, options)
    model = plugin.load(resolved.location, options)
    if not isinstance(model, Model):
        raise UserError(
            f"The model plugin '{resolved.adapter}' returned a {type(model).__name__}, "
            "which is not a pairuni Model."
        )
    return model


def _check_arguments(resolved: Resolved, plugin: object, options: LoadOptions) -> None:
    if options.arguments and not getattr(plugin, "takes_arguments", False):
        raise UserError(
            f"The model plugin '{resolved.adapter}' takes no arguments, and was given "
            f"{', '.join(options.arguments)}.",
            hint="Leave --model-args out, or name the adapter that reads them with --model.",
        )
    refuse_secrets(options.arguments)


def expected_memory(checkpoint: str, adapter: str | None, options: LoadOptions) -> Memory | None:
    """What a checkpoint will take once it is loaded; None if its adapter cannot tell.

    Raises:
        UserError: as `load_model`.
    """
    location, plugin = _plugin_of(checkpoint, adapter)
    return None if plugin is None else plugin.memory(location, options)


def expected_outline(checkpoint: str) -> Outline | None:
    """The sizes of a checkpoint's network before it is loaded; None if its adapter cannot tell.

    Raises:
        UserError: as `load_model`.
    """
    location, plugin = _plugin_of(checkpoint, None)
    return None if plugin is None else plugin.outline(location)


def _plugin_of(checkpoint: str, adapter: str | None) -> tuple[str, type[Model] | None]:
    """Where a checkpoint lies and the class of its adapter; None if that is no class of a model."""
    resolved = find_adapter(checkpoint, adapter)
    plugin = catalog.load_plugin("models", resolved.adapter)
    if not (isinstance(plugin, type) and issubclass(plugin, Model)):
        return resolved.location, None  # loading says what is wrong with it
    return resolved.location, plugin


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
        _check_family(checkpoint, adapter)
        return Resolved(adapter, checkpoint)
    prefix, colon, rest = checkpoint.partition(":")
    if colon and prefix in catalog.plugin_names("models"):
        return Resolved(prefix, str(located(rest)) if prefix == _REPLAY else rest)
    folder = find_folder(checkpoint)
    known = catalog.plugin_names("models")
    try:
        found = read_config(folder).get("model_type")
    except UserError as failure:
        family = family_of(folder)
        if family is None:
            raise
        if family.needs_config or family.adapter not in known:
            raise _with_family(failure, family) from failure
        return Resolved(family.adapter, checkpoint)
    model_type = _ALSO_CALLED.get(str(found), found)
    if model_type not in known:
        raise _no_adapter(checkpoint, found, folder)
    return Resolved(str(model_type), checkpoint)


def _check_family(checkpoint: str, adapter: str) -> None:
    """Refuse a folder here whose files are of a family that another adapter takes.

    Some of them would load all the same, and answer in a way that is not theirs.
    """
    if adapter not in TAKEN_BY or not (checkpoint in SHIPPED or is_folder(Path(checkpoint))):
        return
    family = family_of(find_folder(checkpoint))
    if family is not None and family.adapter in TAKEN_BY and family.adapter != adapter:
        raise UserError(
            f"{checkpoint} is not for --model {adapter}: it is {family.name}.",
            hint=_taken_by(family) or "See docs/checkpoints.md.",
        )


def _with_family(failure: UserError, family: ModelFamily) -> UserError:
    """An error about config.json that says which family the other files are of."""
    return UserError(
        f"{failure.message} The files beside it are of {family.name}.",
        hint=failure.hint or "Copy config.json of the model that was trained.",
    )


def _no_adapter(checkpoint: str, model_type: object, folder: Path) -> UserError:
    known = ", ".join(catalog.plugin_names("models"))
    family = family_of(folder)
    named = f" It is {family.name}." if family and family.name != model_type else ""
    return UserError(
        f"No adapter for model_type '{model_type}' of {checkpoint}.{named} Installed: {known}.",
        hint=(family and _taken_by(family))
        or "Name one with --model, or install the plugin that brings it.",
    )


def _taken_by(family: ModelFamily) -> str | None:
    """Which option takes a family; None if nothing that is installed does."""
    if family.adapter not in catalog.plugin_names("models"):
        return None
    return f"--model {family.adapter} takes it."
