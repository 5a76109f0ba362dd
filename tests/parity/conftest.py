"""Where the recorded official scores lie, and one test for each of their cases."""

from __future__ import annotations

import importlib
import os
from functools import cache
from pathlib import Path
from types import ModuleType

import pytest
from parity.rules.form import Given, lines_of

ROOT = Path(__file__).parents[2]
RULES = Path(__file__).parent / "rules"


@cache
def rules_for(benchmark: str) -> ModuleType | None:
    """The module that answers for a benchmark's cases, None if there is none."""
    if not (RULES / f"{benchmark}.py").is_file():
        return None
    return importlib.import_module(f"parity.rules.{benchmark}")


def golden_folder(config: pytest.Config) -> Path:
    given = config.getoption("--golden", default=None)
    if given:
        return Path(given)
    shared = os.environ.get("PAIRUNI_SHARED")
    return (Path(shared) if shared else ROOT.parent / "shared") / "data" / "golden"


def _cases(folder: Path) -> list[Given]:
    return [case for path in sorted(folder.glob("*.jsonl")) for case in lines_of(path)]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Fill in the recorded cases that a test asks for by the name of its argument.

    `case`: every case, whether or not we know its function; `told`: every case that also tells what
    another harness gives, by a rule that we have.
    """
    asked = {"case", "told"} & set(metafunc.fixturenames)
    if not asked:
        return
    (name,) = asked
    cases = _cases(golden_folder(metafunc.config))
    if name == "told":
        cases = [
            case
            for case in cases
            if case["fn"] in getattr(rules_for(case["benchmark"]), "OTHERS", {})
        ]
    metafunc.parametrize(name, cases, ids=[case["id"] for case in cases])


@pytest.fixture
def golden(pytestconfig: pytest.Config) -> Path:
    folder = golden_folder(pytestconfig)
    if not any(folder.glob("*.jsonl")):
        pytest.skip(f"no recorded official scores in {folder}; give --golden DIR")
    return folder
