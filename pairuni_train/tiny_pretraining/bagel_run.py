"""Pretraining of the tiny BAGEL: the auto-encoder first, then answers, drawings and edits at once.

The experts begin with the weights of the tiny Janus and are taught its lessons on its scenes. The
rates of both optimizers stay at their peaks for two thirds of the steps and fall to zero in a line.

Legend: R rows, W places of the understanding expert, G of the generation expert, T latent tokens of
a row that are drawn, K noises of a row, C numbers of a latent token, D hidden size.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pairuni_eval.api.tiny import world
from pairuni_eval.toolkit.networks import (
    Bagel,
    Routing,
    bagel,
    janus,
    patches,
    places,
    visible_tokens,
)
from pairuni_train.tiny_pretraining.bagel_rows import BagelRowMaker, BagelRows
from pairuni_train.tiny_pretraining.bagel_warm_start import warm_start
from pairuni_train.tiny_pretraining.batches import pixels_of, step_examples
from pairuni_train.tiny_pretraining.checkpointing import take_steps
from pairuni_train.tiny_pretraining.config import PretrainConfig
from pairuni_train.tiny_pretraining.curriculum import DRAWN_GROUPS, DRAWN_LESSONS, WEIGHTS
from pairuni_train.tiny_pretraining.optimizers import Optimizers, optimizers_for, rate_share
from pairuni_train.tiny_pretraining.picture_latents import LATENT_PATCH, train_autoencoder
from pairuni_train.tiny_pretraining.progress import LessonProgress, lesson_progress

RECIPE = "pairuni-tiny-bagel-1"
_OUTER = ("embed", "lm_head", "vae2llm", "llm2vae")  # what AdamW updates among the matrices
_ANSWERED = ("mmmu", "mmstar", "open", "mme", "pope", "locate", "read_grid")  # lessons


@dataclass(frozen=True)
class BagelPretrainConfig(PretrainConfig):
    """Everything that decides the outcome; `vq_*` are the auto-encoder's.

    Attributes:
        start: The experts' first weights: those of the tiny Janus, or drawn.
        scales: How many times its rows a group of lessons has.
        noises: Noisy versions of a drawing, by group.
        hold: Share of the steps before the rates fall.
        word_share: What the cross-entropy of all lessons together counts,
        velocity_share: and the error of all velocities.
        time_shift: Moves times towards noise.
    """

    steps: int = 2000
    threads: int = 1
    save_every: int = 100
    vq_steps: int = 400
    vq_batch: int = 8
    start: Literal["nothing", "tiny"] = "tiny"
    scales: Mapping[str, float] = field(
        default_factory=lambda: {
            **{"choice": 0.25, "short": 0.3, "dense": 0.25},
            **{"draw": 1.2, "edit": 0.6},
        }
    )
    noises: Mapping[str, int] = field(default_factory=lambda: {"draw": 4, "edit": 3})
    hold: float = 0.65
    word_share: float = 0.1
    velocity_share: float = 2.0
    time_shift: float = 2.0


def pretrain_bagel(
    cfg: BagelPretrainConfig, out_dir: Path, *, resume: Path | None = None
) -> bagel.TinyBagel:
    """Train and write the folder `out_dir`; checkpoints lie in `out_dir/step-N`.

    `resume` names one to go on from, to the bit on one machine where its optimizers' state is
    beside it.
    """
    torch.set_num_threads(cfg.threads)
    with lesson_progress() as progress:
        if resume is None:
            made, start = _untaught(cfg, progress), 0
        else:
            made, start = bagel.load(resume), bagel.step_of(resume)
        made.autoencoder.requires_grad_(False)
        optimizers = optimizers_for(made.network, cfg, outer=_OUTER)
        take_steps(
            partial(train_bagel, made, optimizers, cfg),
            lambda folder, step: bagel.save(made, folder, recipe=RECIPE, step=step),
            progress,
            cfg=cfg,
            out_dir=out_dir,
            network=made.network,
            optimizers=optimizers,
            start=start,
            resume=resume,
        )
    # To be shipped, in half the bytes; a checkpoint that a run goes on from is whole.
    bagel.save(made, out_dir, recipe=RECIPE, step=cfg.steps, stored=torch.bfloat16)
    return made


def _untaught(cfg: BagelPretrainConfig, progress: LessonProgress) -> bagel.TinyBagel:
    made = bagel.build(cfg.seed)
    if cfg.start == "tiny":
        warm_start(made, janus.load(janus.shipped()))
    progress.begin("auto-encoder", cfg.vq_steps)
    for step, loss in train_autoencoder(made.autoencoder, cfg):
        progress.note(step, f"loss {loss:.4f}")
    return made


def train_bagel(
    made: bagel.TinyBagel,
    optimizers: Optimizers,
    cfg: BagelPretrainConfig,
    start: int = 0,
    warm_from: int = 0,
) -> Iterator[tuple[int, Tensor]]:
    """Train in place; after each step yield its number, from 1, and its losses by lesson."""
    counts = _shares(cfg)
    made.network.train()
    for step in range(start, cfg.steps):
        # Generators per step: a resumed run sees the rows and noises that the first one would have.
        rng = random.Random(f"{cfg.seed}:{step}")
        noise = torch.Generator().manual_seed(rng.getrandbits(60))
        share = rate_share(step, cfg, start=warm_from, hold=cfg.hold)
        optimizers.set_rate(cfg.matrix_lr, cfg.other_lr, share)
        total = torch.zeros(len(WEIGHTS))
        for group, examples in step_examples(rng, cfg, cfg.scales).items():
            maker = BagelRowMaker(made, cfg, cfg.noises.get(group, 0), cfg.time_shift)
            losses = bagel_losses(made, maker.rows(examples, rng), noise)
            (losses * counts[group in DRAWN_GROUPS]).sum().backward()  # type: ignore[no-untyped-call]
            total += losses.detach()
        nn.utils.clip_grad_norm_(made.network.parameters(), 1.0)
        optimizers.step()
        yield step + 1, total
    made.network.eval()


def bagel_losses(made: bagel.TinyBagel, rows: BagelRows, noise: torch.Generator) -> Tensor:
    """The loss of each lesson, weights included, in the order of `WEIGHTS`.

    Args:
        made: The model.
        rows: What it is taught.
        noise: Draws the noise of latents.
    """
    network = made.network
    words_RWD = _words(made, rows)
    position_RL, picture_RL, noisy_RL, branch_RL, sample_RL = rows.tokens_5RL
    visible_RLL = visible_tokens(position_RL, sample_RL, picture_RL, noisy_RL.bool())
    alone = branch_RL[:, None] == -1
    visible_RLL &= alone | (branch_RL[:, :, None] == branch_RL[:, None])
    width = words_RWD.shape[1]
    if not len(rows.drawings_RN):
        hidden_RLD, _ = network.experts(
            words_RWD, position_RL, Routing(slice(None), None), mask_RLS=visible_RLL
        )
        return _word_losses(network, rows, hidden_RLD)
    latents_RGD, wanted_RTC = _latents(made, rows, noise)
    hidden_RLD, _ = network.experts(
        torch.cat((words_RWD, latents_RGD), dim=1),
        position_RL,
        Routing(slice(0, width), slice(width, None)),
        mask_RLS=visible_RLL,
    )
    velocity_RTC = network.llm2vae(hidden_RLD[:, -wanted_RTC.shape[1] :])
    error_R = (velocity_RTC - wanted_RTC).square().mean((1, 2)) * rows.drawn_weight_R
    return torch.zeros(len(WEIGHTS)).index_add(0, rows.drawn_lesson_R, error_R)


def _word_losses(network: Bagel, rows: BagelRows, hidden_RLD: Tensor) -> Tensor:
    logits_EV = network.language_model.lm_head(hidden_RLD[rows.row_E, rows.place_E])
    loss_E = F.cross_entropy(logits_EV, rows.label_E, reduction="none") * rows.weight_E
    return torch.zeros(len(WEIGHTS)).index_add(0, rows.word_lesson_E, loss_E)


def _words(made: bagel.TinyBagel, rows: BagelRows) -> Tensor:
    """What the understanding expert reads (R, W, D)."""
    network, config = made.network, made.config
    words_RWD = network.words(rows.ids_RW)
    if rows.seen is None:
        return words_RWD
    grid = (world.GRID, world.GRID)
    seen_RVD = network.seen(
        patches(rows.pixels_RCHW, config.vision.patch_size), places(grid, config.vision_side)
    )
    after = rows.seen + seen_RVD.shape[1]
    return torch.cat((words_RWD[:, : rows.seen], seen_RVD, words_RWD[:, after:]), dim=1)


def _latents(
    made: bagel.TinyBagel, rows: BagelRows, noise: torch.Generator
) -> tuple[Tensor, Tensor]:
    """What the generation expert reads (R, G, D), and the velocities that are wanted (R, T, C)."""
    count, many = rows.times_RK.shape
    drawings_RVC = encoded(made, rows.drawings_RN, noise)
    wanted_RKVC = drawings_RVC[:, None].expand(-1, many, -1, -1)
    noise_RKVC = torch.randn(wanted_RKVC.shape, generator=noise)
    time_RK11 = rows.times_RK[..., None, None]
    mixed_RKVC = (1 - time_RK11) * wanted_RKVC + time_RK11 * noise_RKVC
    tokens_RGC = mixed_RKVC.flatten(1, 2)
    time_RG = rows.times_RK.repeat_interleave(world.CELLS, dim=1)
    if rows.seen is not None:
        tokens_RGC = torch.cat((encoded(made, rows.sources_RN, noise), tokens_RGC), dim=1)
        time_RG = torch.cat((torch.zeros(count, world.CELLS), time_RG), dim=1)
    place_V = places((world.GRID, world.GRID), made.config.latent_side)
    place_RG = place_V.repeat(tokens_RGC.shape[1] // world.CELLS).expand(count, -1)
    read_RGD = made.network.latents(tokens_RGC, place_RG, time_RG)
    return read_RGD, (noise_RKVC - wanted_RKVC).flatten(1, 2)


@torch.no_grad()
def encoded(made: bagel.TinyBagel, states_RN: Tensor, noise: torch.Generator) -> Tensor:
    """Latent tokens (R, V, C) of pictures of cell states."""
    moments = made.autoencoder.moments(pixels_of(states_RN.numpy()))
    shape = (len(moments), moments.shape[1] // 2, *moments.shape[2:])
    latents = made.autoencoder.drawn(moments, torch.randn(shape, generator=noise))
    return patches(latents, LATENT_PATCH)


def _shares(cfg: BagelPretrainConfig) -> dict[bool, float]:
    """What losses are multiplied by, of drawings and of words: lessons together count a share."""
    drawn = sum(weight for name, weight in WEIGHTS.items() if name in DRAWN_LESSONS)
    said = sum(WEIGHTS[name] for name in _ANSWERED)
    return {True: cfg.velocity_share / drawn, False: cfg.word_share / said}
