"""Addresses inside a report: every sample, group and filter has one that opens, is written while
filters are used, is copied, and leads back.
"""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from support import example_run as example
from support.chromium import Browser

from pairuni_eval.report import addresses
from pairuni_eval.report.build import build_report
from pairuni_eval.store.read import StoredRun

COUNT = "return document.getElementById('count').textContent"
HASH = "return decodeURIComponent(location.hash)"
KEYS = "return [...document.querySelectorAll('.row a.key')].map(one => one.textContent)"
FIELDS = """
return ['benchmark', 'group', 'verdict', 'words'].map(name => {
  const field = document.getElementById('filters').elements[name];
  return field.selectedOptions ? field.selectedOptions[0].text : field.value;
});
"""
SET = """
const field = document.getElementById('filters').elements[arguments[0]];
field.value = arguments[1];
field.dispatchEvent(new Event(arguments[0] === 'words' ? 'input' : 'change', {bubbles: true}));
"""
# Until the address is as expected, or two seconds have passed; then it is asserted.
WRITTEN = """
return new Promise(done => {
  const end = Date.now() + 20000;
  const look = () => decodeURIComponent(location.hash) === arguments[0] || Date.now() > end
    ? done(decodeURIComponent(location.hash)) : setTimeout(look, 10);
  look();
});
"""


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve questions and eight drawings (two draws each) of a run and a baseline."""
    root = tmp_path_factory.mktemp("addresses")
    benchmarks = [example.cards(12)[1], example.geneval_card(8)]
    for name, skill in (("a", 0.9), ("b", 0.4)):
        rows = {
            card.name: example.graded(card, card.expected, skill, random.Random(name))
            for card in benchmarks
        }
        example.store(root / name, benchmarks, rows, name=f"run {name}")
    return build_report(StoredRun(root / "a"), root / "out", {"GRPO 1/2": StoredRun(root / "b")})


def test_a_sample_opens_by_its_address(browser: Browser, page: Path) -> None:
    browser.open(page, width=1280, at=addresses.of_sample("tiny-mmstar", "q0003"))
    assert browser.run(KEYS) == ["q0003"]
    assert "q0003 of tiny-mmstar" in browser.run(COUNT)
    assert browser.run("return document.getElementById('outputs').getBoundingClientRect().top") < 99


def test_a_group_and_a_filter_open_by_their_address(browser: Browser, page: Path) -> None:
    at = addresses.of_group("tiny-mmstar", "category: count", filter="both", against="GRPO 1/2")
    browser.open(page, width=1280, at=at)
    assert browser.run(FIELDS) == ["Tiny MMStar (tiny)", "count", "both right", ""]
    browser.open(page, width=1280, at=addresses.of_group("tiny-mmstar", "", filter="right"))
    assert browser.run(FIELDS)[:3] == ["Tiny MMStar (tiny)", "every group", "right (upper half)"]


@pytest.mark.parametrize(
    "at",
    [
        "sample=tiny-mmstar/nowhere",
        "benchmark=nowhere",
        "benchmark=tiny-mmstar&group=category:%20nowhere",
        "filter=nowhere",
        "filter=better&against=nobody",
    ],
)
def test_an_address_that_names_nothing_here_says_so(browser: Browser, page: Path, at: str) -> None:
    browser.open(page, width=1280, at=at)
    assert "this page has no" in browser.run(COUNT) and browser.run(KEYS) == []


@pytest.mark.parametrize("at", ["sample=%E0%A4", "headlines", "sample", "=&&=", "filter="])
def test_what_is_no_address_shows_the_page_as_it_is(browser: Browser, page: Path, at: str) -> None:
    browser.open(page, width=1280)
    plain = browser.run(COUNT)
    browser.log("browser")
    browser.open(page, width=1280, at=at)
    assert browser.run(COUNT) == plain
    assert browser.log("browser") == []


def test_filters_write_an_address_and_back_undoes_them(browser: Browser, page: Path) -> None:
    browser.open(page, width=1280)
    start = browser.run(COUNT)
    browser.run(SET, "benchmark", "0")
    first = "#benchmark=tiny-mmstar&filter=differ"
    assert browser.run(WRITTEN, first) == first
    browser.run(SET, "verdict", "worse-1")
    second = "#benchmark=tiny-mmstar&filter=worse&against=GRPO 1/2"
    assert browser.run(WRITTEN, second) == second
    browser.run("history.back()")
    assert browser.run(WRITTEN, first) == first
    assert browser.run(FIELDS)[:3] == ["Tiny MMStar (tiny)", "every group", "the runs differ"]
    browser.run("history.back()")
    assert browser.run(WRITTEN, "") == "" and browser.run(COUNT) == start
    browser.run("history.go(2)")
    assert browser.run(WRITTEN, second) == second
    assert browser.run(FIELDS)[2] == "GRPO 1/2 right, this run wrong"


def test_an_address_that_was_written_opens_the_same(browser: Browser, page: Path) -> None:
    browser.open(page, width=1280)
    browser.run(SET, "benchmark", "0")
    browser.run(SET, "verdict", "")
    browser.run(SET, "words", "q000 & 100 %")
    wanted = "#benchmark=tiny-mmstar&words=q000 & 100 %"
    assert browser.run(WRITTEN, wanted) == wanted
    at = browser.run("return location.hash.slice(1)")
    count = browser.run(COUNT)
    browser.open(page, width=1280, at=at)
    assert browser.run(COUNT) == count
    assert browser.run(FIELDS) == ["Tiny MMStar (tiny)", "every group", "any", "q000 & 100 %"]


def test_a_section_link_leaves_the_filter_as_it_is(browser: Browser, page: Path) -> None:
    browser.open(page, width=1280, at="benchmark=tiny-mmstar&filter=right")
    count = browser.run(COUNT)
    browser.run("document.querySelector('nav a[href=\"#headlines\"]').click()")
    assert browser.run(WRITTEN, "#headlines") == "#headlines"
    assert browser.run(COUNT) == count


def test_what_the_page_names_leads_to_its_rows(browser: Browser, page: Path) -> None:
    """Every group of a table and every exhibit has a link, and each shows what it names."""
    browser.open(page, width=1280)
    named = browser.run(
        "return [...document.querySelectorAll('a[data-address]')].map(one => one.hash)"
    )
    assert len(named) > 20 and all(one.startswith("#") for one in named)
    for at in sorted(set(named))[::5]:
        browser.run("document.querySelector(`a[href='${arguments[0]}']`).click()", at)
        assert browser.run(HASH) and "no sample" not in browser.run(COUNT)
        assert browser.run(KEYS) or "filter=" in at


def test_a_card_leads_to_itself(browser: Browser, page: Path) -> None:
    browser.open(page, width=1280, at="benchmark=geneval")
    keys = browser.run(KEYS)
    browser.run("document.querySelector('.row a.key').click()")
    assert browser.run(KEYS) == keys[:1]
    assert browser.run(HASH).startswith("#sample=geneval/")
    browser.run("history.back()")
    assert browser.run(WRITTEN, "#benchmark=geneval") == "#benchmark=geneval"
    assert browser.run(KEYS) == keys


def test_the_link_is_copied(browser: Browser, page: Path) -> None:
    browser.open(page, width=1280, at="benchmark=tiny-mmstar&filter=right")
    browser.run("navigator.clipboard.writeText = async text => { window.copied = text; }")
    browser.run("document.getElementById('copy').click()")
    copied = browser.run("return window.copied")
    assert copied == f"{page.resolve().as_uri()}#benchmark=tiny-mmstar&filter=right"
