"""What stands after --judge: a name, a file, or none; and what is wrong with a file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from pairuni_eval.cards import JudgeSpec
from pairuni_eval.catalog import find_card, load_benchmark
from pairuni_eval.data import Data
from pairuni_eval.errors import UserError
from pairuni_eval.judges.judge import Judge, JudgeReply, JudgeSetup, Question, consult_all
from pairuni_eval.judges.openai_compatible import OpenAIJudge
from pairuni_eval.judges.settings import JudgeChoice, read_choices
from pairuni_eval.judges.usage import JudgeCall
from pairuni_eval.records import Status
from pairuni_eval.runner.judging import (
    JudgePass,
    MeteredJudge,
    card_fields,
    load_judges,
    seen_samples,
)
from pairuni_eval.tiny.judge import TinyJudge


@pytest.fixture(autouse=True)
def no_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)


def judge_file(folder: Path, text: str) -> Path:
    path = folder / "judge.toml"
    path.write_text(text)
    return path


def load(folder: Path, text: str, snapshot: str | None = "card-1") -> OpenAIJudge:
    """The judge that a file makes for a card which prescribes temperature 0."""
    (first,) = read_choices(str(judge_file(folder, text)))
    spec = JudgeSpec(name="openai", snapshot=snapshot, temperature=0.0, max_tokens=200)
    return OpenAIJudge.load(JudgeSetup(spec, folder / "judge", first.options, first.source))


LOCAL = 'base_url = "http://127.0.0.1:9/v1"\n'


def test_nothing_and_a_name_are_no_file() -> None:
    assert read_choices(None) == (JudgeChoice(None),)
    assert read_choices("acme") == (JudgeChoice("acme"),)


def test_a_file_names_a_plugin_its_options_and_a_second_judge(tmp_path: Path) -> None:
    path = judge_file(
        tmp_path, 'retries = 2\n[second]\nname = "scripted"\nreplies = "r.jsonl"\nshare = 0.1\n'
    )
    assert read_choices(str(path)) == (
        JudgeChoice("openai", {"retries": 2}, path),
        JudgeChoice("scripted", {"replies": "r.jsonl"}, path, 0.1),
    )


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("not toml", "not valid TOML"),
        ("name = 3", "name is not text"),
        ("second = 3", "second is not a table"),
        ("[second]\nretries = 3", ", [second]: the key 'share' is missing."),
        ("[second]\nshare = 0.0", "`share`"),
        ("[second]\nshare = 1.5", "`share`"),
    ],
)
def test_a_file_in_another_form_is_refused(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(UserError) as refused:
        read_choices(str(judge_file(tmp_path, text)))
    assert str(tmp_path / "judge.toml") in refused.value.message
    assert told in refused.value.message


def test_a_file_that_is_not_there_says_what_may_stand_there() -> None:
    with pytest.raises(UserError) as refused:
        read_choices("nowhere.toml")
    assert "nowhere.toml" in refused.value.message
    assert "--judge FILE.toml" in str(refused.value.hint)


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("retry = 3", "unknown key 'retry'. Did you mean 'retries'?"),
        ('snapshoot = "x"', "Did you mean 'snapshot'?"),
        ("[secnd]\nshare = 1.0", "unknown key 'secnd'. Did you mean 'second'?"),
        ("concurrency = 0", "`concurrency`"),
        ("timeout_s = 0", "`timeout_s`"),
        ("retries = -1", "`retries`"),
        ('temperature = "hot"', "'hot' is not a value of temperature"),
        ("max_cost = 5.0", "max_cost needs input_price and output_price"),
        ("extra = {when = 2024-05-13}", "extra holds a value that JSON cannot express"),
    ],
)
def test_an_option_that_cannot_be_is_named(tmp_path: Path, line: str, told: str) -> None:
    with pytest.raises(UserError) as refused:
        load(tmp_path, LOCAL + line)
    assert told in refused.value.message
    assert str(tmp_path / "judge.toml") in refused.value.message


@pytest.mark.parametrize("address", ["localhost:8000", "ftp://x/v1", "http://", "http://[x/v1"])
def test_an_address_that_is_none_is_refused(tmp_path: Path, address: str) -> None:
    with pytest.raises(UserError, match="base_url is not an address"):
        load(tmp_path, f'base_url = "{address}"')


def test_a_model_must_be_named_somewhere(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="neither the card nor the judge file names a model"):
        load(tmp_path, LOCAL, snapshot=None)
    assert load(tmp_path, LOCAL + 'snapshot = "mine"', snapshot=None).snapshot == "mine"


def test_without_a_key_the_way_out_is_told(tmp_path: Path) -> None:
    with pytest.raises(UserError) as refused:
        load(tmp_path, "")
    assert "OPENAI_API_KEY is not set" in refused.value.message
    assert "--judge none" in str(refused.value.hint)


def test_a_key_that_is_named_must_be_there_even_for_an_endpoint_of_ones_own(
    tmp_path: Path,
) -> None:
    assert load(tmp_path, LOCAL)
    with pytest.raises(UserError, match="MY_KEY is not set"):
        load(tmp_path, LOCAL + 'key_env = "MY_KEY"')


def test_a_key_with_a_line_break_is_told_without_printing_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-precious\nexport")
    with pytest.raises(UserError) as refused:
        load(tmp_path, "")
    assert "OPENAI_API_KEY" in refused.value.message
    assert "precious" not in refused.value.message


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("", "card-1"),
        ("temperature = 0.0\nmax_tokens = 200", "card-1"),
        ("temperature = 0.7", "card-1 (temperature=0.7)"),
        ('temperature = "unset"', "card-1 (temperature=unset)"),
        ('snapshot = "other"\nextra = {seed = 4}', "other (extra={'seed': 4})"),
    ],
)
def test_what_differs_from_the_card_is_in_the_name(tmp_path: Path, text: str, name: str) -> None:
    assert load(tmp_path, LOCAL + text).snapshot == name


def test_a_judge_without_options_takes_none(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="'retries': this judge takes no options"):
        TinyJudge.load(JudgeSetup(JudgeSpec(name="tiny"), options={"retries": 3}))


def test_none_leaves_every_benchmark_without_a_judge(tmp_path: Path) -> None:
    cards = [find_card("tiny-wise"), find_card("tiny-pope")]
    assert load_judges("none", cards, tmp_path) == {}
    assert list(load_judges(None, cards, tmp_path)) == ["tiny-wise"]


def samples(name: str) -> list[Any]:
    benchmark = load_benchmark(name)
    data = Data(benchmark.card, benchmark.folder)
    return [item.sample for item in benchmark.samples(data)]


@pytest.mark.parametrize(("share", "each"), [(0.1, 5), (0.11, 6), (0.3, 15), (1.0, 50)])
def test_the_second_judge_sees_the_share_of_every_group(share: float, each: int) -> None:
    card, known = find_card("tiny-wise"), samples("tiny-wise")  # fifty prompts of six categories
    seen = seen_samples(card, known, share, seed=0)
    by_group: dict[str, int] = {}
    for sample in known:
        by_group[sample.tags["category"]] = by_group.get(sample.tags["category"], 0) + (
            sample.uid in seen
        )
    assert by_group == dict.fromkeys(by_group, each)
    assert len(by_group) == 6


def test_who_is_seen_again_depends_on_the_seed_and_not_on_the_order() -> None:
    card, known = find_card("tiny-wise"), samples("tiny-wise")
    first = seen_samples(card, known, 0.2, seed=0)
    assert seen_samples(card, known[::-1], 0.2, seed=0) == first
    assert seen_samples(card, known, 0.2, seed=1) != first
    assert seen_samples(card, known, 0.1, seed=0) < first


class CountingJudge(Judge):
    """Replies with the prompt; every second reply says what it took."""

    snapshot = "counting/1"

    def ask(self, questions: Sequence[Question]) -> list[JudgeReply]:
        calls = [JudgeCall(key=question.prompt) for question in questions]
        return [
            JudgeReply(question.prompt, call=call if number % 2 else None)
            for number, (question, call) in enumerate(zip(questions, calls, strict=True))
        ]


def test_a_reply_names_its_judge_and_without_one_nobody() -> None:
    asked = [Question(prompt, (), {}) for prompt in "ab"]
    assert [(one.text, one.judge) for one in consult_all(CountingJudge(), asked)] == [
        ("a", "counting/1"),
        ("b", "counting/1"),
    ]
    assert consult_all(None, asked[:1]) == [JudgeReply("no judge", Status.SKIPPED)]


def test_a_metered_judge_replies_alike_and_remembers_the_calls() -> None:
    judge = MeteredJudge(CountingJudge())
    asked = [Question(prompt, (), {}) for prompt in "abcd"]
    assert consult_all(judge, asked) == consult_all(CountingJudge(), asked)
    assert [call.key for call in judge.calls] == ["b", "d"]


def test_a_pass_says_who_is_asked_and_of_what_share() -> None:
    first, again = JudgePass(0, CountingJudge()), JudgePass(1, CountingJudge(), 0.1)
    assert card_fields([first, again]) == {
        "judge": "counting/1",
        "second_judge": "counting/1 on 0.1 of the samples",
    }
    assert card_fields([JudgePass()]) == {"judge": None}
