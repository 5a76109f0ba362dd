"""Facts of a picture as twin questions: which is true comes from what the grader saw."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from pairuni_eval.benchmark import Answer, Fact, FactChoice, Painted
from pairuni_eval.records import ImagePart, Output, Sample, make_item
from pairuni_eval.scorers.facts import OPPOSITE, count_options, knowledge_facts, object_facts
from pairuni_eval.scorers.objects import Observation

CLASSES = ("bench", "cow", "skis")
COLORS = ("red", "brown", "pink")
Box = tuple[float, float, float, float, float]


def box(x: float, y: float, score: float = 0.95) -> Box:
    return (x, y, x + 10, y + 10, score)


def facts(row: Mapping[str, Any], seen: Mapping[str, list[Box]], color: str = "red") -> list[Fact]:
    sight = Observation(seen, lambda _, found: [color] * len(found))
    return object_facts(row, sight, classes=CLASSES, colors=COLORS, seed=3)


def one(kind: str, row: Mapping[str, Any], *args: Any) -> Fact:
    (found,) = [fact for fact in facts(row, *args) if fact.kind == kind]
    return found


OBJECT = {"tag": "single_object", "include": [{"class": "bench", "count": 1}]}
COUNT = {"tag": "counting", "include": [{"class": "skis", "count": 3}]}
COLOR = {"tag": "colors", "include": [{"class": "bench", "count": 1, "color": "brown"}]}
RELATION = {
    "tag": "position",
    "include": [
        {"class": "cow", "count": 1},
        {"class": "bench", "count": 1, "position": ["left of", 0]},
    ],
}

TWO_COLORS = {
    "tag": "color_attr",
    "include": [
        {"class": "bench", "count": 1, "color": "brown"},
        {"class": "cow", "count": 1, "color": "pink"},
    ],
}
BOTH = {"bench": [box(0, 0)], "cow": [box(50, 0)]}


def colored(row: Mapping[str, Any], seen: Mapping[str, list[Box]], **colors: str) -> list[Fact]:
    """The swaps of a picture whose objects have these colors."""
    sight = Observation(seen, lambda thing, found: [colors[thing]] * len(found))
    found = object_facts(row, sight, classes=CLASSES, colors=COLORS, seed=3)
    return [fact for fact in found if fact.kind == "swap"]


def test_an_object_that_is_there_has_a_foil_that_is_not() -> None:
    fact = one("object", OBJECT, {"bench": [box(0, 0)], "cow": [box(20, 0)]})
    assert fact.asked == "Is there a bench in the image?"
    assert fact.twin == "Is there a skis in the image?"
    assert fact.holds and fact.sure


def test_an_object_that_is_not_there_has_the_seen_one_as_twin() -> None:
    fact = one("object", OBJECT, {"cow": [box(20, 0)]})
    assert (fact.holds, fact.twin) == (False, "Is there a cow in the image?")


def test_an_object_beside_nothing_is_not_put() -> None:
    fact = one("object", OBJECT, {})
    assert fact.holds is None
    assert fact.reason == "the grader sees nothing to name in its place"


def test_a_count_that_holds_has_a_neighbor_and_one_that_does_not_the_counted_number() -> None:
    three = one("count", COUNT, {"skis": [box(20 * i, 0) for i in range(3)]})
    assert three.asked == "Is the number of skises in the image 3?"
    assert three.holds and three.twin.split()[-1] in ("2?", "4?")
    five = one("count", COUNT, {"skis": [box(20 * i, 0) for i in range(5)]})
    assert (five.holds, five.twin) == (False, "Is the number of skises in the image 5?")


def test_counting_has_its_own_threshold_and_is_unsure_between_the_two() -> None:
    seen = {"skis": [box(0, 0), box(20, 0), box(40, 0), box(60, 0, 0.5)]}
    fact = one("count", COUNT, seen)
    assert fact.holds and not fact.sure


def test_a_color_comes_from_the_grader() -> None:
    brown = one("color", COLOR, {"bench": [box(0, 0)]}, "brown")
    assert brown.holds and brown.twin in ("Is the bench red?", "Is the bench pink?")
    red = one("color", COLOR, {"bench": [box(0, 0, 0.5)]}, "red")
    assert (red.asked, red.twin) == ("Is the bench brown?", "Is the bench red?")
    assert not red.holds and not red.sure


@pytest.mark.parametrize(("count", "word"), [(0, "none"), (2, "several")])
def test_a_color_of_none_or_several_is_not_put(count: int, word: str) -> None:
    fact = one("color", COLOR, {"bench": [box(20 * i, 0) for i in range(count)]})
    assert fact.holds is None
    assert fact.reason == f"the grader sees {word} of a class, not one"


def test_a_relation_has_its_opposite_or_the_seen_one() -> None:
    left = one("relation", RELATION, {"bench": [box(0, 0)], "cow": [box(50, 0)]})
    assert left.holds
    assert left.asked == "Is the bench left of the cow?"
    assert left.twin == "Is the bench right of the cow?"
    above = one("relation", RELATION, {"bench": [box(0, 0)], "cow": [box(0, 50)]})
    assert (above.holds, above.twin) == (False, "Is the bench above the cow?")
    between = one("relation", RELATION, {"bench": [box(50, 0)], "cow": [box(0, 50)]})
    assert between.reason == "the grader sees no single relation"
    assert all(OPPOSITE[OPPOSITE[name]] == name for name in OPPOSITE)


def test_a_swap_that_did_not_happen_has_the_color_of_the_other_object_as_foil() -> None:
    bench, cow = colored(TWO_COLORS, BOTH, bench="brown", cow="pink")
    assert (bench.name, bench.asked, bench.twin) == (
        "swap 0",
        "Is the bench brown?",
        "Is the bench pink?",
    )
    assert (cow.name, cow.asked, cow.twin) == ("swap 1", "Is the cow pink?", "Is the cow brown?")
    assert bench.holds and cow.holds and bench.sure
    assert bench.twin_holds is None, "the opposite of what is asked"


def test_a_swap_that_happened_is_the_twin_that_holds() -> None:
    bench, cow = colored(TWO_COLORS, BOTH, bench="pink", cow="brown")
    assert (bench.asked, bench.twin) == ("Is the bench brown?", "Is the bench pink?")
    assert bench.holds is False and cow.holds is False
    leaked, right = colored(TWO_COLORS, BOTH, bench="pink", cow="pink")
    assert leaked.holds is False and right.holds is True, "one object's color on both"


def test_a_swap_is_known_by_one_of_two_colors_on_one_object() -> None:
    bench, cow = colored(TWO_COLORS, BOTH, bench="red", cow="pink")
    assert (bench.holds, bench.reason) == (None, "the grader sees neither object's color")
    assert cow.holds is True, "whatever the other object looks like"
    bench, cow = colored(TWO_COLORS, {"cow": [box(50, 0), box(80, 0)]}, cow="pink")
    assert bench.reason == "the grader sees none of a class, not one"
    assert cow.reason == "the grader sees several of a class, not one"


def test_one_color_is_not_swapped() -> None:
    alike = {**TWO_COLORS, "include": [{**one, "color": "red"} for one in TWO_COLORS["include"]]}
    assert colored(alike, BOTH, bench="red", cow="red") == []
    assert colored(COLOR, BOTH, bench="brown") == []
    plain = {**TWO_COLORS, "include": [TWO_COLORS["include"][0], {"class": "cow", "count": 1}]}
    assert colored(plain, BOTH, bench="brown") == []


def test_the_grader_names_a_color_once() -> None:
    asked: list[str] = []

    def name(thing: str, found: object) -> list[str]:
        asked.append(thing)
        return ["brown"]

    object_facts(TWO_COLORS, Observation(BOTH, name), classes=CLASSES, colors=COLORS, seed=3)
    assert asked == ["bench", "cow"]


def test_foils_are_the_same_for_the_same_seed() -> None:
    seen = {"skis": [box(20 * i, 0) for i in range(3)]}
    assert facts(COUNT, seen) == facts(COUNT, seen)


# Multiple choice

MANY = ("bench", "cow", "skis", "dog", "cat", "bus")
PALETTE = ("red", "brown", "pink", "white", "black", "blue")


def choice(
    kind: str, row: Mapping[str, Any], seen: Mapping[str, list[Box]], color: str = "red"
) -> FactChoice | str | None:
    sight = Observation(seen, lambda _, found: [color] * len(found))
    found = object_facts(row, sight, classes=MANY, colors=PALETTE, seed=3)
    (fact,) = [one for one in found if one.kind == kind]
    return fact.choice


def made(found: FactChoice | str | None) -> FactChoice:
    assert isinstance(found, FactChoice)
    assert len(set(found.options)) == 4 and {found.shown, found.asked} <= set(found.options)
    return found


@pytest.mark.parametrize(
    ("wanted", "seen", "options"),
    [
        (3, 3, (2, 3, 4, 5)),
        (3, 5, (2, 3, 4, 5)),
        (3, 1, (1, 2, 3, 4)),
        (3, 0, (0, 1, 2, 3)),
        (3, 6, (3, 4, 5, 6)),
        (3, 7, (3, 4, 6, 7)),
        (4, 0, (0, 1, 3, 4)),
        (1, 1, (0, 1, 2, 3)),
    ],
)
def test_numbers_to_choose_among_hold_both(
    wanted: int, seen: int, options: tuple[int, ...]
) -> None:
    assert count_options(wanted, seen) == options


def test_a_count_is_asked_as_how_many() -> None:
    found = made(choice("count", COUNT, {"skis": [box(20 * i, 0) for i in range(5)]}))
    assert found.question == "How many skises are there?"
    assert sorted(found.options) == ["2", "3", "4", "5"]
    assert (found.shown, found.asked) == ("5", "3")


def test_a_color_is_one_of_four() -> None:
    found = made(choice("color", COLOR, {"bench": [box(0, 0)]}, "pink"))
    assert found.question == "What color is the bench?"
    assert (found.shown, found.asked) == ("pink", "brown")
    assert set(found.options) < set(PALETTE)
    right = made(choice("color", COLOR, {"bench": [box(0, 0)]}, "brown"))
    assert right.shown == right.asked == "brown"


def test_a_place_is_one_of_four_if_it_is_one() -> None:
    found = made(choice("relation", RELATION, {"bench": [box(0, 0)], "cow": [box(0, 50)]}))
    assert found.question == "Where is the bench relative to the cow?"
    assert sorted(found.options) == ["above", "below", "left", "right"]
    assert (found.shown, found.asked) == ("above", "left")
    both = choice("relation", RELATION, {"bench": [box(0, 0)], "cow": [box(50, 50)]})
    assert both == "the grader sees no single relation", "left of and above: two are right"


def test_an_object_stands_among_absent_ones() -> None:
    found = made(choice("object", OBJECT, {"bench": [box(0, 0)], "cow": [box(20, 0)]}))
    assert found.question == "Which of these is in the image?"
    assert found.shown == found.asked == "bench" and "cow" not in found.options
    other = made(choice("object", OBJECT, {"cow": [box(20, 0)]}))
    assert (other.shown, other.asked) == ("cow", "bench")
    full = {name: [box(20 * i, 0)] for i, name in enumerate(MANY[:4])}
    assert choice("object", OBJECT, full) == "there are too few false options to choose among"


def test_a_swap_and_what_is_not_known_have_no_choices() -> None:
    assert choice("color", COLOR, {}) is None
    assert all(one.choice is None for one in colored(TWO_COLORS, BOTH, bench="brown", cow="pink"))


# Knowledge


def sample(key: str, subcategory: str) -> Sample:
    return make_item(
        benchmark="wise",
        version="1",
        key=key,
        capability="generate",  # type: ignore[arg-type]
        parts=(f"prompt {key}",),
        reference={"explanation": f"Explanation {key}."},
        tags={"subcategory": subcategory},
    ).sample


def painted(key: str, subcategory: str, **values: float) -> Painted:
    mine = sample(key, subcategory)
    picture = ImagePart("0" * 64)
    output = Output(id=key, sample=mine.uid, draw=0, seed=0, decoding="d", parts=(picture,))
    return Painted(Answer(mine, output, {}.__getitem__), values)


def test_knowledge_is_asked_in_the_words_of_the_explanation() -> None:
    prompts = [painted(str(n), "food", consistency=float(n)) for n in range(3)]
    rows = list(knowledge_facts(prompts, right=("consistency", 2.0), seed=1))
    assert [fact.holds for (fact,) in rows] == [False, False, True]
    assert rows[0][0].asked == "Does the image show this: Explanation 0?"
    twins = [fact.twin for (fact,) in rows]
    assert sorted(twins) == [f"Does the image show this: Explanation {n}?" for n in range(3)]
    assert all(fact.twin != fact.asked and fact.twin_holds is False for (fact,) in rows)


def test_knowledge_without_a_value_or_a_twin_is_not_put() -> None:
    prompts = [
        painted("1", "food"),
        painted("2", "food", correct=1.0),
        painted("3", "sea", correct=1.0),
    ]
    reasons = [fact.reason for (fact,) in knowledge_facts(prompts, right=("correct", 1.0), seed=1)]
    assert reasons == [
        "the judge gave the picture no value",
        None,
        "its subcategory has no other prompt",
    ]
