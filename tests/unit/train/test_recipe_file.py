"""Settings written as files are read back as they were."""

from __future__ import annotations

import tomllib
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pairuni_train.config import Arm, Recipe, as_written, find_arm, find_recipe, names_of
from pairuni_train.recipe_file import as_toml
from pairuni_train.sft.config import find_sft_recipe, sft_recipe_names


@pytest.mark.parametrize("name", names_of(Recipe))
def test_every_recipe_comes_back(tmp_path: Path, name: str) -> None:
    recipe = find_recipe(name)
    file = tmp_path / "recipe.toml"
    file.write_text(as_toml(as_written(recipe), "A recipe."), encoding="utf-8")
    assert find_recipe(str(file)) == recipe


@pytest.mark.parametrize("name", sft_recipe_names())
def test_every_recipe_of_sft_comes_back(tmp_path: Path, name: str) -> None:
    recipe = find_sft_recipe(name, {})
    file = tmp_path / "recipe.toml"
    file.write_text(as_toml(msgspec.to_builtins(recipe), "A recipe."), encoding="utf-8")
    assert find_sft_recipe(str(file), {}) == recipe


@pytest.mark.parametrize("name", names_of(Arm))
def test_every_arm_comes_back(tmp_path: Path, name: str) -> None:
    file = tmp_path / "arm.toml"
    file.write_text(as_toml(msgspec.to_builtins(find_arm(name)), "An arm."), encoding="utf-8")
    assert find_arm(str(file)) == find_arm(name)


PLAIN = (
    st.booleans()
    | st.integers(-(2**60), 2**60)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]))
)
NAMES = st.text('ab -."', min_size=1)
VALUES = st.recursive(
    PLAIN,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=6,
)


@given(st.dictionaries(NAMES, VALUES, max_size=4))
def test_any_table_comes_back(table: dict[str, object]) -> None:
    assert tomllib.loads(as_toml(table, "A table.")) == table


def test_what_is_not_set_is_left_out() -> None:
    assert as_toml({"a": None, "b": {"c": None, "d": 1e-6}}, "By hand.") == (
        "# By hand.\n\n\n[b]\nd = 1e-06\n"
    )
