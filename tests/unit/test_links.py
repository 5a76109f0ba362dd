"""What the documentation links to is there, and the example report is a handful of files."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from support import ROOT

# A fenced block or code within a line is left out; what is left holds links and pictures.
CODE = re.compile(r"^```.*?^```|`[^`\n]*`", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"(?<!\\)\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
PAGES = sorted(
    path
    for pattern in ("*.md", "docs/*.md", "reports/README.md", "reports/example/**/*.md")
    for path in ROOT.glob(pattern)
)
EXAMPLE = ROOT / "reports" / "example"


def anchors(page: Path) -> set[str]:
    """The names that GitHub gives the headings of a page."""
    titles = HEADING.findall(page.read_text(encoding="utf-8"))
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def broken(page: Path) -> list[str]:
    """The links of a page that lead nowhere in the tree."""
    found = []
    for link in LINK.findall(CODE.sub("", page.read_text(encoding="utf-8"))):
        parts = urlsplit(link)
        if parts.scheme:
            continue
        target = page.parent / unquote(parts.path) if parts.path else page
        missing = parts.fragment and target.suffix == ".md" and target.is_file()
        if not target.exists() or (missing and parts.fragment not in anchors(target)):
            found.append(link)
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    assert broken(page) == []


def test_a_link_that_leads_nowhere_is_found(tmp_path: Path) -> None:
    page = tmp_path / "a.md"
    page.write_text("# One thing\n[a](b.md) [b](#one-thing) [c](#two) ![d](e/f.png) `[x](y)`\n")
    assert broken(page) == ["b.md", "#two", "e/f.png"]


def test_the_example_is_one_page_and_a_few_pictures() -> None:
    page = (EXAMPLE / "report.html").read_bytes()
    assert len(page) < 1_000_000
    assert b'src="data:image/png;base64,' in page and b'src="images/' not in page
    assert len(list((EXAMPLE / "images").iterdir())) <= 12
