"""axe-core over every kind of page, light and dark, wide and as wide as a phone.

`nox -s accessibility` fetches axe-core and names its file in AXE_CORE; without it these tests skip.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from support import example_run as example
from support.chromium import Browser
from support.made_up_boards import board_page
from support.made_up_experiments import study_pages
from support.made_up_timelines import timeline_page, watched_page

from pairuni_eval.report.build import build_report
from pairuni_eval.store.read import StoredRun

AXE = os.environ.get("AXE_CORE")
pytestmark = [
    pytest.mark.accessibility,
    pytest.mark.skipif(AXE is None, reason="axe-core comes with nox -s accessibility"),
]
# Every rule, best practices included; of each violation the rule and the elements.
CHECK = """
const seen = node => node.html.slice(0, 200);
return axe.run(document, {resultTypes: ['violations']}).then(found => ({
  violations: found.violations.map(one => [one.id, ...one.nodes.map(seen)]),
  rules: found.passes.length,
}));
"""


def found(browser: Browser) -> dict[str, Any]:
    """What axe finds on the open page, everything unfolded."""
    assert AXE is not None
    browser.run("document.querySelectorAll('details').forEach(one => one.open = true)")
    browser.run(Path(AXE).read_text(encoding="utf-8"))
    result: dict[str, Any] = browser.run(CHECK)
    return result


def report(root: Path) -> Path:
    """A report with baselines, a partial benchmark, pictures, answers that could not be read."""
    benchmarks = [*example.cards(96), example.geneval_card(96)]
    ours = example.write_run(root / "a", benchmarks=benchmarks, count=30)
    others = {
        name: StoredRun(
            example.write_run(root / name, name=name, skill=skill, benchmarks=benchmarks, count=30)
        )
        for name, skill in (("worse", 0.3), ("alike", 0.7))
    }
    return build_report(StoredRun(ours), root / "report", others)


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A page of every kind; one more kind is one more entry here and below."""
    root = tmp_path_factory.mktemp("axe")
    return {
        "report": report(root),
        "board": board_page(root / "board"),
        "timeline": timeline_page(root / "timeline"),
        "watched": watched_page(root / "watched"),
        **study_pages(root / "studies"),
    }


def test_a_fault_is_seen(browser: Browser, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    page.write_text("<!DOCTYPE html><title>x</title><img src=x.png><p style='color:#ccc'>pale</p>")
    browser.open(page, width=1280)
    rules = {one[0] for one in found(browser)["violations"]}
    assert {"image-alt", "color-contrast", "html-has-lang"} <= rules


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("kind", ["report", "table", "figure", "board", "timeline", "watched"])
def test_axe_finds_nothing(
    browser: Browser, pages: dict[str, Path], kind: str, width: int, dark: bool
) -> None:
    browser.open(pages[kind], width=width, dark=dark)
    result = found(browser)
    assert result["violations"] == []
    assert result["rules"] > 15  # it did look
