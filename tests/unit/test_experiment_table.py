"""An experiment's table from made-up runs: cells, verdicts, sentences, files, what is missing."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path

import example_run as example
import msgspec
import pytest

from pairuni_eval.analysis.compare import Word
from pairuni_eval.analysis.multiple import holm
from pairuni_eval.errors import UserError
from pairuni_train.experiments.findings import find
from pairuni_train.experiments.jobs import Setting, Trial, run_folder, trials
from pairuni_train.experiments.spec import Arm, Column, Experiment, Printed
from pairuni_train.experiments.table import Table, make_table, measured_columns
from pairuni_train.experiments.write import rendered, write_table
from pairuni_train.recipe import find_backbone

CARDS = {card.name: card for card in example.cards(40)}
SKILLS = {"base": 0.5, "GRPO": 0.5, "PairUni": 0.95}


@pytest.fixture
def experiment() -> Experiment:
    return Experiment(
        name="made_up",
        title="Made up",
        question="Does it?",
        source="nowhere",
        arms=(
            Arm(name="base", recipe="base"),
            Arm(name="GRPO", recipe="grpo"),
            Arm(name="PairUni", recipe="pairuni"),
        ),
        against=("GRPO",),
        method="PairUni",
        columns=(
            Column(title="MMMU", benchmark="mmmu"),
            Column(title="MMStar", benchmark="mmstar"),
            Column(title="Style", benchmark="imgedit", only="real"),
        ),
        sisters={"mmmu": "tiny-mmmu", "mmstar": "tiny-mmstar"},
        printed=(Printed(row="theirs | <b>", cells=(40.0, "-", 4.18)),),
    )


def write_runs(
    experiment: Experiment, setting: Setting, skills: Mapping[str, float] = SKILLS
) -> None:
    for trial in trials(experiment, setting):
        for number, benchmark in enumerate(experiment.benchmarks(tiny=True)):
            example.write_run(
                run_folder(trial, benchmark, setting),
                name=trial.arm.name,
                skill=skills[trial.arm.name] + 0.01 * trial.seed,
                seed=number,
                count=40,
                benchmarks=[CARDS[benchmark]],
                with_images=False,
            )


@pytest.fixture
def setting(tmp_path: Path, experiment: Experiment) -> Setting:
    """Three seeds of every arm, measured."""
    found = Setting(find_backbone("tiny"), 3, tmp_path)
    write_runs(experiment, found)
    return found


@pytest.fixture
def table(experiment: Experiment, setting: Setting) -> Table:
    return make_table(experiment, setting)


def test_cells_are_means_over_seeds_and_columns_are_called_tiny(table: Table) -> None:
    assert [heading.title for heading in table.headings] == ["tiny MMMU", "tiny MMStar", "Style"]
    assert table.addresses == ["tiny-mmmu@official", "tiny-mmstar@official"]
    base, grpo, ours = table.rows
    assert (base.seeds, base.wanted, grpo.seeds, grpo.wanted) == (1, 0, 3, 3)
    cell = ours.cells[0]
    assert cell is not None and len(cell.by_seed) == 3
    assert cell.estimate.value == pytest.approx(sum(cell.by_seed) / 3)
    assert ours.cells[2] is None
    assert table.missing == (0, 14) and table.few == ()


def test_the_p_values_of_two_arms_are_corrected_over_their_columns(table: Table) -> None:
    rows = table.compared["PairUni", "GRPO"]
    assert [row.benchmark for row in rows] == ["tiny-mmmu", "tiny-mmstar"]
    p = [row.p for row in rows]
    assert None not in p
    assert [row.corrected for row in rows] == pytest.approx(holm([x for x in p if x is not None]))


def test_where_no_arm_is_the_method_all_arms_are_corrected_together(
    experiment: Experiment, setting: Setting
) -> None:
    sweep = make_table(msgspec.structs.replace(experiment, method=None), setting)
    rows = [row for pair in sweep.compared.values() for row in pair]
    p = [row.p for row in rows if row.p is not None]
    assert len(p) == 4
    assert [row.corrected for row in rows] == pytest.approx(holm(p))


def test_answers_are_said_whatever_they_are(experiment: Experiment, setting: Setting) -> None:
    better = find(make_table(experiment, setting))
    subjects = "Tiny MMMU and Tiny MMStar"
    first, rest = better.answers
    assert first.text == f"PairUni against GRPO: better on {subjects}."
    assert [line.split(":")[0] for line in first.figures] == [
        "Tiny MMMU is better than GRPO",
        "Tiny MMStar is better than GRPO",
    ]
    assert rest.text == "base against GRPO: cannot tell, in any column."
    assert better.notes == ()
    turned = {"base": 0.5, "GRPO": 0.95, "PairUni": 0.5}
    write_runs(experiment, setting, turned)
    worse = find(make_table(experiment, setting))
    assert worse.answers[0].text == f"PairUni against GRPO: worse on {subjects}."
    assert worse.answers[1].text == f"base against GRPO: worse on {subjects}."


def test_two_arms_that_others_are_compared_with_are_spoken_of_once(
    experiment: Experiment, setting: Setting
) -> None:
    table = make_table(msgspec.structs.replace(experiment, against=("GRPO", "base")), setting)
    assert [answer.text.partition(":")[0] for answer in find(table).answers] == [
        "PairUni against GRPO",
        "base against GRPO",
        "PairUni against base",
    ]
    page = rendered("table.md", table, command="again")
    assert "| base | GRPO |" in page and "| GRPO | base |" not in page


def test_one_column_that_differs_is_told_apart(experiment: Experiment, setting: Setting) -> None:
    for trial in trials(experiment, setting):
        example.write_run(
            run_folder(trial, "tiny-mmstar", setting),
            skill=0.5,
            count=40,
            benchmarks=[CARDS["tiny-mmstar"]],
            with_images=False,
        )
    answer = find(make_table(experiment, setting)).answers[0]
    assert answer.text == "PairUni against GRPO: better on Tiny MMMU; tied on Tiny MMStar."


def test_one_seed_and_missing_runs_are_said(experiment: Experiment, setting: Setting) -> None:
    pairuni = experiment.arms[-1]
    (run_folder(Trial(pairuni, 2), "tiny-mmmu", setting) / "COMPLETE").unlink()
    table = make_table(experiment, setting)
    assert (table.rows[-1].seeds, table.rows[-1].wanted) == (2, 3)
    assert table.missing == (1, 14)
    partial, few = find(table).notes
    assert partial.startswith("PARTIAL: 1 of 14 runs are not there.")
    assert few.startswith("PairUni: fewer than three training seeds.")
    one = find(make_table(experiment, setting._replace(seeds=1))).notes
    assert one[0].startswith("Every trained arm: fewer than three training seeds.")


def test_a_column_without_any_run_is_an_error(experiment: Experiment, tmp_path: Path) -> None:
    empty = Setting(find_backbone("tiny"), 3, tmp_path)
    assert measured_columns(experiment, empty) == ()
    with pytest.raises(UserError, match="No arm has a finished run for the column 'MMMU'"):
        make_table(experiment, empty)


def test_columns_that_are_measured(experiment: Experiment, setting: Setting) -> None:
    assert measured_columns(experiment, setting) == experiment.columns[:2]


def test_the_page_has_numbers_words_and_the_papers_rows_apart(table: Table) -> None:
    page = rendered("table.md", table, command="pairuni-train reproduce made_up")
    ours, papers = page.split("## What the paper prints (nowhere)")
    assert "| arm | seeds | tiny MMMU | tiny MMStar | Style |" in ours
    row = next(line for line in ours.splitlines() if line.startswith("| PairUni | 3 |"))
    assert row.count("better vs GRPO") == 2 and row.endswith("| – |")
    assert "the tiny world has nothing that stands for a column of dashes" in ours
    assert r"| theirs \| &lt;b&gt; | 40.0 | - | 4.18 |" in papers
    assert "none of them may be\nread beside the tiny numbers above" in papers
    assert "PairUni: pairuni: its pair set is not there, weighting sqrt" in papers
    assert papers.endswith("```\npairuni-train reproduce made_up\n```\n")


def test_html_and_latex_hold_the_same_and_escape(table: Table) -> None:
    html = rendered("table.html", table, command="again")
    assert "theirs | &lt;b&gt;" in html and "<b>" not in html
    assert html.count('<small class="better">better vs GRPO</small>') == 2
    latex = rendered("table.tex", table, command="again")
    assert latex.count(r" \\") == 4 and "tiny MMMU" in latex and r"\%" in latex


def test_files_for_computing_hold_every_number_and_verdict(table: Table, tmp_path: Path) -> None:
    page = write_table(table, tmp_path / "out", command="again")
    assert page.name == "table.md"
    assert (page.parent / "table.svg").read_text().startswith("<?xml")
    numbers = list(csv.DictReader((page.parent / "table.csv").open()))
    assert len(numbers) == 3 * 2
    ours = next(row for row in numbers if row["arm"] == "PairUni")
    assert len(ours["by_seed"].split()) == 3 and float(ours["low"]) < float(ours["value"])
    verdicts = list(csv.DictReader((page.parent / "verdicts.csv").open()))
    assert len(verdicts) == 2 * 2
    assert {row["word"] for row in verdicts if row["arm"] == "PairUni"} == {str(Word.BETTER)}
    before = page.read_bytes()
    assert write_table(table, tmp_path / "out", command="again").read_bytes() == before
