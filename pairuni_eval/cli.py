"""The command line `pairuni-eval`. Every command imports what it needs when it runs."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pairuni_eval import __version__
from pairuni_eval.errors import UserError

if TYPE_CHECKING:
    from rich.console import Console

    from pairuni_eval.run.settings import RunSettings
    from pairuni_eval.store.read import StoredRun

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Measure a unified vision-language model: understanding, drawing and editing.",
)


_INTERRUPTED = 130
_STOPPED = "\nInterrupted. What was finished is kept; the same command continues."


class Listing(StrEnum):
    """What `list` can show."""

    BENCHMARKS = "benchmarks"
    SUITES = "suites"
    MODELS = "models"
    JUDGES = "judges"
    REWARDS = "rewards"
    ENCODERS = "encoders"


Checkpoint = Annotated[
    str,
    typer.Option(help="Folder, hub id, 'tiny', scripted:FILE or replay:RUN.", show_default=False),
]
Suite = Annotated[
    str | None,
    typer.Option(help="Suite of benchmarks; default: tiny for 'tiny', else paper."),
]
Benchmarks = Annotated[
    str | None, typer.Option(help="Benchmarks instead of a suite, comma-separated.")
]
Data = Annotated[
    Path | None, typer.Option(help="Folder with the datasets' own files (offline clusters).")
]
Limit = Annotated[
    int | None, typer.Option(help="First N samples of each benchmark; marks the run PARTIAL.")
]
Baseline = Annotated[
    list[str] | None,
    typer.Option(help="NAME=RUN folder to compare with; may be given several times."),
]


@app.command()
def run(
    checkpoint: Checkpoint,
    suite: Suite = None,
    benchmarks: Benchmarks = None,
    data: Data = None,
    limit: Limit = None,
    seed: Annotated[int, typer.Option(help="Seed of every random draw.")] = 0,
    out: Annotated[
        Path | None, typer.Option(help="Run folder; default: runs/CHECKPOINT-SUITE.")
    ] = None,
    report: Annotated[
        Path | None, typer.Option(help="Report folder; default: reports/NAME OF RUN.")
    ] = None,
    baseline: Baseline = None,
    batch_size: Annotated[int | None, typer.Option(help="Requests per batch.")] = None,
    judge: Annotated[str | None, typer.Option(help="Judge instead of the card's.")] = None,
    model: Annotated[str | None, typer.Option(help="Adapter instead of the config's.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, ...")] = "auto",
    dtype: Annotated[str, typer.Option(help="auto, float32, bfloat16, float16.")] = "auto",
    compiled: Annotated[
        bool, typer.Option("--compile", help="Compile the decoding step; pays off in long runs.")
    ] = False,
    plan: Annotated[
        bool, typer.Option("--plan", help="Say what is owed and how long it takes; stop there.")
    ] = False,
) -> None:
    """Measure a checkpoint and end with a report. The same command continues an interrupted run."""
    from rich.console import Console

    from pairuni_eval.run.settings import RunSettings

    chosen = suite or (None if benchmarks else "tiny" if checkpoint == "tiny" else "paper")
    settings = RunSettings(
        checkpoint=checkpoint,
        out=out or _default_out(checkpoint, chosen, benchmarks, limit),
        adapter=model,
        suite=chosen if not benchmarks else None,
        benchmarks=_names(benchmarks),
        data=data,
        limit=limit,
        seed=seed,
        batch_size=batch_size,
        judge=judge,
        device=device,
        dtype=dtype,
        compiled=compiled,
    )
    console = Console(stderr=True)
    if plan:
        _plan(settings, console)
        return
    from pairuni_eval.run.measure import measure

    baselines = _baselines(baseline)  # before the work, not after it
    folder = measure(settings, console)
    _report(folder, report, baselines, console)


@app.command(name="report")
def report_command(
    run: Annotated[Path, typer.Argument(help="A complete run folder.")],
    out: Annotated[Path | None, typer.Option(help="Report folder; default: reports/NAME.")] = None,
    baseline: Baseline = None,
) -> None:
    """Build the report of a complete run again, e.g. with other baselines."""
    from rich.console import Console

    _report(run, out, _baselines(baseline), Console(stderr=True))


@app.command(name="list")
def list_command(
    what: Annotated[Listing, typer.Argument(help="What to list.")] = Listing.BENCHMARKS,
) -> None:
    """List benchmarks, suites, models, judges, rewards or encoders."""
    from pairuni_eval import catalog

    if what is Listing.BENCHMARKS:
        for card in catalog.all_cards():
            typer.echo(
                f"{card.name:14} {card.capability.value:10} {card.expected:6} x {card.draws}  "
                f"{'/'.join(card.protocols):32} {card.title}"
            )
    elif what is Listing.SUITES:
        for suite in catalog.suites().values():
            typer.echo(f"{suite.name:10} {', '.join(suite.benchmarks)}")
    else:
        found = catalog.plugin_names(what.value)  # type: ignore[arg-type]
        for name, target in found.items():
            typer.echo(f"{name:14} {target}")
        if not found:
            typer.echo(f"No {what.value} are installed.", err=True)
    option = {Listing.SUITES: "--suite NAME", Listing.MODELS: "--model NAME"}
    wanted = option.get(what, "--benchmarks NAME,NAME")
    typer.echo(f"Next: pairuni-eval run --checkpoint tiny {wanted}", err=True)


@app.command()
def version() -> None:
    """Print the version."""
    typer.echo(__version__)


def main() -> None:
    """Entry point of `pairuni-eval`."""
    run_app(app)


def run_app(commands: typer.Typer) -> None:
    """Run a command line, printing user errors and interruptions without a traceback."""
    try:
        commands()
    except UserError as error:
        typer.echo(f"Error: {error.message}", err=True)
        if error.hint:
            typer.echo(f"Next:  {error.hint}", err=True)
        sys.exit(2)
    except KeyboardInterrupt:
        typer.echo(_STOPPED, err=True)
        sys.exit(_INTERRUPTED)
    except SystemExit as end:
        if end.code == _INTERRUPTED:  # how typer passes an interruption on
            typer.echo(_STOPPED, err=True)
        raise


def _names(text: str | None) -> tuple[str, ...]:
    return tuple(name.strip() for name in (text or "").split(",") if name.strip())


def _default_out(
    checkpoint: str, suite: str | None, benchmarks: str | None, limit: int | None
) -> Path:
    """runs/CHECKPOINT-SUITE, with the limit in the name so that a trial never blocks a full run."""
    last = checkpoint.rstrip("/").rpartition("/")[2].replace(":", "-")
    words = [last, suite or "-".join(_names(benchmarks)), f"limit{limit}" if limit else ""]
    return Path("runs") / "-".join(dict.fromkeys(word for word in words if word))


def _baselines(options: list[str] | None) -> dict[str, StoredRun]:
    from pairuni_eval.store.read import StoredRun

    named: dict[str, StoredRun] = {}
    for option in options or []:
        name, equals, folder = option.partition("=")
        if not (name and equals and folder):
            raise UserError(
                f"--baseline '{option}' is not of the form NAME=RUN.",
                hint="e.g. --baseline grpo=runs/grpo-tiny",
            )
        named[name] = StoredRun(Path(folder))
    return named


def _plan(settings: RunSettings, console: Console) -> None:
    from pairuni_eval.run.measure import estimate, estimate_table

    console.print(estimate_table(estimate(settings, console)))
    typer.echo(f"Planned in {settings.out}")
    typer.echo(f"Next: {settings.command()} --out {settings.out}")


def _report(
    folder: Path, out: Path | None, baselines: dict[str, StoredRun], console: Console
) -> None:
    from pairuni_eval.report.build import build_report
    from pairuni_eval.store.read import StoredRun

    with console.status("writing the report"):
        page = build_report(StoredRun(folder), out or Path("reports") / folder.name, baselines)
    typer.echo(f"Run:    {folder}")
    typer.echo(f"Report: {page}")
    typer.echo(f"Next:   pairuni-eval run --checkpoint OTHER --baseline {folder.name}={folder}")


if __name__ == "__main__":
    main()
