"""The judge whose replies are written in a file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from pairuni_eval.cards import JudgeSpec
from pairuni_eval.errors import UserError
from pairuni_eval.judges.judge import JudgeReply, JudgeSetup, Question
from pairuni_eval.judges.scripted import ScriptedJudge
from pairuni_eval.records import Picture, Status

RED, BLUE = (Image.new("RGB", (8, 8), color) for color in ("red", "blue"))
NO_LINE = JudgeReply("the script has no line for this question", Status.JUDGE_FAILED)


def load(folder: Path, *lines: dict[str, Any], **options: Any) -> ScriptedJudge:
    (folder / "replies.jsonl").write_text("\n".join(json.dumps(line) for line in lines))
    return ScriptedJudge.load(
        JudgeSetup(
            JudgeSpec(name="scripted"),
            folder / "judge",
            {"replies": "replies.jsonl", **options},
            folder / "judge.toml",
        )
    )


def ask(judge: ScriptedJudge, prompt: str, *images: Image.Image, attempt: int = 0) -> JudgeReply:
    (verdict,) = judge.ask([Question(prompt, images, {}, attempt)])
    return verdict


def test_a_line_answers_its_prompt_its_image_or_both(tmp_path: Path) -> None:
    red = Picture.from_image(RED).id
    judge = load(
        tmp_path,
        {"text": "anything"},
        {"prompt": "p", "text": "this prompt"},
        {"image": red, "text": "this image"},
        {"prompt": "p", "image": red, "text": "both"},
    )
    assert ask(judge, "p", BLUE, RED).text == "both"
    assert ask(judge, "p", RED, BLUE).text == "this prompt"
    assert ask(judge, "q", RED).text == "this image"
    assert ask(judge, "q").text == "anything"


def test_equal_lines_answer_one_attempt_after_the_other(tmp_path: Path) -> None:
    judge = load(tmp_path, {"prompt": "p", "text": "first"}, {"prompt": "p", "text": "last"})
    assert [ask(judge, "p", attempt=n).text for n in (0, 1, 2)] == ["first", "last", "last"]
    assert ask(judge, "p").text == "first"
    assert ask(judge, "q") == NO_LINE


def test_a_line_may_say_that_there_was_no_verdict(tmp_path: Path) -> None:
    judge = load(tmp_path, {"prompt": "p", "text": "I cannot.", "status": "refused"})
    assert ask(judge, "p") == JudgeReply("I cannot.", Status.REFUSED)


def test_bare_lines_answer_in_order_also_after_a_restart(tmp_path: Path) -> None:
    lines = [{"text": str(n)} for n in range(3)]
    judge = load(tmp_path, *lines)
    assert [ask(judge, p, RED).text for p in ("a", "b", "a")] == ["0", "1", "0"]
    again = load(tmp_path, *lines)
    assert [ask(again, p, RED).text for p in ("c", "b", "a")] == ["2", "1", "0"]
    assert ask(again, "d", RED) == NO_LINE
    other = load(tmp_path, *lines)  # the judge of another benchmark in the same run
    assert ask(judge, "a", RED).text == "0"
    assert ask(other, "c", RED).text == "2"


def test_the_name_is_the_files_content_or_the_recorded_judges(tmp_path: Path) -> None:
    first = load(tmp_path, {"text": "a"}).snapshot
    assert first.startswith("scripted/")
    assert load(tmp_path, {"text": "b"}).snapshot != first
    assert load(tmp_path, {"text": "a"}).snapshot == first
    assert load(tmp_path, {"text": "a"}, snapshot="gpt-4.1").snapshot == "gpt-4.1"


@pytest.mark.parametrize(
    "line", [{"txt": "a"}, {"prompt": "a"}, {"text": "a", "status": "skipped"}, {"text": 3}]
)
def test_a_script_in_another_form_is_refused(tmp_path: Path, line: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=r"replies\.jsonl"):
        load(tmp_path, line)


def test_a_script_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"there is no file of replies .*nowhere"):
        load(tmp_path, replies="nowhere.jsonl")


def test_a_misspelled_option_offers_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"unknown key 'snapshoot'. Did you mean 'snapshot'"):
        load(tmp_path, {"text": "a"}, snapshoot="x")


def test_recorded_verdicts_grade_a_run(cli: Any, tmp_path: Path) -> None:
    Image.new("RGB", (64, 64), "red").save(tmp_path / "red.png")
    (tmp_path / "model.jsonl").write_text('{"prompt": "*", "image": "red.png"}')
    verdict = "Consistency: 2\nRealism: 1\nAesthetic Quality: 0"
    lines = [{"text": verdict}, {"text": "a lovely picture"}, {"text": "no", "status": "refused"}]
    (tmp_path / "replies.jsonl").write_text("\n".join(json.dumps(line) for line in lines))
    (tmp_path / "judge.toml").write_text('name = "scripted"\nreplies = "replies.jsonl"')
    ran = cli(
        *("run", "--checkpoint", "scripted:model.jsonl", "--benchmarks", "tiny-wise"),
        *("--judge", "judge.toml", "--limit", 4, "--out", "r", "--report", "report"),
    )
    assert ran.code == 0, ran.err
    part = json.loads((tmp_path / "report" / "summary.json").read_text())["benchmarks"]["tiny-wise"]
    counts = {row["status"]: row["rows"] for row in part["protocols"]["official"]["statuses"]}
    assert counts == {"scored": 1, "judge_failed": 2, "refused": 1}
    assert part["protocols"]["official"]["metrics"]["consistency"]["value"] == 2.0
    assert part["judging"]["differs_from_card"] == "tiny-judge/3"
