"""Rows come from parquet, JSON lines and tars; what cannot be used is counted with its reason."""

from __future__ import annotations

import base64
import io
import json
import tarfile
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.pair_sources import picture

from pairuni_eval.errors import UserError
from pairuni_eval.tiny import world
from pairuni_train.pair_data.config import Columns, FileSource, TinySource
from pairuni_train.pair_data.embed import decode
from pairuni_train.pair_data.record import Generation, Side, Understanding
from pairuni_train.pair_data.rows import Reject, RowStore, write_rows
from pairuni_train.pair_data.sources import fingerprint, locate, read_source

RED, BLUE = picture("red"), picture("blue")

# The published columns of Orsta-47k, as far as they matter here.
ORSTA = pa.schema(
    [
        ("data_source", pa.string()),
        ("images", pa.list_(pa.struct([("bytes", pa.binary()), ("path", pa.string())]))),
        ("prompt", pa.list_(pa.struct([("content", pa.string()), ("role", pa.string())]))),
        ("ability", pa.string()),
        (
            "reward_model",
            pa.struct([("answer", pa.string()), ("verifier", pa.string())]),
        ),
    ]
)
ORSTA_COLUMNS = Columns(
    image="images",
    question="prompt.0.content",
    answer="reward_model.answer",
    group="ability",
)


def orsta_row(number: int, **changes: Any) -> dict[str, Any]:
    row: dict[str, Any] = {
        "data_source": "somewhere",
        "images": [{"bytes": RED, "path": None}],
        "prompt": [{"content": f"<image>What is {number}?", "role": "user"}],
        "ability": "math",
        "reward_model": {"answer": str(number), "verifier": "mathverify"},
    }
    return row | changes


def source(**changes: Any) -> FileSource:
    fields: dict[str, Any] = {
        "name": "orsta",
        "folder": ".",
        "files": ("train/*.parquet",),
        "columns": ORSTA_COLUMNS,
        "licence": "MIT",
        "strip": ("<image>",),
        "drop": {
            "ability": ("detection", "grounding"),
            "reward_model.verifier": ("detection",),
        },
    }
    return FileSource(**(fields | changes))


def rows_of(folder: Path, one: FileSource, side: Side) -> RowStore:
    found = read_source(one, locate(one, folder), side, 0)
    return write_rows(folder / "store", side, found, seen=lambda: None)


def write_orsta(folder: Path, rows: Sequence[Mapping[str, Any]]) -> Path:
    path = folder / "train" / "train_math.parquet"
    path.parent.mkdir(exist_ok=True)
    pq.write_table(pa.Table.from_pylist(list(rows), schema=ORSTA), path)
    return path


def test_orsta_rows(tmp_path: Path) -> None:
    write_orsta(tmp_path, [orsta_row(1), orsta_row(2)])
    rows = rows_of(tmp_path, source(), "understanding")
    assert len(rows) == 2
    assert rows[1] == Understanding(
        id="train_math/1",
        source="orsta/math",
        licence="MIT",
        image=RED,
        question="What is 2?",
        answer="2",
    )


def test_detection_and_grounding_are_dropped_and_counted(tmp_path: Path) -> None:
    boxes = {"answer": "[1, 2, 3, 4]", "verifier": "detection"}
    write_orsta(
        tmp_path,
        [
            orsta_row(1),
            orsta_row(2, ability="cv_detection", reward_model=boxes),
            orsta_row(3, ability="cv_Grounding", reward_model=boxes),
            orsta_row(4, ability="other", reward_model=boxes),
        ],
    )
    rows = rows_of(tmp_path, source(), "understanding")
    assert [rows[i].id for i in range(len(rows))] == ["train_math/0"]
    assert rows.about.dropped == {
        "ability: detection": 1,
        "ability: grounding": 1,
        "reward_model.verifier: detection": 1,
    }


def test_broken_rows_are_counted_with_reasons(tmp_path: Path) -> None:
    several = [{"bytes": RED, "path": None}, {"bytes": BLUE, "path": None}]
    write_orsta(
        tmp_path,
        [
            orsta_row(1),
            orsta_row(2, images=[]),
            orsta_row(3, images=[{"bytes": b"", "path": None}]),
            orsta_row(4, images=several),
            orsta_row(5, prompt=[{"content": "<image> ", "role": "user"}]),
            orsta_row(6, prompt=None),
            orsta_row(7, reward_model={"answer": "", "verifier": ""}),
        ],
    )
    rows = rows_of(tmp_path, source(), "understanding")
    assert len(rows) == 1
    assert Counter(one.reason for one in rows.about.rejects) == {
        "empty question": 2,
        "missing image": 2,
        "empty answer": 1,
        "more than one image": 1,
    }
    assert Reject("train_math.parquet, row 4", "more than one image") in rows.about.rejects
    assert Reject("orsta/math train_math/1", "missing image") in rows.about.rejects


def test_a_missing_column_is_named(tmp_path: Path) -> None:
    path = write_orsta(tmp_path, [orsta_row(1)])
    columns = Columns(image="image", question="prompt.0.content", answer="reward_model.answer")
    with pytest.raises(UserError) as refused:
        rows_of(tmp_path, source(columns=columns), "understanding")
    assert refused.value.message == (
        f"{path}: column 'image' of the source 'orsta' is missing. Is it 'images'? "
        "It has: data_source, images, prompt, ability, reward_model."
    )
    assert not (tmp_path / "store").exists()


def test_json_lines_with_paths_data_urls_and_own_ids(tmp_path: Path) -> None:
    (tmp_path / "red.png").write_bytes(RED)
    url = "data:image/png;base64," + base64.b64encode(BLUE).decode()
    lines = [
        {"key": 7, "picture": "red.png", "text": "a red field"},
        {"key": 8, "picture": url, "text": "a blue field"},
        {"key": 7, "picture": "red.png", "text": "another field"},
        {"key": 9, "picture": "green.png", "text": "a green field"},
        {"key": 10, "picture": "data:image/png;base64,???", "text": "nothing"},
        {"key": 11, "picture": "../red.png", "text": "a red field"},
    ]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, lines)))
    columns = Columns(image="picture", prompt="text", id="key")
    one = source(name="fields", files=("*.jsonl",), columns=columns, drop={})
    rows = rows_of(tmp_path, one, "generation")
    assert [rows[i] for i in range(len(rows))] == [
        Generation(id="7", source="fields", licence="MIT", prompt="a red field", image=RED),
        Generation(id="8", source="fields", licence="MIT", prompt="a blue field", image=BLUE),
    ]
    place, reason = "rows.jsonl, column picture:", "no readable image"
    lost = f"{place} there is no file 'green.png' in the dataset's folder"
    spoiled = f"{place} 'data:image/png;base64,???' is a data: URL that cannot be decoded"
    outside = f"{place} '../red.png' leads out of the dataset's folder"
    assert rows.about.rejects == (
        Reject("fields 7", "duplicate id"),
        Reject("fields 9", reason, lost),
        Reject("fields 10", reason, spoiled),
        Reject("fields 11", reason, outside),
    )


def test_a_line_that_is_no_json_is_named(tmp_path: Path) -> None:
    one = source(files=("*.jsonl",), columns=Columns(image="picture", prompt="text"), drop={})
    for line, told in (
        (b"prose", "not JSON"),
        (b"[1]", "not a JSON object"),
        (b"\xff", "not UTF-8"),
    ):
        (tmp_path / "rows.jsonl").write_bytes(b'{"picture": "a.png", "text": "a"}\n' + line)
        with pytest.raises(UserError, match=rf"rows.jsonl, line 2: {told}"):
            rows_of(tmp_path, one, "generation")


def write_tar(path: Path, members: Mapping[str, bytes]) -> None:
    with tarfile.open(path, "w") as archive:
        for name, data in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))


def test_tars_of_images_and_captions(tmp_path: Path) -> None:
    write_tar(
        tmp_path / "object_1.tar",
        {
            "000.jpg": RED,
            "000.txt": b"a red field\n",
            "001.jpg": BLUE,
            "001.txt": b" ",
            "002.txt": b"no picture",
        },
    )
    write_tar(tmp_path / "text_1.tar", {"sub/000.txt": b"a blue field", "sub/000.jpg": BLUE})
    columns = Columns(image="jpg", prompt="txt", group="__file__")
    one = source(name="blip", files=("*.tar",), columns=columns, drop={}, strip=())
    rows = rows_of(tmp_path, one, "generation")
    assert [rows[i] for i in range(len(rows))] == [
        Generation(
            id="object_1/000",
            source="blip/object_1",
            licence="MIT",
            prompt="a red field",
            image=RED,
        ),
        Generation(
            id="text_1/sub/000",
            source="blip/text_1",
            licence="MIT",
            prompt="a blue field",
            image=BLUE,
        ),
    ]
    assert Counter(one.reason for one in rows.about.rejects) == {
        "empty prompt": 1,
        "missing image": 1,
    }


def test_files_may_be_left_out_and_rows_limited(tmp_path: Path) -> None:
    write_orsta(tmp_path, [orsta_row(n) for n in range(5)])
    (tmp_path / "train" / "train_detection.parquet").write_bytes(b"never opened")
    one = source(exclude=("train/train_detection*",), rows=3)
    assert [path.name for path in locate(one, tmp_path)] == ["train_math.parquet"]
    assert len(rows_of(tmp_path, one, "understanding")) == 3


def test_a_source_without_files_says_where_it_looked(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"has no file train/\*.parquet in"):
        locate(source(), tmp_path)


def test_the_hub_without_network_is_a_user_error(tmp_path: Path) -> None:
    one = source(folder=None, hub="nobody/nothing")
    with pytest.raises(UserError, match="Cannot get the dataset nobody/nothing") as refused:
        locate(one, tmp_path)
    assert 'folder = "..." instead of hub' in (refused.value.hint or "")


def test_a_changed_file_has_another_fingerprint(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text("1")
    before = fingerprint([path])
    path.write_text("12")
    assert fingerprint([path]) != before


def test_tiny_rows_are_never_held_out_and_show_their_prompt() -> None:
    for side in ("understanding", "generation"):
        found = list(read_source(TinySource(rows=60), [], side, 3))
        assert found == list(read_source(TinySource(rows=60), [], side, 3))
        assert len(found) == 60
        for one in found:
            assert one.half is not None
            assert one.half.image is not None
            assert not world.held_out(world.read(decode(one.half.image)))


def test_tiny_rows_of_another_seed_differ() -> None:
    first, other = (
        [one.half for one in read_source(TinySource(rows=20), [], "understanding", seed)]
        for seed in (0, 1)
    )
    assert sum(a == b for a, b in zip(first, other, strict=True)) == 0
