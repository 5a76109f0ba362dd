"""The run: codes first, then vision tower and language model, with a bar and checkpoints.

Shapes: B rows, T tokens, N = 16 cells, H hidden size, C channels.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import JanusForConditionalGeneration

from pairuni_eval.api.tiny import NAME_TOKENS
from pairuni_eval.toolkit.networks import janus
from pairuni_train.tiny_pretraining.batches import ExampleEncoder, PretrainBatch, step_examples
from pairuni_train.tiny_pretraining.checkpointing import take_steps
from pairuni_train.tiny_pretraining.config import PretrainConfig
from pairuni_train.tiny_pretraining.curriculum import WEIGHTS
from pairuni_train.tiny_pretraining.optimizers import Optimizers, build_optimizers, rate_share
from pairuni_train.tiny_pretraining.picture_codes import JanusPictures, train_vq
from pairuni_train.tiny_pretraining.progress import LessonProgress, lesson_progress

RECIPE, EARLY_RECIPE = "pairuni-tiny-1", "pairuni-tiny-early-1"


def batch_losses(model: JanusForConditionalGeneration, batch: PretrainBatch) -> Tensor:
    """The loss of each lesson in a batch, weights included, in the order of `WEIGHTS`."""
    hidden_BTH = _hidden(model, batch)
    # The hidden state before a place predicts what stands there.
    wanted_BT = batch.weight_BT[:, 1:] > 0
    before = hidden_BTH[:, :-1][wanted_BT]
    if batch.codes_BN is not None:
        logits, target = model.model.generation_head(before), batch.codes_BN.reshape(-1)
    else:
        logits, target = model.lm_head(before), batch.ids_BT[:, 1:][wanted_BT]
    loss = F.cross_entropy(logits, target, reduction="none") * batch.weight_BT[:, 1:][wanted_BT]
    return torch.zeros(len(WEIGHTS)).index_add(0, batch.lesson_BT[:, 1:][wanted_BT], loss)


def _hidden(model: JanusForConditionalGeneration, batch: PretrainBatch) -> Tensor:
    embeds_BTH = model.get_input_embeddings()(batch.ids_BT)
    if batch.pixels_BCHW is not None and len(batch.pixels_BCHW):
        features = model.model.get_image_features(batch.pixels_BCHW).pooler_output
        embeds_BTH = embeds_BTH.masked_scatter(batch.image_BT[..., None], features)
    if batch.codes_BN is not None:
        drawn = model.prepare_embeddings_for_image_generation(batch.codes_BN)
        embeds_BTH = embeds_BTH.masked_scatter(batch.code_BT[..., None], drawn)
    # Padding is on the right, so the causal mask alone is right and the fast kernel applies.
    hidden: Tensor = model.model.language_model(
        inputs_embeds=embeds_BTH, use_cache=False
    ).last_hidden_state
    return hidden


def pretrain(cfg: PretrainConfig, out_dir: Path, *, resume: Path | None = None) -> janus.Tiny:
    """Train and write the folder `out_dir`; checkpoints lie in `out_dir/step-N`.

    `resume` names a checkpoint to go on from: its weights, its step number and, where they lie
    beside them, what its optimizers remember. With these a run that was stopped ends as one that
    never was, to the bit on one machine; without them the optimizers start afresh.

    Returns:
        the trained model and its processor.
    """
    torch.set_num_threads(cfg.threads)
    recipe = EARLY_RECIPE if cfg.names.any else RECIPE
    with lesson_progress() as progress:
        if resume is None:
            tiny, start = _untaught(cfg, progress), 0
        else:
            tiny, start = janus.load(resume), janus.step_of(resume)
        optimizers = build_optimizers(tiny.model, cfg)
        take_steps(
            lambda done, began: train_model(Lessons(tiny, optimizers, done, began), cfg),
            lambda folder, step: janus.save(tiny, folder, recipe=recipe, step=step),
            progress,
            cfg=cfg,
            out_dir=out_dir,
            network=tiny.model,
            optimizers=optimizers,
            start=start,
            resume=resume,
        )
    janus.save(tiny, out_dir, recipe=recipe, step=cfg.steps)
    return tiny


def _untaught(cfg: PretrainConfig, progress: LessonProgress) -> janus.Tiny:
    """What the first step begins with."""
    if cfg.start == "tiny":
        return janus.with_tokens(janus.load(janus.shipped()), NAME_TOKENS, seed=cfg.seed)
    return _with_picture_codes(cfg, progress)


def _with_picture_codes(cfg: PretrainConfig, progress: LessonProgress) -> janus.Tiny:
    tiny = janus.build(cfg.seed, cfg.size, NAME_TOKENS if cfg.names.any else ())
    progress.begin("picture codes", cfg.vq_steps)
    for step, loss in train_vq(JanusPictures(tiny.model.model.vqmodel), cfg):
        progress.note(step, f"loss {loss:.4f}")
    return tiny


class Lessons(NamedTuple):
    """A model in training.

    Attributes:
        start: The last step that is done.
        warm_from: The step at which its optimizers began.
    """

    tiny: janus.Tiny
    optimizers: Optimizers
    start: int = 0
    warm_from: int = 0


def train_model(lessons: Lessons, cfg: PretrainConfig) -> Iterator[tuple[int, Tensor]]:
    """Train in place; after each step yield its number, from 1, and its losses by lesson."""
    tiny, optimizers, start, warm_from = lessons
    encoder = ExampleEncoder(tiny.processor, cfg)
    tiny.model.train()
    for step in range(start, cfg.steps):
        # A generator per step: a resumed run sees the rows that the first one would have seen.
        rng = random.Random(f"{cfg.seed}:{step}")
        share = rate_share(step, cfg, start=warm_from)
        optimizers.set_rate(cfg.matrix_lr, cfg.other_lr, share)
        losses = _train_step(tiny.model, encoder, optimizers, cfg, rng)
        yield step + 1, losses
    tiny.model.eval()


def _train_step(
    model: JanusForConditionalGeneration,
    encoder: ExampleEncoder,
    optimizers: Optimizers,
    cfg: PretrainConfig,
    rng: random.Random,
) -> Tensor:
    total = torch.zeros(len(WEIGHTS))
    for examples in step_examples(rng, cfg).values():
        losses = batch_losses(model, encoder.batch(examples, rng))
        losses.sum().backward()  # type: ignore[no-untyped-call]
        total += losses.detach()
    nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizers.step()
    return total
