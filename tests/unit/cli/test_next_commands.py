"""The command that a page of several runs names next is one that runs as printed."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from pairuni_eval.cli import app
from pairuni_eval.cli.board import _next
from pairuni_eval.cli.timeline import _folder_of_runs
from pairuni_eval.commands import is_command


def run_folder(path: Path, *files: str) -> Path:
    path.mkdir(parents=True)
    for name in ("run.json", *files):
        (path / name).write_text("{}")
    return path


def test_a_board_compares_its_last_two_finished_runs_or_reports_the_one(tmp_path: Path) -> None:
    one = run_folder(tmp_path / "a", "COMPLETE")
    run_folder(tmp_path / "b")
    assert _next(tmp_path) == ("report", one)
    other = run_folder(tmp_path / "c", "COMPLETE")
    assert _next(tmp_path) == ("compare", one, other)


def test_a_board_without_a_finished_run_reports_an_unfinished_one(tmp_path: Path) -> None:
    assert _next(run_folder(tmp_path / "x" / "a").parent) == ("report", tmp_path / "x" / "a")


def test_a_timeline_names_a_folder_that_holds_runs(tmp_path: Path) -> None:
    run = run_folder(tmp_path / "runs" / "a")
    evaluations = run_folder(tmp_path / "trained" / "evaluations" / "tiny" / "step-0").parents[1]
    assert _folder_of_runs(run) == tmp_path / "runs"
    assert _folder_of_runs(tmp_path / "runs") == tmp_path / "runs"
    assert _folder_of_runs(tmp_path / "trained") == evaluations


@pytest.mark.parametrize("what", ["benchmarks", "suites", "models", "judges"])
def test_a_listing_ends_with_a_command_without_blanks_to_fill(what: str) -> None:
    said = CliRunner().invoke(app, ["list", what]).output
    command = said.rpartition("Next: ")[2].strip()
    assert is_command(command)
    assert "NAME" not in command
    known = [
        line.split()[0] for line in CliRunner().invoke(app, ["list", what]).stdout.splitlines()
    ]
    named = command.split()[-1].split(",")
    assert set(named) <= set(known)
