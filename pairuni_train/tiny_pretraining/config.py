"""The settings of a pretraining of the tiny model."""

from __future__ import annotations

from dataclasses import dataclass, field

from pairuni_eval.toolkit.networks import janus


@dataclass(frozen=True)
class PretrainConfig:
    """Everything that decides the outcome; a small `steps` makes a smoke test."""

    seed: int = 0
    steps: int = 3000
    matrix_lr: float = 4e-3
    other_lr: float = 4e-3
    weight_decay: float = 0.02
    warmup: float = 0.04
    prompt_dropout: float = 0.1
    unknown_words: float = 0.01
    vq_steps: int = 400
    vq_batch: int = 16
    vq_matrix_lr: float = 1.5e-2
    vq_lr: float = 1e-2
    batch_scale: float = 1.0
    save_every: int = 250
    threads: int = 2
    size: janus.TinySize = field(default_factory=janus.TinySize)
