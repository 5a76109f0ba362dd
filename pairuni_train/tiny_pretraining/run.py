"""The run: codes first, then vision tower and language model, with a bar and checkpoints.

Shapes: B rows, T tokens, N = 16 cells, H hidden size, C channels.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from pathlib import Path

import torch
import torch.nn.functional as F
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from torch import Tensor, nn
from transformers import JanusForConditionalGeneration

from pairuni_eval.toolkit.networks import janus
from pairuni_eval.toolkit.progress import Progress
from pairuni_train.tiny_pretraining.batches import ExampleEncoder, PretrainBatch, step_examples
from pairuni_train.tiny_pretraining.config import PretrainConfig
from pairuni_train.tiny_pretraining.curriculum import WEIGHTS
from pairuni_train.tiny_pretraining.optimizers import Optimizers, build_optimizers, rate_share
from pairuni_train.tiny_pretraining.picture_codes import train_vq

RECIPE = "pairuni-tiny-1"


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


def _console_progress() -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[losses]}"),
        console=Console(stderr=True),
    )


def _loss_line(losses: Tensor) -> str:
    parts = zip(WEIGHTS.items(), losses.tolist(), strict=True)
    return " ".join(f"{name} {loss / weight:.3f}" for (name, weight), loss in parts)


def pretrain(cfg: PretrainConfig, out_dir: Path, *, resume: Path | None = None) -> janus.Tiny:
    """Train and write the folder `out_dir`; checkpoints lie in `out_dir/step-N`.

    `resume` names a checkpoint to go on from: its weights and its step number. The optimizers
    start afresh there, so a resumed run is not bit-identical to one that was never stopped.

    Returns:
        the trained model and its processor.
    """
    torch.set_num_threads(cfg.threads)
    with _console_progress() as progress:
        if resume is None:
            tiny, start = _with_picture_codes(cfg, progress), 0
        else:
            tiny, start = janus.load(resume), janus.step_of(resume)
        for step in _train_with_bar(tiny, cfg, start, progress):
            if step % cfg.save_every == 0 and step < cfg.steps:
                janus.save(tiny, out_dir / f"step-{step}", recipe=RECIPE, step=step)
    janus.save(tiny, out_dir, recipe=RECIPE, step=cfg.steps)
    return tiny


def _with_picture_codes(cfg: PretrainConfig, progress: Progress) -> janus.Tiny:
    tiny = janus.build(cfg.seed, cfg.size)
    bar = progress.add_task("picture codes", total=cfg.vq_steps, losses="")
    for step, loss in train_vq(tiny.model.model.vqmodel, cfg):
        progress.update(bar, completed=step, losses=f"loss {loss:.4f}")
    return tiny


def _train_with_bar(
    tiny: janus.Tiny, cfg: PretrainConfig, start: int, progress: Progress
) -> Iterator[int]:
    bar = progress.add_task("model", total=cfg.steps, completed=start, losses="")
    started = time.monotonic()
    for step, losses in train_model(tiny, cfg, start=start):
        progress.update(bar, completed=step, losses=_loss_line(losses))
        if step % 50 == 0:
            seconds = time.monotonic() - started
            progress.console.print(f"step {step} after {seconds:.0f} s: {_loss_line(losses)}")
        yield step


def train_model(
    tiny: janus.Tiny, cfg: PretrainConfig, *, start: int = 0
) -> Iterator[tuple[int, Tensor]]:
    """Train in place; after each step yield its number, from 1, and the smoothed losses."""
    encoder = ExampleEncoder(tiny.processor, cfg)
    optimizers = build_optimizers(tiny.model, cfg)
    tiny.model.train()
    smooth = torch.zeros(len(WEIGHTS))
    for step in range(start, cfg.steps):
        # A generator per step: a resumed run sees the rows that the first one would have seen.
        rng = random.Random(f"{cfg.seed}:{step}")
        share = rate_share(step, cfg, start=start)
        optimizers.set_rate(cfg.matrix_lr, cfg.other_lr, share)
        losses = _train_step(tiny.model, encoder, optimizers, cfg, rng)
        memory = min(0.95, (step - start) / (step - start + 1))
        smooth = memory * smooth + (1 - memory) * losses
        yield step + 1, smooth
    tiny.model.eval()


def _train_step(
    model: JanusForConditionalGeneration,
    encoder: ExampleEncoder,
    optimizers: Optimizers,
    cfg: PretrainConfig,
    rng: random.Random,
) -> Tensor:
    total = torch.zeros(len(WEIGHTS))
    for examples in step_examples(rng, cfg.batch_scale).values():
        losses = batch_losses(model, encoder.batch(examples, rng))
        losses.sum().backward()  # type: ignore[no-untyped-call]
        total += losses.detach()
    nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizers.step()
    return total
