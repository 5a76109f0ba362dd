"""`pairuni-eval follow`: measure the checkpoints of a training beside it, in another process."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pairuni_eval.cli.options import Data, Judge, Limit
from pairuni_eval.commands import as_typed
from pairuni_eval.errors import UserError

if TYPE_CHECKING:
    from pairuni_eval.following import TrainingEvaluations
    from pairuni_eval.store.evaluations import EvaluationPlan


def follow(
    training: Annotated[Path, typer.Argument(help="A training folder, of a run or an sft.")],
    evaluate: Annotated[
        str | None,
        typer.Option(
            help="Suite that checkpoints are measured on, where the training was not told one."
        ),
    ] = None,
    limit: Limit = None,
    held_out: Annotated[
        str | None,
        typer.Option(help="Suite of other rows on which the chosen checkpoint is reported."),
    ] = None,
    best_by: Annotated[
        str | None,
        typer.Option(help="What the best one is chosen by, as for training; default: mean."),
    ] = None,
    data: Data = None,
    judge: Judge = None,
    look_every: Annotated[
        float, typer.Option(min=0.1, help="Seconds between two looks for checkpoints.")
    ] = 10.0,
    once: Annotated[
        bool, typer.Option("--once", help="Measure what is there and do not wait for more.")
    ] = False,
) -> None:
    """Measure the checkpoints of a training as they arrive, until its last one or its stop.

    What is measured when is the training's own plan (`--evaluate SUITE --evaluate-elsewhere`); of
    one without a plan every checkpoint is, by the options here. The same command goes on.
    """
    from rich.console import Console

    from pairuni_eval.following import TrainingEvaluations, check_plan

    plan = _plan(training, evaluate, limit, held_out, best_by, judge)
    check_plan(plan)
    found = TrainingEvaluations(training, plan, Console(stderr=True), data=data)
    with found.held():
        ended = _measure_all(found, training)
        if not ended and not once:
            typer.echo(f"Waiting for further checkpoints of {training}.", err=True)
        while not ended and not once:
            time.sleep(look_every)
            ended = _measure_all(found, training)
        if ended:
            found.make(found.owed_at_the_end())
    for sentence in found.told():
        typer.echo(sentence, err=True)
    typer.echo(f"Measured: {training / 'evaluations.jsonl'}")
    typer.echo(f"Next:     {as_typed('pairuni-eval', 'timeline', training)}")


def _measure_all(found: TrainingEvaluations, training: Path) -> bool:
    """Measure what is there and owed; returns whether there will be no more.

    That is so once the last checkpoint is there, or the training's own rule stopped it.
    """
    from pairuni_eval.store.training import checkpoint_steps, last_step

    last = last_step(training)
    while owed := found.owed(max(checkpoint_steps(training), default=0), last):
        found.make(owed)
    return last in checkpoint_steps(training) or found.stopped is not None


def _plan(
    training: Path,
    evaluate: str | None,
    limit: int | None,
    held_out: str | None,
    best_by: str | None,
    judge: str | None,
) -> EvaluationPlan:
    """The training's own plan, or that of the options.

    Raises:
        UserError: if it is no training, has a plan of its own and is told another, or neither.
    """
    from pairuni_eval.store.evaluations import MEAN, EvaluationPlan, read_plan
    from pairuni_eval.store.training import trained_from

    base = trained_from(training)
    own = read_plan(training)
    given = {
        "suite": evaluate,
        "limit": limit,
        "held_out": held_out,
        "best_by": best_by,
        "judge": judge,
    }
    named = {name: value for name, value in given.items() if value is not None}
    if own is not None:
        for name, value in named.items():
            if getattr(own, name) != value:
                raise UserError(
                    f"{training} is measured by a plan of its own: its {name} is "
                    f"{getattr(own, name)!r}, not {value!r}.",
                    hint=as_typed("pairuni-eval", "follow", training),
                )
        return own
    if evaluate is None:
        raise UserError(
            f"{training} was not told what to measure.",
            hint=as_typed("pairuni-eval", "follow", training, "--evaluate", "SUITE"),
        )
    return EvaluationPlan(
        base=base,
        suite=evaluate,
        every=1,
        limit=limit,
        judge=judge,
        held_out=held_out,
        best_by=best_by or MEAN,
        elsewhere=True,
    )
