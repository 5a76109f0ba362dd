"""`pairuni-train pairs`: build pair sets, count what they hold, check them.

Every command imports what it needs when it runs.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pairuni_eval.toolkit import UserError, as_typed, needs
from pairuni_eval.toolkit.cli import Data, Json, split_names

if TYPE_CHECKING:
    from rich.console import Console

    from pairuni_eval.toolkit.ranks import Ranks
    from pairuni_train.pair_data.builder import BuildProgress
    from pairuni_train.pair_data.config import LoadedConfig, PairConfig

app = typer.Typer(no_args_is_help=True, help="Build and check sets of U-G pairs.")

PairFile = Annotated[Path, typer.Argument(help="A pair set, e.g. DIR/pairug.parquet.")]


@app.command()
def build(
    out: Annotated[Path, typer.Option(help="Folder for the pair sets and their stages.")],
    config: Annotated[Path | None, typer.Option(help="Configuration, a TOML file.")] = None,
    preset: Annotated[
        str | None,
        typer.Option(
            help="Shipped configuration: tiny, tiny-names, tiny-names-exact, orsta-blip3o."
        ),
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", help="KEY=VALUE of the configuration, e.g. overlap=0.5."),
    ] = None,
    arms: Annotated[
        str | None,
        typer.Option(
            help="Arms instead of the configuration's, comma-separated: pairug, aligned, "
            "retrieved, half, u_only, g_only, unpaired, low_similarity, random."
        ),
    ] = None,
    partial: Annotated[
        bool,
        typer.Option("--partial", help="Go on without completions that could not be asked for."),
    ] = False,
) -> None:
    """Build pair sets, a parquet file and a data card per arm. The same command continues."""
    from rich.console import Console

    from pairuni_eval.toolkit.ranks import RankGroup, note_of_one, ranks_here
    from pairuni_train.extras import extras_of_pairs
    from pairuni_train.pair_data.arms import completes
    from pairuni_train.pair_data.build import build as build_pairs
    from pairuni_train.pair_data.config import check_arms

    read = _configuration(config, preset, settings or ())
    chosen = check_arms(split_names(arms)) if arms else None
    extras = extras_of_pairs(read.config, completes=completes(chosen or read.config.arms))
    needs("pairuni-train pairs build", *extras)
    ranks = ranks_here(os.environ)
    if not ranks.first:
        _help_build(out, ranks)
        return
    if note := note_of_one(os.environ, "pairuni_train.cli pairs build"):
        typer.echo(f"Note: {note}", err=True)
    with RankGroup(ranks, os.environ) as group, _bars(Console(stderr=True)) as watch:
        written = build_pairs(read, out, arms=chosen, partial=partial, progress=watch, group=group)
    for one in written:
        short = "" if one.rows == one.asked else f"   SHORT: {one.asked} asked for"
        typer.echo(f"{one.rows:>7} rows  {one.path}{short}")
    for searched in dict.fromkeys(one.searched for one in written if one.searched):
        typer.echo(f"Neighbors: {searched}")
    first = written[0].path
    typer.echo(f"Cards and rejects: {out}")
    words = ("pairs", "check", first, "--against", _suite(read.config))
    typer.echo(f"Next: {as_typed('pairuni-train', *words)}")


def _help_build(out: Path, ranks: Ranks) -> None:
    """Be a rank that is not the first: search neighbors with it."""
    from pairuni_eval.toolkit.cli import as_other_rank
    from pairuni_train.pair_data.builder import STAGES
    from pairuni_train.pair_data.search_job import help_build

    with as_other_rank(ranks) as group:
        help_build(out / STAGES, group)


@app.command()
def stats(file: PairFile) -> None:
    """Count what a pair set holds: kinds, sources, licenses, similarities."""
    from pairuni_train.pair_data.stats import stats_text

    typer.echo(stats_text(file))


@app.command()
def check(
    file: PairFile,
    against: Annotated[
        str | None,
        typer.Option(help="Suite or benchmarks, comma-separated, whose items are looked for."),
    ] = None,
    data: Data = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="Exit with 1 if anything was found, test items or not.")
    ] = False,
) -> None:
    """Look for unsound rows, duplicates, broken images, and test items: these end it with 1."""
    from pairuni_train.pair_data.check import check_pairs, report

    found = check_pairs(file, against=against, data=data)
    typer.echo(report(found, file))
    if found.leaks or (strict and found.anything):
        raise typer.Exit(1)


@app.command()
def neighbors(
    file: PairFile,
    run: Annotated[
        list[Path], typer.Option(help="Run folder whose images are looked for; may be repeated.")
    ],
    encoder: Annotated[
        str | None, typer.Option(help="Encoder; default: the one that the set was built with.")
    ] = None,
    checkpoint: Annotated[
        str | None, typer.Option(help="Folder or hub id of the encoder's weights.")
    ] = None,
) -> None:
    """Find the most similar image of a set for every image of runs, for the report to read."""
    from rich.console import Console

    from pairuni_eval.toolkit.contamination import NEAR, neighbors_path, write_neighbors
    from pairuni_train.pair_data.encoders import load_encoder
    from pairuni_train.pair_data.neighbors import encoder_of, find_neighbors

    spec = encoder_of(file, encoder, checkpoint)
    loaded = load_encoder(spec)
    with _bars(Console(stderr=True)) as watch:
        watch.begin("images", None)
        found = find_neighbors(file, run, loaded, batch_size=spec.batch_size, done=watch.step)
    write_neighbors(neighbors_path(file), found)
    near = sum(one.cosine > NEAR for one in found.nearest.values())
    typer.echo(f"{near} of {len(found.nearest)} images have a neighbor above {NEAR} in {file}")
    typer.echo(f"Written: {neighbors_path(file)}")
    typer.echo(f"Next: {as_typed('pairuni-eval', 'report', run[0], '--pairs', file)}")


@app.command()
def transfer(
    file: PairFile,
    before: Annotated[Path, typer.Option(help="Run of the checkpoint that training began from.")],
    after: Annotated[
        list[Path], typer.Option(help="Run of the trained checkpoint; repeated for its seeds.")
    ],
    tag: Annotated[
        str, typer.Option(help="Tag of the samples that names their concepts.")
    ] = "concept",
    as_json: Json = False,
) -> None:
    """Did what was taught in one task reach the other? By concept, before and after training."""
    import json

    from rich.console import Console

    from pairuni_eval.toolkit.report import concept_output
    from pairuni_eval.toolkit.stats import concept_matrix
    from pairuni_eval.toolkit.store import opened
    from pairuni_train.pair_data.transfer import taught_by

    found = concept_matrix([opened(one) for one in after], opened(before), taught_by(file), tag=tag)
    if as_json:
        typer.echo(json.dumps(concept_output.as_json(found), ensure_ascii=False, allow_nan=False))
        return
    Console().print(*concept_output.as_tables(found))
    typer.echo("\n".join(concept_output.as_lines(found)))
    words = ("pairuni-eval", "compare", after[0], before)
    typer.echo(f"Next: {as_typed(*words)}", err=True)


def _configuration(
    config: Path | None, preset: str | None, settings: Sequence[str]
) -> LoadedConfig:
    from pairuni_train.pair_data.config import find_preset, read_config, with_settings

    if (config is None) == (preset is None):
        raise UserError(
            "Give exactly one of --config and --preset.",
            hint="pairuni-train pairs build --preset tiny --out DIR",
        )
    read = read_config(config) if config is not None else find_preset(preset or "")
    return with_settings(read, settings)


def _suite(config: PairConfig) -> str:
    """The suite that a pair set of this configuration will be measured on."""
    if config.spares:
        return "tiny-heldout"
    return "tiny" if config.name == "tiny" else "paper"


@contextmanager
def _bars(console: Console) -> Iterator[BuildProgress]:
    """One progress bar per stage."""
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn

    from pairuni_eval.toolkit.progress import Progress
    from pairuni_train.pair_data.builder import BuildProgress

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TimeElapsedColumn(), console=console) as progress:

        def begin(name: str, steps: int | None) -> None:
            for task in progress.task_ids[-1:]:
                progress.stop_task(task)
            progress.add_task(name, total=steps)

        def step(steps: int) -> None:
            progress.advance(progress.task_ids[-1], steps)

        yield BuildProgress(begin, step, progress.console.print)
