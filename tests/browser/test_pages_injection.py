"""The strings of the report's test as names of runs, checkpoints and arms of boards and timelines:
opened in a browser with everything unfolded, sorted and filtered, none of them may do anything.
"""

from __future__ import annotations

import random
from pathlib import Path

import msgspec
import pytest
from support import example_run as example
from support.chromium import Browser
from support.hostile_strings import FOREIGN, NAMES, RAN, STRINGS, WAIT, rename_run
from support.renamed_runs import change_card

from pairuni_eval.foreign_text import clean
from pairuni_eval.report.board import build_board
from pairuni_eval.report.build import build_report
from pairuni_eval.report.timeline import build_timeline

COUNT = 4
USE_EVERYTHING = """
document.querySelectorAll('details').forEach(one => one.open = true);
const fields = document.getElementById('filters')?.elements ?? [];
for (const one of [...fields].filter(one => one.name)) {
  const values = one.options ? [...one.options].map(option => option.value) : arguments[0];
  for (const value of [...values, '']) {
    one.value = value;
    for (const kind of ['input', 'change']) one.dispatchEvent(new Event(kind, {bubbles: true}));
  }
}
document.querySelectorAll('button.choose, button.unfold, button.sort').forEach(one => one.click());
"""


def write_run(folder: Path, number: int) -> Path:
    """A run whose name, checkpoint, arm, machine and command are strings of their own."""
    card = example.cards(COUNT)[1]
    rows = {card.name: example.graded(card, COUNT, 0.5, random.Random(number))}
    example.store(folder, [card], rows, with_images=False)
    words = STRINGS[len(NAMES) + number]
    run = rename_run(folder, NAMES[number], words)
    checkpoint = msgspec.structs.replace(run.card.checkpoint, step=10, recipe=f"{words}, seed 0")
    return change_card(folder, checkpoint=checkpoint)


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("pages")
    runs = root / "runs"
    written = [write_run(runs / f"{n}", n) for n in range(len(NAMES))]
    baseline = {STRINGS[-1]: rename_run(written[1], NAMES[1], STRINGS[len(NAMES) + 1])}
    build_report(
        rename_run(written[0], NAMES[0], STRINGS[len(NAMES)]), root / "reports" / "a", baseline
    )
    return {
        "board": build_board(runs, root / "board", root / "reports"),
        "timeline": build_timeline([runs], root / "timeline"),
    }


@pytest.mark.parametrize("name", ["board", "timeline"])
def test_nothing_runs_and_everything_is_there_to_read(
    browser: Browser, pages: dict[str, Path], name: str
) -> None:
    browser.log("browser"), browser.log("performance")
    browser.open(pages[name], width=1280)
    browser.run(USE_EVERYTHING, STRINGS[::20])
    browser.run(WAIT)
    assert browser.run(RAN) == []
    assert [url for url in browser.requests() if not url.startswith("file://")] == []
    assert browser.log("browser") == []  # not even an attempt that the policy stopped
    own = ['<form id="fi'] if name == "board" else []
    assert [one[:12] for one in browser.run(FOREIGN)] == own
    browser.run("[...document.scripts].forEach(one => one.remove())")
    seen = browser.run("return document.body.textContent")
    shown = NAMES if name == "board" else STRINGS[len(NAMES) : 2 * len(NAMES)]
    starts = [clean(text)[: text.index(" ") + 12] for text in shown]
    assert [start for start in starts if start not in seen] == []
