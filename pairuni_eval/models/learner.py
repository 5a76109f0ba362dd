"""The protocol of a model that learns from examples: questions with answers, prompts with pictures.

A `Lesson` becomes a `PreparedLesson` (tokens, noises, how long it is and what its loss is divided
by), which depends on the lesson alone; a call of the learner gives the summed losses of some of
them, with gradients. So it does not matter to a step how its lessons are put together.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, runtime_checkable

from pairuni_eval.models.base import Task
from pairuni_eval.models.trained_module import TrainedModule
from pairuni_eval.records import Capability, ModelIdentity

if TYPE_CHECKING:
    from PIL import Image
    from torch import Tensor


class Lesson(NamedTuple):
    """Something to be learned.

    Attributes:
        task: Understanding or generation.
        text: The question, or the prompt.
        picture: What is asked about, or what is to be drawn.
        answer: What is said; empty of a drawing.
        seed: Of everything that is drawn at random for it.
    """

    task: Task
    text: str
    picture: Image.Image
    answer: str
    seed: int


class LessonSettings(NamedTuple):
    """How lessons are prepared.

    Attributes:
        prompt_dropout: Share of prompts that are left out, for guidance.
        time_shift: Moves the times of flow matching towards noise; 1 leaves them.
        reweighted: A word counts 1 over the root of the length of its answer.
        longest: Pixels of the longer side of what is drawn, at most; None: the checkpoint's own.
    """

    prompt_dropout: float = 0.1
    time_shift: float = 1.0
    reweighted: bool = False
    longest: int | None = None


class PreparedLesson(NamedTuple):
    """A lesson as a model reads it.

    Attributes:
        task: Of the lesson.
        length: Tokens that it takes.
        over: What its summed loss is divided by: its words, or its places.
        inputs: For the learner alone.
    """

    task: Task
    length: int
    over: float
    inputs: Any


class Learner(TrainedModule, Protocol):
    """What a trainer needs of a model that is taught."""

    def prepare(self, lessons: Sequence[Lesson]) -> list[PreparedLesson]:
        """Lessons as the model reads them, without gradients."""
        ...

    def __call__(self, prepared: Sequence[PreparedLesson]) -> Mapping[Task, Tensor]:
        """The summed loss of each task that is there, with gradients: `forward`."""
        ...


@runtime_checkable
class LearnerModel(Protocol):
    """A loaded model whose weights can be taught."""

    identity: ModelIdentity
    capabilities: frozenset[Capability]

    def learner(self, settings: LessonSettings) -> Learner:
        """The same weights as a learner."""
        ...
