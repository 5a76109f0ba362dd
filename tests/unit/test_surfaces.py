"""What plugins and the trainer may import is named, is used, and waits for nothing heavy."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SURFACES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for folder in ("api", "toolkit")
    for path in sorted((ROOT / "pairuni_eval" / folder).glob("*.py"))
}
WITH_TORCH = {"pairuni_eval.api.grading_models", "pairuni_eval.toolkit.networks"}


def imports(path: Path) -> Iterator[tuple[str, str]]:
    """Module and name of everything that a file takes from the measuring side."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("pairuni_eval"):
            yield from ((str(node.module), name.name) for name in node.names)


@pytest.fixture(scope="module")
def taken() -> set[tuple[str, str]]:
    return {
        one
        for side in ("pairuni_train", "registry", "examples")
        for path in (ROOT / side).rglob("*.py")
        for one in imports(path)
    }


def test_what_is_imported_is_on_a_surface(taken: set[tuple[str, str]]) -> None:
    assert taken
    assert {module for module, _ in taken} <= set(SURFACES)


@pytest.mark.parametrize("surface", sorted(set(SURFACES) - {"pairuni_eval.api"}))
def test_a_surface_offers_nothing_that_nobody_takes(
    surface: str, taken: set[tuple[str, str]]
) -> None:
    offered = {name for _, name in imports(SURFACES[surface])}
    assert offered == {name for module, name in taken if module == surface}


def test_surfaces_open_without_torch() -> None:
    light = sorted(set(SURFACES) - WITH_TORCH)
    code = f"""
import sys
from importlib import import_module
for name in ("torch", "transformers"):
    sys.modules[name] = None
for name in {light!r}:
    import_module(name)
"""
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr


def test_the_help_of_training_waits_for_nothing_heavy() -> None:
    code = """
import sys
sys.argv = ["pairuni-train", "--help"]
from pairuni_train.cli import main
try:
    main()
except SystemExit:
    pass
heavy = {"torch", "transformers", "numpy", "pandas", "msgspec", "PIL", "matplotlib"}
print("loaded:", sorted(heavy & set(sys.modules)))
"""
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "Train a unified" in ran.stdout
    assert ran.stdout.splitlines()[-1] == "loaded: []"
