"""A folder of small runs of many kinds, and the board made of them."""

from __future__ import annotations

from pathlib import Path

from pairuni_eval.report.board import build_board
from pairuni_eval.report.build import build_report
from pairuni_eval.store.read import StoredRun
from support import example_run as example
from support.renamed_runs import change_card

CARDS = {card.name: card for card in example.cards(24)}
TAKEN = ("tiny-mmstar", "tiny-geneval")
LOUD = '<img src=x onerror="document.title=1">'


def write_runs(root: Path) -> Path:
    """Six runs, one of them of a part and one with a name that tries to be markup."""
    for folder, name, skill, taken in (
        ("a", "ours", 0.9, TAKEN),
        ("b", "base", 0.3, TAKEN),
        ("c", "base", 0.6, TAKEN[:1]),
        ("loud", LOUD, 0.5, TAKEN),
    ):
        example.write_run(
            root / folder,
            name=name,
            skill=skill,
            count=24,
            benchmarks=[CARDS[one] for one in taken],
            with_images=False,
        )
    example.write_run(
        root / "study" / "part",
        name="part",
        count=12,
        benchmarks=[CARDS[one] for one in TAKEN],
        with_images=False,
    )
    return root


def rename_revision(run: Path, revision: str) -> None:
    """Let a run say that its data had another revision."""
    import msgspec

    card = StoredRun(run).card
    asked = {
        name: msgspec.structs.replace(one, revision=revision)
        for name, one in card.benchmarks.items()
    }
    change_card(run, benchmarks=asked)


def board_page(root: Path) -> Path:
    """A board with a stored comparison, several kinds of a benchmark, and folders left out."""
    runs = write_runs(root / "runs")
    build_report(StoredRun(runs / "a"), root / "reports" / "a", {"before": StoredRun(runs / "b")})
    (runs / "notes").mkdir()
    damaged = example.write_run(runs / "damaged", count=12, with_images=False)
    (damaged / "scores.parquet").write_bytes(b"not a table")
    return build_board(runs, root / "board", root / "reports")
