"""One process holds a run folder, or several workers beside each other."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import pytest

from pairuni_eval.errors import UserError
from pairuni_eval.store.locks import Worker, exclusive, turn, workers, working

FIRST, SECOND = Worker("shard", 1, 2), Worker("shard", 2, 2)


def refused(run: Path, said: str) -> None:
    with pytest.raises(UserError, match=said), exclusive(run):
        pass


def never() -> None:
    raise AssertionError("nobody's turn is waited for")


def test_the_folder_is_not_had_alone_while_shards_work(tmp_path: Path) -> None:
    with ExitStack() as outer:
        with turn(tmp_path, never):
            outer.enter_context(working(tmp_path, SECOND))
        with ExitStack() as inner:
            with turn(tmp_path, never):
                inner.enter_context(working(tmp_path, FIRST))
            assert workers(tmp_path) == [FIRST, SECOND]
            refused(tmp_path, "Shard 1/2 and shard 2/2 still work on")
        refused(tmp_path, "Shard 2/2 still works on")
    with exclusive(tmp_path):
        assert workers(tmp_path) == []
    assert [path.name for path in tmp_path.iterdir()] == [".lock"]


def test_the_lock_of_a_worker_that_was_killed_is_removed(tmp_path: Path) -> None:
    FIRST.path(tmp_path).touch()
    assert workers(tmp_path) == []
    with exclusive(tmp_path):
        pass
    assert [path.name for path in tmp_path.iterdir()] == [".lock"]


def test_the_same_shard_is_refused_twice(tmp_path: Path) -> None:
    with working(tmp_path, FIRST):
        with (
            pytest.raises(UserError, match=r"Shard 1/2 works on .* already"),
            working(tmp_path, FIRST),
        ):
            pass
        assert workers(tmp_path) == [FIRST]
    with working(tmp_path, FIRST):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_rank_of_an_earlier_start_that_still_works_is_named(tmp_path: Path) -> None:
    with working(tmp_path, Worker("rank", 3, 8)):
        refused(tmp_path, "Rank 3 of 8 still works on")


def test_a_shard_does_not_plan_beside_a_whole_run(tmp_path: Path) -> None:
    with (
        exclusive(tmp_path),
        pytest.raises(UserError, match="Another process is working on"),
        turn(tmp_path, never),
    ):
        pass
