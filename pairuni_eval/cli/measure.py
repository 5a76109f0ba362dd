"""`pairuni-eval run`: measure a checkpoint, alone, as one of several ranks, or a shard of it."""

from __future__ import annotations

import os
import signal
import sys
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
from pairuni_eval.cli.other_rank import as_other_rank
from pairuni_eval.commands import as_typed
from pairuni_eval.errors import UserError
from pairuni_eval.places import name_of
from pairuni_eval.ranks import RankGroup, Ranks, note_of_one, ranks_here

if TYPE_CHECKING:
    from rich.console import Console

    from pairuni_eval.runner.settings import RunSettings
    from pairuni_eval.runner.shard import Shard

_NO_REPORT = "none"
_ENDED = 128 + signal.SIGTERM


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
    painter: Annotated[
        Path | None,
        typer.Option(
            help="Finished run whose pictures `self:` benchmarks ask about; without it the same "
            "command draws and grades them first."
        ),
    ] = None,
    control: Annotated[
        Path | None,
        typer.Option(
            help="Run of another painter on the same prompts, for `self:` benchmarks: what is "
            "missed in own pictures against what is missed in any."
        ),
    ] = None,
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
    shard: Annotated[
        str | None,
        typer.Option(
            metavar="I/N",
            help="Make the outputs of the I-th of N shards alone, for array jobs; the command "
            "without it makes what is left and ends with the report.",
        ),
    ] = None,
    plan: Annotated[
        bool, typer.Option("--plan", help="Say what is owed and how long it takes; stop there.")
    ] = False,
) -> None:
    """Measure a checkpoint and end with a report. The same command continues an interrupted run.

    A launcher starts it on several devices: `accelerate launch --num_processes 8 -m pairuni_eval
    run ...`, `torchrun --nproc_per_node 8 -m pairuni_eval run ...`.
    """
    from rich.console import Console

    from pairuni_eval.runner.second_pass import beside
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
        painter=painter,
        control=control,
    )
    console = Console(stderr=True)
    ranks = ranks_here(os.environ)
    runs = _runs(settings, named=out is not None)
    if len(runs) > 1 and (plan or shard is not None or ranks.several):
        raise _not_in_one_process(runs[0])
    if not ranks.first:
        _take_part(settings, ranks, alone=plan or shard is not None)
        return
    if shard is not None:
        _shard(settings, _read_shard(shard, ranks, plan=plan), console)
        return
    if plan:
        _plan(settings, console)
        return
    from pairuni_eval.cli.report import Sources, ensure_report, open_sides, say_reasons
    from pairuni_eval.report.seeds import NO_SEEDS
    from pairuni_eval.store.training import keep_training

    # before the work, not after it
    baselines, seeds = open_sides(baseline, sibling, settings.suite)
    sources = Sources(baselines, {}, None, seeds)
    for number, one in enumerate(runs):
        folder = _measure(one, ranks, console)
        keep_training(folder, checkpoint)
        if report == Path(_NO_REPORT):
            say_reasons(folder)
            typer.echo(f"Run:    {folder}")
            typer.echo(f"Next:   {as_typed('pairuni-eval', 'report', folder)}")
        elif number == 0:
            ensure_report(folder, report, sources, console)
        else:
            ensure_report(
                folder, report and beside(report), Sources({}, {}, None, NO_SEEDS), console
            )


def _runs(settings: RunSettings, *, named: bool) -> tuple[RunSettings, ...]:
    """The runs that a command asks for: one, or the one that draws and the one that reads it.

    Args:
        settings: What is asked.
        named: Whether the user named the run folder.
    """
    from pairuni_eval.runner.second_pass import two_passes

    if not any(":" in name for name in settings.benchmarks):
        return (settings,)
    passes = two_passes(settings)
    if passes is None:
        return (settings,)
    if named:
        return tuple(passes)
    names = passes.drawing.benchmarks
    return tuple(passes.into(_default_out(settings.checkpoint, None, names, settings.limit)))


def _not_in_one_process(drawing: RunSettings) -> UserError:
    return UserError(
        "Drawing and then asking about the pictures are two runs, which only one process makes by "
        "one command.",
        hint=f"Draw first: {drawing.command()} {as_typed('--out', drawing.out)}; then ask with "
        f"{as_typed('--painter', drawing.out)}",
    )


def _measure(settings: RunSettings, ranks: Ranks, console: Console) -> Path:
    """Measure as the first rank, or alone."""
    from pairuni_eval.runner.run import measure

    if not ranks.several:
        note = note_of_one(os.environ, "pairuni_eval run")
        if note:
            typer.echo(f"Note: {note}", err=True)
        return measure(settings, console)
    signal.signal(signal.SIGTERM, _end_by_launcher)
    with RankGroup(ranks, os.environ) as group:
        return measure(settings, console, group=group)


def _end_by_launcher(number: int, frame: object) -> None:  # noqa: ARG001
    """Say what a launcher does to the first rank when another one has failed."""
    typer.echo(
        "Ended from outside (SIGTERM): a launcher does that when another rank has failed, and says "
        "which.\nNext:  What was finished is kept: the same command continues, with any number of "
        "ranks.",
        err=True,
    )
    sys.exit(_ENDED)


def _take_part(settings: RunSettings, ranks: Ranks, *, alone: bool) -> None:
    """Measure as another rank than the first, which speaks for all: here only failures are said.

    Args:
        settings: What is asked.
        ranks: Which rank this is.
        alone: Whether the first rank does, or refuses, what is asked without the others.

    Raises:
        UserError: which names the rank.
    """
    if alone:
        return
    from pairuni_eval.runner.together import take_part

    with as_other_rank(ranks) as group:
        take_part(settings, group)


def _read_shard(text: str, ranks: Ranks, *, plan: bool) -> Shard:
    """What `--shard` says.

    Raises:
        UserError: if it says nothing of use, or goes with what else was asked.
    """
    from pairuni_eval.runner.shard import read_shard

    found = read_shard(text)
    if ranks.several:
        raise UserError(
            f"--shard {text} is for jobs without a launcher, and this is {ranks}.",
            hint="Leave --shard out: the ranks share the batches by themselves.",
        )
    if plan:
        raise UserError(
            f"--plan says what the whole run owes, not --shard {text}.", hint="Leave --shard out."
        )
    return found


def _shard(settings: RunSettings, shard: Shard, console: Console) -> None:
    from pairuni_eval.runner.shard import measure_shard

    left = measure_shard(settings, shard, console)
    if left is None:
        typer.echo(f"Run:    {settings.out}, which is complete")
        typer.echo(f"Next:   {as_typed('pairuni-eval', 'report', settings.out)}")
        return
    words = ", ".join(f"{one.outputs} outputs of shard {one.shard}" for one in left)
    typer.echo(f"Shard {shard}: its outputs are made.")
    typer.echo(f"Left:   {words or 'no outputs'}; then grading and the report")
    typer.echo(f"Run:    {settings.out}")
    typer.echo(f"Next:   {settings.command()} {as_typed('--out', settings.out)}")


def _default_out(
    checkpoint: str, suite: str | None, benchmarks: tuple[str, ...], limit: int | None
) -> Path:
    """runs/CHECKPOINT-SUITE, with the limit in the name so that a trial never blocks a full run."""
    last = name_of(checkpoint.rstrip("/")).replace(":", "-")
    words = [last, suite or "-".join(benchmarks), f"limit{limit}" if limit else ""]
    return Path("runs") / "-".join(dict.fromkeys(word for word in words if word))


def _plan(settings: RunSettings, console: Console) -> None:
    from pairuni_eval.runner.estimate import estimate, estimate_table, notes

    found = estimate(settings, console)
    console.print(estimate_table(found))
    for note in notes(found):
        console.print(note, highlight=False, markup=False, soft_wrap=True)
    typer.echo(f"Planned in {settings.out}")
    typer.echo(f"Next: {settings.command()} {as_typed('--out', settings.out)}")
