"""What the commands that train print at their end: a next command that runs as printed."""

from __future__ import annotations

from pathlib import Path

import pytest

from pairuni_eval.catalog import find_suite
from pairuni_train.config import Recipe, find_recipe, names_of
from pairuni_train.ending import ending
from pairuni_train.sft.config import find_sft_recipe


def _next(pairs: str | None) -> str:
    return list(ending(Path("runs/mine/checkpoint-2"), pairs))[-1]


@pytest.mark.parametrize(
    ("pairs", "suite"),
    [
        ("tiny", " --suite tiny"),
        ("tiny-names", " --suite tiny-heldout"),
        ("tiny-names-exact", " --suite tiny-heldout"),
        ("orsta-blip3o", ""),
        (None, ""),
    ],
)
def test_a_checkpoint_is_measured_in_the_world_that_it_learned(
    pairs: str | None, suite: str
) -> None:
    said = f"Next:       pairuni-eval run --checkpoint runs/mine/checkpoint-2{suite}"
    assert _next(pairs) == said


def test_no_tiny_recipe_ends_with_a_suite_that_needs_a_judge_or_a_network() -> None:
    tiny = [name for name in names_of(Recipe) if name.startswith("tiny")]
    recipes = [find_recipe(name).pairs for name in tiny]
    recipes += [find_sft_recipe(name, {}).pairs for name in ("tiny", "tiny-names", "tiny-bagel")]
    assert len(recipes) > 5
    for pairs in recipes:
        suite = find_suite(_next(pairs).partition(" --suite ")[2])
        assert all(name.startswith("tiny") for name in suite.benchmarks), suite.name
