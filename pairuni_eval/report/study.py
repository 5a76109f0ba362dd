"""The page of an experiment: what a table of arms, reward curves or gradients have in common.

Goes in: sentences, charts and grids of numbers that are made already. Comes out: one page as HTML
and as Markdown, with the answers first, set as the report of a run is: the same base, macros, words
and charts. Grids hold text that is printed as it stands, and verdicts, which are set as every
verdict is.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from pairuni_eval.gradients.interference import BatchStatistic
from pairuni_eval.report import figures, text
from pairuni_eval.report.charts import IntervalChart, LineChart
from pairuni_eval.report.gradients import Gradients
from pairuni_eval.report.pages import render_markdown, render_page, write_page
from pairuni_eval.report.questions import OpeningAnswer, OpeningQuestion
from pairuni_eval.report.rerun import Rerun
from pairuni_eval.report.rollouts import ShownTraining
from pairuni_eval.report.trade_off import TradeOff
from pairuni_eval.stats.compare import Difference
from pairuni_eval.stats.intervals import Estimate

SHOWN = (".svg", ".png")  # pictures that Markdown can show


class GridCell(NamedTuple):
    """One cell.

    Attributes:
        text: The number or the words.
        under: What stands small below it, e.g. the interval.
        verdicts: What the number is against others, by their names.
    """

    text: str
    under: str = ""
    verdicts: tuple[tuple[str, Difference], ...] = ()


class GridRow(NamedTuple):
    """A row: its name and a cell for every other head."""

    name: str
    cells: tuple[GridCell, ...]


class Grid(NamedTuple):
    """Numbers in rows and columns; on a phone every row is a card."""

    caption: str
    heads: tuple[str, ...]
    rows: tuple[GridRow, ...]


class StudyPart(NamedTuple):
    """A section of the page.

    Attributes:
        facts: What must be known to read it.
        key: Names of the charts' colors, in their order.
        points: Sentences, a line each.
    """

    anchor: str
    title: str
    facts: str = ""
    key: tuple[str, ...] = ()
    charts: tuple[LineChart | IntervalChart | TradeOff, ...] = ()
    grids: tuple[Grid, ...] = ()
    points: tuple[str, ...] = ()


class QuotedNumbers(NamedTuple):
    """What a paper prints, in a grid of its own."""

    source: str
    facts: str
    grid: Grid


class Study(NamedTuple):
    """The whole page.

    Attributes:
        tiny: Whether its numbers are of the tiny world.
        questions: What it asks, with what it shows.
        partial: What is missing, in a sentence; "" if nothing is.
        notes: What the answers do not cover.
        gradients: The report's own section, where gradients were probed.
        quoted: The paper's numbers, if it prints any.
        reruns: The commands that do all of it again; none where the page is of runs that are there.
        files: What lies beside the page, in words by its name.
        kind: What the page is of.
        rollouts: Groups as a training sampled them, where any were kept.
    """

    title: str
    tiny: bool
    questions: tuple[OpeningQuestion, ...]
    partial: str
    notes: tuple[str, ...]
    parts: tuple[StudyPart, ...]
    gradients: Gradients | None
    quoted: QuotedNumbers | None
    reruns: tuple[Rerun, ...]
    files: dict[str, str]
    kind: str = "experiment"
    rollouts: ShownTraining | None = None

    @property
    def charts(self) -> tuple[LineChart | IntervalChart, ...]:
        """Every chart that files for a paper can hold, the report's own sections last."""
        every = [chart for part in self.parts for chart in part.charts]
        own = [chart for chart in every if not isinstance(chart, TradeOff)]
        return (*own, *(self.gradients.by_block if self.gradients else ()))

    @property
    def picture(self) -> str | None:
        """The file that Markdown shows; None if none was asked for that it could."""
        return next((name for name in self.files if name.endswith(SHOWN)), None)


def write_study(study: Study, folder: Path, name: str) -> Path:
    """Write `NAME.html` and `NAME.md` into a folder that is there; returns the HTML's path."""
    html = render_page(
        "study.html.j2",
        page=study,
        questions=study.questions,
        files=study.files,
        around=figures.around,
        half=figures.reach(_differences(study)),
    )
    write_page(folder / f"{name}.html", html)
    markdown = render_markdown("study.md.j2", page=study, questions=study.questions)
    write_page(folder / f"{name}.md", markdown)
    return folder / f"{name}.html"


def _differences(study: Study) -> list[Difference]:
    """Every difference of the page, whose strips all have one scale."""
    cells = (
        cell
        for part in study.parts
        for grid in part.grids
        for row in grid.rows
        for cell in row.cells
    )
    return [difference for cell in cells for _, difference in cell.verdicts]


def asked(question: str, *sentences: str) -> OpeningQuestion:
    """A question with the sentences that answer it, the first one in short."""
    return OpeningQuestion(question, tuple(map(OpeningAnswer, sentences)))


def as_cell(number: Estimate | BatchStatistic, sign: str = "") -> GridCell:
    """A number without a card, and its interval: three decimals each."""
    value, held = number.value, number.interval
    if value is None:
        return GridCell("none")
    ends = f"[{held.low:{sign}.3f}, {held.high:{sign}.3f}]" if held else ""
    return GridCell(text.typeset(f"{round(value, 3) + 0.0:{sign}.3f}"), text.typeset(ends))
