"""A checkpoint folder: where it lies, what it says of itself, whether its weights are whole.

`tiny` is the folder shipped with the package; an existing path is taken as it is; `owner/name` is
fetched from the hub.

Only safetensors are read. A folder that holds nothing but pickled weights is refused, because
unpickling runs whatever the file says.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import msgspec

from pairuni_eval.errors import UserError, nearest
from pairuni_eval.records import Capability

TINY = "tiny"
DECLARATION = "pairuni.json"
_PICKLED = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")


class Declaration(msgspec.Struct, frozen=True, kw_only=True):
    """What a checkpoint says of itself in pairuni.json; every field is optional."""

    capabilities: tuple[Capability, ...] | None = None
    recipe: str | None = None
    step: int | None = None
    parent: str | None = None


def find_folder(checkpoint: str) -> Path:
    """The local folder of a checkpoint: shipped, given, or fetched from the hub.

    Raises:
        UserError: if there is no such checkpoint.
    """
    if checkpoint == TINY:
        import pairuni_eval.tiny

        shipped = Path(pairuni_eval.tiny.__file__).parent / "weights"
        if not shipped.is_dir():
            raise UserError(
                f"This install has no shipped weights: there is no {shipped}.",
                hint="Install the package again, or make them: pairuni-train pretrain-tiny.",
            )
        return shipped
    path = Path(checkpoint).expanduser()
    if path.is_dir():
        return path
    if path.exists():
        raise UserError(
            f"{checkpoint} is a file; a checkpoint is a folder with config.json and safetensors."
        )
    if _is_hub_id(checkpoint):
        return _fetch(checkpoint)
    guess = nearest(checkpoint, [TINY, *(p.name for p in Path.cwd().iterdir() if p.is_dir())])
    raise UserError(
        f"There is no checkpoint '{checkpoint}': no such folder, and not a hub id."
        + (f" Did you mean '{guess}'?" if guess else ""),
        hint="Try: pairuni-eval run --checkpoint tiny",
    )


def read_config(folder: Path) -> dict[str, Any]:
    """The config.json of a checkpoint folder, as a dict.

    Raises:
        UserError: if there is none or it is no JSON object.
    """
    path = folder / "config.json"
    if not path.is_file():
        have = ", ".join(sorted(p.name for p in folder.iterdir())[:10]) or "nothing"
        raise UserError(
            f"{folder} is no checkpoint: it has no config.json. It holds: {have}.",
            hint="Give the folder that save_pretrained wrote.",
        )
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as failure:
        raise UserError(f"{path}: not JSON: {failure}.") from failure
    if not isinstance(config, dict):
        raise UserError(f"{path}: expected an object, found {type(config).__name__}.")
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


def check_weights(folder: Path) -> list[Path]:
    """The safetensors files of a folder, each opened and found whole.

    Raises:
        UserError: if there are none, if they are pickled only, or if one is cut off.
    """
    from safetensors import SafetensorError, safe_open

    files = sorted(folder.glob("*.safetensors"))
    if not files:
        pickled = [path.name for pattern in _PICKLED for path in sorted(folder.glob(pattern))]
        if pickled:
            raise UserError(
                f"{folder} holds pickled weights only ({pickled[0]}); unpickling can run code, "
                "so they are refused.",
                hint="Convert them once: model.save_pretrained(folder, safe_serialization=True).",
            )
        raise UserError(f"{folder} holds no model weights (*.safetensors).")
    for path in files:
        try:
            with safe_open(path, framework="pt"):
                pass
        except (SafetensorError, OSError) as failure:
            raise UserError(
                f"{path}: cut off or damaged: {failure}.", hint="Copy or download it again."
            ) from failure
    return files


def weights_hash(files: list[Path]) -> str:
    """SHA-256 over the weight files in the order of their names."""
    digest = hashlib.sha256()
    for path in files:
        with path.open("rb") as stream:
            digest.update(hashlib.file_digest(stream, "sha256").digest())
    return digest.hexdigest()


def _is_hub_id(checkpoint: str) -> bool:
    owner, slash, name = checkpoint.partition("/")
    return bool(owner and slash and name) and "/" not in name and not owner.startswith((".", "~"))


def _fetch(repo: str) -> Path:
    """Download a checkpoint's safetensors and configuration, or find them in the cache."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return Path(
            snapshot_download(repo, allow_patterns=["*.json", "*.safetensors", "*.jinja", "*.txt"])
        )
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as failure:
        raise UserError(
            f"There is no folder '{repo}', and the hub gave none: {str(failure).rstrip('.')}.",
            hint="Check the name; offline, give the folder of a local copy.",
        ) from failure
