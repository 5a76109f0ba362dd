"""Where rows come from: the order of places, and what is said when they are nowhere."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.pair_sources import picture

from pairuni_eval.cards import Card, DataSpec, MetricSpec, ProtocolSpec
from pairuni_eval.data import Data, Origin
from pairuni_eval.data_folder import DataFolder
from pairuni_eval.errors import DatasetError, UserError
from pairuni_eval.records import Capability


def card(**spec: Any) -> Card:
    rule = ProtocolSpec(summary="", source="", headline="m", metrics=(MetricSpec(name="m"),))
    return Card(
        name="acme",
        title="",
        summary="",
        version="7",
        capability=Capability.UNDERSTAND,
        expected=1,
        unit="image",
        licence="MIT",
        protocols={"official": rule},
        data=DataSpec(**spec),
    )


def write_lines(path: Path, *rows: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_data_that_is_made_here_needs_no_files(tmp_path: Path) -> None:
    data = Data(card(), tmp_path)
    assert data.files() == []
    assert data.origin() == Origin("made here", "7")


def test_the_users_folder_comes_before_the_shipped_file(tmp_path: Path) -> None:
    own, given = tmp_path / "own", tmp_path / "given"
    write_lines(own / "a.jsonl", {"from": "shipped"})
    spec = card(files=("a.jsonl",), revision="r")
    assert list(Data(spec, own, given).jsonl_rows()) == [{"from": "shipped"}]
    assert Data(spec, own).origin() == Origin("shipped", "r")
    write_lines(given / "a.jsonl", {"from": "given"})
    assert list(Data(spec, own, given).jsonl_rows()) == [{"from": "given"}]
    write_lines(given / "acme" / "a.jsonl", {"from": "given/acme"})
    assert list(Data(spec, own, given).jsonl_rows()) == [{"from": "given/acme"}]
    assert Data(spec, own, given).origin() == Origin("folder", "r")


def test_files_come_in_the_order_of_patterns_then_names_each_once(tmp_path: Path) -> None:
    for name in ("z.jsonl", "b.jsonl", "a.jsonl"):
        write_lines(tmp_path / name, {})
    found = Data(card(files=("z.*", "*.jsonl")), tmp_path).files()
    assert [path.name for path in found] == ["z.jsonl", "a.jsonl", "b.jsonl"]


def test_a_place_that_lacks_one_pattern_is_not_taken(tmp_path: Path) -> None:
    write_lines(tmp_path / "given" / "a.jsonl", {})
    data = Data(card(files=("a.jsonl", "b.jsonl")), tmp_path / "own", tmp_path / "given")
    with pytest.raises(UserError, match=r"Looked for a\.jsonl, b\.jsonl in"):
        data.files()


def test_missing_data_says_what_was_looked_for_and_what_is_there(tmp_path: Path) -> None:
    given = tmp_path / "given"
    write_lines(given / "readme.txt", {})
    with pytest.raises(UserError) as caught:
        Data(card(files=("data/*.parquet",), hub="acme/set"), tmp_path / "own", given).files()
    message = caught.value.message
    for part in ("'acme'", "data/*.parquet", str(given / "acme"), str(given), "readme.txt"):
        assert part in message, part
    assert "acme/set" in str(caught.value.hint)
    assert "--data DIR" in str(caught.value.hint)


def test_without_network_the_hub_is_a_clear_refusal(tmp_path: Path) -> None:
    data = Data(card(files=("x.parquet",), hub="acme-nobody/set", revision="r"), tmp_path)
    with pytest.raises(UserError, match="Cannot get the dataset acme-nobody/set at revision r"):
        data.files()


def test_another_version_of_a_pinned_file_is_refused(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "a.jsonl", {"x": 1})
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    spec = card(files=("a.jsonl",), sha256={"a.jsonl": digest}, revision="r9")
    assert len(Data(spec, tmp_path).files()) == 1
    write_lines(path, {"x": 2})
    with pytest.raises(UserError, match=f"expects {digest[:12]}") as caught:
        Data(spec, tmp_path).files()
    assert "r9" in str(caught.value.hint)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b'{"a": 1}\n\n{"a": \n', r"a\.jsonl, line 3: not JSON"),
        (b'{"a": 1}\n[1]\n', r"a\.jsonl, line 2: expected an object, found list"),
        (b'{"a": "\xff"}\n', r"a\.jsonl, line 1: not UTF-8"),
    ],
)
def test_a_broken_line_is_named_by_file_and_number(
    tmp_path: Path, content: bytes, told: str
) -> None:
    (tmp_path / "a.jsonl").write_bytes(content)
    with pytest.raises(UserError, match=told):
        list(Data(card(files=("a.jsonl",)), tmp_path).jsonl_rows())


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "t.parquet"
    rows = [{"question": f"q{i}", "answer": "yes" * 500, "extra": i} for i in range(600)]
    pq.write_table(pa.Table.from_pylist(rows), path, compression="none", use_dictionary=False)
    return path


def test_parquet_rows_keep_order_and_only_the_asked_columns(table: Path) -> None:
    rows = list(Data(card(files=("t.parquet",)), table.parent).parquet_rows(["question"]))
    assert rows == [{"question": f"q{i}"} for i in range(600)]


def test_a_missing_column_is_named_with_the_nearest(table: Path) -> None:
    data = Data(card(files=("t.parquet",)), table.parent)
    told = r"t\.parquet: column 'questions' is missing. Is it 'question'\? It has: question, answer"
    with pytest.raises(UserError, match=told):
        list(data.parquet_rows(["questions"]))


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def no_parquet(path: Path) -> None:
    path.write_bytes(b"<html>Not found</html>")


def scramble_pages(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[4:60] = b"\xff" * 56
    path.write_bytes(bytes(data))


@pytest.mark.parametrize("damage", [cut, no_parquet, scramble_pages])
def test_a_damaged_parquet_file_is_named(table: Path, damage: Any) -> None:
    damage(table)
    with pytest.raises(UserError, match=r"t\.parquet: not a readable parquet file"):
        list(Data(card(files=("t.parquet",)), table.parent).parquet_rows(["question"]))


PNG = picture("red")


def test_a_picture_is_read_from_every_form_of_cell(tmp_path: Path) -> None:
    write_lines(tmp_path / "a.jsonl", {})
    (tmp_path / "p.png").write_bytes(PNG)
    data = Data(card(files=("a.jsonl",)), tmp_path)
    digest = hashlib.sha256(PNG).hexdigest()
    for cell in ({"bytes": PNG, "path": None}, PNG, "p.png", {"path": "p.png"}, [PNG]):
        assert data.picture(cell).id == digest
        assert data.picture(cell).flaw is None
    for cell in (None, {"bytes": None, "path": None}, b"", [], ""):
        assert data.picture(cell).data == b""
        assert data.picture(cell).flaw is None
    lost = data.picture("lost.png")
    assert (lost.data, lost.id) == (b"", hashlib.sha256().hexdigest())
    assert lost.flaw == "there is no file 'lost.png' in the dataset's folder"


def test_a_flaw_names_file_column_and_what_was_found(tmp_path: Path) -> None:
    pq.write_table(pa.table({"image": [[PNG, PNG]]}), tmp_path / "t.parquet")
    data = Data(card(files=("*.parquet",)), tmp_path)
    (row,) = data.parquet_rows(["image"])
    flaw = data.picture_of(row, "image").flaw
    assert flaw == "t.parquet, column image: a list of 2 images; one is read"


def test_paths_start_at_the_rows_own_file_and_at_the_place_that_was_found(tmp_path: Path) -> None:
    write_lines(tmp_path / "acme" / "one" / "a.jsonl", {"image": "x.png"})
    write_lines(tmp_path / "acme" / "two" / "b.jsonl", {"image": "x.png"}, {"image": "top/y.png"})
    write_lines(tmp_path / "acme" / "two" / "c.jsonl", {"image": "../../outside.png"})
    shown = {}
    for number, name in enumerate(("one/x.png", "two/x.png", "top/y.png", "../outside.png")):
        path = tmp_path / "acme" / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(shown.setdefault(name, picture("red", (3, 3 + number))))
    data = Data(card(files=("**/*.jsonl",)), tmp_path / "own", tmp_path)
    found = [data.picture_of(row, "image").data for row in data.jsonl_rows()]
    assert found == [shown["one/x.png"], shown["two/x.png"], shown["top/y.png"], b""]


def test_the_hubs_own_links_work_and_lead_nowhere_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    repository = tmp_path / "hub" / "datasets--acme--set"
    place = repository / "snapshots" / "r"
    rows = [{"image": "a.png"}, {"image": "b.png"}]
    blob = write_lines(repository / "blobs" / "1", *rows)
    picture_blob, outside = repository / "blobs" / "2", tmp_path / "outside.png"
    picture_blob.write_bytes(PNG)
    outside.write_bytes(PNG)
    place.mkdir(parents=True)
    links = {"t.jsonl": blob, "a.png": picture_blob, "b.png": outside}
    for name, target in links.items():
        (place / name).symlink_to(target)
    folder = DataFolder.around(place / "t.jsonl")
    assert folder.read("a.png") == PNG
    with pytest.raises(DatasetError, match=r"'b\.png' is a link out of the dataset's folder"):
        folder.read("b.png")


def test_text_that_is_no_utf8_in_a_parquet_file_names_the_file(tmp_path: Path) -> None:
    raw = pa.array([b"\xb4\xf0"], pa.binary()).view(pa.string())
    pq.write_table(pa.table({"question": raw}), tmp_path / "t.parquet")
    with pytest.raises(UserError, match=r"t\.parquet: not a readable parquet file"):
        list(Data(card(files=("t.parquet",)), tmp_path).parquet_rows(["question"]))


def test_linked_folders_are_entered(tmp_path: Path) -> None:
    elsewhere = write_lines(tmp_path / "elsewhere" / "deep" / "a.jsonl", {"x": 1}).parents[1]
    (tmp_path / "given" / "acme").mkdir(parents=True)
    (tmp_path / "given" / "acme" / "Full").symlink_to(elsewhere)
    spec = card(files=("**/*.jsonl",))
    assert list(Data(spec, tmp_path / "own", tmp_path / "given").jsonl_rows()) == [{"x": 1}]


def test_a_cell_that_is_no_text_is_named_by_file_row_and_column(tmp_path: Path) -> None:
    pq.write_table(pa.table({"question": ["What?", None]}), tmp_path / "t.parquet")
    first, second = Data(card(files=("t.parquet",)), tmp_path).parquet_rows(["question"])
    assert first.text("question") == "What?"
    with pytest.raises(UserError, match=r"t\.parquet, row 2: column 'question' holds nothing, not"):
        second.text("question")


class Form(msgspec.Struct):
    name: str


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ('{"name": 5}', r"a\.jsonl, row 2: Expected `str`, got `int` - at `\$\.name`"),
        ("{}", r"a\.jsonl, row 2: Object missing required field `name`"),
        ('{"name": "x", "y": NaN}', r"a\.jsonl, row 2: it holds what cannot be stored"),
    ],
)
def test_nested_rows_are_checked_whole(tmp_path: Path, line: str, told: str) -> None:
    (tmp_path / "a.jsonl").write_text(f'{{"name": "x", "more": [1]}}\n{line}\n')
    rows = Data(card(files=("a.jsonl",)), tmp_path).jsonl_rows()
    next(rows).check(Form)
    with pytest.raises(UserError, match=told):
        for row in rows:
            row.check(Form)
