"""A checkpoint: where it lies and what it says of itself.

`SHIPPED` are the folders that come with the package; an existing path is taken as it is;
`owner/name` is fetched from the hub. `BASE+WEIGHTS` is a checkpoint whose weights are laid over
those of another: a bare file of a state dict has neither configuration nor tokenizer, and some
training code saves a part of the modules only. `weights` reads what a folder holds.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import msgspec

from pairuni_eval.errors import UserError, offer
from pairuni_eval.places import exists, is_file, is_folder, name_of
from pairuni_eval.records import Capability, ModelIdentity
from pairuni_eval.shipped import SHIPPED

if TYPE_CHECKING:
    from transformers import PretrainedConfig

Config = TypeVar("Config", bound="PretrainedConfig")
DECLARATION = "pairuni.json"
_OVER = "+"  # what stands between a base and the weights that are laid over it
_METADATA = ("*.json", "*.jinja", "*.txt", "*.model")
_SAFE, _PICKLED = "*.safetensors", "pytorch_model*.bin"
_CODE = ("*.py",)
_VARIANT = "*.*.safetensors"  # model.fp16.safetensors: another precision beside the whole model
PIPELINE = "model_index.json"  # what names the parts of a diffusers pipeline


class Declaration(msgspec.Struct, frozen=True, kw_only=True):
    """What a checkpoint says of itself in pairuni.json; every field is optional."""

    capabilities: tuple[Capability, ...] | None = None
    recipe: str | None = None
    step: int | None = None
    parent: str | None = None


class Located(NamedTuple):
    """Where a checkpoint lies on this machine.

    Attributes:
        folder: The folder with configuration, tokenizer and weights.
        over: A file or folder whose tensors take the place of the folder's; None for none.
    """

    folder: Path
    over: Path | None = None

    @property
    def name(self) -> str:
        """What people call it: the name of the folder, or of what is laid over it."""
        return name_of((self.over or self.folder).resolve().as_posix())


def identity_of(
    adapter: str, checkpoint: str, located: Located, *, weights: str, dtype: str
) -> ModelIdentity:
    """Which weights were loaded: what the user typed, or the name of a place on this machine.

    Args:
        adapter: That loaded them.
        checkpoint: As typed.
        located: Where it was found.
        weights: Their digest.
        dtype: The precision they are held in.
    """
    declared = read_declaration(located.folder)
    own = located.over is not None or exists(Path(checkpoint).expanduser())
    return ModelIdentity(
        adapter=adapter,
        name=located.name if own else checkpoint,
        weights=weights,
        parent=declared.parent,
        step=declared.step,
        recipe=declared.recipe,
        dtype=dtype,
    )


def locate(checkpoint: str, *, code: bool = False) -> Located:
    """Where a checkpoint lies, its weights in one place or laid over a base (`BASE+WEIGHTS`).

    Args:
        checkpoint: What the user typed.
        code: Whether code beside the weights is fetched from the hub, too.

    Raises:
        UserError: if there is no such checkpoint.
    """
    base, plus, rest = checkpoint.rpartition(_OVER)
    if not plus or is_folder(Path(checkpoint).expanduser()):
        return Located(find_folder(checkpoint, code=code))
    over = Path(rest).expanduser()
    if not exists(over):
        raise UserError(
            f"{checkpoint}: there is no {over} to be laid over {base}.",
            hint="BASE+WEIGHTS names a checkpoint and a file or folder on this machine.",
        )
    return Located(find_folder(base, code=code), over)


def find_folder(checkpoint: str, *, code: bool = False) -> Path:
    """The local folder of a checkpoint: shipped, given, or fetched from the hub.

    Of one that is laid over a base it is the base's: configuration and tokenizer are there.

    Args:
        checkpoint: What the user typed.
        code: Whether code beside the weights is fetched from the hub, too.

    Raises:
        UserError: if there is no such checkpoint.
    """
    if _OVER in checkpoint and not is_folder(Path(checkpoint).expanduser()):
        return locate(checkpoint, code=code).folder
    if checkpoint in SHIPPED:
        shipped = Path(str(files("pairuni_eval"))) / "tiny" / SHIPPED[checkpoint]
        if not shipped.is_dir():
            raise UserError(
                f"This install has no shipped weights: there is no {shipped}.",
                hint="Install the package again, or make them: pairuni-train pretrain-tiny.",
            )
        return shipped
    path = Path(checkpoint).expanduser()
    if is_folder(path):
        return path
    if exists(path):
        raise UserError(
            f"{checkpoint} is a file; a checkpoint is a folder with config.json and weights.",
            hint=f"To lay it over a checkpoint: --checkpoint BASE{_OVER}{checkpoint}",
        )
    if is_hub_id(checkpoint):
        return _fetch(checkpoint, code=code)
    known = [*SHIPPED, *(p.name for p in Path.cwd().iterdir() if p.is_dir())]
    raise UserError(
        f"There is no checkpoint '{checkpoint}': no such folder, and not a hub id."
        + offer(checkpoint, known),
        hint="Try: pairuni-eval run --checkpoint tiny",
    )


def read_config(folder: Path) -> dict[str, Any]:
    """The config.json of a checkpoint folder, as a dict.

    Raises:
        UserError: if there is none or it is not a JSON object.
    """
    path = folder / "config.json"
    if not path.is_file():
        have = ", ".join(sorted(p.name for p in folder.iterdir())[:10]) or "nothing"
        steps = sorted(folder.glob("checkpoint-*"), key=lambda path: (len(path.name), path.name))
        raise UserError(
            f"{folder} is not a checkpoint: it has no config.json. It holds: {have}.",
            hint=f"--checkpoint {steps[-1]}"
            if steps
            else "Give the folder that save_pretrained wrote.",
        )
    return read_object(path)


def read_object(path: Path) -> dict[str, Any]:
    """A JSON file of a checkpoint, as a dict.

    Raises:
        UserError: if it cannot be read or is not a JSON object.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError) as failure:
        raise UserError(f"{path}: not JSON: {failure}.") from failure
    if not isinstance(found, dict):
        raise UserError(f"{path}: expected an object, found {type(found).__name__}.")
    return found


def checked_config(kind: type[Config], table: Mapping[str, Any], place: Path | None) -> Config:
    """A network's configuration of a table, checked by its own class.

    Args:
        kind: The class, of transformers.
        table: Values by key.
        place: Where the table stands, for errors.

    Raises:
        UserError: naming the place, for a value that the class refuses.
    """
    from huggingface_hub.errors import (
        StrictDataclassClassValidationError,
        StrictDataclassFieldValidationError,
    )

    try:
        config: Config = kind.from_dict(dict(table))
    except (
        StrictDataclassClassValidationError,
        StrictDataclassFieldValidationError,
        TypeError,
        ValueError,
    ) as failure:
        raise UserError(f"{place}: {str(failure).strip()}") from failure
    return config


def read_declaration(folder: Path) -> Declaration:
    """The pairuni.json of a checkpoint folder; all empty if there is none."""
    path = folder / DECLARATION
    if not path.is_file():
        return Declaration()
    try:
        return msgspec.json.decode(path.read_bytes(), type=Declaration)
    except msgspec.DecodeError as failure:
        raise UserError(f"{path}: {failure}.") from failure


def is_hub_id(checkpoint: str) -> bool:
    """Whether a name has the form OWNER/NAME, as repositories on the hub do."""
    owner, slash, name = checkpoint.partition("/")
    return bool(owner and slash and name) and "/" not in name and not owner.startswith((".", "~"))


def _fetch(repo: str, *, code: bool) -> Path:
    """Download a checkpoint's weights and configuration, or find them in the cache.

    Pickled weights are fetched only where there are no safetensors. Of a diffusers pipeline its
    parts are, and not the whole models in one file and the other precisions beside them.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    wanted = [*_METADATA, *(_CODE if code else ())]
    try:
        folder = Path(snapshot_download(repo, allow_patterns=wanted))
        if is_file(folder / PIPELINE):
            parts, others = [*wanted, f"*/{_SAFE}"], [_VARIANT]
            return Path(snapshot_download(repo, allow_patterns=parts, ignore_patterns=others))
        folder = Path(snapshot_download(repo, allow_patterns=[*wanted, _SAFE]))
        if not any(folder.glob(_SAFE)):
            folder = Path(snapshot_download(repo, allow_patterns=[*wanted, _PICKLED]))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as failure:
        raise UserError(
            f"There is no folder '{repo}', and the hub gave none: {str(failure).rstrip('.')}.",
            hint="Check the name; offline, give the folder of a local copy.",
        ) from failure
    return folder
