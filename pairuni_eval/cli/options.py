"""Options that several commands have, with one meaning each."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pairuni_eval.errors import UserError
from pairuni_eval.foreign_text import on_one_line

if TYPE_CHECKING:
    from pairuni_eval.store.read import StoredRun

Checkpoint = Annotated[
    str,
    typer.Option(
        help="Folder, hub id, 'tiny', BASE+WEIGHTS, pair:FILE.toml, endpoint:FILE.toml, "
        "scripted:FILE, recorded:FILE, recorded:FOLDER or replay:RUN.",
        show_default=False,
    ),
]
Suite = Annotated[
    str | None,
    typer.Option(help="Suite of benchmarks; default: tiny for 'tiny', else paper."),
]
Benchmarks = Annotated[
    str | None, typer.Option(help="Benchmarks instead of a suite, comma-separated.")
]
Data = Annotated[
    Path | None, typer.Option(help="Folder with the datasets' own files (offline clusters).")
]
Limit = Annotated[
    int | None, typer.Option(help="First N samples of each benchmark; marks the run PARTIAL.")
]
Judge = Annotated[
    str | None, typer.Option(help="Judge plugin, judge FILE.toml or 'none', not the card's judge.")
]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, ...")]
Baseline = Annotated[
    list[str] | None,
    typer.Option(
        help="NAME=RUN to compare with; may be given several times, the same NAME once for each "
        "training seed of that arm."
    ),
]
Sibling = Annotated[
    list[Path] | None,
    typer.Option(
        help="Run of another training seed of the same arm as this one; may be given several "
        "times. From three seeds on both sides verdicts are about the arm."
    ),
]
Json = Annotated[bool, typer.Option("--json", help="One JSON object on stdout, nothing else.")]


def folder_to_write(text: str) -> Path:
    """The value of --out or --report.

    Raises:
        UserError: if it is empty.
    """
    if not text:
        raise UserError("The name of the folder to write is empty.", hint="e.g. --out runs/mine")
    return Path(text)


def split_names(text: str | None, option: str = "") -> tuple[str, ...]:
    """The names in a comma-separated option; none if it was not given.

    Args:
        text: What was given.
        option: The option's name, where a list without a name in it is an error.

    Raises:
        UserError: for such a list.
    """
    names = tuple(name.strip() for name in (text or "").split(",") if name.strip())
    if option and text is not None and not names:
        raise UserError(
            f"{option} '{text}' names nothing.", hint="See the names: pairuni-eval list benchmarks"
        )
    return names


def say_notes(*runs: StoredRun) -> None:
    """Say on stderr what is to be said about how runs were read."""
    for run in runs:
        for note in run.notes:
            typer.echo(f"Note: {on_one_line(note)}.", err=True)
