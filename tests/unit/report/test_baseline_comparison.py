"""A run against a baseline in a report: sentences, groups, and where the reader is led."""

from __future__ import annotations

import json
import random
import re
from html import unescape
from pathlib import Path

import msgspec
import pytest
from support import example_run as example

from pairuni_eval.cards import Card, MetricSpec
from pairuni_eval.report.baseline_comparison import (
    BaselineComparison,
    baseline_comparison,
    describe,
)
from pairuni_eval.report.build import build_report
from pairuni_eval.report.tiny_label import is_tiny
from pairuni_eval.stats.compare import Difference, Word, compare_page
from pairuni_eval.stats.tables import Tables
from pairuni_eval.store.read import StoredRun, read_run_card

pytestmark = pytest.mark.light

COUNTING = 80  # questions of the group that gets worse: 41 -> 29 right
OTHER = 20
ONE_SEED = "this checkpoint, one seed"


def card() -> Card:
    """A benchmark of counting and color questions, each about an image of its own."""
    return example.card(
        "asks",
        "Asks",
        "understand",
        COUNTING + OTHER,
        tiny=False,
        protocols={
            "official": example.protocol(
                "accuracy", MetricSpec(name="accuracy", by="category", title="Accuracy")
            )
        },
    )


def answers(counting: set[int], other: set[int]) -> list[example.Graded]:
    """Rows with these questions right; the scores are all that differs between two runs."""
    made = []
    for n in range(COUNTING + OTHER):
        counts = n < COUNTING
        right = n in counting if counts else n - COUNTING in other
        image = example.picture("red", "circle", size=32 + n)
        tags = {"category": "counting" if counts else "color"}
        item = example._question(card(), n, tags, "yes", image)
        made.append(example.Graded(item, "Yes.", {"correct": float(right)}))
    return made


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("versus")
    asks = card()
    sides = {
        "ours": answers(set(range(29)), set(range(10))),
        "grpo": answers(set(range(41)), set(range(10))),
        "equal": answers(set(range(29)), set(range(10))),
    }
    for name, rows in sides.items():
        example.store(
            root / name, [asks], {"asks": rows}, name=name, with_images=False, weights=name * 8
        )
    return root


def against(runs: Path, ours: str, theirs: str) -> BaselineComparison:
    one, two = (Tables(StoredRun(runs / name)) for name in (ours, theirs))
    found = compare_page((one,), {"GRPO": (two,)})
    return baseline_comparison("GRPO", 1, [two.run.card], found["GRPO"], ["asks"])


def test_a_group_that_got_worse_is_named_with_its_counts(runs: Path) -> None:
    """12 questions were lost and none won: exact McNemar p = 2 / 2^12, for headline and group.

    The headline is alone, so its gate is twice that; of two groups the smallest has twice as well.
    """
    found = against(runs, "ours", "grpo")
    headline, group = found.worse
    assert headline.row.group is None
    assert group.row.sentence == (
        "counting (Asks) is worse than GRPO: 41 -> 29 of 80, p < .001; this checkpoint, one seed"
    )
    assert group.row.corrected == pytest.approx(2 * 2 / 2**12)
    assert group.group == "category: counting" and group.place == 0
    assert found.better == ()
    assert found.sentence == (
        "Worse than GRPO at Asks (\N{MINUS SIGN}12.0); 0 better, 1 worse, 0 tied, 0 undecided of "
        f"1; {ONE_SEED}."
    )


def test_the_same_from_the_other_side_is_better(runs: Path) -> None:
    found = against(runs, "grpo", "ours")
    assert found.sentence == f"Better than GRPO at Asks (+12.0); {ONE_SEED}."
    assert [change.row.group for change in found.better] == [None, "counting"]


def test_equal_outputs_of_100_are_not_yet_tied(runs: Path) -> None:
    found = against(runs, "ours", "equal")
    assert found.sentence == (
        "Not shown to be better than GRPO: 0 better, 0 worse, 0 tied, 1 undecided of 1; "
        f"cannot tell on Asks; {ONE_SEED}."
    )


def test_many_benchmarks_are_named_and_counted(tmp_path: Path) -> None:
    cards = example.cards(24)
    for name, skill in (("a", 0.9), ("b", 0.1)):
        rng = random.Random(name)
        rows = {one.name: example.graded(one, 24, skill, rng) for one in cards}
        example.store(tmp_path / name, cards, rows, name=name, with_images=False)
    ours, theirs = (Tables(StoredRun(tmp_path / name)) for name in "ab")
    order = [one.name for one in cards]
    compared = compare_page((ours,), {"random pair": (theirs,)})["random pair"]
    found = baseline_comparison("random pair", 1, [theirs.run.card], compared, order)
    names = r"Tiny MMMU \(\+[\d.]+\), Tiny MMStar \(\+[\d.]+\), Tiny MME \(\+[\d.]+\) and 4 more"
    assert re.fullmatch(rf"Better than random pair at {names}; {ONE_SEED}\.", found.sentence)


@pytest.fixture(scope="module")
def page(runs: Path) -> str:
    build_report(StoredRun(runs / "ours"), runs / "out", {"GRPO": StoredRun(runs / "grpo")})
    return unescape((runs / "out" / "report.html").read_text())


def test_the_page_answers_in_words_and_leads_to_the_rows(runs: Path, page: str) -> None:
    glance = page[page.index('<dl class="glance">') : page.index("</dl>")]
    assert "counting (Asks) is worse than GRPO: 41 → 29 of 80, p < .001; this" in glance
    assert "100 of 100 expected outputs have a value." in glance
    assert (
        "<code>pairuni-eval run --checkpoint ours --suite tiny --seed 7 --out runs/ours</code>"
        in glance
    )
    assert (
        'data-address="benchmark=asks&group=category:%20counting&filter=worse&against=GRPO"' in page
    )
    assert "category: counting" in example.page_rows(page)["texts"]


def test_markdown_and_summary_say_the_same(runs: Path, page: str) -> None:
    markdown = (runs / "out" / "report.md").read_text()
    assert "- worse: counting (Asks) is worse than GRPO: 41 → 29 of 80, p < .001;" in markdown
    (baseline,) = json.loads((runs / "out" / "summary.json").read_text())["baselines"].values()
    assert baseline["sentence"].startswith("Worse than GRPO at Asks")
    groups = {row["group"]: row for row in baseline["groups"]}
    assert groups["counting"]["counts"] == {"ours": 29, "theirs": 41, "of": 80}
    assert groups["counting"]["word"] == "worse"
    assert groups["color"]["why"] == "the same score in all 20"


def test_groups_stand_against_the_baseline_where_their_numbers_do(page: str) -> None:
    """In the benchmark's own table: 29 of 80 right, 15 points fewer than the baseline."""
    section = page[page.index('<section class="benchmark"') :]
    (line,) = re.findall(r'<th scope="row"><a [^>]*>counting<.*?</tr>', section, re.S)
    assert "36.2" in line and "▼ worse" in line and "\N{MINUS SIGN}15.0" in line
    assert "p < .001" in line


def test_the_tally_counts_every_headline(runs: Path) -> None:
    found = against(runs, "ours", "grpo")
    assert found.tally == {"better": 0, "worse": 1, "tied": 0, "cannot tell": 0}
    assert found.verdict == found.sentence and found.looked == (1, 2)


def test_how_to_read_is_what_the_statistics_are(page: str) -> None:
    """The page names the intervals of docs/statistics.md, and what training seeds do."""
    reading = page[page.index('<section id="reading"') :]
    stated = (Path(__file__).parents[3] / "docs/statistics.md").read_text()
    for words in ("score interval", "Wilson's", "stratified sample", "both ends"):
        assert words in reading and words in stated, words
    assert "bootstrap" not in reading and "three training seeds" in reading


def undecided(subject: str, detectable: float | None, **of: object) -> Difference:
    """A headline about which nothing can be told."""
    spec = MetricSpec(name="m", **of)  # type: ignore[arg-type]
    blank = Difference(
        *("asks", "official", spec, True, 0.5, 0.5, None, 0.5, 0.5, 40, 40),
        word=Word.CANNOT_TELL,
        same_settings=True,
    )
    return blank._replace(subject=subject, detectable=detectable)


def test_what_it_would_have_taken_names_rows_that_are_not_in_points() -> None:
    rows = [
        undecided("A", 0.104),
        undecided("B", 0.171),
        undecided("MME", 55.04, scale=1.0),
        undecided("WISE", 0.163, scale=1.0, decimals=2),
        undecided("C", None),  # no unit differs: nobody knows
    ]
    said = describe("GRPO", rows, ())
    assert "it would have taken 10 to 17 points on 2 of them, 55.0 on MME and 0.16 on WISE;" in said
    assert "it would have taken 10 to 17 points;" in describe("GRPO", rows[:2], ())
    assert "it would have taken 55.0 on MME;" in describe("GRPO", rows[2:3], ())


def test_got_is_said_of_a_parent_alone(runs: Path, page: str) -> None:
    assert "<h4>Worse " in page and "<h4>Better " in page and "<h4>Got" not in page
    parent = read_run_card(runs / "grpo").checkpoint.weights
    rows = {"asks": answers(set(range(29)), set(range(10)))}
    example.store(
        runs / "child", [card()], rows, name="child", with_images=False, parent=parent, weights="c"
    )
    build_report(StoredRun(runs / "child"), runs / "of-child", {"GRPO": StoredRun(runs / "grpo")})
    child = (runs / "of-child" / "report.html").read_text()
    assert "<h4>Got worse " in child and "<h4>Got better " in child


def test_one_seed_is_said_to_be_one(page: str) -> None:
    warning = "ours and GRPO are one training seed each; another seed could change the verdict."
    assert page.count(warning) == 1


@pytest.mark.parametrize(
    ("changes", "tiny"),
    [
        ({}, False),
        ({"name": "tiny"}, True),
        ({"recipe": "pairuni-tiny-1"}, True),
        ({"recipe": "grpo on tiny, seed 3"}, True),
        ({"recipe": "grpo on janus-pro-1b, seed 3"}, False),
        ({"recipe": "grpo on tinyllama, seed 3"}, False),
    ],
)
def test_tiny_weights_are_tiny_anywhere(runs: Path, changes: dict[str, str], tiny: bool) -> None:
    run = StoredRun(runs / "ours").card
    checkpoint = msgspec.structs.replace(run.checkpoint, **changes)
    assert is_tiny(card(), msgspec.structs.replace(run, checkpoint=checkpoint)) is tiny
