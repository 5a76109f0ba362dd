"""The board: one page over all runs of a folder.

Goes in: a folder of runs, and a folder of reports. Comes out: `board.html` and `board.md`, with the
headline of every benchmark of every run in an order for each kind of number (`board_kinds`), all
runs, the comparisons that reports hold already, and every folder that is not shown with the reason.
An order is of numbers alone; whether a difference is real is said by a comparison only. Headlines
are made once and kept beside the page (`headline_cache`). The page is a function of the stores: no
clock, no order of a set.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from markupsafe import Markup

from pairuni_eval.cards import Card, MetricSpec
from pairuni_eval.commands import as_typed
from pairuni_eval.errors import UserError, writing
from pairuni_eval.records import RunCard
from pairuni_eval.report import figures, text
from pairuni_eval.report.board_kinds import NumberKind, decoding_notes, differing, kind_of
from pairuni_eval.report.headline_cache import Headline, HeadlineCache
from pairuni_eval.report.headlines import KINDS
from pairuni_eval.report.pages import render_markdown, render_page, write_page
from pairuni_eval.report.questions import OpeningAnswer, OpeningQuestion
from pairuni_eval.report.stored_comparisons import (
    StoredComparison,
    StoredHeadline,
    stored_comparisons,
)
from pairuni_eval.stats.intervals import Interval
from pairuni_eval.stats.tables import MetricRow
from pairuni_eval.store.partial_run import open_run
from pairuni_eval.store.read import StoredRun
from pairuni_eval.store.run_folders import find_runs
from pairuni_eval.training_record import Trained, trained

CACHE = "headlines.json"
FILES = {
    "board.md": "this page as Markdown",
    CACHE: "the headlines, which the next board reads instead of making them again",
}
_UNSCALED = MetricSpec(name="stored", scale=1.0, decimals=3)
Tell = Callable[[int, int], object]
"""Is told how many runs are read, and of how many."""


class BoardRun(NamedTuple):
    """A run of the board.

    Attributes:
        number: Its number on the page.
        folder: Where it lies below the folder of runs.
        typed: Its path as a shell takes it.
        state: "finished", "PARTIAL" or "unfinished".
        headlines: By benchmark.
        notes: What is to be said about how it was read.
    """

    number: int
    folder: str
    typed: str
    card: RunCard
    cards: Mapping[str, Card]
    trained: Trained
    state: str
    headlines: Mapping[str, Headline]
    notes: tuple[str, ...] = ()


class BoardRow(NamedTuple):
    """A headline of a run.

    Attributes:
        figure: The number with its interval on the metric's range.
        decoding: What is set otherwise than in most rows of the table; "" for nothing.
    """

    run: BoardRun
    number: MetricRow
    figure: Markup
    decoding: str


class BoardTable(NamedTuple):
    """Numbers of one kind.

    Attributes:
        apart: What sets it apart from the benchmark's other tables; "" if there is no other.
        ranked: Whether its rows stand in the order of their numbers.
    """

    anchor: str
    kind: NumberKind
    apart: str
    facts: str
    spec: MetricSpec
    rows: tuple[BoardRow, ...]
    ranked: bool


class BoardBenchmark(NamedTuple):
    """A benchmark with its tables, the largest of finished runs first."""

    number: int
    anchor: str
    name: str
    title: str
    capability: str
    tiny: bool
    tables: tuple[BoardTable, ...]


class ShownComparison(NamedTuple):
    """A stored comparison with both runs, and the metric of each line where the run has it."""

    stored: StoredComparison
    ours: BoardRun
    theirs: BoardRun
    lines: tuple[tuple[StoredHeadline, str, MetricSpec | None], ...]


class Board(NamedTuple):
    """The whole page.

    Attributes:
        left_out: Why a folder is not shown, by its name.
    """

    name: str
    runs: tuple[BoardRun, ...]
    benchmarks: tuple[BoardBenchmark, ...]
    comparisons: tuple[ShownComparison, ...]
    left_out: dict[str, str]

    @property
    def checkpoints(self) -> tuple[str, ...]:
        """The names of all checkpoints, sorted."""
        return tuple(sorted({run.card.checkpoint.name for run in self.runs}))

    def numbers_of(self, run: BoardRun) -> str:
        """The numbers of a run's benchmarks on the page, for the page's script."""
        return " ".join(str(one.number) for one in self.benchmarks if one.name in run.headlines)


def build_board(folder: Path, out: Path, reports: Path, *, tell: Tell | None = None) -> Path:
    """Write the board of a folder of runs; returns the path of its HTML file.

    Args:
        folder: The folder of runs.
        out: The board's folder; made if it is not there.
        reports: The folder with the reports of these runs.
        tell: Is told how far it is.

    Raises:
        UserError: if there is no such folder, no run in it, or the page cannot be written.
    """
    cache = HeadlineCache(out / CACHE)
    board = gather_board(folder, reports, cache, tell=tell)
    with writing(str(out)):
        out.mkdir(parents=True, exist_ok=True)
        write_page(out / "board.html", _html(board))
        write_page(out / "board.md", _markdown(board))
    cache.keep()
    return out / "board.html"


def gather_board(
    folder: Path, reports: Path, cache: HeadlineCache, *, tell: Tell | None = None
) -> Board:
    """Everything that a board says.

    Raises:
        UserError: if there is no such folder, or no run in it.
    """
    found = find_runs(folder)
    left_out = dict(found.others)
    runs: list[BoardRun] = []
    for done, path in enumerate(found.runs):
        place = path.relative_to(folder).as_posix()
        if tell is not None:
            tell(done, len(found.runs))
        try:
            runs.append(_run(path, place, len(runs), cache))
        except UserError as failure:
            left_out[place] = _in_words(failure)
        except OSError as failure:  # e.g. a file that may not be read
            left_out[place] = f"it cannot be read: {failure.strerror}."
    if not runs:
        raise UserError(
            f"{folder} holds no run that can be read{_first(left_out)}.",
            hint="A run folder is what `pairuni-eval run --out FOLDER` writes.",
        )
    stored = stored_comparisons(
        reports,
        {run.number: run.card for run in runs},
        {run.number: Path(run.folder).name for run in runs},
    )
    return Board(
        name=folder.resolve().name,
        runs=tuple(runs),
        benchmarks=_benchmarks(runs),
        comparisons=tuple(_shown(one, runs) for one in stored),
        left_out=dict(sorted(left_out.items())),
    )


def _first(left_out: Mapping[str, str]) -> str:
    place = next(iter(left_out), None)
    return "" if place is None else f"; {place}: {left_out[place].rstrip('.')}"


def _in_words(failure: UserError) -> str:
    return f"{failure.message} {failure.hint}" if failure.hint else failure.message


def _run(path: Path, place: str, number: int, cache: HeadlineCache) -> BoardRun:
    """A run of the board.

    Raises:
        UserError: for a folder whose files are damaged, foreign or of another format.
    """
    stored = open_run(path)
    state = "unfinished" if stored.unfinished else "PARTIAL" if stored.card.partial else "finished"
    return BoardRun(
        number=number,
        folder=place,
        typed=as_typed(path),
        card=stored.card,
        cards=stored.cards,
        trained=trained(stored.card.checkpoint),
        state=state,
        headlines=cache.headlines(stored),
        notes=_notes(stored),
    )


def _notes(stored: StoredRun) -> tuple[str, ...]:
    unchecked = ("some of its rows carried no check while it went on",) if stored.unchecked else ()
    return (*stored.notes, *unchecked)


def _benchmarks(runs: Sequence[BoardRun]) -> tuple[BoardBenchmark, ...]:
    """Every benchmark of any run, by what it asks of a model and its name."""
    cards = {name: run.cards[name] for run in runs for name in run.headlines}
    order = list(KINDS)
    names = sorted(cards, key=lambda name: (order.index(cards[name].capability), name))
    return tuple(_benchmark(n, cards[name], runs) for n, name in enumerate(names))


def _benchmark(number: int, card: Card, runs: Sequence[BoardRun]) -> BoardBenchmark:
    held: dict[NumberKind, list[BoardRun]] = {}
    for run in runs:
        if card.name in run.headlines:
            headline, mine = run.headlines[card.name], run.cards[card.name]
            kind = kind_of(mine, run.card, headline, unfinished=run.state == "unfinished")
            held.setdefault(kind, []).append(run)
    kinds = sorted(held, key=lambda kind: (kind.unfinished, -len(held[kind]), str(kind)))
    apart = differing(kinds) if len(kinds) > 1 else [""]
    anchor = f"benchmark-{number + 1}"
    return BoardBenchmark(
        number=number,
        anchor=anchor,
        name=card.name,
        title=card.title,
        capability=KINDS[card.capability],
        tiny=all(kind.tiny for kind in kinds),
        tables=tuple(
            _table(f"{anchor}-{place + 1}", kind, held[kind], apart[place])
            for place, kind in enumerate(kinds)
        ),
    )


def _table(anchor: str, kind: NumberKind, runs: Sequence[BoardRun], apart: str) -> BoardTable:
    name = kind.benchmark
    decodings = decoding_notes([run.card.benchmarks[name].decoding for run in runs])
    rows = [
        BoardRow(run, (number := run.headlines[name].row), _figure(run, number, kind), decoding)
        for run, decoding in zip(runs, decodings, strict=True)
    ]
    spec = rows[0].number.spec
    ranked = not kind.unfinished and spec.direction != "none"
    if ranked:
        rows.sort(key=_rank)
    return BoardTable(anchor, kind, apart, "; ".join(kind.facts()), spec, tuple(rows), ranked)


def _figure(run: BoardRun, number: MetricRow, kind: NumberKind) -> Markup:
    tiny = "tiny " if kind.tiny else ""
    label = f"{tiny}{run.card.name}: dot with 95 % interval on the metric's range"
    return figures.strip(number.estimate, label, grid=False)


def _rank(row: BoardRow) -> tuple[bool, float, str]:
    """Best first; those without a number last, equal ones by their folder."""
    value, spec = row.number.estimate.value, row.number.spec
    sign = 1.0 if spec.direction == "down" else -1.0
    return value is None, sign * (value or 0.0), row.run.folder


def _shown(stored: StoredComparison, runs: Sequence[BoardRun]) -> ShownComparison:
    ours, theirs = runs[stored.ours], runs[stored.theirs]
    lines = tuple((row, *_metric_of(row, ours)) for row in stored.headlines)
    return ShownComparison(stored, ours, theirs, lines)


def _metric_of(row: StoredHeadline, run: BoardRun) -> tuple[str, MetricSpec | None]:
    """What a line measured, and the metric that it is printed by where the run's card has it."""
    card = run.cards.get(row.benchmark)
    rule = card.protocols.get(row.protocol) if card is not None else None
    spec = next((one for one in rule.metrics if one.name == row.metric), None) if rule else None
    return card.title if card is not None else row.benchmark, spec


# The page


def _html(board: Board) -> str:
    return render_page(
        "board.html.j2",
        scripts=("page.js", "board.js"),
        board=board,
        questions=tuple(_questions(board)),
        files=FILES,
        axis=figures.axis(),
        stored_number=_stored(text.number),
        stored_signed=_stored(text.signed),
        stored_interval=_stored(lambda ends, spec: text.interval(Interval(*ends), spec)),
    )


def _stored(printed: Callable[[Any, MetricSpec], str]) -> Callable[[Any, MetricSpec | None], str]:
    """Prints a stored number by the card's metric; as it is stored where the card has none."""

    def shown(value: Any, spec: MetricSpec | None) -> str:
        return printed(value, spec or _UNSCALED)

    return shown


def _markdown(board: Board) -> str:
    return render_markdown("board.md.j2", board=board, questions=tuple(_questions(board)))


def _questions(board: Board) -> Iterator[OpeningQuestion]:
    yield OpeningQuestion("What is here?", (_here(board),))
    if board.left_out:
        count = len(board.left_out)
        said = f"{count} {'folder' if count == 1 else 'folders'}, each with the reason."
        yield OpeningQuestion(
            "What is not shown?", (OpeningAnswer(said, anchor="left-out", link="Which"),)
        )
    yield OpeningQuestion("Is one above another better?", (_order(board),))
    yield OpeningQuestion("How do two compare?", tuple(_compared(board)))


def _here(board: Board) -> OpeningAnswer:
    states = [run.state for run in board.runs]
    counts = [(state, states.count(state)) for state in ("finished", "PARTIAL", "unfinished")]
    said = ", ".join(f"{count} {state}" for state, count in counts if count)
    tables = sum(len(one.tables) for one in board.benchmarks)
    return OpeningAnswer(
        f"{_count(len(board.runs), 'run')} of {_count(len(board.checkpoints), 'checkpoint')} "
        f"({said}); {_count(len(board.benchmarks), 'benchmark')} in {_count(tables, 'table')}, "
        "one for each kind of number.",
        anchor="runs",
        link="All runs",
    )


def _order(board: Board) -> OpeningAnswer:
    apart = [one.title for one in board.benchmarks if len(one.tables) > 1]
    said = (
        "Not by its place: rows stand in the order of their numbers, and only a comparison on the "
        "outputs that both have says whether a difference is real."
    )
    if apart:
        said += (
            f" Other protocols, limits, revisions, judges or scorers stand in tables of their own "
            f"({len(apart)} of {len(board.benchmarks)} benchmarks have several)."
        )
    return OpeningAnswer(said)


def _compared(board: Board) -> Iterator[OpeningAnswer]:
    held = len(board.comparisons)
    if held:
        yield OpeningAnswer(
            f"Reports hold {_count(held, 'comparison')} of two of these runs.",
            anchor="stored",
            link="What they say",
        )
    first, last = (board.runs + board.runs)[:2]
    yield OpeningAnswer(
        "Choose two with the buttons beside their names, or type",
        commands=(f"pairuni-eval compare {first.typed} {last.typed}",),
        quiet=not held,
    )


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'s' * (number != 1)}"
