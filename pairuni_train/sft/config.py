"""The recipe of a supervised fine-tuning: `sft/recipes/NAME.toml`, or a file of your own.

What the paper leaves open ("BAGEL defaults") is a setting here, with the default of the official
training code. The BAGEL report's own run had other numbers (word_weight 0.25, time_shift 4,
ema 0.995, lr 2.5e-5), which `--set` takes.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from pairuni_eval.toolkit import UserError, unknown_name
from pairuni_eval.toolkit.data import Count, NotNegative, Positive, Strict, changed, read_record
from pairuni_eval.toolkit.models import LessonSettings
from pairuni_train.gradient_probe.config import ProbeSpec
from pairuni_train.grpo.config import OptimizerSpec

_Share = Annotated[float, msgspec.Meta(ge=0, le=1)]
_Decay = Annotated[float, msgspec.Meta(ge=0, lt=1)]
_RECIPES = Path(str(files("pairuni_train"))) / "sft" / "recipes"


class SftRecipe(Strict, frozen=True, kw_only=True):
    """Everything about a fine-tuning but its pair set and its seed.

    Attributes:
        checkpoint: Folder, hub id or "tiny".
        pairs: Preset of `pairuni-train pairs build` that a run without pair sets builds.
        pairs_per_step: Pairs in the global batch of a step, over all ranks.
        ratio: Understanding halves and generation halves, in multiples of `pairs_per_step`; at
            (1, 1) a step has both halves of each of its pairs.
        pack_tokens: Tokens of a pack, at most; both halves of a pair are in one pack.
        instruction: Appended to the question.
        thought_form: What is said before the answer where a pair has a thought, e.g.
            "<think>{thought}</think>"; nothing by default.
        answer_form: What is said of the answer: "{answer}", or "<answer>{answer}</answer>".
        word_weight: What the cross-entropy counts,
        picture_weight: and the loss of what is drawn.
        reweighted: A word counts 1 over the root of the length of its answer.
        prompt_dropout: Share of prompts that are left out, for guidance.
        time_shift: Moves the times of flow matching towards noise; 1 leaves them.
        longest: Pixels of the longer side of what is drawn, at most; None: the checkpoint's own.
        ema: Decay of the average of the weights, which checkpoints hold; 0 keeps none.
        trainable: Prefixes of the parameter names that train; all without any.
        saved_as: Precision of the weights in a checkpoint.
    """

    name: str
    checkpoint: str
    steps: Count
    pairs_per_step: Count
    lr: NotNegative
    pairs: str | None = None
    ratio: tuple[Count, Count] = (1, 1)
    pack_tokens: Count = 10_240
    instruction: str = ""
    thought_form: str = ""
    answer_form: str = "{answer}"
    word_weight: NotNegative = 1.0
    picture_weight: NotNegative = 1.0
    reweighted: bool = False
    prompt_dropout: _Share = 0.1
    time_shift: Positive = 1.0
    longest: Count | None = None
    betas: tuple[_Decay, _Decay] = (0.9, 0.95)
    eps: Positive = 1e-15
    weight_decay: NotNegative = 0.0
    warmup: Annotated[int, msgspec.Meta(ge=0)] = 2000
    max_grad_norm: Positive = 1.0
    ema: _Decay = 0.9999
    trainable: tuple[str, ...] = ()
    precision: Literal["no", "bf16"] = "no"
    gradient_checkpointing: bool = False
    checkpoint_every: Count = 100
    saved_as: Literal["float32", "bfloat16"] = "float32"
    probe: ProbeSpec = ProbeSpec()

    def __post_init__(self) -> None:
        if "{answer}" not in self.answer_form:
            raise ValueError("answer_form says no answer: it needs {answer}")
        if self.thought_form and "{thought}" not in self.thought_form:
            raise ValueError("thought_form says no thought: it needs {thought}")

    @property
    def optimizer(self) -> OptimizerSpec:
        """AdamW's settings but for `eps`."""
        return OptimizerSpec(
            lr=self.lr,
            betas=self.betas,
            weight_decay=self.weight_decay,
            warmup=self.warmup,
            max_grad_norm=self.max_grad_norm,
        )

    @property
    def lessons(self) -> LessonSettings:
        """How a model prepares what it is taught."""
        return LessonSettings(self.prompt_dropout, self.time_shift, self.reweighted, self.longest)


def find_sft_recipe(name: str, changes: Mapping[str, Any]) -> SftRecipe:
    """A recipe by the name of a shipped one or the path of a TOML file.

    Args:
        name: Name or path.
        changes: Values to replace, by dotted key.

    Raises:
        UserError: for an unknown name, an unknown key or a value out of range.
    """
    place = Path(name) if name.endswith(".toml") else _RECIPES / f"{name}.toml"
    if name.endswith(".toml") and not place.is_file():
        raise UserError(f"There is no file {name}.", hint="pairuni-train list")
    if not name.endswith(".toml") and name not in sft_recipe_names():
        raise unknown_name(
            "recipe of sft", name, sft_recipe_names(), list_command="pairuni-train list"
        )
    recipe = read_record(place, SftRecipe)
    return changed(recipe, changes, place) if changes else recipe


def sft_recipe_names() -> list[str]:
    """Names of the shipped recipes."""
    return sorted(path.stem for path in _RECIPES.glob("*.toml"))
