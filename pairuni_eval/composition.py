"""Specialists measured as one model, each capability by its own: `--checkpoint pair:FILE.toml`.

FILE gives a table to each capability that is measured::

    name = "Qwen2.5-VL and SDXL"            # else the file's name

    [understand]
    checkpoint = "Qwen/Qwen2.5-VL-3B-Instruct"
    model = "transformers"                  # as --model; else the checkpoint's own adapter

    [generate]
    checkpoint = "models/sdxl"              # a relative path begins at the file's folder
    model = "diffusers"

All parts are loaded at the start, for only a loaded part says what it can do and which weights it
is; a checkpoint that two tables name is loaded once. Decoding and batch sizes are those of the
part that is asked. The module stands above `adapters`, which find and load the parts, and is found
by them as every model is: through its entry point.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from pairuni_eval import catalog
from pairuni_eval.adapters import Resolved, expected_memory, find_adapter, load_model
from pairuni_eval.config import Strict, read_record
from pairuni_eval.decoding import Decoding
from pairuni_eval.errors import UserError
from pairuni_eval.models.base import LoadOptions, Memory, Model, Reply, Request
from pairuni_eval.models.checkpoint import is_hub_id
from pairuni_eval.places import exists, is_file, is_folder
from pairuni_eval.records import Capability, ModelIdentity
from pairuni_eval.seeds import stable_hash
from pairuni_eval.shipped import SHIPPED

_ADAPTER = "pair"
_OVER = "+"  # BASE+WEIGHTS
_FORM = 'e.g. [understand] and [generate], each with checkpoint = "..."'


class PartTable(Strict, frozen=True, kw_only=True):
    """Which model one capability is given to.

    Attributes:
        checkpoint: As after --checkpoint; a relative path begins at the file's folder.
        model: Adapter instead of the checkpoint's own.
        arguments: As --model-args, for an adapter that takes them.
    """

    checkpoint: str
    model: str | None = None
    arguments: dict[str, str | int | float | bool] = {}


class CompositionFile(Strict, frozen=True, kw_only=True):
    """The file of a composition: a table for each capability, at least one."""

    name: str | None = None
    understand: PartTable | None = None
    generate: PartTable | None = None
    edit: PartTable | None = None


class _Part(NamedTuple):
    """A table of the file with its checkpoint found; parts of one `key` are one model."""

    capability: Capability
    found: Resolved
    arguments: Mapping[str, str]

    @property
    def key(self) -> tuple[Resolved, tuple[tuple[str, str], ...]]:
        return self.found, tuple(sorted(self.arguments.items()))


class ComposedModel(Model):
    """See the module docstring.

    Args:
        name: What the composition is called.
        parts: The model of each capability.
    """

    def __init__(self, name: str, parts: Mapping[Capability, Model]) -> None:
        self._parts = dict(parts)
        self.capabilities = frozenset(parts)
        self.hardware = _listed(part.hardware for part in parts.values())
        self.ran_remote_code = any(part.ran_remote_code for part in parts.values())
        self.packages = tuple(
            dict.fromkeys(name for part in parts.values() for name in part.packages)
        )
        identities = {capability: part.identity for capability, part in parts.items()}
        self.identity = ModelIdentity(
            adapter=_ADAPTER,
            name=name,
            weights=stable_hash(
                "composition/1",
                [[str(key), one.adapter, one.weights] for key, one in sorted(identities.items())],
            ),
            dtype=_listed(one.dtype for one in identities.values()),
            parts=identities,
        )

    @classmethod
    def load(cls, checkpoint: str, options: LoadOptions) -> ComposedModel:
        """Load every part; see `Model.load`.

        Raises:
            UserError: naming the file and the table: for an unknown key, a part that cannot be
                found or loaded, or one that lacks the capability it is named for.
        """
        file = Path(checkpoint)
        name, parts = _read(file)
        loaded: dict[object, Model] = {}
        for part in parts:
            with _inside(file, part.capability):
                if part.key not in loaded:
                    loaded[part.key] = _load(part, options)
                _check_able(part, loaded[part.key])
        return cls(name, {part.capability: loaded[part.key] for part in parts})

    @classmethod
    def memory(cls, checkpoint: str, options: LoadOptions) -> Memory | None:
        """The sum over the parts; None if one of them cannot tell. See `Model.memory`.

        Parts that hand out what was made before have no weights.
        """
        file = Path(checkpoint)
        _, parts = _read(file)
        told: dict[object, Memory] = {}
        for part in parts:
            if not getattr(catalog.import_plugin("models", part.found.adapter), "live", True):
                continue
            with _inside(file, part.capability):
                one = expected_memory(part.found.location, part.found.adapter, _for(part, options))
            if one is None:
                return None
            told[part.key] = one
        if not told:
            return None
        return Memory(
            sum(one.weights for one in told.values()),
            _listed(one.dtype for one in told.values()),
            _listed(one.device for one in told.values()),
        )

    def is_live(self, capability: Capability) -> bool:
        """As the part that is asked; see `Model.is_live`."""
        part = self._parts.get(capability)
        return part is None or part.is_live(capability)

    def batch_size(self, capability: Capability) -> int:
        """As the part that is asked."""
        part = self._parts.get(capability)
        return super().batch_size(capability) if part is None else part.batch_size(capability)

    def decoding(self, capability: Capability, benchmark: str, card: Decoding) -> Decoding:
        """As the part that is asked; see `Model.decoding`."""
        part = self._parts.get(capability)
        return card if part is None else part.decoding(capability, benchmark, card)

    def settings(self, capability: Capability) -> frozenset[str] | None:
        """As the part that is asked; see `Model.settings`."""
        part = self._parts.get(capability)
        return None if part is None else part.settings(capability)

    def presets(self, capability: Capability) -> Mapping[str, Decoding]:
        """As the part that is asked."""
        part = self._parts.get(capability)
        return super().presets(capability) if part is None else part.presets(capability)

    def answer(self, requests: Sequence[Request]) -> list[Reply]:
        """By the part of [understand]."""
        return self._parts[Capability.UNDERSTAND].answer(requests)

    def draw(self, requests: Sequence[Request]) -> list[Reply]:
        """By the part of [generate]."""
        return self._parts[Capability.GENERATE].draw(requests)

    def edit(self, requests: Sequence[Request]) -> list[Reply]:
        """By the part of [edit]."""
        return self._parts[Capability.EDIT].edit(requests)


def _read(file: Path) -> tuple[str, list[_Part]]:
    """The name of a composition and its parts, each with its checkpoint found.

    Raises:
        UserError: for a file of another form, and as `find_adapter`.
    """
    if not is_file(file):
        raise UserError(f"There is no file {file}.", hint=f"A composition is a TOML file, {_FORM}.")
    record = read_record(file, CompositionFile)
    tables = {capability: getattr(record, capability.value) for capability in Capability}
    given = {capability: table for capability, table in tables.items() if table is not None}
    if not given:
        raise UserError(f"{file}: no capability has a model.", hint=f"Give tables, {_FORM}.")
    parts = []
    for capability, table in given.items():
        with _inside(file, capability):
            found = find_adapter(_from_file(table.checkpoint, file), table.model)
            if found.adapter == _ADAPTER:
                raise UserError(
                    f"{table.checkpoint} is a composition itself, and a part is one model.",
                    hint="Name the model that it gives this capability to.",
                )
        arguments = {key: str(value) for key, value in table.arguments.items()}
        parts.append(_Part(capability, found, arguments))
    return record.name or file.stem, parts


@contextmanager
def _inside(file: Path, capability: Capability) -> Iterator[None]:
    """Name the file and the table in whatever error the block raises."""
    try:
        yield
    except UserError as failure:
        place = f"{file}, [{capability.value}]"
        raise UserError(f"{place}: {failure.message}", hint=failure.hint) from failure


def _load(part: _Part, options: LoadOptions) -> Model:
    return load_model(part.found.location, part.found.adapter, _for(part, options))


def _for(part: _Part, options: LoadOptions) -> LoadOptions:
    """The options of a part, which has a folder of its own for what it remembers."""
    folder = options.folder and options.folder / part.capability.value
    return replace(options, arguments=part.arguments, folder=folder)


def _check_able(part: _Part, model: Model) -> None:
    if part.capability not in model.capabilities:
        able = ", ".join(sorted(one.value for one in model.capabilities))
        raise UserError(
            f"{model.identity.name} ({model.identity.adapter}) cannot {part.capability.value}; it "
            f"can: {able or 'nothing'}.",
            hint="Name another model, or leave this table out: its benchmarks are skipped then.",
        )


def _from_file(checkpoint: str, file: Path) -> str:
    """A checkpoint as it is written in a file, with relative paths beginning at its folder."""

    def path(text: str) -> str:
        return _path(text, file)

    prefix, colon, rest = checkpoint.partition(":")
    if colon and prefix in catalog.plugin_names("models"):
        return f"{prefix}:{path(rest)}"
    if _OVER in checkpoint and not is_folder(file.parent / checkpoint):
        return _OVER.join(path(one) for one in checkpoint.split(_OVER))
    return path(checkpoint)


def _path(text: str, file: Path) -> str:
    """A path from the file's folder where something lies there; else the text itself.

    Raises:
        UserError: for what lies in the current folder only: nobody could tell later which was
            meant.
    """
    given = Path(text).expanduser()
    if text in SHIPPED or given.is_absolute():
        return text
    beside = file.parent / given
    if exists(beside):
        return str(beside.resolve())
    if exists(given):
        raise UserError(
            f"{text} lies in the current folder; paths in the file begin at its own, "
            f"{file.parent.resolve()}, and there is none.",
            hint=f"Write {given.resolve()}.",
        )
    if "/" in text and not is_hub_id(text):
        return str(beside)
    return text


def _listed(words: Iterable[str]) -> str:
    """Different words in order, between commas."""
    return ", ".join(dict.fromkeys(words))
