"""Writes what the pages take from the code: `python docs/from_code.py`, in the tree's root.

docs/cli.md is made whole, from the two command lines. In other pages the lines between
`<!-- from code: NAME -->` and `<!-- end -->` are: the fields of stored records, the names of
`pairuni_eval.api`, the tasks of lmms-eval whose rules are known, and the plugin of the tests. A
test holds the pages to it.
"""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import msgspec
import typer
from typer.cli import get_docs_for_click

from pairuni_eval import api, records
from pairuni_eval.cli import app as eval_app
from pairuni_eval.lmms.known_tasks import known_tasks
from pairuni_eval.report.schema import attributes
from pairuni_eval.store import evaluations, seal, training
from pairuni_train.cli import app as train_app

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PLUGIN = ROOT / "tests" / "plugin" / "package"
_PART = re.compile(r"(<!-- from code: ([\w.]+) -->\n).*?(<!-- end -->)", re.DOTALL)
_LANGUAGES = {".py": "python", ".toml": "toml"}


def pages() -> dict[Path, str]:
    """Every page that is made of the code, whole or in parts, as it should be."""
    made = {DOCS / "cli.md": command_lines()}
    for path in sorted(DOCS.glob("*.md")):
        text = path.read_text(encoding="utf-8")
        if path not in made and _PART.search(text):
            made[path] = _PART.sub(lambda found: f"{found[1]}\n{part(found[2])}\n{found[3]}", text)
    return made


def part(name: str) -> str:
    """The lines that a page asks for by a name."""
    kind, _, rest = name.partition(".")
    return PARTS[kind](rest)


def command_lines() -> str:
    """The page of both command lines, by typer's own `utils docs`."""
    parts = [
        "# Command lines\n\n"
        "Every command with its options, as `--help` prints them. Made from the code by\n"
        "`python docs/from_code.py`. An option means the same in all commands that have it.\n"
    ]
    for name, app in (("pairuni-eval", eval_app), ("pairuni-train", train_app)):
        command = typer.main.get_command(app)
        keep_summaries_whole(command)
        context = typer.Context(command, info_name=name)
        parts.append(get_docs_for_click(obj=command, ctx=context, name=name, indent=1))
    lines = "\n".join(parts).splitlines()
    return re.sub(r"\n{3,}", "\n\n", "\n".join(line.rstrip() for line in lines)).rstrip() + "\n"


def keep_summaries_whole(command: Any) -> None:
    """Let lists of commands hold what each is for as a whole: typer cuts it after 45 characters."""
    for inner in getattr(command, "commands", {}).values():
        inner.short_help = " ".join((inner.help or "").partition("\n\n")[0].split())
        keep_summaries_whole(inner)


def fields(name: str) -> str:
    """The fields of a stored record, with the words of its docstring."""
    homes = (records, seal, training, evaluations)
    kind = next(getattr(home, name) for home in homes if hasattr(home, name))
    words = attributes(kind)
    rows = [
        f"| `{field.encode_name}` | {words.get(field.name, '')} |"
        for field in msgspec.structs.fields(kind)
    ]
    return "\n".join(["| Field | Meaning |", "|---|---|", *rows]) + "\n"


def first_sentence(thing: object) -> str:
    """The first line of a docstring."""
    return (inspect.getdoc(thing) or "").partition("\n")[0]


def names(module: str) -> str:
    """What a module of the API offers: the classes and functions, each with its first line."""
    surface = import_module(f"pairuni_eval.api.{module}") if module else api
    offered = getattr(surface, "__all__", None) or [
        name for name, thing in vars(surface).items() if not name.startswith("_")
    ]
    rows = [
        f"| `{name}` | {first_sentence(thing)} |"
        for name in sorted(offered, key=str.lower)
        if inspect.isclass(thing := getattr(surface, name)) or inspect.isroutine(thing)
    ]
    return "\n".join(["| Name | What it is |", "|---|---|", *rows]) + "\n"


def modules(_: str) -> str:
    """The further modules of the API."""
    found = sorted(path for path in Path(str(api.__file__)).parent.glob("[a-z]*.py"))
    rows = []
    for path in found:  # read and not imported: one of them waits for torch
        words = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
        rows.append(f"| `pairuni_eval.api.{path.stem}` | {words.partition(chr(10))[0]} |")
    return "\n".join(["| Module | What it offers |", "|---|---|", *rows]) + "\n"


def plugin(_: str) -> str:
    """The files of the example package, each as a block."""

    def blocks() -> Iterator[str]:
        for path in sorted(PLUGIN.rglob("*"), key=lambda path: (len(path.parts), path)):
            name = path.relative_to(PLUGIN)
            if (
                path.suffix in _LANGUAGES
                and path.name != "__init__.py"
                and "build" not in name.parts
            ):
                text = path.read_text(encoding="utf-8").rstrip()
                yield f"`{name.as_posix()}`:\n\n```{_LANGUAGES[path.suffix]}\n{text}\n```\n"

    return "\n".join(blocks())


def tasks(_: str) -> str:
    """What is known of tasks of lmms-eval beyond their files."""
    rows = [
        f"| {one.title} | `lmms:{name}` | {one.summary} | {one.protocol} |"
        for name, one in known_tasks().items()
    ]
    return "\n".join(["| | Benchmark | Asks | Read |", "|---|---|---|---|", *rows, ""])


PARTS: dict[str, Callable[[str], str]] = {
    "fields": fields,
    "names": names,
    "modules": modules,
    "plugin": plugin,
    "known_tasks": tasks,
}

if __name__ == "__main__":
    for page, content in pages().items():
        page.write_text(content, encoding="utf-8")
        print(page.relative_to(ROOT))
