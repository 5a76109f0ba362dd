"""The rows that the page's browser reads: aligned, pooled, cut, and safe inside a page."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
from support import example_run as example

from pairuni_eval.errors import UserError
from pairuni_eval.report import browse, copied_images
from pairuni_eval.report.addresses import shown_group, shown_key
from pairuni_eval.report.copied_images import ImageCopier
from pairuni_eval.stats.tables import Tables
from pairuni_eval.store.read import StoredRun


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two runs of yes/no questions and drawings; the second has fewer rows and another seed."""
    root = tmp_path_factory.mktemp("browse")
    pope, imgedit = example.cards(20)[3], example.cards(20)[6]
    for name, skill, count, seed in (("a", 1.0, 20, 7), ("b", 0.0, 12, 8)):
        rng = random.Random(1)
        rows = {
            pope.name: example.graded(pope, count, skill, rng),
            imgedit.name: example.graded(imgedit, count, skill, rng),
        }
        example.store(root / name, [pope, imgedit], rows, name=name, seed=seed)
        scores = StoredRun(root / name).scores
        finer = scores["protocol"].str.startswith("tiny-imgedit")
        kept = scores[~finer | (scores["metric"] == "rating")]
        kept.to_parquet(root / name / "scores.parquet")
        example.reseal(root / name)
    return root


def tables(runs: Path, name: str) -> Tables:
    return Tables(StoredRun(runs / name))


def made(runs: Path, out: Path, *, at_most: int = 100) -> tuple[browse.Browser, dict[str, Any]]:
    ours, theirs = tables(runs, "a"), tables(runs, "b")
    order = {"tiny-pope": True, "tiny-imgedit": True}
    with ImageCopier(out, at_most=at_most) as copier:
        found = browse.browser(ours, {"GRPO": theirs}, copier, order)
    return found, example.unpacked_rows(found.data)


def test_rows_meet_by_sample_and_missing_ones_are_said_to_be_so(runs: Path, tmp_path: Path) -> None:
    found, data = made(runs, tmp_path)
    assert found.rows == len(data["benchmark"]) == 40 and data["runs"] == ["a", "GRPO"]
    texts = data["texts"]
    assert [texts[n] for n in data["key"][:2]] == ["q0000", "q0001"]
    # The labels are no, yes, no, ...; a skill of 1 is always right, of 0 always wrong.
    assert [texts[n] for n in data["gold"][:2]] == ["no", "yes"]
    assert [texts[n] for n in data["given"][0][:2]] == ["No.", "Yes."]
    assert data["value"][0][:5] == [1.0] * 5 and data["value"][1][:5] == [0.0] * 5
    assert data["value"][1][12] is None and data["status"][1][12] == browse.NO_ROW
    assert data["given"][1][12] == browse.NO_ROW


def test_what_was_said_is_turned_into_right_or_wrong(runs: Path, tmp_path: Path) -> None:
    """POPE stores "said yes"; the row where nothing could be read has no value as such."""
    _, data = made(runs, tmp_path)
    assert data["binary"] == [True, False] and data["middle"][0] == 0.5
    assert data["texts"][data["status"][0][5]] == "unparsed"


def test_finer_scores_keep_their_value(runs: Path, tmp_path: Path) -> None:
    _, data = made(runs, tmp_path)
    ratings = data["value"][0][20:]
    assert set(ratings) <= {3.67, 4.0, 5.0}
    assert data["middle"][1] == pytest.approx((min(ratings) + max(ratings)) / 2)


def test_groups_are_named_by_their_tag_and_a_row_may_have_several(
    runs: Path, tmp_path: Path
) -> None:
    _, data = made(runs, tmp_path)
    names = [[data["texts"][n] for n in data["group_lists"][row]] for row in data["groups"]]
    assert names[0] == ["category: random", "label: no"]
    assert names[2] == ["category: random", "category: popular", "label: no"]


def test_other_seeds_are_named(runs: Path, tmp_path: Path) -> None:
    found, _ = made(runs, tmp_path)
    assert found.other_seeds == ("GRPO",)
    with ImageCopier(tmp_path) as copier:
        ours, twin = tables(runs, "a"), {"twin": tables(runs, "a")}
        same = browse.browser(ours, twin, copier, {"tiny-pope": True})
    assert same.other_seeds == ()


def test_pictures_stand_once_and_stop_at_the_limit(runs: Path, tmp_path: Path) -> None:
    _, data = made(runs, tmp_path / "all")
    files = [file for file, *_ in data["pictures"] if file]
    assert len(files) == len(set(files)) > 3
    found, data = made(runs, tmp_path / "few", at_most=3)
    assert len([file for file, *_ in data["pictures"] if file]) == 3
    assert found.without_picture > 0 and ["", 0, 0] in data["pictures"]


def test_more_rows_than_a_page_holds_are_left_out_and_counted(
    runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(browse, "ROWS", 20)
    found, _ = made(runs, tmp_path)
    assert found.rows + found.left_out == 40 and 10 <= found.rows <= 30


def test_texts_are_cut_so_that_a_page_stays_small() -> None:
    assert browse._longest(1_000) == 700
    assert browse._longest(100_000) == 120
    assert browse._longest(10_000_000) == 60


@pytest.mark.parametrize("text", ["</script><b>", "<!--", "a & b\n", "\u2028\u2029", '"\\', ""])
def test_rows_cannot_end_their_element(text: str) -> None:
    found = browse.packed_rows({"runs": [text]}, [text, "b", text])
    assert not set("<>&\u2028\u2029") & set(found)
    assert example.unpacked_rows(found) == {"runs": [text], "texts": [text, "b", text]}


def test_no_text_holds_what_stands_between_texts() -> None:
    assert shown_group("a\x7fb", "c\x7f") == "a\ufffdb: c\ufffd"
    assert shown_key("a\x7fb", 1) == "a\ufffdb · draw 2"


def test_equal_rows_are_packed_alike() -> None:
    assert browse.packed_rows({"runs": ["a"]}, ["b"]) == browse.packed_rows({"runs": ["a"]}, ["b"])


def test_pictures_beside_the_page_are_whole_when_the_context_ends(
    runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(copied_images, "_PACKED", 0)  # none stands inside the page
    made(runs, tmp_path)
    copied = list((tmp_path / "images").iterdir())
    assert len(copied) > 3
    for path in copied:
        stored = [one for run in "ab" for one in (runs / run / "images").rglob(path.stem)]
        assert stored and path.read_bytes() == stored[0].read_bytes()
    copied[0].write_bytes(b"half")  # as after a stop in the middle of one
    made(runs, tmp_path)
    assert copied[0].read_bytes() != b"half"


def test_a_picture_that_cannot_be_written_is_an_error_of_the_folder(
    runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(copied_images, "_PACKED", 0)
    (tmp_path / "images").write_text("in the way")
    with pytest.raises(UserError, match=r"Cannot write .*images"):
        made(runs, tmp_path)
