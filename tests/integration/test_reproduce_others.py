"""Every table and sweep that is not run in full by hand: one seed of 20 steps, from nothing."""

from __future__ import annotations

from pathlib import Path

import pytest
from rich.console import Console

from pairuni_train.config import find_recipe
from pairuni_train.study import jobs
from pairuni_train.study.jobs import StudyOptions
from pairuni_train.study.processes import measure_command
from pairuni_train.study.reproduce import reproduce
from pairuni_train.study.spec import experiments, find_experiment

_IN_FULL = {"flagship", "table2", "table3", "table5", "figure4", "figure8"}  # docs/experiments.md


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All share what they train and measure, as one `--root` does."""
    return tmp_path_factory.mktemp("study")


def _limited(*words: str | Path) -> list[str]:
    return [*measure_command(*words), "--limit", "8"]


@pytest.mark.slow  # some forty trainings
@pytest.mark.parametrize("name", [name for name in experiments() if name not in _IN_FULL])
def test_an_experiment_makes_its_page_from_nothing(
    name: str, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setattr(jobs, "measure_command", _limited)
    experiment = find_experiment(name).on(tiny=True)
    recipe = find_recipe(experiment.recipe or "tiny-names", {"steps": 20})
    options = StudyOptions(recipe, 1, root, workers=2)
    done = reproduce(experiment, options, tmp_path / name, Console(quiet=True), command="again")
    logs = [path.read_text() for path in (root / "logs").glob("*.txt")] if done.failed else []
    assert done.failed == 0, logs
    page = done.page.with_suffix(".md").read_text()
    for arm in experiment.arms:
        assert f"| {arm.name} | " in page
        assert f"| {arm.name} | 0 of 1 |" not in page
