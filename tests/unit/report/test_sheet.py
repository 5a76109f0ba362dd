"""Small pictures stand in the page, and for Markdown on one sheet a benchmark; others are files."""

from __future__ import annotations

import base64
import io
import re
from functools import partial
from pathlib import Path

import pytest
from PIL import Image
from support import example_run as example

from pairuni_eval.report import copied_images
from pairuni_eval.report.build import build_report
from pairuni_eval.report.copied_images import CopiedImage
from pairuni_eval.report.gallery import GalleryItem, GivenOutput
from pairuni_eval.report.sheet import sheet
from pairuni_eval.store.read import StoredRun

RED, BLUE, WHITE = (255, 0, 0), (0, 0, 255), (255, 255, 255)
COPIED = re.compile(r"images/[0-9a-f]{64}\.png")


def packed(color: tuple[int, int, int], side: int = 32) -> CopiedImage:
    buffer = io.BytesIO()
    Image.new("RGB", (side, side), color).save(buffer, format="PNG")
    data = base64.b64encode(buffer.getvalue()).decode("ascii")
    return CopiedImage(f"data:image/png;base64,{data}", side, side)


def exhibit(*pictures: CopiedImage | None, before: tuple[CopiedImage, ...] = ()) -> GalleryItem:
    given = tuple(
        GivenOutput(f"{n}", "right", "right", one, None) for n, one in enumerate(pictures)
    )
    return GalleryItem("key", "", "", "what", before, None, given)


def report(folder: Path, **options: int) -> str:
    """The page of a small run; its pictures lie beside it."""
    run = example.write_run(folder / "run", count=6)
    return build_report(StoredRun(run), folder / "out", {}, **options).read_text()


def sources(page: str) -> list[str]:
    return re.findall(r'<img src="([^"]+)"', page)


def test_a_sheet_has_a_column_for_each_exhibit_with_enlarged_pixels() -> None:
    made = sheet([exhibit(packed(RED), packed(BLUE)), exhibit(packed(BLUE), None)])
    assert made is not None
    image = Image.open(io.BytesIO(made))
    assert image.size == (64 + 4 + 64, 64 + 4 + 64)
    places = {(0, 0): RED, (63, 63): RED, (65, 0): WHITE, (68, 0): BLUE, (0, 68): BLUE}
    assert {place: image.getpixel(place) for place in places} == places
    assert image.getpixel((100, 100)) == WHITE  # the second run lacks the second exhibit


def test_what_was_asked_about_stands_above_and_there_may_be_nothing_to_show() -> None:
    made = sheet([exhibit(packed(RED), before=(packed(BLUE),))])
    assert made is not None
    image = Image.open(io.BytesIO(made))
    assert [image.getpixel((0, y)) for y in (0, 68)] == [BLUE, RED]
    assert (
        sheet([exhibit(CopiedImage("images/a.png", 500, 500)), exhibit(CopiedImage(None))]) is None
    )
    assert sheet([]) is None


def test_small_pictures_stand_in_the_page(tmp_path: Path) -> None:
    found = sources(report(tmp_path))
    assert found and all(one.startswith("data:image/png;base64,") for one in found)
    shown = Image.open(io.BytesIO(base64.b64decode(found[0].split(",")[1])))
    assert shown.size == (32, 32)
    names = {path.name for path in (tmp_path / "out" / "images").iterdir()}
    assert len(names) == 7 and "sheet-tiny-geneval.png" in names
    text = (tmp_path / "out" / "report.md").read_text()
    assert all(f"(images/{name})" in text for name in names) and "data:" not in text


def test_larger_pictures_lie_beside_the_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(example, "picture", partial(example.picture, size=200))
    page = report(tmp_path)
    found = sources(page)
    assert found and all(map(COPIED.fullmatch, found))
    assert all((tmp_path / "out" / one).is_file() for one in found)
    assert all(f'<a href="{one}">' in page for one in found)
    assert not list((tmp_path / "out" / "images").glob("sheet-*"))
    assert set(COPIED.findall((tmp_path / "out" / "report.md").read_text())) == set(found)


def test_a_page_does_not_grow_without_bound(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(copied_images, "_IN_PAGE", 500)
    found = sources(report(tmp_path))
    assert 0 < sum(one.startswith("data:") for one in found) < len(found)
    assert all((tmp_path / "out" / one).is_file() for one in found if COPIED.fullmatch(one))


def test_a_report_may_hold_fewer_pictures_and_says_so(tmp_path: Path) -> None:
    page = report(tmp_path, pictures=3)
    assert len(set(sources(page))) == 3 and "pictures were not copied" in page
    text = (tmp_path / "out" / "report.md").read_text()
    assert "image not available" in text and "--pictures 3" in text
