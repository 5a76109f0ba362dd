"""`pairuni-eval run`: measure a checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pairuni_eval.cli.options import (
    Baseline,
    Benchmarks,
    Checkpoint,
    Data,
    Device,
    Judge,
    Limit,
    Sibling,
    Suite,
    folder_to_write,
    split_names,
)
from pairuni_eval.commands import as_typed
from pairuni_eval.places import name_of

if TYPE_CHECKING:
    from rich.console import Console

    from pairuni_eval.runner.settings import RunSettings

_NO_REPORT = "none"


def run(
    checkpoint: Checkpoint,
    suite: Suite = None,
    benchmarks: Benchmarks = None,
    data: Data = None,
    limit: Limit = None,
    seed: Annotated[int, typer.Option(help="Seed of every random draw.")] = 0,
    out: Annotated[
        Path | None,
        typer.Option(
            parser=folder_to_write,
            metavar="PATH",
            help="Run folder; default: runs/CHECKPOINT-SUITE.",
        ),
    ] = None,
    report: Annotated[
        Path | None,
        typer.Option(
            parser=folder_to_write,
            metavar="PATH",
            help="Report folder, or 'none'; default: reports/NAME OF RUN.",
        ),
    ] = None,
    baseline: Baseline = None,
    sibling: Sibling = None,
    batch_size: Annotated[int | None, typer.Option(help="Requests per batch.")] = None,
    judge: Judge = None,
    model: Annotated[str | None, typer.Option(help="Adapter instead of the config's.")] = None,
    model_args: Annotated[
        str | None,
        typer.Option(
            help="What the adapter is told by name, KEY=VALUE,KEY=VALUE; for those that take any."
        ),
    ] = None,
    device: Device = "auto",
    dtype: Annotated[str, typer.Option(help="auto, float32, bfloat16, float16.")] = "auto",
    compiled: Annotated[
        bool, typer.Option("--compile", help="Compile the decoding step; pays off in long runs.")
    ] = False,
    allow_remote_code: Annotated[
        bool,
        typer.Option(
            "--allow-remote-code",
            help="Run code that lies in the checkpoint, where nothing that is installed reads it.",
        ),
    ] = False,
    changes: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            help="decoding.KEY=VALUE in place of what card and model say, e.g. "
            "decoding.cfg_scale=3; may be given several times.",
        ),
    ] = None,
    plan: Annotated[
        bool, typer.Option("--plan", help="Say what is owed and how long it takes; stop there.")
    ] = False,
) -> None:
    """Measure a checkpoint and end with a report. The same command continues an interrupted run."""
    from rich.console import Console

    from pairuni_eval.runner.settings import RunSettings, in_order
    from pairuni_eval.shipped import SHIPPED

    names = in_order(split_names(benchmarks, "--benchmarks"))
    chosen = suite or (None if names else "tiny" if checkpoint in SHIPPED else "paper")
    settings = RunSettings(
        checkpoint=checkpoint,
        out=out or _default_out(checkpoint, chosen, names, limit),
        adapter=model,
        arguments=model_args,
        suite=chosen if not names else None,
        benchmarks=names,
        data=data,
        limit=limit,
        seed=seed,
        batch_size=batch_size,
        judge=judge,
        device=device,
        dtype=dtype,
        compiled=compiled,
        changes=tuple(changes or ()),
        remote_code=allow_remote_code,
    )
    console = Console(stderr=True)
    if plan:
        _plan(settings, console)
        return
    from pairuni_eval.cli.report import Sources, open_sides, say_reasons, write_report
    from pairuni_eval.runner.run import measure
    from pairuni_eval.store.training import keep_training

    # before the work, not after it
    baselines, seeds = open_sides(baseline, sibling, settings.suite)
    folder = measure(settings, console)
    keep_training(folder, checkpoint)
    if report == Path(_NO_REPORT):
        say_reasons(folder)
        typer.echo(f"Run:    {folder}")
        typer.echo(f"Next:   {as_typed('pairuni-eval', 'report', folder)}")
        return
    write_report(folder, report, Sources(baselines, {}, None, seeds), console)


def _default_out(
    checkpoint: str, suite: str | None, benchmarks: tuple[str, ...], limit: int | None
) -> Path:
    """runs/CHECKPOINT-SUITE, with the limit in the name so that a trial never blocks a full run."""
    last = name_of(checkpoint.rstrip("/")).replace(":", "-")
    words = [last, suite or "-".join(benchmarks), f"limit{limit}" if limit else ""]
    return Path("runs") / "-".join(dict.fromkeys(word for word in words if word))


def _plan(settings: RunSettings, console: Console) -> None:
    from pairuni_eval.runner.run import estimate, estimate_table

    console.print(estimate_table(estimate(settings, console)))
    typer.echo(f"Planned in {settings.out}")
    typer.echo(f"Next: {settings.command()} {as_typed('--out', settings.out)}")
