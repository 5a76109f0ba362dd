"""Runs as data frames: the report's numbers, a status for whatever is missing, and no torch."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path

import pytest
from support import example_run as example

from pairuni_eval import api
from pairuni_eval.errors import UserError
from pairuni_eval.frames import RUN_COLUMNS, SAMPLE_COLUMNS, SCORE_COLUMNS
from pairuni_eval.stats.tables import Tables, benchmark_metrics
from pairuni_eval.store.archive import pack
from pairuni_eval.store.read import StoredRun

pytestmark = pytest.mark.light


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twice 12 outputs a benchmark, of one with an output that was not read and one that failed."""
    root = tmp_path_factory.mktemp("frames")
    for name, skill in (("a", 0.9), ("b", 0.4)):
        few = example.one_of_each(16)
        example.write_run(root / name, name="mine", skill=skill, count=12, benchmarks=few)
    card = example.cards(4)[1]
    rows = example.graded(card, 4, 1.0, random.Random(0))
    rows[0] = rows[0]._replace(scores={"correct": None})
    rows[1] = rows[1]._replace(reply=None, error="out of memory", scores={})
    example.store(root / "c", [card], {card.name: rows}, name="odd")
    return root


def test_a_line_for_each_metric_and_group_with_the_numbers_of_the_report(runs: Path) -> None:
    frame = api.runs_frame(runs / "a", runs / "b")
    assert tuple(frame.columns) == RUN_COLUMNS
    assert list(frame["run"].unique()) == ["mine", "mine (2)"]
    tables = Tables(StoredRun(runs / "a"))
    told = [row for name in tables.run.card.benchmarks for row in benchmark_metrics(tables, name)]
    mine = frame[(frame["run"] == "mine") & frame["group"].isna()]
    assert mine["value"].tolist() == [row.estimate.value for row in told]
    assert mine["scored"].tolist() == [row.scored for row in told]
    assert frame["headline"].sum() == 2 * len(StoredRun(runs / "a").card.benchmarks)
    groups = frame[(frame["run"] == "mine") & frame["group"].notna()]
    assert len(groups) == sum(len(row.groups) for row in told)
    assert set(mine["status"]) <= {"whole", "in part", "none"} and "in part" in set(mine["status"])
    assert (frame["value"].isna() == (frame["status"] == "none")).all()


def test_a_line_for_each_output(runs: Path) -> None:
    frame = api.samples_frame({"odd": runs / "c"})
    assert tuple(frame.columns)[: len(SAMPLE_COLUMNS)] == SAMPLE_COLUMNS
    assert frame["status"].tolist() == ["answered", "failed", "answered", "answered"]
    assert frame["reason"].tolist()[1] == "out of memory" and frame["answer"].isna()[1]
    outputs = Tables(StoredRun(runs / "c")).outputs(frame["benchmark"][0])
    assert frame["output"].tolist() == outputs["id"].tolist()
    assert frame["question"].str.len().gt(0).all()
    assert any(name.startswith("tag.") for name in frame)


def test_a_line_for_each_score(runs: Path) -> None:
    """Unparsed counts as wrong under this protocol, and its stored value is missing."""
    frame = api.scores_frame([runs / "c"])
    assert tuple(frame.columns)[: len(SCORE_COLUMNS)] == SCORE_COLUMNS
    first = frame[frame["protocol"] == frame["protocol"][0]]
    assert first["status"].tolist() == ["unparsed", "missing_output", "scored", "scored"]
    assert first["value"].isna().tolist() == [True, True, False, False]
    assert first["counted"].isna().tolist() == [False, True, False, False]
    assert first["counted"].tolist()[0] == 0.0


def test_packed_runs_and_the_baselines_of_a_suite(runs: Path, tmp_path: Path) -> None:
    pack(runs / "a", tmp_path / "a.zip")
    frame = api.runs_frame({"packed": tmp_path / "a.zip", "GRPO": "suite:tiny/GRPO"})
    assert list(frame["run"].unique()) == ["packed", "GRPO"]
    with pytest.raises(UserError, match="is not a run folder"):
        api.runs_frame(tmp_path)


def test_no_runs_make_an_empty_frame() -> None:
    assert tuple(api.scores_frame().columns) == SCORE_COLUMNS and api.runs_frame([]).empty


LIGHT = """
import sys
for name in ("torch", "transformers"):
    sys.modules[name] = None
from pairuni_eval import api
assert "pairuni_eval.frames" not in sys.modules
assert "pairuni_eval.stats" not in sys.modules and "pandas" not in sys.modules
print(len(api.runs_frame(sys.argv[1])), len(api.samples_frame(sys.argv[1])))
print(len(api.scores_frame(sys.argv[1])))
"""


def test_frames_need_no_torch_and_the_api_no_frames(runs: Path) -> None:
    ran = subprocess.run(
        [sys.executable, "-c", LIGHT, str(runs / "a")], capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr
    assert all(int(count) > 0 for count in ran.stdout.split())


def test_every_name_of_the_public_surface_is_there() -> None:
    assert all(hasattr(api, name) for name in api.__all__)
    with pytest.raises(AttributeError, match="has no attribute 'run_frame'"):
        _ = api.run_frame
