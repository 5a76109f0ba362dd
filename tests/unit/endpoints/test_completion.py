"""What stands in the body of a response, in the forms that endpoints give it."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pairuni_eval.endpoints.completion import (
    Completion,
    ErrorWords,
    is_cut,
    is_declined,
    read_body,
    read_error,
)


def body(content: Any = "fine", finish: Any = "stop", **more: Any) -> bytes:
    message = {"role": "assistant", "content": content, **more.pop("message", {})}
    return json.dumps({"choices": [{"message": message, "finish_reason": finish}], **more}).encode()


TEXTS: list[tuple[Any, str | None]] = [
    ("fine", "fine"),
    (None, ""),
    ([{"type": "text", "text": "fi"}, {"type": "text", "text": "ne"}], "fine"),
    ([{"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}, "fine"], "fine"),
    ([{"type": "reasoning", "text": "hm"}, {"type": "output_text", "text": "fine"}], "fine"),
    ([{"type": "text", "text": {"value": "fine"}}, {"type": "image_url"}, 7, None], "fine"),
    ({"type": "text", "text": "fine"}, "fine"),
    ("fine \ud83d", "fine \ufffd"),
    ("\U0001f600", "\U0001f600"),
    (7, None),
]


@pytest.mark.parametrize(("content", "text"), TEXTS, ids=range(len(TEXTS)))
def test_text_in_any_form(content: Any, text: str | None) -> None:
    assert read_body(body(content)).text == text


def test_reasoning_beside_the_text_is_left_out_and_a_refusal_is_one() -> None:
    assert read_body(body(message={"reasoning_content": "0", "reasoning": "0"})).text == "fine"
    found = read_body(body(None, message={"refusal": "I cannot."}))
    assert (found.text, is_declined(found.finish)) == ("I cannot.", True)


USAGES: list[tuple[Any, tuple[int | None, int | None]]] = [
    ({"prompt_tokens": 5, "completion_tokens": 6}, (5, 6)),
    ({"prompt_tokens": 5.0, "completion_tokens": "6"}, (5, 6)),
    ({"input_tokens": 5, "output_tokens": 6}, (5, 6)),
    ({"prompt_tokens": {"text": 5}, "completion_tokens": None}, (None, None)),
    ({"prompt_tokens": -1, "completion_tokens": 10**400}, (None, None)),
    ({"prompt_tokens": "nan", "completion_tokens": True}, (None, None)),
    (None, (None, None)),
    ([5], (None, None)),
]


@pytest.mark.parametrize(("usage", "counts"), USAGES, ids=range(len(USAGES)))
def test_counts_in_any_form(usage: Any, counts: tuple[int | None, int | None]) -> None:
    found = read_body(body(usage=usage, model={"name": "m"}))
    assert (found.text, found.prompt_tokens, found.completion_tokens) == ("fine", *counts)
    assert found.served is None


CUT = ["length", "LENGTH", "max_tokens", "MAX_TOKENS", "model_length", "max_output_tokens"]
DECLINED = ["content_filter", "refusal", "SAFETY", "safety", "PROHIBITED_CONTENT", "blocklist"]
DECLINED += ["RECITATION", "image_safety", "content-filtered"]
WHOLE = ["stop", "STOP", "eos", "eos_token", "end_turn", "stop_sequence", "tool_calls", "error", ""]


@pytest.mark.parametrize("word", [*CUT, *DECLINED, *WHOLE])
def test_why_a_reply_ended_is_an_open_vocabulary(word: str) -> None:
    assert is_cut(word) == (word in CUT)
    assert is_declined(word) == (word in DECLINED)


@pytest.mark.parametrize("finish", [None, "", " ", 7, {"type": "stop"}])
def test_no_word_is_the_end(finish: Any) -> None:
    assert read_body(body(finish=finish)).finish == "stop"


ERRORS: list[tuple[Any, ErrorWords]] = [
    ({"error": {"message": "No credits", "code": 402}}, ErrorWords("No credits", "402")),
    ({"error": "No\n  credits"}, ErrorWords("No credits")),
    ({"object": "error", "message": "bad", "code": 400}, ErrorWords("bad", "400")),
    ({"detail": "Not Found"}, ErrorWords("Not Found")),
    (
        {"detail": [{"loc": ["body", "max_tokens"], "msg": "too large", "type": "value_error"}]},
        ErrorWords("max_tokens: too large", "", "max_tokens"),
    ),
    ({"error": {"message": "x" * 500, "type": "a", "param": "p"}}, ErrorWords("x" * 200, "a", "p")),
    ({"error": {"message": ["?"], "code": True}, "detail": 3}, ErrorWords()),
    ([], ErrorWords()),
]


@pytest.mark.parametrize(("document", "told"), ERRORS, ids=range(len(ERRORS)))
def test_an_error_in_its_own_words(document: Any, told: ErrorWords) -> None:
    data = json.dumps(document).encode()
    assert read_error(data) == told
    assert read_body(data) == Completion(None, told=told)


def test_a_body_that_is_no_json_is_told_from_its_beginning() -> None:
    assert read_error(b"<html>\n<b>Bad</b></html>\x00\xff") == ErrorWords(
        "<html> <b>Bad</b></html>\ufffd"
    )
    for data in (b"", b"\xff\xfe", b"[" * 100_000, b"9" * 5000, b'{"choices": [{"mess'):
        assert read_body(data).text is None


def test_an_error_beside_a_text_leaves_the_text() -> None:
    assert read_body(body(error={"message": "late"})).text == "fine"
    assert read_body(body("", error={"message": "late"})).told == ErrorWords("late")


json_values = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(st.characters()),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["choices", "message", "content", "text", "type", "error", "usage", "detail", "loc"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@settings(deadline=None)
@given(json_values, st.binary(max_size=20))
def test_nothing_makes_it_fail_and_what_it_finds_can_be_stored(document: Any, end: bytes) -> None:
    for data in (json.dumps(document).encode(), json.dumps(document).encode() + end, end):
        msgspec.json.encode([read_body(data), read_error(data)])
