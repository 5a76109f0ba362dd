"""The timeline in a real browser: it fits a phone, can be read in light and dark, and on paper."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.chromium import CONTRAST, OVERFLOW, Browser
from support.made_up_timelines import timeline_page, watched_page


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return timeline_page(tmp_path_factory.mktemp("timeline"))


@pytest.mark.parametrize(("width", "dark"), [(390, True), (1280, False)])
def test_a_choice_and_what_was_sampled_fit(
    browser: Browser, tmp_path: Path, width: int, dark: bool
) -> None:
    page = watched_page(tmp_path)
    browser.log("browser")
    browser.open(page, width=width, dark=dark)
    browser.run("document.querySelector('#rollouts').open = true")
    assert browser.run("return document.documentElement.scrollWidth") <= width
    assert browser.run(OVERFLOW) == []
    assert browser.run(CONTRAST) == []
    assert browser.log("browser") == []


@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_it_fits_and_can_be_read(browser: Browser, page: Path, width: int, dark: bool) -> None:
    browser.log("browser")
    browser.open(page, width=width, dark=dark)
    assert browser.run("return document.documentElement.scrollWidth") <= width
    assert browser.run(OVERFLOW) == []
    assert browser.run(CONTRAST) == []
    assert browser.log("browser") == []


def test_charts_stand_above_one_another_on_one_axis(browser: Browser, page: Path) -> None:
    browser.open(page, width=390)
    ends = """
    return [...document.querySelectorAll(arguments[0])].map(chart => {
      const marks = [...chart.querySelectorAll('text')]
        .filter(one => one.getAttribute('y') === '181' && one.textContent);
      return [marks[0], marks[marks.length - 1]]
        .map(one => [one.textContent, one.getAttribute('x')]);
    });
    """
    found = browser.run(ends, "#steps svg[role=img], #gradients svg[role=img]")
    assert len(found) == 3  # two benchmarks and the cosine
    assert all(one == found[0] for one in found)
    assert [label for label, _ in found[0]] == ["0", "20"]


def test_nothing_needs_a_script_and_paper_holds_it_all(browser: Browser, page: Path) -> None:
    html = page.read_text(encoding="utf-8")
    still = page.with_name("still.html")
    still.write_text(html[: html.rindex("<script>")], encoding="utf-8")
    browser.show(still, width=1280)
    assert browser.run("return document.querySelectorAll('svg[role=img]').length") >= 4
    assert browser.run("return document.querySelectorAll('#trade-off .front').length") >= 1
    browser.pdf(page.with_name("page.pdf"))
    assert page.with_name("page.pdf").stat().st_size > 10_000
