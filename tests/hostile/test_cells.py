"""Whatever a row's cell says: no traceback, nothing opened outside, no secret in what comes out."""

from __future__ import annotations

import io
import json
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hostile.cells import Yard, cells, guarded, path_text

from pairuni_eval.data_folder import DataFolder
from pairuni_eval.errors import DatasetError
from pairuni_eval.image_cell import encoded_image
from pairuni_eval.pictures import read_rgb
from pairuni_eval.records import Picture
from pairuni_train.pair_data.config import Columns, FileSource
from pairuni_train.pair_data.sources import locate, read_source

COUNTS = [pytest.param(400, id="some"), pytest.param(4000, id="all", marks=pytest.mark.slow)]


@pytest.fixture
def yard(tmp_path: Path) -> Yard:
    return Yard.make(tmp_path)


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's, about damaged files
        yield


@pytest.mark.parametrize("count", COUNTS)
def test_a_cell_gives_an_image_or_a_reason(yard: Yard, count: int) -> None:
    folder = DataFolder(yard.folder, yard.folder / "images")
    images = reasons = 0
    read_rgb(yard.folder / "a.png", DatasetError)  # Pillow loads what it needs
    with guarded(yard.folder) as outside:
        for cell in cells(11, count, yard):
            try:
                data = encoded_image(cell, folder)
                assert not yard.stolen(data), cell
                images += read_rgb(io.BytesIO(data), DatasetError).mode == "RGB"
            except DatasetError as failure:
                reasons += 1
                assert str(failure).isprintable(), cell
                assert len(str(failure)) < 500, cell
    assert not outside
    assert images > count // 10
    assert reasons > count // 4


def test_the_watch_sees_what_is_opened(yard: Yard) -> None:
    with guarded(yard.folder) as outside:
        (yard.folder / "a.png").read_bytes()
        yard.secrets[0].read_bytes()
    assert outside == [str(yard.secrets[0])]


@pytest.mark.parametrize("count", COUNTS)
def test_pair_sources(yard: Yard, count: int) -> None:
    rows = [{"image": cell, "text": "words"} for cell in _plain(cells(12, count, yard))]
    (yard.folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    source = FileSource(
        name="s",
        folder=str(yard.folder),
        files=("*.jsonl",),
        columns=Columns(image="image", prompt="text"),
        licence="MIT",
    )
    paths = locate(source, yard.folder)
    with guarded(yard.folder) as outside:
        found = list(read_source(source, paths, "generation", 0, root=yard.folder))
    assert not outside
    assert len(found) == len(rows)
    for one in found:
        assert (one.half is None) != (one.reject is None)
        assert one.half is None or not yard.stolen(one.half.image or b"")


def test_a_whole_run(cli: Any, yard: Yard) -> None:
    """The command over hostile rows: every row has a status, no secret is in the run."""
    import random

    import pyarrow as pa
    import pyarrow.parquet as pq

    rng = random.Random(13)
    texts = [path_text(rng, yard).replace("\ud800", "x") for _ in range(60)]
    table = {
        "index": list(range(len(texts))),
        "question": ["What? Options: A: a, B: b"] * len(texts),
        "image": texts,
        "answer": ["A"] * len(texts),
        "category": ["math"] * len(texts),
        "l2_category": ["geometry"] * len(texts),
        "meta_info": [{"source": "s", "split": "val", "image_path": "x"}] * len(texts),
    }
    pq.write_table(pa.table(table), yard.folder / "mmstar.parquet")
    out = yard.folder.parents[1] / "run"
    script = out.with_name("script.jsonl")
    script.write_text('{"prompt": "*", "text": "A"}\n')
    ran = cli(
        *("run", "--checkpoint", f"scripted:{script}", "--benchmarks", "mmstar"),
        *(
            "--data",
            yard.folder,
            "--limit",
            len(texts),
            "--batch-size",
            1,
            "--out",
            out,
            "--report",
            out.parent / "report",
        ),
    )
    assert ran.code == 0, ran.err
    errors = pq.read_table(out / "outputs.parquet")["error"].to_pylist()
    samples = pq.read_table(out / "samples.parquet")["parts"].to_pylist()
    shown = [path for place in (out, out.parent / "report") for path in place.rglob("*")]
    assert not any(yard.stolen(path.read_bytes()) for path in shown if path.is_file())
    for text, error, parts in zip(texts, errors, samples, strict=True):
        if error is not None and text:
            assert error.startswith("mmstar.parquet, column image: "), error
            assert json.loads(parts)[0] == {
                "kind": "image",
                "image": Picture.broken("").id,
                "flaw": error,
            }
    assert None in errors  # those that lie inside are read


def _plain(made: Iterator[Any]) -> Iterator[Any]:
    """Those that strict JSON can hold."""
    for cell in made:
        try:
            text = json.dumps(cell)
        except (TypeError, ValueError):
            continue
        if not any(odd in text for odd in ("NaN", "Infinity", "\\ud800")):
            yield cell
