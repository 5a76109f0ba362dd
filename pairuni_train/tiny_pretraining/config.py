"""The settings of a pretraining of the tiny model."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from pairuni_eval.toolkit.networks import janus


@dataclass(frozen=True)
class NameLessons:
    """Lessons about made-up names, besides the ordinary ones; without any, all is as for `tiny`.

    Attributes:
        talks: Talks of eight questions about names that every step has, times `batch_scale`.
        drawings: Drawings of names that every step has, times `batch_scale`.
        thoughts: Whether what a name stands for is said before the answer.
        aloud: Share of the questions about one thing in common words (`thoughts`) that are answered
            with a thought as well: so the way to answer is learned from more than names.
    """

    talks: int = 0
    drawings: int = 0
    thoughts: bool = True
    aloud: float = 0.0

    def __post_init__(self) -> None:
        """Refuse what is no share."""
        if not 0 <= self.aloud <= 1:
            raise ValueError(f"{self.aloud} is no share of lessons: it lies between 0 and 1")

    @property
    def any(self) -> bool:
        """Whether a model needs the tokens of names."""
        return max(self.talks, self.drawings, self.aloud) > 0


@dataclass(frozen=True)
class PretrainConfig:
    """Everything that decides the outcome; a small `steps` makes a smoke test.

    Attributes:
        names: Lessons about made-up names.
        start: From untrained weights, or from those of `tiny` with rows for the tokens of names.
    """

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
    names: NameLessons = field(default_factory=NameLessons)
    start: Literal["nothing", "tiny"] = "nothing"


def early(seed: int, *, thoughts: bool = True) -> PretrainConfig:
    """The settings of `tiny-early`: from `tiny`, and over while names are half known.

    Chosen on tiny-tuning, among eight tried, so that questions about names are answered in six to
    eight of ten cases and pairs of names drawn in two to four and a half (docs/tiny-names.md). One
    thread, so that the weights do not depend on the number of cores.

    Args:
        seed: 0 is `tiny-early`, 1 is `tiny-early-1`.
        thoughts: False makes the control that answers without saying what a name stands for.
    """
    names = NameLessons(talks=12, drawings=96, thoughts=thoughts, aloud=0.3 * thoughts)
    return PretrainConfig(
        seed=seed, steps=240, batch_scale=0.5, threads=1, names=names, start="tiny", save_every=60
    )
