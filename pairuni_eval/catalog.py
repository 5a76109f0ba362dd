"""Finds benchmarks, families of them, models, judges, rewards, weightings and encoders by name.

Built-ins and strangers enter through the same door, the entry points of installed packages:

    [project.entry-points."pairuni.benchmarks"]
    acme = "acme.benchmarks"          # a package: each sub-folder with a card.toml is a benchmark
    [project.entry-points."pairuni.models"]
    acme = "acme.model:AcmeModel"     # the name is the `model_type` of its config.json, or --model
    [project.entry-points."pairuni.judges"]
    acme = "acme.judge:AcmeJudge"
    [project.entry-points."pairuni.families"]
    acme = "acme.tasks:AcmeTasks"     # a `Family`: makes the benchmark of every name "acme:..."

Cards and suites are read without importing any plugin code; code is imported when it is used.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Iterator
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol

from pairuni_eval.benchmark import Benchmark
from pairuni_eval.cards import Card, Suite, read_card, read_suite
from pairuni_eval.errors import UserError, unknown_name
from pairuni_eval.extras import extra_of, needs

Kind = Literal["models", "judges", "rewards", "weightings", "encoders", "families"]
_SHIPPED = "suite:"  # how the address of a suite's baseline begins
_FAMILY = ":"  # what stands between the name of a family and that of its benchmark


class BenchmarkFolder(NamedTuple):
    """A benchmark folder: the package that holds it and where it lies."""

    package: str
    folder: Path


class Family(Protocol):
    """Benchmarks that are made on demand, e.g. one for every task of another toolkit.

    An entry point of the group `pairuni.families` names such a class. Its benchmarks are called
    FAMILY:NAME and are not listed; what they import is imported when one is asked for.
    """

    @classmethod
    def load(cls, name: str) -> Benchmark:
        """The benchmark FAMILY:NAME, whose card carries that full name.

        Args:
            name: What stands after the colon.

        Raises:
            UserError: if there is no such benchmark, with the nearest name that there is.
        """
        ...


@cache
def _installed(kind: str, places: tuple[str, ...]) -> list[EntryPoint]:  # noqa: ARG001
    """What the packages in these places declare; read once, because it takes ten milliseconds."""
    return sorted(entry_points(group=f"pairuni.{kind}"), key=lambda entry: entry.name)


def _entry_points(kind: str) -> list[EntryPoint]:
    return _installed(kind, tuple(sys.path))


def _registry_folders() -> Iterator[BenchmarkFolder]:
    """The package folders that benchmark entry points name, without importing them."""
    for entry in _entry_points("benchmarks"):
        try:
            spec = importlib.util.find_spec(entry.value)
        except ImportError:
            spec = None
        if spec is None or not spec.submodule_search_locations:
            raise UserError(
                f"The entry point pairuni.benchmarks '{entry.name}' names the package "
                f"'{entry.value}', which is not installed.",
                hint=f"pip uninstall {entry.dist.name if entry.dist else entry.name}",
            )
        for location in spec.submodule_search_locations:
            yield BenchmarkFolder(entry.value, Path(location))


def registry_roots() -> list[Path]:
    """The folders of all installed registries, without importing them."""
    return [found.folder for found in _registry_folders()]


def benchmark_folders() -> dict[str, BenchmarkFolder]:
    """Every benchmark folder by name.

    Raises:
        UserError: if two packages bring a benchmark of the same name.
    """
    found: dict[str, BenchmarkFolder] = {}
    for package, root in _registry_folders():
        for card_path in sorted([*root.glob("card.toml"), *root.glob("*/card.toml")]):
            folder = card_path.parent
            inner = package if folder == root else f"{package}.{folder.name}"
            name = folder.name.replace("_", "-")
            if name in found:
                raise UserError(
                    f"Two packages bring a benchmark '{name}': {found[name].folder} and {folder}.",
                    hint="Uninstall one of them.",
                )
            found[name] = BenchmarkFolder(inner, folder)
    return found


def find_card(name: str) -> Card:
    """The card of a benchmark; UserError with the nearest name if there is none."""
    if _FAMILY in name:
        return _load_member(name).card
    return _card(name, benchmark_folders())


def all_cards() -> list[Card]:
    """The cards of all benchmarks, sorted by name."""
    folders = benchmark_folders()
    return [_card(name, folders) for name in sorted(folders)]


def _card(name: str, folders: dict[str, BenchmarkFolder]) -> Card:
    if name not in folders:
        raise unknown_name("benchmark", name, folders, list_command="pairuni-eval list benchmarks")
    path = folders[name].folder / "card.toml"
    card = read_card(path)
    if card.name != name:
        raise UserError(f"{path}: name is '{card.name}' but the folder says '{name}'.")
    return card


def _load_member(name: str) -> Benchmark:
    """A benchmark of a family."""
    prefix, _, member = name.partition(_FAMILY)
    known = plugin_names("families")
    if prefix not in known:
        raise unknown_name(
            "benchmark family", prefix, known, list_command="pairuni-eval list benchmarks"
        )
    family: type[Family] = load_plugin("families", prefix)
    benchmark = family.load(member)
    if benchmark.card.name != name:
        raise UserError(
            f"The family '{prefix}' ({known[prefix]}) made '{benchmark.card.name}' for '{name}'."
        )
    return benchmark


def load_benchmark(name: str) -> Benchmark:
    """Import a benchmark's code and hand it its card.

    Raises:
        UserError: if its benchmark.py cannot be imported or does not define exactly one subclass
            of `Benchmark`.
    """
    if _FAMILY in name:
        return _load_member(name)
    folders = benchmark_folders()
    card = _card(name, folders)
    try:
        module = importlib.import_module(f"{folders[name].package}.benchmark")
    except ImportError as failure:
        raise UserError(
            f"The benchmark '{name}' in {folders[name].folder} cannot be imported: {failure}.",
            hint="A benchmark is a folder with card.toml and benchmark.py.",
        ) from failure
    classes = [
        value
        for value in vars(module).values()
        if isinstance(value, type)
        and issubclass(value, Benchmark)
        and value.__module__ == module.__name__
    ]
    if len(classes) != 1:
        raise UserError(
            f"{module.__file__}: expected one subclass of Benchmark, found {len(classes)}."
        )
    return classes[0](card, folders[name].folder)


def suites() -> dict[str, Suite]:
    """Every suite by name, from the `suites` folder of every registry package."""
    found = [
        read_suite(path)
        for _, root in _registry_folders()
        for path in sorted(root.glob("suites/*.toml"))
    ]
    return {suite.name: suite for suite in found}


def find_suite(name: str) -> Suite:
    """The suite of that name; UserError with the nearest name if there is none."""
    known = suites()
    if name not in known:
        raise unknown_name("suite", name, known, list_command="pairuni-eval list suites")
    return known[name]


def suite_baselines(name: str) -> dict[str, Path]:
    """The stored runs that a suite names as its baselines, by printed name; none if it names none.

    Raises:
        UserError: for a baseline that the registry package does not hold.
    """
    from pairuni_eval.store.archive import unpacked  # late: lists do not read runs

    return {printed: unpacked(place) for printed, place in _shipped(name).items()}


def _shipped(name: str) -> dict[str, Path]:
    """As `suite_baselines`, packed as they are."""
    found: dict[str, Path] = {}
    for _, root in _registry_folders():
        for path in sorted(root.glob("suites/*.toml")):
            suite = read_suite(path)
            if suite.name != name:
                continue
            for printed, place in suite.baselines.items():
                if not (root / place).exists():
                    raise UserError(
                        f"{path}: the baseline '{printed}' is not there: {root / place}.",
                        hint="Name other baselines with --baseline NAME=RUN, or install again.",
                    )
                found[printed] = root / place
    return found


def baseline_address(suite: str, name: str) -> str:
    """What names a suite's baseline on every machine, in place of a path."""
    return f"{_SHIPPED}{suite}/{name}"


def shipped_baseline(address: str) -> Path | None:
    """The folder or packed run behind suite:SUITE/NAME; None for what is not such an address.

    Raises:
        UserError: for a suite or a baseline that there is none of, with the nearest name.
    """
    if not address.startswith(_SHIPPED):
        return None
    suite, _, name = address.removeprefix(_SHIPPED).partition("/")
    known = _shipped(find_suite(suite).name)
    if name not in known:
        raise unknown_name(
            "baseline",
            name,
            known,
            of=f"the suite '{suite}'",
            list_command="pairuni-eval list suites",
        )
    return known[name]


def plugin_names(kind: Kind) -> dict[str, str]:
    """Names of the installed plugins of a kind, each with the object it points to."""
    return {entry.name: entry.value for entry in _entry_points(kind)}


def load_plugin(kind: Kind, name: str) -> Any:
    """Import the object that a plugin of that kind and name points to.

    Raises:
        UserError: for an unknown name, a plugin whose import fails, or one whose `extra` is not
            installed.
    """
    plugin = import_plugin(kind, name)
    needs(f"The {_one(kind)} '{name}'", *extra_of(plugin))
    return plugin


def import_plugin(kind: Kind, name: str) -> Any:
    """As `load_plugin`, whether or not its `extra` is installed."""
    by_name = {entry.name: entry for entry in _entry_points(kind)}
    one = _one(kind)
    if name not in by_name:
        raise unknown_name(one, name, by_name, list_command=f"pairuni-eval list {kind}")
    try:
        return by_name[name].load()
    except (ImportError, AttributeError) as failure:
        lacks = failure.name if isinstance(failure, ModuleNotFoundError) else None
        raise UserError(
            f"The {one} '{name}' cannot be imported: {failure}.",
            hint=f"pip install '{lacks}'" if lacks else f"It is {by_name[name].value}.",
        ) from failure


def _one(kind: Kind) -> str:
    return "family" if kind == "families" else kind[:-1]
