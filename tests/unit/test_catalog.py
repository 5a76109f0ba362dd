"""The catalog: every built-in through the public door, near names offered, clear refusals."""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from pairuni_eval import catalog
from pairuni_eval.errors import UserError
from pairuni_eval.models.janus import JanusModel

NAMES = [card.name for card in catalog.all_cards()]

Install = Callable[[str, str, str], None]


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch) -> Install:
    """Add an entry point beside the installed ones."""

    def add(kind: str, name: str, value: str) -> None:
        former = catalog._entry_points

        def found(asked: str) -> list[EntryPoint]:
            own = [EntryPoint(name, value, f"pairuni.{kind}")] if asked == kind else []
            return [*former(asked), *own]

        monkeypatch.setattr(catalog, "_entry_points", found)

    return add


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An importable package of benchmarks with one folder, a copy of tiny-pope's card."""
    root = tmp_path / "strange_benchmarks"
    folder = root / "strange_pope"
    folder.mkdir(parents=True)
    card = (catalog.benchmark_folders()["tiny-pope"].folder / "card.toml").read_text()
    (folder / "card.toml").write_text(card.replace('name = "tiny-pope"', 'name = "strange-pope"'))
    (root / "__init__.py").touch()
    (folder / "__init__.py").touch()
    monkeypatch.syspath_prepend(str(tmp_path))
    yield root
    for name in [name for name in sys.modules if name.startswith("strange_benchmarks")]:
        del sys.modules[name]


def test_the_worlds_of_this_package_are_there() -> None:
    assert {"pope", "mmstar", "geneval"} <= set(NAMES)
    assert {n for n in NAMES if n.startswith("tiny-")} == {
        "tiny-mmmu",
        "tiny-mmstar",
        "tiny-mme",
        "tiny-pope",
        "tiny-geneval",
        "tiny-geneval-more",
        "tiny-wise",
        "tiny-imgedit",
        "tiny-heldout-questions",
        "tiny-heldout-drawings",
        "tiny-tuning-questions",
        "tiny-tuning-drawings",
    }


@pytest.mark.parametrize("name", NAMES)
def test_every_built_in_loads_and_carries_its_own_card(name: str) -> None:
    benchmark = catalog.load_benchmark(name)
    assert benchmark.card == catalog.find_card(name)
    assert benchmark.card.tiny == name.startswith("tiny-")


@pytest.mark.parametrize(
    ("asked", "near"), [("tiny-pop", "tiny-pope"), ("geneva", "geneval"), ("MMStar", "mmstar")]
)
def test_an_unknown_benchmark_offers_the_nearest(asked: str, near: str) -> None:
    with pytest.raises(UserError, match=f"Unknown benchmark '{asked}'. Did you mean '{near}'"):
        catalog.find_card(asked)


def test_an_unknown_suite_offers_the_nearest() -> None:
    with pytest.raises(UserError, match="Did you mean 'smoke'"):
        catalog.find_suite("smokes")


def test_every_name_in_a_suite_of_the_world_is_a_benchmark() -> None:
    for name in ("tiny", "smoke"):
        assert set(catalog.find_suite(name).benchmarks) <= set(NAMES)


def test_built_in_models_come_through_entry_points() -> None:
    assert catalog.plugin_names("models")["janus"] == "pairuni_eval.models.janus:JanusModel"
    assert catalog.load_plugin("models", "janus") is JanusModel


def test_an_unknown_plugin_offers_the_nearest_and_the_list() -> None:
    with pytest.raises(UserError, match=r"Unknown model 'januz'\. Did you mean 'janus'") as caught:
        catalog.load_plugin("models", "januz")
    assert caught.value.hint == "See them all: pairuni-eval list models"


def test_a_plugin_that_lacks_a_package_names_it(install: Install, package: Path) -> None:
    (package / "model.py").write_text("import not_here_at_all\n")
    install("models", "strange", "strange_benchmarks.model:M")
    with pytest.raises(UserError, match="not_here_at_all") as caught:
        catalog.load_plugin("models", "strange")
    assert caught.value.hint == "pip install 'not_here_at_all'"


def test_a_plugin_without_its_object_is_refused(install: Install) -> None:
    install("judges", "strange", "pairuni_eval.tiny.judge:Missing")
    with pytest.raises(UserError, match="Missing"):
        catalog.load_plugin("judges", "strange")


def test_a_strangers_benchmark_is_found_without_importing_it(
    install: Install, package: Path
) -> None:
    (package / "strange_pope" / "benchmark.py").write_text("raise RuntimeError('imported')\n")
    install("benchmarks", "strange", "strange_benchmarks")
    assert catalog.find_card("strange-pope").expected == catalog.find_card("tiny-pope").expected


def test_two_benchmarks_of_one_name_are_refused(install: Install, package: Path) -> None:
    install("benchmarks", "one", "strange_benchmarks")
    install("benchmarks", "two", "strange_benchmarks")
    with pytest.raises(UserError, match="Two packages bring a benchmark 'strange-pope'"):
        catalog.all_cards()


def test_a_card_whose_name_is_not_its_folders_is_refused(install: Install, package: Path) -> None:
    (package / "strange_pope").rename(package / "other_name")
    install("benchmarks", "strange", "strange_benchmarks")
    with pytest.raises(UserError, match="the folder says 'other-name'"):
        catalog.find_card("other-name")


@pytest.mark.parametrize(
    ("code", "told"),
    [
        ("x = 1\n", "expected one subclass of Benchmark, found 0"),
        (
            "from pairuni_eval.api import Benchmark\n"
            "class A(Benchmark): ...\nclass B(Benchmark): ...\n",
            "found 2",
        ),
        ("import not_here_at_all\n", "not_here_at_all"),
        (None, "cannot be imported"),
    ],
)
def test_a_benchmark_without_its_code_is_refused(
    install: Install, package: Path, code: str | None, told: str
) -> None:
    if code is not None:
        (package / "strange_pope" / "benchmark.py").write_text(code)
    install("benchmarks", "strange", "strange_benchmarks")
    with pytest.raises(UserError, match=told):
        catalog.load_benchmark("strange-pope")


def test_an_entry_point_to_nowhere_is_named(install: Install) -> None:
    install("benchmarks", "gone", "no_such_package")
    with pytest.raises(UserError, match=r"'gone'.*'no_such_package', which is not installed"):
        catalog.all_cards()


def test_the_registry_is_not_imported_under_its_folders_name() -> None:
    assert "registry" not in sys.modules
