"""Rows with a check each: a changed line is found, dropped and owed again; a torn one as well."""

from __future__ import annotations

import hashlib
import json
import random
from pathlib import Path

import msgspec
import pytest

from pairuni_eval.errors import UserError
from pairuni_eval.records import Output, TextPart
from pairuni_eval.store.rows import Recovered, RowLog, checked_line, read_rows
from pairuni_eval.store.tables import identity_of


def row(number: int, text: str = "yes") -> Output:
    return Output(
        id=f"o{number}", sample="s", draw=number, seed=0, decoding="d", parts=(TextPart(text),)
    )


def log(folder: Path) -> RowLog[Output]:
    return RowLog(folder / "rows" / "outputs-rank0.jsonl", Output, identity_of(Output))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Six rows."""
    written = log(tmp_path)
    written.append(map(row, range(4)))
    written.append(map(row, range(4, 6)))
    return written.path


def again(path: Path) -> tuple[Recovered[Output], RowLog[Output]]:
    read = log(path.parents[1])
    return read.recover(), read


def lines(path: Path) -> list[bytes]:
    return path.read_bytes().splitlines(keepends=True)


def test_a_line_is_one_json_object_that_ends_with_its_number_and_check(path: Path) -> None:
    third = lines(path)[2]
    plain = json.loads(third)
    assert list(plain)[-2:] == ["row", "check"] and plain["row"] == 3
    without = third[: third.rindex(b',"check"')] + b"}"
    assert plain["check"] == hashlib.sha256(without).hexdigest()[:16]
    assert msgspec.json.decode(third, type=Output) == row(2)


def test_numbers_go_on_where_an_earlier_start_stopped(path: Path) -> None:
    _, more = again(path)
    more.append([row(6)])
    assert [json.loads(line)["row"] for line in lines(path)] == [1, 2, 3, 4, 5, 6, 7]


@pytest.mark.parametrize("place", range(6))
def test_a_changed_line_is_dropped_told_and_taken_out_of_the_file(path: Path, place: int) -> None:
    held = lines(path)
    held[place] = held[place].replace(b'"yes"', b'"yep"')
    path.write_bytes(b"".join(held))
    found, read = again(path)
    left = [n for n in range(6) if n != place]
    assert found.rows == [row(n) for n in left]
    assert found.damaged == (place + 1,)
    assert read.damage == (
        f"{path}: 1 row was damaged and dropped (line {place + 1}); what it held is made again.",
    )
    assert lines(path) == [held[n] for n in left]
    read.append([row(place)])
    after, read = again(path)
    assert sorted(after.rows, key=lambda one: one.id) == list(map(row, range(6)))
    assert after.damaged == () and read.damage == ()


def test_every_bit_of_a_line_is_covered(path: Path) -> None:
    """Whatever bit changes (every fifth is tried), no row comes back changed."""
    whole = path.read_bytes()
    good = {n: row(n) for n in range(6)}
    start = len(b"".join(lines(path)[:2]))
    for bit in range(0, 8 * len(lines(path)[2]), 5):
        data = bytearray(whole)
        data[start + bit // 8] ^= 1 << bit % 8
        path.write_bytes(data)
        found = read_rows(path, Output, identity_of(Output))
        assert all(one == good[one.draw] for one in found.rows), bit
        assert found.damaged, bit


@pytest.mark.parametrize("junk", [b"", b"{", b"null", b"\xff\xfe", b"[" * 5000, b'{"id":"o9"}'])
def test_a_line_that_is_no_row_is_dropped(path: Path, junk: bytes) -> None:
    held = lines(path)
    path.write_bytes(b"".join([*held[:3], junk + b"\n", *held[3:]]))
    found, _ = again(path)
    assert found.rows == list(map(row, range(6))) and found.damaged == (4,)
    assert lines(path) == held


def test_a_line_without_a_check_below_one_with_a_check_is_dropped(path: Path) -> None:
    held = lines(path)
    held[3] = msgspec.json.encode(row(3)) + b"\n"
    path.write_bytes(b"".join(held))
    assert again(path)[0].damaged == (4,)


def test_in_a_run_that_began_with_checks_the_first_line_needs_one_too(path: Path) -> None:
    held = lines(path)
    held[0] = msgspec.json.encode(row(0, "no")) + b"\n"
    path.write_bytes(b"".join(held))
    assert read_rows(path, Output).unchecked == 1
    (path.parent / "planned.json").write_bytes(b"{}")
    assert again(path)[0].damaged == (1,)


def test_rows_of_an_earlier_version_are_read_and_counted_as_unchecked(path: Path) -> None:
    path.write_bytes(b"".join(msgspec.json.encode(row(n)) + b"\n" for n in range(3)))
    found, read = again(path)
    assert found.rows == list(map(row, range(3)))
    assert found.unchecked == 3 and found.damaged == ()
    read.append([row(3)])
    found, _ = again(path)
    assert len(found.rows) == 4 and found.unchecked == 3 and found.damaged == ()
    assert found.loose == (row(3),)


def test_a_row_that_stands_there_twice_is_taken_once(path: Path) -> None:
    held = lines(path)
    path.write_bytes(b"".join([*held, held[1], held[5]]))
    found, _ = again(path)
    assert found.rows == list(map(row, range(6))) and found.damaged == ()
    assert lines(path) == held


def test_two_different_rows_of_one_identity_are_named(path: Path) -> None:
    path.write_bytes(path.read_bytes() + checked_line(row(2, "no"), 7))
    with pytest.raises(UserError, match=r"lines 3 and 7: two different rows of o2") as refused:
        again(path)
    assert "Delete the one that is wrong" in (refused.value.hint or "")
    assert len(lines(path)) == 7, "nothing is taken out"


def test_a_row_of_another_kind_under_a_right_check_is_named(path: Path) -> None:
    path.write_bytes(path.read_bytes() + checked_line(Other(id=7), 7))
    with pytest.raises(UserError, match="line 7: cannot be read, though its check is right"):
        again(path)


class Other(msgspec.Struct):
    id: int


def test_rows_beside_a_gap_may_have_lost_a_neighbor(path: Path) -> None:
    held = lines(path)
    assert again(path)[0].loose == (row(5),)
    path.write_bytes(b"".join([held[0], *held[3:5]]))  # the second, third and last are gone
    found, _ = again(path)
    assert found.damaged == ()
    assert set(map(str, found.loose)) == set(map(str, (row(0), row(3), row(4))))
    path.write_bytes(b"".join(held[1:]))
    assert set(map(str, again(path)[0].loose)) == {str(row(1)), str(row(5))}


def test_order_in_the_file_does_not_matter(path: Path) -> None:
    held = lines(path)
    random.Random(0).shuffle(held)
    path.write_bytes(b"".join(held))
    found, _ = again(path)
    assert found.rows == list(map(row, range(6))) and found.loose == (row(5),)


def test_rows_that_are_owed_again_are_taken_out(path: Path) -> None:
    found = log(path.parents[1]).recover(lambda one: one.draw % 2 == 0)
    assert [one.draw for one in found.rows] == [1, 3, 5]
    assert [json.loads(line)["draw"] for line in lines(path)] == [1, 3, 5]


def test_reading_changes_nothing(path: Path) -> None:
    path.write_bytes(path.read_bytes().replace(b'"yes"', b'"no!"', 1) + b'{"torn')
    before = path.read_bytes()
    found = read_rows(path, Output)
    assert len(found.rows) == 5 and found.damaged == (1,)
    assert path.read_bytes() == before


def test_the_check_is_over_the_address_of_the_run_and_the_line(tmp_path: Path) -> None:
    bound = RowLog(tmp_path / "rows.jsonl", Output, identity_of(Output), address="a7")
    bound.append([row(0)])
    (line,) = lines(bound.path)
    head = line[: line.rindex(b',"check"')] + b"}"
    assert json.loads(line)["check"] == hashlib.sha256(b"a7" + head).hexdigest()[:16]
    assert line == checked_line(row(0), 1, "a7")
    assert read_rows(bound.path, Output, address="a7").rows == [row(0)]


def test_a_line_of_another_run_fails_its_check(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(checked_line(row(0), 1, "a") + checked_line(row(1), 2, "b"))
    read = RowLog(path, Output, identity_of(Output), address="a")
    found = read.recover()
    assert found.rows == [row(0)] and found.damaged == (2,)
    assert "1 row was damaged and dropped (line 2)" in read.damage[0]
    assert read_rows(path, Output, address="a").damaged == (), "it is taken out of the file"
