"""Options that several commands have, with one meaning each."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Checkpoint = Annotated[
    str,
    typer.Option(
        help="Folder, hub id, 'tiny', scripted:FILE, recorded:FILE or replay:RUN.",
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
    typer.Option(help="NAME=RUN to compare with; may be given several times."),
]
Json = Annotated[bool, typer.Option("--json", help="One JSON object on stdout, nothing else.")]


def split_names(text: str | None) -> tuple[str, ...]:
    """The names in a comma-separated option."""
    return tuple(name.strip() for name in (text or "").split(",") if name.strip())
