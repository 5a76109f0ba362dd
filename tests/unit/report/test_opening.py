"""How a report opens: the verdict, what would decide it and what to type, alike in both files."""

from __future__ import annotations

import re
import shlex
from html import unescape
from pathlib import Path

import msgspec
import pytest
from support import example_run as example

from pairuni_eval.cards import MetricSpec
from pairuni_eval.records import RunCard
from pairuni_eval.report.baseline_comparison import BaselineComparison
from pairuni_eval.report.build import build_report
from pairuni_eval.report.partial_runs import partial_runs
from pairuni_eval.report.questions import _at_nothing
from pairuni_eval.report.seeds import Seeds
from pairuni_eval.report.text import coded, times
from pairuni_eval.report.undecided import remedy, seeds_needed, trial, whole
from pairuni_eval.stats.compare import Comparison, Difference, Word
from pairuni_eval.stats.deciding import Deciding
from pairuni_eval.stats.intervals import Interval
from pairuni_eval.stats.meeting import Missing
from pairuni_eval.stats.scope import NOBODY, Few, Scope
from pairuni_eval.store import layout
from pairuni_eval.store.read import StoredRun, read_run_card
from pairuni_eval.store.write import write_record

LIMITED = "pairuni-eval run --checkpoint tiny --suite tiny --limit 3 --seed 0"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two runs that cannot be told apart, the first of them partial, and their report."""
    root = tmp_path_factory.mktemp("opening")
    cards = example.cards(60)[:3]
    for name, skill in (("a", 0.7), ("b", 0.6)):
        example.write_run(root / name, benchmarks=cards, count=30, skill=skill, name=name)
    card = msgspec.structs.replace(read_run_card(root / "a"), limit=30, command=LIMITED)
    write_record(root / "a" / layout.RUN_FILE, card)
    example.reseal(root / "a")
    build_report(StoredRun(root / "a"), root / "out", {"GRPO": StoredRun(root / "b")})
    return root


def opening(folder: Path) -> dict[str, list[str]]:
    """The questions of the page with their answers as they are read, links left out."""
    page = (folder / "out" / "report.html").read_text()
    glance = page[page.index('<dl class="glance">') : page.index("</dl>")]
    found: dict[str, list[str]] = {}
    for kind, inside in re.findall(r"<(d[dt])[^>]*>(.*?)</d[dt]>", glance, re.S):
        words = re.sub(r'<a href.*?</a>|<span class="tally">.*?</span>\n', "", inside, flags=re.S)
        words = " ".join(unescape(re.sub(r"<[^>]+>", "", words)).split())
        if kind == "dt":
            found[words] = []
        else:
            found[list(found)[-1]].append(words)
    return found


def test_the_verdict_comes_first_and_says_what_it_would_have_taken(folder: Path) -> None:
    first, *others = opening(folder).items()
    assert first[0] == "Better than the baselines?"
    assert re.match(
        r"Not shown to be better than GRPO: 0 better, 0 worse, 0 tied, 3 undecided of 3; it would "
        r"have taken \d+ to \d+ points",
        first[1][0],
    )
    assert "What would decide it?" in dict(others)


def test_both_files_open_with_the_same_questions_and_answers(folder: Path) -> None:
    markdown = (folder / "out" / "report.md").read_text()
    plain = unescape(re.sub(r"\\(.)", r"\1", markdown[: markdown.index("## Headline")]))
    lines = [" ".join(line.replace("`", "").split()) for line in plain.splitlines()]
    places = []
    for question, answers in opening(folder).items():
        held = [n for n, line in enumerate(lines) if f"**{question}**" in line]
        assert len(held) == 1, question
        places += held
        for answer in answers:
            assert any(answer in line for line in lines), answer
    assert places == sorted(places)


def test_a_partial_run_is_decided_by_its_command_without_the_limit(folder: Path) -> None:
    answers = " ".join(opening(folder)["What would decide it?"])
    command = "pairuni-eval run --checkpoint tiny --suite tiny --seed 0 --out runs/a-whole"
    said = "This run has 90 of 180 samples: run the whole benchmarks before anything else"
    assert answers.startswith(f"{said}. {command}") and answers.count(command) == 1
    runs = [StoredRun(folder / name) for name in "ba"]
    (other, mine) = partial_runs(runs[0], {"mine": runs[1]}, Seeds())
    assert trial([other]) is None and trial([]) is None  # no option made it a part
    assert trial([other, mine]) == (
        "mine has 90 of 180 samples: run the whole benchmarks before anything else.",
        (command,),
    )
    assert whole(read_run_card(folder / "a")) == command
    assert whole(read_run_card(folder / "b")) is None  # it has no limit


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ("pairuni-eval run --limit 3", "pairuni-eval run --out runs/it-s-whole"),
        ("pairuni-eval run; rm -rf /", None),
        ("python --limit 3", None),
    ],
)
def test_only_a_command_of_ours_is_printed(
    folder: Path, command: str, expected: str | None
) -> None:
    card = msgspec.structs.replace(
        read_run_card(folder / "a"), command=command, name="it's", limit=3
    )
    assert whole(card) == expected
    assert expected is None or shlex.split(expected)[-1] == "runs/it-s-whole"


def row(benchmark: str, deciding: Deciding | None, **further: object) -> Difference:
    """An undecided headline of 40 units."""
    made = Difference(
        benchmark=benchmark,
        protocol="official",
        spec=MetricSpec(name="accuracy"),
        headline=True,
        ours=0.5,
        theirs=0.4,
        interval=Interval(-0.1, 0.3),
        p=0.2,
        corrected=0.4,
        shared=40,
        clusters=40,
        word=Word.CANNOT_TELL,
        same_settings=True,
        subject=benchmark,
    )
    return made._replace(deciding=deciding, **further)


def deciding(units: int, available: int, seeds: int | None = None) -> Deciding:
    return Deciding(0.1, units, available, seeds, "")


def beside(run: RunCard, rows: list[Difference], about: Scope = NOBODY) -> BaselineComparison:
    return BaselineComparison("GRPO", 1, run, Comparison(tuple(rows), (), (), about=about))


def test_each_kind_of_lack_is_named(folder: Path) -> None:
    run = read_run_card(folder / "a")
    rows = [
        row("A", deciding(90, 100)),
        row("B", deciding(120, 100)),
        row("C", deciding(4000, 100)),
        row("D", deciding(40, 100, seeds=5)),
        row("I", deciding(137, 60, seeds=8)),
        row("E", None, why="7 of 40 outputs are missing", missing=Missing(7, 0, 7)),
        row("H", deciding(300, 100), margin=0.1),
        row("F", None, word=Word.BETTER),
        row("G", deciding(90, 100), reason="other judge"),
    ]
    found = remedy(run, beside(run, rows))
    assert found is not None
    assert found.sentence == (
        "E: a value for every output; A: the whole benchmark, without --limit; B and C: 1.2 to 40 "
        "times the images or prompts of the whole benchmark, for the difference seen; "
        "H: 3.0 times the images or prompts of the whole benchmark, for the margin; "
        "D: 5 training seeds of each arm; I: 8 training seeds of each arm and 137 images or "
        "prompts (the whole benchmark has 60)."
    )
    assert found.commands == (whole(run), whole(run))  # the baseline of this test is the same run


def test_nothing_undecided_needs_nothing(folder: Path) -> None:
    run = read_run_card(folder / "a")
    assert remedy(run, beside(run, [row("A", None, word=Word.TIED)])) is None
    assert remedy(run, beside(run, [row("A", deciding(500, 100))])).commands == ()  # type: ignore[union-attr]


def test_seeds_are_asked_for_once(folder: Path) -> None:
    run = read_run_card(folder / "a")
    few = Scope(
        scope="this checkpoint, one seed",
        needed="three training seeds a side",
        few=(Few("a", 1), Few("GRPO", 1)),
    )
    found = seeds_needed([beside(run, [], few), beside(run, [], few)])
    assert found is not None and found.startswith(
        "a and GRPO are one training seed each; another seed could change the verdict. A word "
        "about the arm needs three training seeds a side: "
    )
    assert "--sibling RUN" in found and "--baseline NAME=RUN" in found
    assert seeds_needed([beside(run, [])]) is None


def test_the_page_says_first_which_checkpoint_it_is_about(folder: Path) -> None:
    page = (folder / "out" / "report.html").read_text()
    markdown = (folder / "out" / "report.md").read_text()
    following = ("Against GRPO", "Better than", "Which protocol", "How do I run it again?")
    for text in (page, unescape(markdown).replace("\\", "")):
        start = text.index("PARTIAL: a (")
        assert "measured on 3 benchmarks, all tiny, in part: 90 of 180 expected " in text
        places = [text.index(words, start) for words in following]
        assert places == sorted(places)
    table = page[page.index('<table class="opening">') : page.index("</table>")]
    assert re.findall(r'<th scope="col".*?>(.*?)</th>', table) == [
        *("Benchmark", "This run", "GRPO", "Difference", "Verdict")
    ]
    assert table.count('<tr><th scope="row">') == 3


def test_nothing_worse_is_counted_over_all_baselines(folder: Path) -> None:
    card = read_run_card(folder / "a")
    rows = [row("A", None), row("B", None)]
    grouped = BaselineComparison("GRPO", 1, card, Comparison(tuple(rows), (rows[0],), ()))
    found = [grouped, beside(card, rows)]
    said = _at_nothing(found, everyone=True)
    assert said == "At nothing that can be told, in 4 headlines and 1 group."


@pytest.mark.parametrize(
    ("shares", "words"),
    [([1.24], "1.2 times"), ([1.2, 94.4], "1.2 to 94 times"), ([1234.0], "1,200 times")],
)
def test_times(shares: list[float], words: str) -> None:
    assert times(shares) == words


@pytest.mark.parametrize(
    ("command", "literal"), [("a b", "`a b`"), ("a `b`", "`` a `b` ``"), ("a\nb", "`a b`")]
)
def test_a_command_in_a_line_of_markdown(command: str, literal: str) -> None:
    assert coded(command) == literal


def test_beside_a_word_stand_its_interval_and_p(folder: Path) -> None:
    page = (folder / "out" / "report.html").read_text()
    start = page.index('<table class="headlines">')
    headlines = page[start : page.index("</table>", start)]
    cells = re.findall(r'<td class="num versus".*?</td>', headlines, re.S)
    assert len(cells) == 3
    for cell in cells:
        assert "cannot tell" in cell and '<span class="p">p ' in cell and "detectable" in cell
        low, high = re.findall(r"\[(.*?), (.*?)\]", unescape(cell).split("</svg>")[0])[0]
        assert float(low.replace("\N{MINUS SIGN}", "-")) <= 0 <= float(high)
    markdown = (folder / "out" / "report.md").read_text()
    markdown = markdown[: markdown.index("## Against")]
    beside_a_word = r"\| cannot tell: [+-].*?\], p = [.\d]+, detectable [.\d]+ \|"
    found = re.findall(beside_a_word, markdown.replace("\N{MINUS SIGN}", "-"))
    assert len(found) == 2 * 3  # in the opening, and among the results
