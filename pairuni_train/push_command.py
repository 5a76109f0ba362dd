"""`pairuni-train push`: a checkpoint with its card, and its pair set, to the hub."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pairuni_eval.toolkit import as_typed
from pairuni_eval.toolkit.cli import PartialResults, Private, Replace, Staging, To, Yes


def push(
    training: Annotated[Path, typer.Argument(help="The folder of a training, of run or sft.")],
    to: To,
    step: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Step of the checkpoint; default: the chosen one, else the last.",
        ),
    ] = None,
    run: Annotated[
        list[Path] | None,
        typer.Option(
            help="Finished run of this checkpoint for the card; may be given several times."
        ),
    ] = None,
    pairs: Annotated[
        Path | None,
        typer.Option(help="The pair set that it was trained on, for the card's section on data."),
    ] = None,
    pairs_to: Annotated[
        str | None,
        typer.Option(help="OWNER/NAME of a data set's repository that takes the pair set as well."),
    ] = None,
    out: Staging = None,
    yes: Yes = False,
    private: Private = False,
    replace: Replace = False,
    partial_results: PartialResults = False,
) -> None:
    """Show what goes to the hub: weights, card, results, recipe, pair set; --yes sends it.

    The token is that of the environment variable HF_TOKEN. Pair sets hold the images of their
    sources: their card counts the licenses.
    """
    from pairuni_eval.toolkit.publishing import show_or_send
    from pairuni_train.push import PushJob, publications

    folder = out or Path("hub") / to
    job = PushJob(training, to, step, tuple(run or ()), pairs, pairs_to, partial_results)
    words: list[object] = ["pairuni-train", "push", training, "--to", to]
    for option, value in (("--step", step), ("--pairs", pairs), ("--pairs-to", pairs_to)):
        words += [option, value] if value is not None else []
    words += [word for one in run or () for word in ("--run", one)]
    words += ["--out", out] if out else []
    words += [
        option
        for option, given in (
            ("--private", private),
            ("--replace", replace),
            ("--partial-results", partial_results),
        )
        if given
    ]
    show_or_send(
        publications(job, folder),
        folder,
        as_typed(*words, "--yes"),
        yes=yes,
        private=private,
        replace=replace,
    )
