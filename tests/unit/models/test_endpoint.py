"""The adapter `endpoint` against a real endpoint on loopback: what is sent, what replies become."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from support.http_server import Loopback, Served, endpoint

from pairuni_eval.adapters import find_adapter, load_model
from pairuni_eval.decoding import Decoding
from pairuni_eval.errors import UserError
from pairuni_eval.models.base import LoadOptions, Model, Reply, Request
from pairuni_eval.records import Capability

RED, BLUE = (Image.new("RGB", (8, 6), color) for color in ("red", "blue"))
CARD = Decoding(temperature=0.7, top_p=0.9, max_tokens=33)
SEED = (5 << 31) + 17
WEIGHTS = "ab" * 32


def fine(prompt: str, seen: int) -> Served:
    """Words or a picture that depend on the prompt alone."""
    return Served(f"reply to {prompt}")


def drawn(prompt: str, seen: int) -> Served:
    return Served(picture=Image.new("RGB", (4, 4), prompt.rpartition(" ")[2]))


@pytest.fixture
def loopback() -> Iterator[Loopback]:
    with endpoint(fine) as running:
        yield running


Load = Callable[..., Model]


@pytest.fixture
def load(loopback: Loopback, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Load:
    """Loads a model; options as in an endpoint file, `text` is added to it as it is."""
    monkeypatch.setenv("ACME_KEY", "sk-secret-of-acme")

    def loaded(folder: str | None = "model", text: str = "", **options: Any) -> Model:
        lines: dict[str, Any] = {"base_url": loopback.url, "model": "m", "key_env": "ACME_KEY"}
        lines |= {"backoff_s": 0.001, "timeout_s": 20.0} | options
        path = tmp_path / "acme.toml"
        written = [f"{name} = {json.dumps(one)}" for name, one in lines.items() if one is not None]
        path.write_text("\n".join(written) + f"\n{text}\n")
        options_ = LoadOptions(folder=tmp_path / folder if folder else None)
        return load_model(f"endpoint:{path}", None, options_)

    return loaded


def ask(*parts: str | Image.Image, decoding: Decoding = CARD, seed: int = SEED) -> Request:
    return Request(parts, decoding, seed, "uid")


# What is sent


def test_an_answer_is_asked_for_with_its_parts_in_order_and_its_decoding(
    loopback: Loopback, load: Load
) -> None:
    model = load()
    assert model.answer([ask(RED, "or", BLUE, "?")]) == [Reply("reply to or ?", tokens=10)]
    (call,) = loopback.calls
    (message,) = call.request.pop("messages")
    assert [part["type"] for part in message["content"]] == [
        *("image_url", "text", "image_url", "text")
    ]
    assert [image.getpixel((0, 0)) for image in call.images] == [(255, 0, 0), (0, 0, 255)]
    assert call.request == {
        "model": "m",
        "temperature": 0.7,
        "top_p": 0.9,
        "max_tokens": 33,
        "seed": 17,
    }
    assert (call.path, call.authorization) == ("/v1/chat/completions", "Bearer sk-secret-of-acme")


def test_other_settings_go_along_where_they_are_set(loopback: Loopback, load: Load) -> None:
    load().answer([ask("q", decoding=Decoding(top_k=20, thinking=True, steps=4))])
    sent = loopback.calls[0].request
    assert (sent["top_k"], sent["thinking"], sent["steps"]) == (20, True, 4)
    assert sent["messages"] == [{"role": "user", "content": "q"}]


def test_what_is_said_of_pictures_is_not_sent_with_a_question(
    loopback: Loopback, load: Load
) -> None:
    load().answer([ask("q", decoding=Decoding(size=(24, 16), cfg_scale=3.0, top_k=20))])
    sent = loopback.calls[0].request
    assert sent["top_k"] == 20 and not {"size", "cfg_scale"} & sent.keys()


def test_a_picture_is_asked_for_by_its_prompt_seed_and_size(loopback: Loopback, load: Load) -> None:
    loopback.plan = drawn
    model = load(capabilities=["generate"], size=[640, 480])
    decoding = model.decoding(Capability.GENERATE, "geneval", CARD)
    assert decoding == Decoding(size=(640, 480))
    (reply,) = model.draw([ask("paint it red", decoding=decoding)])
    assert reply.image is not None
    assert (reply.image.mode, reply.image.size) == ("RGB", (4, 4))
    assert reply.image.getpixel((0, 0)) == (255, 0, 0)
    (call,) = loopback.calls
    assert call.path == "/v1/images/generations"
    assert call.request == {
        "model": "m",
        "prompt": "paint it red",
        "n": 1,
        "response_format": "b64_json",
        "seed": 17,
        "size": "640x480",
    }


def test_an_edit_is_a_form_with_its_pictures(loopback: Loopback, load: Load) -> None:
    loopback.plan = drawn
    model = load(capabilities=["edit"])
    decoding = model.decoding(Capability.EDIT, "imgedit", CARD)
    replies = model.edit(
        [
            ask(RED, "make it blue", decoding=decoding),
            ask(RED, BLUE, "all green", decoding=decoding),
        ]
    )
    colors = [reply.image.getpixel((0, 0)) for reply in replies if reply.image]
    assert colors == [(0, 0, 255), (0, 128, 0)]
    one, two = sorted(loopback.calls, key=lambda call: len(call.images))
    assert {one.path, two.path} == {"/v1/images/edits"}
    plain = {"model": "m", "n": "1", "response_format": "b64_json", "seed": "17"}
    assert one.request == {**plain, "prompt": "make it blue", "image": 1}
    assert two.request == {**plain, "prompt": "all green", "image[]": 2}
    assert one.images[0].size == (8, 6)


def test_fields_are_left_out_renamed_and_added_as_the_file_says(
    loopback: Loopback, load: Load
) -> None:
    text = 'rename = { max_tokens = "max_completion_tokens" }\nextra = { reasoning_effort = "low" }'
    load(text=text, omit=["seed", "temperature"]).answer([ask("q")])
    sent = loopback.calls[0].request
    del sent["messages"]
    assert sent == {
        "model": "m",
        "top_p": 0.9,
        "max_completion_tokens": 33,
        "reasoning_effort": "low",
    }


def test_as_many_are_under_way_as_the_file_says_and_replies_keep_their_order(
    loopback: Loopback, load: Load
) -> None:
    loopback.plan = lambda prompt, seen: Served(prompt, delay=0.02 * (int(prompt) % 3))
    replies = load(concurrency=4).answer([ask(str(n)) for n in range(12)])
    assert [reply.text for reply in replies] == [str(n) for n in range(12)]
    assert 2 <= loopback.most_at_once <= 4


# What comes back


def test_what_was_answered_is_not_asked_again(loopback: Loopback, load: Load) -> None:
    asked = [ask("q"), ask("q", seed=1), ask("q", decoding=Decoding()), ask("p")]
    first = load().answer(asked)
    assert len(loopback.calls) == 4
    assert load().answer(asked) == first
    assert len(loopback.calls) == 4
    load(omit=["seed"]).answer(asked[:1])  # another model, in a sense
    assert len(loopback.calls) == 5


def test_pictures_are_remembered_beside_the_replies(
    loopback: Loopback, load: Load, tmp_path: Path
) -> None:
    loopback.plan = drawn
    options: dict[str, Any] = {"capabilities": ["generate"], "cache": "shared"}
    for _ in range(2):
        (reply,) = load(**options).draw([ask("red")])
        assert reply.image is not None
        assert reply.image.getpixel((0, 0)) == (255, 0, 0)
    assert len(loopback.calls) == 1
    (kept,) = (tmp_path / "shared" / "pictures").iterdir()
    kept.write_bytes(kept.read_bytes()[:-1])
    with pytest.raises(UserError, match="is missing or changed") as lost:
        load(**options).draw([ask("red")])
    assert str(tmp_path / "shared" / "replies.jsonl") in str(lost.value.hint)


@pytest.mark.parametrize(
    ("served", "reply"),
    [
        (Served("half an ans", finish="length"), Reply("half an ans", tokens=10)),
        (Served(None), Reply("", tokens=10)),
        (Served(None, refusal="I cannot."), Reply(refused="I cannot.")),
        (Served("", finish="content_filter"), Reply(refused="the endpoint filtered its reply")),
        (
            Served(status=400, error={"code": "content_policy_violation", "message": "No."}),
            Reply(refused="HTTP 400: No."),
        ),
        (Served(status=503), Reply(error="HTTP 503")),
        (Served(body=b"{}"), Reply(error="the response is not a chat completion")),
        (Served(delay=2.0), Reply(error="no answer within 0.5 s")),
    ],
    ids=["cut", "empty", "refusal", "filter", "policy", "busy", "no reply", "late"],
)
def test_what_a_reply_becomes(loopback: Loopback, load: Load, served: Served, reply: Reply) -> None:
    loopback.plan = lambda prompt, seen: Served("fine") if prompt == "first" else served
    late = {"timeout_s": 0.5} if served.delay else {}
    model = load(retries=1)
    assert model.answer([ask("first")])[0].text == "fine"
    assert load(retries=1, **late).answer([ask("first"), ask("q")])[1] == reply
    passing = reply.error is not None and "not a chat" not in reply.error
    assert len(loopback.calls) == 2 + passing


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (b'{"data": [{"url": "http://elsewhere/1.png"}]}', "addresses are not followed"),
        (b'{"data": [{"b64_json": "AAAA"}]}', "cannot be read"),
        (b'{"data": []}', "the response is not a picture"),
        (b"<html>", "the response is not a picture"),
    ],
)
def test_what_is_no_picture_is_an_error_on_its_row(
    loopback: Loopback, load: Load, body: bytes, error: str
) -> None:
    loopback.plan = lambda prompt, seen: (
        drawn(prompt, seen) if prompt == "red" else Served(body=body)
    )
    replies = load(capabilities=["generate"], concurrency=1).draw([ask("red"), ask("q")])
    assert replies[0].image is not None
    assert error in str(replies[1].error)


def test_a_picture_that_is_declined_is_refused(loopback: Loopback, load: Load) -> None:
    error = {"code": "moderation_blocked", "message": "Not this."}
    loopback.plan = lambda prompt, seen: Served(status=400, error=error)
    assert load(capabilities=["generate"]).draw([ask("q")]) == [
        Reply(refused="HTTP 400: Not this.")
    ]


# When the set-up is wrong


def test_an_endpoint_without_image_support_ends_the_run_and_says_what_to_do(
    loopback: Loopback, load: Load
) -> None:
    error = {"message": "This model does not support image inputs"}
    loopback.plan = lambda prompt, seen: Served(status=400, error=error)
    with pytest.raises(UserError, match="does not support image inputs") as refused:
        load(concurrency=1).answer([ask(RED, str(n)) for n in range(9)])
    assert len(loopback.calls) == 3
    assert "A MODEL THAT TAKES IMAGES" in str(refused.value.hint)
    assert "acme.toml" in str(refused.value.hint)
    assert "nothing was marked as failed" in str(refused.value.hint)


def test_a_single_refusal_of_pictures_is_said_too_if_nothing_ever_worked(
    loopback: Loopback, load: Load
) -> None:
    error = {"message": "This model does not support image inputs"}
    loopback.plan = lambda prompt, seen: (
        Served("fine") if prompt == "words" else Served(status=400, error=error)
    )
    with pytest.raises(UserError, match="does not support image inputs"):
        load().answer([ask(RED, "q")])
    replies = load().answer([ask("words"), ask(RED, "q")])
    assert [reply.text for reply in replies] == ["fine", None]
    assert replies[1].error == "HTTP 400: This model does not support image inputs"


@pytest.mark.parametrize(
    ("field", "mend"),
    [
        ("seed", 'omit = ["seed"]'),
        ("response_format", 'omit = ["response_format"]'),
        ("style", "extra without style"),
    ],
)
def test_a_field_that_is_not_taken_is_named_with_the_key_that_mends_it(
    loopback: Loopback, load: Load, field: str, mend: str
) -> None:
    error = {"message": f"Unknown parameter: '{field}'.", "code": "unknown_parameter"}
    loopback.plan = lambda prompt, seen: Served(status=400, error=error)
    model = load(text='extra = { style = "vivid" }', capabilities=["generate"], concurrency=1)
    with pytest.raises(UserError) as refused:
        model.draw([ask(str(n)) for n in range(3)])
    assert mend in str(refused.value.hint)


def test_a_path_that_is_not_there_is_said_at_once(loopback: Loopback, load: Load) -> None:
    loopback.plan = lambda prompt, seen: Served(status=404)
    with pytest.raises(UserError, match="refuses to answer as 'm': HTTP 404") as refused:
        load(capabilities=["edit"]).edit([ask(RED, "q")])
    assert "capabilities in" in str(refused.value.hint)
    assert "ACME_KEY" in str(refused.value.hint)


def test_a_spent_budget_stops_the_run_and_a_higher_one_goes_on(
    loopback: Loopback, load: Load
) -> None:
    asked = [ask(str(n)) for n in range(6)]
    with pytest.raises(UserError, match="max_calls is reached") as stopped:
        load(max_calls=4).answer(asked)
    assert "Raise max_calls in" in str(stopped.value.hint)
    assert len(loopback.calls) == 4
    replies = load(max_calls=6).answer(asked)
    assert [reply.text for reply in replies] == [f"reply to {n}" for n in range(6)]
    assert len(loopback.calls) == 6


def test_an_endpoint_that_is_not_there_is_said_when_it_is_loaded(
    loopback: Loopback, load: Load
) -> None:
    loopback.close()
    with pytest.raises(UserError, match="does not answer: no connection") as refused:
        load(retries=1)
    assert "Start it" in str(refused.value.hint)


def test_without_its_key_it_is_not_loaded(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ACME_KEY")
    with pytest.raises(UserError, match="the environment variable ACME_KEY is not set"):
        load()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("temprature = 1", "unknown key 'temprature'"),
        ('omit = ["sed"]', "'sed' is not a value of omit"),
        ("size = [640]", "size"),
        ("max_cost = 3", "max_cost needs input_price"),
        ("extra = { at = 1999-01-01 }", "extra holds a value that JSON cannot express"),
        ('capabilities = ["paint"]', "'paint' is not a value of"),
    ],
)
def test_a_wrong_file_is_named_with_its_key(load: Load, text: str, words: str) -> None:
    with pytest.raises(UserError) as refused:
        load(text=text)
    assert words in refused.value.message
    assert "acme.toml" in refused.value.message


def test_an_address_with_a_query_is_refused(load: Load) -> None:
    """Paths would be set behind it, and what it holds would be sent with every call."""
    with pytest.raises(UserError, match="base_url has a query"):
        load(base_url="http://127.0.0.1:9/v1?api_key=x")


def test_a_key_that_is_named_may_be_left_out_of_the_file(
    load: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ACME_KEY")
    with pytest.raises(UserError) as refused:
        load()
    assert "leave key_env out of" in str(refused.value.hint)


def test_a_file_that_is_not_there_is_shown_by_example(tmp_path: Path) -> None:
    assert find_adapter("endpoint:gone.toml").adapter == "endpoint"
    with pytest.raises(UserError, match="There is no endpoint file") as refused:
        load_model(f"endpoint:{tmp_path / 'gone.toml'}", None, LoadOptions())
    assert "base_url" in str(refused.value.hint)


# Which model it is


def test_of_most_endpoints_the_weights_are_not_known(loopback: Loopback, load: Load) -> None:
    plain, named = load().identity, load(name="ours").identity
    assert (plain.adapter, plain.name, plain.dtype) == ("endpoint", "m", "unknown")
    assert plain.weights.startswith("unknown:")
    assert named.name == "ours"
    same = load(concurrency=3, timeout_s=9.0, max_calls=5).identity
    assert same.weights == named.weights == plain.weights
    others = {load(model="n").identity.weights, load(omit=["seed"]).identity.weights}
    assert len(others | {plain.weights}) == 3


def test_weights_that_the_endpoint_names_are_the_identity(loopback: Loopback, load: Load) -> None:
    loopback.models = [
        {"id": "other"},
        {"id": "m", "weights": WEIGHTS, "dtype": "bfloat16", "capabilities": ["edit"], "more": 1},
    ]
    model = load()
    assert (model.identity.weights, model.identity.dtype) == (WEIGHTS, "bfloat16")
    assert model.capabilities == {Capability.EDIT}
    altered = load(omit=["seed"], capabilities=["generate"])
    assert altered.identity.weights.startswith(f"{WEIGHTS}+")
    assert altered.capabilities == {Capability.GENERATE}
    loopback.models = [{"id": "m", "weights": "of another form", "capabilities": 3}]
    assert load().identity.weights.startswith("unknown:")


def test_a_model_need_not_be_named_where_there_is_one(loopback: Loopback, load: Load) -> None:
    loopback.models = [{"id": "only"}]
    assert load(model=None).identity.name == "only"
    loopback.models = [{"id": "one"}, {"id": "two"}]
    with pytest.raises(UserError, match="the endpoint lists one, two") as refused:
        load(model=None)
    assert 'model = "one"' in str(refused.value.hint)


def test_no_key_is_written_anywhere(loopback: Loopback, load: Load, tmp_path: Path) -> None:
    key = os.environ["ACME_KEY"]
    loopback.plan = lambda prompt, seen: Served(f"your key is {key}")
    load().answer([ask("q")])
    written = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(written) > 2
    assert not [path for path in written if key.encode() in path.read_bytes()]
