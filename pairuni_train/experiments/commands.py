"""`pairuni-train reproduce`: a table or figure of the paper, end to end."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer


def reproduce(
    name: Annotated[str, typer.Argument(help="Experiment: table1 to table10, figure4, figure8.")],
    backbone: Annotated[str, typer.Option(help="tiny, janus-pro-1b, ... or FILE.toml.")] = "tiny",
    seeds: Annotated[
        int, typer.Option(help="Training seeds per arm; in figure8 seeds of the probe.")
    ] = 3,
    steps: Annotated[int | None, typer.Option(help="Steps instead of the backbone's.")] = None,
    batches: Annotated[
        int | None, typer.Option(help="Batches per scenario and seed (figure8).")
    ] = None,
    root: Annotated[Path, typer.Option(help="Pair sets, training and evaluation runs.")] = Path(
        "runs/reproduce"
    ),
    out: Annotated[
        Path | None, typer.Option(help="Output; default: reports/NAME-BACKBONE.")
    ] = None,
    workers: Annotated[
        int | None, typer.Option(help="Trials at a time; default: 2 for tiny, else 1.")
    ] = None,
    launcher: Annotated[
        str, typer.Option(help="Words before training, e.g. 'accelerate launch'.")
    ] = "",
    data: Annotated[Path | None, typer.Option(help="Datasets' own files.")] = None,
    judge: Annotated[str | None, typer.Option(help="Judge instead of the cards'.")] = None,
) -> None:
    """Train every arm, measure it, write the table or figure. Finished work is reused."""
    from rich.console import Console

    from pairuni_train.experiments.jobs import Setting
    from pairuni_train.experiments.reproduce import reproduce as run
    from pairuni_train.experiments.spec import find_experiment
    from pairuni_train.recipe import find_backbone

    experiment = find_experiment(name)
    own = steps or experiment.steps.get(backbone)
    model = find_backbone(backbone, {} if own is None else {"steps": own})
    setting = Setting(model, seeds, root, workers or 1, tuple(shlex.split(launcher)), data, judge)
    if workers is None and setting.tiny:
        setting = setting._replace(workers=2)
    words = ["pairuni-train", "reproduce", name, "--backbone", backbone, "--seeds", str(seeds)]
    words += ["--steps", str(model.steps)]
    words += [] if batches is None else ["--batches", str(batches)]
    folder = out or Path("reports") / f"{name}-{model.name}"
    console, command = Console(stderr=True), shlex.join(words)
    found = run(experiment, setting, folder, console, command=command, batches=batches)
    typer.echo(f"Page:  {found.page}")
    if found.failed:
        typer.echo(f"Next:  {command}   ({found.failed} failed; it goes on)")
        raise typer.Exit(1)
    typer.echo(f"Next:  pairuni-train reproduce {name} --backbone janus-pro-1b")
