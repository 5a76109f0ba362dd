"""Pages of experiments in a real browser: a table of arms and a figure, as wide as a phone."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.chromium import CONTRAST, OVERFLOW, Browser
from support.made_up_experiments import study_pages


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return study_pages(tmp_path_factory.mktemp("studies"))


@pytest.mark.parametrize("kind", ["table", "figure"])
@pytest.mark.parametrize("width", [390, 1280])
def test_nothing_is_wider_than_the_window(
    browser: Browser, pages: dict[str, Path], kind: str, width: int
) -> None:
    browser.log("browser")
    browser.open(pages[kind], width=width)
    browser.run("document.querySelectorAll('details').forEach(one => one.open = true)")
    assert browser.run("return document.querySelectorAll('svg[role=img]').length") >= 2
    assert browser.run("return document.documentElement.scrollWidth") <= width
    assert browser.run(OVERFLOW) == []
    assert browser.log("browser") == []


@pytest.mark.parametrize("kind", ["table", "figure"])
def test_a_table_is_cards_on_a_phone(browser: Browser, pages: dict[str, Path], kind: str) -> None:
    browser.open(pages[kind], width=390)
    wide = "return [...document.querySelectorAll('.grid')].filter(one => one.scrollWidth > 390)"
    assert browser.run(f"{wide}.length") == 0
    label = "return getComputedStyle(document.querySelector('.grid td'), '::before').content"
    assert browser.run(label) == '"seeds"'


@pytest.mark.parametrize("kind", ["table", "figure"])
@pytest.mark.parametrize("dark", [False, True])
def test_text_has_contrast(browser: Browser, pages: dict[str, Path], kind: str, dark: bool) -> None:
    browser.open(pages[kind], width=1280, dark=dark)
    assert browser.run(CONTRAST) == []
