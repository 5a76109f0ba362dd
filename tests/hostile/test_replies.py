"""Replies of judges as endpoints send them, and worse ones, through the client and the rubrics.

Beside each strange reply a sound one is asked for: its scores stay what they are.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hostile.conftest import Ground
from hostile.strangers import bent, changed, value
from support import http_server as loopback

from pairuni_eval.cards import JudgeSpec
from pairuni_eval.judges.judge import JudgeSetup, Question
from pairuni_eval.judges.openai_compatible import OpenAIJudge
from pairuni_eval.records import Status
from pairuni_eval.scorers.rubric import imgedit_marks, verified_marks, wise_marks

SOUND = "Consistency: 2\nRealism: 1\nAesthetic Quality: 1"
SCORED = [2.0, 1.0, 1.0, 0.85]


class Stranger:
    """An endpoint that serves one strange reply, and a sound one to the prompt "sound"."""

    def __init__(self) -> None:
        self.next = loopback.Served(SOUND)

    def plan(self, prompt: str, _: int) -> loopback.Served:
        return loopback.Served(SOUND) if prompt.startswith("sound") else self.next


@pytest.fixture
def stranger() -> Iterator[tuple[Stranger, loopback.Loopback]]:
    serves = Stranger()
    with loopback.endpoint(serves.plan) as running:
        yield serves, running


def _completion(text: Any) -> dict[str, Any]:
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 0,
        "model": "judge-1",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": text, "refusal": None},
                "finish_reason": "stop",
            }
        ],
        "usage": {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110},
    }


def test_bodies(
    ground: Ground,
    stranger: tuple[Stranger, loopback.Loopback],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-none")
    serves, running = stranger

    def make(rng: random.Random, folder: Path) -> Callable[[], object]:
        body = json.dumps(_served(rng, ground, folder)).encode()
        if rng.random() < 0.3:
            body = bent(rng, body)
        status = rng.choice([200, 200, 200, 200, 400, 404, 422, 500, 204, 302])
        headers = {"Location": "http://127.0.0.1:9/elsewhere"} if status == 302 else {}

        def ask() -> None:
            serves.next = loopback.Served(body=body, status=status, headers=headers)
            judge = _judge(running, folder)
            strange, sound = judge.ask([_question("strange"), _question("sound")])
            marks = wise_marks(sound)
            assert [mark.value for mark in marks] == SCORED
            for mark in wise_marks(strange):
                assert (mark.value is None) == (mark.status is not Status.SCORED)

        return ask

    ground.hold("bodies", 300, make)


def _served(rng: random.Random, ground: Ground, folder: Path) -> Any:
    def draw() -> Any:
        return value(rng, ground.away, folder)

    whole = _completion(rng.choice([SOUND, [{"type": "text", "text": SOUND}], None]))
    return changed(rng, whole, draw)


def _judge(running: loopback.Loopback, folder: Path) -> OpenAIJudge:
    options = {
        "model": "judge-1",
        "base_url": running.url,
        "timeout_s": 20.0,
        "retries": 0,
        "concurrency": 1,
    }
    spec = JudgeSpec(name="openai")
    setup = JudgeSetup(spec=spec, options=options, folder=folder)
    return OpenAIJudge.load(setup)


def _question(prompt: str) -> Question:
    return Question(prompt, (), {"key": prompt})


_PIECES = (
    *(
        "Consistency: 2",
        "**Consistency:** 1",
        "consistency 9",
        "Realism: 1",
        "Score: 1",
        "Score: 0",
    ),
    *("Aesthetic Quality: 2", "Compliance: 5", "Seams: 4/5", "x: ²", "x: ٣", f"x: {'9' * 400}"),
    *("<think>", "</think>", "<think>Score: 0</think>", "<THINK a=1>", "0", "1", "2", "\n", "\n\n"),
    *('{"score": [4, 4], "reasoning": "{"}', '{"score"', "[1, 2", "nan", "\ud83d", "\0", "1e999"),
)


def test_texts(ground: Ground) -> None:
    """Every rubric gives numbers within its bounds, or a status."""
    from pairuni_eval.judges.judge import JudgeReply

    def make(rng: random.Random, _: Path) -> Callable[[], object]:
        text = rng.choice(("", " ", "\n")).join(rng.choices(_PIECES, k=rng.randint(0, 9)))
        verdict = JudgeReply(text)

        def read() -> None:
            bounds = {"correct": (0, 1), "wiscore": (0, 4.5), "score": (0, float("inf"))}
            marks = [*wise_marks(verdict), *verified_marks(verdict)]
            for protocol in ("official", "lmms-eval"):
                marks += imgedit_marks(verdict, protocol)
            for mark in marks:
                low, high = bounds.get(mark.metric, (0, 9))
                assert mark.value is None or low <= mark.value <= high, mark
                assert mark.value is not None or mark.status is not Status.SCORED

        return read

    ground.hold("texts", 600, make)
