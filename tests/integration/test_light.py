"""Reading a run needs no torch: report, compare, show and list where torch cannot be imported.

The commands run one after another in one process.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import pytest
from support import example_run as example

from pairuni_eval.store.read import StoredRun

pytestmark = pytest.mark.light

# As in an environment without them: an import of either is a ModuleNotFoundError.
WITHOUT = """
import contextlib, io, json, sys
for name in ("torch", "transformers", "safetensors", "huggingface_hub", "tokenizers"):
    sys.modules[name] = None
from pairuni_eval.cli import main
ended = {}
for name, arguments in json.loads(sys.argv[1]).items():
    sys.argv = ["pairuni-eval", *arguments]
    code, out = 0, io.StringIO()
    with contextlib.redirect_stdout(out):
        try:
            main()
        except SystemExit as end:
            code = end.code or 0
    ended[name] = {"code": code, "out": out.getvalue()}
print(json.dumps(ended))
"""
COMMANDS = {
    "report": ["report", "a", "--out", "out", "--baseline", "b=b"],
    "compare": ["compare", "a", "b"],
    "show": ["show", "a", "--protocol", "official", "UID"],
    "list benchmarks": ["list", "benchmarks"],
    "list suites": ["list", "suites"],
}


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """How every command ended, and what it printed, by its name above."""
    root = tmp_path_factory.mktemp("light")
    for name, skill in (("a", 0.9), ("b", 0.4)):
        example.write_run(
            root / name, name=name, skill=skill, count=12, benchmarks=example.one_of_each(12)
        )
    uid = str(StoredRun(root / "a").samples["uid"].iloc[0])
    words = {
        name: [uid if word == "UID" else word for word in words] for name, words in COMMANDS.items()
    }
    ran = subprocess.run(
        [sys.executable, "-c", WITHOUT, json.dumps(words)],
        cwd=root,
        env=os.environ | {"HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    found: dict[str, Any] = json.loads(ran.stdout)
    return found


@pytest.mark.parametrize("name", COMMANDS)
def test_a_run_is_read_without_torch(ended: dict[str, Any], name: str) -> None:
    assert ended[name]["code"] == 0
    assert ended[name]["out"]
