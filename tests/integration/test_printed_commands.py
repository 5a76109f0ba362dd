"""What is printed to be typed can be typed: quoted for the shell, with options that exist."""

from __future__ import annotations

import ast
import re
import shlex
import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import typer
from support import ROOT
from support import small_training as small
from support.command_line import Ran

from pairuni_eval.cli import app as eval_app
from pairuni_eval.commands import as_baseline, as_typed
from pairuni_train.cli import app as train_app
from pairuni_train.pair_data.dataset import write_pairs

APPS = {"pairuni-eval": eval_app, "pairuni-train": train_app}
FOLDER = "it's a run"  # a blank and a quote: both take quoting
Typed = Callable[[str], Ran]


@pytest.fixture
def typed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Typed:
    """A line as a shell takes it, run in this process, in a folder with awkward names."""
    from pairuni_eval.cli import main as evaluate
    from pairuni_train.cli import main as train

    monkeypatch.chdir(tmp_path)
    folder = tmp_path / FOLDER
    folder.mkdir()
    (folder / "s.jsonl").write_text('{"prompt": "*", "text": "yes"}\n')
    (folder / "answers.jsonl").write_text('{"id": "random/92", "text": "yes"}\n')

    def run(line: str) -> Ran:
        words = shlex.split(line)
        monkeypatch.setattr(sys, "argv", words)
        capfd.readouterr()
        code: Any = 0
        try:
            {"pairuni-eval": evaluate, "pairuni-train": train}[words[0]]()
        except SystemExit as end:
            code = end.code or 0
        said = capfd.readouterr()
        return Ran(code, said.out, said.err)

    return run


RUN = as_typed(
    *("pairuni-eval", "run", "--checkpoint", f"scripted:{FOLDER}/s.jsonl"),
    *("--benchmarks", "tiny-pope", "--limit", 40, "--baseline", "none", "--out", f"{FOLDER}/r"),
)


def command_in(text: str) -> str:
    """The command at the end of a line: after the sentence before it, if there is one."""
    return text[text.index("pairuni-") :]


def works(typed: Typed, line: str) -> Ran:
    ran = typed(line)
    assert ran.code == 0, f"{line}\n{ran.err}"
    return ran


def test_every_next_line_of_measuring_runs_as_printed(typed: Typed) -> None:
    planned = works(typed, f"{RUN} --plan").next
    # Interrupted here, as it were: the hint of another command says how to go on.
    unfinished = typed(as_typed("pairuni-eval", "show", f"{FOLDER}/r", "random"))
    assert unfinished.code == 2
    assert "not complete" in unfinished.error
    continued = works(typed, command_in(unfinished.next))
    assert works(typed, planned).next == continued.next
    assert works(typed, RUN).next == continued.next

    other = continued.next.replace("OTHER", as_typed(f"scripted:{FOLDER}/s.jsonl"))
    second = as_typed("--benchmarks", "tiny-pope", "--limit", 40, "--out", f"{FOLDER}/second")
    works(typed, f"{other} {second}")

    compared = works(typed, as_typed("pairuni-eval", "compare", f"{FOLDER}/r", f"{FOLDER}/second"))
    works(typed, compared.next)
    missed = typed(as_typed("pairuni-eval", "show", f"{FOLDER}/r", "no such sample"))
    assert missed.code == 2
    shown = works(typed, missed.next)
    works(typed, shown.next)


def test_the_next_line_of_a_shard_runs_as_printed(typed: Typed) -> None:
    first = works(typed, f"{RUN} --shard 1/2")
    assert "outputs of shard 2/2; then grading and the report" in first.out
    over = works(typed, f"{RUN} --shard 2/2")
    assert "Left:   no outputs" in over.out
    works(typed, over.next)
    complete = works(typed, f"{RUN} --shard 2/2")
    assert "which is complete" in complete.out
    works(typed, complete.next)


def test_every_next_line_of_grading_runs_as_printed(typed: Typed) -> None:
    words = ("pairuni-eval", "grade", "--benchmark", "tiny-pope", "--limit", 2)
    first = works(typed, as_typed(*words, "--responses", f"{FOLDER}/answers.jsonl"))
    kept = works(typed, first.next)
    works(typed, kept.next)


def test_every_next_line_of_pairs_runs_as_printed(typed: Typed) -> None:
    works(typed, RUN)
    pairs = f"{FOLDER}/pairug.parquet"
    write_pairs(Path(pairs), small.tiny_pairs(4))
    words = ("pairuni-train", "pairs", "neighbors", pairs, "--run", f"{FOLDER}/r")
    found = works(typed, as_typed(*words, "--encoder", "tiny"))
    works(typed, found.next)
    write_pairs(Path(pairs), small.tiny_pairs(5))  # the neighbors beside it are of another set
    stale = typed(found.next)
    assert stale.code == 2
    works(typed, f"{command_in(stale.next)} --encoder tiny")


PARSED = {
    "fetch": f'pairuni-eval fetch --benchmarks tiny-pope --to "{FOLDER}/data"',
    "validate": f'pairuni-eval validate tiny-pope --limit 2 --data "{FOLDER}"',
    "no pairs": f'pairuni-train run --recipe tiny --pairs "{FOLDER}"',
    "no pairs of a recipe": "pairuni-train run --recipe janus-pro-1b",
    "no scenario": f'pairuni-train probe --checkpoint tiny --pairs "{FOLDER}" --scenario half',
    "no arms": f'pairuni-train baselines --out packed --root "{FOLDER}"',
    "no preset": f'pairuni-train pairs build --out "{FOLDER}"',
    "train's list": "pairuni-train list",
    **{
        f"list {what}": f"pairuni-eval list {what}"
        for what in ("benchmarks", "suites", "models", "judges", "rewards", "encoders")
    },
}


@pytest.mark.parametrize("line", PARSED.values(), ids=PARSED.keys())
def test_a_next_line_that_takes_long_is_taken_by_its_command(typed: Typed, line: str) -> None:
    check(shlex.split(typed(line).next))


def check(words: list[str]) -> None:
    """Raise unless the command line takes the words; nothing of it runs."""
    command = command_of(APPS[words[0]])
    rest, context = words[1:], None
    while hasattr(command, "commands"):
        command, rest = command.commands[rest[0]], rest[1:]
    if rest == ["--help"]:
        return
    context = command.make_context("x", rest)
    assert context is not None


def test_a_folder_with_a_blank_is_one_word() -> None:
    assert shlex.split(as_typed("a", Path("b c"), 3, "it's")) == ["a", "b c", "3", "it's"]


# Options that are named somewhere

FOREIGN = {  # of other programs, which the sentence around them names
    *("--num_processes", "--nproc_per_node", "--cpu", "--mpirun_hostfile", "--launcher"),
    *("--help", "--dist", "--golden", "--logdir", "--tasks", "--model", "--model_args", "--second"),
    *("--socket", "--port", "--requeue", "--nodes", "--gpus-per-node", "--ntasks-per-node"),
    *("--array", "--dependency", "--nnodes", "--rdzv_backend", "--rdzv_id", "--rdzv_endpoint"),
}
OPTION = re.compile(r"(?<![\w-])--[a-z][a-z_-]*[a-z]")


@cache
def command_of(app: typer.Typer) -> Any:
    return typer.main.get_command(app)


@cache
def options(app: typer.Typer) -> frozenset[str]:
    """All long options of a command line."""

    def below(command: Any) -> Iterator[str]:
        for parameter in command.params:
            yield from (*parameter.opts, *parameter.secondary_opts)
        for inner in getattr(command, "commands", {}).values():
            yield from below(inner)

    return frozenset(name for name in below(command_of(app)) if name.startswith("--"))


def hints(path: Path) -> Iterator[tuple[int, str]]:
    """The texts of all `hint=` in a module, a "{}" for each value, and the lines they stand on."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.keyword) and node.arg == "hint":
            yield node.value.lineno, text_of(node.value)


def text_of(node: ast.AST) -> str:
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.JoinedStr):
        return "".join(text_of(part) for part in node.values)
    if isinstance(node, ast.FormattedValue):
        return "{}"
    if isinstance(node, ast.BinOp):
        return text_of(node.left) + text_of(node.right)
    if isinstance(node, ast.Call):
        return " ".join(text_of(part) for part in node.args)
    if isinstance(node, ast.Tuple | ast.List):
        return " ".join(text_of(part) for part in node.elts)
    return "{}"


@pytest.mark.parametrize("side", ["pairuni_eval", "pairuni_train", "registry"])
def test_a_hint_names_options_that_exist(side: str) -> None:
    """What the training side says is for its own commands, unless it names the other program."""
    both = options(eval_app) | options(train_app) | FOREIGN
    for path in sorted((ROOT / side).rglob("*.py")):
        for line, text in hints(path):
            foreign = side != "pairuni_train" or "pairuni-eval" in text
            known = both if foreign else options(train_app) | FOREIGN
            for option in OPTION.findall(text):
                assert option in known, f"{path}:{line}: {option}"


def test_hints_are_found() -> None:
    found = [text for path in (ROOT / "pairuni_train").rglob("*.py") for _, text in hints(path)]
    assert any("--set" in text for text in found)


DOCUMENTS = [
    "README.md",
    "CONTRIBUTING.md",
    *(f"docs/{p.name}" for p in (ROOT / "docs").glob("*.md")),
]


@pytest.mark.parametrize("name", DOCUMENTS)
def test_a_page_names_options_that_exist(name: str) -> None:
    known = options(eval_app) | options(train_app) | FOREIGN
    text = (ROOT / name).read_text(encoding="utf-8")
    for option in OPTION.findall(text):
        assert option in known, option


@pytest.mark.parametrize("name", DOCUMENTS)
def test_a_command_of_a_page_is_taken(name: str) -> None:
    """Each line of a code block that calls one of our programs, continued lines joined.

    Or that has a launcher call it.
    """
    text = (ROOT / name).read_text(encoding="utf-8").replace("\\\n", " ")
    for language, block in re.findall(r"^```(\w*)\n(.*?)^```", text, re.DOTALL | re.MULTILINE):
        for line in () if language else block.splitlines():
            for part in line.split("&&"):
                words = shlex.split(part, comments=True)
                _, launched, rest = part.partition(" -m pairuni_eval ")
                if launched:
                    words = ["pairuni-eval", *shlex.split(rest, comments=True)]
                if words and words[0] in APPS:
                    check(words)


def test_what_the_reward_lacks_names_a_way_that_exists(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The hint of HPS: training has no --data, the reward has an option `data`."""
    from pairuni_eval.config import read_assignments
    from pairuni_eval.errors import UserError
    from pairuni_train.config import find_recipe
    from pairuni_train.grpo.image_rewards import Hps

    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError) as refused:
        Hps.load({"data": str(tmp_path)})
    hint = refused.value.hint or ""
    assert "--data" not in hint
    found = re.search(r"--set '([^']+)'", hint)
    assert found
    (reward,) = find_recipe("tiny", read_assignments([found[1]])).gen.rewards
    assert (reward.name, reward.options) == ("hps", {"data": "DIR"})


def test_printed_folders_can_be_typed_again() -> None:
    assert as_typed("--out", Path("-g")) == "--out ./-g"
    assert as_typed("--out", Path("a/-g"), "-g") == "--out a/-g -g"
    assert as_baseline(Path("runs/lr=1e-4")) == "lr-1e-4=runs/lr=1e-4"
    assert as_baseline(Path("runs/a")) == "a=runs/a"
