"""Tables sort by a click and by the keyboard; long texts are folded and open again."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from support import example_run as example
from support.chromium import Browser

from pairuni_eval.report.build import build_report
from pairuni_eval.report.pages import render_page
from pairuni_eval.store.read import StoredRun

ROWS = "return [...document.querySelectorAll('#t tbody tr')].map(row => row.cells[0].textContent)"
ORDER = "return [...document.querySelectorAll('#t th')].map(one => one.getAttribute('aria-sort'))"
CLICK = "document.querySelectorAll('#t thead button')[arguments[0]].click()"
ENTER = "\ue007"
TABLE = """
<table id="t"><thead><tr><th>Name</th><th>Value</th><th>Word</th></tr></thead><tbody>
<tr><td>b</td><td>10.5 %</td><td>worse</td></tr>
<tr><td>a</td><td>\N{MINUS SIGN}2.0</td><td>better</td></tr>
<tr><td>d</td><td>\N{EN DASH}</td><td></td></tr>
<tr><td>c</td><td>1,200/1,300</td><td>tied</td></tr>
</tbody></table>
"""


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """The table on a page of the project's own."""
    page = render_page("base.html.j2")
    path = tmp_path / "page.html"
    path.write_text(page.replace('<main id="content">', f'<main id="content">{TABLE}'), "utf-8")
    return path


@pytest.mark.parametrize(
    ("column", "rising", "falling"), [(0, "abcd", "dcba"), (1, "abcd", "cbad"), (2, "acbd", "bcad")]
)
def test_a_click_sorts(
    browser: Browser, table: Path, column: int, rising: str, falling: str
) -> None:
    browser.open(table, width=1280)
    browser.run(CLICK, column)
    assert "".join(browser.run(ROWS)) == rising
    assert browser.run(ORDER)[column] == "ascending"
    browser.run(CLICK, column)
    assert "".join(browser.run(ROWS)) == falling
    assert browser.run(ORDER)[column] == "descending"
    browser.run(CLICK, column)
    assert "".join(browser.run(ROWS)) == "badc" and browser.run(ORDER) == [None] * 3


def test_the_keyboard_sorts(browser: Browser, table: Path) -> None:
    browser.open(table, width=1280)
    browser.run("document.querySelector('#t thead button').focus()")
    browser.press(ENTER)
    assert "".join(browser.run(ROWS)) == "abcd"
    assert browser.run("return getComputedStyle(document.activeElement).outlineStyle") == "solid"


@pytest.fixture(scope="module")
def wordy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report of six questions, the first answered at length."""
    root = tmp_path_factory.mktemp("wordy")
    card = example.cards(6)[0]
    rows = {card.name: example.graded(card, 6, 0.5, random.Random(0))}
    first = rows[card.name][0]
    rows[card.name][0] = first._replace(reply="B. " + "because it is so, " * 200)
    example.store(root / "a", [card], rows)
    return build_report(StoredRun(root / "a"), root / "out", {})


@pytest.mark.parametrize("where", ["#found", ".gallery"])
def test_a_long_answer_is_folded_and_opens(browser: Browser, wordy: Path, where: str) -> None:
    browser.open(wordy, width=390)
    answer = f"document.querySelector('{where} .said.folded')"
    folded = browser.run(f"return {answer}.getBoundingClientRect().height")
    whole = browser.run(f"return {answer}.scrollHeight")
    assert folded < whole and browser.run(f"return {answer}.textContent").count("because") > 30
    control = browser.run(
        f"""
        const answer = {answer};
        const control = answer.nextElementSibling;
        const before = [control.textContent, control.getAttribute('aria-expanded')];
        control.click();
        const height = answer.getBoundingClientRect().height;
        return [...before, control.getAttribute('aria-expanded'), height];
        """
    )
    assert control[:3] == ["Show all 720 characters", "false", "true"] and control[3] >= whole - 1


def test_without_the_script_everything_is_whole_and_no_control_is_dead(
    browser: Browser, wordy: Path
) -> None:
    browser.devtools("Emulation.setScriptExecutionDisabled", value=True)
    try:
        browser.show(wordy, width=1280)
        shown = browser.devtools("DOM.getDocument", depth=-1)
        html = browser.devtools("DOM.getOuterHTML", nodeId=shown["root"]["nodeId"])["outerHTML"]
    finally:
        browser.devtools("Emulation.setScriptExecutionDisabled", value=False)
    body = html[html.index("<main") : html.index("</main>")]
    assert "folded" not in body and 'class="sort"' not in body and body.count("because it is") > 30
    assert "Filtering needs the page's own script" in body
