"""Reading a run needs no torch: report, compare, show and list where torch cannot be imported."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from support import example_run as example

pytestmark = pytest.mark.light

# As in an environment without them: an import of either is a ModuleNotFoundError.
WITHOUT = """
import sys
for name in ("torch", "transformers", "safetensors", "huggingface_hub", "tokenizers"):
    sys.modules[name] = None
sys.argv = ["pairuni-eval", *{arguments!r}]
from pairuni_eval.cli import main
main()
"""


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("light")
    by_capability = {card.capability: card for card in example.cards(12)}
    one_of_each = list(by_capability.values())
    for name, skill in (("a", 0.9), ("b", 0.4)):
        example.write_run(root / name, name=name, skill=skill, count=12, benchmarks=one_of_each)
    return root


COMMANDS = {
    "report": ["report", "a", "--out", "out", "--baseline", "b=b"],
    "compare": ["compare", "a", "b"],
    "show": ["show", "a", "--protocol", "official", "q0001"],
    "list benchmarks": ["list", "benchmarks"],
    "list suites": ["list", "suites"],
}


@pytest.mark.parametrize("arguments", COMMANDS.values(), ids=COMMANDS.keys())
def test_a_run_is_read_without_torch(runs: Path, arguments: list[str]) -> None:
    if arguments[0] == "show":
        arguments = [*arguments[:-1], uid(runs / "a")]
    code = WITHOUT.format(arguments=arguments)
    ran = subprocess.run(
        [sys.executable, "-c", code],
        cwd=runs,
        env=os.environ | {"HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout


def uid(run: Path) -> str:
    from pairuni_eval.store.read import StoredRun

    return str(StoredRun(run).samples["uid"].iloc[0])
