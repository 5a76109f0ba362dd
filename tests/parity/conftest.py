"""Where the recorded official scores lie, and one test for each of their cases."""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from types import ModuleType

import pytest
from parity.rules.form import Given, lines_of

ROOT = Path(__file__).parents[2]
RULES = Path(__file__).parent / "rules"
DEFAULT_FOLDERS = ("golden", "golden_next")


@cache
def rules_for(benchmark: str) -> ModuleType | None:
    """The module that answers for a benchmark's cases, None if there is none."""
    if not (RULES / f"{benchmark}.py").is_file():
        return None
    return importlib.import_module(f"parity.rules.{benchmark}")


def golden_folders(config: pytest.Config) -> list[Path]:
    """The folder of `--golden`, else `golden` and those beside it."""
    given = config.getoption("--golden", default=None)
    if given:
        return [Path(given)]
    shared = os.environ.get("PAIRUNI_SHARED")
    data = (Path(shared) if shared else ROOT.parent / "shared") / "data"
    return [data / name for name in DEFAULT_FOLDERS]


def _cases(folders: Iterable[Path]) -> list[tuple[Given, Path]]:
    """Every recorded case, with the folder that its paths start from."""
    return [
        (case, folder)
        for folder in folders
        for path in sorted(folder.glob("*.jsonl"))
        for case in lines_of(path)
    ]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Fill in the recorded cases that a test asks for by the name of its argument.

    `case`: every case, whether or not we know its function; `told`: every case that also tells what
    another harness gives, by a rule that we have. `golden` is the folder of each.
    """
    asked = {"case", "told"} & set(metafunc.fixturenames)
    if not asked:
        return
    (name,) = asked
    cases = _cases(golden_folders(metafunc.config))
    if name == "told":
        cases = [
            (case, folder)
            for case, folder in cases
            if case["fn"] in getattr(rules_for(case["benchmark"]), "OTHERS", {})
        ]
    metafunc.parametrize((name, "golden"), cases, ids=[case["id"] for case, _ in cases])


@pytest.fixture
def golden(pytestconfig: pytest.Config) -> Path:
    folders = golden_folders(pytestconfig)
    found = next((one for one in folders if any(one.glob("*.jsonl"))), None)
    if found is None:
        pytest.skip(f"no recorded official scores in {folders[0]}; give --golden DIR")
    return found
