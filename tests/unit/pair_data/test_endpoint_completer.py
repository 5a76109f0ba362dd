"""The endpoint completer against a real endpoint on loopback: what is kept, rejected, left open."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support.http_server import Loopback, Served, endpoint
from support.pair_sources import generation, picture, small, understanding

from pairuni_eval.errors import UserError
from pairuni_train.pair_data.build import build
from pairuni_train.pair_data.complete import (
    CompletionResult,
    NewPrompt,
    NewQuestion,
    RowRef,
    complete_clusters,
    halves_of,
)
from pairuni_train.pair_data.config import CompletionSpec
from pairuni_train.pair_data.endpoint_completer import EndpointCompleter, load_completer
from pairuni_train.pair_data.record import Half

SOUND = json.dumps({"sound": True, "problem": ""})
WRITTEN = json.dumps({"prompt": "a red field"})
ASKED = json.dumps(
    {"question": "What color is it?", "right": "red", "wrong": ["blue", "green", "gray"]}
)


def good(prompt: str, seen: int) -> Served:
    """A model that does as it is told."""
    if "Check the" in prompt:
        return Served(SOUND)
    return Served(WRITTEN if "Write a prompt" in prompt else ASKED)


@pytest.fixture
def loopback() -> Iterator[Loopback]:
    with endpoint(good) as running:
        yield running


Make = Callable[..., EndpointCompleter]


@pytest.fixture
def make(tmp_path: Path, loopback: Loopback) -> Make:
    def completer(**options: Any) -> EndpointCompleter:
        own = {
            "snapshot": "loopback-1",
            "base_url": loopback.url,
            "timeout_s": 30,
            "retries": 1,
            "backoff_s": 0.001,
        }
        spec = CompletionSpec(writer=own | options)
        return load_completer(spec, seed=0, folder=tmp_path / "replies", source=Path("pairs.toml"))

    return completer


HALVES: list[Half] = [understanding(n) for n in range(4)]
DRAWN: list[Half] = [generation(n, image=picture("red")) for n in range(4)]


def run(
    completer: EndpointCompleter, halves: list[Half], *, verify: bool = True
) -> CompletionResult:
    clusters = [[RowRef("understanding", number)] for number in range(len(halves))]
    return complete_clusters(clusters, lambda row: halves[row.number], completer, verify=verify)


def test_prompts_are_written_and_checked(make: Make, loopback: Loopback) -> None:
    completer = make()
    found = run(completer, HALVES)
    assert [one.new for one in found.completions] == [NewPrompt("a red field")] * 4
    provenance = found.completions[0].provenance
    assert (provenance.half, provenance.writer) == ("generation", "loopback-1")
    assert len(loopback.calls) == 8
    first = loopback.calls[0]
    assert first.images[0].size == (40, 30)
    assert first.request["response_format"] == {"type": "json_object"}
    assert completer.usage == "8 replies paid for, 800 tokens asked and 80 replied"


def test_the_writer_sees_question_and_answer_and_the_verifier_the_prompt(
    make: Make, loopback: Loopback
) -> None:
    run(make(), HALVES[:1])
    written, checked = (call.prompt for call in loopback.calls)
    assert "Question: What is 0?\nAnswer: A\n" in written
    assert "Question: What is 0?\nAnswer: A\nPrompt: a red field\n" in checked


def test_questions_get_letters_in_an_order_of_ours(make: Make) -> None:
    found = run(make(), DRAWN)
    letters = set()
    for one, half in zip(found.completions, DRAWN, strict=True):
        assert isinstance(one.new, NewQuestion)
        letters.add(one.new.answer)
        assert f"({one.new.answer}) red\n" in one.new.question
        assert one.new.question.startswith("What color is it?\n(A) ")
        assert halves_of(one, half)[0].id == f"{half.id}~question"
    assert len(letters) > 1


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        ("What a lovely picture.", "writer: the reply is not the JSON that was asked for"),
        ('{"caption": "x"}', "writer: the reply is not the JSON that was asked for"),
        ('{"prompt": " "}', "writer: the reply is not the JSON that was asked for"),
    ],
)
def test_what_is_not_the_json_asked_for_is_rejected(
    make: Make, loopback: Loopback, reply: str, reason: str
) -> None:
    loopback.plan = lambda prompt, seen: Served(reply)
    found = run(make(), HALVES)
    assert found.tally.rejected == {reason: 4}
    assert found.rejects[0].where == "asked u0"
    assert not found.completions


def test_json_in_a_code_fence_is_read(make: Make, loopback: Loopback) -> None:
    loopback.plan = lambda prompt, seen: Served(f"```json\n{good(prompt, seen).text}\n```")
    assert len(run(make(), HALVES).completions) == 4


def test_equal_options_are_rejected(make: Make, loopback: Loopback) -> None:
    same = {"question": "What?", "right": "red", "wrong": ["Red", "blue", "green"]}
    loopback.plan = lambda prompt, seen: Served(json.dumps(same))
    assert run(make(), DRAWN).tally.rejected == {"writer: two options are the same": 4}


def test_the_verifier_rejects_with_its_words(make: Make, loopback: Loopback) -> None:
    def strict(prompt: str, seen: int) -> Served:
        problem = json.dumps({"sound": False, "problem": "there are two cats"})
        return Served(problem) if "Check the" in prompt else good(prompt, seen)

    loopback.plan = strict
    found = run(make(), HALVES)
    assert found.tally.rejected == {"verifier: found a problem": 4}
    assert found.rejects[0].detail == "there are two cats"
    assert len(run(make(), HALVES, verify=False).completions) == 4


def test_only_failures_that_may_pass_are_tried_again(make: Make, loopback: Loopback) -> None:
    statuses = {"What is 0?": 429, "What is 1?": 503, "What is 2?": 400}

    def once(prompt: str, seen: int) -> Served:
        status = next((s for question, s in statuses.items() if question in prompt), 200)
        return Served(status=status) if seen == 0 and status != 200 else good(prompt, seen)

    loopback.plan = once
    found = run(make(concurrency=1), HALVES)
    assert [one.row for one in found.completions] == [0, 1, 3]
    (reason,) = found.tally.rejected
    assert reason.startswith("writer: HTTP 400")


def test_a_slow_endpoint_leaves_rows_open(make: Make, loopback: Loopback) -> None:
    loopback.plan = lambda prompt, seen: Served(WRITTEN, delay=2.0)
    found = run(make(timeout_s=0.1, retries=0), HALVES)
    assert found.tally.open == {"no answer within 0.1 s": 4}
    assert not found.completions
    assert not found.tally.rejected


def test_replies_are_remembered_and_the_budget_holds(make: Make, loopback: Loopback) -> None:
    found = run(make(max_calls=3, concurrency=1), HALVES)
    assert found.tally.open == {"budget: max_calls is reached": 1}
    assert len(loopback.calls) == 6  # three written, three checked
    found = run(make(concurrency=1), HALVES)
    assert len(found.completions) == 4
    assert len(loopback.calls) == 8


def test_large_images_are_shrunk(tmp_path: Path, loopback: Loopback, make: Make) -> None:
    halves: list[Half] = [understanding(0, image=picture("red", (3000, 1500)))]
    run(make(), halves)
    assert loopback.calls[0].images[0].size == (1024, 512)


def test_a_wrong_option_names_the_configuration(make: Make) -> None:
    with pytest.raises(UserError, match=r"pairs.toml: unknown key 'retry'. Did you mean 'retries'"):
        make(retry=3)


# In a build


def test_a_build_whose_endpoint_is_down_says_so_and_goes_on_later(
    tmp_path: Path, loopback: Loopback
) -> None:
    writer = {
        "snapshot": "loopback-1",
        "base_url": loopback.url,
        "retries": 0,
        "backoff_s": 0.001,
    }
    read = small(
        tmp_path,
        pairs=6,
        selection={"clusters": 4, "attempts": 1},
        completion={"completer": "endpoint", "writer": writer},
    )
    loopback.plan = lambda prompt, seen: Served(status=500)
    with pytest.raises(UserError, match=r"4 rows were not completed.*HTTP 500") as refused:
        build(read, tmp_path / "out", arms=["pairug"])
    assert "--partial" in (refused.value.hint or "")
    # What can be done without the endpoint is done; nothing pretends to be complete.
    (written,) = build(read, tmp_path / "out", arms=["pairug"], partial=True)
    assert written.rows == 6
    assert "4 could not be asked" in (tmp_path / "out" / "pairug.md").read_text()
    loopback.plan = good
    build(read, tmp_path / "out", arms=["pairug"])
    card = (tmp_path / "out" / "pairug.md").read_text()
    assert "4 tried, 4 written, 0 rejected, 4 kept" in card
    assert "could not be asked" not in card


def test_json_behind_a_thought_or_in_parts_is_read(make: Make, loopback: Loopback) -> None:
    loopback.plan = lambda prompt, seen: Served(
        [
            {"type": "thinking", "thinking": '{"prompt": "no"}'},
            {"type": "text", "text": '<think>{"prompt": "no"}</think>\n'},
            {"type": "text", "text": good(prompt, seen).text},
        ],
        finish="end_turn",
    )
    found = run(make(), HALVES)
    assert [one.new for one in found.completions] == [NewPrompt("a red field")] * 4


def test_images_leave_for_no_other_host_and_a_wrong_set_up_ends_the_build(
    make: Make, loopback: Loopback
) -> None:
    with endpoint(good) as other:
        headers = {"Location": other.url}
        loopback.plan = lambda prompt, seen: Served(status=307, headers=headers)
        with pytest.raises(UserError, match="it redirects to"):
            run(make(), HALVES)
        assert not other.calls
    error = {"message": "'response_format' is not supported", "code": "unsupported_parameter"}
    loopback.plan = lambda prompt, seen: Served(status=400, error=error)
    with pytest.raises(UserError) as refused:
        run(make(), HALVES)
    assert refused.value.hint is not None
    assert refused.value.hint.startswith("In pairs.toml: extra without response_format;")
