"""The report in a real browser: no console error, no broken picture, nothing asked of the network,
nothing wider than the window, text that can be read.
"""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from support import example_run as example
from support.chromium import CONTRAST, OVERFLOW, Browser

from pairuni_eval.report.build import build_report
from pairuni_eval.store.read import StoredRun


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("browser")
    benchmarks = [*example.cards(96), example.geneval_card(96)]
    ours = example.write_run(root / "a", benchmarks=benchmarks, count=30)
    other = example.write_run(root / "b", name="other", skill=0.4, count=30)
    return build_report(StoredRun(ours), root / "out", {"random pair": StoredRun(other)})


def test_a_broken_picture_is_seen(browser: Browser, tmp_path: Path) -> None:
    whole = example.picture("red", "circle").data
    for name, data in {"whole": whole, "torn": whole[: len(whole) // 2]}.items():
        (tmp_path / f"{name}.png").write_bytes(data)
    pictures = (f"<img loading=lazy src={name}.png>" for name in ("whole", "torn", "missing"))
    (tmp_path / "page.html").write_text("<div style=height:9000px></div>" + "".join(pictures))
    browser.open(tmp_path / "page.html", width=1280)
    assert [Path(src).stem for src in browser.broken_pictures()] == ["torn", "missing"]


def test_page_is_quiet_whole_and_local(browser: Browser, report: Path) -> None:
    browser.log("browser"), browser.log("performance")
    browser.open(report, width=1280)
    assert browser.run("return document.images.length") > 20
    assert browser.broken_pictures() == []
    assert browser.log("browser") == []
    asked = browser.requests()
    assert asked and all(url.startswith("file://") for url in asked)


@pytest.mark.parametrize(
    ("width", "dark"), [(360, False), (390, False), (390, True), (768, False), (1280, False)]
)
def test_nothing_is_wider_than_the_window(
    browser: Browser, report: Path, width: int, dark: bool
) -> None:
    browser.open(report, width=width, dark=dark)
    browser.run("document.querySelectorAll('details').forEach(one => one.open = true)")
    assert browser.run("return innerWidth") == width
    assert browser.run("return document.documentElement.scrollWidth") <= width
    assert browser.run(OVERFLOW) == []


def test_model_text_cannot_run(browser: Browser, report: Path) -> None:
    browser.open(report, width=1280)
    assert browser.run("return [...document.scripts].map(one => one.type)") == [
        "application/gzip",
        "",
    ]
    assert "<script>alert(1)</script>" in browser.run("return document.body.innerText")


def test_policy_forbids_the_network(browser: Browser, report: Path) -> None:
    browser.open(report, width=1280)
    browser.log("browser")
    browser.run("document.body.append(Object.assign(new Image(), {src: 'http://evil.test/x.png'}))")
    end, told = time.monotonic() + 20, []
    while not told and time.monotonic() < end:
        time.sleep(0.1)
        told = browser.log("browser")
    assert ["Content Security Policy" in entry["message"] for entry in told] == [True]


@pytest.mark.parametrize("dark", [False, True])
def test_text_has_contrast(browser: Browser, report: Path, dark: bool) -> None:
    browser.open(report, width=1280, dark=dark)
    assert browser.run(CONTRAST) == []


def test_prints(browser: Browser, report: Path, tmp_path: Path) -> None:
    browser.open(report, width=1280)
    browser.pdf(tmp_path / "report.pdf")
    assert (tmp_path / "report.pdf").read_bytes().startswith(b"%PDF")
