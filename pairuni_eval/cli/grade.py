"""`pairuni-eval grade`: recorded answers or images, no model."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pairuni_eval.cli.options import Data, Device, Json, Judge, Limit, folder_to_write, split_names
from pairuni_eval.commands import as_typed
from pairuni_eval.extras import needs
from pairuni_eval.foreign_text import on_one_line
from pairuni_eval.responses.layouts import Format

if TYPE_CHECKING:
    from pairuni_eval.runner.settings import RunSettings

_SHEET = ".xlsx"


def grade(
    benchmark: Annotated[str, typer.Option(help="Benchmark the answers are for.")],
    responses: Annotated[
        Path,
        typer.Option(
            help="File of the answers, with images beside it, or a folder of pictures.",
            show_default=False,
        ),
    ],
    protocol: Annotated[
        str | None, typer.Option(help="Protocols, comma-separated; default: all of the benchmark.")
    ] = None,
    data: Data = None,
    layout: Annotated[
        Format | None, typer.Option("--format", help="Layout of the file; default: found out.")
    ] = None,
    judge: Judge = None,
    limit: Limit = None,
    device: Device = "auto",
    out: Annotated[
        Path | None,
        typer.Option(
            parser=folder_to_write,
            metavar="PATH",
            help="Keep the graded run in this folder; default: nowhere, or in runs/ if a judge is "
            "asked.",
            show_default=False,
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Grade recorded answers or images, without any model.

    Rows are JSON lines {"id": the dataset's own id, "text": ...} or {"id", "image", "draw"}; sample
    files of lmms-eval and prediction files of VLMEvalKit are read as well, and folders of pictures
    as the scripts of GenEval, WISE, ImgEdit, GEdit-Bench, HPSv2 and UniGenBench++ write them. A
    sample without a row is missing, never zero.
    """
    from pairuni_eval.catalog import find_card
    from pairuni_eval.runner.settings import RunSettings

    if responses.suffix.lower() == _SHEET:
        needs(f"Reading {responses}", "vlmevalkit")
    card = find_card(benchmark)
    protocols = split_names(protocol, "--protocol")
    if out is None and card.judge is not None:
        out = _default_out(responses, benchmark, protocols, limit)
    with _folder(out) as folder:
        settings = RunSettings(
            checkpoint=f"recorded:{responses}",
            out=folder,
            benchmarks=(benchmark,),
            protocols=protocols or tuple(card.protocols),
            data=data,
            limit=limit,
            judge=judge,
            device=device,
        )
        _grade(settings, layout, protocols, as_json=as_json)
    _say_next(settings, out)


def _default_out(
    responses: Path, benchmark: str, protocols: tuple[str, ...], limit: int | None
) -> Path:
    """A folder for what a judge was asked: its replies cost money, and the folder remembers them.

    Without a judge nothing is kept: the numbers are made again in seconds.
    """
    words = (responses.stem, benchmark, *protocols, f"limit{limit}" if limit else "")
    return Path("runs") / "-".join(word for word in words if word)


@contextmanager
def _folder(out: Path | None) -> Iterator[Path]:
    """The run folder asked for, or one that is gone afterward."""
    if out is not None:
        yield out
        return
    with tempfile.TemporaryDirectory(prefix="pairuni-grade-") as folder:
        yield Path(folder)


def _grade(
    settings: RunSettings, layout: Format | None, asked: tuple[str, ...], *, as_json: bool
) -> None:
    from rich.console import Console

    from pairuni_eval.report import grade_output
    from pairuni_eval.runner.recorded import grade_recorded
    from pairuni_eval.store.read import StoredRun

    path = Path(settings.checkpoint.partition(":")[2])
    recorded = grade_recorded(settings, path, layout, Console(stderr=True))
    for note in recorded.notes:
        typer.echo(f"Note: {on_one_line(note)}.", err=True)
    found = grade_output.read_benchmark(StoredRun(recorded.folder), settings.benchmarks[0], asked)
    if as_json:
        typer.echo(json.dumps(grade_output.as_json(found), ensure_ascii=False, allow_nan=False))
    else:
        typer.echo("\n".join(grade_output.as_lines(found)))


def _say_next(settings: RunSettings, out: Path | None) -> None:
    """The way on, on stderr: stdout holds the numbers."""
    if out is None:
        kept = as_typed("--out", Path("runs") / settings.benchmarks[0])
        typer.echo(f"Next: {settings.command()} {kept}", err=True)
    else:
        typer.echo(f"Run:  {out}", err=True)
        typer.echo(f"Next: {as_typed('pairuni-eval', 'report', out)}", err=True)
