"""From a folder or hub id to a loaded network: transformers' class for its `model_type`.

Weights are read as every adapter's are (`weights`, `network_loading`): safetensors, or
`pytorch_model.bin` through `weights_only`; what is missing is named. Where transformers has no
class for the `model_type`, the code beside the weights is run if that is allowed, and never
otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from pairuni_eval.errors import UserError
from pairuni_eval.models.base import LoadOptions
from pairuni_eval.models.checkpoint import Located, checked_config, locate, read_config
from pairuni_eval.models.families import family_of
from pairuni_eval.models.network_loading import load_network
from pairuni_eval.models.placement import Placement, place
from pairuni_eval.models.remote_code import needs_code
from pairuni_eval.models.vlm.chat import Chat, read_chat
from pairuni_eval.models.weights import check_weights, joint_digest
from pairuni_eval.places import is_file

_AUTO = "AutoModelForImageTextToText"
_GENERATION = "generation_config.json"


class LoadedVLM(NamedTuple):
    """A checkpoint, loaded.

    Attributes:
        network: The network, on its device.
        chat: What makes its inputs of questions.
        located: Where the checkpoint lies.
        digest: SHA-256 over its weight files.
        placement: Where it runs.
        ran_code: Whether code of the checkpoint was run.
    """

    network: Any
    chat: Chat
    located: Located
    digest: str
    placement: Placement
    ran_code: bool


class _Kind(NamedTuple):
    """The class of a network and its configuration."""

    network: Any
    config: Any
    ran_code: bool


def load_vlm(checkpoint: str, options: LoadOptions) -> LoadedVLM:
    """Load a checkpoint, or one laid over another.

    Raises:
        UserError: for a checkpoint that is missing, damaged or of another kind, one whose code
            would have to be run, and for a processor that cannot show pictures to the model.
    """
    located = locate(checkpoint, code=options.remote_code)
    folder = located.folder
    kind = _kind(folder, read_config(folder), allowed=options.remote_code)
    chat = read_chat(folder, kind.config, allowed=options.remote_code)
    parts = [check_weights(one) for one in located if one is not None]
    placement = place(options, own=parts[0].dtype)
    network = load_network(
        kind.network,
        kind.config,
        {name: tensor for part in parts for name, tensor in part.tensors().items()},
        parts,
        folder=folder,
        dtype=placement.dtype,
        name=kind.network.__name__,
        # Weights laid over a base that fit nowhere would leave the base, measured under their name.
        strict=located.over is not None,
    )
    network.generation_config = _ends(folder, network, chat)
    network = network.to(placement.device).eval()
    placement.settle(sum(parameter.numel() for parameter in network.parameters()))
    ran_code = kind.ran_code or chat.ran_code
    return LoadedVLM(
        network, chat, located, joint_digest([part.digest for part in parts]), placement, ran_code
    )


def _kind(folder: Path, table: Mapping[str, Any], *, allowed: bool) -> _Kind:
    """The class for a configuration: transformers' own, else the checkpoint's where allowed."""
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING
    from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING

    model_type = str(table.get("model_type"))
    if (
        model_type in CONFIG_MAPPING
        and CONFIG_MAPPING[model_type] in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING
    ):
        kind = CONFIG_MAPPING[model_type]
        config = checked_config(kind, table, folder / "config.json")
        return _Kind(MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING[kind], config, False)
    if not table.get("auto_map"):
        raise _other_kind(folder, model_type)
    if not allowed:
        raise needs_code(folder)
    return _of_its_code(folder, table["auto_map"])


def _of_its_code(folder: Path, offered: Mapping[str, Any]) -> _Kind:
    from transformers import AutoConfig
    from transformers.dynamic_module_utils import get_class_from_dynamic_module

    if not isinstance(offered, dict) or _AUTO not in offered:
        raise UserError(
            f"{folder}: its code offers {', '.join(sorted(offered)) or 'nothing'}, and not "
            f"{_AUTO}, through which questions are answered.",
            hint="Take a copy of the model in transformers' own format (often called NAME-hf), or "
            "serve it in an environment of its own.",
        )
    try:
        config = AutoConfig.from_pretrained(folder, trust_remote_code=True)
        network = get_class_from_dynamic_module(offered[_AUTO], folder)
    except (OSError, ValueError, ImportError, AttributeError) as failure:
        raise UserError(f"{folder}: its code cannot be run: {failure}.") from failure
    return _Kind(network, config, True)


def _other_kind(folder: Path, model_type: object) -> UserError:
    family = family_of(folder)
    named = f" It is {family.name}." if family else ""
    hint = f"--model {family.adapter} takes it." if family else None
    return UserError(
        f"{folder}: transformers has no model of model_type '{model_type}' that answers questions "
        f"about images.{named}",
        hint=hint
        or "Newer models need a newer transformers: python -m pip install -U transformers",
    )


def _ends(folder: Path, network: Any, chat: Chat) -> Any:
    """Where an answer ends and what fills: all that is taken of the checkpoint's own generation.

    Temperatures, penalties and the like are what a decoding says, and nothing else.
    """
    from transformers import GenerationConfig

    published = network.generation_config
    if is_file(folder / _GENERATION):
        try:
            published = GenerationConfig.from_pretrained(folder)
        except (OSError, ValueError, TypeError) as failure:
            raise UserError(f"{folder / _GENERATION}: {failure}.") from failure
    end = published.eos_token_id
    return GenerationConfig(
        bos_token_id=published.bos_token_id,
        eos_token_id=chat.tokenizer.eos_token_id if end is None else end,
        pad_token_id=chat.tokenizer.pad_token_id,
        decoder_start_token_id=published.decoder_start_token_id,
    )
