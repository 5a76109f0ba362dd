"""What of a checkpoint in DeepSeek's original format has no place in transformers'.

Its configuration, its processor's files, and the tensors that its own code never reads: kept in a
subfolder `original` of a transformers folder, so that it can be written back as it was. For a
checkpoint that never was in the original format they are made.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from pairuni_eval.errors import UserError, writing
from pairuni_eval.models.janus.original_config import check_fits_original, original_table
from pairuni_eval.models.janus.original_names import to_original
from pairuni_eval.places import is_file, is_folder

if TYPE_CHECKING:
    from torch import Tensor

FOLDER = "original"
_UNREAD = "unread.safetensors"
_CONFIG = "config.json"
_FILES = (
    _CONFIG,
    "processor_config.json",
    "preprocessor_config.json",
    "special_tokens_map.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "generation_config.json",
)
_SHARD = 5 * 10**9  # bytes


class OriginalFiles(NamedTuple):
    """What is kept of the original format.

    Attributes:
        files: Content by name.
        unread: Tensors by their names in the original.
    """

    files: Mapping[str, bytes]
    unread: Mapping[str, Tensor]

    @classmethod
    def of_folder(cls, folder: Path, unread: Mapping[str, Tensor]) -> Self:
        """Those of a folder in the original format, with its tensors that nothing reads."""
        files = {name: (folder / name).read_bytes() for name in _FILES if is_file(folder / name)}
        return cls(files, unread)

    def keep(self, folder: Path) -> None:
        """Write them into the subfolder of a transformers folder."""
        from safetensors.torch import save_file

        place = folder / FOLDER
        with writing(str(place)):
            place.mkdir(exist_ok=True)
            for name, content in self.files.items():
                (place / name).write_bytes(content)
            if self.unread:
                whole = {name: one.contiguous() for name, one in self.unread.items()}
                save_file(whole, place / _UNREAD, metadata={"format": "pt"})


def read_original_files(folder: Path) -> OriginalFiles | None:
    """What a transformers folder keeps of the original format; None if it keeps nothing."""
    from pairuni_eval.models.weight_file import read_tensors

    place = folder / FOLDER
    if not is_folder(place):
        return None
    unread = read_tensors(place / _UNREAD) if is_file(place / _UNREAD) else {}
    return OriginalFiles.of_folder(place, unread)


def write_original(janus: Any, processor: Any, kept: OriginalFiles | None, folder: Path) -> None:
    """Write a folder in the original format, which DeepSeek's own code loads.

    Args:
        janus: transformers' `JanusForConditionalGeneration`.
        processor: Its processor.
        kept: What is left of the original that it comes from; made where there is none.
        folder: An empty folder.

    Raises:
        UserError: for a model that DeepSeek's code would read as another.
    """
    from huggingface_hub import save_torch_state_dict

    check_fits_original(janus.config)
    if kept is None and not processor.use_default_system_prompt:
        raise UserError(
            "This model cannot be written in the original format: its questions have no system "
            "prompt, and DeepSeek's code puts one before each.",
            hint="Its transformers folder is read everywhere: --format transformers",
        )
    dtype = str(janus.dtype).removeprefix("torch.")
    tensors = to_original(janus.state_dict())
    unread = kept.unread if kept is not None else _unread_of(janus)
    tensors |= {name: one.to(janus.dtype) for name, one in unread.items()}
    files = kept.files if kept is not None else _files_of(janus, processor, dtype)
    with writing(str(folder)):
        for name, content in files.items():
            (folder / name).write_bytes(_with_dtype(name, content, dtype))
        if kept is None:
            _write_tokenizer(processor.tokenizer, folder)
        save_torch_state_dict(tensors, folder, max_shard_size=_SHARD)


def _with_dtype(name: str, content: bytes, dtype: str) -> bytes:
    """The configuration with the precision that is written; as it is where that is the same."""
    if name != _CONFIG:
        return content
    table = json.loads(content)
    if table.get("torch_dtype", dtype) == dtype:
        return content
    table["torch_dtype"] = table["language_config"]["torch_dtype"] = dtype
    return _json(table)


def _files_of(janus: Any, processor: Any, dtype: str) -> dict[str, bytes]:
    images = processor.image_processor
    return {
        _CONFIG: _json(original_table(janus.config, dtype)),
        "processor_config.json": _json(
            {
                "add_special_token": False,
                "ignore_id": -100,
                "image_end_tag": processor.image_end_token,
                "image_start_tag": processor.image_start_token,
                "image_tag": processor.image_token,
                "mask_prompt": True,
                "num_image_tokens": processor.num_image_tokens,
                "pad_tag": processor.tokenizer.pad_token,
                "processor_class": "VLChatProcessor",
                "sft_format": "deepseek",
            }
        ),
        "preprocessor_config.json": _json(
            {
                "background_color": list(images.background_color),
                "do_normalize": images.do_normalize,
                "image_mean": list(images.image_mean),
                "image_processor_type": "VLMImageProcessor",
                "image_size": images.size["height"],
                "image_std": list(images.image_std),
                "min_size": images.min_size,
                "processor_class": "VLChatProcessor",
                "rescale_factor": images.rescale_factor,
            }
        ),
    }


def _write_tokenizer(tokenizer: Any, folder: Path) -> None:
    """The tokenizer's files, under the class that DeepSeek's code asks for."""
    tokenizer.save_pretrained(folder)
    path = folder / "tokenizer_config.json"
    table = json.loads(path.read_bytes()) | {"tokenizer_class": "LlamaTokenizerFast"}
    path.write_bytes(_json(table))


def _json(table: Mapping[str, Any]) -> bytes:
    return (json.dumps(table, indent=2, ensure_ascii=False) + "\n").encode()


def _unread_of(janus: Any) -> dict[str, Tensor]:
    """Zeros in the shapes that DeepSeek's code expects of what it never reads."""
    import torch

    vision = janus.config.vision_config
    width, inner = vision.hidden_size, int(vision.hidden_size * vision.mlp_ratio)
    pool = "vision_model.vision_tower.attn_pool."
    shapes: dict[str, tuple[int, ...]] = {
        f"{pool}latent": (1, 1, width),
        f"{pool}q.weight": (width, width),
        f"{pool}q.bias": (width,),
        f"{pool}kv.weight": (2 * width, width),
        f"{pool}kv.bias": (2 * width,),
        f"{pool}proj.weight": (width, width),
        f"{pool}proj.bias": (width,),
        f"{pool}norm.weight": (width,),
        f"{pool}norm.bias": (width,),
        f"{pool}mlp.fc1.weight": (inner, width),
        f"{pool}mlp.fc1.bias": (inner,),
        f"{pool}mlp.fc2.weight": (width, inner),
        f"{pool}mlp.fc2.bias": (width,),
        "gen_vision_model.quantize.codebook_used": (65536,),
    }
    return {name: torch.zeros(shape) for name, shape in shapes.items()}
