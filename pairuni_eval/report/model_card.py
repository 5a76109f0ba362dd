"""The card of a model's repository on the hub, and its `.eval_results`, of finished runs.

Goes in: runs, each with what must be known about it, and what else the card tells (how the model
was trained, on what). Comes out: files by name. Every number stands with its interval, its
coverage and its protocol; the hub's results hold what a report's do (`export`), and a run of which
they would hold nothing has no such file.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from pairuni_eval import __version__
from pairuni_eval.commands import is_command
from pairuni_eval.report.content import Page, gather
from pairuni_eval.report.copied_images import ImageCopier
from pairuni_eval.report.export import exports, not_for_the_hub
from pairuni_eval.report.pages import render_markdown
from pairuni_eval.report.rerun import Rerun, with_option
from pairuni_eval.store.read import StoredRun

CARD = "README.md"
RESULTS = ".eval_results"
_RESULTS_FILE = "eval_results.yaml"
_ODD = re.compile(r"[^\w.-]+")


class CardRun(NamedTuple):
    """A run that the card shows.

    Attributes:
        title: What stands above its table.
        facts: What must be known to read it, a paragraph each.
    """

    run: StoredRun
    title: str
    facts: tuple[str, ...] = ()


class CardPart(NamedTuple):
    """A further section, whose body is Markdown already."""

    title: str
    body: str


class CardTable(NamedTuple):
    """A run's headlines, as the template reads them."""

    title: str
    facts: tuple[str, ...]
    page: Page


class ModelCard(NamedTuple):
    """What the card says beside its numbers.

    Attributes:
        name: The heading.
        facts: What it is, a paragraph each.
        first: Sections before the evaluation.
        commands: How all of it is done again.
        base: The hub id that it was trained from; None where there is none.
    """

    name: str
    facts: tuple[str, ...]
    first: tuple[CardPart, ...]
    commands: tuple[Rerun, ...]
    base: str | None = None


def hub_files(
    card: ModelCard, runs: Sequence[CardRun], *, partial_results: bool = False
) -> dict[str, str]:
    """The card and the hub's results, by their path in the repository.

    Args:
        card: What the card says beside its numbers.
        runs: The runs that it shows.
        partial_results: As `pairuni-eval report --partial-results`.
    """
    with TemporaryDirectory() as scratch:
        pages = [_page(one.run, Path(scratch) / str(n)) for n, one in enumerate(runs)]
    tables = [CardTable(one.title, one.facts, page) for one, page in zip(runs, pages, strict=True)]
    files = {CARD: _card(card, tables)}
    for page in pages:
        left_out = not_for_the_hub(page, partial_results=partial_results)
        if len(left_out) < len(page.sections):
            name = f"{RESULTS}/pairuni-{_ODD.sub('-', page.run.suite or page.run.name)}.yaml"
            files[name if len(pages) > 1 else f"{RESULTS}/pairuni.yaml"] = (
                exports(page, left_out)[_RESULTS_FILE].strip() + "\n"
            )
    return files


def measuring(run: StoredRun, repo: str) -> Rerun:
    """How a run is measured again, by the checkpoint's place on the hub.

    Folders and files of this machine do not stand in it: whoever repeats it has others.

    Args:
        run: The run.
        repo: OWNER/NAME of the checkpoint.
    """
    title, command = f"Measure {run.card.suite or run.card.name}", run.card.command
    if not is_command(command):
        return Rerun(title, None, "It holds no command of pairuni-eval.")
    words = with_option(command, "--checkpoint", repo)
    for option in ("--data", "--painter", "--control"):
        words = with_option(shlex.join(words), option)
    if "--judge" in words:
        judge = words[words.index("--judge") + 1]
        words = with_option(shlex.join(words), "--judge", Path(judge).name)
    return Rerun(title, shlex.join(words))


def _page(run: StoredRun, scratch: Path) -> Page:
    """A run's page, of which a card shows no picture."""
    with ImageCopier(scratch, at_most=0) as copier:
        return gather(run, {}, copier, {}, None)


def _card(card: ModelCard, tables: Sequence[CardTable]) -> str:
    made = render_markdown(
        "model_card.md.j2", card=card, tables=tables, front=_front(card), version=__version__
    )
    return re.sub(r"\n{3,}", "\n\n", made).strip() + "\n"


def _front(card: ModelCard) -> str:
    """The YAML on top, which the hub reads; JSON values are YAML."""
    table: Mapping[str, object] = {"tags": ["pairuni"]} | (
        {"base_model": card.base} if card.base else {}
    )
    return "\n".join(f"{key}: {json.dumps(value)}" for key, value in table.items())
