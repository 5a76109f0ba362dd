"""The model protocol: one loaded object that says what it can do.

Evaluation sees a `Model`: requests in, replies out, batched, each request with its own seed, so
that a reply does not depend on its neighbors in the batch. A capability that a model lacks is
not called; the runner writes `skipped` rows with the reason.

Training sees a `Policy`, the same shape for autoregressive and masked-diffusion models: `sample`
gives a `Rollout` without old log-probs (they must come from the scoring function, at the training
batch geometry, or classifier-free guidance amplifies the difference past any clip range);
`plan_views` materializes what will be scored, once a step, so that it can be replayed; a call of
the policy, which runs its `forward`, is the only entry that carries gradients. A policy is a torch
module: the protocol names all that a trainer uses of it.

Legend: N rows of a rollout, T completion positions.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple, Protocol

from pairuni_eval.decoding import Decoding
from pairuni_eval.models.outline import Outline
from pairuni_eval.models.trained_module import TrainedModule
from pairuni_eval.records import Capability, ModelIdentity

if TYPE_CHECKING:
    from pathlib import Path

    from PIL import Image
    from torch import Tensor

__all__ = [
    "AUTO",
    "LoadOptions",
    "LogProbs",
    "Memory",
    "Model",
    "ModelIdentity",
    "Policy",
    "PolicyLogits",
    "Reply",
    "Request",
    "Rollout",
    "Task",
    "View",
    "ViewPlan",
]

Task = Literal["und", "gen"]
AUTO = "auto"
Estimator = Literal["trace", "random", "coupled"]
PolicyLogits = Literal["conditional", "cfg", "cfg_detached_uncond"]


class Request(NamedTuple):
    """One thing to answer, draw or edit.

    Attributes:
        parts: Texts and images in order.
        decoding: How to turn the distribution into an output.
        seed: Seed of this request's own generator.
        uid: The output id, for replay and for error messages.
        benchmark: Name of the benchmark that asks; empty outside a run.
        key: The dataset's own id of the sample, for recorded answers.
        draw: Which of several outputs of the sample this is, from 0.
    """

    parts: tuple[str | Image.Image, ...]
    decoding: Decoding
    seed: int
    uid: str
    benchmark: str = ""
    key: str = ""
    draw: int = 0

    @property
    def text(self) -> str:
        """The text parts, joined by blanks."""
        return " ".join(part for part in self.parts if isinstance(part, str))


class Reply(NamedTuple):
    """What the model gave: a text or an image (RGB), and how many tokens it took.

    Attributes:
        text: What it said.
        image: What it drew.
        tokens: How many tokens it took.
        error: What failed at the boundary.
        refused: In what words the model, or a filter around it, declined the request.
    """

    text: str | None = None
    image: Image.Image | None = None
    tokens: int = 0
    error: str | None = None
    refused: str | None = None


@dataclass(frozen=True)
class LoadOptions:
    """Where and how to load.

    Attributes:
        device: A torch device name, or "auto": CUDA where there is one.
        dtype: A torch dtype name, or "auto": the checkpoint's own.
        compiled: Compile the decoding step: slow on the first batches, faster on the many after.
        folder: A folder of the run for what a model remembers of calls that it paid for; None
            keeps nothing.
        remote_code: Run code that lies in the checkpoint, where nothing that is installed reads it.
        arguments: What else an adapter is told by name; only one that `takes_arguments` gets any.
    """

    device: str = AUTO
    dtype: str = AUTO
    compiled: bool = False
    folder: Path | None = None
    remote_code: bool = False
    arguments: Mapping[str, str] = field(default_factory=dict)


class Memory(NamedTuple):
    """What a loaded model takes.

    Attributes:
        weights: Bytes of its weights, in the precision they are loaded in.
        dtype: That precision, e.g. "bfloat16".
        device: Where they lie, e.g. "cpu".
    """

    weights: int
    dtype: str
    device: str


class Model(ABC):
    """Base class of every adapter; an adapter overrides what it declares.

    Attributes:
        capabilities: What `answer`, `draw` and `edit` may be called for.
        identity: Which weights these are.
        hardware: What it runs on, for the run card.
        ran_remote_code: True if code that lies in the checkpoint was run to load it.
        live: False for one that hands out what was made before: questions come to it without their
            images, and no number of rows without an answer stops the run.
        packages: Distributions beside torch, transformers and Pillow that its outputs may depend
            on; the run card has the versions of those that are installed.
        takes_arguments: Whether it reads `LoadOptions.arguments`.
    """

    capabilities: frozenset[Capability]
    identity: ModelIdentity
    hardware: str = "none"
    ran_remote_code: bool = False
    live: ClassVar[bool] = True
    packages: tuple[str, ...] = ()
    takes_arguments: ClassVar[bool] = False
    default_batch_sizes: ClassVar[Mapping[Capability, int]] = {
        Capability.UNDERSTAND: 16,
        Capability.GENERATE: 16,
        Capability.EDIT: 8,
    }

    @classmethod
    @abstractmethod
    def load(cls, checkpoint: str, options: LoadOptions) -> Model:
        """Load a checkpoint: a folder, a hub id or whatever this adapter understands.

        Raises:
            UserError: if the checkpoint is missing, unreadable or not of this adapter's kind.
        """

    @classmethod
    def memory(cls, checkpoint: str, options: LoadOptions) -> Memory | None:  # noqa: ARG003
        """What loading a checkpoint will take, told without loading it; None if nobody can tell.

        Raises:
            UserError: as `load`.
        """
        return None

    @classmethod
    def outline(cls, checkpoint: str) -> Outline | None:  # noqa: ARG003
        """The sizes of a checkpoint's network, told without loading it; None if nobody can tell.

        Raises:
            UserError: as `load`.
        """
        return None

    def is_live(self, capability: Capability) -> bool:  # noqa: ARG002
        """Whether what it gives for a capability is made now; see `live`."""
        return self.live

    def batch_size(self, capability: Capability) -> int:
        """Requests per batch that suit this model."""
        return self.default_batch_sizes[capability]

    def decoding(
        self,
        capability: Capability,  # noqa: ARG002
        benchmark: str,  # noqa: ARG002
        card: Decoding,
    ) -> Decoding:
        """How this model is measured on a benchmark: what its authors published, else the card's.

        Args:
            capability: What the benchmark asks for.
            benchmark: Its name.
            card: The decoding of its card.
        """
        return card

    def settings(self, capability: Capability) -> frozenset[str] | None:  # noqa: ARG002
        """The settings of a decoding that move what it gives; None where it cannot tell.

        One that a person changes and that nothing asked for has is refused.

        Args:
            capability: What is asked for.
        """
        return None

    def presets(self, capability: Capability) -> Mapping[str, Decoding]:  # noqa: ARG002
        """Published decodings of a capability by name, e.g. "bagel@geneval"."""
        return {}

    def answer(self, requests: Sequence[Request]) -> list[Reply]:
        """Answer questions about images in text; one reply per request, in order."""
        raise NotImplementedError

    def draw(self, requests: Sequence[Request]) -> list[Reply]:
        """Draw one image per prompt."""
        raise NotImplementedError

    def edit(self, requests: Sequence[Request]) -> list[Reply]:
        """Change an image as its instruction says."""
        raise NotImplementedError


@dataclass(frozen=True)
class Rollout:
    """What a policy sampled for one task: N rows of T completion tokens.

    Attributes:
        tokens_NT: Token ids (text vocabulary or image codebook).
        mask_NT: True where a token counts.
        conditions: What replay needs, every tensor with N rows first.
        fixed_length: True for images: truncation rules do not apply.
        trace_NT: Step at which each token was committed; None for autoregressive order.
        sampler_logp_NT: Log-prob under the distribution that was sampled from. A diagnostic for
            `|replay - sampler|`; never an old log-prob.
        finite_N: True where every distribution that was sampled from was made of finite numbers;
            `decode` gives an error for the other rows. None if nobody looked.
    """

    task: Task
    tokens_NT: Tensor
    mask_NT: Tensor
    conditions: Mapping[str, Any]
    fixed_length: bool
    trace_NT: Tensor | None = None
    sampler_logp_NT: Tensor | None = field(default=None, repr=False)
    finite_N: Tensor | None = field(default=None, repr=False)

    def __len__(self) -> int:
        """Number of rows N."""
        return int(self.tokens_NT.shape[0])

    def rows(self, index: slice | Tensor) -> Rollout:
        """Some of the rows, with whatever replay needs of them."""

        def some(tensor: Tensor | None) -> Tensor | None:
            return None if tensor is None else tensor[index]

        return Rollout(
            self.task,
            self.tokens_NT[index],
            self.mask_NT[index],
            {key: _rows_of(value, index) for key, value in self.conditions.items()},
            self.fixed_length,
            some(self.trace_NT),
            some(self.sampler_logp_NT),
            some(self.finite_N),
        )


def _rows_of(value: Any, index: slice | Tensor) -> Any:
    """Rows of a condition: of an object that can give some, of a tensor; else the value itself."""
    if hasattr(value, "rows"):
        return value.rows(index)
    return value[index] if hasattr(value, "shape") else value


@dataclass(frozen=True)
class View:
    """One way to score a rollout: which positions are targets, and what the view counts in a row.

    What a row earns is the weighted sum, over its views, of the mean over each view's targets. An
    autoregressive policy has one view, of weight 1, that targets every token; a masked-diffusion
    policy has several, each with its own noisy inputs.

    Attributes:
        target_NT: True where a token is scored.
        weight_N: Weight of this view in each row; those of a row's views sum to 1.
        inputs_NT: What the policy reads in place of the rollout's tokens, stored and not reseeded,
            so that a view can be replayed; None if it reads the tokens.
    """

    target_NT: Tensor
    weight_N: Tensor
    inputs_NT: Tensor | None = None

    def rows(self, index: slice | Tensor) -> View:
        """The view of some of the rows."""
        inputs_NT = None if self.inputs_NT is None else self.inputs_NT[index]
        return View(self.target_NT[index], self.weight_N[index], inputs_NT)


class ViewPlan(NamedTuple):
    """How a masked-diffusion policy scores rollouts; an autoregressive one has nothing to choose.

    Attributes:
        estimator: "trace" scores what was kept in a group of the sampler's steps from the state
            that the group began with; "random" masks of each row, "coupled" such a mask and its
            complement.
        groups: Groups of the steps of a picture, at most; an answer has a view for each step.
    """

    estimator: Estimator = "trace"
    groups: int = 4


TRACE = ViewPlan()


class NormalSteps(NamedTuple):
    """Normally distributed steps: their means (N, T, ...) and standard deviations (N, T)."""

    mean: Tensor
    width_NT: Tensor


class LogProbs(NamedTuple):
    """Per-token log-probs of the sampled tokens (N, T), and the entropy where asked (N, T).

    `steps` are there where a token is a noisy step: two of one width have a divergence in closed
    form.
    """

    logp_NT: Tensor
    entropy_NT: Tensor | None = None
    steps: NormalSteps | None = None


class Policy(TrainedModule, Protocol):
    """What a trainer needs of a model that is reinforced: sampling and scoring."""

    @property
    def tasks(self) -> frozenset[Task]:
        """The tasks it can sample and score."""
        ...

    def sample(
        self, task: Task, requests: Sequence[Request], *, record_logp: bool = False
    ) -> Rollout:
        """Sample one completion per request, without gradients."""
        ...

    def plan_views(
        self, rollout: Rollout, seeds: Sequence[int], plan: ViewPlan = TRACE
    ) -> list[View]:
        """The views to score this rollout by, as many for every rollout of a task.

        Args:
            rollout: N rows.
            seeds: N seeds: a row's views depend on neither its neighbors nor its place.
            plan: Which views, where there is a choice.
        """
        ...

    def __call__(
        self,
        rollout: Rollout,
        view: View,
        *,
        policy_logits: PolicyLogits = "conditional",
        with_entropy: bool = False,
    ) -> LogProbs:
        """Differentiable log-probs of the rollout's tokens: `forward`, inside what wraps it."""
        ...

    def decode(self, rollout: Rollout, *, together: int = 1) -> list[Reply]:
        """Texts or images of a rollout; `together` images are decoded at once."""
        ...
