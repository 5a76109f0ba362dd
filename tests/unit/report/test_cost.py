"""What a run and its training took, and the commands that make everything again."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import pytest
from support import example_run as example

from pairuni_eval.errors import UserError
from pairuni_eval.report.build import build_report
from pairuni_eval.report.cost import cost
from pairuni_eval.store import layout
from pairuni_eval.store.read import StoredRun

EVENTS: list[dict[str, Any]] = [
    {"event": "start", "time": 100.0},
    {"event": "batch", "time": 103.0, "benchmark": "tiny-mmmu", "rows": 16, "seconds": 2.0},
    {"event": "batch", "time": 104.0, "benchmark": "tiny-mme", "rows": 4, "seconds": 0.5},
    {"event": "batch", "time": 107.0, "benchmark": "tiny-mmmu", "rows": 16, "seconds": 2.0},
    {"event": "complete", "time": 108.0},
]


def lines(path: Path, rows: list[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def trained(folder: Path) -> Path:
    """A training of two steps: 3 s of rollouts, 1 s of updates."""
    lines(folder / "metrics.jsonl", [{"step": n, "reward/und": 0.5} for n in range(2)])
    steps = [{"step": 0, "rollouts": 1.0, "update": 0.5}, {"step": 1, "rollouts": 2.0}]
    lines(folder / "seconds.jsonl", [*steps, {"step": 1, "update": 0.5}])
    settings = {
        "arm": {"name": "grpo", "weighting": "none"},
        "recipe": {"name": "tiny", "steps": 2},
        "seed": 7,
    }
    (folder / "settings.json").write_text(json.dumps(settings))
    return folder


@pytest.fixture
def run(tmp_path: Path) -> Path:
    folder = example.write_run(tmp_path / "run", count=4, benchmarks=example.cards(4)[:2])
    lines(folder / layout.JOURNAL, EVENTS)
    return folder


def test_seconds_by_benchmark_grading_and_training(run: Path, tmp_path: Path) -> None:
    found = cost(run, ["tiny-mmmu", "tiny-mme"], {"GRPO": [trained(tmp_path / "t")]})
    assert found is not None
    assert [row[:3] for row in found.rows] == [("tiny-mmmu", 32, 4.0), ("tiny-mme", 4, 0.5)]
    assert found.grading == 1.0 and found.starts == 1
    assert [(bar.name, bar.length) for bar in found.bars] == [
        ("tiny-mmmu", 1.0),
        ("tiny-mme", 0.125),
        ("grading", 0.25),
    ]
    (training,) = found.training
    assert (training.arm, training.steps, training.seconds, training.a_step) == (
        "GRPO",
        2,
        4.0,
        2.0,
    )
    assert training.phases == (("rollouts", 3.0), ("update", 1.0))


def test_without_a_journal_there_is_no_cost(tmp_path: Path) -> None:
    assert cost(tmp_path, ["tiny-mme"], {}) is None


def test_what_the_journal_does_not_tell_is_not_known(tmp_path: Path) -> None:
    lines(tmp_path / layout.JOURNAL, EVENTS[:3])
    with (tmp_path / layout.JOURNAL).open("ab") as journal:
        journal.write(b'{"event": "batch", "time": "soon"}\n\xff\n{"event": "comp')
    found = cost(tmp_path, ["tiny-mmmu", "tiny-mme", "tiny-pope"], {})
    assert found is not None and found.grading is None and found.unread == 3
    assert [row[1:] for row in found.rows] == [(16, 2.0), (4, 0.5), (0, None)]
    assert [bar.words for bar in found.bars] == [
        "2.0 s, 8 outputs a second",
        "0.5 s, 8 outputs a second",
        "not known",
        "not known",
    ]


@pytest.mark.parametrize(
    "line",
    [
        '["event", "batch"]',
        "7",
        '{"event": "batch", "benchmark": "tiny-mme", "rows": 4, "seconds": 1.0, "time": -1}',
        '{"event": "batch", "benchmark": "tiny-mme", "rows": 4, "seconds": -1.0, "time": 9}',
        '{"event": "batch", "benchmark": "tiny-mme", "rows": 4, "seconds": 1e999, "time": 9}',
        '{"event": "batch", "benchmark": "tiny-mme", "rows": 4, "seconds": NaN, "time": 9}',
        '{"event": "batch", "benchmark": "tiny-mme", "rows": -4, "seconds": 1.0, "time": 9}',
    ],
)
def test_a_damaged_line_of_the_journal_is_left_out_and_counted(run: Path, line: str) -> None:
    lines(run / layout.JOURNAL, EVENTS)
    before = cost(run, ["tiny-mmmu", "tiny-mme"], {})
    with (run / layout.JOURNAL).open("a") as journal:
        journal.write(line + "\n")
    found = cost(run, ["tiny-mmmu", "tiny-mme"], {})
    assert before is not None and found == before._replace(unread=1)


def test_a_line_that_was_left_out_is_told_on_the_page(run: Path, tmp_path: Path) -> None:
    with (run / layout.JOURNAL).open("a") as journal:
        journal.write("7\n")
    build_report(StoredRun(run), tmp_path / "out", {})
    told = "Lines of the journal that cannot be read and are left out: 1."
    assert told in (tmp_path / "out" / "cost.md").read_text()


def test_a_clock_that_was_set_back_gives_no_negative_time(run: Path, tmp_path: Path) -> None:
    back = [*EVENTS[:2], EVENTS[2] | {"seconds": -3600.0}, EVENTS[3], EVENTS[4] | {"time": 3.0}]
    lines(run / layout.JOURNAL, back)
    found = cost(run, ["tiny-mmmu", "tiny-mme"], {})
    assert found is not None and found.grading is None
    assert [row[1:] for row in found.rows] == [(32, 4.0), (0, None)]
    build_report(StoredRun(run), tmp_path / "out", {})
    for name in ("cost.md", "cost.svg"):
        said = (tmp_path / "out" / name).read_text()
        assert "not known" in said and " -" not in said.replace("---", "").replace("|-", "")


def test_the_page_is_the_same_with_and_without_the_journals_end(run: Path, tmp_path: Path) -> None:
    """A kill may come between COMPLETE and the journal's last entry."""
    whole = build_report(StoredRun(run), tmp_path / "whole", {}).read_bytes()
    lines(run / layout.JOURNAL, EVENTS[:-1])
    assert build_report(StoredRun(run), tmp_path / "killed", {}).read_bytes() == whole


def test_the_page_shows_a_picture_and_no_time(run: Path, tmp_path: Path) -> None:
    """Times differ between equal runs; the page must not."""
    arms = {"GRPO": [trained(tmp_path / "t")]}
    html = build_report(StoredRun(run), tmp_path / "out", {}, arms).read_text()
    assert '<img class="times" src="cost.svg"' in html and "8 outputs a second" not in html
    picture = (tmp_path / "out" / "cost.svg").read_text()
    ElementTree.fromstring(picture)
    assert "tiny-mmmu" in picture and "4.0 s, 8 outputs a second" in picture
    words = (tmp_path / "out" / "cost.md").read_text()
    assert "| GRPO | 2 | 4.0 s | 2.0 s | rollouts 75 %, update 25 % |" in words


def test_every_command_is_there_to_copy(run: Path, tmp_path: Path) -> None:
    arms = {"GRPO": [trained(tmp_path / "t")]}
    baselines = {"random pair": StoredRun(run)}
    page = build_report(StoredRun(run), tmp_path / "out", baselines, arms)
    markdown = page.with_name("report.md").read_text()
    assert "pairuni-train run --arm grpo --recipe tiny --steps 2 --seed 7 --pairs PAIRS" in markdown
    whole = (
        "pairuni-eval report runs/tiny --baseline 'random pair=runs/random-pair' "
        "--training GRPO=runs/grpo-tiny-seed7"
    )
    assert f"\n{whole}\n" in markdown
    assert page.read_text().count("pairuni-eval run --checkpoint") >= 2


def test_settings_that_cannot_be_read_are_named(run: Path, tmp_path: Path) -> None:
    folder = trained(tmp_path / "t")
    (folder / "settings.json").write_text('{"recipe": {}}')
    with pytest.raises(UserError, match=r"settings\.json: cannot be read"):
        build_report(StoredRun(run), tmp_path / "out", {}, {"GRPO": [folder]})
