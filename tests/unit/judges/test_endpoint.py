"""The judge `openai` against a real endpoint on loopback: requests, failures, waits, statuses."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from support.http_server import Loopback, Served, endpoint

from pairuni_eval.cards import JudgeSpec
from pairuni_eval.errors import UserError
from pairuni_eval.judges.judge import JudgeReply, JudgeSetup, Question
from pairuni_eval.judges.openai_compatible import OpenAIJudge
from pairuni_eval.judges.usage import JudgeCall
from pairuni_eval.records import Status

RED, BLUE = (Image.new("RGB", (8, 8), color) for color in ("red", "blue"))


@pytest.fixture
def loopback() -> Iterator[Loopback]:
    with endpoint(lambda prompt, seen: Served(f"reply to {prompt}")) as running:
        yield running


Load = Callable[..., OpenAIJudge]


@pytest.fixture
def load(loopback: Loopback, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Load:
    """Loads a judge; options as in a judge file."""
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")

    def loaded(folder: str | None = "judge", spec: Any = None, **options: Any) -> OpenAIJudge:
        quick = {"base_url": loopback.url, "backoff_s": 0.001, "timeout_s": 5.0}
        spec = spec or JudgeSpec(name="openai", snapshot="model-1")
        place = tmp_path / folder if folder else None
        return OpenAIJudge.load(JudgeSetup(spec, place, quick | options))

    return loaded


def question(prompt: str, *images: Image.Image, attempt: int = 0) -> Question:
    return Question(prompt, images, {}, attempt)


def one(judge: OpenAIJudge, prompt: str = "q") -> JudgeReply:
    (reply,) = judge.ask([question(prompt)])
    return reply._replace(call=None)


def call_of(judge: OpenAIJudge, prompt: str = "q") -> JudgeCall:
    """What is said of asking."""
    (reply,) = judge.ask([question(prompt)])
    assert reply.call is not None
    return reply.call


# Requests


def test_the_message_is_the_text_then_the_images_in_order_as_png(
    loopback: Loopback, load: Load
) -> None:
    load().ask([question("Which?", RED, BLUE)])
    (call,) = loopback.calls  # the endpoint refuses other forms
    assert call.prompt == "Which?"
    assert [image.format for image in call.images] == ["PNG", "PNG"]
    assert [image.getpixel((0, 0)) for image in call.images] == [(255, 0, 0), (0, 0, 255)]
    assert call.authorization == "Bearer sk-secret"


def test_a_system_message_goes_first_and_makes_another_question(
    loopback: Loopback, load: Load
) -> None:
    judge = load()
    judge.ask([question("q")._replace(system="Be strict."), question("q")])
    sent = [call.request["messages"] for call in loopback.calls]
    assert sorted(sent, key=len) == [
        [{"role": "user", "content": "q"}],
        [{"role": "system", "content": "Be strict."}, {"role": "user", "content": "q"}],
    ]


def test_nothing_is_sent_that_the_card_does_not_say(loopback: Loopback, load: Load) -> None:
    one(load())
    assert set(loopback.calls[0].request) == {"model", "messages"}


def test_what_the_card_says_is_sent_and_the_judge_file_may_change_it(
    loopback: Loopback, load: Load
) -> None:
    extra = {"chat_template_kwargs": {"enable_thinking": False}}
    spec = JudgeSpec(name="openai", snapshot="m", temperature=0.0, max_tokens=500, extra=extra)
    one(load("a", spec))
    one(load("b", spec, snapshot="n", temperature="unset", max_tokens=9, extra={"seed": 3}))
    first, second = (call.request for call in loopback.calls)
    del first["messages"], second["messages"]
    assert first == {"model": "m", "temperature": 0.0, "max_tokens": 500, **extra}
    assert second == {"model": "n", "max_tokens": 9, "seed": 3}


def test_an_endpoint_of_ones_own_needs_no_key(
    loopback: Loopback, load: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY")
    assert one(load()) == JudgeReply("reply to q")
    assert loopback.calls[0].authorization == "Bearer none"


def test_replies_come_back_in_the_order_of_the_questions(loopback: Loopback, load: Load) -> None:
    loopback.plan = lambda prompt, seen: Served(prompt, delay=0.02 * (int(prompt) % 3))
    verdicts = load(concurrency=4).ask([question(str(n)) for n in range(12)])
    assert [verdict.text for verdict in verdicts] == [str(n) for n in range(12)]
    assert 2 <= loopback.most_at_once <= 4


def test_equal_questions_are_asked_once_and_other_ones_again(
    loopback: Loopback, load: Load
) -> None:
    asked = [question("q", RED), question("q", RED.copy()), question("q", BLUE)]
    asked += [question("q", RED, attempt=1), question("p", RED), question("q", RED, BLUE)]
    judge = load(concurrency=1)
    judge.ask(asked)
    assert len(loopback.calls) == 5
    judge.ask(asked)
    assert len(loopback.calls) == 5
    again = load(concurrency=1)
    again.ask(asked)
    assert len(loopback.calls) == 5
    load(concurrency=1, temperature=0.5).ask(asked[:1])
    load(concurrency=1, snapshot="model-2").ask(asked[:1])
    assert len(loopback.calls) == 7


def test_without_a_folder_replies_are_remembered_in_memory(loopback: Loopback, load: Load) -> None:
    judge = load(None)
    assert [one(judge), one(judge)] == [JudgeReply("reply to q")] * 2
    assert len(loopback.calls) == 1


# What a reply is worth


REPLIES: dict[str, tuple[Served, JudgeReply]] = {
    "prose": (Served("Nice."), JudgeReply("Nice.")),
    "no finish reason": (Served("fine", finish=None), JudgeReply("fine")),
    "cut": (
        Served("Consistency: 2", finish="length"),
        JudgeReply("the reply was cut off at its longest length", Status.JUDGE_FAILED),
    ),
    "empty": (Served(" \n"), JudgeReply("the reply was empty", Status.JUDGE_FAILED)),
    "null": (Served(None), JudgeReply("the reply was empty", Status.JUDGE_FAILED)),
    "tools": (
        Served("", finish="tool_calls"),
        JudgeReply("the reply was empty", Status.JUDGE_FAILED),
    ),
    "another end": (Served("fine", finish="eos_token"), JudgeReply("fine")),
    "cut in another word": (
        Served("Consistency: 2", finish="MAX_TOKENS"),
        JudgeReply("the reply was cut off at its longest length", Status.JUDGE_FAILED),
    ),
    "filtered in another word": (
        Served("", finish="SAFETY"),
        JudgeReply("the endpoint filtered its reply", Status.REFUSED),
    ),
    "parts": (
        Served([{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": "fine"}]),
        JudgeReply("fine"),
    ),
    "half a character": (Served("fine \ud83d"), JudgeReply("fine \ufffd")),
    "odd counts": (Served("fine", usage={"prompt_tokens": "many"}), JudgeReply("fine")),
    "refusal": (
        Served(None, refusal="I cannot look at this."),
        JudgeReply("I cannot look at this.", Status.REFUSED),
    ),
    "filtered": (
        Served("", finish="content_filter"),
        JudgeReply("the endpoint filtered its reply", Status.REFUSED),
    ),
}


@pytest.mark.parametrize(("served", "verdict"), REPLIES.values(), ids=REPLIES.keys())
def test_every_reply_is_paid_once_whatever_it_is_worth(
    loopback: Loopback, load: Load, served: Served, verdict: JudgeReply
) -> None:
    loopback.plan = lambda prompt, seen: served
    for _ in range(2):
        judge = load()
        assert one(judge) == verdict
        call = call_of(judge)
        assert call.replied
        assert call.paid
        assert not call.open
    assert len(loopback.calls) == 1


# Failed calls


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504, 529])
def test_a_failure_that_may_pass_is_tried_again_and_stays_open(
    loopback: Loopback, load: Load, status: int
) -> None:
    loopback.plan = lambda prompt, seen: Served(status=status)
    judge = load(retries=2)
    assert one(judge) == JudgeReply(f"HTTP {status}", Status.JUDGE_FAILED)
    call = call_of(judge)
    assert (call.open, call.replied, call.trouble) == (True, False, f"HTTP {status}")
    assert len(loopback.calls) == 3


@pytest.mark.parametrize("status", [400, 409, 413, 422])
def test_another_4xx_is_the_end_of_its_question_once_the_judge_has_replied(
    loopback: Loopback, load: Load, status: int
) -> None:
    loopback.plan = lambda prompt, seen: Served("fine") if prompt == "p" else Served(status=status)
    judge = load()
    verdict = one(judge)
    assert verdict.status is Status.JUDGE_FAILED
    assert verdict.text.startswith(f"HTTP {status}: ")
    assert call_of(judge).open, "it may be the fault of the set-up"
    assert not call_of(judge, "p").open
    assert one(judge) == verdict
    assert not call_of(judge).open
    assert len(loopback.calls) == 2
    again = load()  # which remembers a reply under these settings
    assert [one(again, "p"), one(again)] == [JudgeReply("fine"), verdict]
    assert not any(call_of(again, prompt).open for prompt in "pq")


def test_three_refusals_before_any_reply_end_the_run_and_mark_nothing(
    loopback: Loopback, load: Load
) -> None:
    loopback.plan = lambda prompt, seen: Served(status=400, error={"message": "Nonsense."})
    with pytest.raises(UserError) as refused:
        load(concurrency=1).ask([question(str(n)) for n in range(9)])
    assert len(loopback.calls) == 3
    assert "refuses to answer as 'model-1': HTTP 400: Nonsense. What" in refused.value.message
    assert "max_tokens, temperature and extra" in str(refused.value.hint)


def test_a_parameter_that_is_not_taken_is_named_with_the_key_that_mends_it(
    loopback: Loopback, load: Load
) -> None:
    error = {"message": "Unsupported parameter", "param": "max_tokens", "code": "unsupported"}
    loopback.plan = lambda prompt, seen: (
        Served(status=400, error=error) if int(prompt) >= 5 else Served("fine")
    )
    spec = JudgeSpec(name="openai", snapshot="m", max_tokens=500)
    judge = load(spec=spec, concurrency=1)
    with pytest.raises(UserError) as refused:
        judge.ask([question(str(n)) for n in range(20)])
    assert len(loopback.calls) == 5 + 3
    hint = str(refused.value.hint)
    assert 'max_tokens = "unset" with extra = { max_completion_tokens = 500 }' in hint
    assert "needs a folder of its own" in hint, "it had replied"


def test_too_long_a_question_among_replies_stays_on_its_row(loopback: Loopback, load: Load) -> None:
    error = {"message": "This model's maximum context length is 4096 tokens."}
    loopback.plan = lambda prompt, seen: (
        Served("fine") if prompt == "0" else Served(status=400, error=error)
    )
    verdicts = load(concurrency=1).ask([question(str(n)) for n in range(9)])
    assert [v.status for v in verdicts] == [Status.SCORED] + [Status.JUDGE_FAILED] * 8


def test_a_filter_that_answers_400_is_a_refusal(loopback: Loopback, load: Load) -> None:
    loopback.plan = lambda prompt, seen: Served(status=400, error={"code": "content_filter"})
    assert one(load()).status is Status.REFUSED
    assert len(loopback.calls) == 1


def test_a_quota_that_is_used_up_ends_the_run(loopback: Loopback, load: Load) -> None:
    loopback.plan = lambda prompt, seen: Served(status=429, error={"code": "insufficient_quota"})
    with pytest.raises(UserError, match="the account's quota is used up"):
        one(load())
    assert len(loopback.calls) == 1


BODIES = {
    "half a JSON": b'{"choices": [{"message": {"content": "Consi',
    "no JSON": b"<html>Bad gateway</html>",
    "no choices": b'{"choices": []}',
    "an error with 200": b'{"error": {"message": "overloaded"}}',
    "another form": b'{"choices": [{"message": {"content": 7}}]}',
    "nothing": b"",
    "no text": b"\xff\xfe",
}


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES.keys())
def test_whatever_comes_counts_and_is_not_asked_again(
    loopback: Loopback, load: Load, body: bytes
) -> None:
    loopback.plan = lambda prompt, seen: Served("fine") if prompt == "p" else Served(body=body)
    said = "the endpoint says: overloaded" if b"overloaded" in body else None
    judge = load(max_calls=2)
    assert one(judge, "p") == JudgeReply("fine")
    expected = JudgeReply(said or "the response is not a chat completion", Status.JUDGE_FAILED)
    assert one(judge) == expected
    assert one(judge, "r") == JudgeReply("budget: max_calls is reached", Status.SKIPPED)
    calls = [call_of(judge, prompt) for prompt in "pqr"]
    assert [(call.paid, call.open) for call in calls] == [
        (True, False),
        (True, False),
        (False, True),
    ]
    again = load()
    assert [one(again, "p"), one(again)] == [JudgeReply("fine"), expected]
    assert len(loopback.calls) == 2


def test_an_address_that_never_replies_is_a_fault_of_the_set_up(
    loopback: Loopback, load: Load
) -> None:
    loopback.plan = lambda prompt, seen: Served(body=b"<html>Welcome</html>")
    asked = [question(str(n)) for n in range(9)]
    with pytest.raises(UserError, match="the response is not a chat completion"):
        load(concurrency=1).ask(asked)
    assert len(loopback.calls) == 3
    loopback.plan = lambda prompt, seen: Served("fine")
    judge = load(concurrency=1)
    replies = judge.ask(asked)
    assert [reply.text for reply in replies] == ["fine"] * 9, "nothing was remembered as an answer"
    paid_for = [reply.call.paid_for for reply in replies if reply.call]
    assert paid_for == [2, 2, 2, 1, 1, 1, 1, 1, 1]
    assert sum(paid_for) == len(loopback.calls)


def test_an_error_with_status_200_is_shown_in_its_own_words(loopback: Loopback, load: Load) -> None:
    error = b'{"error": {"message": "Insufficient credits of sk-secret", "code": 402}}'
    loopback.plan = lambda prompt, seen: Served(body=error)
    with pytest.raises(UserError) as refused:
        one(load())
    assert "the endpoint says: Insufficient credits of ***. What" in refused.value.message
    assert len(loopback.calls) == 1


def test_a_key_that_the_endpoint_repeats_is_not_repeated_by_us(
    loopback: Loopback, load: Load, tmp_path: Path
) -> None:
    error = {"message": "the key sk-secret is not for this"}
    loopback.plan = lambda prompt, seen: Served(status=400, error=error)
    judge = load()
    text = one(judge).text
    assert "sk-secret" not in text
    assert "the key *** is not for this" in text
    loopback.plan = lambda prompt, seen: Served(status=401, error=error)
    with pytest.raises(UserError) as refused:
        one(load("b"))
    assert "sk-secret" not in refused.value.message
    loopback.plan = lambda prompt, seen: Served("you sent sk-secret", finish="sk-secret")
    assert one(load("c")) == JudgeReply("you sent ***")
    assert not [p for p in tmp_path.rglob("*") if p.is_file() and b"sk-secret" in p.read_bytes()]


def test_a_question_that_failed_is_not_asked_again_by_the_same_process(
    loopback: Loopback, load: Load
) -> None:
    loopback.plan = lambda prompt, seen: Served(status=500)
    judge = load(retries=0)
    assert one(judge) == one(judge)
    assert len(loopback.calls) == 1
    one(load(retries=0))
    assert len(loopback.calls) == 2


# Waits


def waits(loopback: Loopback, load: Load, headers: dict[str, str], **options: Any) -> list[float]:
    """Seconds between the tries of one question."""
    loopback.plan = lambda prompt, seen: Served(status=429, headers=headers)
    one(load(**options))
    return [
        later - sooner for sooner, later in zip(loopback.times, loopback.times[1:], strict=False)
    ]


def test_waits_double_and_keep_their_address(loopback: Loopback, load: Load) -> None:
    first = waits(loopback, load, {}, retries=3, backoff_s=0.1)
    for wait, shortest in zip(first, (0.05, 0.1, 0.2), strict=True):
        assert shortest <= wait < 5


def test_an_endpoint_may_ask_for_a_longer_wait(loopback: Loopback, load: Load) -> None:
    (wait,) = waits(loopback, load, {"Retry-After": "0.3"}, retries=1)
    assert 0.3 <= wait < 2


def test_an_endpoint_may_not_ask_for_more_than_the_ceiling(loopback: Loopback, load: Load) -> None:
    later = datetime.now(UTC) + timedelta(hours=1)
    for number, header in enumerate(["3600", "inf", format_datetime(later, usegmt=True)]):
        loopback.times.clear()
        (wait,) = waits(
            loopback, load, {"Retry-After": header}, retries=1, max_wait_s=0.1, folder=str(number)
        )
        assert 0.1 <= wait < 2


@pytest.mark.parametrize("header", ["soon", "-5", "nan", "", "Mon, 99 Foo"])
def test_a_wait_in_no_known_form_is_none(loopback: Loopback, load: Load, header: str) -> None:
    (wait,) = waits(loopback, load, {"Retry-After": header}, retries=1)
    assert wait < 2


def test_an_error_in_one_thread_ends_the_waits_of_the_others(
    loopback: Loopback, load: Load
) -> None:
    loopback.plan = lambda prompt, seen: (
        Served(status=401, delay=0.1) if prompt == "1" else (Served(status=500))
    )
    judge = load(backoff_s=60, concurrency=2)
    failed: list[BaseException] = []

    def ask() -> None:
        try:
            judge.ask([question("0"), question("1")])
        except UserError as error:
            failed.append(error)

    thread = threading.Thread(target=ask)
    thread.start()
    thread.join(timeout=20)
    assert not thread.is_alive()
    assert len(failed) == 1


# Money


def test_cost_is_tokens_times_price(loopback: Loopback, load: Load) -> None:
    call = call_of(load(input_price=2.5, output_price=10.0))
    assert (call.prompt_tokens, call.completion_tokens) == (100, 10)
    assert call.cost == pytest.approx(0.00035)


def test_money_cannot_be_capped_where_tokens_are_not_told(loopback: Loopback, load: Load) -> None:
    body = json.dumps({"choices": [{"message": {"content": "fine"}}]}).encode()
    loopback.plan = lambda prompt, seen: Served(body=body)
    with pytest.raises(UserError, match="max_cost cannot be held"):
        one(load(max_cost=1.0, input_price=1.0, output_price=1.0))
    assert one(load(max_calls=1)) == JudgeReply("fine")  # the reply was paid, so it is remembered
    assert len(loopback.calls) == 1


def test_a_cap_on_calls_holds_with_many_at_once_and_takes_questions_in_order(
    loopback: Loopback, load: Load
) -> None:
    loopback.plan = lambda prompt, seen: Served(prompt, delay=0.01)
    verdicts = load(max_calls=5, concurrency=4).ask([question(str(n)) for n in range(9)])
    assert [verdict.status for verdict in verdicts] == [Status.SCORED] * 5 + [Status.SKIPPED] * 4
    assert verdicts[-1].text == "budget: max_calls is reached"
    assert len(loopback.calls) == 5


def test_the_client_is_asked_for_by_name_where_it_is_missing(
    load: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "openai", None)
    with pytest.raises(UserError) as refused:
        load()
    assert "needs the package openai" in refused.value.message
    assert "[judge]'" in (refused.value.hint or "")
