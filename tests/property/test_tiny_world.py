"""Laws of the tiny world that hold for every scene, prompt, question and edit."""

from __future__ import annotations

import ast
import random

from hypothesis import given, settings
from hypothesis import strategies as st

from pairuni_eval.tiny import edits, prompts, question_rows, questions, world

states = st.lists(st.integers(0, world.STATES - 1), min_size=world.CELLS, max_size=world.CELLS)
seeds = st.integers(0, 2**32)


@given(states)
def test_reading_undoes_drawing(states_N: list[int]) -> None:
    scene = world.scene_of(states_N)
    assert world.read(world.render(scene)) == scene
    assert world.states_of(scene).tolist() == states_N


@given(seeds, st.sampled_from(prompts.TAGS), st.integers(0, 3))
def test_a_scene_made_for_a_prompt_satisfies_it(seed: int, tag: str, extra: int) -> None:
    rng = random.Random(seed)
    row = prompts.random_row(rng, tag)
    scene = prompts.sample_scene(rng, row, extra=extra)
    assert prompts.satisfies(row, world.detections_of(scene))


@given(seeds, st.sampled_from(questions.KINDS), st.sampled_from("ABCD"))
def test_a_question_has_four_options_and_one_right(seed: int, kind: str, letter: str) -> None:
    scene, question = questions.random_question(random.Random(seed), kind)
    row = question_rows.mmmu_row(question, scene, letter, 1).row
    options = ast.literal_eval(row["options"])
    assert len(set(options)) == 4
    assert options["ABCD".index(row["answer"])] == question.answer


@given(seeds, st.sampled_from(edits.EDIT_TYPES))
def test_applying_an_edit_satisfies_it_and_doing_nothing_does_not(seed: int, kind: str) -> None:
    scene, edit = edits.random_edit(random.Random(seed), kind)
    result = edits.apply_edit(scene, edit)
    assert edits.satisfied(scene, result, edit)
    assert not edits.satisfied(scene, scene, edit)
    assert edits.grade(scene, result, edit) == (1.0, 1.0, 1.0)


@settings(max_examples=50)
@given(seeds, st.sampled_from(edits.EDIT_TYPES), st.integers(0, 15))
def test_touching_another_cell_spoils_an_edit(seed: int, kind: str, cell: int) -> None:
    scene, edit = edits.random_edit(random.Random(seed), kind)
    result = edits.apply_edit(scene, edit)
    row, col = divmod(cell, world.GRID)
    about = edit.new or edit.old
    assert about is not None
    if (row, col) == about.cell or (kind == "add" and scene.at(row, col) is None):
        return
    shown = result.at(row, col)
    state = 1 if shown is None else world.state_of(shown.shape, shown.color) % 24 + 1
    spoiled = result.with_thing(world.thing_of(state, row, col))
    assert not edits.satisfied(scene, spoiled, edit)
    assert edits.grade(scene, spoiled, edit).preserved == 14 / 15
