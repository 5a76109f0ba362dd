"""Both figures from nothing but pair sets: probes and training runs of a few rows, then pages."""

from __future__ import annotations

import sys
from pathlib import Path

import msgspec
import pytest
from rich.console import Console
from support import small_training as small

from pairuni_eval.errors import UserError
from pairuni_eval.store.training import read_fixed
from pairuni_train.config import find_recipe
from pairuni_train.pair_data.dataset import write_pairs
from pairuni_train.study.jobs import StudyOptions
from pairuni_train.study.reproduce import reproduce
from pairuni_train.study.spec import Experiment, find_experiment

QUIET = Console(quiet=True)
pytestmark = pytest.mark.usefixtures("forked_python")


@pytest.fixture
def options(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StudyOptions:
    """One seed and two steps in a root that has the pair sets already."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    root = tmp_path / "root"
    write_pair_sets(root, 8)
    return StudyOptions(find_recipe("tiny", {"steps": 2}), 1, root, workers=2)


def write_pair_sets(root: Path, count: int) -> None:
    folder = root / "pairs" / "preset"
    write_pairs(folder / "pairug.parquet", small.tiny_pairs(count))
    write_pairs(folder / "random.parquet", small.tiny_pairs(count, seed=1))


def two_scenarios() -> Experiment:
    found = find_experiment("figure8")
    arms = tuple(arm for arm in found.arms if arm.name in ("PairUG", "random"))
    return msgspec.structs.replace(found, arms=arms, pairs_per_batch={"tiny": 4})


def small_curves() -> Experiment:
    """Figure 4 of arms that train in small steps."""
    found = find_experiment("figure4")
    small_step = {"pairs_per_step": 2, "und.rollouts": 4, "gen.rollouts": 4}
    arms = tuple(msgspec.structs.replace(arm, settings=small_step) for arm in found.arms)
    return msgspec.structs.replace(found, arms=arms)


@pytest.mark.slow  # probes, their going on and the page are tested apart; trials once in a table
def test_gradients_are_probed_once_and_written(options: StudyOptions, tmp_path: Path) -> None:
    out = tmp_path / "figure8"
    write_pair_sets(options.root, 4)  # a batch is a whole set
    done = reproduce(two_scenarios(), options, out, QUIET, command="again", batches=1)
    assert (done.page, done.failed) == (out / "figure.html", 0)
    text = done.page.with_suffix(".md").read_text()
    assert "same 1.0000 (right: 1), flip −1.0000 (right: −1), angle 0.5000 (right: 0.5)" in text
    assert "every batch has the same questions" in text and "1 batches of 4 pairs" in text
    (rows,) = (options.root / "probe").rglob("gradients.jsonl")
    written = rows.stat().st_mtime_ns
    (out / "figure.md").unlink()
    reproduce(two_scenarios(), options, out, QUIET, command="again", batches=1)
    assert rows.stat().st_mtime_ns == written, "a finished probe is not run again"
    assert (out / "figure.md").read_text() == text


@pytest.mark.slow
def test_curves_are_trained_once_and_written(options: StudyOptions, tmp_path: Path) -> None:
    out = tmp_path / "figure4"
    done = reproduce(small_curves(), options, out, QUIET, command="again")
    text = done.page.with_suffix(".md").read_text()
    assert "| tiny understanding, PairUni | 1 |" in text and "needs 3 seeds" in text
    assert "Before any update all arms earn 0." in text and "prompt by prompt the same" in text
    rows = [read_fixed(file.parent) for file in (options.root / "train").rglob("fixed.jsonl")]
    assert [[row.step for row in one] for one in rows] == [[0, 0, 1, 1, 2, 2]] * 2
    assert rows[0][:2] == rows[1][:2], "equal weights, equal prompts, equal draws"
    metrics = sorted((options.root / "train").rglob("metrics.jsonl"))
    assert [len(file.read_text().splitlines()) for file in metrics] == [2, 2]
    times = [file.stat().st_mtime_ns for file in metrics]
    reproduce(small_curves(), options, out, QUIET, command="again")
    assert [file.stat().st_mtime_ns for file in metrics] == times
    assert (out / "figure.md").read_text() == text


@pytest.mark.slow
def test_trainings_without_fixed_prompts_are_measured_where_they_still_can_be(
    options: StudyOptions, tmp_path: Path
) -> None:
    figure4 = find_experiment("figure4")
    without = msgspec.structs.replace(figure4, fixed=None)
    text = reproduce(without, options, tmp_path / "a", QUIET, command="again").page.read_text()
    assert "no training was measured on prompts that are the same for all" in text
    weights = sorted((options.root / "train").rglob("model.safetensors"))
    times = [file.stat().st_mtime_ns for file in weights]
    text = reproduce(figure4, options, tmp_path / "b", QUIET, command="again").page.read_text()
    assert "Before any update all arms earn 0." in text
    assert [file.stat().st_mtime_ns for file in weights] == times, "nothing is trained anew"


def test_a_probe_that_fails_names_its_log(options: StudyOptions, tmp_path: Path) -> None:
    failing = options._replace(launcher=(sys.executable, "-c", "raise SystemExit('Error: no')"))
    with pytest.raises(UserError, match="Everything failed, the first with: Error: no") as refused:
        reproduce(two_scenarios(), failing, tmp_path, QUIET, command="again", batches=1)
    assert "probe-seed-0.txt" in str(refused.value.hint)
    with pytest.raises(UserError, match="figure4 probes no gradients"):
        reproduce(find_experiment("figure4"), options, tmp_path, QUIET, command="", batches=1)
