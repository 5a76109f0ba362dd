"""Stopped at any moment, the same command ends in the same bytes.

Folders are compared file by file, pictures and reports included; only the journal, which holds the
times, and the lock may differ.
"""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import signal
import time
from pathlib import Path
from typing import Any

import pytest
from support.fork_server import Forked

from pairuni_eval.tiny import dimoo

SKIPPED = {"journal.jsonl", "cost.md", "cost.svg", ".lock"}
LIMIT = 4


def command(
    checkpoint: Path, base: Path, benchmarks: str = "tiny-pope,tiny-geneval"
) -> list[object]:
    return [
        "run",
        *("--checkpoint", checkpoint),
        *("--benchmarks", benchmarks),
        *("--limit", LIMIT),
        *("--batch-size", 4),
        *("--out", base / "run"),
        *("--report", base / "report"),
    ]


def contents(base: Path) -> dict[str, str]:
    """Every file of a run and its report by digest."""
    return {
        str(path.relative_to(base)): hashlib.sha256(path.read_bytes()).hexdigest()
        for part in ("run", "report")
        for path in sorted((base / part).rglob("*"))
        if path.is_file() and path.name not in SKIPPED
    }


class Whole:
    """A run that nothing interrupted: its files, and how long it took."""

    def __init__(self, base: Path, seconds: float) -> None:
        self.base = base
        self.files = contents(base)
        self.seconds = seconds


@pytest.fixture(scope="module")
def whole(forked: Forked, untrained: Path, tmp_path_factory: pytest.TempPathFactory) -> Whole:
    base = tmp_path_factory.mktemp("whole")
    started = time.perf_counter()
    assert forked.run(*command(untrained, base), log=base / "log") == 0, (base / "log").read_text()
    return Whole(base, time.perf_counter() - started)


def finish(forked: Forked, checkpoint: Path, base: Path) -> None:
    code = forked.run(*command(checkpoint, base), log=base / "log")
    assert code == 0, (base / "log").read_text()


def test_a_whole_run_holds_what_it_should(whole: Whole) -> None:
    names = set(whole.files)
    assert {"run/COMPLETE", "run/run.json", "run/plan.json", "report/report.html"} <= names
    assert {f"run/{name}.parquet" for name in ("samples", "outputs", "scores")} <= names
    assert sum(name.startswith("run/images/") for name in names) > LIMIT
    assert not any("rows/" in name or name.endswith(".tmp") for name in names)


@pytest.mark.slow  # each run below that was killed is compared with the same folder
def test_two_fresh_runs_are_byte_identical(
    forked: Forked, untrained: Path, tmp_path: Path, whole: Whole
) -> None:
    finish(forked, untrained, tmp_path)
    assert contents(tmp_path) == whole.files


def test_another_seed_gives_another_run(
    forked: Forked, untrained: Path, tmp_path: Path, whole: Whole
) -> None:
    """So that equal folders above are no accident of a model that ignores its seed."""
    arguments = [*command(untrained, tmp_path), "--seed", 1]
    assert forked.run(*arguments, log=tmp_path / "log") == 0
    assert contents(tmp_path)["run/outputs.parquet"] != whole.files["run/outputs.parquet"]


MOMENTS = {
    "planning a picture": {"file": "/images/", "nth": 3},
    "planning the samples": {"file": "rows/samples.jsonl", "nth": 1, "torn": True},
    "planning the card": {"file": ".run.json", "nth": 1},
    "sampling answers": {"file": "rows/outputs", "nth": 1, "torn": True},
    "sampling a picture": {"file": "/images/", "nth": 10},
    "grading": {"file": "rows/scores", "nth": 1, "torn": True},
    "compaction": {"file": ".outputs.parquet", "nth": 1},
    "compaction, marker": {"file": ".COMPLETE", "nth": 1},
    "after the marker": {"file": "rows/samples.jsonl", "nth": 1, "call": "unlink"},
}


# Each of these stages is stopped at another moment as well, by default.
SLOW = {
    *("planning the samples", "planning the card", "sampling a picture", "compaction"),
    "after the marker",
}


def moments() -> list[Any]:
    return [
        pytest.param(moment, id=name, marks=pytest.mark.slow if name in SLOW else ())
        for name, moment in MOMENTS.items()
    ]


@pytest.mark.parametrize("moment", moments())
def test_a_run_killed_at_this_moment_continues_to_the_same_bytes(
    forked: Forked, untrained: Path, tmp_path: Path, whole: Whole, moment: dict[str, Any]
) -> None:
    code = forked.run(*command(untrained, tmp_path), log=tmp_path / "log", die=moment)
    assert code == -signal.SIGKILL, "it never came to this moment"
    finish(forked, untrained, tmp_path)
    assert contents(tmp_path) == whole.files


def pictures(base: Path) -> int:
    """How many pictures a run has stored."""
    return sum(path.is_file() for path in (base / "run" / "images").rglob("*"))


@pytest.mark.parametrize(
    "kills", [pytest.param(2, id="two"), pytest.param(6, id="six", marks=pytest.mark.slow)]
)
def test_kills_from_outside_at_random_moments_change_nothing(
    forked: Forked, untrained: Path, tmp_path: Path, whole: Whole, kills: int
) -> None:
    rng = random.Random(20)
    counts = sorted(rng.sample(range(1, pictures(whole.base)), kills))
    for number, count in enumerate(counts):
        child = forked.start(*command(untrained, tmp_path), log=tmp_path / "log")
        deadline = time.monotonic() + 600
        while pictures(tmp_path) < count:
            assert time.monotonic() < deadline, (tmp_path / "log").read_text()
            time.sleep(0.005)
        # A while after that, but for the first: that run is sure to be under way.
        time.sleep(number * rng.uniform(0, 0.1) * whole.seconds)
        os.killpg(child.pid, signal.SIGKILL)
        code = child.wait()
        assert code == -signal.SIGKILL or number > 0
    finish(forked, untrained, tmp_path)
    assert contents(tmp_path) == whole.files


def stamps(run: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in run.rglob("*") if path.name != ".lock"}


def test_a_complete_run_is_neither_computed_nor_planned_again(
    forked: Forked, untrained: Path, tmp_path: Path, whole: Whole
) -> None:
    base = Path(shutil.copytree(whole.base, tmp_path / "base"))
    run = base / "run"
    # If anything were made again, this picture, the journal or a time stamp would tell.
    next(path for path in sorted((run / "images").rglob("*")) if path.is_file()).unlink()
    before = stamps(run)
    finish(forked, untrained, base)
    assert stamps(run) == before
    assert forked.run(*command(untrained, base), "--plan", log=base / "log") == 0
    assert stamps(run) == before


def test_a_plan_first_changes_nothing(
    forked: Forked, untrained: Path, tmp_path: Path, whole: Whole
) -> None:
    assert forked.run(*command(untrained, tmp_path), "--plan", log=tmp_path / "log") == 0
    assert (tmp_path / "run" / "rows" / "outputs-rank0.jsonl").is_file()  # the warm-up is kept
    finish(forked, untrained, tmp_path)
    assert contents(tmp_path) == whole.files


def test_an_interruption_says_that_the_same_command_continues(
    forked: Forked, untrained: Path, tmp_path: Path, whole: Whole
) -> None:
    child = forked.start(*command(untrained, tmp_path), log=tmp_path / "log")
    rows = tmp_path / "run" / "rows" / "outputs-rank0.jsonl"
    deadline = time.monotonic() + 600
    while not rows.exists():
        assert time.monotonic() < deadline
        time.sleep(0.005)
    os.kill(child.pid, signal.SIGINT)
    assert child.wait() == 130
    said = (tmp_path / "log").read_text()
    assert "the same command continues" in said
    assert "Traceback" not in said
    finish(forked, untrained, tmp_path)
    assert contents(tmp_path) == whole.files


# A masked-diffusion model, which answers, draws and edits


@pytest.fixture(scope="module")
def untrained_dimoo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    size = dimoo.TinyDimooSize(hidden=32, layers=1, heads=2, feed_forward=32, vq_channels=8)
    folder = tmp_path_factory.mktemp("checkpoints") / "untrained-dimoo"
    dimoo.save(dimoo.build(0, size), folder, recipe="none", step=0)
    return folder


def test_unmasking_that_was_killed_continues_to_the_same_bytes(
    forked: Forked, untrained_dimoo: Path, tmp_path: Path
) -> None:
    def asked(base: Path) -> list[object]:
        return command(untrained_dimoo, base, "tiny-pope,tiny-geneval,tiny-imgedit")

    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert forked.run(*asked(whole), log=tmp_path / "log") == 0, (tmp_path / "log").read_text()
    for moment in (
        {"file": "rows/outputs", "nth": 1, "torn": True},
        {"file": "/images/", "nth": 5},
    ):
        code = forked.run(*asked(killed), log=tmp_path / "log", die=moment)
        assert code == -signal.SIGKILL, "it never came to this moment"
    assert forked.run(*asked(killed), log=tmp_path / "log") == 0
    assert contents(killed) == contents(whole)
