"""A table from nothing but pair sets: arms are trained and measured once, failures stay apart."""

from __future__ import annotations

import os
import signal
import sys
import time
import zipfile
from pathlib import Path

import msgspec
import pytest
from rich.console import Console
from support import small_training as small
from support.fork_server import Child

from pairuni_eval.errors import UserError
from pairuni_train.config import find_recipe
from pairuni_train.pair_data.dataset import write_pairs
from pairuni_train.study import baselines, jobs
from pairuni_train.study.baselines import make_baselines
from pairuni_train.study.jobs import StudyOptions
from pairuni_train.study.processes import measure_command
from pairuni_train.study.reproduce import reproduce
from pairuni_train.study.spec import Column, Experiment, StudyArm, find_experiment

QUIET = Console(quiet=True)


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A root that has the preset's pair sets already, of a few rows."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    folder = tmp_path / "root" / "pairs" / "preset"
    for seed, name in enumerate(("pairug", "random", "unpaired")):
        write_pairs(folder / f"{name}.parquet", small.tiny_pairs(8, seed=seed))
    return tmp_path / "root"


def edits_only() -> Experiment:
    """An untrained arm, one trained in a small step, and one whose pair set cannot be built."""
    other_weights = {"encoder.checkpoint": "nowhere"}
    small_step = {"lr": 1e-5, "pairs_per_step": 2, "und.rollouts": 4, "gen.rollouts": 4}
    return msgspec.structs.replace(
        find_experiment("table4"),
        arms=(
            StudyArm(name="base", trained_as="base"),
            StudyArm(name="no pairs", trained_as="pairuni", changes=other_weights),
            StudyArm(name="PairUni", trained_as="pairuni", settings=small_step),
        ),
        against=("base",),
        columns=(Column(title="ImgEdit", benchmark="imgedit"),),
        printed=(),
        held_out=(),
    )


@pytest.fixture
def few_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is measured is measured on its first samples."""
    for module in (jobs, baselines):
        monkeypatch.setattr(module, "measure_command", _limited)


def _limited(*words: str | Path) -> list[str]:
    return [*measure_command(*words), "--limit", "8"]


@pytest.mark.usefixtures("forked_python", "few_samples")
def test_arms_are_made_once_and_a_failing_one_stops_no_other(root: Path, tmp_path: Path) -> None:
    options = StudyOptions(find_recipe("tiny", {"steps": 1}), 1, root, workers=2)
    out = tmp_path / "out"
    done = reproduce(edits_only(), options, out, QUIET, command="again")
    assert (done.page, done.failed) == (out / "table.html", 1)
    text = done.page.with_suffix(".md").read_text()
    assert "1 of 3 runs are not there." in text
    assert "| no pairs | 0 of 1 | no run |" in text
    assert "PairUni: pairuni: 8 rows" in text and "lr=1e-05" in text
    (log,) = (root / "logs").glob("pairs-*.txt")
    assert "has no checkpoint" in log.read_text()
    made = [*root.rglob("COMPLETE"), *root.rglob("metrics.jsonl")]
    times = {path: path.stat().st_mtime_ns for path in made}
    assert len(times) == 2 + 2  # two runs; the training and its copy in the run
    reproduce(edits_only(), options, out, QUIET, command="again")
    assert {path: path.stat().st_mtime_ns for path in made} == times
    assert done.page.with_suffix(".md").read_text() == text
    _check_baselines(options, tmp_path)


def _check_baselines(options: StudyOptions, tmp_path: Path) -> None:
    """The trained arm becomes a baseline that knows no path of this machine."""
    experiment = msgspec.structs.replace(edits_only(), against=("PairUni",))
    (made,) = make_baselines(experiment, options, "smoke", tmp_path / "packed")
    assert (made.name, made.file.name) == ("PairUni", "pairuni.zip")
    with zipfile.ZipFile(made.file) as archive:
        card = archive.read("run.json").decode()
        assert archive.read("training/metrics.jsonl").count(b"\n") == 1
        assert any(name.startswith("images/") for name in archive.namelist())
    assert '"suite": "smoke"' in card and str(options.root) not in card
    untrained = msgspec.structs.replace(find_experiment("table2"), against=("GRPO",))
    with pytest.raises(UserError, match="The arm 'GRPO' was not trained") as refused:
        list(make_baselines(untrained, options, "smoke", tmp_path / "packed"))
    assert refused.value.hint is not None
    assert refused.value.hint.startswith("pairuni-train reproduce table2 --recipe tiny --steps 1")


# The log has this line too, and must not hold the word for it.
SLEEPER = "import time; print('star' + 'ted', flush=True); time.sleep(600)"


@pytest.mark.usefixtures("forked_python")
def test_an_interruption_begins_no_further_trial(
    fork_server: str, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    launcher = f'{sys.executable} -c "{SLEEPER}"'
    # The base, which nothing launches, is measured beside two trainings.
    words = ["reproduce", "table2", "--recipe", "tiny", "--steps", 1, "--root", root]
    words += ["--workers", 3, "--launcher", launcher]
    with (tmp_path / "said").open("wb") as said, Path(os.devnull).open("rb") as nothing:
        streams = (nothing, said, said)
        python = sys.executable  # what measures the base is forked as well
        running = Child(fork_server, "pairuni_train.cli", words, streams, python=python)
    deadline = time.monotonic() + 600
    while _started(root) < 2:
        assert time.monotonic() < deadline, (tmp_path / "said").read_text()
        time.sleep(0.1)
    os.killpg(running.pid, signal.SIGINT)
    assert running.wait() == 130
    assert _started(root) <= 3, "of ten trials: those that ran, and what followed the base's"
    assert "Traceback" not in (tmp_path / "said").read_text()


def _started(root: Path) -> int:
    """How many trainings have begun."""
    logs = (root / "logs").glob("*-seed-*.txt")
    return sum(log.read_text().count("started") for log in logs)
