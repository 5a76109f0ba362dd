"""What a page says of a step that a training chose, and when it says no word."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.made_up_timelines import (
    BASE,
    CARDS,
    HELD_OUT,
    TAKEN,
    watched_page,
    write_point,
    write_training,
)

from pairuni_eval.report.chosen_step import SAME_ROWS, choice_of, choices_of
from pairuni_eval.report.curves import curves
from pairuni_eval.report.timeline import build_timeline
from pairuni_eval.stats.best_step import StepValue
from pairuni_eval.store.evaluations import read_evaluations

SKILLS = {0: (0.3, 0.3), 10: (0.98, 0.98), 20: (0.6, 0.6)}
WORDS = ("better", "worse", "tied", "cannot tell")


@pytest.fixture(scope="module")
def two_splits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_training(tmp_path_factory.mktemp("two") / "training", SKILLS, held_out=True)


@pytest.fixture(scope="module")
def one_split(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("one") / "training"
    return write_training(folder, SKILLS, held_out=False, patience=1)


def section(markdown: str, title: str) -> str:
    return markdown.partition(f"## {title}")[2].partition("\n## ")[0]


def test_the_choice_is_that_of_the_rule(two_splits: Path) -> None:
    choice = choice_of(two_splits)
    assert choice is not None and choice.best is not None and choice.best.step == 10
    rows = [row for row in read_evaluations(two_splits) if row.suite == "tuning"]
    for value, row in zip(choice.values, rows, strict=True):
        goods = [one.good for one in row.headlines if one.good is not None]
        assert value == StepValue(row.step, pytest.approx(sum(goods) / 2))
    assert choice.reported == set(HELD_OUT)


def test_held_out_rows_have_words(two_splits: Path, tmp_path: Path) -> None:
    page = build_timeline([two_splits], tmp_path / "out")
    told = section(page.with_name("timeline.md").read_text(), "Best step of training")
    assert "step 10 (checkpoint-10), reported on heldout" in told
    for name in HELD_OUT:
        (line,) = (one for one in told.splitlines() if one.startswith(f"| {name} "))
        assert "better: +" in line, "0.3 against 0.98 of 60"
    assert SAME_ROWS not in told
    ends = section(page.with_name("timeline.md").read_text(), "Last against first")
    assert all(name not in ends for name in HELD_OUT), "nothing is tested twice"
    # The start and the chosen step alone have held-out runs on a usual page: no path of theirs.
    html = page.read_text()
    assert "grpo on tiny from" in html and "at step 20" in html


def test_the_same_rows_have_none(one_split: Path, tmp_path: Path) -> None:
    page = build_timeline([one_split], tmp_path / "out")
    markdown = page.with_name("timeline.md").read_text()
    told = section(markdown, "Best step of training")
    assert "step 10 (checkpoint-10), chosen on the same rows" in told
    assert not [word for word in WORDS if f"{word}:" in told]
    assert "| step 10 | 0.9" in told and "chosen |" in told
    assert "Stopped after step 20: mean of tuning has not grown in 1 evaluation." in told
    assert "Where training ended was decided by these rows as well" in told


def words_in(told: str) -> list[str]:
    return [word for word in WORDS if f"{word}:" in told]


def titles_in(told: str) -> list[str]:
    """The first cells of the lines of a part's tables, without heads."""
    cells = [line.split("|")[1].strip() for line in told.splitlines() if line.startswith("| ")]
    return [cell for cell in cells if cell != "benchmark"]


def test_a_last_step_that_the_rows_picked_has_no_word_on_them(
    one_split: Path, tmp_path: Path
) -> None:
    page = build_timeline([one_split], tmp_path / "out")
    markdown = page.with_name("timeline.md").read_text()
    ends = section(markdown, "Last against first")
    assert "was stopped by its rule at step 20, which the rows of" in ends
    assert "no word is printed of that step on them" in ends
    assert words_in(ends) == [] and "difference" not in ends
    assert "no arm has two measured steps" not in markdown
    numbers = section(markdown, "Every number")
    assert "| 20 |" in numbers, "its numbers are there"


def test_its_evaluations_have_none_either_where_they_are_named_alone(
    one_split: Path, tmp_path: Path
) -> None:
    page = build_timeline([one_split / "evaluations/tuning"], tmp_path / "out")
    markdown = page.with_name("timeline.md").read_text()
    ends = section(markdown, "Last against first")
    assert "was stopped by its rule at step 20" in ends and words_in(ends) == []
    assert "## Best step" not in markdown


def test_a_training_with_more_patience_is_compared(tmp_path: Path) -> None:
    training = write_training(tmp_path / "training", SKILLS, held_out=False, patience=2)
    page = build_timeline([training], tmp_path / "out")
    ends = section(page.with_name("timeline.md").read_text(), "Last against first")
    assert "stopped by its rule" not in ends and words_in(ends)


def test_what_did_not_decide_has_its_word(tmp_path: Path) -> None:
    decided, free = TAKEN
    training = write_training(
        tmp_path / "training", SKILLS, held_out=False, patience=1, best_by=decided
    )
    choice = choice_of(training)
    assert choice is not None and choice.stop is not None
    assert (choice.stop.step, choice.stop.decided) == (20, {decided})
    page = build_timeline([training], tmp_path / "out")
    ends = section(page.with_name("timeline.md").read_text(), "Last against first")
    assert titles_in(ends) == [CARDS[free].title]
    assert words_in(ends)


def test_a_stop_by_the_tuning_rows_leaves_held_out_words(tmp_path: Path) -> None:
    training = write_training(tmp_path / "training", SKILLS, held_out=True, patience=1)
    page = build_timeline([training], tmp_path / "out")
    markdown = page.with_name("timeline.md").read_text()
    best = section(markdown, "Best step of training")
    for name in HELD_OUT:
        (line,) = (one for one in best.splitlines() if one.startswith(f"| {name} "))
        assert "better: +" in line
    assert words_in(section(markdown, "Last against first")) == []


def test_rows_that_decided_nothing_have_words_at_the_same_step(
    one_split: Path, tmp_path: Path
) -> None:
    """Other benchmarks, measured by hand where the training was stopped."""
    skill, taken = SKILLS[20], HELD_OUT
    trained = {"recipe": "grpo on tiny, seed 0", "step": 20, "parent": BASE}
    write_point(tmp_path / "runs/step-20", skill, taken, **trained)
    first = {"weights": BASE, "step": 3000, "recipe": "base"}
    write_point(tmp_path / "runs/step-0", SKILLS[0], taken, **first)
    page = build_timeline([one_split, tmp_path / "runs"], tmp_path / "out")
    ends = section(page.with_name("timeline.md").read_text(), "Last against first")
    assert sorted(titles_in(ends)) == sorted(CARDS[name].title for name in taken)
    assert words_in(ends)


def test_a_start_that_is_best_has_nothing_to_report(tmp_path: Path) -> None:
    skills = {0: (0.9, 0.9), 10: (0.2, 0.2)}
    training = write_training(tmp_path / "training", skills, held_out=True)
    page = build_timeline([training], tmp_path / "out")
    told = section(page.with_name("timeline.md").read_text(), "Best step of training")
    assert "No checkpoint was better than where it began" in told
    assert not [word for word in WORDS if f"{word}:" in told]


def test_what_cannot_be_read_is_left_out_and_told(two_splits: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    (broken / "evaluations").mkdir(parents=True)
    (broken / "evaluations/plan.json").write_text("{}")
    found, left_out = choices_of([two_splits, broken, tmp_path / "nothing"])
    assert [one.name for one in found] == ["training"]
    (sentence,) = left_out
    assert sentence.startswith(f"{broken}: ") and "plan.json" in sentence


def test_a_report_has_a_curve_for_each_benchmark(two_splits: Path, one_split: Path) -> None:
    found = curves({"ours": [two_splits], "theirs": [one_split, one_split]})
    assert found is not None
    titles = [chart.title.partition(",")[0] for chart in found.measured]
    assert len(titles) == len(TAKEN) + len(HELD_OUT)
    ours, theirs = found.measured[0].series
    rows = [row for row in read_evaluations(two_splits) if row.suite == "tuning"]
    first = [row.headlines[0] for row in rows]
    assert list(ours.x) == [0, 10, 20]
    assert list(ours.y) == [pytest.approx(100 * (one.value or 0)) for one in first]
    assert ours.low is not None and list(ours.low) == [
        pytest.approx(100 * (one.low or 0)) for one in first
    ]
    assert theirs.low is not None and list(theirs.low) == list(theirs.y), "both seeds are one run"


def test_what_was_sampled_stands_on_the_page_escaped(tmp_path: Path) -> None:
    hostile = "</li><script>alert(1)</script>"
    page = watched_page(tmp_path, said=hostile)
    html = page.read_text()
    told = html.partition('<details id="rollouts">')[2].partition("</details>")[0]
    assert told.count('class="exhibit') == 2 and told.count("<img") == 1 + 2
    assert hostile not in html and "advantage 0.7" in told
    assert "2 groups of rollouts were kept" in page.with_name("timeline.md").read_text()
