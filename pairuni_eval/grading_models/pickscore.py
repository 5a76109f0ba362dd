"""PickScore: a CLIP ViT-H-14 fine-tuned on people's choices, its cosine times its logit scale.

Pictures and words go through transformers' processor of laion/CLIP-ViT-H-14-laion2B-s32B-b79K, the
one of the time (4.27, pictures by Pillow).

Source: yuvalkirstain/PickScore, `README.md`; Kirstain et al. 2023, arXiv 2305.01569.
"""

from __future__ import annotations

from functools import partial
from typing import ClassVar

from pairuni_eval.grading_models import clip_text
from pairuni_eval.grading_models.clip_image import cropped_square
from pairuni_eval.grading_models.image_text import ImageTextScorer, Rule


def _logit(cosine: float, logit_scale: float) -> float:
    return logit_scale * cosine


PICK_SCORE = Rule(
    "pickscore/1", partial(cropped_square, middle="floor"), clip_text.TRANSFORMERS, _logit
)


class PickScorer(ImageTextScorer):
    """Scores of about 15 to 25 for the published weights; higher is preferred."""

    rule: ClassVar[Rule] = PICK_SCORE
