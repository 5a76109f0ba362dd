"""`pairuni-eval report` and `compare`: read runs. Neither needs torch."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from pairuni_eval.cli.options import Baseline, Json, Sibling, folder_to_write, say_notes
from pairuni_eval.commands import as_baseline, as_typed
from pairuni_eval.errors import UserError
from pairuni_eval.foreign_text import on_one_line
from pairuni_eval.named_runs import located, opened

if TYPE_CHECKING:
    from rich.console import Console

    from pairuni_eval.records import RunCard
    from pairuni_eval.report.seeds import Seeds
    from pairuni_eval.store.read import StoredRun

_NO_BASELINE = "none"


class Sources(NamedTuple):
    """What a report reads besides the run; see `build_report`."""

    baselines: dict[str, StoredRun]
    training: dict[str, list[Path]]
    pairs: Path | None
    seeds: Seeds
    partial_results: bool = False
    pictures: int | None = None


def report(
    run: Annotated[Path, typer.Argument(help="A run folder, complete or not; or a packed run.")],
    out: Annotated[
        Path | None,
        typer.Option(
            parser=folder_to_write, metavar="PATH", help="Report folder; default: reports/NAME."
        ),
    ] = None,
    baseline: Baseline = None,
    sibling: Sibling = None,
    training: Annotated[
        list[str] | None,
        typer.Option(
            help="NAME=FOLDER of a training run, for its curves and gradients; of this run if NAME "
            "is the run's. May be given several times, the same NAME once for each seed."
        ),
    ] = None,
    pairs: Annotated[
        Path | None,
        typer.Option(help="Pair set (parquet) of the training, to look for test items in."),
    ] = None,
    partial_results: Annotated[
        bool,
        typer.Option(
            "--partial-results",
            help="Let eval_results.yaml hold benchmarks of which some outputs have no value.",
        ),
    ] = False,
    pictures: Annotated[
        int | None,
        typer.Option(
            min=0, help="How many pictures it may hold; what is left out is counted on the page."
        ),
    ] = None,
) -> None:
    """Build the report of a run again, e.g. with other baselines or with its training curves."""
    from rich.console import Console

    from pairuni_eval.store.read import read_run_card

    run = located(run)
    baselines, seeds = open_sides(baseline, sibling, read_run_card(run).suite)
    sources = Sources(
        baselines, _training_folders(training), pairs, seeds, partial_results, pictures
    )
    write_report(run, out, sources, Console(stderr=True))


def compare(
    a: Annotated[Path, typer.Argument(help="A run folder, or a packed run.")],
    b: Annotated[Path, typer.Argument(help="The run it is compared with.")],
    as_json: Json = False,
) -> None:
    """Is run A better than run B? Row by row on what both have, with intervals and verdicts."""
    from rich.console import Console

    from pairuni_eval.report import compare_output

    ours, theirs = opened(a), opened(b)
    say_notes(ours, theirs)
    found = compare_output.compare_two_runs(ours, theirs)
    if as_json:
        typer.echo(json.dumps(compare_output.as_json(found), ensure_ascii=False, allow_nan=False))
        return
    Console().print(compare_output.as_table(found))
    typer.echo()
    typer.echo("\n".join(compare_output.as_lines(found)))
    words = ("pairuni-eval", "report", a, "--baseline", as_baseline(b))
    typer.echo(f"Next: {as_typed(*words)}", err=True)


def open_sides(
    baselines: list[str] | None, siblings: list[Path] | None, suite: str | None
) -> tuple[dict[str, StoredRun], Seeds]:
    """The runs to compare with, by name, and the further training seeds of every side.

    Args:
        baselines: NAME=RUN, of one name several for its seeds; `none` for none. Those of the suite
            where nothing is given.
        siblings: Runs of further seeds of our own side.
        suite: The suite of our own run.

    Raises:
        UserError: for an option that is not NAME=RUN, for a folder that is not a run, for two
            seeds of one side that are the same weights, and for one run under two names.
    """
    from pairuni_eval.report.seeds import Seeds
    from pairuni_eval.stats.copies import checked_names

    found: dict[str, list[StoredRun]] = {}
    for name, folder in _named_runs(baselines, suite):
        found.setdefault(name, []).append(opened(folder))
    ours = [opened(folder) for folder in siblings or []]
    for name, runs in (*found.items(), ("this run", ours)):
        if len(runs) > 1:
            from pairuni_eval.stats.scope import checked_seeds  # late: it takes data frames

            checked_seeds(name, runs)
    if len(found) > 1:
        checked_names(found)
    first = {name: runs[0] for name, runs in found.items()}
    return first, Seeds(ours, {name: runs[1:] for name, runs in found.items()})


def _named_runs(options: list[str] | None, suite: str | None) -> list[tuple[str, Path]]:
    if options == [_NO_BASELINE]:
        return []
    if options:
        return _pairs("--baseline", options)
    if suite is None:
        return []
    from pairuni_eval.catalog import baseline_address, suite_baselines

    return [(name, Path(baseline_address(suite, name))) for name in suite_baselines(suite)]


def _training_folders(options: list[str] | None) -> dict[str, list[Path]]:
    from pairuni_eval.store.training import training_folder

    found: dict[str, list[Path]] = {}
    for name, folder in _pairs("--training", options or []):
        found.setdefault(name, []).append(training_folder(folder))
    return found


def _pairs(option: str, given: list[str]) -> list[tuple[str, Path]]:
    """The parts of NAME=FOLDER.

    Raises:
        UserError: for an option of another form.
    """
    pairs = []
    for text in given:
        name, equals, folder = text.partition("=")
        if not (name and equals and folder):
            raise UserError(
                f"{option} '{text}' is not of the form NAME=FOLDER.",
                hint=f"e.g. {option} grpo=runs/grpo-tiny",
            )
        pairs.append((name, Path(folder)))
    return pairs


def write_report(
    folder: Path,
    out: Path | None,
    sources: Sources,
    console: Console,
) -> None:
    """Build a report and say where it is."""
    from pairuni_eval.store.partial_run import open_run

    run = open_run(folder)
    _say_notes(run, sources)
    _say_report(run, folder, *_built(run, out or Path("reports") / folder.name, sources, console))


def ensure_report(folder: Path, out: Path | None, sources: Sources, console: Console) -> None:
    """As `write_report`, of a run that has just been asked for: the page stands if nothing moved.

    Args:
        folder: The run.
        out: The report's folder; None for the usual one.
        sources: Baselines and seeds alone.
        console: Where progress is shown.
    """
    from pairuni_eval.report.kept import keep, kept_notices, made_of
    from pairuni_eval.store.partial_run import open_run

    run, place = open_run(folder), out or Path("reports") / folder.name
    _say_notes(run, sources)
    made = made_of(run, sources.baselines, sources.seeds)
    known = kept_notices(place, made) if made else None
    if known is not None:
        _say_report(run, folder, place / "report.html", known)
        return
    page, notices = _built(run, place, sources, console)
    if made:
        keep(place, made, notices)
    _say_report(run, folder, page, notices)


def _say_notes(run: StoredRun, sources: Sources) -> None:
    further = [one for runs in sources.seeds.theirs.values() for one in runs]
    say_notes(run, *sources.seeds.ours, *sources.baselines.values(), *further)


def _built(
    run: StoredRun, out: Path, sources: Sources, console: Console
) -> tuple[Path, tuple[str, ...]]:
    """Build a report: its page, and what is to be said of it."""
    from pairuni_eval.progress import waiting
    from pairuni_eval.report.build import build_report

    notices: list[str] = []
    with waiting(console, "writing the report"):
        page = build_report(run, out, *sources, say=notices.append)
    summary = json.loads((page.parent / "summary.json").read_text(encoding="utf-8"))
    for name, reason in summary["left_out_of_eval_results"].items():
        if "outputs have a value" in reason:
            notices.append(f"eval_results.yaml leaves out {name}: {reason}; --partial-results")
    return page, tuple(notices)


def _say_report(run: StoredRun, folder: Path, page: Path, notices: Sequence[str]) -> None:
    for notice in notices:
        _note(notice)
    typer.echo(f"Run:    {folder}")
    typer.echo(f"Report: {page}")
    words = ["run", "--checkpoint", "OTHER", *_asked_again(run.card)]
    words += ["--baseline", as_baseline(folder)]
    typer.echo(f"Next:   {as_typed('pairuni-eval', *words)}")


def say_reasons(folder: Path) -> None:
    """Say why outputs of a run have no value, where no report does."""
    from pairuni_eval.report.notices import reason_lines
    from pairuni_eval.stats.tables import Tables
    from pairuni_eval.store.read import StoredRun

    for line in reason_lines(Tables(StoredRun(folder))):
        _note(line)


def _note(text: str) -> None:
    typer.echo(f"Note: {on_one_line(text)}", err=True)


def _asked_again(card: RunCard) -> list[str]:
    """The options that ask another checkpoint for the same samples, decoded the same way."""
    words = ["--suite", card.suite] if card.suite else ["--benchmarks", ",".join(card.benchmarks)]
    drew = _drew(card)
    words += [] if drew.limit is None else ["--limit", str(drew.limit)]
    return [*words, *(word for change in _given(drew, "--set") for word in ("--set", change))]


def _drew(card: RunCard) -> RunCard:
    """Whose samples and decoding count: of a run that reads pictures, the run that drew them."""
    from pairuni_eval.store.read import read_run_card

    for painter in _given(card, "--painter"):
        try:
            return read_run_card(Path(painter))
        except UserError:  # it has been moved, or the command was given elsewhere
            break
    return card


def _given(card: RunCard, option: str) -> list[str]:
    """The values of an option in the command that the card holds; none if that is no command."""
    try:
        typed = shlex.split(card.command)
    except ValueError:
        return []
    return [value for word, value in pairwise(typed) if word == option]
