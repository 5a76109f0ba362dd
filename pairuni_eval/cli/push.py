"""`pairuni-eval push`: a run's numbers into the model's repository on the hub."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pairuni_eval.cli.options import folder_to_write
from pairuni_eval.commands import as_typed
from pairuni_eval.named_runs import located, opened

if TYPE_CHECKING:
    from pairuni_eval.publishing import Publication

To = Annotated[str, typer.Option(help="OWNER/NAME of the model's repository on the hub.")]
Staging = Annotated[
    Path | None,
    typer.Option(
        parser=folder_to_write,
        metavar="PATH",
        help="Folder for the files that are made for it; default: hub/OWNER/NAME.",
    ),
]
Yes = Annotated[bool, typer.Option("--yes", help="Send the files; without it they are only shown.")]
Private = Annotated[
    bool, typer.Option("--private", help="A repository that is made for them is private.")
]
Replace = Annotated[
    bool, typer.Option("--replace", help="Put them in the place of files that are there.")
]
PartialResults = Annotated[
    bool,
    typer.Option(
        "--partial-results",
        help="Let .eval_results hold benchmarks of which some outputs have no value.",
    ),
]


def push(
    runs: Annotated[
        list[Path], typer.Argument(metavar="RUNS...", help="Finished runs of one checkpoint.")
    ],
    to: To,
    out: Staging = None,
    yes: Yes = False,
    private: Private = False,
    replace: Replace = False,
    partial_results: PartialResults = False,
) -> None:
    """Show what goes into a model's repository: card, evaluation table, results; --yes sends it.

    The token is that of the environment variable HF_TOKEN.
    """
    from pairuni_eval.publishing import Publication, staged
    from pairuni_eval.report.model_card import CardRun, ModelCard, hub_files, measuring

    found = [opened(located(one)) for one in runs]
    _check_one_checkpoint(runs, [one.card.checkpoint.weights for one in found])
    first = found[0].card
    recipe = f" It was trained as {first.checkpoint.recipe}." if first.checkpoint.recipe else ""
    card = ModelCard(
        to.partition("/")[2] or to,
        (f"{first.checkpoint.adapter}, weights {first.checkpoint.weights[:12]}.{recipe}",),
        (),
        tuple(measuring(one, to) for one in found),
    )
    shown = [CardRun(one, one.card.suite or one.card.name) for one in found]
    folder = out or Path("hub") / to
    files = staged(folder, hub_files(card, shown, partial_results=partial_results))
    publication = Publication(to, "model", files, "Evaluation by pairuni")
    words = ("push", *runs, "--to", to, *(("--out", out) if out else ()))
    words = (*words, *(("--partial-results",) if partial_results else ()))
    show_or_send([publication], folder, as_typed("pairuni-eval", *words, "--yes"), yes=yes,
                 private=private, replace=replace)  # fmt: skip


def show_or_send(
    publications: Sequence[Publication],
    folder: Path,
    again: str,
    *,
    yes: bool,
    private: bool,
    replace: bool,
) -> None:
    """List every file, and send all of it if that is asked for.

    Args:
        publications: What goes to each repository.
        folder: Where the files lie that were made for it.
        again: The command that sends it.
        yes: Whether it is sent now.
        private: Whether new repositories are private.
        replace: Whether files that are there are replaced.
    """
    from pairuni_eval.publishing import check_publication
    from pairuni_eval.publishing import push as send

    for one in publications:
        check_publication(one)
    for one in publications:
        for line in one.listed():
            typer.echo(line)
    if not yes:
        typer.echo("Nothing was sent: read the files that were made for it first.")
        typer.echo(f"Made:   {folder}")
        typer.echo(f"Next:   {again}")
        return
    for one in publications:
        typer.echo(f"Sent:   {send(one, private=private, replace=replace)}")
    typer.echo(f"Made:   {folder}")
    typer.echo(f"Next:   {as_typed('pairuni-eval', 'run', '--checkpoint', publications[0].repo)}")


def _check_one_checkpoint(runs: Sequence[Path], weights: Sequence[str]) -> None:
    from pairuni_eval.errors import UserError

    for path, one in zip(runs, weights, strict=True):
        if one != weights[0]:
            raise UserError(
                f"{path} measured other weights than {runs[0]}: {one[:12]}, not {weights[0][:12]}.",
                hint="Push the runs of one checkpoint.",
            )
