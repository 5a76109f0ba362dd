"""Options under their former names: taken for the new ones, with a note on stderr.

`--backbone` is a former name of `--recipe`, and `--recipe` one of `--arm`.
"""

from __future__ import annotations

from typing import Annotated, NamedTuple

import typer

from pairuni_eval.toolkit import UserError

ARM, RECIPE = "pairuni", "tiny"  # what a command takes that names none

FormerRecipe = Annotated[str | None, typer.Option("--backbone", hidden=True)]


class Names(NamedTuple):
    """The arm and the recipe that a command line names."""

    arm: str
    recipe: str


def read_names(arm: str | None, recipe: str | None, backbone: str | None) -> Names:
    """What the options say; `--recipe` with the name or file of an arm is taken as `--arm`.

    Raises:
        UserError: where two options name one thing.
    """
    if arm is None and recipe is not None and _names_arm(recipe, beside=backbone is not None):
        _note("--recipe", recipe, "--arm")
        arm, recipe = recipe, None
    return Names(arm or ARM, read_recipe(recipe, backbone))


def read_recipe(recipe: str | None, backbone: str | None) -> str:
    """The recipe that `--recipe` names, or `--backbone`.

    Raises:
        UserError: where both do.
    """
    if backbone is None:
        return recipe or RECIPE
    if recipe is not None:
        raise UserError(
            f"--recipe {recipe} and --backbone {backbone} both name the recipe.",
            hint="Leave out --backbone, the former name of --recipe.",
        )
    _note("--backbone", backbone, "--recipe")
    return backbone


def _names_arm(name: str, *, beside: bool) -> bool:
    """Whether a name is an arm's and not a recipe's; `beside` a recipe, a file is an arm's."""
    from pairuni_train.config import Arm, Recipe, is_file_of, names_of

    if name.endswith(".toml"):
        return beside or is_file_of(name, Arm)
    return name in names_of(Arm) and name not in names_of(Recipe)


def _note(former: str, value: str, now: str) -> None:
    typer.echo(f"Note: {former} {value} is now {now} {value}.", err=True)
