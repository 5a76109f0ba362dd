"""What a text says in the end, and the protocols and rewards that rest on it."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pairuni_eval.benchmark import Answer, Benchmark, MetricValue
from pairuni_eval.catalog import all_cards, find_card, load_benchmark
from pairuni_eval.records import Capability, Output, Sample, Status, TextPart
from pairuni_eval.scorers.answer_form import (
    final_answer,
    option_letter,
    plain_answer,
    same_answer,
    tagged_answer,
    undressed,
)
from pairuni_eval.thought_tags import carries_tags

UNDERSTANDING = [
    card.name
    for card in all_cards()
    if card.capability is Capability.UNDERSTAND
    and not card.name.startswith("lmms:")
    and "exact" not in card.protocols  # our own rule reads the final answer already
]
BUILT_IN = ["mme", "mmmu", "mmstar", "pope", "tiny-mme", "tiny-mmmu", "tiny-mmstar", "tiny-pope"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("B", "B"),
        ("", ""),
        ("<think>(A)?</think><answer>B</answer>", "B"),
        ("<THINK>(A)?</THINK>\n<Answer> (B) </Answer >", "(B)"),
        ("<answer>A</answer> no: <answer>C</answer>", "C"),
        ("<answer>A<answer>C</answer>", "C"),
        ("thinking aloud, then</think>\n\nD", "D"),
        ("<answer>\nB\n</answer>", "B"),
        ("<think>x</think>\u3000\u200b\ufeffB \u00a0\u2028\u200d", "B"),
        ("<answer>two  \n words</answer>", "two  \n words"),
        ("<answer> **\u200b** </answer>", None),
        ("<answer>\u200b</answer>", None),
        ('<answer type="s">B</answer>', "B"),
        ("<answer>B</answer", "B"),
        ("<answer>B</ans", "B"),
        ("<answer>B</", "B"),
        ("<answer>1 < 2", "1 < 2"),
        ("<think>(A)?</think", None),
        ("<think>x</think>The answer is B.", "The answer is B."),
        ("<think>I must write <answer>A</answer> tags</think>B", "B"),
        ("<think>x</think><answer>B", "B"),  # a stop word cut the closing tag off
        ("<answer>B</answer></think>", "B"),
        ("<think>first</think>B<think>second</think>C", "C"),
        ("<think>(A) looks", None),
        ("<think>x</think>B<think>but", None),
        ("<think>so <answer>B", None),
        ("<think>x</think>", None),
        ("<think>x</think>  <answer> </answer>", None),
        ("</answer>B", "B"),
        ("a < b and c > d", "a < b and c > d"),
        ("<thinker>B", "<thinker>B"),
        ("<thinking>B", None),
        *((f"<{tag}>(A)?</{tag}>B", "B") for tag in ("thinking", "thought", "reasoning")),
        ("\u25c1think\u25b7(A)?\u25c1/think\u25b7B", "B"),
        ("\uff1cthink\uff1e(A)?\uff1c\uff0fthink\uff1eB", "B"),
        ("< think >(A)?< / think >< answer >B</ answer >", "B"),
        ("<think>(A)?</thinking>B", "B"),
        ("a < reasoning about b and c > d", "a < reasoning about b and c > d"),
    ],
)
def test_where_a_text_ends(text: str, said: str | None) -> None:
    assert final_answer(text) == said


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("**B**", "B"),
        ("**B. a cat**", "B. a cat"),
        ("The answer is **B**.", "The answer is B."),
        ("\u7b54\u6848\u662f**B**\u3002", "\u7b54\u6848\u662fB."),
        (r"\boxed{B}", "B"),
        (r"So $\boxed{\text{B}}$ it is.", "B"),
        (r"\boxed{A}, or rather \( \boxed{\frac{1}{2}} \)", r"\frac{1}{2}"),
        (r"\boxed{B", r"\boxed{B"),
        ("\uff22", "B"),
        ("\uff08\uff22\uff09", "(B)"),
        ("B\u3002", "B."),
        ("2**3**4 ** 5", "2**3**4 ** 5"),
        ("****", "****"),
        ("plain, (A) text: 1.5 x 2", "plain, (A) text: 1.5 x 2"),
    ],
)
def test_what_an_answer_wears(text: str, plain: str) -> None:
    assert undressed(text) == plain


@given(st.text(alphabet=st.characters(max_codepoint=0x2FFF, exclude_characters="*\\<")))
def test_a_text_in_plain_clothes_stays_as_it_is(text: str) -> None:
    assert undressed(text) == text
    assert (final_answer(f" \u200b{text}\n") or "") in text
    assert tagged_answer(text) is None and not carries_tags(text)


@given(st.lists(st.sampled_from(["<think>", "</think>", "<answer>", "</answer>", "B", " "])))
def test_a_final_answer_holds_no_tags_and_says_something(parts: list[str]) -> None:
    text = "".join(parts)
    said = final_answer(text)
    assert said is None or not carries_tags(said)
    assert not carries_tags(text) or said is None or "B" in said


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("The answer is a cat.", "a cat"),
        ("A cat", "a cat"),
        ("Answers", "answers"),
        ("answer", "answer"),
        ("Yes.", "yes"),
        ("3", "3"),
        ("B, C", "b, c"),
        ("Bananas", "bananas"),
        ("U.S.", "u.s"),
        ("A: 3", "a: 3"),
        (".5", ".5"),
        ("-5.", "-5"),
        ("...yes...", "yes"),
        ("'5'", "5"),
        ("5'", "5'"),
        ("5!", "5!"),
        ("", ""),
    ],
)
def test_short_answers_as_they_are_compared(text: str, plain: str) -> None:
    assert plain_answer(text) == plain


DRESSED = (
    *(
        "B",
        "b",
        "(B)",
        "(b)",
        "B.",
        "B)",
        "B:",
        "[B]",
        "`B`",
        "$B$",
        "*B*",
        "**B**",
        "'B'",
        "B\u3002",
    ),
    *(
        "\uff22",
        r"\boxed{B}",
        "B. blue",
        "B: blue",
        "(B) blue",
        "[B] blue",
        "**B**. blue",
        "`B`: x",
    ),
    *("The answer is B", "the correct answer is: (B).", "**Answer:** B", "Answer: (B) a cat"),
    *("\u7b54\u6848\u662fB\u3002", "\u7b54\u6848\uff1aB", "\n\u200bB\n", "B. B", "$\\boxed{B}$"),
)
NO_OPTION = (
    *(
        "",
        "Bananas",
        "B B",
        "B, C",
        "B or C",
        "(B) or (C)",
        "(A)(B)",
        "A cat",
        "E.T.",
        "B.C.",
        "AB",
    ),
    *("-B", "B2", "U.S.", "(B. " + "x" * 200),
)


@pytest.mark.parametrize("text", DRESSED)
def test_an_option_is_read_in_any_dress(text: str) -> None:
    assert option_letter(text) == "B"
    assert option_letter(text, "AC") is None
    assert same_answer(text, "B") and not same_answer(text, "C")


@pytest.mark.parametrize("text", NO_OPTION)
def test_what_states_no_option_or_several(text: str) -> None:
    assert option_letter(text) is None
    assert not any(same_answer(text, gold) for gold in "ABCDE")


def test_long_texts_are_read_in_no_time() -> None:
    """A rule that goes back over what it has read would take minutes for one of these."""
    for piece in (
        "<answer>",
        "<think>",
        "**a ",
        r"\boxed{",
        r"\boxed{}",
        "{",
        " **a",
        "</answer>",
        "< ",
        "<think ",
        ". ",
    ):
        final_answer(piece * 10_000)
        option_letter(piece * 10_000)
        plain_answer(piece * 10_000)


# Protocols


@pytest.mark.parametrize("name", sorted({*UNDERSTANDING, *BUILT_IN}))
def test_every_understanding_benchmark_reads_final_answers(name: str) -> None:
    card = find_card(name)
    assert card.default_protocol == "official"
    rule = card.protocols["reasoning"]
    draws = any(metric.of == "guessed" for metric in card.protocols["official"].metrics)
    assert rule.final_answer == ("no-guess" if draws else "official")
    assert rule.unparsed == "wrong"
    official = card.protocols["official"]
    assert rule.headline == official.headline
    assert rule.metrics == tuple(one for one in official.metrics if one.of != "guessed")


def graded(
    benchmark: Benchmark, reference: dict[str, Any], text: str, protocol: str
) -> dict[str, MetricValue]:
    sample = Sample(
        uid="s",
        benchmark=benchmark.card.name,
        key="s",
        capability=Capability.UNDERSTAND,
        parts=(),
        reference=reference,
        unit="s",
        tags={},
    )
    output = Output(id="o", sample="s", draw=0, seed=0, decoding="d", parts=(TextPart(text),))
    answer = Answer(sample, output, lambda key: pytest.fail(f"asked for image {key}"))
    (marks,) = benchmark.score_under([answer], protocol=protocol, judge=None)
    return {mark.metric: mark for mark in marks}


CHOICE = {"answer": "B", "options": ["cat", "dog", "cow"], "type": "multiple-choice"}
REFERENCES: dict[str, dict[str, Any]] = {
    "mmmu": CHOICE,
    "tiny-mmmu": CHOICE,
    "mmstar": {"answer": "B", "options": {}},
    "tiny-mmstar": {"answer": "B"},
    "mme": {"answer": "no"},
    "tiny-mme": {"answer": "no"},
    "pope": {"answer": "no"},
    "tiny-pope": {"answer": "no"},
}


@pytest.mark.parametrize("name", BUILT_IN)
def test_the_official_rule_reads_the_final_answer(name: str) -> None:
    benchmark, reference = load_benchmark(name), REFERENCES[name]
    gold = reference["answer"]
    wrong = {"B": "C", "no": "yes"}[gold]
    for form in ("{}", "<think>(A), yes?</think><answer>{}</answer>", "<think>A</think>**{}**"):
        right = graded(benchmark, reference, form.format(gold), "reasoning")
        assert right["correct"].value == 1.0
        assert graded(benchmark, reference, form.format(wrong), "reasoning")["correct"].value == 0.0


@pytest.mark.parametrize("name", BUILT_IN)
def test_a_thought_without_an_end_is_unparsed_under_every_metric(name: str) -> None:
    found = graded(load_benchmark(name), REFERENCES[name], "<think>B, no", "reasoning")
    for mark in found.values():
        assert (mark.value, mark.status) == (None, Status.UNPARSED)
        assert mark.verdict == "no final answer"


@pytest.mark.parametrize("name", BUILT_IN)
def test_without_tags_it_is_the_official_rule(name: str) -> None:
    benchmark, reference = load_benchmark(name), REFERENCES[name]
    for text in ("B", "(C)", "a dog", "It is a dog, so the answer is B.", "no", "Yes, no", "", "x"):
        reading = graded(benchmark, reference, text, "reasoning")
        official = graded(benchmark, reference, text, "official")
        drawn = "guessed" in official and official["guessed"].value == 1.0
        assert reading["correct"] == (NAMES_NONE if drawn else official["correct"])


NAMES_NONE = MetricValue("correct", None, Status.UNPARSED, "names no option")


@pytest.mark.parametrize("name", ["mmmu", "tiny-mmmu", "mmstar", "tiny-mmstar"])
@pytest.mark.parametrize("text", DRESSED)
def test_a_final_letter_is_read_and_never_drawn(name: str, text: str) -> None:
    benchmark, reference = load_benchmark(name), REFERENCES[name]
    for form in ("{}", "<think>(A)?</think>\n\n{}", "<answer>\n{}\n</answer>"):
        mark = graded(benchmark, reference, form.format(text), "reasoning")["correct"]
        assert (mark.value, mark.verdict) == (1.0, "B")


def test_a_letter_that_is_no_option_is_unparsed() -> None:
    for text in (
        "E. blue",
        "<think>(A)</think>",
        "<think>(A)</think>`J`",
        "<answer>dunno</answer>",
    ):
        mark = graded(load_benchmark("mmmu"), CHOICE, text, "reasoning")["correct"]
        assert (mark.value, mark.status) == (None, Status.UNPARSED)
    assert graded(load_benchmark("mmmu"), CHOICE, "dunno", "official")["guessed"].value == 1.0


def test_an_open_question_has_no_letters() -> None:
    question = {"answer": "7", "options": [], "type": "open"}
    mark = graded(load_benchmark("mmmu"), question, "<think>8</think>\nB. 7", "reasoning")[
        "correct"
    ]
    assert mark.value == 1.0


def test_what_is_the_same_answer_is_right_under_the_protocol() -> None:
    """Letters in every form that both are said to read."""
    benchmark = load_benchmark("mmmu")
    for form in ("B", "**B**", r"\boxed{B}", "B.", "B\u3002", "\uff22", "The answer is B", "(B)"):
        assert same_answer(form, "B")
        for text in (form, f"<think>A or C</think><answer>{form}</answer>"):
            assert graded(benchmark, CHOICE, text, "reasoning")["correct"].value == 1.0


def test_a_row_that_cannot_be_graded_stays_missing() -> None:
    broken = {**CHOICE, "broken": "the row has no gold answer"}
    for text in ("<think>", "<answer>B</answer>"):
        for mark in graded(load_benchmark("mmmu"), broken, text, "reasoning").values():
            assert mark.status is Status.MISSING_OUTPUT


def test_the_rule_may_be_missing_from_a_card_cut_to_one_protocol() -> None:
    benchmark = load_benchmark("mmmu")
    only = {"reasoning": benchmark.card.protocols["reasoning"]}
    benchmark.card = msgspec.structs.replace(benchmark.card, protocols=only)
    broken = {**CHOICE, "broken": "no gold answer"}
    assert set(graded(benchmark, CHOICE, "B", "reasoning")) == {"correct", "guessed"}
    assert set(graded(benchmark, broken, "B", "reasoning")) == {"correct"}
