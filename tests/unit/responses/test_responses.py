"""Files of answers in the layouts that people have them in."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pairuni_eval.errors import UserError
from pairuni_eval.responses.formats import match_responses
from pairuni_eval.responses.layouts import Format
from pairuni_eval.responses.records import read_records
from pairuni_eval.responses.rows import MatchedResponses, image_beside, read_responses
from pairuni_eval.responses.sample_index import IndexedSample, SampleIndex

CELLS = "aB \t\n,\"';|"
KEYS = ("val_1", "val_2", "val_3")


@pytest.fixture
def index() -> SampleIndex:
    """Three samples with a question and a gold answer."""
    return SampleIndex("toy", [IndexedSample(key, (), f"Question {key}?", "B") for key in KEYS])


Read = Callable[..., MatchedResponses]


@pytest.fixture
def read(tmp_path: Path, index: SampleIndex) -> Read:
    """Write a file and read it."""

    def read(name: str, content: str | bytes, layout: Format | None = None) -> MatchedResponses:
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return match_responses(path, layout, index)

    return read


def said(matched: MatchedResponses) -> dict[str, str | None]:
    return {row.id: row.text for row in matched.responses}


ANSWERS = {"val_1": "B", "val_2": "C"}
ROWS = [{"id": key, "text": text} for key, text in ANSWERS.items()]
PREDICTIONS = [
    {"index": i, "id": key, "question": f"Question {key}?", "answer": "B", "prediction": text}
    for i, (key, text) in enumerate(ANSWERS.items())
]


@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize("value", [ANSWERS, ROWS, PREDICTIONS])
def test_a_whole_json_file_is_read(read: Read, value: Any, indent: int | None) -> None:
    assert said(read("answers.json", json.dumps(value, indent=indent))) == ANSWERS


def test_one_row_over_several_lines_is_one_row(read: Read) -> None:
    assert said(read("a.json", json.dumps(ROWS[0], indent=1))) == {"val_1": "B"}


def test_an_object_with_null_says_that_nothing_was_answered(read: Read) -> None:
    assert said(read("a.json", '{"val_1": null, "val_2": 3}')) == {"val_1": None, "val_2": "3"}


def test_packed_lines_are_read(read: Read) -> None:
    lines = "".join(json.dumps(row) + "\n" for row in ROWS)
    assert said(read("a.jsonl.gz", gzip.compress(lines.encode()))) == ANSWERS
    assert said(read("A.JSONL.GZ", gzip.compress(lines.encode()))) == ANSWERS


@pytest.mark.parametrize(("name", "mark"), [("p.csv", ","), ("p.TSV", "\t"), ("P.CSV", ",")])
def test_tables_are_read_whatever_the_case_of_their_suffix(
    read: Read, name: str, mark: str
) -> None:
    lines = [mark.join(PREDICTIONS[0]), *(mark.join(map(str, r.values())) for r in PREDICTIONS)]
    assert said(read(name, "\n".join(lines))) == ANSWERS
    own = [mark.join(("id", "text")), *(mark.join(row.values()) for row in ROWS)]
    assert said(read(name, "\ufeff" + "\n".join(own))) == ANSWERS


def test_a_sheet_in_capitals_is_read(tmp_path: Path, index: SampleIndex) -> None:
    import pandas as pd

    path = tmp_path / "P.XLSX"
    with path.open("wb") as stream:
        pd.DataFrame(PREDICTIONS).to_excel(stream, index=False, engine="openpyxl")
    assert said(match_responses(path, None, index)) == ANSWERS


def test_empty_cells_are_missing_and_the_empty_text_of_json_is_an_answer(read: Read) -> None:
    table = "index\tid\tprediction\n0\tval_1\t\n1\tval_2\t  \n2\tval_3\tB\n"
    matched = read("p.tsv", table)
    assert said(matched) == {"val_1": None, "val_2": None, "val_3": "B"}
    assert any(note.endswith("missing and not wrong: 2") for note in matched.notes)
    assert said(read("o.csv", "id,text\nval_1,\nval_2,B\n")) == {"val_1": None, "val_2": "B"}
    rows = [{**PREDICTIONS[0], "prediction": ""}, {**PREDICTIONS[1], "prediction": None}]
    assert said(read("p.json", json.dumps(rows))) == {"val_1": "", "val_2": None}


def test_the_draws_of_a_table_are_numbers(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("id,image,draw\n007,a.png,0\n007,b.png,1\n008,,0\n")
    rows = read_responses(path).responses
    assert [(row.id, row.draw) for row in rows] == [("007", 0), ("007", 1), ("008", 0)]
    assert [row.image and row.image.name for row in rows] == ["a.png", "b.png", None]


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("a.json", '{"val_1": {"pred": "B"}}', "missing required field `id`"),
        ("a.json", '{\n"val_1": ["B"]}', "this layout is not read. Answers are read from one file"),
        ("a.json", "[1, 2]", "line 1: expected an object, found int"),
        ("a.json", "[]", "holds no rows"),
        ("a.json", "3", "line 1: expected an object"),
        ("a.jsonl", '{"id": "val_1", "text": "B"}\n3\n', "line 2: expected an object, found int"),
        ("a.jsonl", '{"id": "val_1", "text": "B"}\n{"id": ', "line 2: not JSON"),
        ("a.jsonl", '{"question_id": 1, "text": "B"}', "Is it 'question_id'? Rename it to 'id'"),
        ("a.jsonl", '{"id": "val_1", "response": "B"}', "Is it 'response'? Rename it to 'text'"),
        ("a.xls", b"\xd0\xcf\x11\xe0", "the old Excel format is not read"),
        ("a.csv", "id;text\nval_1;B\n", "its columns are separated by a semicolon (';')"),
        ("a.csv", "id\ttext\nval_1\tB\n", "its columns are separated by a tab"),
        ("a.tsv", "id,text\nval_1,B\n", "its columns are separated by a comma (',')"),
        ("a.csv", "idtext\nval_1\n", "column 'index' is missing"),
        ("a.csv", "id,text,text\nval_1,B,C\n", "two columns are called 'text'"),
        ("a.csv", "id,text\nval_1,B\nval_2,C,D\n", "line 3: 3 cells under 2 columns"),
        ("a.csv", 'id,text\nval_1,"B, or\nval_2,C\n', "line 2: a quote that begins a cell"),
        ("a.csv", 'id,text\nval_1,B\nval_2,"C", no\n', "line 3: 3 cells under 2 columns"),
        ("a.csv", 'id,text\nval_1,B\nval_2,"C" is, no\n', "line 3: a quote that begins a cell"),
        ("a.json", '[{"id": "val_1", "text": "B"}]\nprose\n', "line 2: not JSON"),
        ("a.json", '[{"id": "val_1", "text": "B"}] prose', "line 1: not JSON: Expecting value"),
        ("a.json", '[{"id": "val_1", "text": "B"}]\n3\n', "line 2: expected an object, found int"),
        ("a.json", '[\n{"id": "val_1", "text": "B"},\n{"id": ]', "line 3: not JSON"),
        ("a.json", '{"val_1": "B", "val_1": "C"}', "id 'val_1', draw 0 stands on lines 1 and 2"),
        ("a.json", '{"val_1": "B",\n"val_1": null}', "with different answers"),
        ("a.csv", "id,text\nval_1,\u7b54\n".encode("gbk"), "line 2: not UTF-8"),
        ("a.tsv", "", "not a readable table"),
    ],
)
def test_what_is_not_read_is_a_sentence(
    read: Read, name: str, content: str | bytes, told: str
) -> None:
    with pytest.raises(UserError) as caught:
        read(name, content)
    assert told in caught.value.message
    assert name in caught.value.message


@pytest.mark.parametrize("between", ["\n", "", "\n\n ", "\r\n"])
@pytest.mark.parametrize("indent", [None, 1])
def test_lists_and_objects_one_after_the_other_are_all_read(
    read: Read, between: str, indent: int | None
) -> None:
    lists = [json.dumps([row], indent=indent) for row in ROWS]
    assert said(read("a.json", between.join(lists))) == ANSWERS
    assert said(read("a.json", between.join([lists[0], json.dumps(ROWS[1])]))) == ANSWERS
    objects = [json.dumps(row, indent=1) for row in ROWS]
    assert said(read("a.json", between.join(objects))) == ANSWERS


def test_an_id_twice_with_one_answer_counts_once(read: Read) -> None:
    matched = read("a.json", '{"val_1": "B \\ud83d", "val_2": "C", "val_1": "B \\ud83d"}')
    assert said(matched) == {"val_1": "B \N{REPLACEMENT CHARACTER}", "val_2": "C"}
    assert any(note.endswith("word for word and count once: 1") for note in matched.notes)


@pytest.mark.parametrize(
    ("first", "third"),
    [('"B', "C"), ('"B', '"C'), ('"B', 'C"'), ('"B" it is', "C"), ('B"', '"'), ('"', '"')],
)
@pytest.mark.parametrize("ids", [("1", "2", "3"), ("val_1", "val_2", "val_3")])
@pytest.mark.parametrize(("suffix", "mark"), [("tsv", "\t"), ("csv", ",")])
def test_quotes_that_hold_nothing_swallow_no_rows(
    tmp_path: Path, ids: tuple[str, ...], first: str, third: str, suffix: str, mark: str
) -> None:
    path = tmp_path / f"a.{suffix}"
    rows = zip(ids, (first, "no", third), strict=True)
    path.write_text("\n".join(mark.join(row) for row in [("id", "text"), *rows]) + "\n")
    read = [(row.id, row.text) for row in read_responses(path).responses]
    assert read == list(zip(ids, (first, "no", third), strict=True))


@given(
    st.lists(st.tuples(st.text(CELLS, min_size=1), *[st.text(CELLS)] * 2), min_size=1, max_size=5)
)
@pytest.mark.parametrize(("suffix", "mark"), [("tsv", "\t"), ("csv", ",")])
def test_a_table_of_pandas_is_read_as_it_was(
    tmp_path_factory: pytest.TempPathFactory, suffix: str, mark: str, rows: list[tuple[str, ...]]
) -> None:
    import pandas as pd

    path = tmp_path_factory.mktemp("t") / f"a.{suffix}"
    columns = ["id", "text", "more"]
    pd.DataFrame(rows, columns=columns).to_csv(path, sep=mark, index=False)
    found = [tuple(row[name] for name in columns) for _, row in read_records(path).rows]
    assert found == [tuple(cell if cell.strip() else None for cell in row) for row in rows]


def test_a_table_within_an_answer_stays_in_its_cell(read: Read) -> None:
    text = "Counts:\n3,4\nval,5\nB"
    assert said(read("a.csv", f'id,text\nval_1,"{text}"\nval_2,"say ""C"""\n')) == {
        "val_1": text,
        "val_2": 'say "C"',
    }


def test_a_sheet_with_two_columns_of_one_name_is_refused(
    tmp_path: Path, index: SampleIndex
) -> None:
    import pandas as pd

    path = tmp_path / "p.xlsx"
    pd.DataFrame([["val_1", "B", "C"]], columns=["id", "text", "text"]).to_excel(path, index=False)
    with pytest.raises(UserError, match="two columns are called 'text'"):
        match_responses(path, None, index)


def test_a_lone_half_character_costs_no_row(read: Read) -> None:
    lines = r'{"id": "val_1", "text": "B \ud83d", "\ud83d": 1}' + "\n" + '{"id":"val_2","text":"C"}'
    assert said(read("a.jsonl", lines)) == {"val_1": "B \N{REPLACEMENT CHARACTER}", "val_2": "C"}


# Images


def test_images_lie_below_the_folder_of_their_file(tmp_path: Path) -> None:
    path = tmp_path / "run" / "a.jsonl"
    path.parent.mkdir()
    inside = {
        "a.png": "a.png",
        "images/a.png": "images/a.png",
        "images\\a.png": "images/a.png",
        ".\\images\\..\\a.png": "a.png",
        str(path.parent / "a.png"): "a.png",
    }
    for named, place in inside.items():
        assert image_beside(path, named) == path.parent / place
    for named in ("../a.png", "..\\a.png", "/etc/passwd", "a/../../b.png", "a\0.png"):
        assert image_beside(path, named) is None


def test_a_backslash_in_a_real_name_stays(tmp_path: Path) -> None:
    (tmp_path / "a\\b.png").touch()
    assert image_beside(tmp_path / "a.jsonl", "a\\b.png") == tmp_path / "a\\b.png"


def test_a_path_out_of_the_folder_is_a_fault_on_its_row(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"id": "1", "image": "../x.png"}\n' + '{"id": "2", "image": "x.png"}\n')
    first, second = read_responses(path).responses
    assert (first.image, first.fault) == (
        None,
        "the path of the image leads out of the folder of the file",
    )
    assert (second.image, second.fault) == (tmp_path / "x.png", None)


def test_a_link_that_the_user_made_is_followed(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "images").symlink_to(tmp_path / "elsewhere")
    found = image_beside(tmp_path / "run" / "a.jsonl", "images/a.png")
    assert found == tmp_path / "run" / "images" / "a.png"
