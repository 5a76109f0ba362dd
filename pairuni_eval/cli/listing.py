"""`pairuni-eval list` and `version`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pairuni_eval import __version__
from pairuni_eval.cli import options

if TYPE_CHECKING:
    from pathlib import Path

    from pairuni_eval.cards import Card
    from pairuni_eval.catalog import BenchmarkFolder


class Listing(StrEnum):
    """What `list` can show."""

    BENCHMARKS = "benchmarks"
    SUITES = "suites"
    MODELS = "models"
    JUDGES = "judges"
    REWARDS = "rewards"
    WEIGHTINGS = "weightings"
    ENCODERS = "encoders"


_NEXT = {
    Listing.BENCHMARKS: "pairuni-eval run --checkpoint tiny --benchmarks tiny-mmmu,tiny-pope",
    Listing.SUITES: "pairuni-eval run --checkpoint tiny --suite tiny",
    Listing.MODELS: "pairuni-eval run --checkpoint tiny --model janus",
    Listing.JUDGES: "pairuni-eval run --checkpoint tiny --benchmarks tiny-wise --judge tiny",
    Listing.REWARDS: "pairuni-train list",
    Listing.WEIGHTINGS: "pairuni-train list",
    Listing.ENCODERS: "pairuni-train pairs build --help",
}


def list_command(
    what: Annotated[Listing, typer.Argument(help="What to list.")] = Listing.BENCHMARKS,
    data: options.Data = None,
    as_json: Annotated[bool, typer.Option("--json", help="A JSON list on stdout.")] = False,
) -> None:
    """List benchmarks (and whether their data is at hand), suites, models, judges and so on."""
    rows = _rows(what, data)
    if as_json:
        typer.echo(json.dumps(rows, ensure_ascii=False, indent=2))
    else:
        for line in _lines(what, rows):
            typer.echo(line)
        if what is Listing.BENCHMARKS:
            typer.echo(_families(), err=True)
        if not rows:
            typer.echo(f"No {what.value} are installed.", err=True)
    typer.echo(f"Next: {_NEXT[what]}", err=True)


def version() -> None:
    """Print the version."""
    typer.echo(__version__)


def _rows(what: Listing, data: Path | None) -> list[dict[str, Any]]:
    from pairuni_eval import catalog

    if what is Listing.BENCHMARKS:
        folders = catalog.benchmark_folders()
        return [_benchmark(card, folders, data) for card in catalog.all_cards()]
    if what is Listing.SUITES:
        suites = catalog.suites().values()
        return [
            {
                "name": suite.name,
                "title": suite.title,
                "benchmarks": suite.benchmarks,
                "baselines": [
                    catalog.baseline_address(suite.name, name) for name in suite.baselines
                ],
            }
            for suite in suites
        ]
    found = catalog.plugin_names(what.value)  # type: ignore[arg-type]
    return [{"name": name, "target": target} for name, target in found.items()]


def _benchmark(
    card: Card, folders: dict[str, BenchmarkFolder], data: Path | None
) -> dict[str, Any]:
    from pairuni_eval.data import Data

    origin = Data(card, folders[card.name].folder, data).at_hand()
    return {
        "name": card.name,
        "title": card.title,
        "capability": card.capability.value,
        "samples": card.expected,
        "draws": card.draws,
        "protocols": list(card.protocols),
        "judge": card.judge.name if card.judge else None,
        "licence": card.licence,
        "hub": card.data.hub,
        "source": card.data.source,
        "data": origin.kind if origin else None,
    }


def _families() -> str:
    """The prefixes of benchmarks that are made from a name; a wrong name lists the right ones."""
    from pairuni_eval import catalog

    known = ", ".join(f"{prefix}:NAME" for prefix in catalog.plugin_names("families"))
    return f"Made from a name, and not listed: {known}"


def _lines(what: Listing, rows: list[dict[str, Any]]) -> Iterator[str]:
    """One line a row, in columns as wide as what stands in them."""
    cells = [[str(cell) for cell in _cells(what, row)] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for line in cells:
        yield "  ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)).rstrip()


def _cells(what: Listing, row: dict[str, Any]) -> tuple[object, ...]:
    if what is Listing.BENCHMARKS:
        asked = f"{row['samples']:5} x {row['draws']}"
        protocols = "/".join(row["protocols"])
        return row["name"], row["capability"], asked, protocols, f"{row['title']}  ({_data(row)})"
    if what is Listing.SUITES:
        shipped = f"  (baselines: {', '.join(row['baselines'])})" if row["baselines"] else ""
        return row["name"], ", ".join(row["benchmarks"]) + shipped
    return row["name"], row["target"]


def _data(row: dict[str, Any]) -> str:
    """Where the data is, or where it would come from."""
    if row["data"]:
        return f"data: {row['data']}"
    return f"data not here: {row['source']}" if row["source"] else "data not here: --data DIR"
