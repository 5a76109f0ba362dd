"""`pairuni-eval validate` and `fetch`: are the data right, and are they here?"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pairuni_eval.cli.options import Benchmarks, Data, Json, Limit, split_names
from pairuni_eval.commands import as_typed
from pairuni_eval.errors import UserError
from pairuni_eval.places import is_folder

if TYPE_CHECKING:
    from pairuni_eval.runner.fetch import FetchResult
    from pairuni_eval.runner.validate import Validation


def validate_command(
    benchmark: Annotated[str, typer.Argument(help="The benchmark to check.")],
    data: Data = None,
    limit: Limit = None,
    as_json: Json = False,
) -> None:
    """Check a benchmark without any model: counts, images, gold answers; print what guessing gives.

    The exit code is 1 if a check fails.
    """
    from rich.console import Console

    from pairuni_eval.catalog import load_benchmark
    from pairuni_eval.progress import waiting
    from pairuni_eval.runner.validate import validate

    if data is not None and not is_folder(data):
        raise UserError(f"--data {data} is not a folder.")
    with waiting(Console(stderr=True), f"checking {benchmark}"):
        found = validate(load_benchmark(benchmark), data, limit)
    if as_json:
        typer.echo(json.dumps(_as_json(found), ensure_ascii=False))
    else:
        typer.echo("\n".join(_as_lines(found)))
    words = ["run", "--checkpoint", "tiny", "--benchmarks", benchmark]
    words += ["--data", str(data)] if data else []
    typer.echo(f"Next: {as_typed('pairuni-eval', *words)}", err=True)
    if not found.passed:
        raise typer.Exit(1)


def _as_json(found: Validation) -> dict[str, Any]:
    """Checks and floors; `passed` of a check is null where it could not be made."""
    return {
        "benchmark": found.benchmark,
        "passed": found.passed,
        "checks": [check._asdict() for check in found.checks],
        "floors": [
            {"protocol": f.protocol, "metric": f.spec.name, "answer": f.answer, "value": f.value}
            for f in found.floors
        ],
    }


def _as_lines(found: Validation) -> list[str]:
    from pairuni_eval.foreign_text import clean
    from pairuni_eval.report.text import printed

    sign = {True: "ok    ", False: "FAILED", None: "open  "}
    lines = [f"{sign[c.passed]}  {c.name}: {clean(c.words)}" for c in found.checks]
    lines += [
        f"floor   {f.protocol}: always '{clean(f.answer)}' gives {f.spec.name} "
        f"{printed(f.value, f.spec)}"
        for f in found.floors
    ]
    failed = [check.name for check in found.checks if check.passed is False]
    end = f"failed: {', '.join(failed)}" if failed else "every check passed"
    return [*lines, f"{found.benchmark}: {end}"]


def fetch_command(
    to: Annotated[Path, typer.Option(help="Folder to fill.", show_default=False)],
    suite: Annotated[str | None, typer.Option(help="Suite of benchmarks.")] = None,
    benchmarks: Benchmarks = None,
) -> None:
    """Fetch the data of benchmarks, and the weights of models that grade, for use without network.

    The folder is what --data takes. What is there already is checked and not fetched again. The
    exit code is 1 if something must be put there by hand.
    """
    from pairuni_eval.catalog import find_suite
    from pairuni_eval.runner.fetch import MANIFEST, fetch

    if (suite is None) == (benchmarks is None):
        raise UserError(
            "fetch needs either --suite or --benchmarks.", hint="pairuni-eval list suites"
        )
    chosen_suite = find_suite(suite) if suite else None
    names = chosen_suite.benchmarks if chosen_suite else split_names(benchmarks)
    also = chosen_suite.also_fetched if chosen_suite else ()
    whole = fetch(names, to, _tell, also)
    if (to / MANIFEST).is_file():
        typer.echo(f"Manifest: {to / MANIFEST}")
    chosen = ["--suite", suite] if suite else ["--benchmarks", ",".join(names)]
    words = ["pairuni-eval", "run", "--checkpoint", "tiny", *chosen, "--data", str(to)]
    typer.echo(f"Next: {as_typed(*words)}")
    if not whole:
        raise typer.Exit(1)


def _tell(result: FetchResult) -> None:
    typer.echo(f"{result.folder}: {result.words}")
