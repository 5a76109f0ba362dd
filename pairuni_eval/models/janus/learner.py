"""Janus as a learner: the next token of answers, and of the codes of pictures.

Both halves are completions of the prompts that an adapter asks with, and go through the same
teacher forcing as rollouts do. A prompt that is dropped is the unconditional row of guidance.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from pairuni_eval.decoding import Decoding
from pairuni_eval.models.base import Request, Rollout, Task, View
from pairuni_eval.models.janus.pixels import squared
from pairuni_eval.models.janus.policy import JanusPolicy
from pairuni_eval.models.janus.prompts import Prompt, unconditional
from pairuni_eval.models.learner import Learner, Lesson, LessonSettings, PreparedLesson

_TASKS: tuple[Task, ...] = ("und", "gen")


class TaughtCompletion(NamedTuple):
    """A row to learn.

    Attributes:
        prompts: The prompts that it was prepared with.
        row: Its own among them.
        tokens_T: What follows: words and the end, or codes.
    """

    prompts: Prompt
    row: int
    tokens_T: Tensor


class JanusLearner(JanusPolicy):
    """A Janus that is taught.

    Args:
        policy: The loaded model.
        settings: How lessons are prepared.
    """

    def __init__(self, policy: JanusPolicy, settings: LessonSettings) -> None:
        super().__init__(policy.janus, policy.processor, original=policy.original)
        self._settings = settings

    @torch.no_grad()
    def prepare(self, lessons: Sequence[Lesson]) -> list[PreparedLesson]:
        """See `Learner`."""
        made: dict[int, PreparedLesson] = {}
        for task in _TASKS:
            places = [place for place, one in enumerate(lessons) if one.task == task]
            if places:
                some = [lessons[place] for place in places]
                made.update(zip(places, self._prepare(task, some), strict=True))
        return [made[place] for place in range(len(lessons))]

    def forward(self, prepared: Sequence[PreparedLesson]) -> Mapping[Task, Tensor]:  # type: ignore[override]
        """See `Learner`."""
        found = {}
        for task in _TASKS:
            rows: list[TaughtCompletion] = [one.inputs for one in prepared if one.task == task]
            if rows:
                found[task] = self._loss(task, rows)
        return found

    def _prepare(self, task: Task, lessons: Sequence[Lesson]) -> list[PreparedLesson]:
        requests = [
            Request(
                (lesson.picture, lesson.text) if task == "und" else (lesson.text,),
                Decoding(),
                lesson.seed,
                str(place),
            )
            for place, lesson in enumerate(lessons)
        ]
        prompts = self.encode(task, requests)
        if task == "gen":
            prompts = self._dropped(prompts, [lesson.seed for lesson in lessons])
        lengths = prompts.mask_NP.sum(1).tolist()
        tokens = self._words(lessons) if task == "und" else self._codes(lessons)
        return [
            PreparedLesson(
                task,
                length + len(tokens_T),
                len(tokens_T) * self._weight(task, tokens_T),
                TaughtCompletion(prompts, row, tokens_T),
            )
            for row, (length, tokens_T) in enumerate(zip(lengths, tokens, strict=True))
        ]

    def _dropped(self, prompts: Prompt, seeds: Sequence[int]) -> Prompt:
        """The prompts, some of them as guidance has them without their words."""
        share = self._settings.prompt_dropout
        drop_N = torch.tensor([random.Random(seed).random() < share for seed in seeds])
        bare = unconditional(prompts, keep=self.guidance.keep, pad=self.guidance.pad)
        ids_NP = torch.where(drop_N[:, None].to(self.device), bare.ids_NP, prompts.ids_NP)
        return Prompt(ids_NP, prompts.mask_NP, prompts.pixels_ICHW, prompts.images_NK)

    def _words(self, lessons: Sequence[Lesson]) -> list[Tensor]:
        encode = self.processor.tokenizer.encode
        end = self.vocabulary.end
        return [
            torch.tensor([*encode(one.answer, add_special_tokens=False), end]) for one in lessons
        ]

    def _codes(self, lessons: Sequence[Lesson]) -> list[Tensor]:
        """The codes of pictures, one at a time: they do not depend on each other."""
        return [self._codes_of(one) for one in lessons]

    def _codes_of(self, lesson: Lesson) -> Tensor:
        image = squared(lesson.picture.convert("RGB"), self.processor)
        pixels = self.processor.image_processor(image, return_tensors="pt")["pixel_values"]
        vq = self.janus.model.vqmodel
        codes: Tensor = vq.encode(pixels.to(self.device, self.janus.dtype)).image_tokens
        return codes.flatten().cpu()

    def _weight(self, task: Task, tokens_T: Tensor) -> float:
        reweighted = self._settings.reweighted and task == "und"
        return float(len(tokens_T) ** -0.5) if reweighted else 1.0

    def _loss(self, task: Task, rows: Sequence[TaughtCompletion]) -> Tensor:
        width = max(len(row.tokens_T) for row in rows)
        tokens_NT = torch.full((len(rows), width), self.vocabulary.pad if task == "und" else 0)
        mask_NT = torch.zeros(tokens_NT.shape, dtype=torch.bool)
        for number, row in enumerate(rows):
            tokens_NT[number, : len(row.tokens_T)] = row.tokens_T
            mask_NT[number, : len(row.tokens_T)] = True
        tokens_NT, mask_NT = tokens_NT.to(self.device), mask_NT.to(self.device)
        chosen_N = torch.tensor([row.row for row in rows], device=self.device)
        prompt = rows[0].prompts.rows(chosen_N)
        conditions = {"prompt": prompt, "decoding": Decoding(temperature=1.0)}
        rollout = Rollout(task, tokens_NT, mask_NT, conditions, task == "gen")
        view = View(mask_NT, torch.ones(len(rows), device=self.device))
        logp_NT = super().forward(rollout, view).logp_NT.masked_fill(~mask_NT, 0.0)
        weight_N = [self._weight(task, row.tokens_T) for row in rows]
        return -(logp_NT.sum(1) * torch.tensor(weight_N, device=self.device)).sum()


def _conforms(learner: JanusLearner) -> Learner:
    """Held by the type checker: the class keeps the whole protocol."""
    return learner
