"""Prompts, questions and edits of the tiny world have upstream's words and schemas."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from pairuni_eval import prompts as forms
from pairuni_eval.judges.judge import Question
from pairuni_eval.scorers.rubric import wise_category
from pairuni_eval.tiny import edits, knowledge, prompts, question_rows, questions, world
from pairuni_eval.tiny.edits import Edit
from pairuni_eval.tiny.judge import TinyJudge
from pairuni_eval.tiny.question_rows import ThingCounts
from pairuni_eval.tiny.questions import Choice
from pairuni_eval.tiny.world import Scene, Thing

CIRCLE = Thing("circle", "red", 0, 0)
SQUARE = Thing("square", "blue", 0, 2)
SCENE = Scene((CIRCLE, SQUARE))


# Prompt forms


def test_prompt_forms_are_the_official_strings() -> None:
    assert forms.mmmu_prompt("Q?", ["x", "y"]) == (
        "Q?\n(A) x\n(B) y\n\nAnswer with the option's letter from the given choices directly."
    )
    assert forms.mmmu_prompt("Q?", []) == ("Q?\nAnswer the question using a single word or phrase.")
    assert forms.mmstar_prompt("Q?\nOptions: A: x, B: y") == (
        "Q?\nOptions: A: x, B: y\nAnswer with the option's letter from the given choices directly."
    )
    assert forms.mme_prompt("Q? Please answer yes or no.") == "Q? Please answer yes or no."
    assert forms.pope_prompt("Q?") == "Q?\nAnswer the question using a single word or phrase."


def test_more_options_than_letters_are_refused() -> None:
    with pytest.raises(ValueError, match="27 options"):
        forms.mmmu_prompt("Q?", ["x"] * 27)


# GenEval


def test_geneval_rows_are_worded_as_in_geneval() -> None:
    assert prompts.geneval_rows("single_object")[0] == {
        "tag": "single_object",
        "include": [{"class": "circle", "count": 1}],
        "prompt": "a photo of a circle",
    }
    assert prompts.geneval_rows("counting")[-1] == {
        "tag": "counting",
        "include": [{"class": "cross", "count": 4}],
        "exclude": [{"class": "cross", "count": 5}],
        "prompt": "a photo of four crosses",
    }
    assert prompts.geneval_rows("position")[0] == {
        "tag": "position",
        "include": [
            {"class": "circle", "count": 1},
            {"class": "square", "count": 1, "position": ["left of", 0]},
        ],
        "prompt": "a photo of a square left of a circle",
    }
    assert prompts.geneval_rows("colors")[5]["prompt"] == "a photo of an orange circle"
    assert prompts.geneval_rows("color_attr")[0] == {
        "tag": "color_attr",
        "include": [
            {"class": "circle", "count": 1, "color": "red"},
            {"class": "square", "count": 1, "color": "green"},
        ],
        "prompt": "a photo of a red circle and a green square",
    }


def test_every_kind_has_all_its_prompts_once() -> None:
    sizes = {tag: len(prompts.geneval_rows(tag)) for tag in prompts.TAGS}
    assert list(sizes.values()) == [4, 12, 12, 24, 48, 360]
    texts = [row["prompt"] for tag in prompts.TAGS for row in prompts.geneval_rows(tag)]
    assert len(set(texts)) == len(texts)
    assert len(prompts.geneval_benchmark(per_tag=24)) == 4 + 12 + 12 + 24 + 24 + 24


def _verdict(row: prompts.Row, *things: Thing) -> bool:
    return prompts.satisfies(row, world.detections_of(Scene(things)))


def test_geneval_verdicts_on_hand_made_scenes() -> None:
    two_circles = prompts.geneval_rows("counting")[0]
    other = Thing("circle", "blue", 1, 1)
    assert _verdict(two_circles, CIRCLE, other)
    assert not _verdict(two_circles, CIRCLE)
    assert not _verdict(two_circles, CIRCLE, other, Thing("circle", "red", 3, 3))
    assert _verdict(two_circles, CIRCLE, other, SQUARE)
    red_circle = prompts.geneval_rows("colors")[0]
    assert _verdict(red_circle, CIRCLE)
    assert not _verdict(red_circle, Thing("circle", "blue", 0, 0))


def test_a_diagonal_counts_for_both_sides_and_a_steep_one_for_one() -> None:
    square_left_of_circle = prompts.geneval_rows("position")[0]
    square = Thing("square", "red", 1, 0)
    assert _verdict(square_left_of_circle, square, Thing("circle", "red", 0, 1))
    assert not _verdict(square_left_of_circle, square, Thing("circle", "red", 3, 1))
    assert not _verdict(square_left_of_circle, SQUARE, CIRCLE)


# GenEval's rule fact by fact


def test_facts_are_held_one_by_one() -> None:
    two_red_circles = {
        "include": [{"class": "circle", "count": 2, "color": "red"}],
        "exclude": [{"class": "circle", "count": 3}],
    }
    other = Thing("circle", "blue", 1, 1)
    assert _held(two_red_circles, CIRCLE) == [True, False, True]
    assert _held(two_red_circles, CIRCLE, other) == [True, True, False]
    assert _held(two_red_circles, SQUARE) == [False, False, False]
    square_left_of_circle = prompts.geneval_rows("position")[0]
    assert _held(square_left_of_circle, CIRCLE, SQUARE) == [True, True, False]
    assert _held(square_left_of_circle, SQUARE) == [False, True, False]


@pytest.mark.parametrize("tag", prompts.TAGS)
def test_all_facts_are_held_where_genevals_verdict_is_right(tag: str) -> None:
    rng = random.Random(1)
    for row in rng.choices(prompts.geneval_rows(tag), k=100):
        scene = rng.choice((prompts.sample_scene(rng, row), world.random_scene(rng)))
        found = world.detections_of(scene)
        assert all(prompts.facts_held(row, found)) == prompts.satisfies(row, found)


def _held(row: prompts.Row, *things: Thing) -> list[bool]:
    return prompts.facts_held(row, world.detections_of(Scene(things)))


# WISE


def test_knowledge_rows_have_wises_schema_and_id_ranges() -> None:
    row, wanted, kind = knowledge.plain_prompts("BIOLOGY")[0]
    assert row == {
        "Prompt": "a circle in the color of a ripe banana",
        "Explanation": "This refers to the color yellow: a yellow circle",
        "Category": "Biology",
        "Subcategory": "State",
        "prompt_id": 701,
    }
    assert wanted == {"include": [{"class": "circle", "count": 1, "color": "yellow"}]}
    assert kind == "plain"
    starts = {knowledge.plain_prompts(c)[0].row["prompt_id"] for c in knowledge.CATEGORIES}
    assert starts == {1, 401, 568, 701, 801, 901}


def test_composed_prompts_are_ten_of_every_kind_and_never_plain() -> None:
    plain, composed = knowledge.plain_prompts(), knowledge.knowledge_benchmark()
    label = {name: title for name, (title, _) in knowledge.CATEGORIES.items()}
    counts = Counter((prompt.row["Category"], prompt.kind) for prompt in composed)
    assert counts == {(label[c], k): 10 for c in label for k in knowledge.KINDS}
    for prompt in composed:
        assert label[str(wise_category(prompt.row["prompt_id"]))] == prompt.row["Category"]
    for field in ("Prompt", "prompt_id"):
        values = [prompt.row[field] for prompt in (*plain, *composed)]
        assert len(set(values)) == len(values)
    assert composed == knowledge.knowledge_benchmark()


def test_composed_prompts_say_what_they_want() -> None:
    counted, beside, related = (knowledge.knowledge_benchmark()[n] for n in (12, 20, 31))
    assert counted.row["Prompt"] == "three triangles in the color of an american school bus"
    assert counted.row["Explanation"].endswith("the color yellow: three yellow triangles")
    assert counted.wanted == {
        "include": [{"class": "triangle", "count": 3, "color": "yellow"}],
        "exclude": [{"class": "triangle", "count": 4}],
    }
    assert beside.row["Prompt"] == "a circle and a shape on the top of a church"
    assert beside.row["Explanation"].endswith("a circle and a cross")
    assert related.row["Prompt"] == "a shape like an egyptian pyramid right of a cross"
    assert related.wanted["include"] == [
        {"class": "cross", "count": 1},
        {"class": "triangle", "count": 1, "position": ["right of", 0]},
    ]


def test_a_gold_scene_scores_full_and_an_empty_one_nothing() -> None:
    rng = random.Random(0)
    for prompt in (*knowledge.plain_prompts(), *knowledge.knowledge_benchmark()):
        gold = prompts.sample_scene(rng, prompt.wanted)
        assert knowledge.knowledge_score(prompt.wanted, world.detections_of(gold)) == 1.0
        assert knowledge.knowledge_score(prompt.wanted, []) == 0.0


def test_the_tiny_judge_grades_a_part_as_a_part() -> None:
    wanted = {
        "include": [{"class": "square", "count": 2, "color": "blue"}],
        "exclude": [{"class": "square", "count": 3}],
    }
    one, other = Thing("square", "blue", 0, 0), Thing("square", "blue", 3, 3)
    assert _judged(wanted, one, other) == (2, 2, 2)
    assert _judged(wanted, one) == (1, 2, 1)
    assert _judged(wanted, one, Thing("circle", "red", 1, 1)) == (1, 2, 2)
    assert _judged(wanted, one, other, Thing("square", "red", 1, 1)) == (0, 2, 1)
    assert _judged(wanted, CIRCLE) == (0, 2, 1)
    assert _judged(wanted) == (0, 2, 0)


def _judged(wanted: prompts.Row, *things: Thing) -> tuple[int, ...]:
    question = Question("?", (world.render(Scene(things)),), {"wanted": wanted})
    (verdict,) = TinyJudge().ask([question])
    return tuple(int(line.split(": ")[1]) for line in verdict.text.splitlines())


def test_the_words_of_a_grid_stand_in_raster_order() -> None:
    assert prompts.grid_words(SCENE, "color").split()[:4] == ["red", "empty", "blue", "empty"]


# Questions


def test_mmmu_row() -> None:
    question = Choice("color", "What color is the circle?", "red", ("blue", "green", "purple"))
    row = question_rows.mmmu_row(question, SCENE, "C", 7).row
    assert row["id"] == "validation_Color_7"
    assert row["question"] == "<image 1> What color is the circle?"
    assert row["options"] == "['blue', 'green', 'red', 'purple']"
    assert (row["answer"], row["question_type"]) == ("C", "multiple-choice")
    opened = question_rows.mmmu_row(question, SCENE, None, 7).row
    assert (opened["options"], opened["answer"], opened["question_type"]) == ("[]", "red", "open")


def test_mmstar_row() -> None:
    question = Choice("color", "What color is the circle?", "red", ("blue", "green", "purple"))
    row = question_rows.mmstar_row(question, SCENE, "A", 3).row
    assert row["question"] == (
        "What color is the circle?\nOptions: A: red, B: blue, C: green, D: purple"
    )
    assert (row["answer"], row["category"]) == ("A", "fine-grained perception")


@pytest.mark.parametrize("kind", questions.KINDS)
def test_options_stand_in_their_natural_order(kind: str) -> None:
    pools = (world.COLORS, world.SHAPES, questions.DIGITS, questions.ORDINALS, questions.SIDES)
    rng = random.Random(0)
    for _ in range(20):
        _, question = questions.random_question(rng, kind)
        options = list(question.options(question.letter))
        orders = [[word for word in pool if word in options] for pool in pools]
        assert kind == "existence" or options in orders


def test_letters_are_balanced_and_scenes_held_out() -> None:
    rows = question_rows.mmmu_rows(random.Random(0), per_kind=4)
    assert Counter(r.row["answer"] for r in rows) == dict.fromkeys("ABCD", len(questions.KINDS))
    assert all(world.held_out(r.scene) for r in rows)
    starred = question_rows.mmstar_rows(random.Random(0), per_category=4)
    assert len({r.row["category"] for r in starred}) == 6
    assert Counter(r.row["answer"] for r in starred) == dict.fromkeys("ABCD", 6)


def test_mme_rows_come_in_pairs_yes_then_no() -> None:
    rows = question_rows.mme_rows(random.Random(0), images_per_kind=3)
    for yes, no in zip(rows[::2], rows[1::2], strict=True):
        assert yes.row["question_id"] == no.row["question_id"]
        assert (yes.row["answer"], no.row["answer"]) == ("Yes", "No")
        assert yes.row["question"].endswith("? Please answer yes or no.")
        assert yes.scene == no.scene


@pytest.mark.parametrize("split", question_rows.POPE_SPLITS)
def test_pope_rows_ask_three_present_and_three_absent(split: str) -> None:
    rng = random.Random(0)
    rows = question_rows.pope_rows(rng, split, scenes=question_rows.pope_scenes(rng, 5))
    assert len(rows) == 30
    for row, scene in rows:
        named = {question_rows.pope_text(thing.name) for thing in scene.things}
        assert (row["text"] in named) == (row["label"] == "yes")
    assert [row["label"] for row, _ in rows[:4]] == ["yes", "no", "yes", "no"]


def test_adversarial_absent_things_mix_what_the_scene_has() -> None:
    names = question_rows.absent_names(random.Random(0), SCENE, "adversarial", ThingCounts.of(()))
    assert set(names[:2]) == {"blue circle", "red square"}


def test_popular_absent_things_come_by_frequency() -> None:
    others = [Scene((Thing("cross", "green", 0, 0),))] * 2 + [Scene((SQUARE,))]
    names = question_rows.absent_names(
        random.Random(0), Scene((CIRCLE,)), "popular", ThingCounts.of(others)
    )
    assert names[:2] == ["green cross", "blue square"]


@pytest.mark.parametrize("kind", questions.KINDS)
def test_answers_of_questions_can_be_checked_on_a_known_scene(kind: str) -> None:
    expected = {
        "total": "2",
        "relation": {"left", "right"},
        "row": "first",
        "column": {"first", "third"},
        "count": {"0", "1"},
        "count_color": {"0", "1"},
        "sum": {"0", "1", "2"},
        "color": {"red", "blue"},
        "knowledge": {"red", "blue"},
        "shape": {"circle", "square"},
        "existence": {"red circle", "blue square"},
    }
    question = questions.ask(random.Random(1), SCENE, kind)
    if kind == "most":
        assert question is None
    else:
        assert question is not None
        assert question.answer in expected[kind]


# Edits


def _recolor() -> Edit:
    return Edit("adjust", "make the circle yellow", CIRCLE, Thing("circle", "yellow", 0, 0))


def test_edit_verdicts_on_hand_made_results() -> None:
    edit = _recolor()
    done = Scene((Thing("circle", "yellow", 0, 0), SQUARE))
    assert edits.satisfied(SCENE, done, edit)
    assert not edits.satisfied(SCENE, SCENE, edit)
    assert not edits.satisfied(SCENE, done.without(0, 2), edit)
    assert edits.grade(SCENE, SCENE, edit).followed == 0.0
    assert edits.grade(SCENE, done.without(0, 2), edit).preserved == 14 / 15
    half = Scene((Thing("cross", "yellow", 0, 0), SQUARE))
    assert edits.grade(SCENE, half, edit).followed == 0.5


def test_an_added_thing_may_lie_in_any_free_cell_but_only_one() -> None:
    edit = Edit("add", "add a green cross", None, Thing("cross", "green", 1, 1))
    elsewhere = SCENE.with_thing(Thing("cross", "green", 3, 3))
    assert edits.satisfied(SCENE, elsewhere, edit)
    assert not edits.satisfied(SCENE, SCENE.with_thing(Thing("cross", "green", 0, 0)), edit)
    twice = elsewhere.with_thing(Thing("cross", "green", 2, 2))
    assert not edits.satisfied(SCENE, twice, edit)


def test_imgedit_rows_have_the_three_fields() -> None:
    rows = edits.imgedit_rows(random.Random(0), per_type=2)
    assert [row.row["edit_type"] for row in rows[::2]] == list(edits.EDIT_TYPES)
    assert set(rows[0].row) == {"id", "prompt", "edit_type"}
    assert rows[0].row["id"] == "tiny/000001.png"
