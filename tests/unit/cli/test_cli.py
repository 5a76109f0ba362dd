"""The command line: fast where nothing heavy is needed, frozen options, always a way on."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer
from support.command_line import is_light

from pairuni_eval import __version__
from pairuni_eval.cli import app

HEAVY = ("torch", "transformers", "pandas", "pyarrow", "matplotlib", "scipy", "huggingface_hub")
LIGHT_COMMANDS = {
    "--help": ["--help"],
    "list benchmarks": ["list", "benchmarks"],
    "run --help": ["run", "--help"],
    "grade --help": ["grade", "--help"],
    "compare --help": ["compare", "--help"],
    "list models": ["list", "models"],
    "version": ["version"],
}

RUN_OPTIONS = [
    "--allow-remote-code",
    "--baseline",
    "--batch-size",
    "--benchmarks",
    "--checkpoint",
    "--compile",
    "--control",
    "--data",
    "--device",
    "--dtype",
    "--judge",
    "--limit",
    "--model",
    "--model-args",
    "--out",
    "--painter",
    "--plan",
    "--report",
    "--seed",
    "--set",
    "--shard",
    "--sibling",
    "--suite",
]

GRADE_OPTIONS = [
    "--benchmark",
    "--data",
    "--device",
    "--format",
    "--json",
    "--judge",
    "--limit",
    "--out",
    "--protocol",
    "--responses",
]

LOADED = """
import contextlib, io, json, sys
commands, heavy = map(json.loads, sys.argv[1:])
found = {}
before = set(sys.modules)
from pairuni_eval.cli import main
for name, arguments in commands.items():
    out = io.StringIO()
    sys.argv = ["pairuni-eval", *arguments]
    with contextlib.redirect_stdout(out):
        try:
            main()
        except SystemExit as end:
            assert not end.code, end.code
    new, before = set(sys.modules) - before, set(sys.modules)
    found[name] = {"out": out.getvalue(), "heavy": sorted(new & set(heavy))}
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def light() -> dict[str, Any]:
    """What each light command prints, and what it imports that is heavy; all in one process."""
    words = (json.dumps(LIGHT_COMMANDS), json.dumps(HEAVY))
    ran = subprocess.run(
        [sys.executable, "-c", LOADED, *words], capture_output=True, text=True, check=True
    )
    found: dict[str, Any] = json.loads(ran.stdout)
    return found


@pytest.mark.parametrize("name", LIGHT_COMMANDS)
def test_light_commands_import_nothing_heavy(light: dict[str, Any], name: str) -> None:
    assert light[name]["heavy"] == []
    assert light[name]["out"]


@pytest.mark.parametrize("arguments", [["--help"], ["list", "benchmarks"]], ids=" ".join)
def test_light_commands_answer_in_half_a_second(arguments: list[str]) -> None:
    assert is_light("-m", "pairuni_eval.cli", *arguments), "not once in twelve times"


def options(command: str) -> list[str]:
    group: Any = typer.main.get_command(app)
    names = {name for parameter in group.commands[command].params for name in parameter.opts}
    return sorted(name for name in names if name.startswith("--"))


def test_the_options_of_run_are_these() -> None:
    """A new option is a decision: change this list with it."""
    assert options("run") == RUN_OPTIONS
    assert options("report") == [
        *("--baseline", "--out", "--pairs", "--partial-results", "--pictures", "--sibling"),
        "--training",
    ]
    assert options("compare") == ["--json"]
    assert options("grade") == GRADE_OPTIONS
    assert options("readers") == ["--json"]
    assert options("board") == ["--out", "--reports"]
    assert options("timeline") == ["--out", "--watch"]
    assert options("show") == ["--protocol"]
    assert options("bridge") == ["--force", "--write"]
    assert options("list") == ["--data", "--json"]
    assert options("validate") == ["--data", "--json", "--limit"]
    assert options("fetch") == ["--benchmarks", "--suite", "--to"]


def test_the_commands_are_these() -> None:
    group: Any = typer.main.get_command(app)
    assert sorted(group.commands) == [
        "board",
        "bridge",
        "compare",
        "convert",
        "fetch",
        "follow",
        "grade",
        "list",
        "push",
        "readers",
        "report",
        "run",
        "show",
        "timeline",
        "validate",
        "version",
    ]


def test_every_benchmark_is_listed_with_its_size(cli: Any) -> None:
    lines = cli("list", "benchmarks").out.splitlines()
    pope = next(line for line in lines if line.startswith("pope "))
    assert re.search(r"understand +5127 x 1 +official/lmms-eval/vlmevalkit/reasoning +POPE", pope)


def test_every_suite_is_listed_with_its_benchmarks(cli: Any) -> None:
    assert re.search(r"(?m)^smoke +tiny-pope, tiny-geneval$", cli("list", "suites").out)


def test_the_version_is_printed(cli: Any) -> None:
    assert cli("version").out.strip() == __version__


GREETING = {"*": "yes"}


def test_run_ends_with_the_run_the_report_and_a_next_command(
    cli: Any, write_script: Any, tmp_path: Path
) -> None:
    arguments = ["--checkpoint", write_script(GREETING), "--benchmarks", "tiny-pope"]
    ran = cli("run", *arguments, "--limit", 4)
    assert ran.code == 0, ran.err
    run, report, following = ran.out.splitlines()[-3:]
    folder = Path(run.removeprefix("Run:").strip())
    assert folder == Path("runs/script.jsonl-tiny-pope-limit4")
    assert (tmp_path / folder / "COMPLETE").is_file()
    page = Path(report.removeprefix("Report:").strip())
    assert page == Path("reports") / folder.name / "report.html"
    assert page.is_file()
    asked = "pairuni-eval run --checkpoint OTHER --benchmarks tiny-pope --limit 4 --baseline "
    assert following.startswith(f"Next:   {asked}"), following
    assert following.endswith(f"={folder}")


def test_report_ends_with_the_report_and_a_next_command(
    cli: Any, write_script: Any, tmp_path: Path
) -> None:
    arguments = ["--checkpoint", write_script(GREETING), "--benchmarks", "tiny-pope"]
    assert cli("run", *arguments, "--limit", 4, "--out", "r").code == 0
    ran = cli("report", "r", "--out", "again", "--baseline", "same=r")
    assert ran.code == 0, ran.err
    assert f"Report: {Path('again/report.html')}" in ran.out
    assert ran.next.startswith("pairuni-eval run ")
    summary = json.loads((tmp_path / "again" / "summary.json").read_text())
    assert list(summary["baselines"]) == ["same"]


def test_plan_ends_with_the_folder_and_the_command_that_goes_on(
    cli: Any, write_script: Any, tmp_path: Path
) -> None:
    arguments = ["--checkpoint", write_script(GREETING), "--benchmarks", "tiny-pope"]
    ran = cli("run", *arguments, "--limit", 40, "--out", "r", "--plan")
    assert ran.code == 0, ran.err
    assert "Planned in r" in ran.out
    assert "The warm-up was everything" not in ran.err
    assert not (tmp_path / "r" / "COMPLETE").exists()
    going_on = ran.next.split()
    assert going_on[:2] == ["pairuni-eval", "run"]
    done = cli(*going_on[1:])
    assert done.code == 0, done.err
    assert (tmp_path / "r" / "COMPLETE").is_file()


def test_a_plan_whose_warm_up_is_everything_says_so(
    cli: Any, untrained: Path, tmp_path: Path
) -> None:
    arguments = ["--checkpoint", untrained, "--benchmarks", "tiny-wise", "--limit", 2]
    ran = cli("run", *arguments, "--out", "r", "--plan")
    assert ran.code == 0, ran.err
    cells = [line.split("│") for line in ran.err.splitlines() if "tiny-wise" in line]
    # Two prompts of one draw each, a question about each.
    assert [cell.strip() for cell in cells[0][1:-1]] == ["tiny-wise", "0", "0:00", "2", "-"]
    assert "The warm-up was everything: all outputs are made, grading is left." in ran.err


def test_no_command_shows_the_help(cli: Any) -> None:
    said = cli()
    assert "Usage" in said.out + said.err


@pytest.mark.parametrize("given", ["", ",", " , "])
def test_a_list_of_benchmarks_without_a_name_is_refused(cli: Any, given: str) -> None:
    ran = cli("run", "--checkpoint", "tiny", "--benchmarks", given)
    assert ran.code == 2
    assert ran.error == f"--benchmarks '{given}' names nothing."
    assert ran.next == "See the names: pairuni-eval list benchmarks"


def test_a_log_hears_how_far_a_run_is(
    cli: Any, write_script: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pairuni_eval.progress.EVERY", 0.0005)
    arguments = ["--checkpoint", write_script(GREETING), "--benchmarks", "tiny-pope"]
    ran = cli("run", *arguments, "--limit", 200, "--baseline", "none")
    assert ran.code == 0, ran.err
    assert re.search(r"(?m)^reading tiny-pope: [\d,]+ done, [\d,.]+/s", ran.err)
    assert re.search(r"(?m)^outputs( tiny-pope \([\d.]+/s\))?: \d+ of 200 done", ran.err)
    assert re.search(r"(?m)^grading( tiny-pope@\S+)?: \d+ of 800 done", ran.err)
    assert re.search(r"(?m)^writing the report: ", ran.err)


def test_a_short_run_says_no_more_than_before(cli: Any, write_script: Any) -> None:
    arguments = ["--checkpoint", write_script(GREETING), "--benchmarks", "tiny-pope"]
    ran = cli("run", *arguments, "--limit", 4, "--baseline", "none", "--out", "r")
    assert " so far" not in ran.err
    assert " done, " not in ran.err
