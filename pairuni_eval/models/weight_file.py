"""Weights from a file, read without running anything the file says.

Safetensors, or what `torch.save` wrote, unpickled with `weights_only`: a file that holds objects
other than tensors and plain containers is refused as unsafe. A training checkpoint's `state_dict`
is looked for inside, and what a wrapper puts before every name (`module.`, `_orig_mod.`) is taken
off.
"""

from __future__ import annotations

import hashlib
import pickle
import re
import zipfile
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor

from pairuni_eval.errors import UserError, nearest
from pairuni_eval.finite import count_not_finite, is_finite
from pairuni_eval.models.pickled import refused, unsafe_name

WRAPPERS = ("_orig_mod.", "module.", "base_model.model.")
_PICKLED = (".pt", ".pth", ".bin", ".ckpt")
_SAFE = ".safetensors"
_SHARD = re.compile(r".*-\d{5}-of-\d{5}\.[a-z]+")
_AGAIN = "Copy or download it again."


def weight_files(files: Sequence[Path]) -> list[Path]:
    """Those of the files that hold the weights: one file, or the shards of one model.

    Safetensors are preferred where a model comes in both forms.

    Raises:
        UserError: if there are none, or if several files could be meant.
    """
    safe = [path for path in files if path.suffix == _SAFE]
    found = safe or [path for path in files if path.suffix in _PICKLED]
    names = ", ".join(path.name for path in found or files) or "nothing"
    if not found:
        raise UserError(
            f"No weights among the files ({names}).", hint=f"Weights end in {_SAFE} or .pt."
        )
    if len(found) > 1 and not all(_SHARD.fullmatch(path.name) for path in found):
        raise UserError(
            f"Several files could be the weights: {names}.", hint="Give exactly one of them."
        )
    return found


def read_weights(path: Path, *, ignored: Collection[str] = ()) -> dict[str, Tensor]:
    """All tensors of a file by name, on the CPU, in the precision they are stored in.

    Args:
        path: The file.
        ignored: Names that are left out, whatever they hold: some publishers store a mask with
            infinities beside the weights.

    Raises:
        UserError: naming the file, and the key where there is one, if the file is missing, cut off
            or damaged, needs more than `weights_only` to be read, or holds something that is
            neither a tensor nor a finite number.
    """
    content = read_tensors(path)
    prefix = wrapper_of(content)
    return {
        name: _checked(path, key, value)
        for key, value in content.items()
        if (name := key.removeprefix(prefix)) not in ignored
    }


def read_tensors(path: Path) -> dict[str, Tensor]:
    """All tensors of a file by the names they have there, whatever numbers they hold.

    The file is mapped into memory: a tensor takes memory when it is read, and none twice. Nobody
    may cut the file short as long as its tensors are used.

    Raises:
        UserError: as `read_weights`, but for numbers that are not finite.
    """
    content = _read_safetensors(path) if path.suffix == _SAFE else _read_pickled(path)
    if isinstance(content, dict) and isinstance(content.get("state_dict"), dict):
        content = content["state_dict"]
    if not isinstance(content, dict) or not content:
        raise UserError(f"{path} holds {type(content).__name__}, not weights by name.")
    for key, value in content.items():
        if not isinstance(value, Tensor):
            raise UserError(
                f"{path}: '{key}' holds {type(value).__name__}, not a tensor.",
                hint="Give a file with the model's weights alone.",
            )
    return {str(key): value for key, value in content.items()}


def wrapper_of(names: Collection[str]) -> str:
    """What wrappers (torch.compile, data-parallel training, peft) put before every name."""
    prefix = ""
    while names:
        more = [w for w in WRAPPERS if all(name.startswith(prefix + w) for name in names)]
        if not more:
            break
        prefix += more[0]
    return prefix


def check_shapes(
    path: Path,
    weights: Mapping[str, Tensor],
    expected: Mapping[str, tuple[int, ...]],
    *,
    model: str,
) -> None:
    """Check that the weights are exactly those of a model.

    Args:
        path: The file, for the message.
        weights: What the file holds.
        expected: Shape of every weight of the model.
        model: What the model is called, for the message.

    Raises:
        UserError: naming the first key that is missing, unknown or of another shape, the nearest
            key in the file, and how many such keys there are.
    """
    missing = [key for key in expected if key not in weights]
    unknown = [key for key in weights if key not in expected]
    if missing:
        raise _missing(path, missing, unknown, model)
    if unknown:
        guess = nearest(unknown[0], expected)
        raise UserError(
            f"{path}: {model} has no '{unknown[0]}'{_near(guess)}{_more(unknown)}.",
            hint="This file is of another model.",
        )
    wrong = [key for key, shape in expected.items() if tuple(weights[key].shape) != shape]
    if wrong:
        found = tuple(weights[wrong[0]].shape)
        raise UserError(
            f"{path}: '{wrong[0]}' has shape {found}, {model} has {expected[wrong[0]]}"
            f"{_more(wrong)}.",
            hint="This file is of another model, or its configuration is.",
        )


def _missing(path: Path, missing: Sequence[str], unknown: Collection[str], model: str) -> UserError:
    guess = nearest(missing[0], unknown)
    cause = "its names were changed" if guess else "it is cut short or of another model"
    return UserError(
        f"{path}: '{missing[0]}' of {model} is missing{_near(guess)}{_more(missing)}.",
        hint=f"Get the published file: {cause}.",
    )


def _near(guess: str | None) -> str:
    return f"; nearest is '{guess}'" if guess else ""


def _more(keys: Sequence[str]) -> str:
    return f" ({len(keys)} keys like that)" if len(keys) > 1 else ""


def _checked(path: Path, key: str, value: Tensor) -> Tensor:
    if not is_finite(value):
        raise UserError(
            f"{path}: '{key}' holds numbers that are not finite "
            f"({count_not_finite(value)} of {value.numel()}).",
            hint=_AGAIN,
        )
    return value


def _read_safetensors(path: Path) -> Any:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    _opened(path).close()
    try:
        return load_file(path)
    except (SafetensorError, OSError) as failure:
        raise _damaged(path, failure) from failure


def _read_pickled(path: Path) -> Any:
    """What `torch.save` wrote into a zip archive, the form of the last six years."""
    _check_archive(path)
    try:
        return torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except pickle.UnpicklingError as failure:
        raise refused(
            path, unsafe_name(path, failure) or "objects that are not tensors"
        ) from failure
    except (RuntimeError, ValueError, OSError) as failure:
        raise _damaged(path, failure) from failure


def _check_archive(path: Path) -> None:
    """Check every checksum in the archive, for `torch.load` checks none."""
    with _opened(path) as stream:
        start = stream.read(64)
        if start.startswith(b"version https://git-lfs"):
            raise UserError(
                f"{path} is a Git LFS pointer, not the weights.", hint="Run: git lfs pull"
            )
        if not start.startswith(b"PK\x03\x04"):
            unsafe = unsafe_name(path)
            if unsafe:
                raise refused(path, unsafe)
            raise UserError(f"{path} is not an archive as torch.save writes them.", hint=_AGAIN)
        try:
            with zipfile.ZipFile(stream) as archive:
                members = archive.namelist()
                broken = archive.testzip()
        except (zipfile.BadZipFile, RuntimeError, ValueError, OSError) as failure:
            raise _damaged(path, failure) from failure
    if broken is not None:
        raise UserError(f"{path}: damaged: the checksum of {broken} is wrong.", hint=_AGAIN)
    if any(name.endswith("/constants.pkl") for name in members):
        raise UserError(
            f"{path} is a TorchScript program, not a file of weights.",
            hint="Give the same model's safetensors.",
        )


def _opened(path: Path) -> BinaryIO:
    try:
        return path.open("rb")
    except OSError as failure:
        raise UserError(f"Cannot read the weights {path}: {failure.strerror}.") from failure


def _damaged(path: Path, failure: Exception) -> UserError:
    first = str(failure).partition("\n")[0].rstrip(".")
    return UserError(f"{path}: cut off or damaged: {first}.", hint=_AGAIN)


def digest_of(files: Sequence[Path]) -> str:
    """The first 12 digits of a SHA-256 over some files: which weights graded, in a score row."""
    total = hashlib.sha256()
    for path in files:
        with path.open("rb") as stream:
            total.update(hashlib.file_digest(stream, "sha256").digest())
    return total.hexdigest()[:12]
