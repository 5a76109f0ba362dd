"""The settings of a pretraining of the tiny model."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from pairuni_eval.toolkit.networks import janus

EARLY_NAMES = 0.005  # share of the lessons of `tiny-early` that are about names
EARLY_END = 0.75  # of its steps


@dataclass(frozen=True)
class NameLessons:
    """How much of the lessons is about made-up names; without any, all is as for `tiny`.

    Attributes:
        asked: Share of the questions that are about a name instead.
        drawn: Share of the drawings of GenEval's six kinds that are of names instead.
        thoughts: Whether what a name stands for is said before the answer.
        aloud: Share of the questions about one thing in common words (`thoughts`) that are answered
            with a thought as well: so the way to answer is learned though names are scarce.
    """

    asked: float = 0.0
    drawn: float = 0.0
    thoughts: bool = True
    aloud: float = 0.0

    def __post_init__(self) -> None:
        """Refuse what is no share."""
        for share in (self.asked, self.drawn, self.aloud):
            if not 0 <= share <= 1:
                raise ValueError(f"{share} is no share of lessons: it lies between 0 and 1")

    @property
    def any(self) -> bool:
        """Whether a model needs the tokens of names."""
        return max(self.asked, self.drawn, self.aloud) > 0


@dataclass(frozen=True)
class PretrainConfig:
    """Everything that decides the outcome; a small `steps` makes a smoke test.

    Attributes:
        names: Lessons about made-up names.
        start: From untrained weights, or from those of `tiny` with rows for the tokens of names.
        end: Share of the steps after which it stops, with the rate that it then has: a base that
            still has something to learn.
        rate: What both learning rates are multiplied by; a trained model that goes on may want
            less than an untrained one.
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
    end: float = 1.0
    rate: float = 1.0

    @property
    def last_step(self) -> int:
        """The step that it stops after."""
        return max(1, round(self.steps * self.end))
