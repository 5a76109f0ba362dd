"""The reader of users' text files: encodings, marks, half characters, packed files."""

from __future__ import annotations

import gzip
import json
import subprocess
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pairuni_eval.errors import UserError
from pairuni_eval.user_text import (
    Repeated,
    json_lines,
    json_of,
    json_value,
    json_values,
    lines_of,
    records_of,
    text_of,
)

ROW = '{"id": "a", "text": "\u7b54\u6848"}\n'
BOX = "\N{REPLACEMENT CHARACTER}"


def write(folder: Path, data: bytes, name: str = "a.jsonl") -> Path:
    path = folder / name
    path.write_bytes(data)
    return path


@pytest.mark.parametrize(
    ("data", "line", "named"),
    [
        (ROW.encode("gbk"), 1, "not UTF-8"),
        (b'{"id": "b"}\n\n' + ROW.encode("gbk"), 3, "not UTF-8"),
        (b'{"id": "b"}\n{"text": "caf\xe9"}\n', 2, "not UTF-8"),
        (ROW.encode("utf-16"), 1, "UTF-16, not UTF-8"),
        (ROW.encode("utf-16-be"), 1, "UTF-16BE, not UTF-8"),
        (ROW.encode("utf-16-le"), 1, "UTF-16LE, not UTF-8"),
        (ROW.encode("utf-32"), 1, "UTF-32, not UTF-8"),
    ],
)
def test_another_encoding_is_a_sentence_with_the_line(
    tmp_path: Path, data: bytes, line: int, named: str
) -> None:
    path = write(tmp_path, data)
    for read in (lambda: list(json_lines(path)), lambda: text_of(path)):
        with pytest.raises(UserError) as caught:
            read()
        assert caught.value.message == f"{path}, line {line}: {named}."
        assert "iconv -f " in str(caught.value.hint)


def test_the_command_names_an_encoding_that_fits(tmp_path: Path) -> None:
    for name in ("gbk", "utf-16"):
        with pytest.raises(UserError) as caught:
            text_of(write(tmp_path, ROW.encode(name)))
        assert f"iconv -f {name.upper()} -t UTF-8" in str(caught.value.hint)


def test_the_command_for_a_packed_file_unpacks_it_and_makes_the_file(tmp_path: Path) -> None:
    path = write(tmp_path, gzip.compress(ROW.encode("gbk")), "a b.jsonl.gz")
    with pytest.raises(UserError) as caught:
        list(json_lines(path))
    asked, command = str(caught.value.hint).split("e.g. ")
    assert asked == "Save the file as UTF-8, "
    assert command == f"gzip -dc '{path}' | iconv -f GBK -t UTF-8 > 'utf8-a b.jsonl'"
    subprocess.run(["bash", "-c", command], cwd=tmp_path, check=True)
    assert text_of(tmp_path / "utf8-a b.jsonl") == ROW


def test_a_file_that_is_packed_twice_is_said_to_be(tmp_path: Path) -> None:
    once = gzip.compress(ROW.encode())
    path = write(tmp_path, gzip.compress(once), "a.jsonl.gz")
    for read in (lambda: list(json_lines(path)), lambda: text_of(path)):
        with pytest.raises(UserError, match=r"a\.jsonl\.gz: packed by gzip twice") as caught:
            read()
        assert f"gzip -dc {path} > once-a.jsonl.gz" in str(caught.value.hint)
    with pytest.raises(UserError, match=r"packed by gzip, but not called so"):
        text_of(write(tmp_path, once))


def test_values_one_after_the_other_are_read_with_their_lines(tmp_path: Path) -> None:
    path = write(tmp_path, b'\n[1,\n2] {"a": 1, "a": 2}\n\n"x"\n')
    found = list(json_values(path))
    assert found == [(2, [1, 2]), (3, {"a": 2}), (5, "x")]
    assert isinstance(found[1][1], Repeated) and found[1][1].pairs == (("a", 1), ("a", 2))
    with pytest.raises(UserError, match="line 2: not JSON: Expecting value"):
        list(json_values(write(tmp_path, b"[1]\nprose")))


def test_the_mark_of_utf8_and_blank_lines_are_left_out(tmp_path: Path) -> None:
    path = write(tmp_path, b"\xef\xbb\xbf" + ROW.encode() + b"\n  \r\n" + ROW.encode())
    assert [number for number, _ in lines_of(path)] == [1, 4]
    assert {row["text"] for _, row in json_lines(path)} == {"\u7b54\u6848"}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (r'{"t": "B \ud83d"}', {"t": f"B {BOX}"}),
        (r'{"t": "\udc00B"}', {"t": f"{BOX}B"}),
        (r'["\ud83d\ud83d\ude00"]', [f"{BOX}\N{GRINNING FACE}"]),
        (r'{"\uD83Dk": [{"x": "\ud83d\u0041"}]}', {f"{BOX}k": [{"x": f"{BOX}A"}]}),
        (r'{"t": "\ud83d\ude00"}', {"t": "\N{GRINNING FACE}"}),
    ],
)
def test_half_a_character_costs_one_character(text: str, value: Any) -> None:
    assert json_of(text, "here") == value


def test_the_rows_around_half_a_character_are_kept(tmp_path: Path) -> None:
    path = write(tmp_path, b'{"t": "\\ud83d"}\n{"t": "B"}\n')
    assert [row["t"] for _, row in json_lines(path)] == [BOX, "B"]


@given(st.recursive(st.text() | st.integers(-9, 9) | st.none(), st.lists, max_leaves=5))
def test_what_python_writes_is_read_as_it_was(value: Any) -> None:
    assert json_of(json.dumps(value), "here") == value


def test_numbers_that_are_none_are_read_as_python_writes_them() -> None:
    assert json_of('{"a": NaN, "b": Infinity}', "here")["b"] == float("inf")


@pytest.mark.parametrize("text", ["{", '{"a": }', "[1", "prose", '"\\ud83', "[" * 100_000])
def test_what_is_no_json_names_its_place(text: str) -> None:
    with pytest.raises(UserError, match=r"^here: not JSON"):
        json_of(text, "here")


def test_packed_files_are_read_and_broken_ones_are_sentences(tmp_path: Path) -> None:
    whole = gzip.compress(ROW.encode() * 50)
    assert len(list(json_lines(write(tmp_path, whole, "a.jsonl.gz")))) == 50
    for broken in (whole[: len(whole) // 2], b"plain", whole[:15] + b"\xff" * 20):
        with pytest.raises(UserError, match=r"a\.jsonl\.gz"):
            list(json_lines(write(tmp_path, broken, "a.jsonl.gz")))


def test_a_missing_file_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"none\.json: cannot be read"):
        json_value(tmp_path / "none.json")


class Row(msgspec.Struct):
    id: int


def test_records_name_the_line_that_is_none(tmp_path: Path) -> None:
    assert records_of(write(tmp_path, b'{"id": 1}\n'), Row) == [Row(1)]
    with pytest.raises(UserError, match=r"a\.jsonl, line 2: Expected `int`"):
        records_of(write(tmp_path, b'{"id": 1}\n{"id": "x"}\n'), Row)


def test_tables_of_toml_are_read_by_the_same_reader(tmp_path: Path) -> None:
    from pairuni_eval.cards import read_suite
    from pairuni_train.config import find_arm
    from pairuni_train.pair_data.config import read_config
    from pairuni_train.study.spec import read_experiment

    suite = b'name = "a"\ntitle = "\xe7\xad\x94"\nbenchmarks = []\n'
    assert read_suite(write(tmp_path, b"\xef\xbb\xbf" + suite, "a.toml")).title == "\u7b54"
    path = write(tmp_path, b'name = "a"\ntitle = "\xb4"\n', "b.toml")
    for read in (read_suite, read_experiment, read_config, lambda at: find_arm(str(at))):
        with pytest.raises(UserError, match=r"b\.toml, line 2: not UTF-8"):
            read(path)
