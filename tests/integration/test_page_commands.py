"""The commands of a page, typed in order in an empty folder, make the page again."""

from __future__ import annotations

import html
import re
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import typer
from support import example_run as example
from support.command_line import Ran

from pairuni_eval.cli import app as eval_app
from pairuni_eval.errors import UserError
from pairuni_eval.named_runs import located, opened
from pairuni_eval.report.rerun import reruns
from pairuni_eval.report.seeds import Seeds
from pairuni_eval.store.read import StoredRun
from pairuni_eval.store.training import SETTINGS
from pairuni_train.cli import app as train_app

Typed = Callable[[str], Ran]
APPS = {"pairuni-eval": eval_app, "pairuni-train": train_app}
SAME = ("summary.json", "report.md", "report.html", "metrics.csv")
FORM = re.compile(r"(?<![\w-])[A-Z]{3,}(?![\w-])")  # a word that only the reader can fill in


@pytest.fixture
def typed(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Typed:
    """A line as a shell takes it, run in this process."""
    from pairuni_eval.cli import main as evaluate
    from pairuni_train.cli import main as train

    def run(line: str) -> Ran:
        words = shlex.split(line)
        monkeypatch.setattr(sys, "argv", words)
        capfd.readouterr()
        code = 0
        try:
            {"pairuni-eval": evaluate, "pairuni-train": train}[words[0]]()
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else int(bool(end.code))
        said = capfd.readouterr()
        return Ran(code, said.out, said.err)

    return run


def works(typed: Typed, line: str) -> None:
    ran = typed(line)
    assert ran.code == 0, f"{line}\n{ran.err}"


def commands(report: Path) -> list[str]:
    """The commands of a page, which its Markdown has as well."""
    page, markdown = (report / "report.html").read_text(), (report / "report.md").read_text()
    found = [
        html.unescape(one) for one in re.findall(r'<pre class="command"[^>]*><code>(.*?)<', page)
    ]
    assert found == re.findall(r"```\n(pairuni-.*?)\n```", markdown)
    return found


def check_in_line(report: Path) -> None:
    """Commands within sentences can be typed too; the words of a form are the reader's."""
    page = (report / "report.html").read_text()
    for line in map(html.unescape, re.findall(r"<code>(pairuni-.*?)</code>(?!</pre>)", page)):
        first, *rest = shlex.split(FORM.sub("1", line))
        command: Any = typer.main.get_command(APPS[first])
        while hasattr(command, "commands"):
            command, rest = command.commands[rest[0]], rest[1:]
        assert command.make_context("x", rest) is not None, line


def made_again(typed: Typed, report: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Type a page's commands in an empty folder: the last one makes the same page."""
    folder.mkdir()
    monkeypatch.chdir(folder)
    for line in commands(report):
        assert not FORM.search(line), line
        works(typed, line)
    for name in SAME:
        again = folder / "reports" / report.name / name
        assert again.read_bytes() == (report / name).read_bytes(), name


def test_a_page_with_a_packed_baseline_and_another_is_made_again(
    tmp_path: Path, typed: Typed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run = "pairuni-eval run --checkpoint tiny --benchmarks tiny-pope --limit 2"
    works(typed, f"{run} --baseline none --seed 1 --out elsewhere/other")
    packed = "'random pair=suite:tiny/random pair'"
    works(typed, f"{run} --baseline {packed} --baseline other=elsewhere/other --out here/mine")
    page = (tmp_path / "reports/mine/report.md").read_text()
    assert "It is packed with the package, which knows it as suite:tiny/random pair." in page
    assert str(tmp_path) not in page
    check_in_line(tmp_path / "reports/mine")
    works(typed, commands(tmp_path / "reports/mine")[-1])  # where the runs lie, as it stands
    assert (tmp_path / "reports/mine/report.md").read_text() == page
    made_again(typed, tmp_path / "reports/mine", tmp_path / "empty", monkeypatch)


@pytest.mark.slow
def test_a_page_of_a_trained_checkpoint_is_made_again(
    tmp_path: Path, typed: Typed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    works(typed, "pairuni-train run --arm grpo --recipe tiny --steps 2 --out runs/trained")
    run = "pairuni-eval run --benchmarks tiny-pope --limit 2"
    works(typed, f"{run} --checkpoint tiny --out runs/base")
    works(typed, f"{run} --checkpoint runs/trained/checkpoint-2 --baseline base=runs/base")
    (report,) = (tmp_path / "reports").glob("trained-checkpoint-2*")
    assert commands(report)[0].startswith("pairuni-train run --arm grpo --recipe tiny ")
    made_again(typed, report, tmp_path / "empty", monkeypatch)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "small"), [("figure4", "--steps 2"), ("figure8", "--batches 2 --steps 2")]
)
def test_the_command_of_an_experiment_makes_its_page(
    tmp_path: Path, typed: Typed, monkeypatch: pytest.MonkeyPatch, name: str, small: str
) -> None:
    monkeypatch.chdir(tmp_path)
    works(typed, f"pairuni-train reproduce {name} --seeds 1 {small} --root elsewhere --out first")
    page = (tmp_path / "first/figure.md").read_text()
    (command,) = re.findall(r"```\n(pairuni-.*?)\n```", page)
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    works(typed, command)
    assert (tmp_path / f"empty/reports/{name}-tiny-names/figure.md").read_text() == page


# What is printed of other runs


def test_runs_of_one_name_are_written_into_folders_of_their_own(tmp_path: Path) -> None:
    runs = [StoredRun(example.write_run(tmp_path / str(n), name="a b", count=2)) for n in range(3)]
    found = reruns(runs[0], {"a b": runs[1]}, {}, seeds=Seeds(ours=[runs[2]]))
    places = [shlex.split(one.command or "")[-1] for one in found[:3]]
    assert places == ["runs/a-b", "runs/a-b-2", "runs/a-b-3"]
    assert found[3].command == (
        "pairuni-eval report runs/a-b --sibling runs/a-b-2 --baseline 'a b=runs/a-b-3'"
    )


def test_a_run_is_named_by_the_folder_that_it_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Below the reader's own folder, whatever its name is; a path from outside is not printed."""
    monkeypatch.chdir(tmp_path)
    for folder in ("old/one", "-two", "three"):
        example.write_run(tmp_path / folder, name="one", count=2)
    named = [StoredRun(Path(folder)) for folder in ("old/one", "-two")]
    outside = StoredRun(tmp_path / "three")
    found = reruns(named[0], {"two": named[1], "three": outside}, {})
    assert [shlex.split(one.command or "")[-1] for one in found[:3]] == [
        *("old/one", "./-two", "runs/three")
    ]
    assert found[3].command == (
        "pairuni-eval report old/one --baseline two=./-two --baseline three=runs/three"
    )
    assert found[3].note == "It reads the runs where the commands above write them."
    assert reruns(named[0], {"two": named[1]}, {})[-1].note == ""


def test_a_page_without_baselines_does_not_get_those_of_its_suite(tmp_path: Path) -> None:
    run = StoredRun(example.write_run(tmp_path / "run", count=2))
    assert reruns(run, {}, {})[-1].command == "pairuni-eval report runs/tiny --baseline none"


SETTINGS_OF = """{"arm": {"name": "grpo"}, "seed": 3, "pairs": "abc",
"recipe": {"name": "janus-pro-1b", "steps": 7, "pairs": null}}"""


def test_what_only_the_reader_has_is_said_beside_the_command(tmp_path: Path) -> None:
    """Pairs of one's own, a training without settings, a pair set that was looked through."""
    run = StoredRun(example.write_run(tmp_path / "run", count=2))
    trained, probed = tmp_path / "trained", tmp_path / "probed"
    for folder in (trained, probed):
        folder.mkdir()
    (trained / SETTINGS).write_text(SETTINGS_OF)
    (trained / "metrics.jsonl").write_text('{"step": 0}\n')
    found = reruns(run, {}, {"grpo": [trained], "probe": [probed]}, pairs=True)
    assert found[0].command == (
        "pairuni-train run --arm grpo --recipe janus-pro-1b --steps 7 --seed 3 "
        "--pairs PAIRS --out runs/grpo-janus-pro-1b-seed3"
    )
    assert found[0].note == "PAIRS is the pair set of SHA-256 abc."
    assert "--training grpo=runs/grpo-janus-pro-1b-seed3" in (found[-1].command or "")
    assert found[-1].note == (
        "It reads the runs where the commands above write them. "
        "The page was made with --training probe=FOLDER and --pairs FILE of its pair set as well."
    )


def test_the_address_of_a_shipped_baseline() -> None:
    run = opened("suite:tiny/GRPO")
    assert run.address == "suite:tiny/GRPO" and run.packed
    assert run.printed_name == "GRPO" != run.card.name
    assert opened(located("suite:tiny/GRPO")).address is None
    with pytest.raises(UserError, match=r"baseline 'GRP' of the suite 'tiny'\. Did you mean"):
        located("suite:tiny/GRP")
    with pytest.raises(UserError, match=r"Unknown suite 'tyni'\. Did you mean"):
        located("suite:tyni/GRPO")
