"""HPSv2 and HPSv2.1, the Human Preference Score: the cosine of a fine-tuned CLIP ViT-H-14.

Scores are cosines (about 0.2 to 0.33), as `hpsv2.score` gives them; the HPSv2 benchmark prints 100
times that. Version 2.0 or 2.1 is a matter of the weights: `HPS_v2_compressed.pt` or
`HPS_v2.1_compressed.pt` of xswu/HPSv2, which come without a tokenizer; add `merges.txt` of any
CLIP.

Departures: upstream runs under autocast and multiplies in float16, so that its scores scatter by
about 1e-3 around these. Its pictures depend on the version of torchvision; these are those of 0.17
and later.

Source: tgxs002/HPSv2, `img_score.py`; Wu et al. 2023, arXiv 2306.09341.
"""

from __future__ import annotations

from typing import ClassVar

from pairuni_eval.grading_models import clip_text
from pairuni_eval.grading_models.clip_image import padded_square
from pairuni_eval.grading_models.image_text import ImageTextScorer, Rule
from pairuni_eval.grading_models.open_clip_keys import VIT_H_14


def _cosine(cosine: float, logit_scale: float) -> float:  # noqa: ARG001
    return cosine


HPS = Rule("hps/1", padded_square, clip_text.OPEN_CLIP, _cosine, architecture=VIT_H_14)


class HpsScorer(ImageTextScorer):
    """Scores in [-1, 1]; higher is preferred."""

    rule: ClassVar[Rule] = HPS
