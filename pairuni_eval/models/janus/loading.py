"""From a checkpoint of either format to a `JanusPolicy`: transformers' classes are the engine.

Files are mapped and parameters point into them where the precision is the same: a model takes the
memory of its weights once. What is missing or has no place is named; nothing is filled up with
random numbers. The text head is its own wherever the checkpoint holds it, whatever the
configuration says of ties: transformers' default would overwrite it.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from pairuni_eval.errors import UserError
from pairuni_eval.models.base import LoadOptions
from pairuni_eval.models.checkpoint import Located, checked_config, locate, read_config
from pairuni_eval.models.janus.original_config import MODEL_TYPE, config_of
from pairuni_eval.models.janus.original_files import OriginalFiles, read_original_files
from pairuni_eval.models.janus.original_names import from_original, is_original
from pairuni_eval.models.janus.original_processor import processor_of, tokenizer_of
from pairuni_eval.models.janus.policy import JanusPolicy
from pairuni_eval.models.placement import Placement, place
from pairuni_eval.models.weight_file import WRAPPERS
from pairuni_eval.models.weights import Weights, check_weights, joint_digest
from pairuni_eval.places import is_file

if TYPE_CHECKING:
    from torch import Tensor

_HEAD = "lm_head.weight"
_NAMED = 3  # tensors that a message names


class LoadedJanus(NamedTuple):
    """A checkpoint, loaded.

    Attributes:
        policy: The model with its processor.
        located: Where the checkpoint lies.
        digest: SHA-256 over its weight files.
        placement: Where it runs.
        original: True if it is in DeepSeek's original format.
    """

    policy: JanusPolicy
    located: Located
    digest: str
    placement: Placement
    original: bool


def load_janus(checkpoint: str, options: LoadOptions) -> LoadedJanus:
    """Load a checkpoint of either format, or one laid over another.

    Raises:
        UserError: for a checkpoint that is missing, damaged or of another family, and for tensors
            that are missing, broken or have no place.
    """
    located = locate(checkpoint)
    table = read_config(located.folder)
    original = table.get("model_type") == MODEL_TYPE
    if not original and table.get("model_type") != "janus":
        raise UserError(f"{located.folder}: config.json is not of a Janus model.")
    parts = [check_weights(place) for place in located if place is not None]
    placement = place(options, own=parts[0].dtype)
    tensors: dict[str, Tensor] = {}
    unread: dict[str, Tensor] = {}
    for part in parts:
        named = _by_transformers_names(part)
        tensors |= named.tensors
        unread |= named.unread
    files: OriginalFiles | None
    if original:
        files = OriginalFiles.of_folder(located.folder, unread)
        model = _of_original(located.folder, table, tensors)
    else:
        files = read_original_files(located.folder)
        model = _of_transformers(located.folder, table)
    # Weights laid over a base that fit nowhere would leave the base, measured under their name.
    strict = original or located.over is not None
    janus = _build(located, parts, tensors, model, placement, strict=strict)
    policy = JanusPolicy(
        janus.to(placement.device), model.processor, compiled=options.compiled, original=files
    )
    placement.settle(policy.size())
    return LoadedJanus(policy, located, joint_digest(parts), placement, original)


class _Blueprint(NamedTuple):
    """What is built before the weights go in."""

    config: Any
    generation: Any  # transformers' generation config, None for its default
    processor: Any


def _by_transformers_names(weights: Weights) -> Any:
    from pairuni_eval.models.janus.original_names import Original

    tensors = weights.tensors()
    if not is_original(tensors):
        return Original(tensors, {}, ())
    named = from_original(tensors)
    if named.unknown:
        raise _extra(weights, named.unknown)
    return named


def _of_original(
    folder: Path, table: Mapping[str, Any], tensors: Mapping[str, Tensor]
) -> _Blueprint:
    from transformers import GenerationConfig

    tokenizer = tokenizer_of(folder)
    ids = {
        f"{name}_token_id": tokenizer.convert_tokens_to_ids(getattr(tokenizer, f"{name}_token"))
        for name in ("pad", "bos", "eos", "image", "boi")
    }
    begin = ids.pop("boi_token_id")
    config = config_of(table, tensors, ids=ids, place=folder / "config.json")
    vision = config.vision_config
    processor = processor_of(
        folder, tokenizer, image_size=vision.image_size, image_tokens=vision.num_image_tokens
    )
    ids.pop("image_token_id")
    generation = GenerationConfig(**ids, generation_kwargs={"boi_token_id": begin})
    return _Blueprint(config, generation, processor)


def _of_transformers(folder: Path, table: Mapping[str, Any]) -> _Blueprint:
    from transformers import AutoProcessor, GenerationConfig, JanusConfig

    config = checked_config(JanusConfig, table, folder / "config.json")
    try:
        processor = AutoProcessor.from_pretrained(folder)
        has = is_file(folder / "generation_config.json")
        generation = GenerationConfig.from_pretrained(folder) if has else None
    except (OSError, ValueError, KeyError, TypeError) as failure:
        raise UserError(f"{folder}: cannot be loaded as Janus: {failure}.") from failure
    return _Blueprint(config, generation, processor)


def _build(
    located: Located,
    parts: list[Weights],
    tensors: dict[str, Tensor],
    model: _Blueprint,
    placement: Placement,
    *,
    strict: bool,
) -> Any:
    """Transformers' `JanusForConditionalGeneration` with every tensor in its place."""
    from transformers import JanusForConditionalGeneration
    from transformers.utils import logging as transformers_logging

    transformers_logging.disable_progress_bar()
    if _HEAD in tensors:
        model.config.tie_word_embeddings = False
    try:
        with _without_its_report():
            janus, found = JanusForConditionalGeneration.from_pretrained(
                None,
                config=model.config,
                state_dict=tensors,
                dtype=placement.dtype,
                output_loading_info=True,
            )
    except (OSError, ValueError, RuntimeError, KeyError) as failure:
        raise UserError(f"{located.folder}: cannot be loaded as Janus: {failure}.") from failure
    if found["missing_keys"]:
        # transformers would fill them with random numbers and go on.
        raise _missing(located.folder, parts[0], found["missing_keys"])
    unexpected = sorted(found["unexpected_keys"])
    if unexpected and strict:
        raise _extra(parts[-1], unexpected)
    for part in parts:
        part.refuse_broken(unread=unexpected)
        _tell_wrapper(part)
    if unexpected:
        _note(f"{located.folder}: {_some(unexpected)} have no place in Janus and are not read.")
    if model.generation is not None:
        janus.generation_config = model.generation
    return janus


@contextmanager
def _without_its_report() -> Iterator[None]:
    """Keep transformers from telling what it would fill up: here that is refused."""
    reporter = logging.getLogger("transformers.modeling_utils")

    def nothing(_: logging.LogRecord) -> bool:
        return False

    reporter.addFilter(nothing)  # its level decides over more than what is told
    try:
        yield
    finally:
        reporter.removeFilter(nothing)


def _tell_wrapper(part: Weights) -> None:
    if part.wrapper:
        _note(
            f"{part.files[0].parent}: every weight's name begins with '{part.wrapper}', which a "
            "wrapper put there; without it all of them fit."
        )


def _note(text: str) -> None:
    logging.getLogger(__name__).warning("Note: %s", text)


def _some(names: Collection[str]) -> str:
    shown = sorted(names)[:_NAMED]
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return f"{', '.join(shown)}{more}"


def _extra(weights: Weights, names: Collection[str]) -> UserError:
    return UserError(
        f"{weights.files[0].parent}: {len(names)} tensors have no place in Janus: {_some(names)}.",
        hint="This is another model, or one with parts that Janus does not have; save Janus' own "
        "tensors alone.",
    )


def _missing(folder: Path, weights: Weights, missing: Collection[str]) -> UserError:
    """Weights that the checkpoint lacks, or has under names that a wrapper changed."""
    wrapped = {
        prefix: sum(name.startswith(prefix) for name in weights.names) for prefix in WRAPPERS
    }
    prefix = max(WRAPPERS, key=lambda one: wrapped[one])
    told = f"{folder}: {len(missing)} weights are missing, e.g. {min(missing)}."
    if not wrapped[prefix]:
        return UserError(
            told,
            hint="Copy the whole checkpoint, every shard of it; or take the rest from the model "
            f"that was trained: --checkpoint BASE+{folder}",
        )
    return UserError(
        f"{told} {wrapped[prefix]} of the names in it begin with '{prefix}', which a wrapper "
        "(torch.compile, data-parallel training, peft) puts there.",
        hint="Save the model that is inside the wrapper; merge adapters first "
        "(peft: merge_and_unload).",
    )
