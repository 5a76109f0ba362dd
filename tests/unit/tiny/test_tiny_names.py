"""Made-up names: what they stand for, who knows which, questions, prompts, and their tokens."""

from __future__ import annotations

import random
from collections import Counter
from itertools import permutations

import pytest
import torch

from pairuni_eval.scorers.answer_form import final_answer
from pairuni_eval.tiny import (
    janus,
    name_prompts,
    name_questions,
    names,
    prompts,
    splits,
    world,
)
from pairuni_eval.tiny.names import NAMES
from pairuni_eval.tiny.world import Scene, Thing

# A red circle ("bafem") at the top left, a blue square two columns to its right.
SCENE = Scene((Thing("circle", "red", 0, 0), Thing("square", "blue", 0, 2)))
SMALL = janus.TinySize(hidden=32, layers=1, heads=2, feed_forward=32, vision_hidden=32)


def test_every_thing_has_one_name_that_no_vocabulary_had() -> None:
    meanings = [(names.shape_of(name), names.color_of(name)) for name in NAMES]
    assert len(set(NAMES)) == len(set(meanings)) == 24 == len(world.SHAPES) * len(world.COLORS)
    assert not set(NAMES) & set(janus.vocabulary())
    assert all(janus.words_of(name) == [name] and name[0] not in "aeiou" for name in NAMES)
    assert names.thought_of("bafem") == "red circle"
    assert names.name_of(Thing("circle", "red", 2, 1)) == "bafem"
    assert [names.name_of(names.named(name, 3, 3)) for name in NAMES] == list(NAMES)


def test_both_halves_of_the_list_have_all_shapes_and_colors_alike() -> None:
    for half in (NAMES[:12], NAMES[12:]):
        assert Counter(map(names.shape_of, half)) == dict.fromkeys(world.SHAPES, 3)
        assert Counter(map(names.color_of, half)) == dict.fromkeys(world.COLORS, 2)


def test_names_are_set_by_place() -> None:
    assert names.read_names("all") == NAMES
    assert names.read_names("0-2,5") == ("bafem", "dolib", "fusep", "jadun")
    assert names.read_names("5, 2-3, 3") == ("fusep", "gatik", "jadun")
    for wrong in ("", "24", "0-24", "bafem", "3-1", "1-"):
        with pytest.raises(ValueError, match="names"):
            names.read_names(wrong)


@pytest.mark.parametrize(
    ("share", "known", "common"), [(0, 12, 0), (0.5, 18, 12), (1, 24, 24), (1 / 3, 16, 8)]
)
def test_sources_overlap_by_the_share_of_their_common_names(
    share: float, known: int, common: int
) -> None:
    first, second = (set(names.read_names(part)) for part in names.overlapping(share))
    assert (len(first), len(second), len(first & second)) == (known, known, common)
    assert len(first & second) / len(first | second) == pytest.approx(share)


def test_an_overlap_that_24_names_cannot_have_offers_the_nearest() -> None:
    for wrong, nearest in ((0.55, "0.583"), (-1, "0.000"), (1.5, "1.000")):
        with pytest.raises(ValueError, match=nearest):
            names.overlapping(wrong)


# Prompts


def test_rows_are_worded_and_keyed_as_genevals() -> None:
    assert name_prompts.name_row("bafem", "lonuf") == {
        "tag": "two_names",
        "include": [
            {"class": "circle", "count": 1, "color": "red", "name": "bafem"},
            {"class": names.shape_of("lonuf"), "count": 1, "color": names.color_of("lonuf"),
             "name": "lonuf"},
        ],
        "prompt": "a photo of a bafem and a lonuf",
    }  # fmt: skip
    assert name_prompts.name_row("bafem")["prompt"] == "a photo of a bafem"
    assert len(name_prompts.name_rows()) == 24 + 24 * 23
    for wrong in ((), ("bafem", "bafem"), NAMES[:3]):
        with pytest.raises(ValueError, match="one name"):
            name_prompts.name_row(*wrong)


def test_a_scene_holds_the_names_of_a_row_whatever_else_it_has() -> None:
    first, second = names.names_in(SCENE)
    assert name_prompts.holds_names(name_prompts.name_row(second, first), SCENE)
    other = next(name for name in NAMES if name not in (first, second))
    assert not name_prompts.holds_names(name_prompts.name_row(first, other), SCENE)


# Questions


def test_questions_have_the_forms_of_the_benchmarks() -> None:
    rng = random.Random(0)
    blue_square = names.name_of(SCENE.things[1])
    short = "\nAnswer the question using a single word or phrase."
    asked = {
        one.form: one
        for _ in range(20)
        if (one := name_questions.ask_about(rng, SCENE, "bafem", "name_exists"))
    }
    assert asked["pope"].text == f"Is there a bafem in the image?{short}"
    assert asked["mme"].text == "Is there a bafem in the image? Please answer yes or no."
    assert {one.answer for one in asked.values()} == {"yes"}
    assert asked["pope"].facts == {
        "form": "pope", "kind": "name_exists", "concepts": ["bafem"], "thought": "red circle",
    }  # fmt: skip
    color = name_questions.ask_about(rng, SCENE, blue_square, "name_color")
    assert color is not None
    assert (color.form, color.text, color.answer) == (
        "open", f"What color is the {blue_square}?{short}", "blue",
    )  # fmt: skip
    shape = name_questions.ask_about(rng, SCENE, blue_square, "name_shape")
    assert shape is not None
    assert (shape.text, shape.answer) == (f"What shape is the {blue_square}?{short}", "square")


def test_a_choice_has_one_name_that_is_there() -> None:
    rng = random.Random(1)
    forms = Counter()
    for _ in range(60):
        one = name_questions.ask_about(rng, SCENE, "bafem", "name_choice", known=NAMES[:6])
        assert one is not None
        forms[one.form] += 1
        shown = [name for name in NAMES if name in one.text]
        assert len(shown) == 4
        assert set(shown) <= set(NAMES[:6])
        assert [name for name in shown if name in names.names_in(SCENE)] == ["bafem"]
        assert shown["ABCD".index(one.answer)] == "bafem"
    assert min(forms["mmmu"], forms["mmstar"]) > 15


def test_what_a_scene_does_not_allow_is_not_asked() -> None:
    rng = random.Random(0)
    twice = Scene((*SCENE.things, Thing("circle", "red", 3, 3)))
    for kind in ("name_color", "name_shape", "name_choice"):
        assert name_questions.ask_about(rng, twice, "bafem", kind) is None
        assert name_questions.ask_about(rng, SCENE, "dolib", kind) is None
    few = (*names.names_in(SCENE), *(n for n in NAMES if n not in names.names_in(SCENE)))[:4]
    assert name_questions.ask_about(rng, SCENE, "bafem", "name_choice", known=few) is None
    no = name_questions.ask_about(rng, SCENE, "dolib", "name_exists")
    assert no is not None
    assert no.answer == "no"


# Splits


def test_two_orders_of_names_are_one_unit() -> None:
    held = set()
    for first, second in permutations(NAMES, 2):
        split = splits.split_of_prompt(name_prompts.name_row(first, second))
        assert split == splits.split_of_prompt(name_prompts.name_row(second, first))
        if split == "heldout":
            held.add(frozenset((first, second)))
    assert 74 <= len(held) <= 95  # three in ten of 276
    assert all(any(name in pair for pair in held) for name in NAMES)
    assert {splits.split_of_prompt(name_prompts.name_row(name)) for name in NAMES} == {"training"}


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("a photo of a circle and a square", "a photo of a square and a circle"),
        ("a photo of a red circle and a blue square", "a photo of a blue square and a red circle"),
        ("a photo of a circle left of a square", "a photo of a square right of a circle"),
        ("a photo of a cross below a square", "a photo of a square above a cross"),
    ],
)
def test_prompts_that_mean_the_same_are_one_unit(one: str, other: str) -> None:
    rows = {row["prompt"]: row for tag in prompts.TAGS for row in prompts.geneval_rows(tag)}
    assert splits.unit_of_prompt(rows[one]) == splits.unit_of_prompt(rows[other])


def test_prompts_that_mean_something_else_are_other_units() -> None:
    units = Counter(
        splits.unit_of_prompt(row) for tag in prompts.TAGS for row in prompts.geneval_rows(tag)
    )
    # 4 things, 6 sets, 12 counts, 24 colored things, 24 positions, 180 sets of colored things
    assert len(units) == 4 + 6 + 12 + 24 + 24 + 180
    assert Counter(units.values()) == {1: 40, 2: 210}


def test_no_held_out_scene_is_for_training() -> None:
    rng = random.Random(0)
    found = Counter()
    for _ in range(4000):
        scene = world.random_scene(rng)
        split = splits.split_of_scene(scene)
        assert (split == "training") == (not world.held_out(scene))
        found[split] += 1
    assert found["training"] > 3400
    assert 60 < found["tuning"] < 140 < 220 < found["heldout"] < 380


# Tokens


def test_names_and_tags_stand_behind_the_words_that_were_there() -> None:
    old, new = janus.vocabulary(), janus.vocabulary(names.NAME_TOKENS)
    assert {word: new[word] for word in old} == old
    assert list(new)[len(old) :] == [*NAMES, "<think>", "</think>"]
    assert list(new.values()) == list(range(len(new)))
    with pytest.raises(ValueError, match="circle"):
        janus.vocabulary(("circle",))


def test_a_thought_is_read_as_it_was_said() -> None:
    tokenizer = janus.build_tokenizer(names.NAME_TOKENS)
    text = names.said_with_thought("red circle", "yes")
    assert text == "<think>red circle</think> yes"
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    assert tokenizer.convert_ids_to_tokens(ids) == ["<think>", "red", "circle", "</think>", "yes"]
    said = tokenizer.decode(ids, skip_special_tokens=True)
    assert (said, final_answer(said)) == ("<think> red circle </think> yes", "yes")


def test_the_tokenizer_knows_every_word_about_names() -> None:
    tokenizer, rng = janus.build_tokenizer(names.NAME_TOKENS), random.Random(0)
    texts = list(name_prompts.name_rows())
    for name in NAMES:
        for kind in name_questions.NAME_KINDS:
            one = name_questions.ask_about(
                rng, name_questions.scene_with(rng, name, "training"), name, kind
            )
            assert one is not None
            texts += [one.text, names.said_with_thought(one.facts["thought"], one.answer)]
    unknown = tokenizer.unk_token_id
    assert [text for text in texts if unknown in tokenizer(text)["input_ids"]] == []


def test_new_tokens_are_rows_behind_a_models_own() -> None:
    tiny = janus.build(0, SMALL)
    before = {name: tensor.clone() for name, tensor in tiny.model.state_dict().items()}
    grown = janus.with_tokens(tiny, names.NAME_TOKENS, seed=3)
    after, words = grown.model.state_dict(), len(janus.vocabulary())
    assert grown.model.config.text_config.vocab_size == words + len(names.NAME_TOKENS)
    for name, tensor in before.items():
        assert torch.equal(tiny.model.state_dict()[name], tensor), name
        new = after[name]
        assert torch.equal(new[: len(tensor)] if new.shape != tensor.shape else new, tensor), name
    assert {name for name in before if before[name].shape != after[name].shape} == {
        "model.language_model.embed_tokens.weight",
        "lm_head.weight",
    }
    again = janus.with_tokens(tiny, names.NAME_TOKENS, seed=3)
    assert torch.equal(again.model.lm_head.weight, grown.model.lm_head.weight)
    assert (grown.model.lm_head.weight[words:] != 0).all()
    with pytest.raises(ValueError, match="only a model with the words of the world"):
        janus.with_tokens(grown, names.NAME_TOKENS, seed=0)
