"""Seconds of building a board of 200 runs, and milliseconds of filtering it in Chromium.

    python tests/bench/board_scale.py [--runs 200] [--keep DIR]

One run that a suite ships is copied under other names. Three boards are built, each in a process of
its own: of these copies, whose headlines are made once; of them again; and of fewer runs of which
no two have a headline in common (`--runs-apart`), which says what a run costs the first time. The
first two are held to the bound of 10 s, filters to 100 ms.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import msgspec

sys.path.insert(0, str(Path(__file__).parents[1]))

from support import chromium
from support.child_usage import run_measured
from support.renamed_runs import rename_run

from pairuni_eval.named_runs import located
from pairuni_eval.records import RunCard
from pairuni_eval.store.read import read_run_card

SECONDS, MILLISECONDS = 10.0, 100.0
_ROUNDS = 3
SHIPPED = "suite:tiny/GRPO"
_FILTERS = (
    ("words", "run 17"),
    ("words", "7"),
    ("benchmark", "2"),
    ("words", "nobody"),
    ("words", ""),
    ("benchmark", ""),
)
# One filter and the layout that follows it; the quickest of three, since others share the machine.
_FILTER = """
const field = document.getElementById('filters').elements[arguments[0]];
const started = performance.now();
field.value = arguments[1];
field.dispatchEvent(new Event('input', {bubbles: true}));
document.body.getBoundingClientRect();
return performance.now() - started;
"""
_SORT = """
const heading = document.querySelectorAll('.ranks thead button.sort')[arguments[0]];
const started = performance.now();
heading.click();
document.body.getBoundingClientRect();
return performance.now() - started;
"""


class Used(NamedTuple):
    """Milliseconds of the slowest filter, by the clock and of the processor, and of a sort."""

    filtered: float
    processor: float
    ordered: float


def copies(root: Path, count: int) -> Path:
    """A folder with so many copies of one run, each under its own name."""
    run = located(SHIPPED)
    for number in range(count):
        folder = root / f"run-{number:03d}"
        if not folder.exists():
            rename_run(run, folder, f"run {number}")
    return root


def apart(root: Path, count: int) -> Path:
    """The same, but no two of them have a headline in common."""
    run = located(SHIPPED)
    card = read_run_card(run)
    for number in range(count):
        folder = root / f"run-{number:03d}"
        if not folder.exists():
            rename_run(run, folder, f"run {number}", benchmarks=_batched(card, number + 1))
    return root


def _batched(card: RunCard, size: int) -> dict[str, object]:
    return {
        name: msgspec.structs.replace(one, batch_size=size) for name, one in card.benchmarks.items()
    }


def build(runs: Path, out: Path) -> tuple[float, float]:
    """Wall and processor seconds of building a board in a process of its own."""
    command = [sys.executable, "-m", "pairuni_eval.cli", "board", str(runs), "--out", str(out)]
    used = run_measured([*command, "--reports", str(out)])
    return used.seconds, used.cpu_seconds


def use(page: Path) -> Used | None:
    """Filter and sort the page in Chromium; None where there is no Chromium."""
    if chromium.BINARY is None or chromium.DRIVER is None:
        return None
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        browser = chromium.Browser(Path(profile))
        try:
            browser.devtools("Performance.enable", timeDomain="threadTicks")
            browser.open(page, width=1280)
            rounds = [[filter_page(browser, *one) for one in _FILTERS] for _ in range(_ROUNDS)]
            by_filter = list(zip(*rounds, strict=True))
            walls, ticks = ([min(one[n] for one in each) for each in by_filter] for n in (0, 1))
            ordered = max(browser.run(_SORT, place) for place in range(4))
        finally:
            browser.close()
    return Used(max(walls), max(ticks), ordered)


def filter_page(browser: chromium.Browser, field: str, value: str) -> tuple[float, float]:
    """Milliseconds of one filter: by the clock, and of the page's thread."""
    before = _thread_ms(browser)
    wall = browser.run(_FILTER, field, value)
    return wall, _thread_ms(browser) - before


def _thread_ms(browser: chromium.Browser) -> float:
    """Milliseconds that the page's thread has spent on scripts, styles and layout."""
    spent = ("ScriptDuration", "RecalcStyleDuration", "LayoutDuration")
    told = browser.devtools("Performance.getMetrics")["metrics"]
    return 1000 * sum(one["value"] for one in told if one["name"] in spent)


def measured(asked: argparse.Namespace, root: Path) -> Iterator[bool]:
    """Print what each part took; yields whether it stayed within its bound."""
    runs, out = copies(root / "copies", asked.runs), root / "board"
    for words in ("", ", again"):
        wall, processor = build(runs, out)
        print(f"{asked.runs} runs{words}: {wall:.1f} s (bound {SECONDS:g}), {processor:.1f} s CPU")
        yield wall <= SECONDS
    if asked.runs_apart:
        each = apart(root / "apart", asked.runs_apart)
        wall, processor = build(each, root / "apart-board")
        print(f"{asked.runs_apart} runs, no headline shared: {wall:.1f} s, {processor:.1f} s CPU")
    size = (out / "board.html").stat().st_size / 2**20
    used = use(out / "board.html")
    if used is None:
        print("no Chromium to open the page with")
        return
    print(
        f"board.html {size:.1f} MiB: filtered in at most {used.filtered:.0f} ms (bound "
        f"{MILLISECONDS:g}; {used.processor:.0f} ms of processor), sorted in {used.ordered:.0f} ms"
    )
    yield used.filtered <= MILLISECONDS


def main() -> None:
    """Copy the runs, build the boards, print what it took."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--runs-apart", type=int, default=40)
    parser.add_argument("--keep", type=Path, help="folder to keep runs and boards in")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        sys.exit(not all(list(measured(asked, asked.keep or Path(scratch)))))


if __name__ == "__main__":
    main()
