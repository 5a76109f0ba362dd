"""Lessons about made-up names: how many, what they say, and how a base that has them is made."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from pairuni_eval.scorers.answer_form import final_answer
from pairuni_eval.tiny import janus, names, splits, world
from pairuni_eval.tiny.exact_drawing import exact_flaw
from pairuni_eval.tiny.name_prompts import name_rows
from pairuni_eval.tiny.names import NAMES
from pairuni_train.pair_data.tiny_answers import true_answer
from pairuni_train.tiny_pretraining import NameLessons, PretrainConfig, early, pretrain
from pairuni_train.tiny_pretraining.batches import ExampleEncoder, step_examples
from pairuni_train.tiny_pretraining.curriculum import Example, Turn
from pairuni_train.tiny_pretraining.thoughts import thought_about

SMALL = janus.TinySize(hidden=32, layers=1, heads=2, feed_forward=32, vision_hidden=32)


def lessons(steps: int, **settings: object) -> list[Example]:
    cfg = PretrainConfig(names=NameLessons(**settings))  # type: ignore[arg-type]
    rng = random.Random(0)
    found: list[Example] = []
    for _ in range(steps):
        for examples in step_examples(rng, cfg).values():
            found += examples
    return found


def named(text: str) -> list[str]:
    return [name for name in NAMES if name in janus.words_of(text)]


def about_names(examples: list[Example]) -> list[tuple[Example, Turn]]:
    return [(one, turn) for one in examples for turn in one.turns if named(turn.text)]


def test_without_a_share_no_lesson_is_about_names() -> None:
    assert about_names(lessons(3)) == []


def test_talks_and_drawings_of_names_come_besides_the_ordinary_lessons() -> None:
    examples, plain = lessons(2, talks=3, drawings=5), lessons(2)
    assert len(examples) == len(plain) + 2 * (3 + 5)
    found = about_names(examples)
    assert len([one for one, _ in found if one.picture is not None]) == 2 * 3 * 8
    assert len([one for one, _ in found if one.picture is None]) == 2 * 5
    assert {turn.lesson for _, turn in found} == {"name_question", "name_alone", "two_names"}


def test_questions_about_names_are_true_with_their_thought_before_the_answer() -> None:
    found = about_names(lessons(6, talks=12))
    answers = Counter[str]()
    for one, turn in found:
        assert turn.answer is not None
        assert one.picture is not None
        assert not world.held_out(one.picture)
        assert turn.answer.startswith("<think>")
        said = final_answer(turn.answer)
        assert said == true_answer(turn.text, one.picture)
        thought = turn.answer.removeprefix("<think>").partition("</think>")[0]
        concept = named(turn.text)
        assert thought in {names.thought_of(name) for name in concept}
        answers[said or ""] += 1
    assert set(answers) >= {"yes", "no", "A", "B", "C", "D", "red", "circle"}
    assert 0.6 < answers["yes"] / answers["no"] < 1.9


@pytest.mark.parametrize(
    ("question", "answer", "thought"),
    [
        ("Is there a green cross in the image?", "no", "green cross"),
        ("Is there a circle in the image? Please answer yes or no.", "yes", None),
        ("What color is the circle?\nAnswer the question using a single word or phrase.", "red",
         "red circle"),
        ("<image 1> What shape is blue?\n(A) circle\n(B) square\n(C) triangle\n(D) cross\n", "B",
         "blue square"),
        ("What color is the cross?", "red", None),  # two of them
        ("Is the square red? Please answer yes or no.", "no", "blue square"),
        ("Which shape is in the image?\nOptions: A: red circle, B: blue cross, C: green square, D: "
         "red cross", "A", "red circle"),
        ("How many circles are there?", "1", None),
        ("In which row is the circle?", "first", None),
    ],
)  # fmt: skip
def test_a_thought_is_about_the_one_thing_that_is_asked_for(
    question: str, answer: str, thought: str | None
) -> None:
    scene = world.Scene(
        (
            world.Thing("circle", "red", 0, 0),
            world.Thing("square", "blue", 0, 2),
            world.Thing("cross", "red", 3, 0),
            world.Thing("cross", "green", 3, 3),
        )
    )
    assert thought_about(question, answer, scene) == thought


def test_common_questions_may_be_answered_aloud_and_stay_true() -> None:
    talks = [one for one in lessons(3, aloud=1.0) if len(one.turns) > 1]
    plain = [one for one in lessons(3, aloud=0.0) if len(one.turns) > 1]
    assert not any("<think>" in (turn.answer or "") for one in plain for turn in one.turns)
    aloud = [
        (one, turn)
        for one in talks
        for turn in one.turns
        if (turn.answer or "").startswith("<think>")
    ]
    assert 0.15 < len(aloud) / sum(len(one.turns) for one in talks) < 0.5
    for one, turn in aloud:
        assert one.picture is not None
        assert final_answer(turn.answer or "") == true_answer(turn.text, one.picture)


def test_without_the_naming_step_the_answer_stands_alone() -> None:
    for _, turn in about_names(lessons(2, talks=4, thoughts=False)):
        assert turn.answer is not None
        assert "<think>" not in turn.answer
        assert final_answer(turn.answer) == turn.answer


def test_names_are_drawn_exactly_and_never_in_held_out_pairs() -> None:
    drawn = [(one, turn) for one, turn in about_names(lessons(2, drawings=80))]
    assert Counter(turn.lesson for _, turn in drawn).keys() == {"name_alone", "two_names"}
    for one, turn in drawn:
        row = name_rows()[turn.text]
        assert splits.split_of_prompt(row) == "training"
        assert one.drawing is not None
        assert exact_flaw(row, one.drawing) is None


def test_a_thought_is_a_target_of_known_tokens() -> None:
    cfg = PretrainConfig(names=NameLessons(talks=4), unknown_words=0.0, size=SMALL)
    processor = janus.build_processor(names.NAME_TOKENS)
    rng = random.Random(1)
    examples = [one for one in step_examples(rng, cfg)["short"] if named(one.turns[0].text)]
    batch = ExampleEncoder(processor, cfg).batch(examples, rng)
    tokenizer = processor.tokenizer
    assert tokenizer.unk_token_id not in batch.ids_BT
    think = tokenizer.convert_tokens_to_ids("<think>")
    places = batch.ids_BT == think
    assert int(places.sum()) == sum(len(one.turns) for one in examples)
    assert (batch.weight_BT[places] > 0).all()


def test_a_share_beyond_one_is_refused() -> None:
    with pytest.raises(ValueError, match="is no share"):
        NameLessons(aloud=1.5)


@pytest.mark.slow  # tokens and going on are each shown by default, here and of the tiny model
def test_a_base_knows_the_tokens_of_names_and_goes_on_to_the_bit(tmp_path: Path) -> None:
    cfg = PretrainConfig(
        steps=6, vq_steps=4, vq_batch=4, batch_scale=0.1, save_every=4, threads=1,
        size=SMALL, names=NameLessons(talks=10, drawings=10),
    )  # fmt: skip
    base = pretrain(cfg, tmp_path / "base")
    assert janus.step_of(tmp_path / "base") == 6
    assert base.processor.tokenizer.get_vocab() == janus.vocabulary(names.NAME_TOKENS)
    again = pretrain(cfg, tmp_path / "again", resume=tmp_path / "base" / "step-4")
    state = again.model.state_dict()
    for name, tensor in base.model.state_dict().items():
        assert torch.equal(tensor, state[name]), name
    (tmp_path / "base" / "step-4" / "optimizers" / "state.safetensors").unlink()
    other = pretrain(cfg, tmp_path / "other", resume=tmp_path / "base" / "step-4")
    assert not torch.equal(other.model.lm_head.weight, base.model.lm_head.weight)


def test_an_early_base_begins_with_the_weights_of_tiny(tmp_path: Path) -> None:
    cfg = replace(early(0), steps=1, matrix_lr=0.0, other_lr=0.0, batch_scale=0.05)
    base = pretrain(cfg, tmp_path)
    old = janus.load(janus.shipped()).model.state_dict()
    words = len(janus.vocabulary())
    for name, tensor in base.model.state_dict().items():
        kept = tensor[:words] if tensor.shape != old[name].shape else tensor
        assert torch.equal(kept, old[name]), name
    assert base.processor.tokenizer.get_vocab() == janus.vocabulary(names.NAME_TOKENS)
