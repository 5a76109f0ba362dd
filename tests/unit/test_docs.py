"""The pages say what the tree has: made parts are current, and what they name is there."""

from __future__ import annotations

import ast
import importlib.util
import re
from functools import cache
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from pairuni_eval.store import layout

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(DOCS.glob("*.md"))]
QUESTIONS = (
    "advantage",
    "GenEval",
    "per picture",
    "difference real",
    "gradients compared",
    "judge's reply",
    "rollout sampled",
    "show first",
)
WORDS = (
    *("unit", "draw", "protocol", "arm", "recipe", "backbone", "pair", "half", "study", "rollout"),
    *("group", "medoid", "scenario", "advantage", "reward", "policy", "view", "status", "card"),
)
PLACE = re.compile(r"`((?:pairuni_eval|pairuni_train|registry|tests|docs|examples)/[\w./*-]*)`")


def script(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, DOCS / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def text(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def test_what_pages_take_from_the_code_is_current() -> None:
    """Else: python docs/from_code.py."""
    made = script("from_code").pages()
    assert {path.name for path in made} == {"api.md", "cli.md", "lmms-tasks.md", "run_folder.md"}
    for path, content in made.items():
        assert text(path) == content, path.name


def test_nothing_that_is_made_lacks_words() -> None:
    for name in ("run_folder.md", "api.md"):
        assert not re.findall(r"^\| `.*\|  \|$", text(DOCS / name), re.MULTILINE), name


def test_eight_questions_are_answered_by_one_file_each() -> None:
    part = text(DOCS / "architecture.md").partition("## Eight questions")[2]
    rows = re.findall(r"^\| ([^|]+\?) \| `([^`|]+)` \| (`[^|]+`) \|$", part, re.MULTILINE)
    assert len(rows) == len(QUESTIONS)
    for (question, place, there), words in zip(rows, QUESTIONS, strict=True):
        assert words in question
        for name in re.findall(r"`(\w+)`", there):
            assert holders(name, Path(place).suffix) == [place], name


def holders(name: str, suffix: str) -> list[str]:
    """The files of the product that hold what goes by a name, and that anybody asks for it.

    A function or class is held where it is defined, once another file imports it from there, or the
    catalog does, which loads a benchmark by its file; a part of a page where its block is filled.
    """
    if suffix == ".j2":
        files = (ROOT / "pairuni_eval" / "report" / "templates").glob("report.*.j2")
        block = f"{{% block {name} %}}"
        return [str(path.relative_to(ROOT)) for path in files if block in text(path)]
    definitions, imports = names_of_the_product()
    defined, asked = definitions.get(name, []), imports.get(name, set())
    asked = asked | {place for place in defined if place.name == "benchmark.py"}
    return [str(place) for place in defined if place in asked]


@cache
def names_of_the_product() -> tuple[dict[str, list[Path]], dict[str, set[Path]]]:
    """The files that define each name, and those that others import it from."""
    defined: dict[str, list[Path]] = {}
    asked: dict[str, set[Path]] = {}
    for package in ("pairuni_eval", "pairuni_train", "registry"):
        for path in sorted((ROOT / package).rglob("*.py")):
            for node in ast.parse(text(path)).body:
                if isinstance(node, ast.FunctionDef | ast.ClassDef):
                    defined.setdefault(node.name, []).append(path.relative_to(ROOT))
                if isinstance(node, ast.ImportFrom) and node.module:
                    place = Path(*node.module.split(".")).with_suffix(".py")
                    for one in node.names:
                        asked.setdefault(one.name, set()).add(place)
    return defined, asked


def test_the_run_folder_is_named_file_by_file() -> None:
    page = text(DOCS / "run_folder.md")
    named = [value for name, value in vars(layout).items() if name.isupper() and name[0] != "_"]
    for value in named:
        for one in (value,) if isinstance(value, str) else value:
            assert one in page, one


def test_the_glossary_has_each_word_once_and_in_order() -> None:
    page = text(DOCS / "glossary.md")
    tables = [re.findall(r"^\| ([^|]+) \| ", part, re.MULTILINE)[1:] for part in page.split("## ")]
    for words in tables:
        assert words == sorted(words, key=str.lower)
    every = [word for words in tables for word in words]
    assert len(every) == len(set(every))
    assert set(WORDS) <= set(every)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_file_that_a_page_names_exists(page: Path) -> None:
    for place in PLACE.findall(text(page)):
        assert list(ROOT.glob(place.rstrip("/"))), place


def test_a_link_of_the_site_leads_to_a_page_or_says_where_the_file_is() -> None:
    site = script("site_pages")
    first = SimpleNamespace(file=SimpleNamespace(src_uri="index.md"))
    page = SimpleNamespace(file=SimpleNamespace(src_uri="training.md"))

    def on(place: SimpleNamespace, words: str) -> str:
        return str(site.on_page_markdown(words, place))

    assert on(first, "[S](docs/statistics.md#two-runs)") == "[S](statistics.md#two-runs)"
    assert on(first, "[more](registry/geneval/card.toml)") == "more (`registry/geneval/card.toml`)"
    assert on(first, "![a](docs/report.png)") == "![a](report.png)"
    assert on(page, "[extra](../README.md#extras)") == "[extra](index.md#extras)"
    assert on(page, "[J](judges.md)") == "[J](judges.md)"
    assert on(page, "[nowhere](nowhere.md)") == "[nowhere](nowhere.md)"
    assert on(page, "[paper](https://arxiv.org/abs/1)") == "[paper](https://arxiv.org/abs/1)"


def test_a_package_is_pinned_in_one_file_of_constraints() -> None:
    """pip takes both files at once, and refuses two versions of one package."""
    pinned = [
        re.findall(r"^([\w.-]+)==", (ROOT / name).read_text(encoding="utf-8").lower(), re.MULTILINE)
        for name in ("constraints.txt", "constraints-lmms.txt")
    ]
    ours, lmms = ({name.replace("_", "-") for name in names} for names in pinned)
    assert len(ours) > 50 and len(lmms) > 50
    assert not ours & lmms
