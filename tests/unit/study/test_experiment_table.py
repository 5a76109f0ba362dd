"""An experiment's table from made-up runs: cells, verdicts, sentences, files, what is missing."""

from __future__ import annotations

import csv
import re
import shutil
from pathlib import Path

import msgspec
import pytest
from support import example_run as example
from support.made_up_experiments import CARDS, TABLE, write_runs

from pairuni_eval.errors import UserError
from pairuni_eval.report import arm_table
from pairuni_eval.stats.arm_table import ArmTable
from pairuni_eval.stats.compare import Word
from pairuni_eval.stats.multiple import holm
from pairuni_train.config import find_recipe
from pairuni_train.study.jobs import StudyOptions, TrainJob, run_folder, train_jobs
from pairuni_train.study.pages import write_table
from pairuni_train.study.spec import Experiment
from pairuni_train.study.table import make_table, measured_columns


@pytest.fixture
def experiment() -> Experiment:
    return TABLE


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> StudyOptions:
    """Three seeds of every arm, measured; only to be read."""
    found = StudyOptions(find_recipe("tiny"), 3, tmp_path_factory.mktemp("measured"))
    write_runs(TABLE, found)
    return found


@pytest.fixture
def options(measured: StudyOptions, tmp_path: Path) -> StudyOptions:
    """The same, to be changed."""
    shutil.copytree(measured.root, tmp_path / "root")
    return measured._replace(root=tmp_path / "root")


@pytest.fixture(scope="module")
def table(measured: StudyOptions) -> ArmTable:
    return make_table(TABLE, measured)


AGAINST_BOTH = msgspec.structs.replace(TABLE, against=("GRPO", "base"))


@pytest.fixture(scope="module")
def against_both(measured: StudyOptions) -> ArmTable:
    return make_table(AGAINST_BOTH, measured)


@pytest.fixture(scope="module")
def sweep(measured: StudyOptions) -> ArmTable:
    """The table where no arm is the method."""
    return make_table(msgspec.structs.replace(TABLE, method=None), measured)


@pytest.fixture(scope="module")
def written(table: ArmTable, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the table's page and files; only to be read."""
    return write(table, TABLE, tmp_path_factory.mktemp("written") / "out")


def write(table: ArmTable, experiment: Experiment, folder: Path) -> Path:
    command = "pairuni-train reproduce made_up"
    page = write_table(
        table, experiment, folder, tiny=True, steps=300, command=command, figures=["svg"]
    )
    assert page == folder / "table.html"
    return folder


def answers(table: ArmTable) -> list[str]:
    questions = arm_table.questions(table, "Does it?", "again")
    return [said.text for one in questions for said in one.answers]


def test_cells_are_means_over_seeds_and_columns_are_called_tiny(table: ArmTable) -> None:
    assert [column.title for column in table.columns] == ["tiny MMMU", "tiny MMStar", "Style"]
    assert table.addresses == ["tiny-mmmu@official", "tiny-mmstar@official"]
    base, grpo, ours = table.rows
    assert (base.seeds, base.wanted, grpo.seeds, grpo.wanted) == (1, 0, 3, 3)
    cell = ours.cells[0]
    assert cell is not None and len(cell.by_seed) == 3
    assert cell.estimate.value == pytest.approx(sum(cell.by_seed) / 3)
    assert ours.cells[2] is None
    assert table.missing == (0, 14)


def test_whole_benchmarks_of_the_arm_in_question_are_one_family_and_all_others_another(
    against_both: ArmTable,
) -> None:
    pairs = {(one.ours, one.theirs): list(one.rows.values()) for one in against_both.pairs}
    assert list(pairs) == [("base", "GRPO"), ("PairUni", "GRPO"), ("PairUni", "base")]
    rows = pairs["PairUni", "GRPO"] + pairs["PairUni", "base"]
    assert [row.benchmark for row in rows] == ["tiny-mmmu", "tiny-mmstar"] * 2
    for family in (rows, pairs["base", "GRPO"]):
        p = [row.p for row in family if row.p is not None]
        assert [row.corrected for row in family] == pytest.approx(holm(p))


def test_where_no_arm_is_the_method_all_arms_are_corrected_together(sweep: ArmTable) -> None:
    rows = [row for one in sweep.pairs for row in one.rows.values()]
    p = [row.p for row in rows if row.p is not None]
    assert len(p) == 4
    assert [row.corrected for row in rows] == pytest.approx(holm(p))


def test_answers_are_said_whatever_they_are(
    table: ArmTable, experiment: Experiment, options: StudyOptions
) -> None:
    ours, others = arm_table.questions(table, "Does it?", "again")
    assert (ours.asked, others.asked) == ("Does it?", "And the other arms?")
    assert ours.answers[0].text.startswith("PairUni: Better than GRPO at Tiny MMMU (+")
    assert [one.text for one in others.answers] == [
        "base against GRPO: cannot tell, in any column."
    ]
    assert arm_table.partial(table) == ""
    turned = {"base": 0.5, "GRPO": 0.95, "PairUni": 0.5}
    write_runs(experiment, options, turned)
    worse = answers(make_table(experiment, options))
    assert [one.partition(":")[0] for one in worse] == ["PairUni", "base"]
    assert all(": Worse than GRPO at Tiny MMMU (" in one for one in worse)


def test_two_arms_that_others_are_compared_with_are_spoken_of_once(
    against_both: ArmTable, tmp_path: Path
) -> None:
    ours, base, others = answers(against_both)
    assert "than GRPO" in ours and "than base" in base
    assert others == "base against GRPO: cannot tell, in any column."
    page = (write(against_both, AGAINST_BOTH, tmp_path / "out") / "table.md").read_text()
    assert "base against GRPO" in page and "GRPO against base" not in page


def test_one_column_that_differs_is_told_apart(
    experiment: Experiment, options: StudyOptions
) -> None:
    for job in train_jobs(experiment, options):
        example.write_run(
            run_folder(job, "tiny-mmstar", options),
            skill=0.5,
            count=40,
            benchmarks=[CARDS["tiny-mmstar"]],
            with_images=False,
        )
    first = answers(make_table(experiment, options))[0]
    assert "Better than GRPO at Tiny MMMU" in first and "tied on Tiny MMStar" in first


def test_one_seed_and_missing_runs_are_said(experiment: Experiment, options: StudyOptions) -> None:
    pairuni = experiment.arms[-1]
    (run_folder(TrainJob(pairuni, 2), "tiny-mmmu", options) / "COMPLETE").unlink()
    table = make_table(experiment, options)
    assert (table.rows[-1].seeds, table.rows[-1].wanted) == (2, 3)
    assert table.missing == (1, 14)
    assert arm_table.partial(table).startswith("1 of 14 runs are not there.")
    assert answers(table)[0].endswith("; these checkpoints, two seeds.")
    needed = arm_table.questions(table, "Does it?", "again")[1].answers[0].text
    assert "two training seeds; another seed could change the verdict; a word about" in needed
    alone = make_table(experiment, options._replace(seeds=1))
    assert answers(alone)[0].endswith("; this checkpoint, one seed.")
    again = "pairuni-train reproduce made_up --seeds 1 --steps 300"
    _, decide, _ = arm_table.questions(alone, "Does it?", again)
    assert decide.asked == "What would decide it?"
    assert decide.answers[0].commands == ("pairuni-train reproduce made_up --seeds 3 --steps 300",)
    assert arm_table.with_seeds("pairuni-train reproduce x", 4).endswith("reproduce x --seeds 4")


def test_a_column_without_any_run_is_an_error(experiment: Experiment, tmp_path: Path) -> None:
    empty = StudyOptions(find_recipe("tiny"), 3, tmp_path)
    assert measured_columns(experiment, empty) == ()
    with pytest.raises(UserError, match="No arm has a finished run for the column 'MMMU'"):
        make_table(experiment, empty)


def test_columns_that_are_measured(experiment: Experiment, measured: StudyOptions) -> None:
    assert measured_columns(experiment, measured) == experiment.columns[:2]


def test_the_page_has_numbers_words_and_the_papers_rows_apart(written: Path) -> None:
    ours, papers = (written / "table.md").read_text().split("## What the paper prints")
    assert "| arm | seeds | tiny MMMU | tiny MMStar | Style |" in ours
    row = next(line for line in ours.splitlines() if line.startswith("| PairUni | 3 |"))
    assert row.count("vs GRPO: better: +") == 2 and row.count("p ") == 2 and row.endswith("| – |")
    assert "the tiny world has nothing that stands for a column of dashes" in ours
    assert "PairUni: pairuni: its pair set is not there, weighting sqrt" in ours
    assert r"| theirs \| &lt;b&gt; | 40.0 | - | 4.18 |" in papers
    assert "none of it may be read beside the tiny numbers above" in papers
    assert papers.endswith("```\npairuni-train reproduce made_up\n```\n")


def test_a_mark_stands_only_where_there_is_a_verdict(written: Path) -> None:
    page = (written / "table.html").read_text()
    _, results, rest = re.split(r'<section id="(?:results|differences)">', page)
    rows = dict(re.findall(_ROW, results, re.DOTALL))
    assert list(rows) == ["base", "GRPO", "PairUni"]
    assert [len(re.findall("[▲▼=?] (?:better|worse)", row)) for row in rows.values()] == [0, 0, 2]
    assert not any('class="word' in rows[name] for name in ("base", "GRPO"))
    _, papers = rest.split('<section id="paper">')
    assert 'class="word' not in papers and "theirs | &lt;b&gt;" in papers and "<b>" not in page


def test_no_mark_stands_beside_the_base_in_a_sweep(sweep: ArmTable) -> None:
    base, grpo, ours = sweep.rows
    assert {(one.ours, one.asked) for one in sweep.pairs} == {("base", True), ("PairUni", True)}
    assert sweep.verdicts(base, 0) == sweep.verdicts(grpo, 0) == []
    assert [(name, row.word) for name, row in sweep.verdicts(ours, 0)] == [("GRPO", Word.BETTER)]
    assert sweep.verdicts(ours, 2) == [], "nothing is measured in this column"


_ROW = r'<tr><th scope="row">(\w+)</th>(.*?)</tr>'


def test_latex_has_the_words_with_their_p_and_escapes(written: Path) -> None:
    latex = (written / "table.tex").read_text()
    assert latex.count(r" \\") == 5 and "tiny MMMU" in latex and r"\%" in latex
    assert r"\quad against GRPO & better, +40.0 [" in latex


def test_files_for_computing_hold_every_number_and_verdict(
    table: ArmTable, written: Path, experiment: Experiment, tmp_path: Path
) -> None:
    assert (written / "table.svg").read_text().startswith("<?xml")
    numbers = list(csv.DictReader((written / "table.csv").open()))
    assert len(numbers) == 3 * 2
    ours = next(row for row in numbers if row["arm"] == "PairUni")
    assert len(ours["by_seed"].split()) == 3 and float(ours["low"]) < float(ours["value"])
    verdicts = list(csv.DictReader((written / "verdicts.csv").open()))
    assert len(verdicts) == 2 * 2
    assert {row["word"] for row in verdicts if row["arm"] == "PairUni"} == {str(Word.BETTER)}
    again = write(table, experiment, tmp_path / "again")
    for file in written.iterdir():
        assert (again / file.name).read_bytes() == file.read_bytes(), file.name


def test_only_figures_that_were_asked_for_are_drawn(
    table: ArmTable, experiment: Experiment, tmp_path: Path
) -> None:
    for formats in (("pdf", "png"), ()):
        folder = tmp_path / "-".join(formats)
        write_table(table, experiment, folder, tiny=True, steps=1, command="again", figures=formats)
        starts = [(folder / f"table.{one}").read_bytes()[:4] for one in formats]
        assert starts == [b"%PDF", b"\x89PNG"][: len(formats)]
        assert not (folder / "table.svg").exists()
        assert ("![" in (folder / "table.md").read_text()) is bool(formats)
