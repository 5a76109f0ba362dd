"""Which family of models a folder is of, from the files that say so; for errors that name it.

The files are those that each family's own code writes. What is told is a name and the adapter that
would take it: a folder of another family, or one whose config.json is damaged, is refused in words
that help.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from pairuni_eval.errors import UserError
from pairuni_eval.models.checkpoint import PIPELINE, read_object
from pairuni_eval.places import is_file

# By `model_type`, as their publishers write it: the name, and the adapter that takes it.
_BY_TYPE = {
    "janus": ("Janus", "janus"),
    "multi_modality": ("Janus in DeepSeek's original format", "janus"),
    "bagel": ("BAGEL", "bagel"),
    "llada": ("Lumina-DiMOO, or another LLaDA", "llada"),
    "mmada": ("MMaDA", "bridge"),
    "omnigen2": ("OmniGen2", "bridge"),
    "emu3": ("Emu3", "transformers"),
    "showo": ("Show-o", "bridge"),
}
# Adapters that read folders whose files say what they are.
TAKEN_BY = frozenset({"janus", "bagel", "llada", "transformers", "diffusers"})
# By the class of a processor, where config.json says nothing.
_BY_PROCESSOR = {"VLChatProcessor": "multi_modality", "JanusProcessor": "janus"}
_PROCESSORS = ("processor_config.json", "preprocessor_config.json")
_BAGEL = ("llm_config.json", "vit_config.json", "ae.safetensors")


class ModelFamily(NamedTuple):
    """A family of models.

    Attributes:
        name: What people call it.
        adapter: The adapter that takes it, as after `--model`.
        needs_config: Whether that adapter reads config.json; else other files say it all.
    """

    name: str
    adapter: str
    needs_config: bool = True


def family_of(folder: Path) -> ModelFamily | None:
    """The family that a folder's files name; None if none of them does."""
    if is_file(folder / PIPELINE):
        kind = _quietly(folder / PIPELINE).get("_class_name", "of an unnamed class")
        return ModelFamily(f"a diffusers pipeline ({kind})", "diffusers", needs_config=False)
    if all(is_file(folder / name) for name in _BAGEL):
        return ModelFamily(*_BY_TYPE["bagel"], needs_config=False)
    model_type = _quietly(folder / "config.json").get("model_type")
    for file in _PROCESSORS:
        model_type = model_type or _BY_PROCESSOR.get(
            str(_quietly(folder / file).get("processor_class"))
        )
    if model_type in _BY_TYPE:
        return ModelFamily(*_BY_TYPE[model_type])
    if model_type and _answers_with_images(str(model_type)):
        return ModelFamily(f"{model_type}, which answers questions about images", "transformers")
    return None


def _quietly(path: Path) -> Mapping[str, Any]:
    """A JSON object; empty where there is none that can be read."""
    try:
        return read_object(path) if is_file(path) else {}
    except UserError:
        return {}


def _answers_with_images(model_type: str) -> bool:
    from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES

    return model_type in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES
