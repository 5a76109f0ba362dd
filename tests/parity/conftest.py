"""Where the recorded official scores lie, and one test for each of their cases."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def golden_folder(config: pytest.Config) -> Path:
    given = config.getoption("--golden", default=None)
    if given:
        return Path(given)
    shared = os.environ.get("PAIRUNI_SHARED")
    return (Path(shared) if shared else ROOT.parent / "shared" / "data") / "golden"


def _cases(folder: Path) -> list[dict]:
    cases = []
    for path in sorted(folder.glob("*.jsonl")):
        with path.open(encoding="utf-8") as lines:
            cases += [json.loads(line) for line in lines if line.strip()]
    return cases


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Fill in the recorded cases that a test asks for by the name of its argument.

    `case`: every case whose rule is there; `told`: every case that also tells what another harness
    gives, by a rule that is there; `missing`: every rule that is not there.
    """
    asked = {"case", "told", "missing"} & set(metafunc.fixturenames)
    if not asked:
        return
    (name,) = asked
    cases = _cases(golden_folder(metafunc.config))
    if name == "missing":
        unknown = sorted({(c["benchmark"], c["fn"]) for c in cases} - set(metafunc.module.RULES))
        metafunc.parametrize(name, unknown, ids=["/".join(pair) for pair in unknown])
        return
    rules = metafunc.module.RULES if name == "case" else metafunc.module.OTHERS
    known = [case for case in cases if (case["benchmark"], case["fn"]) in rules]
    metafunc.parametrize(name, known, ids=[case["id"] for case in known])


@pytest.fixture
def golden(pytestconfig: pytest.Config) -> Path:
    folder = golden_folder(pytestconfig)
    if not any(folder.glob("*.jsonl")):
        pytest.skip(f"no recorded official scores in {folder}; give --golden DIR")
    return folder
