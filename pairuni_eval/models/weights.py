"""The weights of a checkpoint: which files they are, whether they are whole, what they hold.

Safetensors, or `pytorch_model.bin` (one file or shards) unpickled with `weights_only`, which builds
tensors and runs nothing. Where a folder has both, safetensors are read.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from pairuni_eval.errors import UserError
from pairuni_eval.places import is_file

if TYPE_CHECKING:
    from torch import Tensor

_NAMED = 3  # tensors that an error names
_FORMS = ("*.safetensors", "pytorch_model*.bin")
_PICKLED = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")
_INDEX = ".index.json"
# model.fp16.safetensors, model.fp16-00001-of-00002.safetensors: the same weights in other numbers
_VARIANT = re.compile(r"[^.]+\.(?P<name>[A-Za-z]\w*)(-\d{5}-of-\d{5})?\.(safetensors|bin)")


class Broken(NamedTuple):
    """A tensor of a file that holds `values` numbers, of `size`, that are not finite."""

    file: Path
    name: str
    values: int
    size: int


class Weights(NamedTuple):
    """The weights in a folder, or of a file.

    Attributes:
        files: In the order of their names, each found whole.
        digest: SHA-256 over the files in that order.
        names: Names of all tensors.
        broken: Tensors with numbers that are not finite.
        numbers: How many numbers there are of each precision, by its name in torch.
    """

    files: tuple[Path, ...]
    digest: str
    names: tuple[str, ...]
    broken: tuple[Broken, ...]
    numbers: Mapping[str, int]

    @property
    def wrapper(self) -> str:
        """What a wrapper put before the name of every tensor, e.g. "module."; may be empty."""
        from pairuni_eval.models.weight_file import wrapper_of

        return wrapper_of(self.names)

    @property
    def dtype(self) -> str:
        """The precision most of the numbers have, e.g. "bfloat16"."""
        return own_precision(self.numbers)

    def tensors(self) -> dict[str, Tensor]:
        """Every tensor by its name without the wrapper, mapped into memory."""
        from pairuni_eval.models.weight_file import read_tensors

        wrapper = self.wrapper
        return {
            name.removeprefix(wrapper): tensor
            for path in self.files
            for name, tensor in read_tensors(path).items()
        }

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


def check_weights(place: Path) -> Weights:
    """The weights of a folder or a file, each file found whole, hashed, its numbers looked at.

    Whether tensors with NaN or infinities matter is for the caller to say, who knows which of them
    are loaded: see `Weights.refuse_broken`. Holds a file at a time, mapped.

    Raises:
        UserError: if there are no weights, if they need more than `weights_only` to be read, or if
            a file is missing, cut off or damaged.
    """
    from pairuni_eval.finite import count_not_finite, is_finite

    files = checkpoint_files(place)
    digest = hashlib.sha256()
    names: list[str] = []
    broken: list[Broken] = []
    numbers: Counter[str] = Counter()
    for path in files:
        for name, tensor in _tensors(path):
            names.append(name)
            numbers[_precision(tensor)] += tensor.numel()
            if not is_finite(tensor):
                broken.append(Broken(path, name, count_not_finite(tensor), tensor.numel()))
        digest.update(_file_digest(path))
    return Weights(files, digest.hexdigest(), tuple(names), tuple(broken), dict(numbers))


def digest_of(place: Path) -> str:
    """The digest that `check_weights` finds, without a look at what the files hold.

    Raises:
        UserError: as `checkpoint_files`.
    """
    digest = hashlib.sha256()
    for path in checkpoint_files(place):
        digest.update(_file_digest(path))
    return digest.hexdigest()


def _file_digest(path: Path) -> bytes:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").digest()


def joint_digest(digests: Sequence[str]) -> str:
    """One digest of the weights in several places: folders and subfolders that a model is made of.

    Of a single place it is that place's own.
    """
    if len(digests) == 1:
        return digests[0]
    return hashlib.sha256("+".join(digests).encode()).hexdigest()


def numbers_in(place: Path) -> Counter[str]:
    """How many numbers of each precision the weights of a folder or a file have; reads none.

    Raises:
        UserError: as `check_weights`, but for what only the numbers themselves can tell.
    """
    numbers: Counter[str] = Counter()
    for path in checkpoint_files(place):
        for _, tensor in _tensors(path):
            numbers[_precision(tensor)] += tensor.numel()
    return numbers


def own_precision(numbers: Mapping[str, int]) -> str:
    """The precision most of the numbers have, e.g. "bfloat16"; float32 where none is one."""
    floating = {name: count for name, count in numbers.items() if "float" in name}
    return max(floating, key=lambda name: floating[name], default="float32")


def _precision(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def checkpoint_files(place: Path) -> tuple[Path, ...]:
    """The files that hold the weights of a folder, in the order of their names; a file is itself.

    Raises:
        UserError: if there are none, or one that the index names is missing.
    """
    if is_file(place):
        return (place,)
    for pattern in _FORMS:
        found = sorted(place.glob(pattern))
        if not found:
            continue
        for index in sorted(place.glob(f"{pattern}{_INDEX}")):
            if place / index.name.removesuffix(_INDEX) not in found:
                return tuple(_of_index(index))
        return tuple(_of_one_variant(found))
    raise _no_weights(place)


def variant_of(path: Path) -> str | None:
    """The name of the variant that a file of weights is of, e.g. "fp16"; None for a plain one."""
    variant = _VARIANT.fullmatch(path.name)
    return variant["name"] if variant else None


def _of_one_variant(files: Sequence[Path]) -> list[Path]:
    """The plain files, without variants beside them; where there is none, those of the variant.

    Raises:
        UserError: if there are several variants and nothing plain.
    """
    plain = [path for path in files if variant_of(path) is None]
    if not plain and len({variant_of(path) for path in files}) > 1:
        names = ", ".join(path.name for path in files)
        raise UserError(
            f"{files[0].parent} holds several variants of the weights: {names}.",
            hint="Keep one of them in a folder of its own, with the other files beside it.",
        )
    return plain or list(files)


def _of_index(index: Path) -> list[Path]:
    """The shards that an index names.

    Raises:
        UserError: for one that is missing or lies elsewhere, or an index that cannot be read.
    """
    try:
        shards = {str(name) for name in json.loads(index.read_bytes())["weight_map"].values()}
    except (ValueError, KeyError, TypeError, AttributeError) as failure:
        raise UserError(
            f"{index}: not an index of weights: {failure}.", hint="Copy or download it again."
        ) from failure
    paths = [index.parent / name for name in sorted(shards)]
    for path in paths:
        if path.parent != index.parent or not path.is_file():
            raise UserError(
                f"{index} names {path.name}, and there is no such file beside it.",
                hint="Copy the whole checkpoint, every shard of it.",
            )
    return paths


def _tensors(path: Path) -> Iterator[tuple[str, Tensor]]:
    from safetensors import SafetensorError, safe_open

    if path.suffix != ".safetensors":
        from pairuni_eval.models.weight_file import read_tensors

        yield from read_tensors(path).items()
        return
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
        return UserError(f"{folder} holds no model weights (*.safetensors or pytorch_model.bin).")
    return UserError(
        f"{folder} holds no weights under their usual names (*.safetensors, pytorch_model.bin), "
        f"but {pickled[0]}.",
        hint=f"A file of weights is laid over its base: --checkpoint BASE+{folder / pickled[0]}",
    )
