"""A judge with every fault that endpoints have, and one whose set-up has to be mended first.

Every question meets one way of the list, by its place in the order of asking. What can be read is
read, what cannot is a status, every response with status 200 is counted, and nothing else is.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from support.fork_server import Forked
from support.http_server import HEAD, Loopback, Served, bomb, drips, endpoint

from pairuni_eval.store.read import StoredRun

SAMPLES = 38
TEXT = "Consistency: 2\nRealism: 1\nAesthetic Quality: 0"
WRONG = "Consistency: 0\nRealism: 0\nAesthetic Quality: 2"
CONTEXT = {"message": "maximum context length is 4096 tokens", "code": "context_length_exceeded"}


def body(document: Any) -> Served:
    return Served(body=json.dumps(document).encode())


READ: dict[str, Served] = {
    "plain": Served(TEXT),
    "parts": Served([{"type": "text", "text": TEXT}]),
    "thinking parts": Served([{"type": "thinking", "text": WRONG}, {"type": "text", "text": TEXT}]),
    "floats": Served(TEXT, usage={"prompt_tokens": 100.0, "completion_tokens": "10"}),
    "surrogate": Served(TEXT + " \ud83d"),
    "eos": Served(TEXT, finish="eos_token"),
    "null": Served(TEXT, finish=None),
    "thought": Served(f"<think>\n{WRONG}\n</think>\n{TEXT}"),
    "lone close": Served(f"{WRONG}\n</think>\n{TEXT}"),
}
SERVED: dict[str, tuple[Served, str]] = {
    "open thought": (Served(f"<think>{TEXT}"), "judge_failed"),
    "cut": (Served(TEXT, finish="MAX_TOKENS"), "judge_failed"),
    "filtered": (Served(TEXT, finish="SAFETY"), "refused"),
    "error": (body({"error": {"message": "no luck", "code": "odd"}}), "judge_failed"),
    "page": (Served(body=b"<html>Welcome</html>"), "judge_failed"),
    "number": (body({"choices": [{"message": {"content": 7}}]}), "judge_failed"),
    "bomb": (Served(write=bomb(50)), "judge_failed"),
}
REFUSED: dict[str, tuple[Served, int]] = {  # with how many tries
    "context": (Served(status=400, error=CONTEXT), 1),
    "drip": (Served(write=drips(HEAD + b"\r\n{")), 2),
    "busy": (Served(status=503), 2),
}
WAYS = [*READ, *SERVED, *REFUSED]


class Faulty:
    """Serves the ways in turn, one for each question."""

    def __init__(self) -> None:
        self.order: list[str] = []

    def __call__(self, prompt: str, seen: int) -> Served:
        if prompt not in self.order:
            self.order.append(prompt)
        way = self.way(prompt)
        return READ[way] if way in READ else {**SERVED, **REFUSED}[way][0]

    def way(self, prompt: str) -> str:
        return WAYS[self.order.index(prompt) % len(WAYS)]


@pytest.fixture
def loopback() -> Iterator[Loopback]:
    with endpoint(lambda prompt, seen: Served(TEXT)) as running:
        yield running


@pytest.fixture
def judged(tmp_path: Path, loopback: Loopback) -> Callable[..., list[object]]:
    """Writes the judge file and the model's script; returns the command of a run."""
    Image.new("RGB", (64, 64), "red").save(tmp_path / "red.png")
    (tmp_path / "model.jsonl").write_text('{"prompt": "*", "image": "red.png"}')

    def command(name: str, more: str = "", samples: int = SAMPLES) -> list[object]:
        judge = tmp_path / f"{name}.toml"
        judge.write_text(
            f'snapshot = "m"\nbase_url = "{loopback.url}"\nretries = 1\nbackoff_s = 0.001\n{more}'
        )
        return [
            "run",
            *("--checkpoint", f"scripted:{tmp_path / 'model.jsonl'}"),
            *("--benchmarks", "tiny-wise", "--limit", samples),
            *("--judge", judge),
            *("--out", tmp_path / name / "run", "--report", tmp_path / name / "report"),
        ]

    return command


def statuses(folder: Path) -> Counter[str]:
    scores = StoredRun(folder / "run").scores
    return Counter(scores.loc[scores["metric"] == "wiscore", "status"])


def account(folder: Path) -> dict[str, Any]:
    whole = json.loads((folder / "report" / "summary.json").read_text())
    judging = whole["benchmarks"]["tiny-wise"]["judging"]
    return dict(next(iter(judging["usage"].values())))


def paid(folder: Path) -> int:
    return len((folder / "run" / "judge" / "replies.jsonl").read_text().splitlines())


def test_every_fault_at_once_changes_no_value_and_every_call_is_counted(
    cli: Any, tmp_path: Path, loopback: Loopback, judged: Any
) -> None:
    loopback.plan = faulty = Faulty()
    ran = cli(*judged("a", "timeout_s = 0.5"))
    assert ran.code == 0, ran.err
    ways = Counter(map(faulty.way, faulty.order))
    assert ways == dict.fromkeys(WAYS, SAMPLES // len(WAYS))
    scores = StoredRun(tmp_path / "a" / "run").scores
    valid = scores[scores["status"] == "scored"]
    values = valid.groupby("metric")["value"].unique().map(list).to_dict()
    assert {name: values[name] for name in ("consistency", "realism", "aesthetic_quality")} == {
        "consistency": [2.0],
        "realism": [1.0],
        "aesthetic_quality": [0.0],
    }
    turns = SAMPLES // len(WAYS)
    expected = Counter({"scored": turns * len(READ)})
    expected.update(dict.fromkeys(["judge_failed"], turns * len(REFUSED)))
    for _, status in SERVED.values():
        expected[status] += turns
    assert statuses(tmp_path / "a") == expected
    served = turns * (len(READ) + len(SERVED))
    assert account(tmp_path / "a")["calls"] == paid(tmp_path / "a") == served
    assert len(loopback.calls) == served + turns * sum(tries for _, tries in REFUSED.values())
    assert account(tmp_path / "a")["open"] == turns * 2  # drips and a busy endpoint may pass
    assert account(tmp_path / "a")["troubles"]["the endpoint says: no luck"] == turns

    before = len(loopback.calls)
    loopback.plan = lambda prompt, seen: Served(TEXT)
    assert cli(*judged("a", "timeout_s = 60")).code == 0
    # What came is remembered; a refusal, which nobody pays for, is asked again with its neighbors.
    assert len(loopback.calls) == before + turns * len(REFUSED)


def picky(call: dict[str, Any]) -> Served:
    """A model that takes neither of two parameters."""
    for name in ("max_tokens", "temperature"):
        if name in call:
            message = f"Unsupported parameter: '{name}' is not supported with this model."
            error = {"message": message, "param": name, "code": "unsupported_parameter"}
            return Served(status=400, error=error)
    return Served(TEXT)


def test_a_judge_that_had_to_be_mended_goes_on_in_the_same_folder(
    cli: Any, tmp_path: Path, loopback: Loopback, judged: Any
) -> None:
    loopback.plan = lambda prompt, seen: picky(loopback.calls[-1].request)
    wrong = "max_tokens = 500\ntemperature = 0.0\n"
    for _ in range(2):
        ran = cli(*judged("a", wrong))
        assert ran.code == 2
        assert "Unsupported parameter: 'max_tokens' is not supported" in ran.error
        assert 'max_tokens = "unset" with extra = { max_completion_tokens = 500 }' in ran.next
    assert len(loopback.calls) == 2 * 3
    mended = 'max_tokens = "unset"\ntemperature = "unset"\nextra = {max_completion_tokens = 500}\n'
    ran = cli(*judged("a", mended))
    assert ran.code == 0, ran.err
    assert statuses(tmp_path / "a") == {"scored": SAMPLES}
    run = StoredRun(tmp_path / "a" / "run")
    named = run.card.benchmarks["tiny-wise"].judge
    assert named == "m (extra={'max_completion_tokens': 500})"
    assert set(run.scores["judge"]) == {named}
    # Now verdicts rest on it: another judge is another run.
    assert "holds another run: its judge is" in cli(*judged("a", mended.replace("500", "9"))).error


def test_two_runs_at_once_keep_the_cap_of_a_cache_together(
    forked: Forked, tmp_path: Path, loopback: Loopback, judged: Any
) -> None:
    loopback.plan = lambda prompt, seen: Served(TEXT, delay=0.05)
    more = 'cache = "shared"\nmax_calls = 25\n'
    commands = [judged(name, more, samples=30) for name in "ab"]
    logs = [tmp_path / f"{name}.log" for name in "ab"]
    running = [forked.start(*one, log=log) for one, log in zip(commands, logs, strict=True)]
    for one, log in zip(running, logs, strict=True):
        assert one.wait() == 0, log.read_text()
    assert len(loopback.calls) == 25
    assert len((tmp_path / "shared" / "replies.jsonl").read_text().splitlines()) == 25


def test_a_deadline_holds_for_a_whole_run(
    cli: Any, tmp_path: Path, loopback: Loopback, judged: Any
) -> None:
    loopback.plan = lambda prompt, seen: Served(write=drips(HEAD + b"\r\n{"))
    command = judged("a", "timeout_s = 0.5\n", samples=2)
    started = time.monotonic()
    assert cli(*command).code == 0
    taken = time.monotonic() - started
    loopback.plan = lambda prompt, seen: Served(TEXT)
    started = time.monotonic()
    assert cli(*judged("b", samples=2)).code == 0
    usual = time.monotonic() - started
    assert len(loopback.calls) == 2 * 2 + 2
    assert taken < 2 * 2 * 0.5 * 1.2 + 3 * usual
