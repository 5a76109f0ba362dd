"""A folder of a diffusers pipeline: which class it is, which parts it names, and their weights.

`model_index.json` names a pipeline's class and, for every part, a library and a class. A part with
weights is read strictly (`network_loading`), from safetensors alone; the rest (schedulers,
tokenizers) is left to diffusers. Code that lies in the folder is run where that is allowed, and a
pipeline that would load further repositories is refused.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from pairuni_eval.errors import UserError, offer
from pairuni_eval.models.checkpoint import PIPELINE, checked_config, read_config, read_object
from pairuni_eval.models.diffusion.quiet import quietly
from pairuni_eval.models.families import family_of
from pairuni_eval.models.network_loading import check_names, load_network
from pairuni_eval.models.remote_code import needs_code
from pairuni_eval.models.weights import Weights, check_weights, numbers_in, variant_of
from pairuni_eval.places import is_file, is_folder

if TYPE_CHECKING:
    import torch

_WHOLE = "Copy the whole folder, or download it again."


class PipelinePart(NamedTuple):
    """A part of a pipeline, as model_index.json names it.

    Attributes:
        name: What the pipeline calls it, and its folder: "unet".
        kind: Its class; None where only code of the folder can tell.
        place: Its folder.
    """

    name: str
    kind: Any
    place: Path

    @property
    def is_network(self) -> bool:
        """Whether it is a network of diffusers or transformers, which is loaded strictly."""
        from diffusers import ModelMixin
        from transformers import PreTrainedModel

        return self.kind is not None and issubclass(self.kind, (ModelMixin, PreTrainedModel))

    @property
    def has_weights(self) -> bool:
        """Whether there are safetensors in its folder."""
        return any(self.place.glob("*.safetensors"))


class PipelineFolder(NamedTuple):
    """A pipeline that can be loaded.

    Attributes:
        folder: Where it lies.
        kind: Its class; None where only code of the folder can tell.
        parts: Every part that the index names, by name.
        own_code: Whether code of the folder has to be run.
    """

    folder: Path
    kind: Any
    parts: tuple[PipelinePart, ...]
    own_code: bool

    @property
    def networks(self) -> list[PipelinePart]:
        """The parts that are loaded strictly, by name."""
        return [part for part in self.parts if part.is_network]

    def numbers(self) -> Counter[str]:
        """How many numbers of each precision there are in all its weights; reads none."""
        total: Counter[str] = Counter()
        for part in self.parts:
            total.update(numbers_in(part.place) if part.has_weights else {})
        return total

    def weights(self) -> dict[str, Weights]:
        """The checked weights of every part that has some, by its name."""
        return {part.name: check_weights(part.place) for part in self.parts if part.has_weights}

    def load(self, weights: Mapping[str, Weights], dtype: torch.dtype) -> Any:
        """The pipeline, on the CPU.

        Args:
            weights: As `weights` gives them.
            dtype: The precision to hold it in.

        Raises:
            UserError: naming tensors that are missing or not finite, and for what diffusers
                refuses.
        """
        from diffusers import DiffusionPipeline

        with quietly():
            networks = {
                part.name: _network(part, weights[part.name], dtype) for part in self.networks
            }
            pictures = {
                part.name: one for part in self.parts if (one := _without_torchvision(part))
            }
            try:
                pipeline = (self.kind or DiffusionPipeline).from_pretrained(
                    self.folder,
                    **networks,
                    **pictures,
                    dtype=dtype,
                    use_safetensors=True,
                    local_files_only=True,
                    trust_remote_code=self.own_code,
                )
            except (
                *(OSError, ValueError, RuntimeError, KeyError),
                *(ImportError, TypeError, AttributeError),
            ) as failure:
                raise UserError(
                    f"{self.folder}: cannot be loaded as {self.title}: {failure}.", hint=_WHOLE
                ) from failure
        return pipeline

    @property
    def title(self) -> str:
        """What people call it."""
        return self.kind.__name__ if self.kind else "a pipeline of its own code"


def read_pipeline_folder(folder: Path, *, allowed: bool) -> PipelineFolder:
    """Read model_index.json and look for everything it names; loads no weights.

    Args:
        folder: The pipeline.
        allowed: Whether code of the folder may be run.

    Raises:
        UserError: if this is no pipeline, if a part is absent or of an unknown class, if there are
            no safetensors of one, or if code would have to be run.
    """
    if not is_file(folder / PIPELINE):
        raise _no_pipeline(folder)
    table = read_object(folder / PIPELINE)
    found = [
        _part(folder, name, *value)
        for name, value in sorted(table.items())
        if not name.startswith("_") and isinstance(value, list) and len(value) == 2 and value[0]
    ]
    named = table.get("_class_name")
    own_code = not isinstance(named, str) or any(part.kind is None for part in found)
    if own_code and not allowed:
        raise needs_code(folder)
    kind = _pipeline_class(folder, named) if isinstance(named, str) else None
    pipeline = PipelineFolder(folder, kind, tuple(found), own_code)
    for part in pipeline.networks:
        if not part.has_weights:
            raise _no_safetensors(part)
    if not any(part.has_weights for part in pipeline.parts):
        raise UserError(f"{folder / PIPELINE} names no part that has weights.", hint=_WHOLE)
    return pipeline


def _pipeline_class(folder: Path, name: str) -> Any:
    import diffusers

    kind = getattr(diffusers, name, None)
    if not (isinstance(kind, type) and issubclass(kind, diffusers.DiffusionPipeline)):
        known = [one for one in dir(diffusers) if one.endswith("Pipeline")]
        raise UserError(
            f"{folder / PIPELINE}: diffusers {diffusers.__version__} has no pipeline '{name}'."
            + offer(name, known),
            hint="Newer pipelines need a newer diffusers: python -m pip install -U diffusers",
        )
    if getattr(kind, "_load_connected_pipes", False):
        raise UserError(
            f"{folder}: {name} loads further repositories, which would not be part of what is "
            "measured.",
            hint="Give a pipeline that has all its parts in one folder.",
        )
    return kind


def _part(folder: Path, name: str, library: object, kind: object) -> PipelinePart:
    """A part that the index names.

    Raises:
        UserError: if its folder is absent, or nobody has such a class.
    """
    place = folder / name
    if not is_folder(place):
        raise UserError(
            f"{folder / PIPELINE} names the part '{name}', and there is no folder {place}.",
            hint=_WHOLE,
        )
    if is_file(place / f"{library}.py"):
        return PipelinePart(name, None, place)
    from diffusers.pipelines.pipeline_loading_utils import simple_get_class_obj

    try:
        with quietly():
            found = simple_get_class_obj(library, kind)
    except (ValueError, AttributeError, ImportError, TypeError) as failure:
        raise _no_class(folder, name, library, kind) from failure
    if not (isinstance(found, type) and hasattr(found, "from_pretrained")):
        raise _no_class(folder, name, library, kind)
    return PipelinePart(name, found, place)


def _network(part: PipelinePart, weights: Weights, dtype: torch.dtype) -> Any:
    """A part that has weights, every tensor in its place."""
    from transformers import PreTrainedModel

    name = f"'{part.name}' ({part.kind.__name__})"
    if issubclass(part.kind, PreTrainedModel):
        table = read_config(part.place)
        config = checked_config(part.kind.config_class, table, part.place / "config.json")
        return load_network(
            part.kind,
            config,
            weights.tensors(),
            [weights],
            folder=part.place,
            dtype=dtype,
            name=name,
            strict=False,
        )
    try:
        network, found = part.kind.from_pretrained(
            part.place,
            dtype=dtype,
            use_safetensors=True,
            variant=variant_of(weights.files[0]),
            local_files_only=True,
            output_loading_info=True,
        )
    except (OSError, ValueError, RuntimeError, KeyError, ImportError, TypeError) as failure:
        raise UserError(f"{part.place}: cannot be loaded as {name}: {failure}.") from failure
    check_names(found, [weights], folder=part.place, name=name, strict=False)
    return network


def _without_torchvision(part: PipelinePart) -> Any:
    """A processor of images whose class needs torchvision, through Pillow; None for other parts."""
    from transformers import AutoImageProcessor
    from transformers.utils import is_torchvision_available

    if is_torchvision_available() or not is_file(part.place / "preprocessor_config.json"):
        return None
    try:
        return AutoImageProcessor.from_pretrained(part.place, trust_remote_code=False)
    except (OSError, ValueError, ImportError):
        return None  # diffusers says what is wrong with it


def _no_pipeline(folder: Path) -> UserError:
    family = family_of(folder)
    named = f" It is {family.name}." if family else ""
    return UserError(
        f"{folder} is not a diffusers pipeline: it has no {PIPELINE}.{named}",
        hint=f"--model {family.adapter} takes it."
        if family
        else "Give the folder that save_pretrained of a pipeline wrote.",
    )


def _no_class(folder: Path, name: str, library: object, kind: object) -> UserError:
    return UserError(
        f"{folder / PIPELINE}: the part '{name}' is a {kind} of {library}, and no such part is "
        "installed here.",
        hint="Newer parts need newer packages: python -m pip install -U diffusers transformers",
    )


def _no_safetensors(part: PipelinePart) -> UserError:
    files = ", ".join(sorted(one.name for one in part.place.iterdir())) or "nothing"
    return UserError(
        f"{part.place} holds no *.safetensors, and of a pipeline nothing else is read. It holds: "
        f"{files}.",
        hint="Save it again: DiffusionPipeline.from_pretrained(SRC).save_pretrained(DST)",
    )
