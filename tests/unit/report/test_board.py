"""The board: what stands together, what is told apart, what is left out and why."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import msgspec
import pytest
from support import example_run as example
from support.made_up_boards import CARDS, LOUD, TAKEN, board_page, rename_revision, write_runs
from support.renamed_runs import rename_run
from support.unfinished_runs import unfinished

from pairuni_eval.decoding import Decoding
from pairuni_eval.errors import UserError
from pairuni_eval.records import ModelIdentity
from pairuni_eval.report.board import Board, gather_board
from pairuni_eval.report.board_kinds import decoding_notes
from pairuni_eval.report.headline_cache import HeadlineCache
from pairuni_eval.stats.tables import Tables, metric_row
from pairuni_eval.store.read import StoredRun
from pairuni_eval.training_record import Trained, trained


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_runs(tmp_path_factory.mktemp("board") / "runs")


def gathered(runs: Path, cache: HeadlineCache | None = None) -> Board:
    return gather_board(runs, runs / "reports", cache or HeadlineCache(runs / "none.json"))


def copied(runs: Path, to: Path) -> Path:
    return Path(shutil.copytree(runs, to / "runs"))


def places(board: Board, benchmark: str) -> list[list[str]]:
    """The folders of each table of a benchmark, in their order."""
    found = next(one for one in board.benchmarks if one.name == benchmark)
    return [[row.run.folder for row in table.rows] for table in found.tables]


def test_numbers_are_those_of_the_run_in_their_order(runs: Path) -> None:
    board = gathered(runs)
    rows = board.benchmarks[0].tables[0].rows
    values = [row.number.estimate.value for row in rows]
    assert values == sorted(values, reverse=True)
    for row in rows:
        tables = Tables(StoredRun(runs / row.run.folder))
        spec = CARDS["tiny-mmstar"].protocols["official"].metrics[0]
        whole = metric_row(tables, "tiny-mmstar", "official", spec)
        assert row.number == whole._replace(groups=())


def test_a_part_and_another_revision_stand_apart(runs: Path, tmp_path: Path) -> None:
    here = copied(runs, tmp_path)
    rename_revision(here / "b", "v2")
    board = gathered(here)
    whole, *others = places(board, "tiny-mmstar")
    assert sorted(whole) == ["a", "c", "loud"]
    assert sorted(map(tuple, others)) == [("b",), ("study/part",)]
    apart = {
        row.run.folder: table.apart for table in board.benchmarks[0].tables for row in table.rows
    }
    assert apart["b"] == "all 24 samples; data revision v2"
    assert apart["study/part"] == "PARTIAL: 12 of 24 samples; data revision v1"


def test_two_runs_of_one_name_are_both_shown(runs: Path) -> None:
    board = gathered(runs)
    assert [run.folder for run in board.runs if run.card.name == "base"] == ["b", "c"]


def test_tiny_weights_never_stand_with_others(runs: Path, tmp_path: Path) -> None:
    card = msgspec.structs.replace(CARDS["tiny-mmstar"], name="real", tiny=False)
    for name in ("tiny", "janus"):
        rows = {"real": example.graded(CARDS["tiny-mmstar"], 24, 0.5, random.Random(0))}
        example.store(tmp_path / "runs" / name, [card], rows, name=name, with_images=False)
    assert places(gathered(tmp_path / "runs"), "real") == [["janus"], ["tiny"]]


def test_an_unfinished_run_stands_in_no_order_beside_finished_ones(
    runs: Path, tmp_path: Path
) -> None:
    here = copied(runs, tmp_path)
    shutil.rmtree(here / "a")
    unfinished(runs / "a", here / "a", graded=20)
    board = gathered(here)
    (running,) = [table for table in board.benchmarks[0].tables if table.kind.unfinished]
    assert [row.run.folder for row in running.rows] == ["a"]
    assert not running.ranked
    assert running.rows[0].number.scored < 24
    assert board.runs[0].state == "unfinished"


def test_what_cannot_be_read_is_a_line_and_the_board_goes_on(runs: Path, tmp_path: Path) -> None:
    here = copied(runs, tmp_path)
    (here / "a" / "scores.parquet").write_bytes(b"not a table")
    (here / "b" / "run.json").write_text("{")
    (here / "notes").mkdir()
    (here / "away").symlink_to(runs / "c", target_is_directory=True)
    board = gathered(here)
    assert [run.folder for run in board.runs] == ["c", "loud", "study/part"]
    assert list(board.left_out) == ["a", "away", "b", "notes"]
    assert "scores.parquet" in board.left_out["a"]
    assert "run.json" in board.left_out["b"]
    assert "link" in board.left_out["away"]
    assert board.left_out["notes"] == "not a run folder: it has no run.json"


@pytest.mark.parametrize("kind", ["missing", "run", "empty"])
def test_a_folder_that_holds_no_runs_is_an_error(runs: Path, tmp_path: Path, kind: str) -> None:
    folder = {"missing": tmp_path / "no", "run": runs / "a", "empty": tmp_path}[kind]
    with pytest.raises(UserError) as failure:
        gathered(folder)
    assert failure.value.hint


def test_headlines_are_made_once_and_known_by_their_content(runs: Path, tmp_path: Path) -> None:
    path = tmp_path / "out" / "headlines.json"
    folder = tmp_path / "runs"
    for name in ("one", "two", "three"):
        rename_run(runs / "a", folder / name, name)
    first = HeadlineCache(path)
    board = gathered(folder, first)
    first.keep()
    assert first.made == len(TAKEN)  # three runs that are one but for their name
    again = HeadlineCache(path)
    assert gathered(folder, again).benchmarks == board.benchmarks
    assert again.made == 0


def test_a_changed_table_is_seen_although_its_headline_is_known(runs: Path, tmp_path: Path) -> None:
    here, path = copied(runs, tmp_path), tmp_path / "headlines.json"
    cache = HeadlineCache(path)
    gathered(here, cache)
    cache.keep()
    table = here / "a" / "outputs.parquet"
    table.write_bytes(table.read_bytes()[:-1] + b"x")
    assert "outputs.parquet" in gathered(here, HeadlineCache(path)).left_out["a"]


@pytest.mark.parametrize("content", ["", "{}", '{"format": "other/1", "headlines": {}}', "[1]"])
def test_a_file_of_headlines_that_is_none_is_made_anew(
    runs: Path, tmp_path: Path, content: str
) -> None:
    path = tmp_path / "headlines.json"
    path.write_text(content)
    cache = HeadlineCache(path)
    assert gathered(runs, cache).benchmarks == gathered(runs).benchmarks
    assert cache.made > 0


def test_what_a_report_says_of_two_runs_is_found(tmp_path: Path) -> None:
    page = board_page(tmp_path)
    board = gather_board(tmp_path / "runs", tmp_path / "reports", HeadlineCache(tmp_path / "x"))
    (found,) = board.comparisons
    assert (found.ours.folder, found.theirs.folder) == ("a", "b")
    assert found.stored.baseline == "before"
    assert [line.benchmark for line, _, _ in found.lines] == list(TAKEN)
    assert found.stored.sentence in page.with_name("board.md").read_text().replace("\\", "")


def test_weights_of_two_runs_are_no_one_run(tmp_path: Path) -> None:
    board_page(tmp_path)
    shutil.copytree(tmp_path / "runs" / "b", tmp_path / "runs" / "b-again")
    board = gather_board(tmp_path / "runs", tmp_path / "reports", HeadlineCache(tmp_path / "x"))
    assert board.comparisons == ()


def test_names_are_escaped_and_two_boards_are_equal(tmp_path: Path) -> None:
    page = board_page(tmp_path / "one")
    html = page.read_text()
    assert LOUD not in html
    assert "&lt;img src=x onerror=" in html
    assert "<img" not in page.with_name("board.md").read_text()
    again = board_page(tmp_path / "two")
    assert again.read_text() == html.replace(str(tmp_path / "one"), str(tmp_path / "two"))


@pytest.mark.parametrize(
    ("recipe", "expected"),
    [
        ("grpo on tiny, seed 3", Trained("grpo on tiny", 3, 400)),
        ("pairuni by sft on tiny-names, seed 0", Trained("pairuni by sft on tiny-names", 0, 400)),
        ("my own", Trained("my own", None, 400)),
        (None, Trained(None, None, 400)),
    ],
)
def test_how_a_checkpoint_was_trained(recipe: str | None, expected: Trained) -> None:
    identity = ModelIdentity(adapter="janus", name="x", weights="0", step=400, recipe=recipe)
    assert trained(identity) == expected


def test_another_decoding_than_that_of_most_is_said() -> None:
    common, hot = Decoding(), Decoding(temperature=0.7, steps=20)
    assert decoding_notes([common, hot, common]) == ["", "temperature 0.7, steps 20", ""]
    assert decoding_notes([]) == []
