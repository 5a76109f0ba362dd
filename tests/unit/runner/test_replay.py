"""A run that is replayed: any run that can be named, and limits that cut no unit in two."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from pairuni_eval.named_runs import opened
from pairuni_eval.runner.run import measure
from pairuni_eval.runner.settings import RunSettings
from pairuni_eval.store.read import StoredRun

SHIPPED = "suite:tiny/GRPO"


def replayed(folder: Path, limit: int) -> StoredRun:
    asked = RunSettings(
        checkpoint=f"replay:{SHIPPED}", out=folder, benchmarks=("tiny-mme",), limit=limit
    )
    return StoredRun(measure(asked, Console(quiet=True)))


def test_a_baseline_that_a_suite_ships_is_replayed_by_its_address(tmp_path: Path) -> None:
    run = replayed(tmp_path / "run", 3)
    former = opened(SHIPPED).outputs.set_index("id")
    assert run.outputs["error"].isna().all()
    assert run.outputs["parts"].tolist() == former.loc[run.outputs["id"], "parts"].tolist()


def test_a_limit_does_not_cut_a_pair_of_questions_in_two(tmp_path: Path) -> None:
    """Three questions are an image and a half: the second of the other image is asked too."""
    run = replayed(tmp_path / "run", 3)
    assert run.samples["unit"].value_counts().tolist() == [2, 2]
    assert run.card.benchmarks["tiny-mme"].planned == 4
