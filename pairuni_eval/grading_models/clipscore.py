"""CLIPScore: 2.5 max(cos, 0) of the picture and "A photo depicts" before the text.

That is the definition of Hessel et al. 2021 (arXiv 2104.08718), who use OpenAI's ViT-B/32. Another
number by the same name, e.g. in torchmetrics, is 100 max(cos, 0) with the bare text, mostly with
ViT-L/14.

Source: jmhessel/clipscore, `clipscore.py`.
"""

from __future__ import annotations

from typing import ClassVar

from pairuni_eval.grading_models import clip_text
from pairuni_eval.grading_models.clip_image import cropped_square
from pairuni_eval.grading_models.image_text import ImageTextScorer, Rule


def _rescaled(cosine: float, logit_scale: float) -> float:  # noqa: ARG001
    return 2.5 * max(cosine, 0.0)


CLIP_SCORE = Rule(
    "clipscore/1", cropped_square, clip_text.OPEN_CLIP, _rescaled, prefix="A photo depicts "
)


class ClipScorer(ImageTextScorer):
    """Scores in [0, 2.5]; higher fits better."""

    rule: ClassVar[Rule] = CLIP_SCORE
