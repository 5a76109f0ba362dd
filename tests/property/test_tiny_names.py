"""Laws of names and splits that hold for every scene, name and draw."""

from __future__ import annotations

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from pairuni_eval.scorers.answer_form import final_answer
from pairuni_eval.tiny import name_prompts, name_questions, names, splits, world
from pairuni_eval.tiny.exact_drawing import exact_flaw
from pairuni_train.pair_data.balance import balanced

answers = st.lists(st.sampled_from(("yes", "no", "No ", "A", "red", None)), max_size=40)
seeds = st.integers(0, 2**32)
one_or_two = st.lists(st.sampled_from(names.NAMES), min_size=1, max_size=2, unique=True)
split = st.sampled_from(("training", "heldout", "tuning"))


@given(seeds, one_or_two, st.integers(0, 3))
def test_a_scene_of_names_is_exact_if_it_has_nothing_else(
    seed: int, asked: list[str], extra: int
) -> None:
    row = name_prompts.name_row(*asked)
    scene = name_prompts.name_scene(random.Random(seed), asked, extra=extra)
    assert name_prompts.holds_names(row, scene)
    assert (exact_flaw(row, scene) is None) == (extra == 0)


# A scene of the tuning split is one of forty: drawing it may take long on a busy machine.
@settings(deadline=None, max_examples=40)
@given(seeds, st.sampled_from(names.NAMES), split)
def test_scenes_to_ask_about_are_of_their_split_and_have_the_name_or_not(
    seed: int, name: str, wanted: splits.Split
) -> None:
    rng = random.Random(seed)
    there = name_questions.scene_with(rng, name, wanted)
    absent = name_questions.scene_without(rng, name, wanted, known=names.NAMES[:3])
    assert [splits.split_of_scene(scene) for scene in (there, absent)] == [wanted, wanted]
    assert [names.name_of(thing) for thing in there.things].count(name) == 1
    assert name not in names.names_in(absent)
    assert set(names.names_in(absent)) & set(names.NAMES[:3])
    for scene in (there, absent):
        assert 2 <= len(scene.things) <= 4


@settings(deadline=None)
@given(seeds, st.sampled_from(names.NAMES), st.sampled_from(name_questions.NAME_KINDS))
def test_a_thought_comes_to_the_answer(seed: int, name: str, kind: name_questions.NameKind) -> None:
    rng = random.Random(seed)
    scene = name_questions.scene_with(rng, name, "training")
    one = name_questions.ask_about(rng, scene, name, kind)
    assert one is not None
    assert one.name in one.facts["concepts"]
    said = names.said_with_thought(one.facts["thought"], one.answer)
    assert final_answer(said) == one.answer


@given(st.integers(0, 12))
def test_two_sources_know_the_whole_list_and_share_what_they_should(twelfths: int) -> None:
    first, second = (set(names.read_names(part)) for part in names.overlapping(twelfths / 12))
    assert len(first) == len(second) == 12 + twelfths
    assert first | second == set(names.NAMES)
    assert len(first & second) == 2 * twelfths


@given(answers, st.integers(0, 45))
def test_a_balanced_choice_has_as_many_yes_as_no_and_as_much_as_there_is(
    given_: list[str | None], count: int
) -> None:
    places = balanced(given_, count)
    words = [(given_[place] or "").strip().lower() for place in places]
    assert len(set(places)) == len(places) <= count
    assert words.count("yes") == words.count("no")
    plain = [(word or "").strip().lower() for word in given_]
    couples = min(plain.count("yes"), plain.count("no"))
    others = sum(word not in ("yes", "no") for word in plain)
    full = min(count, others + 2 * couples)
    assert full - len(places) in (0, 1)  # one place may be left over for a couple that needs two


@given(st.binary(min_size=world.CELLS, max_size=world.CELLS))
def test_every_scene_is_of_one_split(cells: bytes) -> None:
    scene = world.scene_of([cell % world.STATES for cell in cells])
    assert (splits.split_of_scene(scene) == "training") == (not world.held_out(scene))
