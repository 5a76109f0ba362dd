"""Waiting for the disk: many pictures together, rows once a second, and nothing half-written."""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from pairuni_eval.errors import UserError
from pairuni_eval.pictures import reused_memory
from pairuni_eval.records import Output, Picture
from pairuni_eval.store import disk, layout
from pairuni_eval.store.pictures import Pictures
from pairuni_eval.store.rows import RowLog
from pairuni_eval.store.write import clear_temporaries

MANY = 20

Count = Callable[[], int]


def picture(number: int) -> Picture:
    return Picture.from_bytes(b"encoded %d" % number)


def stored(run: Path) -> set[str]:
    return {path.name for path in (run / layout.IMAGES).rglob("*") if path.is_file()}


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> Count:
    """How many files were waited for one by one."""
    calls: list[int] = []
    fsync = os.fsync

    def counted(handle: int) -> None:
        fsync(handle)
        calls.append(handle)

    monkeypatch.setattr(os, "fsync", counted)
    return lambda: len(calls)


def test_pictures_appear_together_when_they_are_on_the_disk(tmp_path: Path) -> None:
    wanted = [picture(number) for number in range(MANY)]
    with Pictures(tmp_path) as pictures:
        assert [pictures.add(one) for one in wanted] == [one.id for one in wanted]
        assert pictures.add(wanted[3]) == wanted[3].id  # the second time it is known
        waiting = stored(tmp_path)
        assert len(waiting) == MANY
        assert not waiting & {one.id for one in wanted}
    assert stored(tmp_path) == {one.id for one in wanted}
    for one in wanted:
        assert layout.image_path(tmp_path, one.id).read_bytes() == one.data


def test_pictures_of_an_interrupted_planning_leave_nothing_behind(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), Pictures(tmp_path) as pictures:
        pictures.add(picture(1))
        raise KeyboardInterrupt
    assert stored(tmp_path) != set()
    clear_temporaries(tmp_path)
    assert stored(tmp_path) == set()


def test_a_picture_that_is_there_is_not_written_again(tmp_path: Path) -> None:
    with Pictures(tmp_path) as pictures:
        pictures.add(picture(1))
    before = layout.image_path(tmp_path, picture(1).id).stat()
    with Pictures(tmp_path) as pictures:
        pictures.add(picture(1))
    after = layout.image_path(tmp_path, picture(1).id).stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


@pytest.mark.parametrize(("count", "one_by_one"), [(3, 3), (MANY, 0)])
def test_many_files_are_waited_for_at_once(
    tmp_path: Path, waits: Count, count: int, one_by_one: int
) -> None:
    if not hasattr(ctypes.CDLL(None), "syncfs"):
        pytest.skip("this system has no syncfs")
    with Pictures(tmp_path) as pictures:
        for number in range(count):
            pictures.add(picture(number))
    assert waits() == one_by_one


def test_without_such_a_call_every_file_is_waited_for(
    tmp_path: Path, waits: Count, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(disk, "_library", object)
    with Pictures(tmp_path) as pictures:
        for number in range(MANY):
            pictures.add(picture(number))
    assert waits() == MANY


def test_a_disk_that_is_full_in_the_end_shows_no_picture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Full:
        @staticmethod
        def syncfs(_: int) -> int:
            ctypes.set_errno(errno.ENOSPC)
            return -1

    monkeypatch.setattr(disk, "_library", Full)
    with pytest.raises(UserError, match="disk is full"), Pictures(tmp_path) as pictures:
        for number in range(MANY):
            pictures.add(picture(number))
    clear_temporaries(tmp_path)
    assert stored(tmp_path) == set()


def row(number: int) -> Output:
    return Output(id=f"o{number}", sample="s", draw=number, seed=0, decoding="d")


def test_rows_wait_for_the_disk_once_a_second(
    tmp_path: Path, waits: Count, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = 100.0
    monkeypatch.setattr("pairuni_eval.store.write.time.monotonic", lambda: clock)
    log = RowLog(tmp_path / "rows.jsonl", Output)
    seen = []
    for second in (100.0, 100.5, 100.9, 101.0, 101.5):
        clock = second
        log.append([row(len(seen))])
        seen.append(waits())
    assert seen == [1, 1, 1, 2, 2]
    log.sync()
    assert waits() == 3
    assert log.recover().rows == [
        row(number) for number in range(5)
    ]  # the system has them all along


def test_pillow_keeps_memory_within_the_block_alone() -> None:
    core = Image.core  # type: ignore[attr-defined]
    before = core.get_blocks_max()
    with pytest.raises(RuntimeError, match="stop"), reused_memory():
        assert core.get_blocks_max() > before
        Image.new("RGB", (64, 64)).copy()
        raise RuntimeError("stop")
    assert core.get_blocks_max() == before
