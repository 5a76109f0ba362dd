"""What a training run is: an arm of the experiment under a recipe.

An arm (a table of `arms.toml`, or a file of your own) is what differs between the rows of a table:
which pair set it trains on, how a pair's similarity weights the advantages, whether conflicting
gradients are projected. A recipe (`recipes/NAME.toml`) holds everything else: checkpoint, rollouts,
learning rate, decoding, rewards. Any arm runs under any recipe, so that two arms differ in their
arm alone. Unknown keys are errors. A recipe is made of records that each stand beside the part that
they configure, with their ranges.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec.structs import FieldInfo, fields

from pairuni_eval.toolkit import UserError, as_typed, nearest, unknown_name
from pairuni_eval.toolkit.data import Count, Strict, as_record, changed, read_record, read_table
from pairuni_eval.toolkit.models import Task
from pairuni_train.checkpoint_config import CheckpointSpec
from pairuni_train.distributed.config import ParallelismSpec
from pairuni_train.gradient_probe.config import ProbeSpec
from pairuni_train.grpo.config import (
    BatchSpec,
    LoraSpec,
    ObjectiveSpec,
    OptimizerSpec,
    TaskSpec,
)


class Arm(Strict, frozen=True, kw_only=True):
    """An arm of the experiment.

    Attributes:
        pairs: The pair set it trains on, as `pairuni-train pairs build` names it.
        weighting: How a pair weighs: "none", "linear", "sqrt", or that of a plugin.
        repaired: The two halves of a pair go to different steps, dealt at random: the control that
            tells what is trained from what meets in one step.
        surgery: "pcgrad" projects each task's gradient off the other's where they conflict.
        source: Where the paper describes it.
    """

    name: str
    summary: str
    pairs: str
    weighting: str = "none"
    repaired: bool = False
    surgery: Literal["none", "pcgrad"] = "none"
    source: str = ""


class Recipe(Strict, frozen=True, kw_only=True):
    """Everything about a training run but its arm.

    Files, `--set` and stored settings have the keys of batch, objective, optimizer, parallelism and
    checkpoints side by side with the rest: short to type, and as trl has them.

    Attributes:
        checkpoint: Folder, hub id or "tiny".
        steps: Optimizer steps.
        checkpoint_every: Steps between two checkpoints.
        trainable: Prefixes of the parameter names that train.
        lora: Train low-rank adapters; checkpoints hold them merged into the weights.
        pairs: Preset of `pairuni-train pairs build` that a run without pair sets builds.
        rollouts_every: Steps between two of which a group of each task is kept; 0 keeps none.
    """

    name: str
    checkpoint: str
    und: TaskSpec
    gen: TaskSpec
    steps: Count
    batch: BatchSpec
    objective: ObjectiveSpec
    optimizer: OptimizerSpec
    parallelism: ParallelismSpec
    checkpoints: CheckpointSpec = CheckpointSpec()
    trainable: tuple[str, ...] = ("janus.model.language_model.",)
    checkpoint_every: Count = 100
    lora: LoraSpec | None = None
    probe: ProbeSpec = ProbeSpec()
    pairs: str | None = None
    rollouts_every: Annotated[int, msgspec.Meta(ge=0)] = 25

    def task(self, task: Task) -> TaskSpec:
        """The settings of one task."""
        return self.und if task == "und" else self.gen


_GROUPS: tuple[type[Strict], ...] = (
    BatchSpec,
    ObjectiveSpec,
    OptimizerSpec,
    ParallelismSpec,
    CheckpointSpec,
)


def _keys() -> Iterator[FieldInfo]:
    """The keys of a recipe as they are written."""
    for field in fields(Recipe):
        yield from fields(field.type) if field.type in _GROUPS else (field,)


# What is read and changed: one table, so that an error names the key that the user wrote.
_FIELDS = [(key.name, key.type, key.default) for key in _keys()]
WrittenRecipe = msgspec.defstruct(
    "WrittenRecipe", _FIELDS, bases=(Strict,), frozen=True, kw_only=True
)


def _grouped(written: msgspec.Struct, place: object) -> Recipe:
    """The recipe of a `WrittenRecipe`.

    Raises:
        UserError: naming the place, for values that do not go together.
    """
    table = msgspec.to_builtins(written)
    return Recipe(
        **{
            field.name: as_record(
                {key.name: table[key.name] for key in fields(field.type)}, field.type, place
            )
            if field.type in _GROUPS
            else getattr(written, field.name)
            for field in fields(Recipe)
        }
    )


# Keys that stored settings hold only where somebody has set them: as in runs that were begun before
# there was such a key, which go on.
_NOT_IN_EVERY_RUN = frozenset(
    {
        *("dynamic_rounds", "scale_rewards", "length_norm", "importance_level", "dead_groups"),
        *("frozen_as", "compiled", "keep_last", "saved_as", "rollouts_every"),
    }
)


def as_written(recipe: Recipe) -> dict[str, Any]:
    """The table of a recipe, as a file or stored settings have it."""
    table: dict[str, Any] = msgspec.to_builtins(recipe)
    for field in fields(Recipe):
        if field.type in _GROUPS:
            table |= table.pop(field.name)
    unset = {key.name: key.default for key in _keys() if key.name in _NOT_IN_EVERY_RUN}
    return {key: one for key, one in table.items() if key not in unset or one != unset[key]}


_HERE = Path(str(files("pairuni_train")))
_WORDS: dict[type, str] = {Arm: "an arm", Recipe: "a recipe"}
# Keys of one kind that the other does not have.
_TELLING: dict[type, frozenset[str]] = {
    Arm: frozenset({"summary", "weighting", "repaired", "surgery", "source"}),
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
    written = read_record(place, WrittenRecipe)
    return _grouped(changed(written, changes, place) if changes else written, place)


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
