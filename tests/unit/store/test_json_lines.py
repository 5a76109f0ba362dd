"""JSON lines survive a kill in the middle of a line; what appears by rename is whole."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest

from pairuni_eval.errors import UserError
from pairuni_eval.store.json_lines import append, encode_lines, keep_lines, read_lines, whole_lines
from pairuni_eval.store.write import atomic_path, clear_temporaries


class Step(msgspec.Struct, frozen=True):
    """A row for these tests."""

    step: int


DECODE = msgspec.json.Decoder(Step).decode


def test_lines_are_added_behind_one_another(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.jsonl"
    append(path, encode_lines([Step(0), Step(1)]))
    append(path, encode_lines([Step(2)]), wait=True)
    assert path.read_bytes() == b'{"step":0}\n{"step":1}\n{"step":2}\n'
    assert read_lines(path, DECODE, hint="") == [Step(0), Step(1), Step(2)]


def test_a_torn_last_line_is_left_out_and_a_missing_file_is_empty(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    assert whole_lines(path) == []
    assert read_lines(path, DECODE, hint="") == []
    path.write_bytes(b'{"step":0')
    assert whole_lines(path) == []
    path.write_bytes(b'{"step":0}\n{"st')
    assert whole_lines(path) == [b'{"step":0}']


def test_a_line_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"step":0}\n{"step":"x"}\n')
    with pytest.raises(UserError, match=r"a\.jsonl, line 2: cannot be read: Expected `int`") as no:
        read_lines(path, DECODE, hint="Delete that line.")
    assert no.value.hint == "Delete that line."
    path.write_bytes(b"{}\nprose\n")
    with pytest.raises(UserError, match="line 2: cannot be read"):
        read_lines(path, json.loads, hint="")


def test_lines_are_taken_out(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    keep_lines(path, lambda _: True)
    assert not path.exists()
    path.write_bytes(b'{"step":0}\n{"step":1}\n{"st')
    keep_lines(path, lambda line: json.loads(line)["step"] != 0)
    assert path.read_bytes() == b'{"step":1}\n'


def test_a_folder_appears_when_it_is_whole(tmp_path: Path) -> None:
    target = tmp_path / "store"
    with pytest.raises(ZeroDivisionError), atomic_path(target) as partial:
        partial.mkdir()
        (partial / "half").write_bytes(b"x")
        raise ZeroDivisionError
    assert not target.exists() and len(list(tmp_path.iterdir())) == 1
    with atomic_path(target) as partial:
        assert not partial.exists(), "what the failed one left is gone"
        partial.mkdir()
        (partial / "whole").write_bytes(b"y")
        assert not target.exists()
    assert [path.name for path in tmp_path.rglob("*")] == ["store", "whole"]
    (tmp_path / ".other.1.tmp").mkdir()
    clear_temporaries(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["store"]
