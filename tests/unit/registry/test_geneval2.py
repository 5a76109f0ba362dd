"""GenEval 2 from rows made up in its schema, with a judge behind an endpoint on loopback."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from support.fake_judge import WrittenJudge, drawn, marked, ready
from support.http_server import Served, endpoint

from pairuni_eval.errors import UserError
from pairuni_eval.judges.judge import JudgeSetup
from pairuni_eval.judges.openai_compatible import OpenAIJudge
from pairuni_eval.records import Status, TextPart
from pairuni_eval.stats.aggregate import GradedRows, make_aggregate

ROWS: list[dict[str, Any]] = [
    {
        "prompt": "four {glass} kites",
        "atom_count": 3,
        "vqa_list": [["Are there kites?", "Yes"], ["How many kites are there?", "four"]],
        "skills": ["object", "count"],
    },
    {
        "prompt": "a blue lamp",
        "atom_count": 4,
        "vqa_list": [["Is there a lamp?", "Yes"], ["Is it blue?", "Yes"], ["Is it on?", "Yes"]],
        "skills": ["object", "attribute", "attribute"],
    },
]
SEEN = {
    "Are there kites?": {"Yes": 1.0},
    "How many kites are there?": {"four": 0.16, " ": 0.09, "five": 0.5},
    "Is there a lamp?": {"Yes": 0.9},
    "Is it blue?": {"Yes": 0.6, "No": 0.4},
    "Is it on?": {"Yes": 0.0, "No": 1.0},
}
ASKED = " Answer in one word."


def write(folder: Path, rows: Any = None) -> Path:
    made = ROWS if rows is None else rows
    (folder / "geneval2_data.jsonl").write_text("".join(json.dumps(row) + "\n" for row in made))
    return folder


@pytest.fixture
def picture() -> Image.Image:
    return Image.new("RGB", (8, 8), "green")


def test_rows_become_prompts(tmp_path: Path) -> None:
    benchmark, items = ready("geneval2", write(tmp_path))
    assert [item.sample.key for item in items] == ["0000", "0001"]
    assert items[0].sample.parts == (TextPart("four {glass} kites"),)
    assert items[1].sample.tags == {
        "skills": "object, attribute",
        "skills_listed": "object, attribute, attribute",
        "atoms": "4",
    }
    assert benchmark.card.data.urls == ()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"skills": ["object"]}, "2 questions with 1 skills"),
        ({"vqa_list": [], "skills": []}, "0 questions with 0 skills"),
        ({"skills": ["object", "color"]}, "no skill is called 'color'"),
        ({"vqa_list": [["?"]]}, "vqa_list"),
    ],
)
def test_rows_of_another_form_are_named(tmp_path: Path, change: Any, said: str) -> None:
    with pytest.raises(UserError, match=r"geneval2_data\.jsonl") as caught:
        ready("geneval2", write(tmp_path, [ROWS[0] | change]))
    assert said in caught.value.message


def test_a_complete_file_must_be_the_official_one(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="another version of the file"):
        ready("geneval2", write(tmp_path, [ROWS[0]] * 800))


def test_official_and_repaired_scores_by_hand(tmp_path: Path, picture: Any) -> None:
    benchmark, items = ready("geneval2", write(tmp_path))
    judge = WrittenJudge(lambda it: json.dumps(SEEN[it.prompt.removesuffix(ASKED)]))
    answers = [drawn(item, picture) for item in items]
    official = marked(benchmark, answers, judge, "official")
    # (1 x 0.25) ** 1/2; a zero makes the other one 0.
    assert [row["gm"].value for row in official] == [pytest.approx(0.5), 0.0]
    assert [row["am"].value for row in official] == pytest.approx([0.625, 0.5])
    assert [row["tifa"].value for row in official] == pytest.approx([0.5, 2 / 3])
    repaired = marked(benchmark, answers, judge, "repaired")
    assert repaired[0]["gm"].value == pytest.approx(0.4)
    assert {question.images_first for batch in judge.batches for question in batch} == {True}
    # Attributes: 0.6 and 0 of two questions.
    values = np.array([row["attribute"].value for row in official])
    listed = [item.sample.tags["skills_listed"] for item in items]
    tags = {"skills_listed": np.array(listed, dtype=object)}
    rows = GradedRows(values, np.arange(2), np.zeros(2, dtype=np.int64), tags)
    metric = benchmark.card.protocols["official"].metric("attribute")
    aggregate = make_aggregate(metric, rows)
    assert float(aggregate.finish(aggregate.features(rows).sum(axis=0))) == pytest.approx(0.3)


def test_the_whole_prompt_is_asked_about_for_vqascore(tmp_path: Path, picture: Any) -> None:
    benchmark, items = ready("geneval2", write(tmp_path))
    judge = WrittenJudge(lambda _: '{"Yes": 0.7, "No": 0.2}')
    (marks,) = marked(benchmark, [drawn(items[0], picture)], judge, "vqascore")
    assert marks["vqascore"].value == pytest.approx(0.7)
    assert marks["outside"].value == pytest.approx(0.1)
    ((question,),) = judge.batches
    assert question.prompt.startswith('Does this image show "four {glass} kites"?')


def body(question: str) -> bytes:
    """A completion of one token, cut off there, with its log-probabilities."""
    seen = SEEN[question.removesuffix(ASKED)]
    listed = [
        {"token": token, "logprob": float(np.log(p)) if p else -9999.0} for token, p in seen.items()
    ]
    content = [{**listed[0], "top_logprobs": listed}]
    choice = {"message": {"content": listed[0]["token"]}, "finish_reason": "length"}
    return json.dumps({"choices": [{**choice, "logprobs": {"content": content}}]}).encode()


def test_an_endpoint_is_asked_for_log_probabilities(
    tmp_path: Path, picture: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    benchmark, items = ready("geneval2", write(tmp_path))
    assert benchmark.card.judge is not None
    answers = [drawn(item, picture) for item in items]
    with endpoint(lambda prompt, _: Served(body=body(prompt))) as loopback:
        setup = JudgeSetup(benchmark.card.judge, tmp_path / "judge", {"base_url": loopback.url})
        marks = marked(benchmark, answers, OpenAIJudge.load(setup), "official")
        sent = loopback.calls[0].request
        assert (sent["logprobs"], sent["top_logprobs"], sent["max_tokens"]) == (True, 20, 1)
        assert [part["type"] for part in sent["messages"][0]["content"]] == ["image_url", "text"]
        assert [row["gm"].value for row in marks] == [pytest.approx(0.5), 0.0]
        # Remembered: nothing is asked again.
        asked = len(loopback.calls)
        again = marked(benchmark, answers, OpenAIJudge.load(setup), "official")
        assert again == marks
        assert len(loopback.calls) == asked == 5


def test_an_endpoint_without_them_fails_by_name(
    tmp_path: Path, picture: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    benchmark, items = ready("geneval2", write(tmp_path))
    assert benchmark.card.judge is not None
    with endpoint(lambda *_: Served("Yes")) as loopback:
        setup = JudgeSetup(benchmark.card.judge, None, {"base_url": loopback.url})
        (marks,) = marked(
            benchmark, [drawn(items[0], picture)], OpenAIJudge.load(setup), "official"
        )
    assert marks["gm"].status is Status.JUDGE_FAILED
    assert "no log-probabilities" in (marks["gm"].verdict or "")
