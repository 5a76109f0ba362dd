"""Replies that were paid for: remembered over kills, torn lines and other processes."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from pairuni_eval.endpoints.replies import CachedReply, ReplyCache, Spent
from pairuni_eval.errors import UserError
from pairuni_eval.judges.usage import JudgeCall, UsageRow, standing, total_usage
from pairuni_eval.store.rows import RowLog, read_rows


def reply(key: str, text: str = "fine", cost: float | None = None) -> CachedReply:
    return CachedReply(key=key, snapshot="m", text=text, finish="stop", cost=cost)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "cache" / "replies.jsonl"


def test_what_one_cache_adds_the_next_one_knows(path: Path) -> None:
    ReplyCache(path).add(reply("a", "line\nbreak \u2028 \U0001f600"))
    cache = ReplyCache(path)
    assert cache.find("a") == reply("a", "line\nbreak \u2028 \U0001f600")
    assert cache.find("b") is None
    assert len(cache) == 1


def test_a_call_usually_costs_the_mean_of_those_with_a_price(path: Path) -> None:
    cache = ReplyCache(path)
    cache.add(reply("a"))
    assert cache.usual_cost is None
    cache.add(reply("b", cost=0.5))
    cache.add(reply("c", cost=0.25))
    assert ReplyCache(path).usual_cost == pytest.approx(0.375)


def test_two_open_caches_see_each_other_after_a_refresh(path: Path) -> None:
    one, two = ReplyCache(path), ReplyCache(path)
    one.add(reply("a"))
    assert two.find("a") is None
    two.refresh()
    assert two.find("a") == reply("a")


def test_the_first_reply_to_a_question_stands_and_both_are_spent(path: Path) -> None:
    one, two = ReplyCache(path), ReplyCache(path)
    one.add(reply("a", "first", cost=0.5))
    assert two.add(reply("a", "second", cost=0.25)).text == "first"
    assert two.spent == Spent(calls=2, cost=0.75, dearest=0.5)
    assert ReplyCache(path).find("a") == reply("a", "first", cost=0.5)


@pytest.mark.parametrize("cut", [1, 10, 60])
def test_a_torn_line_is_cut_off_and_nothing_else(path: Path, cut: int) -> None:
    cache = ReplyCache(path)
    cache.add(reply("a"))
    whole = path.read_bytes()
    cache.add(reply("b"))
    os.truncate(path, len(path.read_bytes()) - cut)
    again = ReplyCache(path)
    assert again.find("a") == reply("a")
    assert again.find("b") is None
    assert path.read_bytes() == whole
    again.add(reply("c"))
    assert [ReplyCache(path).find(key) is not None for key in "abc"] == [True, False, True]


def test_a_line_of_an_older_version_that_is_no_reply_is_named(path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(msgspec.json.encode(reply("a")) + b'\n{"key": 7}\n')
    with pytest.raises(UserError, match=r"replies\.jsonl, line 2: cannot be read"):
        ReplyCache(path)


def test_a_reply_that_is_changed_is_asked_again_and_stays_paid(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cache = ReplyCache(path)
    for key in "abc":
        cache.add(reply(key, "Score: 1", cost=0.5))
    lines = path.read_bytes().splitlines(keepends=True)
    lines[1] = lines[1].replace(b"Score: 1", b"Score: 0")
    path.write_bytes(b"".join(lines))
    again = ReplyCache(path)
    assert [again.find(key) is None for key in "abc"] == [False, True, False]
    assert again.spent == Spent(calls=3, cost=1.0, dearest=0.5)
    assert f"{path}, line 2: changed since it was written" in caplog.text


@pytest.mark.parametrize("bit", range(0, 8 * 150, 37))
def test_no_flipped_bit_makes_another_reply(path: Path, bit: int) -> None:
    cache = ReplyCache(path)
    cache.add(reply("a", "one"))
    cache.add(reply("b", "two"))
    data = bytearray(path.read_bytes())
    at = 8 * data.index(b"\n") + 8 + bit  # in the second line
    if at // 8 >= len(data) - 1:
        pytest.skip("the line is shorter")
    data[at // 8] ^= 1 << at % 8
    path.write_bytes(data)
    assert ReplyCache(path).find("b") in (None, reply("b", "two"))


def test_lines_of_an_older_version_are_believed_until_one_has_a_check(path: Path) -> None:
    path.parent.mkdir()
    old = msgspec.json.encode(reply("a")) + b"\n"
    path.write_bytes(old)
    ReplyCache(path).add(reply("b"))
    with path.open("ab") as stream:
        stream.write(msgspec.json.encode(reply("c")) + b"\n")
    again = ReplyCache(path)
    assert again.find("a") == reply("a")
    assert again.find("b") == reply("b")
    assert again.find("c") is None


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="Cannot write"):
        ReplyCache(tmp_path / "file" / "replies.jsonl")


def _add_many(path: Path, name: str, count: int) -> None:
    cache = ReplyCache(path)
    for number in range(count):
        cache.add(reply(f"{name}{number}", "x" * 500))


def _add_until_killed(path: Path, started: str) -> None:
    cache = ReplyCache(path)
    for number in range(10_000):
        cache.add(reply(f"k{number}"))
        if number == 5:
            Path(started).touch()


def test_processes_that_write_at_once_lose_nothing(path: Path) -> None:
    spawn = multiprocessing.get_context("fork")
    workers = [spawn.Process(target=_add_many, args=(path, name, 40)) for name in "abc"]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
        assert worker.exitcode == 0
    cache = ReplyCache(path)
    assert all(cache.find(f"{name}{n}") for name in "abc" for n in range(40))
    assert cache.spent.calls == 120


def test_a_writer_that_is_killed_keeps_nobody_from_writing(path: Path, tmp_path: Path) -> None:
    started = tmp_path / "started"
    spawn = multiprocessing.get_context("fork")
    writer = spawn.Process(target=_add_until_killed, args=(path, str(started)))
    writer.start()
    while not started.exists():
        assert writer.is_alive()
    assert writer.pid is not None
    os.kill(writer.pid, signal.SIGKILL)
    writer.join(60)
    cache = ReplyCache(path)
    assert len(cache) >= 6
    cache.add(reply("after"))
    assert ReplyCache(path).find("after") == reply("after")


# Calls under way


def at_most(calls: int) -> Callable[[Spent], str | None]:
    return lambda spent: "full" if spent.calls + spent.under_way >= calls else None


@pytest.mark.parametrize("in_memory", [True, False])
def test_a_call_counts_from_its_beginning(path: Path, in_memory: bool) -> None:
    cache = ReplyCache(None if in_memory else path)
    assert [cache.begin(at_most(2)) for _ in range(3)] == [None, None, "full"]
    cache.end()
    assert cache.begin(at_most(2)) is None
    cache.add(reply("a"), ends_call=True)
    assert cache.spent == Spent(calls=1, under_way=1)
    assert cache.begin(at_most(2)) == "full"
    cache.end()
    assert cache.spent == Spent(calls=1, under_way=0)


def test_what_came_without_an_answer_counts_and_answers_nothing(path: Path) -> None:
    cache = ReplyCache(path)
    nothing = msgspec.structs.replace(reply("a", cost=0.5), open=True, run="r")
    cache.add(nothing)
    assert (cache.find("a"), cache.spent.calls, len(cache)) == (None, 1, 0)
    answer = msgspec.structs.replace(reply("a"), run="r")
    assert cache.add(answer) == answer
    again = ReplyCache(path)
    assert again.find("a") == answer
    assert again.paid_for("a", "r") == [nothing, answer]
    assert again.spent.calls == 2


def test_two_caches_count_each_others_calls(path: Path) -> None:
    one, two = ReplyCache(path), ReplyCache(path)
    assert one.begin(at_most(2)) is None
    assert two.begin(at_most(2)) is None
    assert [cache.begin(at_most(2)) for cache in (one, two)] == ["full", "full"]
    one.end()
    assert two.begin(at_most(2)) is None


def _take_calls(path: Path, name: str, most: int, taken: Any) -> None:
    cache = ReplyCache(path)
    for number in range(40):
        if cache.begin(at_most(most)) is None:
            taken.put(1)
            cache.add(reply(f"{name}{number}"), ends_call=True)


def test_processes_that_share_a_file_keep_a_cap_together(path: Path) -> None:
    context = multiprocessing.get_context("fork")
    taken = context.Queue()
    workers = [context.Process(target=_take_calls, args=(path, n, 50, taken)) for n in "abc"]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(120)
        assert worker.exitcode == 0
    assert sum(taken.get() for _ in range(50)) == 50
    assert taken.empty()
    assert ReplyCache(path).spent == Spent(calls=50)


def _begin_and_die(path: Path) -> None:
    assert ReplyCache(path).begin(at_most(9)) is None
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_call_of_a_process_that_was_killed_counts_as_spent(path: Path) -> None:
    worker = multiprocessing.get_context("fork").Process(target=_begin_and_die, args=(path,))
    worker.start()
    worker.join(60)
    cache = ReplyCache(path)
    assert [cache.begin(at_most(3)) for _ in range(3)] == [None, None, "full"]
    path.with_suffix(".under-way").unlink()
    assert [cache.begin(at_most(3)) for _ in range(4)] == [None, None, None, "full"]


def test_a_number_that_is_none_is_named(path: Path) -> None:
    ReplyCache(path)
    path.with_suffix(".under-way").write_text("many")
    with pytest.raises(UserError, match=r"replies\.under-way does not hold a number of calls"):
        ReplyCache(path).begin(at_most(3))


# Usage


def call(key: str, **fields: object) -> JudgeCall:
    return JudgeCall(key=key, **fields)  # type: ignore[arg-type]


def paid(key: str, cost: float | None = 0.1) -> JudgeCall:
    return JudgeCall(
        key=key, replied=True, paid=True, prompt_tokens=100, completion_tokens=10, cost=cost
    )


def row(protocol: str, outputs: str, *calls: JudgeCall, second: bool = False) -> UsageRow:
    return UsageRow(protocol=protocol, outputs=tuple(outputs), calls=calls, second=second)


def test_a_later_row_stands_in_place_of_the_earlier_one() -> None:
    open_one = row("wise@a", "xy", call("1", open=True, trouble="HTTP 429"))
    others = [row("wise@b", "xy", paid("1")), row("wise@a", "xy", paid("1"), second=True)]
    closed = row("wise@a", "xy", paid("1"))
    assert standing([open_one, *others, closed]) == [closed, *others]
    assert open_one.open
    assert not closed.open


def test_an_account_counts_a_reply_once_that_two_protocols_read() -> None:
    usage = total_usage(
        [
            row("wise@a", "xy", paid("1"), paid("2"), call("3", trouble="HTTP 500", open=True)),
            row("wise@b", "xy", paid("1"), paid("2"), call("3", trouble="HTTP 500", open=True)),
            row("wise@b", "z", call("4", replied=True), call("5", trouble="HTTP 400: no")),
        ]
    )
    assert usage.questions == 8
    assert usage.calls == 2
    assert usage.remembered == 3  # 1 and 2 for the second protocol, 4 from an earlier run
    assert (usage.prompt_tokens, usage.completion_tokens) == (200, 20)
    assert usage.cost == pytest.approx(0.2)
    assert usage.troubles == (("HTTP 500", 2), ("HTTP 400: no", 1))
    assert usage.open == 2


def test_a_cost_that_is_not_known_makes_the_sum_unknown_not_smaller() -> None:
    usage = total_usage([row("wise@a", "xy", paid("1"), paid("2", cost=None))])
    assert usage.cost is None
    assert usage.prompt_tokens == 200


def test_no_calls_cost_nothing() -> None:
    usage = total_usage([])
    assert (usage.questions, usage.calls, usage.cost) == (0, 0, 0.0)


def test_rows_of_usage_stand_in_the_file_as_they_always_did(tmp_path: Path) -> None:
    one = row("wise@a", "xy", call("1", trouble="HTTP 429", open=True), second=True)
    line = (
        b'{"protocol":"wise@a","outputs":["x","y"],"receipts":[{"key":"1","replied":false,'
        b'"paid":false,"prompt_tokens":null,"completion_tokens":null,"cost":null,"served":null,'
        b'"trouble":"HTTP 429","open":true,"calls":1}],"second":true}'
    )
    assert msgspec.json.encode(one) == line
    path = tmp_path / "bills.jsonl"
    path.write_bytes(line + b"\n")  # of a version that wrote no checks
    found = read_rows(path, UsageRow)
    assert (found.rows, found.damaged, found.unchecked) == ([one], (), 1)
    RowLog(path, UsageRow).append([one])
    assert read_rows(path, UsageRow).rows[-1] == one
