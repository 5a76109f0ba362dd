"""From questions to a network's inputs: the chat template and the processor of a checkpoint.

One question is one turn of the user, its texts and pictures in their order; the template says where
they go. Rows are padded on the left. What a text writes in the letters of a special token, e.g.
"<image>", stays text; with a processor that cannot tell them apart it is an error on its row.

Some processors bring a part for videos that only torchvision can run. Where there is no torchvision
they are made without that part if they can be, for nothing here shows a video.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pairuni_eval.errors import UserError
from pairuni_eval.models.base import Request
from pairuni_eval.models.remote_code import with_code_if_needed

_THINKING = "enable_thinking"  # what templates call the switch
_VIDEO = "video_processor"
_PROBE = 56  # pixels of a side


class Chat:
    """A processor that has been seen to show a picture.

    Args:
        processor: Of transformers, with a chat template and a tokenizer.
        ran_code: Whether code of the checkpoint was run to make it.
    """

    def __init__(self, processor: Any, *, ran_code: bool = False) -> None:
        self._processor = processor
        self.ran_code = ran_code
        self.tokenizer = processor.tokenizer
        self.tokenizer.padding_side = "left"
        if self.tokenizer.pad_token_id is None:
            self.tokenizer.pad_token = self.tokenizer.eos_token
        self._special = tuple(
            token.content for token in self.tokenizer.added_tokens_decoder.values() if token.special
        )

    def kind(self, request: Request) -> tuple[int, bool]:
        """What requests must have in common to go together: pictures, and words to be disarmed."""
        pictures = sum(not isinstance(part, str) for part in request.parts)
        return pictures, any(word in request.text for word in self._special)

    def inputs(self, requests: Sequence[Request]) -> Any:
        """What the network takes by name, with a row for each of requests of one kind and decoding.

        Returns:
            Transformers' `BatchFeature`, tensors on the CPU.
        """
        switch = {_THINKING: requests[0].decoding.thinking} if self._can_think() else {}
        return self._processor.apply_chat_template(
            [_turn(request) for request in requests],
            add_generation_prompt=True,
            tokenize=True,
            return_dict=True,
            return_tensors="pt",
            processor_kwargs={"padding": True},
            sanitize_control_tokens=self.kind(requests[0])[1],
            **switch,
        )

    def text(self, tokens: Sequence[int]) -> str:
        """What tokens say, without special tokens and surrounding blanks."""
        return str(self.tokenizer.decode(tokens, skip_special_tokens=True)).strip()

    def _can_think(self) -> bool:
        return _THINKING in str(self._processor.chat_template)


def _turn(request: Request) -> list[dict[str, Any]]:
    content = [
        {"type": "text", "text": part}
        if isinstance(part, str)
        else {"type": "image", "image": part.convert("RGB")}
        for part in request.parts
    ]
    return [{"role": "user", "content": content}]


def read_chat(folder: Path, config: Any, *, allowed: bool) -> Chat:
    """The processor of a checkpoint.

    Args:
        folder: The checkpoint.
        config: The network's configuration.
        allowed: Whether code of the checkpoint may be run.

    Raises:
        UserError: if there is none that can be loaded, without a chat template, with a tokenizer
            that has no token for a picture, or with a template that leaves pictures out.
    """
    try:
        processor, ran = with_code_if_needed(
            lambda code: _read(folder, config, code=code), folder, allowed=allowed
        )
    except ImportError as failure:
        raise UserError(
            f"{folder}: its processor needs a package that is not installed: "
            f"{' '.join(str(failure).split()).partition('. ')[0].rstrip('.')}.",
            hint="Install it; a torchvision must fit the torch that is here.",
        ) from failure
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as failure:
        raise UserError(
            f"{folder}: its processor cannot be loaded: {failure}.",
            hint="Copy the whole checkpoint: the files of tokenizer and processor belong to it.",
        ) from failure
    if not hasattr(processor, "tokenizer") or not hasattr(processor, "image_processor"):
        raise UserError(
            f"{folder} has no processor of images: only a {type(processor).__name__} could be "
            "loaded.",
            hint="Copy preprocessor_config.json or processor_config.json of the published model.",
        )
    if processor.chat_template is None:
        processor.chat_template = processor.tokenizer.chat_template
    if processor.chat_template is None:
        raise UserError(
            f"{folder} has no chat template: nobody can say how a question is put to this model.",
            hint="Copy chat_template.jinja of the published model; a base model that was never "
            "taught to chat has none.",
        )
    _check_token(folder, processor, config)
    chat = Chat(processor, ran_code=ran)
    _check_that_pictures_are_shown(folder, chat, config)
    return chat


def _read(folder: Path, config: Any, *, code: bool) -> Any:
    from transformers import AutoProcessor
    from transformers.models.auto.processing_auto import PROCESSOR_MAPPING
    from transformers.utils import is_torchvision_available

    kind = PROCESSOR_MAPPING.get(type(config), None)
    if kind is None or _VIDEO not in kind.get_attributes() or is_torchvision_available():
        return AutoProcessor.from_pretrained(folder, trust_remote_code=code)
    attributes = [name for name in kind.get_attributes() if name != _VIDEO]
    pictures_only: Any = type(
        kind.__name__, (kind,), {"get_attributes": classmethod(lambda _: attributes)}
    )
    try:
        return pictures_only.from_pretrained(folder, trust_remote_code=code)
    except TypeError as failure:  # it cannot be made without that part
        raise ImportError(f"{kind.__name__} reads videos, too, by torchvision") from failure


def _check_token(folder: Path, processor: Any, config: Any) -> None:
    """Raise if the token that stands for a picture is not the one that the network knows."""
    token = getattr(processor, "image_token", None)
    known = getattr(config, "image_token_id", None)
    if token is None or known is None:
        return  # what comes out is looked at
    found = processor.tokenizer.get_vocab().get(str(token))
    if found == known:
        return
    told = "has no token" if found is None else f"has number {found} for"
    raise UserError(
        f"{folder}: its tokenizer {told} '{token}', which stands for a picture; config.json says "
        f"{known} (image_token_id).",
        hint="Copy the tokenizer of the published model: one of a text model has no such token.",
    )


def _check_that_pictures_are_shown(folder: Path, chat: Chat, config: Any) -> None:
    """Raise if a question about a picture comes out without one."""
    from PIL import Image

    from pairuni_eval.decoding import Decoding

    picture = Image.new("RGB", (_PROBE, _PROBE), (128, 128, 128))
    probe = Request((picture, "What is this?"), Decoding(), seed=0, uid="")
    known = getattr(config, "image_token_id", None)
    try:
        shown = chat.inputs([probe])
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, RuntimeError) as failure:
        raise _not_shown(folder, str(failure)) from failure
    if known is not None and not bool((shown["input_ids"] == known).any()):
        raise _not_shown(folder, "the template leaves it out")


def _not_shown(folder: Path, why: str) -> UserError:
    return UserError(
        f"{folder}: its chat template and processor cannot show a picture to the model: "
        f"{why.rstrip('.')}.",
        hint="Copy chat_template.jinja and the processor's files of the published model.",
    )
