"""What PairGRPO can be told: rewards, rollouts, batch sizes, objective, optimizer, adapters.

Records without torch, for reading a recipe waits for nothing. A value out of the range that a
record names is refused where the recipe is read.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec

from pairuni_eval.api import Decoding
from pairuni_eval.toolkit.data import Count, NotNegative, Positive, Strict
from pairuni_eval.toolkit.models import Estimator, PolicyLogits, ViewPlan

_Decay = Annotated[float, msgspec.Meta(ge=0, lt=1)]


class RewardSpec(Strict, frozen=True, kw_only=True):
    """One reward of a weighted sum.

    Attributes:
        name: The plugin's name, e.g. "hps", or a benchmark's rule, e.g. "scorer:mmmu@no-guess".
        weight: Its factor in the sum.
        options: Its own settings.
    """

    name: str
    weight: float = 1.0
    options: dict[str, Any] = {}


class TaskSpec(Strict, frozen=True, kw_only=True):
    """How one task is sampled, rewarded and weighed.

    Attributes:
        rollouts: Rollouts per prompt, the size of a group: at least 2, or no rollout has anything
            to be compared with.
        decoding: Temperature above 0, top_k 0 and top_p 1, or the policy learns from a distribution
            that is not its own.
        rewards: At least one; none twice, for a reward is known by its name.
        instruction: Appended to the question, e.g. the form of the answer.
        weight: lambda, the factor of this task's loss.

    Raises:
        ValueError: for rewards or decoding that nothing can be learned from.
    """

    rollouts: Annotated[int, msgspec.Meta(ge=2)]
    decoding: Decoding
    rewards: tuple[RewardSpec, ...]
    instruction: str = ""
    weight: NotNegative = 1.0

    def __post_init__(self) -> None:
        names = [reward.name for reward in self.rewards]
        if not names:
            raise ValueError("there is no reward")
        for name in names:
            if names.count(name) > 1:
                raise ValueError(
                    "a reward is known by its name (add the weights up, or enter the second one "
                    f"under a name of its own), and '{name}' is named {names.count(name)} times"
                )
        if self.decoding.temperature <= 0.0:
            raise ValueError(
                "greedy rollouts of one prompt are all alike, and nothing can be learned from "
                f"them: decoding.temperature is {self.decoding.temperature}"
            )
        if self.decoding.top_k or self.decoding.top_p != 1.0:
            raise ValueError(
                "the log-probs that are trained would be those of another policy than the one "
                "that samples: top_k or top_p cuts the distribution"
            )
        if self.decoding.noise == "official-bf16" or self.decoding.cache_ratio is not None:
            raise ValueError(
                "the log-probs that are trained would be those of another policy than the one "
                "that samples: coarser noise and a cache change what is drawn"
            )


class BatchSpec(Strict, frozen=True, kw_only=True):
    """How much is done at once; only the first number changes what is learned.

    Attributes:
        pairs_per_step: Pairs in the global batch of a step, over all ranks.
        rollout_batch: Rollouts that are sampled together.
        micro_batch: Rollouts per forward and backward pass.
        dynamic_rounds: Further rounds of rows that may be drawn where groups have no spread
            (`pairuni_train.grpo.dynamic_sampling`); 0 trains on what comes.
    """

    pairs_per_step: Count
    rollout_batch: Count
    micro_batch: Count
    dynamic_rounds: Annotated[int, msgspec.Meta(ge=0)] = 0


class ObjectiveSpec(Strict, frozen=True, kw_only=True):
    """The objective of a task (`pairuni_train.grpo.objective`) and how often it is followed.

    Attributes:
        inner_steps: Optimizer steps on the same rollouts.
        beta: Weight of the KL to the checkpoint that training starts from; 0 keeps no copy of it.
        clip_low: How far below 1 a ratio may move.
        clip_high: How far above 1 a ratio may move.
        policy_logits: Whose probability an image token has; see `pairuni_eval.models.janus.policy`.
        estimator: How a masked-diffusion policy scores its rollouts; see `ViewPlan`.
        view_groups: Groups of the steps of a picture's trace; as many as steps are exact.
        scale_rewards: Divide advantages by the standard deviation of their group; Dr.GRPO does not.
        length_norm: What the sum over a sequence's tokens is divided by: their number, or, as in
            Dr.GRPO, the number that it may have at most.
        importance_level: Whether each token has a ratio of its own, or, as in GSPO, a sequence one.
        dead_groups: Whether rollouts of groups without spread are scored, to be counted in the
            metrics of tokens; they have no gradient either way.
    """

    inner_steps: Count = 1
    beta: NotNegative = 0.0
    clip_low: NotNegative = 0.2
    clip_high: NotNegative = 0.2
    policy_logits: PolicyLogits = "conditional"
    estimator: Estimator = "trace"
    view_groups: Count = 4
    scale_rewards: bool = True
    length_norm: Literal["sequence", "constant"] = "sequence"
    importance_level: Literal["token", "sequence"] = "token"
    dead_groups: Literal["counted", "left_out"] = "counted"

    @property
    def views(self) -> ViewPlan:
        """How rollouts are scored, where a policy has a choice."""
        return ViewPlan(self.estimator, self.view_groups)


class OptimizerSpec(Strict, frozen=True, kw_only=True):
    """AdamW.

    Attributes:
        lr: Learning rate, constant after `warmup` steps.
        betas: Decay of the two running averages, each below 1.
        weight_decay: Share of a weight that a step takes off, times the learning rate.
        warmup: Steps in which the learning rate rises from 0, linearly.
        max_grad_norm: A longer gradient is shortened to this.
    """

    lr: NotNegative
    betas: tuple[_Decay, _Decay] = (0.9, 0.999)
    weight_decay: NotNegative = 0.0
    warmup: Annotated[int, msgspec.Meta(ge=0)] = 0
    max_grad_norm: Positive = 1.0


class LoraSpec(Strict, frozen=True, kw_only=True):
    """Low-rank adapters instead of full weights (peft)."""

    rank: Count = 16
    alpha: Count = 32
    targets: tuple[str, ...] = ("q_proj", "k_proj", "v_proj", "o_proj")
