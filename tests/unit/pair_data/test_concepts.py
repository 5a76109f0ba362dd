"""What a half asks for, and which halves have a concept in common."""

from __future__ import annotations

import pytest

from pairuni_eval.errors import UserError
from pairuni_eval.gradients.pair_matrix import APART, NOT_KNOWN, SHARED
from pairuni_train.pair_data.concepts import concepts_of, in_common, says_no
from pairuni_train.pair_data.record import Generation, Understanding


def question(
    text: str, answer: str, *, source: str = "tiny/pope", **facts: object
) -> Understanding:
    return Understanding(
        id="q", source=source, licence="x", image=b"", question=text, answer=answer, facts=facts
    )


def prompt(text: str, *, source: str = "tiny/color", **facts: object) -> Generation:
    return Generation(id="p", source=source, licence="x", prompt=text, facts=facts)


def test_the_tiny_world_is_read() -> None:
    assert concepts_of(question("Is there a red circle in the image?", "yes")) == {"red", "circle"}
    assert concepts_of(prompt("a photo of two squares")) == {"square"}
    assert concepts_of(question("How many shapes are there?", "3")) == frozenset()


def test_the_right_option_counts_and_no_other() -> None:
    asked = question("What color is the circle?\n(A) red\n(B) blue", "B")
    assert concepts_of(asked) == {"circle", "blue"}


def test_a_source_may_say_it_itself() -> None:
    given = ["zig", "zag"]
    assert concepts_of(question("Is there a zig?", "no", concepts=given)) == {"zig", "zag"}
    assert concepts_of(prompt("a zig", source="mine/x", concepts=given)) == {"zig", "zag"}
    with pytest.raises(UserError, match="no list of words"):
        concepts_of(prompt("a zig", concepts="zig"))


def test_of_real_data_nothing_is_known() -> None:
    assert concepts_of(question("Is there a red circle?", "yes", source="orsta/chart")) is None


def test_unknown_and_empty_are_neither_in_common_nor_apart() -> None:
    red, both = frozenset({"red"}), frozenset({"red", "circle"})
    found = in_common([red, None, frozenset()], [both, frozenset({"blue"}), None])
    assert found.tolist() == [
        [SHARED, APART, NOT_KNOWN],
        [NOT_KNOWN] * 3,
        [NOT_KNOWN] * 3,
    ]


@pytest.mark.parametrize(
    ("answer", "expected"), [("no", True), ("No.", True), ("yes", False), ("none", False)]
)
def test_answers_of_no(answer: str, expected: bool) -> None:
    assert says_no(question("?", answer)) is expected
