"""A stranger's package brings a benchmark, a model, a judge and a reward; no file of ours changes.

The package is really built and installed, into a folder of its own, and found by its entry points
in processes that import the product anew.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from support.fork_server import run_captured

PACKAGE = Path(__file__).parent / "package"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the installed package."""
    base = tmp_path_factory.mktemp("plugin")
    source = shutil.copytree(
        PACKAGE, base / "source", ignore=shutil.ignore_patterns("__pycache__", "*.egg-info")
    )
    options = ["--no-deps", "--no-build-isolation", "--no-index", "--disable-pip-version-check"]
    command = [sys.executable, "-m", "pip", "install", *options]
    subprocess.run(
        [*command, "--target", str(base / "site"), str(source)],
        check=True,
        capture_output=True,
        timeout=600,
    )
    return base / "site"


PRODUCT = ("pairuni_eval", "pairuni_train", "pairuni_registry")
Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def pairuni(fork_server: str, tmp_path: Path) -> Run:
    """`pairuni-eval ARGUMENTS`, or another module, where packages of a folder are installed too."""

    def run(
        site: Path, *arguments: str, module: str = "pairuni_eval.cli"
    ) -> subprocess.CompletedProcess[str]:
        own = filter(None, [os.environ.get("PYTHONPATH")])
        paths = os.pathsep.join([str(tmp_path), str(site), *own])  # as `python -m` looks in
        environment = os.environ | {"PYTHONPATH": paths}
        return run_captured(
            fork_server, arguments, environment, tmp_path, module=module, anew=PRODUCT
        )

    return run


@pytest.mark.parametrize(
    ("kind", "line"),
    [
        ("benchmarks", ["acme-greetings", "understand", "4", "official", "Acme greetings"]),
        ("models", ["acme", "acme.model:AcmeModel"]),
        ("judges", ["acme", "acme.judge:AcmeJudge"]),
        ("rewards", ["acme-brevity", "acme.reward:Brevity"]),
    ],
)
def test_what_a_package_brings_is_listed(
    site: Path, pairuni: Run, kind: str, line: list[str]
) -> None:
    listed = pairuni(site, "list", kind)
    assert listed.returncode == 0, listed.stderr
    own = [text for text in listed.stdout.splitlines() if text.startswith("acme")]
    assert len(own) == 1
    assert all(word in own[0] for word in line)


def test_without_the_package_nothing_of_it_is_there(pairuni: Run, tmp_path: Path) -> None:
    listed = pairuni(tmp_path, "list", "benchmarks")
    assert listed.returncode == 0
    assert "acme" not in listed.stdout


def test_a_strangers_model_benchmark_and_judge_run_to_a_report(
    site: Path, pairuni: Run, tmp_path: Path
) -> None:
    arguments = ["--model", "acme", "--checkpoint", "anything", "--benchmarks", "acme-greetings"]
    ran = pairuni(site, "run", *arguments, "--out", "out", "--report", "report")
    assert ran.returncode == 0, ran.stderr
    assert "Traceback" not in ran.stderr
    summary = json.loads((tmp_path / "report" / "summary.json").read_text())
    part = summary["benchmarks"]["acme-greetings"]
    metrics = part["protocols"]["official"]["metrics"]
    assert metrics["accuracy"]["value"] == 3 / 4
    assert metrics["warmth"]["value"] == 3 / 4
    assert part["judge"] == "acme-judge/3"
    assert summary["checkpoint"]["weights"] == "acme-1"
    assert "Acme greetings" in (tmp_path / "report" / "report.html").read_text()


def test_a_strangers_model_is_not_asked_for_what_it_cannot_do(
    site: Path, pairuni: Run, tmp_path: Path
) -> None:
    arguments = ["--model", "acme", "--checkpoint", "anything", "--benchmarks", "tiny-geneval"]
    ran = pairuni(site, "run", *arguments, "--limit", "2", "--out", "out", "--report", "report")
    assert ran.returncode == 0, ran.stderr
    summary = json.loads((tmp_path / "report" / "summary.json").read_text())
    (protocol,) = summary["benchmarks"]["tiny-geneval"]["protocols"].values()
    assert {row["status"] for row in protocol["statuses"]} == {"skipped"}
    assert {row["reason"] for row in protocol["statuses"]} == {"the model cannot generate"}
    assert protocol["metrics"][protocol["headline"]]["value"] is None


REWARDED = """
from pairuni_eval.api import Reply
from pairuni_train.grpo.config import RewardSpec
from pairuni_train.grpo.rewards import Judged, load_rewards
from pairuni_train.pair_data.record import Understanding

half = Understanding(id="q", source="s", licence="CC0", image=b"", question="Who?", answer="Ada")
rewards = load_rewards([RewardSpec(name="acme-brevity", weight=2.0)])
replies = [Reply(text="Ada"), Reply(text="It is Ada Lovelace"), Reply()]
print(rewards([Judged(half, reply) for reply in replies]))
"""


def test_a_strangers_reward_is_weighed_and_may_decline(
    site: Path, pairuni: Run, tmp_path: Path
) -> None:
    (tmp_path / "weighed_rewards.py").write_text(REWARDED)
    ran = pairuni(site, module="weighed_rewards")
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout == "{'acme-brevity': [1.0, 0.25, nan], 'total': [2.0, 0.5, nan]}\n"
