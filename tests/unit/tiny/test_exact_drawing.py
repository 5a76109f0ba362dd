"""The strict rule for drawings, on hand-made scenes and pictures."""

from __future__ import annotations

import random

import pytest
from PIL import Image

from pairuni_eval.tiny import knowledge, prompts
from pairuni_eval.tiny.exact_drawing import drawing_flaws, exact_flaw
from pairuni_eval.tiny.name_prompts import name_row
from pairuni_eval.tiny.names import name_of
from pairuni_eval.tiny.world import Scene, Thing, detections_of, render

CIRCLE = Thing("circle", "red", 0, 0)
SQUARE = Thing("square", "blue", 0, 2)
GREEN_CIRCLE = Thing("circle", "green", 3, 3)


def row_of(prompt: str) -> prompts.Row:
    rows = (row for tag in prompts.TAGS for row in prompts.geneval_rows(tag))
    return next(row for row in rows if row["prompt"] == prompt)


def named(*things: Thing) -> prompts.Row:
    return name_row(*map(name_of, things))


@pytest.mark.parametrize(
    ("row", "things", "right"),
    [
        (named(CIRCLE), [CIRCLE], True),
        (named(CIRCLE), [Thing("circle", "red", 2, 1)], True),  # wherever it stands
        (named(CIRCLE), [], False),
        (named(CIRCLE), [GREEN_CIRCLE], False),
        (named(CIRCLE), [CIRCLE, SQUARE], False),  # GenEval's rule lets it pass
        (named(CIRCLE), [CIRCLE, Thing("circle", "red", 1, 1)], False),
        (named(CIRCLE, SQUARE), [SQUARE, CIRCLE], True),
        (named(CIRCLE, SQUARE), [CIRCLE], False),
        (named(CIRCLE, GREEN_CIRCLE), [CIRCLE, GREEN_CIRCLE], True),  # two names of one shape
        (named(GREEN_CIRCLE, CIRCLE), [CIRCLE, GREEN_CIRCLE], True),
        (named(CIRCLE, GREEN_CIRCLE), [CIRCLE, Thing("circle", "red", 3, 3)], False),
        (row_of("a photo of a circle"), [GREEN_CIRCLE], True),
        (row_of("a photo of a circle"), [CIRCLE, GREEN_CIRCLE], False),
        (row_of("a photo of a circle and a square"), [SQUARE, GREEN_CIRCLE], True),
        (row_of("a photo of a circle and a square"), [CIRCLE, GREEN_CIRCLE], False),
        (row_of("a photo of two circles"), [CIRCLE, GREEN_CIRCLE], True),
        (row_of("a photo of two circles"), [CIRCLE, GREEN_CIRCLE, SQUARE], False),
        (row_of("a photo of a red circle"), [CIRCLE], True),
        (row_of("a photo of a red circle"), [GREEN_CIRCLE], False),
        (row_of("a photo of a circle left of a square"), [CIRCLE, SQUARE], True),
        (row_of("a photo of a circle right of a square"), [CIRCLE, SQUARE], False),
        (row_of("a photo of a circle left of a square"), [CIRCLE, SQUARE, GREEN_CIRCLE], False),
        (row_of("a photo of a red circle and a blue square"), [CIRCLE, SQUARE], True),
        (row_of("a photo of a blue circle and a red square"), [CIRCLE, SQUARE], False),
    ],
)
def test_a_picture_holds_exactly_what_was_asked_for(
    row: prompts.Row, things: list[Thing], right: bool
) -> None:
    flaw = exact_flaw(row, Scene(tuple(things)))
    assert (flaw is None) == right
    assert drawing_flaws([row], [render(Scene(tuple(things)))]) == [flaw]


def test_a_flaw_is_named() -> None:
    assert exact_flaw(named(CIRCLE), Scene((CIRCLE, SQUARE))) == "2 things, 1 asked for"
    assert exact_flaw(named(CIRCLE), Scene((GREEN_CIRCLE,))) == (
        "not what was asked for: green circle"
    )
    garbled = Scene((CIRCLE,), frozenset({(1, 1), (2, 2)}))
    assert exact_flaw(named(CIRCLE), garbled) == "garbled cells: 2"


def test_a_garbled_cell_and_a_blank_picture_are_wrong() -> None:
    picture = render(Scene((CIRCLE,)))
    assert drawing_flaws([named(CIRCLE)], [picture]) == [None]
    picture.paste((250, 250, 250), (16, 16, 24, 24))
    assert drawing_flaws([named(CIRCLE)], [picture]) == ["garbled cells: 1"]
    assert drawing_flaws([named(CIRCLE)], [render(Scene(()))]) == ["0 things, 1 asked for"]
    assert drawing_flaws([named(CIRCLE)], [Image.new("RGB", (32, 32), "white")]) != [None]


def test_things_that_are_placed_are_placed_to_every_anchor() -> None:
    row = {
        "include": [
            {"class": "circle", "count": 2},
            {"class": "square", "count": 1, "position": ["left of", 0]},
        ]
    }
    left, between = Thing("square", "blue", 0, 0), Thing("square", "blue", 0, 2)
    circles = (Thing("circle", "red", 0, 1), Thing("circle", "red", 0, 3))
    assert exact_flaw(row, Scene((left, *circles))) is None
    assert exact_flaw(row, Scene((between, *circles))) is not None


@pytest.mark.parametrize("tag", prompts.TAGS)
def test_of_pictures_with_nothing_else_it_says_what_genevals_rule_says(tag: str) -> None:
    rng = random.Random(2)
    for row in rng.choices(prompts.geneval_rows(tag), k=60):
        right = prompts.sample_scene(rng, row)
        assert exact_flaw(row, right) is None
        things = [
            Thing(t.shape, t.color, *cell)
            for t, cell in zip(
                right.things, rng.sample(right.free_cells(), len(right.things)), strict=True
            )
        ]
        moved = Scene(tuple(things))
        assert (exact_flaw(row, moved) is None) == prompts.satisfies(row, detections_of(moved))
        more = right.with_thing(Thing("cross", "red", *rng.choice(right.free_cells())))
        assert exact_flaw(row, more) is not None


def test_it_is_defined_for_knowledge_prompts() -> None:
    rng = random.Random(3)
    for prompt in rng.sample(knowledge.knowledge_benchmark(), 40):
        assert exact_flaw(prompt.wanted, prompts.sample_scene(rng, prompt.wanted)) is None
