"""Pair sets are written and read back, and an unsound row is named by file, row and column."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.pair_sources import generation, picture, understanding

from pairuni_eval.errors import UserError
from pairuni_train.pair_data.dataset import examine_pairs, read_about, read_pairs, write_pairs
from pairuni_train.pair_data.record import Kind, Pair, Provenance
from pairuni_train.pair_data.stats import read_stats

ALIGNED = Pair(
    id="a",
    kind=Kind.ALIGNED,
    understanding=understanding(1, facts={"kind": "count"}),
    generation=generation(1, id="u1~prompt", image=picture("red")),
    similarity=1.0,
    completed=Provenance(half="generation", writer="w", verifier="v"),
)
RETRIEVED = Pair(
    id="b",
    kind=Kind.RETRIEVED,
    understanding=understanding(2),
    generation=generation(2, facts={"row": {"tag": "colors"}}),
    similarity=0.625,
)
ASKED = Pair(id="c", kind=Kind.UNPAIRED, understanding=understanding(3))
DRAWN = Pair(id="d", kind=Kind.UNPAIRED, generation=generation(4))
ALL = [ALIGNED, RETRIEVED, ASKED, DRAWN]


@pytest.fixture
def written(tmp_path: Path) -> Path:
    path = tmp_path / "pairs.parquet"
    assert write_pairs(path, ALL, {"arm": "mixed", "name": "by hand"}) == 4
    return path


def test_pairs_are_read_back(written: Path) -> None:
    assert read_pairs(written) == ALL
    assert read_about(written) == {"arm": "mixed", "name": "by hand", "format": "pairuni-pairs/1"}


def test_equal_pairs_give_equal_bytes(written: Path, tmp_path: Path) -> None:
    again = tmp_path / "again.parquet"
    write_pairs(again, iter(ALL), {"name": "by hand", "arm": "mixed"})
    assert again.read_bytes() == written.read_bytes()


def test_images_are_structs_as_the_hub_stores_them(written: Path) -> None:
    cell = pq.read_table(written)["understanding_image"][0].as_py()
    assert cell == {"bytes": picture("red"), "path": None}


def test_an_image_may_stand_beside_the_file(written: Path, tmp_path: Path) -> None:
    (tmp_path / "one.png").write_bytes(picture("blue"))
    changed = change(written, 1, understanding_image={"bytes": None, "path": "one.png"})
    half = read_pairs(changed)[0].understanding
    assert half is not None
    assert half.image == picture("blue")


def test_stats_count_halves_and_similarities(written: Path) -> None:
    stats = read_stats(written)
    assert (stats.rows, stats.halves) == (4, 6)
    assert stats.kinds == {"unpaired": 2, "aligned": 1, "retrieved": 1}
    assert stats.understanding == {"asked": 3}
    assert stats.completed == {"generation half, written by w, checked by v": 1}
    assert stats.similarities == (0.625,)  # that of an aligned pair says nothing
    assert stats.histogram == (0,) * 12 + (1,) + (0,) * 7


def change(path: Path, row: int, **cells: Any) -> Path:
    """Write cells of one row (from 1) anew."""
    table = pq.read_table(path)
    rows = table.to_pylist()
    rows[row - 1] |= cells
    pq.write_table(pa.Table.from_pylist(rows, schema=table.schema), path)
    return path


NO_UNDERSTANDING = dict.fromkeys(
    [f"understanding_{name}" for name in ("id", "source", "licence", "image", "facts")]
)


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        (
            {"understanding_image": None},
            "row 2 (b): understanding_image is missing.",
        ),
        (
            {"understanding_image": {"bytes": b"", "path": None}},
            "row 2 (b): understanding_image is missing.",
        ),
        (
            {"similarity": 1.5},
            "row 2 (b): similarity is 1.5; it lies between 0 and 1.",
        ),
        (
            {"similarity": -0.25},
            "row 2 (b): similarity is -0.25; it lies between 0 and 1.",
        ),
        (
            {"similarity": float("nan")},
            "row 2 (b): similarity is nan; it lies between 0 and 1.",
        ),
        (
            {"kind": "retreived"},
            "row 2 (b): kind is 'retreived', which is not a kind of pair. Did you mean 'retrieved'",
        ),
        (
            {"kind": "unpaired"},
            "row 2 (b): kind is unpaired, but there are two halves.",
        ),
        (
            {"generation_id": None},
            "row 2 (b): generation_id is empty, but the kind is retrieved, which has two halves.",
        ),
        (
            {**NO_UNDERSTANDING, "generation_id": None},
            "row 2 (b): understanding_id and generation_id are both empty: there is no half.",
        ),
        ({"question": "  "}, "row 2 (b): question is empty."),
        ({"prompt": None}, "row 2 (b): prompt is empty."),
        ({"completed_half": "both"}, "row 2 (b): completed_half is 'both', neither"),
        ({"generation_facts": "{"}, "row 2 (b): generation_facts is not a JSON object"),
    ],
)
def test_unsound_rows_are_named(written: Path, cells: dict[str, Any], message: str) -> None:
    change(written, 2, **cells)
    with pytest.raises(UserError) as refused:
        read_pairs(written)
    assert refused.value.message.startswith(f"{written}, {message}")
    # A check sees the other rows all the same.
    found = list(examine_pairs(written))
    assert [found[i] for i in (0, 2, 3)] == [ALIGNED, ASKED, DRAWN]


def test_a_missing_column_is_named(written: Path) -> None:
    table = pq.read_table(written)
    names = ["prompts" if name == "prompt" else name for name in table.column_names]
    pq.write_table(table.rename_columns(names), written)
    with pytest.raises(UserError, match=r"column 'prompt' is missing. Is it 'prompts'\?"):
        read_pairs(written)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: path.unlink(), "There is no pair set"),
        (lambda path: path.write_bytes(b"PAR1 but no parquet"), "not a readable parquet file"),
    ],
)
def test_no_pair_set(written: Path, make: Callable[[Path], Any], message: str) -> None:
    make(written)
    with pytest.raises(UserError, match=message):
        read_pairs(written)


def test_records_are_frozen() -> None:
    with pytest.raises(AttributeError):
        ALIGNED.id = "z"  # type: ignore[misc]
    assert msgspec.structs.replace(ALIGNED, id="z").id == "z"
