"""The report: equal bytes, nothing that runs, and every odd run it has to hold for."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import shutil
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import pytest
from support import example_run as example

from pairuni_eval.cards import MetricSpec
from pairuni_eval.records import make_item
from pairuni_eval.report import text
from pairuni_eval.report.build import build_report
from pairuni_eval.report.gallery import AT_MOST
from pairuni_eval.stats.tables import Tables, benchmark_metrics, status_counts
from pairuni_eval.store import layout
from pairuni_eval.store.read import StoredRun

pytestmark = pytest.mark.light


class Page(HTMLParser):
    """What a report's HTML holds: tags, attributes and visible text."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.text = ""
        self.scripts: list[str] = []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {key: value or "" for key, value in attrs}))

    def handle_data(self, data: str) -> None:
        if self.lasttag == "script":
            self.scripts.append(data)
        elif self.lasttag != "style":
            self.text += data

    def named(self, tag: str) -> list[dict[str, str]]:
        return [attrs for name, attrs in self.tags if name == tag]


def built(run: Path, out: Path, **baselines: Path) -> Page:
    opened = {name: StoredRun(path) for name, path in baselines.items()}
    return Page(build_report(StoredRun(run), out, opened))


def contents(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report on seven complete benchmarks with one baseline; the folder that holds it."""
    root = tmp_path_factory.mktemp("whole")
    ours = example.write_run(root / "a", count=36, skill=0.8)
    theirs = example.write_run(root / "b", count=36, skill=0.4, name="other")
    built(ours, root / "out", **{"random pair": theirs})
    return root


def test_two_builds_from_equal_stores_are_equal_whatever_was_there(
    whole: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    few = example.one_of_each(6)
    built(example.write_run(tmp_path / "first", count=6, seed=1, benchmarks=few), out)
    (out / "images" / "mine.png").write_bytes(b"kept")
    ours = example.write_run(tmp_path / "elsewhere" / "a", count=36, skill=0.8)
    theirs = example.write_run(tmp_path / "b", count=36, skill=0.4, name="other")
    built(ours, out, **{"random pair": theirs})
    found = contents(out)
    assert found.pop("images/mine.png") == b"kept"
    assert found == contents(whole / "out")


def test_page_is_self_contained(whole: Path) -> None:
    page = Page(whole / "out" / "report.html")
    assert not page.named("link") and not page.named("iframe")
    sources = [attrs["src"] for attrs in page.named("img")]
    assert sources and all(one.startswith("data:image/png;base64,") for one in sources)
    assert all(attrs["alt"] for attrs in page.named("img"))
    hrefs = [attrs["href"] for attrs in page.named("a") if "href" in attrs]
    assert all(href.startswith("#") or (whole / "out" / href).is_file() for href in hrefs)
    assert all(re.fullmatch(r"#?[a-z0-9_.-]+", href) for href in hrefs)
    assert not [attrs for _, attrs in page.tags if any(key.startswith("on") for key in attrs)]
    style = (whole / "out" / "report.html").read_text()
    assert "url(" not in style and "@import" not in style


def test_only_the_one_script_may_run(whole: Path) -> None:
    page = Page(whole / "out" / "report.html")
    assert page.named("script") == [{"type": "application/gzip", "id": "rows"}, {}]
    rows, script = (text for text in page.scripts if text.strip())
    assert example.unpacked_rows(rows)["runs"] == ["tiny", "random pair"]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    (policy,) = [a["content"] for a in page.named("meta") if "http-equiv" in a]
    assert "default-src 'none'" in policy and f"script-src 'sha256-{digest}';" in policy


def test_anchors_and_headings(whole: Path) -> None:
    page = Page(whole / "out" / "report.html")
    ids = {attrs["id"] for _, attrs in page.tags if "id" in attrs}
    anchors = {a["href"][1:] for a in page.named("a") if a.get("href", "").startswith("#")}
    assert anchors and anchors <= ids
    levels = [int(tag[1]) for tag, _ in page.tags if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))


def test_no_clock_and_no_path(whole: Path) -> None:
    for name in ("report.html", "report.md", "summary.json"):
        content = (whole / "out" / name).read_text()
        assert str(whole) not in content
        assert not re.search(r"\b20\d\d-\d\d-\d\d|\d\d:\d\d:\d\d", content)


def test_hostile_text_is_only_text(whole: Path) -> None:
    page = Page(whole / "out" / "report.html")
    assert "<script>alert(1)</script>" in page.text
    assert "\u202e" not in page.text
    markdown = (whole / "out" / "report.md").read_text()
    assert "<script" not in markdown and "<img" not in markdown and "http://" not in markdown
    assert not re.search(r"(?<!\\)\]\(http", markdown) and "\u202e" not in markdown


def test_markdown_tables_keep_their_columns(whole: Path) -> None:
    lines = (whole / "out" / "report.md").read_text().splitlines()
    widths: list[int] = []
    for line in lines:
        cells = len(re.findall(r"(?<!\\)\|", line)) if line.startswith("|") else 0
        assert not (cells and widths and widths[-1]) or cells == widths[-1], line
        widths.append(cells)


@pytest.mark.parametrize(
    ("given", "literal"),
    [
        ("a|b", r"a\|b"),
        ("`x` *y* _z_", r"\`x\` \*y\* \_z\_"),
        ("<b>&amp;", "&lt;b&gt;&amp;amp;"),
        ("[a](http://b)", r"\[a\](http&#58;//b)"),
        ("# no\nheading", r"\# no heading"),
        ("1. list", r"1\. list"),
        ("- list", r"\- list"),
        ("@someone www.x", "&#64;someone www&#46;x"),
        ("\x00\x1b[31m", "\ufffd\ufffd\\[31m"),
    ],
)
def test_markdown_is_escaped(given: str, literal: str) -> None:
    assert text.escape_markdown(given) == literal


def test_fence_is_longer_than_what_it_holds() -> None:
    assert text.fenced("a ```` b").startswith("`````\n")


def test_numbers_follow_the_card() -> None:
    share = MetricSpec(name="m")
    points = MetricSpec(name="m", scale=1.0, decimals=2)
    assert text.printed(0.7349, share) == "73.5 %"
    assert text.printed(0.7349, points) == "0.73"
    assert text.printed(None, share) == "–"
    assert text.signed(-0.012, share) == "\N{MINUS SIGN}1.2"
    assert text.signed(0.012, share) == "+1.2"


def test_headline_numbers_in_all_three_files(whole: Path) -> None:
    summary = json.loads((whole / "out" / "summary.json").read_text())
    metric = summary["benchmarks"]["tiny-mmstar"]["protocols"]["official"]["metrics"]["accuracy"]
    shown = f"{100 * metric['value']:.1f}"
    assert f"{shown} %" in (whole / "out" / "report.md").read_text()
    assert shown in Page(whole / "out" / "report.html").text
    assert metric["scored"] == metric["expected"] == 36
    assert metric["interval"][0] < metric["value"] < metric["interval"][1]
    assert summary["baselines"]["random pair"]["differences"]


def test_tiny_stands_beside_every_tiny_number(whole: Path) -> None:
    for row in re.findall(r"<tr.*?</tr>", (whole / "out" / "report.html").read_text(), re.S):
        if 'class="value"' in row:
            assert ">tiny</span>" in row.lower()
    for line in (whole / "out" / "report.md").read_text().splitlines():
        if re.search(r"\d[ %]*\| \[", line) and line.startswith("|"):
            assert "(tiny)" in line


def test_finer_scores_are_not_called_right_or_wrong(tmp_path: Path) -> None:
    (card,) = [card for card in example.cards(6) if card.name == "tiny-imgedit"]
    rows = [
        row._replace(scores={"rating": rating})
        for row, rating in zip(
            example.graded(card, 6, 0.5, example.random.Random(1)),
            (1.0, 1.0, 1.0, 1.0, 5.0, 3.67),
            strict=True,
        )
    ]
    example.store(tmp_path / "a", [card], {card.name: rows})
    stored = StoredRun(tmp_path / "a")
    scores = stored.scores[stored.scores["metric"] != "correct"]
    scores.to_parquet(tmp_path / "a" / "scores.parquet")
    example.reseal(tmp_path / "a")
    page = built(tmp_path / "a", tmp_path / "out")
    assert page.text.count("score 1") == 4 and "✓" not in page.text and "✗" not in page.text


def test_order_is_understanding_generation_editing(whole: Path) -> None:
    content = Page(whole / "out" / "report.html").text
    places = [content.index(word) for word in ("Understanding", "Generation", "Editing")]
    assert places == sorted(places)


def test_edits_are_before_and_after(whole: Path, tmp_path: Path) -> None:
    page = built(whole / "a", tmp_path / "out")
    captions = re.findall(r"\b(?:before|after)\b", page.text)
    assert captions == ["before", "after"] * AT_MOST


def test_what_each_run_drew_stands_side_by_side(whole: Path) -> None:
    html = (whole / "out" / "report.html").read_text()
    edits = re.findall(r'<li class="exhibit [a-z]+ drawn">(.*?)</ul>\s*</li>', html, re.S)
    assert len(edits) == 3 * AT_MOST  # two benchmarks of drawings, one of edits
    for one in edits:
        assert re.findall("<b>(.*?)</b>", one) == ["tiny", "random pair"]
        assert one.count("<img") == 2 + ("before" in one)


def test_partial_is_stamped_everywhere(tmp_path: Path) -> None:
    run = example.write_run(tmp_path / "a", count=12, expected=40)
    page = built(run, tmp_path / "out")
    content = (tmp_path / "out" / "report.html").read_text()
    assert "<title>PARTIAL" in content
    for row in re.findall(r"<table class=\"headlines\">.*?</table>", content, re.S):
        assert row.count("PARTIAL") == 7
    assert "12/40" in page.text
    markdown = (tmp_path / "out" / "report.md").read_text()
    assert markdown.startswith("# tiny (PARTIAL)") and markdown.count("PARTIAL") > 14
    assert json.loads((tmp_path / "out" / "summary.json").read_text())["partial"] is True


def test_complete_runs_are_not_called_partial(whole: Path) -> None:
    assert "PARTIAL" not in Page(whole / "out" / "report.html").text


def test_nothing_graded_for_lack_of_a_detector(tmp_path: Path) -> None:
    card = example.geneval_card(10)
    run = example.write_run(tmp_path / "a", count=10, benchmarks=[card], name="janus-pro-1b")
    page = built(run, tmp_path / "out")
    assert "0/10" in page.text and "10 skipped (no detector)" in " ".join(page.text.split())
    assert len(page.named("img")) == 10 and "skipped: no detector" in page.text
    assert "unpinned" in page.text
    (row,) = benchmark_metrics(Tables(StoredRun(run)), card.name)
    assert row.estimate.value is None and row.coverage == 0


def test_published_figures_carry_their_protocol(tmp_path: Path) -> None:
    card = example.geneval_card(4)
    run = example.write_run(tmp_path / "a", count=4, benchmarks=[card], name="janus-pro-1b")
    content = built(run, tmp_path / "out").text
    assert "protocol matches" in content and "protocol not stated" in content


def test_no_published_figure_beside_tiny_weights(tmp_path: Path) -> None:
    card = example.geneval_card(4)
    run = example.write_run(tmp_path / "a", count=4, benchmarks=[card], name="tiny")
    assert "PairUni-1B" not in built(run, tmp_path / "out").text


def test_one_sample(tmp_path: Path) -> None:
    page = built(example.write_run(tmp_path / "a", count=1), tmp_path / "out")
    assert "1/1" in page.text


def test_lost_and_broken_images_are_said_to_be_so(tmp_path: Path) -> None:
    few = example.one_of_each(6)
    run = example.write_run(tmp_path / "a", count=6, with_images=False, benchmarks=few)
    page = built(run, tmp_path / "out")
    assert not page.named("img") and "image not available" in page.text
    whole_run = example.write_run(tmp_path / "b", count=6, benchmarks=few)
    for path in (whole_run / layout.IMAGES).rglob("*"):
        if path.is_file():
            path.write_bytes(path.read_bytes()[:40])
    assert not built(whole_run, tmp_path / "out2").named("img")


def test_a_picture_is_never_a_page(tmp_path: Path) -> None:
    run = example.write_run(tmp_path / "a", count=6, benchmarks=example.one_of_each(6))
    for path in (run / layout.IMAGES).rglob("*"):
        if path.is_file():
            path.write_bytes(b"<svg xmlns='http://www.w3.org/2000/svg'><script/></svg>")
    built(run, tmp_path / "out")
    assert not (tmp_path / "out" / "images").exists()


def test_baseline_that_lacks_a_benchmark(tmp_path: Path) -> None:
    ours = example.write_run(tmp_path / "a", count=12, benchmarks=example.cards(12)[:4])
    theirs = example.write_run(tmp_path / "b", count=12, benchmarks=example.cards(12)[:1])
    page = built(ours, tmp_path / "out", base=theirs)
    assert page.text.count("not in it") == 3
    none = example.write_run(tmp_path / "c", count=4, benchmarks=[example.geneval_card(4)])
    assert (
        "Against base nothing can be compared: " in built(ours, tmp_path / "out2", base=none).text
    )


def test_failed_rows_keep_their_reason(tmp_path: Path) -> None:
    (card, *_) = example.cards(2)
    items = [
        make_item(
            benchmark=card.name,
            version="1",
            key=key,
            capability=card.capability,
            parts=(f"question {key}",),
            reference={"answer": "a"},
            tags={"category": "x"},
        )
        for key in "ab"
    ]
    rows = [
        example.Graded(items[0], "a", {"correct": 1.0}),
        example.Graded(items[1], None, {"correct": None}, error="RuntimeError: out of memory"),
    ]
    example.store(tmp_path / "a", [card], {card.name: rows})
    page = built(tmp_path / "a", tmp_path / "out")
    assert "missing output (RuntimeError: out of memory)" in page.text and "1/2" in page.text
    counted = status_counts(Tables(StoredRun(tmp_path / "a")), card.name, "official")
    assert [(row.status, row.rows) for row in counted] == [("missing_output", 1), ("scored", 1)]


def test_unparsed_follows_the_protocol(whole: Path) -> None:
    tables = Tables(StoredRun(whole / "a"))
    rows = {row.protocol: row for row in benchmark_metrics(tables, "tiny-mmmu")}
    wrong, left_out = rows["official"], rows["lmms-eval"]
    assert wrong.scored == 36 and left_out.scored == 34  # rows 5 and 22 cannot be read
    assert wrong.estimate.value == pytest.approx(left_out.estimate.value * 34 / 36)
    assert "2 outputs graded differently" in Page(whole / "out" / "report.html").text


def test_long_text_is_cut_and_says_so() -> None:
    assert text.shorten("x" * 1000, 10) == "xxxxxxxxxx … (1000 characters)"


def test_report_goes_into_the_run_folder_itself(tmp_path: Path) -> None:
    run = example.write_run(tmp_path / "a", count=6, benchmarks=example.one_of_each(6))
    before = contents(run)
    built(run, run)
    assert before.items() <= contents(run).items()
    shutil.rmtree(run)
