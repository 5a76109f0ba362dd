"""Texts and images to padded model inputs, through the checkpoint's own processor and template.

A question is a user turn of image and text parts; a prompt to draw or edit is the same turn
followed by the begin-of-image token. The unconditional row of classifier-free guidance keeps the
begin-of-sequence and begin-of-image tokens and turns every other token into padding *embeddings*
that stay visible, as transformers does; an image to edit is dropped with the rest.

Legend: N rows, P prompt positions (left-padded), K images per row at most, D hidden size.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pairuni_eval.models.base import Request


@dataclass(frozen=True)
class Prompt:
    """The inputs of N rows; every tensor has N rows first, so a slice of rows is a slice of each.

    Attributes:
        ids_NP: Token ids with image placeholders.
        mask_NP: True at real tokens.
        pixels_NKCHW: Preprocessed images, zeros where a row has fewer than K; None without images.
        images_N: How many images each row has.
    """

    ids_NP: Tensor
    mask_NP: Tensor
    pixels_NKCHW: Tensor | None
    images_N: Tensor

    def rows(self, index: slice | Tensor) -> Prompt:
        """Some of the rows."""
        return Prompt(
            self.ids_NP[index],
            self.mask_NP[index],
            None if self.pixels_NKCHW is None else self.pixels_NKCHW[index],
            self.images_N[index],
        )

    def to(self, device: torch.device, dtype: torch.dtype) -> Prompt:
        """The same on a device, pixels in the model's precision."""
        pixels = self.pixels_NKCHW
        return Prompt(
            self.ids_NP.to(device),
            self.mask_NP.to(device),
            None if pixels is None else pixels.to(device, dtype),
            self.images_N.to(device),
        )


def encode(processor: Any, requests: Sequence[Request], *, to_image: bool) -> Prompt:
    """Build the inputs of a batch with the checkpoint's chat template.

    Args:
        processor: transformers' `JanusProcessor`.
        requests: The batch.
        to_image: True to draw or edit (appends the begin-of-image token), False to answer.
    """
    texts = [_chat(processor, request) for request in requests]
    images = [[part for part in r.parts if not isinstance(part, str)] for r in requests]
    flat = [image.convert("RGB") for row in images for image in row]
    batch = processor(
        text=texts,
        images=flat or None,
        generation_mode="image" if to_image else "text",
        padding=True,
        return_tensors="pt",
    )
    counts = [len(row) for row in images]
    pixels = _by_row(batch["pixel_values"], counts) if flat else None
    return Prompt(batch["input_ids"], batch["attention_mask"].bool(), pixels, torch.tensor(counts))


def embed(janus: Any, prompt: Prompt) -> Tensor:
    """Input embeddings with image features in place: (N, P, D). Differentiable."""
    x_NPD: Tensor = janus.get_input_embeddings()(prompt.ids_NP)
    if prompt.pixels_NKCHW is None:
        return x_NPD
    slots_K = torch.arange(prompt.pixels_NKCHW.shape[1], device=x_NPD.device)
    present_NK = slots_K < prompt.images_N[:, None]
    features = janus.model.get_image_features(
        prompt.pixels_NKCHW[present_NK], return_dict=True
    ).pooler_output
    here_NP1 = (prompt.ids_NP == janus.config.image_token_id)[..., None]
    return x_NPD.masked_scatter(here_NP1, features.to(x_NPD.dtype))


def unconditional(prompt: Prompt, *, keep: Sequence[int], pad: int) -> Prompt:
    """The prompt of the unconditional rows: every token but `keep` becomes `pad`, images go."""
    kept_NP = torch.isin(prompt.ids_NP, torch.tensor(list(keep), device=prompt.ids_NP.device))
    ids_NP = prompt.ids_NP.masked_fill(~kept_NP, pad)
    return Prompt(ids_NP, prompt.mask_NP, None, torch.zeros_like(prompt.images_N))


def _chat(processor: Any, request: Request) -> str:
    content = [
        {"type": "text", "text": part} if isinstance(part, str) else {"type": "image"}
        for part in request.parts
    ]
    text: str = processor.apply_chat_template(
        [{"role": "user", "content": content}], add_generation_prompt=True, tokenize=False
    )
    return text


def _by_row(pixels_MCHW: Tensor, counts: Sequence[int]) -> Tensor:
    """Spread a flat list of images over rows, padding with zeros: (N, K, C, H, W)."""
    padded = pixels_MCHW.new_zeros((len(counts), max(counts), *pixels_MCHW.shape[1:]))
    start = 0
    for row, count in enumerate(counts):
        padded[row, :count] = pixels_MCHW[start : start + count]
        start += count
    return padded
