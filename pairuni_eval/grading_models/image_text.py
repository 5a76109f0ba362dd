"""Image-text scorers: one number from the cosine of CLIP's two features, and a rule.

HPSv2, PickScore and CLIPScore are this one scorer with different weights, pictures, words and
scales; each has a `Rule`. Pairs are scored alone: a score does not depend on the other pairs, and
in float32 it changes by less than 1e-6 with the batch size. The product is taken in float32 even
where the towers run in a lower precision: in float16 the cosines around 0.27 are 0.00024 apart, so
that many pictures would tie.

Legend: N pairs, U different texts, D size of CLIP's space.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import ClassVar, NamedTuple, Self, TypeVar

import torch
from PIL import Image
from torch import Tensor

from pairuni_eval.grading_models import clip_text
from pairuni_eval.grading_models.clip import ClipTowers
from pairuni_eval.grading_models.open_clip_keys import Architecture

_Thing = TypeVar("_Thing")


class Rule(NamedTuple):
    """What makes one score of a cosine.

    Attributes:
        name: Name and version, e.g. "hps/1".
        pixels: A picture and the side of the square to normalized pixels.
        text: How texts are cleaned and cut.
        value: The score from the cosine and CLIP's logit scale.
        prefix: What is put before every text.
        architecture: What OpenCLIP weights without a configuration are.
    """

    name: str
    pixels: Callable[[Image.Image, int], Tensor]
    text: clip_text.TextRule
    value: Callable[[float, float], float]
    prefix: str = ""
    architecture: Architecture | None = None


class ImageTextScorer:
    """Scores pairs of a picture and a text by a rule.

    Attributes:
        rule: The rule of a subclass.
    """

    rule: ClassVar[Rule]

    def __init__(self, clip: ClipTowers, *, batch_size: int = 32) -> None:
        if batch_size < 1:
            raise ValueError(f"batch_size is {batch_size}, expected at least 1")
        self._clip = clip
        self._batch_size = batch_size

    def memory(self) -> int:
        """Bytes of its weights."""
        return self._clip.memory()

    @classmethod
    def load(
        cls,
        files: Sequence[Path],
        *,
        device: str = "auto",
        dtype: str = "float32",
        batch_size: int = 32,
    ) -> Self:
        """Load the weights once; scoring then touches no file.

        Args:
            files: Weights, configuration and tokenizer, see `ClipTowers.load`.
            device: A torch device name, or "auto".
            dtype: The precision of the towers.
            batch_size: Pictures, or texts, per forward.

        Raises:
            UserError: as `ClipTowers.load`.
        """
        clip = ClipTowers.load(
            files,
            device=device,
            dtype=dtype,
            text_rule=cls.rule.text,
            architecture=cls.rule.architecture,
        )
        return cls(clip, batch_size=batch_size)

    @property
    def version(self) -> str:
        """Rule, weight file and precision, e.g. "hps/1 HPS_v2.1_compressed.pt float32"."""
        precision = str(self._clip.dtype).removeprefix("torch.")
        return f"{self.rule.name} {self._clip.name} {precision}"

    def score(self, images: Sequence[Image.Image], texts: Sequence[str]) -> list[float]:
        """One score for each pair, in order; NaN where a feature is not finite.

        Raises:
            ValueError: if there are not as many texts as images, or an image has no pixels.
        """
        if len(images) != len(texts):
            raise ValueError(f"{len(images)} images, but {len(texts)} texts")
        if not images:
            return []
        rows = {text: row for row, text in enumerate(dict.fromkeys(texts))}
        texts_UD = self._text_features(list(rows))
        images_ND = self._image_features(images)
        cosines_N = (images_ND * texts_UD[[rows[text] for text in texts]]).sum(dim=-1)
        return [self.rule.value(cosine, self._clip.logit_scale) for cosine in cosines_N.tolist()]

    def _image_features(self, images: Sequence[Image.Image]) -> Tensor:
        """(N, D) on the CPU; the pixels of one batch at a time are held."""
        return torch.cat(
            [
                self._clip.image_features(torch.stack([self._pixels(image) for image in batch]))
                for batch in self._batches(images)
            ]
        ).cpu()

    def _text_features(self, texts: Sequence[str]) -> Tensor:
        """(U, D) on the CPU."""
        worded = [self.rule.prefix + text for text in texts]
        return torch.cat([self._clip.text_features(batch) for batch in self._batches(worded)]).cpu()

    def _pixels(self, image: Image.Image) -> Tensor:
        return self.rule.pixels(image, self._clip.image_size)

    def _batches(self, things: Sequence[_Thing]) -> Iterator[Sequence[_Thing]]:
        for start in range(0, len(things), self._batch_size):
            yield things[start : start + self._batch_size]
