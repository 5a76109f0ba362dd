"""Pretraining of the tiny Lumina-DiMOO: codes first, then drawing, then everything.

From nothing, a network that must answer as well learns to draw late: so the first steps have
drawings and edits alone, all lessons alike, and the rest has every lesson. The lessons and scenes
are those of the tiny Janus and of its sister that half knows made-up names.

Legend: R rows, T places, H hidden places, C hidden size.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pairuni_eval.toolkit.networks import dimoo
from pairuni_train.tiny_pretraining.batches import step_examples
from pairuni_train.tiny_pretraining.checkpointing import take_steps
from pairuni_train.tiny_pretraining.config import NameLessons, PretrainConfig
from pairuni_train.tiny_pretraining.curriculum import (
    DRAWN_GROUPS,
    DRAWN_LESSONS,
    WEIGHTS,
    Example,
)
from pairuni_train.tiny_pretraining.dimoo_rows import DimooBatch, DimooRows
from pairuni_train.tiny_pretraining.optimizers import Optimizers, optimizers_for, rate_share
from pairuni_train.tiny_pretraining.picture_codes import DimooPictures, train_vq
from pairuni_train.tiny_pretraining.progress import LessonProgress, lesson_progress

RECIPE = "pairuni-tiny-dimoo-1"
_OUTER = ("wte", "transformer.ff_out")  # what AdamW updates among the matrices


def _names() -> NameLessons:
    """As often as half of them are learned from nothing; thoughts before answers about them alone.

    Were other questions answered now with a thought and now without, the places of an answer, which
    are filled in side by side, would mix the two.
    """
    return NameLessons(talks=4, drawings=16)


@dataclass(frozen=True)
class DimooPretrainConfig(PretrainConfig):
    """Everything that decides the outcome.

    Attributes:
        drawing_steps: First steps, of drawings and edits alone.
        drawing_rows: How many times as many of these there are in a drawing step.
        drawing_weight: What their lessons' share in the loss is multiplied by afterwards.
    """

    steps: int = 1000
    batch_scale: float = 0.35
    threads: int = 1
    save_every: int = 100
    vq_steps: int = 800
    drawing_steps: int = 400
    drawing_rows: float = 4.0
    drawing_weight: float = 4.0
    names: NameLessons = field(default_factory=_names)


def pretrain_dimoo(
    cfg: DimooPretrainConfig, out_dir: Path, *, resume: Path | None = None
) -> dimoo.TinyDimoo:
    """Train and write the folder `out_dir`; checkpoints lie in `out_dir/step-N`.

    `resume` names one to go on from, to the bit on one machine where its optimizers' state is
    beside it.
    """
    torch.set_num_threads(cfg.threads)
    with lesson_progress() as progress:
        if resume is None:
            made, start = _with_codes(cfg, progress), 0
        else:
            made, start = dimoo.load(resume), dimoo.step_of(resume)
        optimizers = optimizers_for(made.network, cfg, outer=_OUTER)
        take_steps(
            partial(train_dimoo, made, optimizers, cfg),
            lambda folder, step: dimoo.save(made, folder, recipe=RECIPE, step=step),
            progress,
            cfg=cfg,
            out_dir=out_dir,
            network=made.network,
            optimizers=optimizers,
            start=start,
            resume=resume,
        )
    dimoo.save(made, out_dir, recipe=RECIPE, step=cfg.steps)
    return made


def _with_codes(cfg: DimooPretrainConfig, progress: LessonProgress) -> dimoo.TinyDimoo:
    made = dimoo.build(cfg.seed)
    progress.begin("picture codes", cfg.vq_steps)
    for step, loss in train_vq(DimooPictures(made.vq), cfg):
        progress.note(step, f"loss {loss:.4f}")
    return made


def train_dimoo(
    made: dimoo.TinyDimoo,
    optimizers: Optimizers,
    cfg: DimooPretrainConfig,
    start: int = 0,
    warm_from: int = 0,
) -> Iterator[tuple[int, Tensor]]:
    """Train in place; after each step yield its number, from 1, and its losses by lesson.

    The losses are those of the shares of `WEIGHTS`, whatever shares the step had.
    """
    weights = {drawing: _weights(cfg, drawing) for drawing in (True, False)}
    rows = {drawing: DimooRows(made, cfg, one) for drawing, one in weights.items()}
    made.network.train()
    for step in range(start, cfg.steps):
        # A generator per step: a resumed run sees the rows that the first one would have seen.
        rng = random.Random(f"{cfg.seed}:{step}")
        drawing = step < cfg.drawing_steps
        share = rate_share(step, cfg, start=warm_from)
        optimizers.set_rate(cfg.matrix_lr, cfg.other_lr, share)
        total = torch.zeros(len(WEIGHTS))
        for batch in rows[drawing].batches(_examples(rng, cfg, drawing), rng):
            losses = dimoo_losses(made, batch)
            losses.sum().backward()  # type: ignore[no-untyped-call]
            total += losses.detach()
        nn.utils.clip_grad_norm_(made.network.parameters(), 1.0)
        optimizers.step()
        shown = [WEIGHTS[name] / weight for name, weight in weights[drawing].items()]
        yield step + 1, total * torch.tensor(shown)
    made.network.eval()


def dimoo_losses(made: dimoo.TinyDimoo, batch: DimooBatch) -> Tensor:
    """The loss of each lesson in a batch, weights included, in the order of `WEIGHTS`."""
    hidden_RTC = made.network.hidden(batch.ids_RT, batch.keep_RT)
    logits = made.network.logits(hidden_RTC[batch.row_H, batch.place_H])
    loss_H = F.cross_entropy(logits, batch.wanted_H, reduction="none") * batch.weight_H
    return torch.zeros(len(WEIGHTS)).index_add(0, batch.lesson_H, loss_H)


def _examples(rng: random.Random, cfg: DimooPretrainConfig, drawing: bool) -> list[Example]:
    if not drawing:
        return [one for made in step_examples(rng, cfg).values() for one in made]
    many = replace(cfg, batch_scale=cfg.batch_scale * cfg.drawing_rows)
    groups = step_examples(rng, many)
    return [one for name in DRAWN_GROUPS for one in groups[name]]


def _weights(cfg: DimooPretrainConfig, drawing: bool) -> dict[str, float]:
    """The share of each lesson: all drawings alike at first, then as for Janus but for these."""
    if drawing:
        return dict.fromkeys(WEIGHTS, 1.0)
    return {
        name: weight * (cfg.drawing_weight if name in DRAWN_LESSONS else 1.0)
        for name, weight in WEIGHTS.items()
    }
