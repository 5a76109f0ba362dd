"""`pairuni-train reproduce`: a table, a figure or the flagship, end to end."""

from __future__ import annotations

import shlex
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from pairuni_eval.toolkit import UserError, as_typed, needs
from pairuni_train.former_options import FormerRecipe, read_recipe

# What an experiment runs on that names no recipe: a base with something left to learn.
TINY_RECIPE = "tiny-names"


class PaperFormat(StrEnum):
    """Formats of figures for papers."""

    PDF = "pdf"
    SVG = "svg"
    PNG = "png"


def reproduce(
    name: Annotated[
        str, typer.Argument(help="Experiment: flagship, table1 to table10, figure4, figure8.")
    ],
    recipe: Annotated[
        str | None,
        typer.Option(
            help=f"{TINY_RECIPE}, janus-pro-1b, ... or FILE.toml; default: that of the "
            f"experiment's file, else {TINY_RECIPE}."
        ),
    ] = None,
    seeds: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Training seeds per arm; in figure8 seeds of the probe; default: 3, of flagship "
            "as its file has them.",
        ),
    ] = None,
    steps: Annotated[int | None, typer.Option(help="Steps instead of the recipe's.")] = None,
    batches: Annotated[
        int | None, typer.Option(min=1, help="Batches per scenario and seed (figure8).")
    ] = None,
    root: Annotated[Path, typer.Option(help="Pair sets, training and evaluation runs.")] = Path(
        "runs/reproduce"
    ),
    out: Annotated[Path | None, typer.Option(help="Output; default: reports/NAME-RECIPE.")] = None,
    workers: Annotated[
        int | None, typer.Option(help="Jobs at a time; default: 2 for tiny, else 1.")
    ] = None,
    launcher: Annotated[
        str, typer.Option(help="Words before training, e.g. 'accelerate launch'.")
    ] = "",
    data: Annotated[Path | None, typer.Option(help="Datasets' own files.")] = None,
    judge: Annotated[str | None, typer.Option(help="Judge instead of the cards'.")] = None,
    overlap: Annotated[
        list[float] | None,
        typer.Option(
            help="How much both sources know in common (flagship); may be given several times; "
            "default: all that its file has."
        ),
    ] = None,
    base: Annotated[
        int | None, typer.Option(min=0, help="Number of the base (flagship); default: 0.")
    ] = None,
    figures: Annotated[
        list[PaperFormat],
        typer.Option(help="Charts for a paper as well; may be given several times."),
    ] = [PaperFormat.SVG],  # noqa: B006
    backbone: FormerRecipe = None,
) -> None:
    """Train every arm, measure it, write the table or figure. Finished work is reused."""
    from rich.console import Console

    from pairuni_train.config import find_recipe
    from pairuni_train.extras import extras_of
    from pairuni_train.study.spec import find_experiment

    experiment = find_experiment(name)
    design = experiment.design
    if design is None and (overlap or base is not None):
        raise UserError(f"{name} has neither --overlap nor --base; flagship has.")
    if backbone is None:
        own_recipe = design.recipe if design else experiment.recipe
        recipe = recipe or own_recipe or TINY_RECIPE
    recipe = read_recipe(recipe, backbone)
    own = steps or (design.steps if design else experiment.steps.get(recipe))
    whole = find_recipe(recipe, {} if own is None else {"steps": own})
    needs("pairuni-train reproduce", *extras_of(whole))
    from pairuni_train.study.jobs import StudyOptions
    from pairuni_train.study.processes import given_options
    from pairuni_train.study.reproduce import Placed
    from pairuni_train.study.reproduce import reproduce as run

    options = StudyOptions(
        whole, seeds or 3, root, workers or 1, tuple(shlex.split(launcher)), data, judge, recipe
    )
    if workers is None and options.tiny:
        options = options._replace(workers=2)
    said = seeds if design else seeds or 3
    words = ["pairuni-train", "reproduce", name, "--recipe", recipe]
    given = {"--seeds": said, "--steps": whole.steps, "--batches": batches, "--data": data}
    words += given_options({**given, "--judge": judge, "--base": base})
    words += [word for one in overlap or () for word in ("--overlap", f"{one:g}")]
    if figures != [PaperFormat.SVG]:
        words += [word for one in figures for word in ("--figures", one)]
    folder = out or Path("reports") / f"{name}-{whole.name}{f'-base-{base}' if base else ''}"
    console, command = Console(stderr=True), as_typed(*words)
    found = run(
        *(experiment, options, folder, console),
        command=command,
        batches=batches,
        figures=figures,
        placed=Placed(base or 0, tuple(overlap or ()), seeds),
    )
    typer.echo(f"Page:  {found.page}")
    if found.failed:
        where = {"--root": root, "--out": out, "--workers": workers, "--launcher": launcher or None}
        words += given_options(where)
        typer.echo(f"{found.failed} failed; the same command goes on.")
        typer.echo(f"Next:  {as_typed(*words)}")
        raise typer.Exit(1)
    further = ("--recipe", "janus-pro-1b") if design is None else ("--base", (base or 0) + 1)
    if design is None or (base or 0) + 1 < len(design.bases):
        typer.echo(f"Next:  {as_typed('pairuni-train', 'reproduce', name, *further)}")


def baselines(
    out: Annotated[Path, typer.Option(help="Folder for the packed runs.")],
    name: Annotated[
        str, typer.Argument(help="Experiment whose `against` arms they are.")
    ] = "table2",
    suite: Annotated[str, typer.Option(help="Suite that they are measured on.")] = "tiny",
    recipe: Annotated[
        str | None, typer.Option(help="Recipe that the arms were trained under; default: tiny.")
    ] = None,
    steps: Annotated[int | None, typer.Option(help="Steps instead of the recipe's.")] = None,
    root: Annotated[Path, typer.Option(help="Where `reproduce` trained the arms.")] = Path(
        "runs/reproduce"
    ),
    backbone: FormerRecipe = None,
) -> None:
    """Measure trained arms on a suite and pack the runs, as baselines that the suite ships."""
    from pairuni_train.config import find_recipe
    from pairuni_train.study.baselines import make_baselines
    from pairuni_train.study.jobs import StudyOptions
    from pairuni_train.study.spec import find_experiment

    changes = {} if steps is None else {"steps": steps}
    options = StudyOptions(find_recipe(read_recipe(recipe, backbone), changes), 1, root.resolve())
    for baseline in make_baselines(find_experiment(name), options, suite, out):
        size = baseline.file.stat().st_size / 1e6
        typer.echo(f"{baseline.name}: {baseline.file} ({size:.2f} MB)")
    typer.echo(f"Next:  name them under `baselines` of the suite '{suite}', then run its tests")
