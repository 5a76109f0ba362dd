"""A report that stands: what it was made of, and everything that makes it be built anew."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from support import example_run as example

from pairuni_eval.errors import UserError
from pairuni_eval.report.build import build_report
from pairuni_eval.report.kept import keep, kept_notices, made_of
from pairuni_eval.report.seeds import NO_SEEDS
from pairuni_eval.store import layout
from pairuni_eval.store.read import StoredRun

pytestmark = pytest.mark.light


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return example.write_run(tmp_path / "a", count=6, benchmarks=example.one_of_each(6))


@pytest.fixture
def report(run: Path, tmp_path: Path) -> Path:
    """A report that was built and remembered."""
    out = tmp_path / "report"
    build_report(StoredRun(run), out, {})
    keep(out, address(run), ("one thing",))
    return out


def address(run: Path, **baselines: Path) -> str:
    found = made_of(
        StoredRun(run), {name: StoredRun(path) for name, path in baselines.items()}, NO_SEEDS
    )
    assert found is not None
    return found


def test_a_page_that_nothing_has_moved_stands(run: Path, report: Path) -> None:
    assert kept_notices(report, address(run)) == ("one thing",)


def test_an_equal_run_elsewhere_makes_the_same_page(run: Path, tmp_path: Path) -> None:
    twin = example.write_run(tmp_path / "twin", count=6, benchmarks=example.one_of_each(6))
    assert address(twin) == address(run)


def _edited(report: Path) -> None:
    (report / "report.md").write_text("mine")


def _lost(report: Path) -> None:
    (report / "summary.json").unlink()


def _without_a_picture(report: Path) -> None:
    next((report / "images").glob("*.png")).unlink()


@pytest.mark.parametrize("change", [_edited, _lost, _without_a_picture])
def test_a_page_that_was_changed_is_built_anew(
    run: Path, report: Path, change: Callable[[Path], None]
) -> None:
    change(report)
    assert kept_notices(report, address(run)) is None


def test_another_baseline_another_page(run: Path, report: Path, tmp_path: Path) -> None:
    other = example.write_run(
        tmp_path / "b", count=6, skill=0.4, name="other", benchmarks=example.one_of_each(6)
    )
    both = {address(run, GRPO=other), address(run, base=other), address(run)}
    assert len(both) == 3, "the name is printed"
    assert kept_notices(report, address(run, GRPO=other)) is None


def _times(run: Path) -> None:
    (run / layout.JOURNAL).write_bytes(b'{"event": "start"}\n')


def _training(run: Path) -> None:
    (run / "training").mkdir()
    (run / "training" / "metrics.jsonl").write_text('{"step": 0, "loss": 1.0}\n')


def _pictures(run: Path) -> None:
    next(path for path in (run / layout.IMAGES).rglob("*") if path.is_file()).unlink()


@pytest.mark.parametrize("change", [_times, _training, _pictures])
def test_what_stands_beside_the_tables_counts(run: Path, change: Callable[[Path], None]) -> None:
    before = address(run)
    change(run)
    assert address(run) != before


def test_a_changed_table_is_refused(run: Path) -> None:
    (run / "scores.parquet").write_bytes(b"other")
    with pytest.raises(UserError, match=r"scores\.parquet"):
        address(run)


def test_a_cache_that_cannot_be_written_remembers_nothing(
    run: Path, report: Path, cache: Path
) -> None:
    for path in (cache / "pairuni" / "reports").iterdir():
        path.write_text("{}")
    assert kept_notices(report, address(run)) is None, "nor what cannot be read"
    (cache / "pairuni" / "reports").rename(cache / "elsewhere")
    (cache / "pairuni" / "reports").write_text("a file")
    keep(report, address(run), ())
    assert kept_notices(report, address(run)) is None
