"""The options by which `run` and `sft` measure checkpoints while they train."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pairuni_eval.toolkit import UserError

if TYPE_CHECKING:
    from pairuni_train.watching import Watched

EVERY = 50

Evaluate = Annotated[
    str | None,
    typer.Option(help="Suite that checkpoints are measured on while it trains; default: none."),
]
Every = Annotated[
    int | None,
    typer.Option(min=1, help=f"Steps between two evaluations; default: {EVERY}."),
]
Limit = Annotated[
    int | None, typer.Option(min=1, help="First N samples of each benchmark of an evaluation.")
]
HeldOut = Annotated[
    str | None,
    typer.Option(
        help="Suite of other rows on which the chosen checkpoint is reported; default: none."
    ),
]
BestBy = Annotated[
    str | None,
    typer.Option(
        help="What the best checkpoint is chosen by: mean, understand, generate or edit (of "
        "headlines, each on its range), or a benchmark of the suite; default: mean."
    ),
]
Patience = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="Stop after so many evaluations in a row that are no better than the best before; "
        "default: never.",
    ),
]
Elsewhere = Annotated[
    bool,
    typer.Option(
        "--evaluate-elsewhere",
        help="Leave measuring to `pairuni-eval follow` in another process.",
    ),
]
Tracker = Annotated[
    str | None,
    typer.Option(
        help="Also tell a tracker of accelerate's: tensorboard (files in the run folder), wandb, "
        "trackio, ..."
    ),
]
EvaluationData = Annotated[
    Path | None,
    typer.Option("--data", help="Folder with the datasets' own files, for evaluations."),
]
EvaluationJudge = Annotated[
    str | None,
    typer.Option("--judge", help="Judge plugin, judge FILE.toml or 'none', for evaluations."),
]


def watched(
    base: str,
    *,
    evaluate: str | None,
    every: int | None,
    limit: int | None,
    held_out: str | None,
    best_by: str | None,
    patience: int | None,
    elsewhere: bool,
    data: Path | None,
    judge: str | None,
) -> Watched | None:
    """What the options ask for, checked before anything is loaded; None without --evaluate.

    Args:
        base: The checkpoint that training begins from.
        evaluate: The suite; None watches nothing.
        every: Steps between two evaluations; None is the default.
        limit: Samples of each benchmark; None takes all.
        held_out: The suite that the chosen checkpoint is reported on.
        best_by: What it is chosen by; None is the mean.
        patience: Evaluations without improvement that stop training; None never does.
        elsewhere: Whether another process measures.
        data: The folder of data sets.
        judge: The judge of the evaluations.

    Raises:
        UserError: for options without --evaluate, for unknown names, and for a rule that nobody
            here could follow.
    """
    named = {
        "--every": every,
        "--limit": limit,
        "--held-out": held_out,
        "--best-by": best_by,
        "--patience": patience,
        "--evaluate-elsewhere": elsewhere or None,
        "--data": data,
        "--judge": judge,
    }
    given = [option for option, value in named.items() if value is not None]
    if evaluate is None:
        if given:
            raise UserError(
                f"{', '.join(given)}: nothing is measured while it trains without --evaluate.",
                hint="--evaluate SUITE; see the suites: pairuni-eval list suites",
            )
        return None
    if elsewhere and patience is not None:
        raise UserError(
            "--patience with --evaluate-elsewhere: where training stops would depend on how fast "
            "the other process is.",
            hint="Leave one of them out.",
        )
    from pairuni_eval.toolkit.following import MEAN, EvaluationPlan, check_plan
    from pairuni_train.watching import Watched

    plan = EvaluationPlan(
        base=base,
        suite=evaluate,
        every=every or EVERY,
        limit=limit,
        judge=judge,
        held_out=held_out,
        best_by=best_by or MEAN,
        patience=patience or 0,
        elsewhere=elsewhere,
    )
    check_plan(plan)
    return Watched(plan, data)
