"""A checkpoint folder: where it lies, what it says of itself, whether its weights are sound.

`SHIPPED` are the folders that come with the package; an existing path is taken as it is;
`owner/name` is fetched from the hub.

Only safetensors are read. A folder that holds nothing but pickled weights is refused, because
unpickling runs whatever the file says.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterator, Mapping
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import msgspec

from pairuni_eval.errors import UserError, offer
from pairuni_eval.places import exists, is_folder
from pairuni_eval.records import Capability
from pairuni_eval.shipped import SHIPPED

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PretrainedConfig

Config = TypeVar("Config", bound="PretrainedConfig")
DECLARATION = "pairuni.json"
WRAPPERS = ("_orig_mod.", "module.", "base_model.model.")
_PICKLED = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")
_NAMED = 3  # broken tensors that an error names


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
            f"{checkpoint} is a file; a checkpoint is a folder with config.json and safetensors."
        )
    if is_hub_id(checkpoint):
        return _fetch(checkpoint)
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
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as failure:
        raise UserError(f"{path}: not JSON: {failure}.") from failure
    if not isinstance(config, dict):
        raise UserError(f"{path}: expected an object, found {type(config).__name__}.")
    return config


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


class Broken(NamedTuple):
    """A tensor of a file that holds `values` numbers, of `size`, that are not finite."""

    file: Path
    name: str
    values: int
    size: int


class Weights(NamedTuple):
    """The weights in a folder.

    Attributes:
        files: In the order of their names, each found whole.
        digest: SHA-256 over the files in that order.
        names: Names of all tensors.
        broken: Tensors with numbers that are not finite.
    """

    files: tuple[Path, ...]
    digest: str
    names: tuple[str, ...]
    broken: tuple[Broken, ...]

    @property
    def wrapper(self) -> str:
        """What a wrapper put before the name of every tensor, e.g. "module."; may be empty."""
        return wrapper_of(self.names)

    def refuse_broken(self, *, unread: Collection[str] = ()) -> None:
        """Refuse numbers that are not finite: a model with them answers without an error.

        Args:
            unread: Tensors that the model does not load, by their names without the wrapper: some
                publishers store a mask with infinities beside the weights.

        Raises:
            UserError: naming the file, the tensors and how many of their numbers are broken.
        """
        bad = [one for one in self.broken if one.name.removeprefix(self.wrapper) not in unread]
        if not bad:
            return
        named = ", ".join(f"{one.name} ({one.values} of {one.size})" for one in bad[:_NAMED])
        more = f", and {len(bad) - _NAMED} more tensors" if len(bad) > _NAMED else ""
        raise UserError(
            f"{bad[0].file}: numbers that are not finite in {named}{more}.",
            hint="Take a checkpoint from before that; where float16 overflowed when it was saved, "
            "save it again in bfloat16 or float32.",
        )


def check_weights(folder: Path) -> Weights:
    """The safetensors of a folder, each file opened and found whole, hashed, its numbers looked at.

    Whether tensors with NaN or infinities matter is for the caller to say, who knows which of them
    are loaded: see `Weights.refuse_broken`. Holds a tensor at a time.

    Raises:
        UserError: if there are no weights, if they are pickled only, or if a file is cut off.
    """
    from pairuni_eval.finite import count_not_finite, is_finite

    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise _no_weights(folder)
    digest = hashlib.sha256()
    names: list[str] = []
    broken: list[Broken] = []
    for path in files:
        for name, tensor in _tensors(path):
            names.append(name)
            if not is_finite(tensor):
                broken.append(Broken(path, name, count_not_finite(tensor), tensor.numel()))
        with path.open("rb") as stream:
            digest.update(hashlib.file_digest(stream, "sha256").digest())
    return Weights(tuple(files), digest.hexdigest(), tuple(names), tuple(broken))


def _tensors(path: Path) -> Iterator[tuple[str, Tensor]]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as weights:
            for name in weights.keys():  # noqa: SIM118 - a file, no dict
                yield name, weights.get_tensor(name)
    except (SafetensorError, OSError) as failure:
        raise UserError(
            f"{path}: cut off or damaged: {failure}.", hint="Copy or download it again."
        ) from failure


def _no_weights(folder: Path) -> UserError:
    pickled = [path.name for pattern in _PICKLED for path in sorted(folder.glob(pattern))]
    if not pickled:
        return UserError(f"{folder} holds no model weights (*.safetensors).")
    return UserError(
        f"{folder} holds pickled weights only ({pickled[0]}); unpickling can run code, "
        "so they are refused.",
        hint="Convert them once: model.save_pretrained(folder, safe_serialization=True).",
    )


def wrapper_of(names: Collection[str]) -> str:
    """What wrappers (torch.compile, data-parallel training, peft) put before every name."""
    prefix = ""
    while names:
        more = [w for w in WRAPPERS if all(name.startswith(prefix + w) for name in names)]
        if not more:
            break
        prefix += more[0]
    return prefix


def is_hub_id(checkpoint: str) -> bool:
    """Whether a name has the form OWNER/NAME, as repositories on the hub do."""
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
