"""A judge behind a real endpoint that fails: what stays, what is paid, what a restart changes.

Thirty of a hundred questions (18 of 60) fail in five ways, chosen by the hash of the question: 429,
500, no answer in time, prose, and a reply that is cut off. The question, not the call, fails, so a
retry does not help and every count can be taken by hand.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from support.fork_server import Forked
from support.http_server import Loopback, Served, endpoint

from pairuni_eval.catalog import load_benchmark
from pairuni_eval.data import Data
from pairuni_eval.store.read import StoredRun

SKIPPED = {"journal.jsonl", "cost.md", "cost.svg", ".lock"}
WAYS = ("429", "500", "time-out", "prose", "cut")
SAMPLES = 60
SEEN = 16  # by a second judge of a quarter
# Of the first sixty questions of tiny-wise by the rule below.
EXPECTED = {"fine": 42, "429": 4, "500": 4, "time-out": 2, "prose": 4, "cut": 4}


def way(prompt: str) -> str:
    """How the endpoint treats a question."""
    number = int(hashlib.sha256(f"1396 {prompt}".encode()).hexdigest(), 16)
    return WAYS[number // 10 % 5] if number % 10 < 3 else "fine"


def verdict(prompt: str) -> str:
    """A judge's reply that depends on the question alone."""
    digest = hashlib.sha256(f"verdict {prompt}".encode()).digest()
    consistency, realism, aesthetic = (byte % 3 for byte in digest[:3])
    return f"Consistency: {consistency}\nRealism: {realism}\nAesthetic Quality: {aesthetic}"


def perfect(prompt: str, seen: int) -> Served:
    return Served(verdict(prompt))


def failing(prompt: str, seen: int) -> Served:
    return {
        "fine": Served(verdict(prompt)),
        "429": Served(status=429),
        "500": Served(status=500),
        "time-out": Served(verdict(prompt), delay=6.0),
        "prose": Served("What a lovely picture this is."),
        "cut": Served(verdict(prompt)[:20], finish="length"),
    }[way(prompt)]


@pytest.fixture
def loopback() -> Iterator[Loopback]:
    with endpoint(failing) as running:
        yield running


@pytest.fixture
def judged(tmp_path: Path, loopback: Loopback) -> Callable[..., list[object]]:
    """Writes the judge file and the model's script; returns the command of a run.

    With `report=False` it ends without one: for tests that look at rows alone.
    """
    Image.new("RGB", (64, 64), "red").save(tmp_path / "red.png")
    (tmp_path / "model.jsonl").write_text('{"prompt": "*", "image": "red.png"}')

    def command(name: str, *, report: bool = True, **options: Any) -> list[object]:
        lines = {
            "snapshot": "loopback-1",
            "base_url": loopback.url,
            "timeout_s": 3.0,  # a busy machine takes its time for the other replies
            "retries": 1,
            "backoff_s": 0.001,
            "input_price": 2.0,
            "output_price": 10.0,
        } | options
        text = "\n".join(f"{key} = {json.dumps(value)}" for key, value in lines.items())
        (tmp_path / "judge.toml").write_text(text)
        return [
            "run",
            *("--checkpoint", f"scripted:{tmp_path / 'model.jsonl'}"),
            *("--benchmarks", "tiny-wise", "--limit", SAMPLES),
            *("--judge", tmp_path / "judge.toml"),
            *("--out", tmp_path / name / "run"),
            *("--report", tmp_path / name / "report" if report else "none"),
        ]

    return command


def prompts() -> list[str]:
    """The first sixty questions, put together from the data: not by the code under test."""
    benchmark = load_benchmark("tiny-wise")
    items = benchmark.samples(Data(benchmark.card, benchmark.folder))
    samples = [item.sample for item in islice(items, SAMPLES)]
    return [f"Does the picture show this? {s.text} ({s.reference['explanation']})" for s in samples]


def values(folder: Path) -> dict[tuple[str, str], float]:
    """The scores that have a value, by output and metric."""
    scores = StoredRun(folder / "run").scores
    valid = scores[scores["status"] == "scored"]
    return dict(
        zip(zip(valid["output"], valid["metric"], strict=True), valid["value"], strict=True)
    )


def statuses(folder: Path) -> Counter[str]:
    scores = StoredRun(folder / "run").scores
    return Counter(scores.loc[scores["metric"] == "wiscore", "status"])


def account(folder: Path) -> dict[str, Any]:
    """What the first judge was asked and what it cost."""
    return dict(next(iter(summary(folder)["judging"]["usage"].values())))


def add_second(folder: Path, loopback: Loopback) -> None:
    """Add a second judge, who sees a quarter, to the judge file."""
    path = folder / "judge.toml"
    table = f'\n[second]\nsnapshot = "second"\nbase_url = "{loopback.url}"\nshare = 0.25\n'
    path.write_text(path.read_text() + table)


def summary(folder: Path) -> dict[str, Any]:
    whole = json.loads((folder / "report" / "summary.json").read_text())
    return dict(whole["benchmarks"]["tiny-wise"])


def contents(folder: Path) -> dict[str, str]:
    """Every file of a run and its report by digest, but for the judge's memory and the times."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name not in SKIPPED and path.parent.name != "judge"
    }


def test_the_ways_to_fail_are_as_many_as_written_above() -> None:
    assert Counter(map(way, prompts())) == EXPECTED


def test_valid_rows_are_those_of_a_perfect_endpoint_and_the_counts_are_exact(
    cli: Any, tmp_path: Path, loopback: Loopback, judged: Any
) -> None:
    ran = cli(*judged("a"))
    assert ran.code == 0, ran.err
    assert "tiny-wise: 10 of 60 questions to the judge got no reply" in ran.err
    assert statuses(tmp_path / "a") == {"scored": 42, "judge_failed": 18}
    metrics = summary(tmp_path / "a")["protocols"]["official"]["metrics"]
    assert metrics["consistency"]["scored"] == 42
    assert metrics["consistency"]["expected"] == 300  # of the whole benchmark
    used = account(tmp_path / "a")
    assert used["calls"] == 50  # fine, prose and cut
    assert used["prompt_tokens"] == 5000
    assert used["completion_tokens"] == 500
    assert used["cost"] == pytest.approx(50 * (100 * 2.0 + 10 * 10.0) / 1e6)
    assert used["troubles"] == {
        "HTTP 429": 4,
        "HTTP 500": 4,
        "the reply was cut off at its longest length": 4,
        "no answer within 3 s": 2,
    }
    assert used["open"] == 10
    # Every passing failure was tried twice, everything else once.
    assert len(loopback.calls) == 50 + 2 * 10

    loopback.plan = perfect
    assert cli(*judged("b", report=False)).code == 0
    assert statuses(tmp_path / "b") == {"scored": SAMPLES}
    whole, part = values(tmp_path / "b"), values(tmp_path / "a")
    assert len(part) == 42 * 4
    assert part == {place: whole[place] for place in part}
    mean = sum(v for (_, metric), v in part.items() if metric == "consistency") / 42
    assert metrics["consistency"]["value"] == pytest.approx(mean)


def passing(prompt: str, seen: int) -> Served:
    """Without time-outs, which take their time."""
    return Served(status=500) if way(prompt) == "time-out" else failing(prompt, seen)


def settled(prompt: str, seen: int) -> Served:
    """Without the ways of failing that may pass."""
    return failing(prompt, seen) if way(prompt) in ("prose", "cut") else perfect(prompt, seen)


def test_the_same_command_asks_again_what_may_pass_and_pays_nothing_twice(
    cli: Any, tmp_path: Path, loopback: Loopback, judged: Any
) -> None:
    loopback.plan = passing
    assert cli(*judged("a")).code == 0
    before = contents(tmp_path / "a")
    assert cli(*judged("a")).code == 0
    assert contents(tmp_path / "a") == before, "the endpoint is as bad as before"
    loopback.plan = settled
    ran = cli(*judged("a"))
    assert ran.code == 0
    assert "got no reply" not in ran.err
    assert statuses(tmp_path / "a") == {"scored": 52, "judge_failed": 8}
    assert account(tmp_path / "a")["calls"] == SAMPLES
    assert set(loopback.replied.values()) == {1}
    assert len(loopback.replied) == SAMPLES
    # The end is that of a run whose endpoint had never been down.
    assert cli(*judged("b")).code == 0
    assert contents(tmp_path / "a") == contents(tmp_path / "b")


KILLS: tuple[dict[str, Any], ...] = (
    {"file": "judge/replies.jsonl", "nth": 17, "torn": True},  # the one reply that is paid twice
    {"file": "rows/scores", "nth": 1, "torn": True},
    {"file": "judge/second.jsonl", "nth": 5},
)
# Other moments of the same files' like.
MORE_KILLS: tuple[dict[str, Any], ...] = (
    {"file": "judge/replies.jsonl", "nth": 17},
    *KILLS,
    {"file": "rows/opinions", "nth": 1, "torn": True},
)


@pytest.mark.parametrize(
    "kills",
    [
        pytest.param(KILLS, id="three"),
        pytest.param(MORE_KILLS, id="five", marks=pytest.mark.slow),
    ],
)
def test_kills_pay_again_for_nothing_but_the_reply_they_tore(
    forked: Forked, tmp_path: Path, loopback: Loopback, judged: Any, kills: tuple[Any, ...]
) -> None:
    loopback.plan = settled
    log = tmp_path / "log"
    for name, moments in (("whole", ()), ("killed", kills)):
        command = judged(name)
        add_second(tmp_path, loopback)
        loopback.replied.clear()
        for moment in moments:  # each goes on where the one before died
            assert forked.run(*command, log=log, die=moment) == -signal.SIGKILL, moment
        assert forked.run(*command, log=log) == 0, log.read_text()
        assert len(loopback.replied) == SAMPLES + SEEN
        assert sum(loopback.replied.values()) == SAMPLES + SEEN + bool(moments)
    assert contents(tmp_path / "killed") == contents(tmp_path / "whole")
    assert account(tmp_path / "killed")["calls"] == SAMPLES


def test_an_interruption_does_not_wait_for_the_next_try(
    forked: Forked, tmp_path: Path, loopback: Loopback, judged: Any
) -> None:
    loopback.plan = lambda prompt, seen: (
        perfect(prompt, seen) if len(loopback.calls) <= 10 else Served(status=429)
    )
    log = tmp_path / "log"
    child = forked.start(*judged("a", report=False, backoff_s=60, retries=5), log=log)
    deadline = time.monotonic() + 600
    while len(loopback.calls) < 11:
        assert time.monotonic() < deadline
        time.sleep(0.005)
    time.sleep(0.2)  # the eleventh call is answered, the wait has begun
    started = time.monotonic()
    os.kill(child.pid, signal.SIGINT)
    assert child.wait() == 130
    assert time.monotonic() - started < 20
    assert "Traceback" not in log.read_text()
    loopback.plan = perfect
    assert forked.run(*judged("a", report=False), log=log) == 0, log.read_text()
    assert statuses(tmp_path / "a") == {"scored": SAMPLES}
    assert set(loopback.replied.values()) == {1}


REOPENING: tuple[dict[str, Any], ...] = (
    {"file": "rows/.outputs", "nth": 1},
    {"file": "COMPLETE", "nth": 1, "call": "unlink"},
    {"file": ".scores.parquet", "nth": 1},
)


@pytest.mark.slow
def test_a_kill_while_a_complete_run_is_taken_up_again_loses_nothing(
    forked: Forked, tmp_path: Path, loopback: Loopback, judged: Any
) -> None:
    log = tmp_path / "log"
    loopback.plan = passing
    assert forked.run(*judged("a"), log=log) == 0, log.read_text()
    loopback.plan = settled
    for moment in REOPENING:  # each goes on where the one before died
        assert forked.run(*judged("a"), log=log, die=moment) == -signal.SIGKILL, moment
        loopback.replied.clear()
    assert forked.run(*judged("a"), log=log) == 0, log.read_text()
    assert statuses(tmp_path / "a") == {"scored": 52, "judge_failed": 8}
    assert not loopback.replied, "all was paid before the last kill"


@pytest.mark.slow
def test_a_bill_that_was_lost_is_written_again_without_a_call(
    forked: Forked, tmp_path: Path, loopback: Loopback, judged: Any
) -> None:
    log, late = tmp_path / "log", {"file": ".samples.parquet", "nth": 1}
    loopback.plan = perfect
    assert forked.run(*judged("whole"), log=log) == 0, log.read_text()
    assert forked.run(*judged("a"), log=log, die=late) == -signal.SIGKILL
    path = tmp_path / "a" / "run" / "judge" / "bills.jsonl"
    whole = path.read_bytes()
    loopback.replied.clear()
    for damaged in (whole.replace(b'"prompt_tokens":', b'"prompt_tokens":9', 1), b""):
        assert damaged != whole
        path.write_bytes(damaged)
        assert forked.run(*judged("a"), log=log, die=late) == -signal.SIGKILL
        assert path.read_bytes() == whole
    assert not loopback.replied
    assert forked.run(*judged("a"), log=log) == 0, log.read_text()
    assert account(tmp_path / "a") == account(tmp_path / "whole")
    assert values(tmp_path / "a") == values(tmp_path / "whole")


def test_a_budget_leaves_the_rest_skipped_and_a_higher_one_goes_on(
    cli: Any, tmp_path: Path, loopback: Loopback, judged: Any
) -> None:
    loopback.plan = perfect
    ran = cli(*judged("a", report=False, max_calls=25))
    assert ran.code == 0, ran.err
    assert "(35 budget: max_calls is reached)" in ran.err
    assert statuses(tmp_path / "a") == {"scored": 25, "skipped": 35}
    assert len(loopback.calls) == 25
    assert cli(*judged("a", report=False, max_calls=25)).code == 0
    assert len(loopback.calls) == 25
    # A reply costs 300 millionths: a forty-first would be one too many.
    assert cli(*judged("a", report=False, max_cost=40.5 * 300e-6)).code == 0
    assert statuses(tmp_path / "a") == {"scored": 40, "skipped": 20}
    assert cli(*judged("a", report=False, max_calls=1000)).code == 0
    assert statuses(tmp_path / "a") == {"scored": SAMPLES}
    assert set(loopback.replied.values()) == {1}


def test_two_runs_share_a_cache_and_only_the_first_one_pays(
    cli: Any, tmp_path: Path, loopback: Loopback, judged: Any
) -> None:
    loopback.plan = perfect
    assert cli(*judged("a", cache="replies")).code == 0
    assert cli(*judged("b", cache="replies")).code == 0
    assert len(loopback.calls) == SAMPLES
    assert (account(tmp_path / "a")["calls"], account(tmp_path / "b")["calls"]) == (SAMPLES, 0)
    assert account(tmp_path / "b")["remembered"] == SAMPLES
    assert values(tmp_path / "a") == values(tmp_path / "b")


def test_an_endpoint_that_is_down_leaves_statuses_in_bounded_time(
    cli: Any, tmp_path: Path, loopback: Loopback, judged: Any
) -> None:
    command = judged("a", patience_s=0)
    loopback.close()
    ran = cli(*command)
    assert ran.code == 0, ran.err
    assert statuses(tmp_path / "a") == {"judge_failed": SAMPLES}
    # Eight in a row are enough: nobody waits for the other fifty-two.
    assert account(tmp_path / "a")["troubles"] == {
        "no connection": 8,
        "not asked: the endpoint had stopped answering": 52,
    }


def test_a_wrong_key_or_model_stops_the_run_at_once_and_keeps_what_was_graded(
    cli: Any, tmp_path: Path, loopback: Loopback, judged: Any
) -> None:
    loopback.plan = lambda prompt, seen: Served(status=401)
    ran = cli(*judged("a", report=False))
    assert ran.code == 2
    assert "refuses to answer as 'loopback-1': HTTP 401" in ran.error
    assert loopback.url in ran.error
    assert "the same command continues" in ran.next
    assert len(loopback.calls) == 1
    # Later on one such reply is an accident; three in a row are not.
    loopback.plan = lambda prompt, seen: (
        perfect(prompt, seen) if len(loopback.calls) <= 20 else Served(status=401)
    )
    assert cli(*judged("a", report=False)).code == 2
    assert sum(loopback.replied.values()) == 19
    assert len(loopback.calls) == 1 + 19 + 3
    loopback.plan = perfect
    assert cli(*judged("a", report=False)).code == 0
    assert statuses(tmp_path / "a") == {"scored": SAMPLES}
    assert set(loopback.replied.values()) == {1}


def test_failures_that_pass_cost_time_and_nothing_else(
    cli: Any, tmp_path: Path, loopback: Loopback, judged: Any
) -> None:
    loopback.plan = lambda prompt, seen: (
        failing(prompt, seen) if seen == 0 and way(prompt) in WAYS[:2] else perfect(prompt, seen)
    )
    assert cli(*judged("a", report=False)).code == 0
    assert statuses(tmp_path / "a") == {"scored": SAMPLES}
    assert len(loopback.calls) == SAMPLES + 4 + 4


def test_a_second_judge_sees_a_share_of_every_category_and_is_kept_apart(
    cli: Any, tmp_path: Path, loopback: Loopback, judged: Any
) -> None:
    def plan(prompt: str, seen: int) -> Served:
        model = loopback.calls[-1].request["model"]
        text = verdict(prompt)
        return Served(text.replace("Realism: 2", "Realism: 1") if model == "second" else text)

    loopback.plan = plan
    command = judged("a", concurrency=1)
    add_second(tmp_path, loopback)
    assert cli(*command).code == 0
    run = StoredRun(tmp_path / "a" / "run")
    assert run.card.benchmarks["tiny-wise"].second_judge == "second on 0.25 of the samples"
    assert len(run.scores) == SAMPLES * 4
    assert set(run.scores["judge"]) == {"loopback-1"}
    assert set(run.opinions["judge"]) == {"second"}
    # A quarter, rounded up, of the fifty prompts of a category and of the ten of the next.
    seen = run.opinions[run.opinions["metric"] == "realism"].merge(
        run.outputs, left_on="output", right_on="id"
    )
    tags = run.samples.set_index("uid")["tags"].map(lambda cell: json.loads(cell)["category"])
    assert Counter(seen["sample"].map(tags)) == {"CULTURE": 13, "TIME": 3}
    found = {one["metric"]: one for one in summary(tmp_path / "a")["judging"]["agreement"]}
    assert found["consistency"]["exact"]["value"] == 1.0
    assert found["consistency"]["alpha"]["nominal"]["value"] == 1.0
    changed = sum("Realism: 2" in verdict(p) for p in _asked(loopback, "second"))
    assert 0 < changed < SEEN
    assert found["realism"]["exact"]["value"] == pytest.approx((SEEN - changed) / SEEN)
    assert found["realism"]["alpha"]["interval"]["value"] < 1
    assert len(_asked(loopback, "second")) == SEEN
    report = (tmp_path / "a" / "report" / "report.md").read_text()
    assert f"| official | realism | {SEEN}/{SEEN} |" in report
    assert "differs from the card's, tiny-judge/3" in report


def _asked(loopback: Loopback, model: str) -> list[str]:
    return [call.prompt for call in loopback.calls if call.request["model"] == model]
