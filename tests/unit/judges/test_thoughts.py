"""What a judge says after it has thought aloud, under every rubric."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.fake_judge import WrittenJudge

from pairuni_eval.judges.judge import JudgeReply, Question
from pairuni_eval.judges.thoughts import LONGEST, without_thoughts
from pairuni_eval.records import Status
from pairuni_eval.scorers import rubric, viescore

CASES = {
    "Score: 1": "Score: 1",
    "  Score: 1\n": "  Score: 1\n",  # nothing is touched where nobody thought
    "<think>Score: 0</think>\n\nScore: 1": "Score: 1",
    "<THINK>\nScore: 0\n</Think >Score: 1": "Score: 1",
    '<think type="long">Score: 0</think>Score: 1': "Score: 1",
    "<thinking>0</thinking>1": "1",
    "<reasoning>0</reasoning>1": "1",
    "\u25c1think\u25b70\u25c1/think\u25b71": "1",
    "\uff1cthink\uff1e0\uff1c/think\uff1e1": "1",
    "< think >0</ think >1": "1",
    "<answer>1</answer>": "<answer>1</answer>",
    "maybe Score: 0 here\n</think>\n\nScore: 1": "Score: 1",
    "a</think>b</think>c": "c",
    "<think>a<think>b</think>c</think>d": "d",
    "Score: 1 <think>0</think> indeed": "Score: 1 indeed",
    "<think>Score: 0 ...": "",
    "Score: 1\n<think>or 0": "",
    "<think>a</think>Score: 1<think>": "",
    "<thinker>Score: 1": "<thinker>Score: 1",
    "x" * LONGEST: "x" * LONGEST,
    "x" * (LONGEST + 1): "",
}


@pytest.mark.parametrize(("reply", "said"), CASES.items(), ids=range(len(CASES)))
def test_a_thought_is_cut_off(reply: str, said: str) -> None:
    assert without_thoughts(reply) == said
    assert JudgeReply(reply).said == said


@settings(deadline=None)
@given(st.lists(st.sampled_from(["<think>", "</think>", "1", " ", "<", "\n"])).map("".join))
def test_no_tag_survives_and_cutting_twice_changes_nothing(reply: str) -> None:
    said = without_thoughts(reply)
    assert "</think>" not in said or "<think>" not in said
    assert without_thoughts(said) == said


@pytest.mark.parametrize("piece", ["<think>", "</think>", "<think ", "<think>a</think>", '":'])
def test_a_hostile_reply_takes_no_time(piece: str) -> None:
    reply = piece * ((1 << 20) // len(piece))
    started = time.process_time()
    viescore.parse(f"||V^=^V||{without_thoughts(reply)}||V^=^V||")
    assert time.process_time() - started < 5


EDIT = "Compliance: {0}\nSeams: {0}\nPhysics: {0}"
WISE = "Consistency: {0}\nRealism: {0}\nAesthetic Quality: {0}"


@pytest.mark.parametrize("form", ["<think>\n{no}\n</think>\n{yes}", "{no}\n</think>\n{yes}"])
def test_every_rubric_reads_the_verdict_and_stores_the_raw_reply(form: str) -> None:
    edit = form.format(no=EDIT.format(1), yes=EDIT.format(4))
    for protocol in ("official", "lmms-eval"):
        (mark,) = rubric.imgedit_marks(JudgeReply(edit), protocol)
        assert (mark.value, mark.verdict) == (4.0, edit)
    wise = form.format(no=WISE.format(0), yes=WISE.format(2))
    assert [mark.value for mark in rubric.wise_marks(JudgeReply(wise))][:3] == [2, 2, 2]
    binary = form.format(no="Score: 0", yes="Score: 1")
    assert rubric.verified_marks(JudgeReply(binary))[0].value == 1.0
    assert rubric.verified_score(rubric.without_thoughts(binary)) == 1.0


def test_an_open_thought_is_the_judges_failure_under_every_rubric() -> None:
    for marks in (
        rubric.imgedit_marks(JudgeReply("<think>" + EDIT.format(1))),
        rubric.wise_marks(JudgeReply("<think>" + WISE.format(1))),
        rubric.verified_marks(JudgeReply("<think>Score: 1")),
    ):
        assert {mark.status for mark in marks} == {Status.JUDGE_FAILED}
        assert {mark.value for mark in marks} == {None}
        assert all(str(mark.verdict).startswith("unreadable reply: <think>") for mark in marks)


def test_braces_in_a_thought_are_not_taken_for_the_json_of_viescore() -> None:
    reply = '<think>{"score": [0, 0]} or {no}</think>\n{"score": [7, 8], "reasoning": "fine"}'
    judge = WrittenJudge(lambda question: reply)
    question = Question("q", (), {})
    (edit,) = viescore.ask_edits(judge, [viescore.EditQuestions(question, question)])
    assert [mark.value for mark in viescore.edit_marks(edit)] == [7, 7, 7]
    assert len(judge.batches) == 1
