"""What a training run is: an arm of the experiment under a recipe.

An arm (a table of `arms.toml`, or a file of your own) is what differs between the rows of a table:
which pair set it trains on, how a pair's similarity weights the advantages, whether conflicting
gradients are projected. A recipe (`recipes/NAME.toml`) holds everything else: checkpoint, rollouts,
learning rate, decoding, rewards. Any arm runs under any recipe, so that two arms differ in their
arm alone. Unknown keys are errors.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

from pairuni_eval.api import Decoding
from pairuni_eval.toolkit import UserError, as_typed, nearest, unknown_name
from pairuni_eval.toolkit.data import Strict, as_record, changed, read_record, read_table
from pairuni_eval.toolkit.models import PolicyLogits, Task


class Arm(Strict, frozen=True, kw_only=True):
    """An arm of the experiment.

    Attributes:
        pairs: The pair set it trains on, as `pairuni-train pairs build` names it.
        weighting: How a pair weighs: "none", "linear", "sqrt", or that of a plugin.
        surgery: "pcgrad" projects each task's gradient off the other's where they conflict.
        source: Where the paper describes it.
    """

    name: str
    summary: str
    pairs: str
    weighting: str = "none"
    surgery: Literal["none", "pcgrad"] = "none"
    source: str = ""


class RewardSpec(Strict, frozen=True, kw_only=True):
    """One reward of a weighted sum.

    Attributes:
        name: The plugin's name, e.g. "accuracy".
        weight: Its factor in the sum.
        options: Its own settings.
    """

    name: str
    weight: float = 1.0
    options: dict[str, Any] = {}


class TaskSpec(Strict, frozen=True, kw_only=True):
    """How one task is sampled, rewarded and weighed.

    Attributes:
        rollouts: Rollouts per prompt: the size of a group.
        decoding: Temperature 1, top_k 0 and top_p 1, or the policy learns from a distribution that
            is not its own.
        instruction: Appended to the question, e.g. the form of the answer.
        weight: lambda, the factor of this task's loss.
    """

    rollouts: int
    decoding: Decoding
    rewards: tuple[RewardSpec, ...]
    instruction: str = ""
    weight: float = 1.0


class LoraSpec(Strict, frozen=True, kw_only=True):
    """Low-rank adapters instead of full weights (peft)."""

    rank: int = 16
    alpha: int = 32
    targets: tuple[str, ...] = ("q_proj", "k_proj", "v_proj", "o_proj")


class ProbeSpec(Strict, frozen=True, kw_only=True):
    """When gradients are looked at.

    Attributes:
        every: Steps between two looks; 0 never looks.
        halves: Also take the two halves of each task's batch apart, for the noise ceiling.
    """

    every: int = 0
    halves: bool = True


class Recipe(Strict, frozen=True, kw_only=True):
    """Everything about a training run but its arm.

    Attributes:
        checkpoint: Folder, hub id or "tiny".
        steps: Optimizer steps.
        pairs_per_step: Pairs in the global batch of a step, over all ranks.
        rollout_batch: Rollouts that are sampled together.
        micro_batch: Rollouts per forward and backward pass.
        inner_steps: Optimizer steps on the same rollouts.
        lr: Learning rate, constant after `warmup` steps.
        beta: Weight of the KL to the checkpoint that training starts from; 0 keeps no copy of it.
        clip_low: How far below 1 a ratio may move.
        clip_high: How far above 1 a ratio may move.
        policy_logits: Whose probability an image token has; see `pairuni_eval.models.janus.policy`.
        trainable: Prefixes of the parameter names that train.
        checkpoint_every: Steps between two checkpoints.
        precision: "bf16" runs the model in bfloat16 (autocast); weights stay in float32.
        gradient_checkpointing: Layers run again in the backward pass, to save memory.
        sharding: "fsdp2" splits the weights over ranks; else each rank holds them all.
        lora: Train low-rank adapters; checkpoints hold them merged into the weights.
        pairs: Preset of `pairuni-train pairs build` that a run without pair sets builds.
    """

    name: str
    checkpoint: str
    und: TaskSpec
    gen: TaskSpec
    steps: int
    pairs_per_step: int
    rollout_batch: int
    micro_batch: int
    lr: float
    inner_steps: int = 1
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = 0.0
    warmup: int = 0
    max_grad_norm: float = 1.0
    beta: float = 0.0
    clip_low: float = 0.2
    clip_high: float = 0.2
    policy_logits: PolicyLogits = "conditional"
    trainable: tuple[str, ...] = ("janus.model.language_model.",)
    checkpoint_every: int = 100
    precision: Literal["no", "bf16"] = "no"
    gradient_checkpointing: bool = False
    sharding: Literal["none", "fsdp2"] = "none"
    lora: LoraSpec | None = None
    probe: ProbeSpec = ProbeSpec()
    pairs: str | None = None

    def task(self, task: Task) -> TaskSpec:
        """The settings of one task."""
        return self.und if task == "und" else self.gen


_HERE = Path(str(files("pairuni_train")))
_WORDS: dict[type, str] = {Arm: "an arm", Recipe: "a recipe"}
# Keys of one kind that the other does not have.
_TELLING: dict[type, frozenset[str]] = {
    Arm: frozenset({"summary", "weighting", "surgery", "source"}),
    Recipe: frozenset({"checkpoint", "und", "gen", "steps"}),
}


def find_arm(name: str) -> Arm:
    """An arm by the name of a shipped one or the path of a TOML file.

    Raises:
        UserError: for an unknown name or key, or the file of a recipe.
    """
    if name.endswith(".toml"):
        return read_record(_place(name, Arm), Arm)
    _check_name(name, Arm)
    return _shipped_arms()[name]


def find_recipe(name: str, changes: Mapping[str, Any] | None = None) -> Recipe:
    """A recipe by the name of a shipped one or the path of a TOML file.

    Args:
        name: Name or path.
        changes: Values to replace, by dotted key: {"lr": 1e-5, "gen.decoding.cfg_scale": 1.0}.

    Raises:
        UserError: for an unknown name, an unknown key or a value out of range.
    """
    place = _place(name, Recipe)
    found = read_record(place, Recipe)
    return _checked(changed(found, changes, place) if changes else found)


def names_of(kind: type[Arm] | type[Recipe]) -> list[str]:
    """Names of the shipped arms or recipes."""
    if kind is Arm:
        return sorted(_shipped_arms())
    return sorted(path.stem for path in (_HERE / "recipes").glob("*.toml"))


def is_file_of(name: str, kind: type[Arm] | type[Recipe]) -> bool:
    """Whether a name is that of a TOML file of this kind, as far as its keys tell."""
    if not (name.endswith(".toml") and Path(name).is_file()):
        return False
    keys = read_table(Path(name)).keys()
    return [one for one, telling in _TELLING.items() if telling & keys] == [kind]


def _shipped_arms() -> dict[str, Arm]:
    place = _HERE / "arms.toml"
    return {
        name: as_record({"name": name, **table}, Arm, f"{place}: {name}")
        for name, table in read_table(place).items()
    }


def _place(name: str, kind: type[Arm] | type[Recipe]) -> Path:
    """The TOML file of that name."""
    if not name.endswith(".toml"):
        _check_name(name, kind)
        return _HERE / "recipes" / f"{name}.toml"
    if not Path(name).is_file():
        raise UserError(f"There is no file {name}.", hint="pairuni-train list")
    other = _other(kind)
    if is_file_of(name, other):
        option = f"--{other.__name__.lower()}"
        raise UserError(
            f"{name} holds the keys of {_WORDS[other]}, not of {_WORDS[kind]}.",
            hint=as_typed("pairuni-train", "run", option, name),
        )
    return Path(name)


def _check_name(name: str, kind: type[Arm] | type[Recipe]) -> None:
    """UserError, with the nearest name of either kind, unless it is the name of a shipped one."""
    known = names_of(kind)
    if name not in known:
        word, other = kind.__name__.lower(), _other(kind)
        meant = nearest(name, [*known, *names_of(other)])
        if meant in names_of(other):
            theirs = other.__name__.lower()
            raise UserError(
                f"There is no {word} '{name}', but the {theirs} '{meant}'.",
                hint=f"--{theirs} {meant}",
            )
        raise unknown_name(word, name, known, list_command="pairuni-train list")


def _other(kind: type[Arm] | type[Recipe]) -> type[Arm] | type[Recipe]:
    return Arm if kind is Recipe else Recipe


def _checked(recipe: Recipe) -> Recipe:
    for key in _COUNTS:
        if getattr(recipe, key) < 1:
            raise UserError(f"{recipe.name}: {key} is {getattr(recipe, key)}; at least 1.")
    for task in ("und", "gen"):
        _check_task(f"{recipe.name}: {task}", getattr(recipe, task))
    return recipe


_COUNTS = (
    "steps",
    "pairs_per_step",
    "rollout_batch",
    "micro_batch",
    "inner_steps",
    "checkpoint_every",
)


def _check_task(where: str, spec: TaskSpec) -> None:
    if spec.rollouts < 2:
        raise UserError(
            f"{where}.rollouts is {spec.rollouts}; a group needs at least 2, or no rollout has "
            "anything to be compared with."
        )
    if not spec.rewards:
        raise UserError(f"{where} has no reward.")
    names = [reward.name for reward in spec.rewards]
    for name in names:
        if names.count(name) > 1:
            raise UserError(
                f"{where}.rewards names '{name}' {names.count(name)} times; a reward is known by "
                "its name.",
                hint="Add the weights up, or enter the second one under a name of its own.",
            )
    if spec.decoding.temperature <= 0.0:
        raise UserError(
            f"{where}.decoding.temperature is {spec.decoding.temperature}: greedy rollouts of one "
            "prompt are all alike, and nothing can be learned from them."
        )
    if spec.decoding.top_k or spec.decoding.top_p != 1.0:
        raise UserError(
            f"{where}.decoding cuts the distribution (top_k or top_p): the log-probs that are "
            "trained would be those of another policy than the one that samples."
        )
