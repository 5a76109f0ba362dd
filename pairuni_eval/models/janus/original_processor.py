"""The processor of a checkpoint in DeepSeek's original format, as transformers' `JanusProcessor`.

The tokenizer is read as its tokenizer.json says, whatever class the folder names: classes add
tokens and change how text is split. Its ids of padding, begin and end of an image are the
original's: padding is the token `pad_tag`, not what the tokenizer pads with.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pairuni_eval.errors import UserError
from pairuni_eval.models.checkpoint import read_object
from pairuni_eval.places import is_file

_TOKENS = {
    "image_token": ("image_tag", "<image_placeholder>"),
    "boi_token": ("image_start_tag", "<begin_of_image>"),
    "eoi_token": ("image_end_tag", "<end_of_image>"),
}
_PAD = ("pad_tag", "<｜▁pad▁｜>")
# As the original's conversation format: parts of a turn on lines of their own.
_TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|User|>: ' if message['role']|lower == 'user' else '<|Assistant|>: ' }}"
    "{% set parts = message['content'] %}"
    "{% if parts is string %}{{ parts|trim }}{% else %}"
    "{% for part in parts %}"
    "{% set before = parts[loop.index0 - 1]['type'] if not loop.first else none %}"
    "{% if part['type'] == 'image' %}{{ '\n' if before }}<image_placeholder>"
    "{% else %}{% set text = part['text'] %}"
    "{% if loop.first %}{% set text = text.lstrip() %}{% endif %}"
    "{% if loop.last %}{% set text = text.rstrip() %}{% endif %}"
    "{{ '\n' if before == 'image' else ' ' if before else '' }}{{ text }}"
    "{% endif %}{% endfor %}{% endif %}"
    "{{ '\n\n' if message['role']|lower == 'user' else '<｜end▁of▁sentence｜>' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}<|Assistant|>:{% endif %}"
)


def processor_of(folder: Path, tokenizer: Any, *, image_size: int, image_tokens: int) -> Any:
    """Transformers' `JanusProcessor` of a folder in the original format.

    Args:
        folder: The folder.
        tokenizer: Its tokenizer.
        image_size: Pixels of a side, as the vision tower has them.
        image_tokens: Positions of an image in a prompt.

    Raises:
        UserError: for a preprocessor_config.json that cannot be read.
    """
    from transformers import JanusProcessor
    from transformers.models.janus.image_processing_pil_janus import JanusImageProcessorPil

    said = _optional(folder / "preprocessor_config.json")
    images = JanusImageProcessorPil(
        size={"height": image_size, "width": image_size},
        min_size=int(said.get("min_size", 14)),
        image_mean=said.get("image_mean", [0.5] * 3),
        image_std=said.get("image_std", [0.5] * 3),
        do_normalize=bool(said.get("do_normalize", True)),
    )
    return JanusProcessor(
        image_processor=images,
        tokenizer=tokenizer,
        chat_template=_TEMPLATE,
        use_default_system_prompt=True,
        num_image_tokens=image_tokens,
    )


def tokenizer_of(folder: Path) -> Any:
    """The tokenizer, which knows its image, begin-of-image and end-of-image tokens by name.

    Raises:
        UserError: without a tokenizer, or with one that lacks the tokens of images.
    """
    from transformers import PreTrainedTokenizerFast

    path = folder / "tokenizer.json"
    if not is_file(path):
        raise UserError(
            f"{folder} has no tokenizer.json.",
            hint="Copy the tokenizer's files of the model that was trained, or name that model: "
            f"--checkpoint deepseek-ai/Janus-Pro-1B+{folder}",
        )
    tags = _optional(folder / "processor_config.json")
    try:
        tokenizer = PreTrainedTokenizerFast.from_pretrained(
            folder,
            extra_special_tokens={
                name: str(tags.get(key, usual)) for name, (key, usual) in _TOKENS.items()
            },
        )
    except (OSError, ValueError, KeyError, TypeError) as failure:
        raise UserError(f"{path}: not a tokenizer: {failure}.") from failure
    _check_tokens(path, tokenizer)
    pad = str(tags.get(*_PAD))
    known = tokenizer.get_vocab()
    tokenizer.pad_token = pad if pad in known else tokenizer.pad_token or tokenizer.eos_token
    if _optional(folder / "tokenizer_config.json").get("add_bos_token", True):
        _begin_with(tokenizer, tokenizer.bos_token)
    return tokenizer


def _begin_with(tokenizer: Any, token: str) -> None:
    """Put a token before every text: the class that a folder names does it, its file may not."""
    from tokenizers.processors import TemplateProcessing

    number = tokenizer.convert_tokens_to_ids(token)
    if tokenizer("a").input_ids[:1] != [number]:
        tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
            single=f"{token} $A",
            pair=f"{token} $A {token}:1 $B:1",
            special_tokens=[(token, number)],
        )


def _check_tokens(path: Path, tokenizer: Any) -> None:
    import tokenizers

    stored = tokenizers.Tokenizer.from_file(str(path))  # from_pretrained adds what is missing
    named = {name: getattr(tokenizer, name) for name in _TOKENS}
    lost = [one for one in named.values() if stored.token_to_id(one) is None]
    if lost:
        raise UserError(
            f"{path}: no token {', '.join(lost)}: a Janus without them can neither be shown an "
            "image nor draw one.",
            hint="Copy the tokenizer's files of the model that was trained, e.g. of "
            "deepseek-ai/Janus-Pro-1B.",
        )
    for name in ("bos_token", "eos_token"):
        if getattr(tokenizer, name) is None:
            raise UserError(
                f"{path.parent}: the tokenizer names no {name}.",
                hint="Copy tokenizer_config.json and special_tokens_map.json beside it.",
            )


def _optional(path: Path) -> Mapping[str, Any]:
    return read_object(path) if is_file(path) else {}
