"""Two hundred strings that try to run or to reach out, wherever text of others stands in a report:
prompts, answers, ids and file names, tags, verdicts, pairs, run names, baselines, commands, arms of
training. Opened in a browser, every list unfolded and every filter used, none of them may do
anything; on a page that escapes nothing they do.
"""

from __future__ import annotations

import html
import json
import random
import re
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support import example_run as example
from support.chromium import Browser
from support.hostile_strings import FOREIGN, NAMES, RAN, STRINGS, WAIT, rename_run

from pairuni_eval.cards import Card
from pairuni_eval.foreign_text import clean
from pairuni_eval.records import Capability, make_item
from pairuni_eval.report.build import build_report


def item(card: Card, n: int, parts: dict[str, str]) -> example.Item:
    drawn = card.capability is not Capability.UNDERSTAND
    picture = example.picture("red", "circle", place=n % 9)
    return make_item(
        benchmark=card.name,
        version=card.version,
        key=parts["key"],
        capability=card.capability,
        parts=(parts["prompt"],) if drawn else (picture, parts["prompt"]),
        reference={"answer": parts["gold"]},
        tags={"category": parts["tag"], "task": parts["tag"]},
    )


def graded(card: Card) -> list[example.Graded]:
    """A question or a drawing for every string, with four strings in it."""
    drawn = card.capability is not Capability.UNDERSTAND
    rows = []
    for n, text in enumerate(STRINGS):
        key, gold, tag = (STRINGS[(n + step) % len(STRINGS)] for step in (1, 2, 3))
        parts = {"prompt": text, "key": f"{n} {key}", "gold": gold}
        parts["tag"] = tag if n < 40 else "plain"
        reply = example.picture("blue", "square", place=n % 9) if drawn else text
        error = text if drawn and n % 7 == 3 else None
        right: float | None = float(n % 2)
        scores = {"correct": None if n % 5 == 4 or error else right}
        rows.append(
            example.Graded(item(card, n, parts), None if error else reply, scores, None, error)
        )
    return rows


def training(folder: Path) -> Path:
    folder.mkdir()
    rows = [{"step": n, "reward/und": 0.1 * n, "reward/gen": 0.2} for n in range(5)]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def pair_set(path: Path) -> Path:
    """Pairs with strings as ids, which have the first questions' images and the first prompts."""
    rows = [
        {
            "id": text,
            "question": text,
            "prompt": STRINGS[n],
            "understanding_image": {"bytes": example.picture("red", "circle", place=n % 9).data},
        }
        for n, text in enumerate(STRINGS[3:12])
    ]
    pq.write_table(pa.Table.from_pylist(rows), path)
    return path


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("injection")
    benchmarks = [example.cards(100)[1], example.cards(100)[4]]
    for name in ("a", "b"):
        rows = {card.name: graded(card) for card in benchmarks}
        example.store(root / name, benchmarks, rows)
    ours = rename_run(root / "a", STRINGS[0], STRINGS[1])
    baselines = {STRINGS[17]: rename_run(root / "b", STRINGS[2], STRINGS[18])}
    arms = {STRINGS[17]: [training(root / "t")], STRINGS[3]: [training(root / "u")]}
    out = root / "<img src=x onerror=(top.ran=top.ran||[]).push(-1)>"
    return build_report(ours, out, baselines, arms, pair_set(root / "pairs.parquet"))


@pytest.fixture(scope="module")
def named(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every payload as the name of a run: the reported one, 24 baselines and 25 training arms."""
    root = tmp_path_factory.mktemp("names")
    card = example.cards(4)[1]
    rows = {card.name: example.graded(card, 4, 0.5, random.Random(0))}
    runs = []
    for n, name in enumerate(NAMES[:25]):
        example.store(root / f"{n}", [card], rows, weights=f"{n}")  # no two are one run
        runs.append(rename_run(root / f"{n}", name, STRINGS[len(NAMES) + n]))
    arms = {name: [training(root / f"t{n}")] for n, name in enumerate(NAMES[25:])}
    baselines = dict(zip(NAMES[1:25], runs[1:], strict=True))
    return build_report(runs[0], root / "out", baselines, arms)


def test_there_are_two_hundred_different_strings() -> None:
    assert len(set(STRINGS)) == 200


# Of the links to outputs those whose address has a part that none before had, numbers apart: so
# every kind of string is followed once as a group, as a sample and as a baseline.
USE_EVERYTHING = """
document.querySelectorAll('details').forEach(one => one.open = true);
const more = document.getElementById('more');
while (!more.hidden) more.click();
document.querySelectorAll('#found img, .exhibit img').forEach(one => one.loading = 'eager');
const form = document.getElementById('filters');
for (const select of form.querySelectorAll('select')) {
  for (const option of [...select.options]) {
    select.value = option.value;
    select.dispatchEvent(new Event('change', {bubbles: true}));
  }
  select.selectedIndex = 0;
  select.dispatchEvent(new Event('change', {bubbles: true}));
}
for (const words of arguments[0]) {
  form.elements.words.value = words;
  form.elements.words.dispatchEvent(new Event('input', {bubbles: true}));
}
form.elements.words.value = '';
form.elements.words.dispatchEvent(new Event('input', {bubbles: true}));
while (!more.hidden) more.click();
const tried = new Set();
for (const one of document.querySelectorAll('a[data-address]')) {
  const parts = one.dataset.address.split('&').map(part => part.replace(/\\d+/g, ''));
  if (parts.every(part => tried.has(part))) continue;
  parts.forEach(part => tried.add(part));
  one.click();
}
document.querySelectorAll('button.unfold, button.sort').forEach(one => one.click());
form.reset();
"""
SHOW_ALL = """
const verdict = document.getElementById('filters').elements.verdict;
verdict.value = '';
verdict.dispatchEvent(new Event('change', {bubbles: true}));
const more = document.getElementById('more');
while (!more.hidden) more.click();
"""


def acting(browser: Browser, page: Path, texts: list[str]) -> set[int]:
    """The numbers of the strings that do something where nothing is escaped and all is allowed.

    Each stands in a document of its own, all of them on one page.
    """
    documents = (html.escape(f"<!DOCTYPE html><p>{text}</p>") for text in texts)
    frames = "".join(f'<iframe srcdoc="{one}"></iframe>' for one in documents)
    page.write_text(f"<!DOCTYPE html><meta charset=utf-8>{frames}", "utf-8", "replace")
    browser.log("performance")
    browser.open(page, width=800)
    asked: set[int] = set()
    for _ in range(10):
        browser.run(WAIT)
        asked.update(map(int, re.findall(r"evil\.test/(\d+)", " ".join(browser.requests()))))
    return asked | set(browser.run(RAN))


def test_the_strings_do_something_where_nothing_stops_them(
    browser: Browser, tmp_path: Path
) -> None:
    """So that the tests below would see it; the others need a script, a link or another place."""
    found = acting(browser, tmp_path / "open.html", [*NAMES, "a photo of a red circle"])
    assert found <= set(range(len(NAMES)))
    assert len(found) >= 34, sorted(found)


def test_nothing_runs_and_nothing_is_asked_outside(
    browser: Browser, page: Path, named: Path
) -> None:
    for one in (page, named):
        use_everything(browser, one)


def use_everything(browser: Browser, page: Path) -> None:
    browser.log("browser"), browser.log("performance")
    browser.open(page, width=1280)
    browser.run(USE_EVERYTHING, STRINGS[::9])
    browser.run(WAIT)
    assert browser.run(RAN) == []
    assert [url for url in browser.requests() if not url.startswith("file://")] == []
    assert browser.log("browser") == []  # not even an attempt that the policy stopped
    assert [one[:12] for one in browser.run(FOREIGN)] == ["<script type", '<form id="fi']


def test_every_string_is_there_to_read(browser: Browser, page: Path, named: Path) -> None:
    """So that the test above is not an accident of strings that never reached the page."""
    for one, texts in ((page, STRINGS), (named, NAMES)):
        browser.open(one, width=1280)
        browser.run(SHOW_ALL)
        browser.run("[...document.scripts].forEach(one => one.remove())")
        seen = browser.run("return document.body.textContent")
        starts = [clean(text)[: text.index(" ") + 12] for text in texts]
        assert [start for start in starts if start not in seen] == []


def test_every_string_is_a_prompt_and_an_answer(page: Path) -> None:
    rows = example.page_rows(page.read_text(encoding="utf-8"))
    texts = rows["texts"]
    asked = {texts[n] for n in rows["asked"]}
    wanted = {clean(text) for text in STRINGS}
    assert asked == wanted
    assert {texts[n] for n in rows["given"][0] if n >= 0} & wanted == wanted
    keys = "\n".join(texts[n] for n in rows["key"])
    assert [text for text in wanted if text[:60] not in keys] == []
