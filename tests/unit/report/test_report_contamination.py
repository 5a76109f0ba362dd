"""A pair set beside a report: what of the tests the checkpoint has seen in training."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support import example_run as example

from pairuni_eval.contamination.neighbors import (
    Neighbor,
    Neighbors,
    neighbors_path,
    write_neighbors,
)
from pairuni_eval.errors import UserError
from pairuni_eval.records import Capability, TextPart, make_item
from pairuni_eval.report.build import build_report
from pairuni_eval.store.read import StoredRun, decode_cell

pytestmark = pytest.mark.light

PROMPT = "a very long prompt of which every single word is found in the training set as well"


def item(card: Any, n: int, text: str) -> Any:
    image = example.picture(
        list(example.COLORS)[n % 4], example.SHAPES[n % 3], place=4 * n, size=96
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


def neighbors(page: Path, rows: int) -> Path:
    """An encoder's finding beside a copy of the pair set: the second question's image is near."""
    folder = page.parents[1]
    run = StoredRun(folder / "run")
    (parts,) = run.samples[run.samples["key"] == "tiny-mmstar-1"]["parts"]
    image = next(part["image"] for part in decode_cell(parts) if "image" in part)
    copy = folder / f"with-{rows}.parquet"
    copy.write_bytes((folder / "pairs.parquet").read_bytes())
    found = Neighbors("<resnet50>", rows, {image: Neighbor("pair <1>", 0.987)})
    write_neighbors(neighbors_path(copy), found)
    return copy


def test_neighbors_beside_the_set_are_read_and_told_from_copies(page: Path) -> None:
    run, out = StoredRun(page.parents[1] / "run"), page.parents[1] / "near"
    html = build_report(run, out, {}, pairs=neighbors(page, 1)).read_text()
    words = "1 of Tiny MMStar, 1 of Tiny GenEval; 1 more have an image much like one"
    assert words in html and "0.95 to it in the features of &lt;resnet50&gt;" in html
    assert "by neighbor (cosine 0.987)" in html and "<resnet50>" not in html
    asks = json.loads((out / "summary.json").read_text())["contamination"]["benchmarks"]
    assert asks["tiny-mmstar"]["by"] == {"image": 1, "neighbor": 1}
    assert (asks["tiny-mmstar"]["with"], asks["tiny-mmstar"]["without"]) == (2 / 4, 1 / 2)
    assert asks["tiny-mmstar"]["unsought"] == 3


def test_neighbors_of_another_set_are_refused(page: Path) -> None:
    run = StoredRun(page.parents[1] / "run")
    with pytest.raises(UserError, match="belongs to a set of 9 pairs"):
        build_report(run, page.parents[1] / "other", {}, pairs=neighbors(page, 9))


def test_that_nobody_looked_for_neighbors_is_said(page: Path) -> None:
    assert "Neighbors by features were not looked for" in page.read_text()


def test_without_a_pair_set_nothing_is_said(page: Path) -> None:
    run = StoredRun(page.parents[1] / "run")
    html = build_report(run, page.parents[1] / "plain", {}).read_text()
    assert 'id="contamination"' not in html
