"""The board in a real browser: filters, sorting, two runs by a click, a phone, names as text."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.chromium import CONTRAST, OVERFLOW, Browser
from support.made_up_boards import LOUD, board_page

SHOWN = """
return [...document.querySelectorAll('#runs tbody tr')].filter(row => row.getClientRects().length)
  .map(row => row.cells[0].querySelector('b').textContent);
"""
CHOOSE = """
const named = [...document.querySelectorAll('#runs tbody tr')]
  .find(row => row.dataset.typed.endsWith('/' + arguments[0]));
named.querySelector('button.choose').click();
"""


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return board_page(tmp_path_factory.mktemp("board"))


def filtered(browser: Browser, **fields: str) -> list[str]:
    """The names that are left once fields have these values."""
    for name, value in fields.items():
        browser.run(
            "const one = document.getElementById('filters').elements[arguments[0]];"
            "one.value = arguments[1]; one.dispatchEvent(new Event('input', {bubbles: true}));",
            name,
            value,
        )
    found: list[str] = browser.run(SHOWN)
    return found


def count(browser: Browser, selector: str) -> int:
    found: Any = browser.run(
        "return [...document.querySelectorAll(arguments[0])]"
        ".filter(one => one.getClientRects().length).length",
        selector,
    )
    return int(found)


@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_it_fits_and_can_be_read(browser: Browser, page: Path, width: int, dark: bool) -> None:
    browser.log("browser")
    browser.open(page, width=width, dark=dark)
    browser.run("document.querySelectorAll('details').forEach(one => one.open = true)")
    assert browser.run("return document.documentElement.scrollWidth") <= width
    assert browser.run(OVERFLOW) == []
    assert browser.run(CONTRAST) == []
    assert browser.run("return document.title") == "Board of runs"  # no name has run as a script
    assert browser.log("browser") == []


def test_filters_leave_what_fits(browser: Browser, page: Path) -> None:
    browser.open(page, width=1280)
    everyone = browser.run(SHOWN)
    assert everyone == ["ours", "base", "base", LOUD, "part"]
    assert filtered(browser, words="BASE c") == ["base"]
    assert browser.run("return document.getElementById('count').textContent") == "1 of 5 runs"
    assert count(browser, "section.board") == 1  # that run has one benchmark alone
    assert filtered(browser, words="", checkpoint="1") == ["base", "base"]
    assert filtered(browser, checkpoint="", benchmark="1") == ["ours", "base", LOUD, "part"]
    assert count(browser, "section.board") == 1
    browser.run("document.querySelector('#filters button[type=reset]').click()")
    browser.run("return new Promise(done => setTimeout(() => setTimeout(done)))")
    assert browser.run(SHOWN) == everyone
    assert count(browser, "section.board") == 2


def test_two_runs_by_a_click(browser: Browser, page: Path) -> None:
    browser.open(page, width=1280)
    assert count(browser, "#chosen") == 0
    browser.run(CHOOSE, "b")
    browser.run(CHOOSE, "a")  # the report is of a against b
    assert "Stored" not in browser.run("return document.getElementById('answer').textContent")
    assert count(browser, "#answer details.compared table") == 1
    command = "return document.querySelector('#answer .command').textContent"
    runs = page.parent.parent / "runs"
    assert browser.run(command) == f"pairuni-eval compare {runs / 'b'} {runs / 'a'}"
    browser.run("document.getElementById('swap').click()")
    assert browser.run(command) == f"pairuni-eval compare {runs / 'a'} {runs / 'b'}"
    browser.run(CHOOSE, "c")  # takes the place of the one that was chosen first
    assert browser.run(command) == f"pairuni-eval compare {runs / 'b'} {runs / 'c'}"
    assert count(browser, "#answer details") == 0
    browser.run("document.getElementById('unchoose').click()")
    assert count(browser, "#chosen") == 0


def test_tables_sort_but_not_those_without_an_order(browser: Browser, page: Path) -> None:
    browser.open(page, width=1280)
    values = "return [...document.querySelectorAll('.ranks')[0].querySelectorAll('td[data-sort]')]"
    before = browser.run(f"{values}.map(one => Number(one.dataset.sort))")
    assert before == sorted(before, reverse=True)
    browser.run("document.querySelectorAll('.ranks')[0].querySelectorAll('button.sort')[2].click()")
    assert browser.run(f"{values}.map(one => Number(one.dataset.sort))") == sorted(before)


def test_without_a_script_everything_is_there(page: Path, tmp_path: Path, browser: Browser) -> None:
    still = tmp_path / "still.html"
    html = page.read_text(encoding="utf-8")
    still.write_text(html[: html.rindex("<script>")], encoding="utf-8")
    browser.show(still, width=1280)
    assert browser.run(SHOWN) == ["ours", "base", "base", LOUD, "part"]
    assert count(browser, "#filters") == count(browser, "button.choose") == 0
    assert count(browser, "#stored details") == 1


def test_it_asks_nothing_of_any_network(browser: Browser, page: Path) -> None:
    browser.requests()
    browser.open(page, width=1280)
    assert {url for url in browser.requests() if not url.startswith(("file:", "about:"))} == set()
