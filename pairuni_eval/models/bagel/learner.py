"""BAGEL as a learner: cross-entropy of answers and the error of velocities, over one pack.

    question   [picture, seen] [question] [answer, taught]
    drawing    [prompt] [picture, noisy]

A picture that is drawn has one time and one noise a step, drawn from the lesson's seed.

Departures from the official code: pictures are encoded one at a time, so that none sees another's
padding; pairs hold no edits, so that of all conditions the prompt alone can be dropped.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from pairuni_eval.errors import UserError
from pairuni_eval.models.bagel import pictures as pics
from pairuni_eval.models.bagel.config import ResizeRule
from pairuni_eval.models.bagel.contexts import MARKS
from pairuni_eval.models.bagel.loading import LoadedBagel
from pairuni_eval.models.bagel.packing import LatentPicture, SeenPicture, Words, pack
from pairuni_eval.models.bagel.supervised import losses, noised_time
from pairuni_eval.models.bagel.trained import BagelWeights
from pairuni_eval.models.base import Task
from pairuni_eval.models.learner import Learner, Lesson, LessonSettings, PreparedLesson


class BagelLearner(BagelWeights):
    """A loaded BAGEL that is taught.

    Args:
        loaded: Weights, tokenizer and sizes; the auto-encoder is never trained.
        settings: How lessons are prepared.
    """

    def __init__(self, loaded: LoadedBagel, settings: LessonSettings) -> None:
        super().__init__(loaded)
        self._settings = settings

    @torch.no_grad()
    def prepare(self, lessons: Sequence[Lesson]) -> list[PreparedLesson]:
        """See `Learner`.

        Raises:
            UserError: for a picture that the position tables are too small for.
        """
        return [self._question(one) if one.task == "und" else self._drawing(one) for one in lessons]

    def forward(self, prepared: Sequence[PreparedLesson]) -> Mapping[Task, Tensor]:
        """See `Learner`."""
        made = pack([one.inputs for one in prepared], self.loaded.marks)
        found = losses(self.network, made)
        words_E = found.words_E
        if self._settings.reweighted:
            words_E = words_E * made.weight_E.to(words_E.device)
        tasks = {one.task for one in prepared}
        both: dict[Task, Tensor] = {
            "und": words_E.sum(),
            "gen": found.velocities_TC.mean(1).sum(),
        }
        return {task: total for task, total in both.items() if task in tasks}

    def _question(self, lesson: Lesson) -> PreparedLesson:
        config, answer = self.loaded.config, self._ids(lesson.answer)
        image = pics.resized(pics.on_white(lesson.picture), self.loaded.shapes.asked)
        side = config.vision.patch_size
        places_T = self._places(image, side, config.vision_side)
        patches_TP = pics.patches(pics.to_pixels(image), side)
        sample = (
            SeenPicture(patches_TP, places_T),
            Words(self._ids(lesson.text)),
            Words(answer, taught=True),
        )
        words = len(answer) + 1
        return PreparedLesson(
            "und", _length(sample), words**0.5 if self._settings.reweighted else words, sample
        )

    def _drawing(self, lesson: Lesson) -> PreparedLesson:
        rng = random.Random(lesson.seed)
        noise = torch.Generator().manual_seed(rng.getrandbits(60))
        loaded, config = self.loaded, self.loaded.config
        image = pics.resized(pics.on_white(lesson.picture), self._drawn_rule())
        places_T = self._places(image, config.cell, config.latent_side)
        pixels = pics.to_pixels(image)[None].to(self.network.device)
        moments = loaded.autoencoder.moments(pixels)
        spread = torch.randn(moments.chunk(2, dim=1)[0].shape, generator=noise)
        latents = loaded.autoencoder.drawn(moments, spread.to(moments.device))
        tokens_TC = pics.patches(latents, config.latent_patch)[0].cpu()
        time = noised_time(rng.gauss(0.0, 1.0), self._settings.time_shift)
        noise_TC = torch.randn(tokens_TC.shape, generator=noise)
        drawn = LatentPicture(tokens_TC, places_T, time, noise_TC)
        dropped = rng.random() < self._settings.prompt_dropout
        sample: Sequence[Words | LatentPicture] = (
            (drawn,) if dropped else (Words(self._ids(lesson.text)), drawn)
        )
        return PreparedLesson("gen", _length(sample), len(places_T), sample)

    def _drawn_rule(self) -> ResizeRule:
        rule, longest = self.loaded.shapes.source, self._settings.longest
        if longest is None:
            return rule
        shortest = min(longest, rule.shortest)
        return ResizeRule(longest=longest, shortest=shortest, stride=rule.stride, area=rule.area)

    def _places(self, image: Any, cell: int, side: int) -> Tensor:
        width, height = image.size
        grid = (height // cell, width // cell)
        if max(grid) > side:
            raise UserError(
                f"A picture of {width}x{height} is more than the {side * cell} pixels of a side "
                "that the model has positions for.",
                hint="Set a smaller size: --set longest=512",
            )
        return pics.places(grid, side)

    def _ids(self, text: str) -> list[int]:
        return list(self.loaded.tokenizer.encode(text, add_special_tokens=False).ids)


def _conforms(learner: BagelLearner) -> Learner:
    """Held by the type checker: the class keeps the whole protocol."""
    return learner


def _length(sample: Sequence[Words | SeenPicture | LatentPicture]) -> int:
    return sum(
        MARKS + len(part.ids if isinstance(part, Words) else part.places_T) for part in sample
    )
