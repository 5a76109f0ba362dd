"""Texts and images to padded model inputs, through the checkpoint's own processor and template.

Departures from transformers, both to DeepSeek's values: an image is resized by `pixels`, and images
that follow each other stand on lines of their own without a blank line between them.

A question is a user turn of image and text parts; a prompt to draw or edit is the same turn
followed by the begin-of-image token. The unconditional row of classifier-free guidance keeps the
begin-of-sequence and begin-of-image tokens and turns every other token into padding *embeddings*
that stay visible, as transformers does; an image to edit is dropped with the rest.

Legend: N rows, U distinct rows, P prompt positions (left-padded), I distinct images, K images per
row at most, F positions of an image, D hidden size.
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from pairuni_eval.models.base import Request
from pairuni_eval.models.janus.pixels import squared


@dataclass(frozen=True)
class Prompt:
    """The inputs of N rows.

    Attributes:
        ids_NP: Token ids with image placeholders.
        mask_NP: True at real tokens.
        pixels_ICHW: Preprocessed images, which rows may share; None without images.
        images_NK: The images of each row in order, -1 where it has fewer than K.
    """

    ids_NP: Tensor
    mask_NP: Tensor
    pixels_ICHW: Tensor | None
    images_NK: Tensor

    def rows(self, index: slice | Tensor) -> Prompt:
        """Some of the rows."""
        return Prompt(
            self.ids_NP[index], self.mask_NP[index], self.pixels_ICHW, self.images_NK[index]
        )

    def to(self, device: torch.device, dtype: torch.dtype) -> Prompt:
        """The same on a device, pixels in the model's precision."""
        pixels = self.pixels_ICHW
        return Prompt(
            self.ids_NP.to(device),
            self.mask_NP.to(device),
            None if pixels is None else pixels.to(device, dtype),
            self.images_NK.to(device),
        )


class Distinct(NamedTuple):
    """Rows that differ from each other: the first of each kind (U,), and the kind of each (N,)."""

    first_U: Tensor
    kind_N: Tensor


def distinct(prompt: Prompt) -> Distinct:
    """The distinct rows of a prompt, in order of appearance."""
    seen_NP = prompt.ids_NP.masked_fill(~prompt.mask_NP, -1)
    return _first_of(map(tuple, torch.cat((seen_NP, prompt.images_NK), 1).tolist()), seen_NP.device)


def _first_of(keys: Iterable[Hashable], device: torch.device) -> Distinct:
    kinds: dict[Hashable, int] = {}
    first: list[int] = []
    kind_of = []
    for row, key in enumerate(keys):
        kind = kinds.setdefault(key, len(first))
        if kind == len(first):
            first.append(row)
        kind_of.append(kind)
    return Distinct(torch.tensor(first, device=device), torch.tensor(kind_of, device=device))


def encode(processor: Any, requests: Sequence[Request], *, to_image: bool) -> Prompt:
    """Build the inputs of a batch with the checkpoint's chat template.

    Requests of the same texts and the very same image objects are encoded once.

    Args:
        processor: transformers' `JanusProcessor`.
        requests: The batch.
        to_image: True to draw or edit (appends the begin-of-image token), False to answer.
    """
    first_U, kind_N = _first_of(map(_parts_key, requests), torch.device("cpu"))
    different = [requests[row] for row in first_U.tolist()]
    images = [[part for part in r.parts if not isinstance(part, str)] for r in different]
    flat = [squared(image.convert("RGB"), processor) for row in images for image in row]
    batch = processor(
        text=[_chat(processor, request) for request in different],
        images=flat or None,
        generation_mode="image" if to_image else "text",
        padding=True,
        return_tensors="pt",
    )
    prompt = Prompt(
        batch["input_ids"],
        batch["attention_mask"].bool(),
        batch["pixel_values"] if flat else None,
        _numbered([len(row) for row in images]),
    )
    return prompt if len(different) == len(requests) else prompt.rows(kind_N)


def embed(janus: Any, prompt: Prompt) -> Tensor:
    """Input embeddings with image features in place: (N, P, D). Differentiable.

    Every image that the rows show goes through the vision tower once.
    """
    x_NPD: Tensor = janus.get_input_embeddings()(prompt.ids_NP)
    if prompt.pixels_ICHW is None:
        return x_NPD
    shown_S = prompt.images_NK[prompt.images_NK >= 0]  # row by row, as their places in the prompts
    used_I, which_S = torch.unique(shown_S, return_inverse=True)
    features_IFD = janus.model.get_image_features(
        prompt.pixels_ICHW[used_I], return_dict=True
    ).pooler_output
    here_NP1 = (prompt.ids_NP == janus.config.image_token_id)[..., None]
    return x_NPD.masked_scatter(here_NP1, features_IFD[which_S].to(x_NPD.dtype))


def unconditional(prompt: Prompt, *, keep: Sequence[int], pad: int) -> Prompt:
    """The prompt of the unconditional rows: every token but `keep` becomes `pad`, images go."""
    kept_NP = torch.isin(prompt.ids_NP, torch.tensor(list(keep), device=prompt.ids_NP.device))
    ids_NP = prompt.ids_NP.masked_fill(~kept_NP, pad)
    return Prompt(ids_NP, prompt.mask_NP, None, prompt.images_NK[:, :0])


def _chat(processor: Any, request: Request) -> str:
    content = [
        {"type": "text", "text": part} if isinstance(part, str) else {"type": "image"}
        for part in request.parts
    ]
    text: str = processor.apply_chat_template(
        [{"role": "user", "content": content}], add_generation_prompt=True, tokenize=False
    )
    image = re.escape(processor.image_token)
    return re.sub(f"(?<={image})\n\n(?={image})", "\n", text)


def _parts_key(request: Request) -> tuple[str | int, ...]:
    """Texts as they are, images by identity: comparing pixels would cost more than it saves."""
    return tuple(part if isinstance(part, str) else id(part) for part in request.parts)


def _numbered(counts: Sequence[int]) -> Tensor:
    """Number the images of all rows one after the other, -1 behind each row's last: (N, K)."""
    images_NK = torch.full((len(counts), max(counts)), -1)
    start = 0
    for row, count in enumerate(counts):
        images_NK[row, :count] = torch.arange(start, start + count)
        start += count
    return images_NK
