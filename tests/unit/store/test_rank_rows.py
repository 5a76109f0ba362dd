"""The rows of several ranks, read by whoever starts next."""

from __future__ import annotations

from pathlib import Path

import pytest

from pairuni_eval.errors import UserError
from pairuni_eval.records import Output, TextPart
from pairuni_eval.store.rank_rows import READING, Mends, RankRows, RowShare, rank_file

ADDRESS = "a run"


def row(number: int, text: str = "yes") -> Output:
    return Output(
        id=f"o{number}",
        sample="s",
        draw=number,
        seed=number,
        decoding="d",
        parts=(TextPart(text),),
        tokens=1,
    )


def rows_of(run: Path, share: RowShare = READING) -> RankRows[Output]:
    return RankRows(run, "outputs", Output, address=ADDRESS, share=share)


def store(run: Path, rank: int, *rows: Output) -> None:
    own = rows_of(run, RowShare(rank, 11, Mends.OWN))
    own.recover()
    own.append(rows)


def ids(rows: list[Output]) -> list[str]:
    return [one.id for one in rows]


def test_rows_of_all_ranks_are_read_each_once(tmp_path: Path) -> None:
    store(tmp_path, 10, row(5))
    store(tmp_path, 2, row(3), row(4))
    store(tmp_path, 0, row(1), row(3))
    assert ids(rows_of(tmp_path).recover().rows) == ["o1", "o3", "o4", "o5"]


def test_a_file_that_is_no_rank_s_is_not_read(tmp_path: Path) -> None:
    store(tmp_path, 0, row(1))
    rank_file(tmp_path, "outputs", 0).with_name("outputs-rankx.jsonl").write_text("no row\n")
    assert ids(rows_of(tmp_path, RowShare()).recover().rows) == ["o1"]


def test_half_a_line_of_another_rank_stays(tmp_path: Path) -> None:
    """It may be the beginning of one that is being written."""
    store(tmp_path, 0, row(1))
    store(tmp_path, 1, row(2), row(3))
    theirs = rank_file(tmp_path, "outputs", 1)
    torn = theirs.read_bytes()[:-20]
    theirs.write_bytes(torn)
    mine = rows_of(tmp_path, RowShare(0, 2, Mends.OWN))
    assert ids(mine.recover().rows) == ["o1", "o2"]
    assert mine.damage == ()
    assert theirs.read_bytes() == torn
    mine.append([row(4)])
    assert ids(rows_of(tmp_path).recover().rows) == ["o1", "o4", "o2"]


def test_half_a_line_of_one_s_own_is_cut_off(tmp_path: Path) -> None:
    store(tmp_path, 1, row(2), row(3))
    own = rank_file(tmp_path, "outputs", 1)
    own.write_bytes(own.read_bytes()[:-20])
    store(tmp_path, 1, row(4))
    assert ids(rows_of(tmp_path).recover().rows) == ["o2", "o4"]


def test_who_works_alone_mends_all(tmp_path: Path) -> None:
    store(tmp_path, 0, row(1))
    store(tmp_path, 1, row(2), row(3))
    theirs = rank_file(tmp_path, "outputs", 1)
    whole = theirs.read_bytes()
    theirs.write_bytes(whole.replace(b"yes", b"no!", 1))
    alone = rows_of(tmp_path, RowShare())
    assert ids(alone.recover(lambda one: one.id == "o1").rows) == ["o3"]
    assert [sentence for sentence in alone.damage if "rank1" in sentence]
    assert theirs.read_bytes() == whole.splitlines(keepends=True)[1]
    assert rank_file(tmp_path, "outputs", 0).read_bytes() == b""


def test_two_rows_of_one_identity_in_two_files_are_an_error(tmp_path: Path) -> None:
    store(tmp_path, 0, row(1))
    store(tmp_path, 1, row(1, "no"))
    with pytest.raises(UserError, match=r"rank0\.jsonl and .*rank1\.jsonl hold two different rows"):
        rows_of(tmp_path).recover()


def test_reading_an_empty_folder_makes_nothing(tmp_path: Path) -> None:
    assert rows_of(tmp_path).recover().rows == []
    assert list(tmp_path.iterdir()) == []
