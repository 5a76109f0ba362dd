"""From a checkpoint of either format to a `JanusPolicy`: transformers' classes are the engine.

What is missing or has no place is named; nothing is filled up with random numbers. The text head is
its own wherever the checkpoint holds it, whatever the configuration says of ties: transformers'
default would overwrite it.
"""

from __future__ import annotations

from collections.abc import Mapping
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
from pairuni_eval.models.janus.token_loop import check_compiler
from pairuni_eval.models.network_loading import load_network, without_place
from pairuni_eval.models.placement import Placement, place
from pairuni_eval.models.weights import Weights, check_weights, joint_digest
from pairuni_eval.places import is_file

if TYPE_CHECKING:
    from torch import Tensor

_HEAD = "lm_head.weight"
_NAME = "Janus"


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
        UserError: for a checkpoint that is missing, damaged or of another family, for tensors
            that are missing, broken or have no place, and for steps that cannot be compiled.
    """
    located = locate(checkpoint)
    table = read_config(located.folder)
    original = table.get("model_type") == MODEL_TYPE
    if not original and table.get("model_type") != "janus":
        raise UserError(f"{located.folder}: config.json is not of a Janus model.")
    parts = [check_weights(place) for place in located if place is not None]
    placement = place(options, own=parts[0].dtype)
    if options.compiled:
        check_compiler(placement.device)
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
    return LoadedJanus(
        policy, located, joint_digest([part.digest for part in parts]), placement, original
    )


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
        raise without_place(weights, named.unknown, name=_NAME)
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

    if _HEAD in tensors:
        model.config.tie_word_embeddings = False
    janus = load_network(
        JanusForConditionalGeneration,
        model.config,
        tensors,
        parts,
        folder=located.folder,
        dtype=placement.dtype,
        name=_NAME,
        strict=strict,
    )
    if model.generation is not None:
        janus.generation_config = model.generation
    return janus
