"""A pair set beside a report: what of the tests the checkpoint has seen in training."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import example_run as example
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pairuni_eval.records import Capability, TextPart, make_item
from pairuni_eval.report.build import build_report
from pairuni_eval.store.read import StoredRun

PROMPT = "a very long prompt of which every single word is found in the training set as well"


def item(card: Any, n: int, text: str) -> Any:
    image = example.picture(
        list(example.COLOURS)[n % 4], example.SHAPES[n % 3], place=4 * n, size=96
    )
    drawn = card.capability is not Capability.UNDERSTAND
    return make_item(
        benchmark=card.name,
        version="1",
        key=f"{card.name}-{n}",
        capability=card.capability,
        parts=(text,) if drawn else (image, text),
        reference={"answer": "yes"},
        tags={"category": "one", "task": "one"},
    )


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four questions, of which the set has one image; three prompts, of which it has one."""
    root = tmp_path_factory.mktemp("contamination")
    asks, draws = example.cards(4)[1], example.cards(3)[4]
    asked = [item(asks, n, f"Is there a shape? ({n})") for n in range(4)]
    wanted = [item(draws, 0, PROMPT), item(draws, 1, "a circle"), item(draws, 2, "a square")]
    right = (1.0, 0.0, 1.0, 0.0)
    rows = {
        asks.name: [
            example.Graded(one, "Yes.", {"correct": good})
            for one, good in zip(asked, right, strict=True)
        ],
        draws.name: [
            example.Graded(one, example.picture("red", "circle"), {"correct": 1.0})
            for one in wanted
        ],
    }
    example.store(root / "run", [asks, draws], rows)
    pairs = [
        {
            "id": "pair <1>",
            "question": "What is it?",
            "prompt": f"before {PROMPT} after",
            "understanding_image": {"bytes": asked[0].pictures[0].data, "path": None},
        }
    ]
    pq.write_table(pa.Table.from_pylist(pairs), root / "pairs.parquet")
    assert isinstance(wanted[0].sample.parts[0], TextPart)
    return build_report(StoredRun(root / "run"), root / "out", {}, pairs=root / "pairs.parquet")


def test_the_headlines_stand_with_and_without_what_was_seen(page: Path) -> None:
    found = json.loads(page.with_name("summary.json").read_text())["contamination"]
    assert found["pairs"] == 1
    asks = found["benchmarks"]["tiny-mmstar"]
    assert (asks["flagged"], asks["units"], asks["by"]) == (1, 4, {"image": 1})
    assert (asks["with"], asks["without"]) == (2 / 4, 1 / 3)
    draws = found["benchmarks"]["tiny-geneval"]
    assert (draws["flagged"], draws["units"], draws["by"]) == (1, 3, {"text": 1})


def test_the_page_says_so_in_words_and_escapes_the_pair(page: Path) -> None:
    words = "2 of 7 units were found in the 1 pairs: 1 of Tiny MMStar, 1 of Tiny GenEval."
    html = page.read_text()
    assert html.count(words) == 2  # at a glance and in its section
    assert "pair &lt;1&gt;" in html and "pair <1>" not in html
    assert words in page.with_name("report.md").read_text()


def test_without_a_pair_set_nothing_is_said(page: Path) -> None:
    run = StoredRun(page.parents[1] / "run")
    html = build_report(run, page.parents[1] / "plain", {}).read_text()
    assert 'id="contamination"' not in html
