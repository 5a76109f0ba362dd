"""What training pays is what the evaluation counts, under the protocol that the reward names.

The score is made as a run makes it, from the benchmark's own samples and their stored references;
the reward from the text of the question alone, as training has it.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from pairuni_eval.benchmark import Answer, Benchmark
from pairuni_eval.catalog import load_benchmark
from pairuni_eval.data import Data
from pairuni_eval.models.base import Reply
from pairuni_eval.prompts import LETTERS, mmmu_prompt
from pairuni_eval.records import ImagePart, Output, Sample, TextPart
from pairuni_eval.tiny import world
from pairuni_train.config import Recipe, find_recipe, names_of
from pairuni_train.grpo.config import RewardSpec
from pairuni_train.grpo.rewards import Judged, WeightedSum, load_rewards
from pairuni_train.pair_data.record import Generation, Half, Understanding

RECIPES = (find_recipe("tiny"), find_recipe("tiny-names"))
UND = sorted({spec.name for recipe in RECIPES for spec in recipe.und.rewards})
GEN = sorted({spec.name for recipe in RECIPES for spec in recipe.gen.rewards})


def test_every_scorer_that_a_shipped_recipe_names_is_tested_here() -> None:
    recipes = [find_recipe(name) for name in names_of(Recipe)]
    specs = [spec for one in recipes for task in (one.und, one.gen) for spec in task.rewards]
    scorers = {spec.name for spec in specs if spec.name.startswith("scorer:")}
    assert scorers == {*UND, *GEN, "scorer:mmmu@reasoning"}


@cache
def rewards_of(name: str, tagged: bool = False) -> WeightedSum:
    return load_rewards([RewardSpec(name=name, options={"tagged": True} if tagged else {})])


@cache
def benchmark_of(reward: str) -> tuple[Benchmark, str]:
    name, _, protocol = reward.removeprefix("scorer:").partition("@")
    benchmark = load_benchmark(name)
    return benchmark, protocol or benchmark.card.default_protocol


@cache
def samples_of(reward: str) -> tuple[Sample, ...]:
    benchmark, _ = benchmark_of(reward)
    data = Data(benchmark.card, benchmark.folder, None)
    return tuple(item.sample for item in benchmark.samples(data))


def scored(reward: str, sample: Sample, part: TextPart | ImagePart, image: Any = None) -> float:
    """The score of an output as a run makes it, an answer that cannot be read as its card says."""
    benchmark, protocol = benchmark_of(reward)
    output = Output(id="o", sample=sample.uid, draw=0, seed=0, decoding="", parts=(part,))
    (marks,) = benchmark.score_under(
        [Answer(sample, output, lambda _: image)], protocol=protocol, judge=None
    )
    (mark,) = (mark for mark in marks if mark.metric == "correct")
    assert benchmark.card.protocols[protocol].unparsed == "wrong" or mark.value is not None
    return mark.value or 0.0


def paid(rewards: WeightedSum, half: Half, reply: Reply) -> float:
    return rewards([Judged(half, reply)])["total"][0]


def question(sample: Sample, gold: str) -> Understanding:
    return Understanding(
        id=sample.key, source="s", licence="l", image=b"", question=sample.text, answer=gold
    )


WORDS = ("yes", "no", "Yes.", "No,", "not", "red", "circle", "two", "3", "the answer is", "option")
DRESSES = ("{}", "({})", "**{}**", "{}.", "The answer is {}.", "\\boxed{{{}}}", "{} ", "<answer>{}")


@st.composite
def answers(draw: st.DrawFn, options: Sequence[str] = ()) -> str:
    """Letters, words of the world and options, dressed, in thoughts and answer tags, and noise."""
    atoms = st.sampled_from([*"ABCDabcd", *WORDS, *options, ""])
    pieces = draw(st.lists(st.tuples(atoms, st.sampled_from(DRESSES)), max_size=3))
    text = draw(st.sampled_from((" ", "\n", ", "))).join(dress.format(a) for a, dress in pieces)
    text = draw(st.one_of(st.just(text), st.text(max_size=12)))
    return draw(st.sampled_from(("{}", "<think>A no</think>{}", "<answer>{}</answer>"))).replace(
        "{}", text
    )


@pytest.mark.parametrize("name", UND)
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_answers_earn_what_they_score(name: str, data: st.DataObject) -> None:
    benchmark, _ = benchmark_of(name)
    sample = data.draw(st.sampled_from(samples_of(name)), label="sample")
    options = sample.reference.get("options") or ()
    said = data.draw(answers(options), label="answer")
    gold = benchmark.gold(sample)
    assert gold is not None
    earned = paid(rewards_of(name), question(sample, gold), Reply(text=said))
    assert earned == scored(name, sample, TextPart(said))


@pytest.mark.parametrize("tagged", [False, True])
@settings(max_examples=80, deadline=None)
@given(data=st.data())
def test_answers_to_questions_in_mmmus_form_earn_what_they_score(
    tagged: bool, data: st.DataObject
) -> None:
    """Options and gold answers of any kind, as they stand in the dataset's rows."""
    name = "scorer:mmmu@reasoning"
    words = st.text("abc XY1.,()", min_size=1, max_size=12).map(str.strip).filter(bool)
    options = data.draw(st.lists(words, min_size=2, max_size=6, unique=True), label="options")
    gold = data.draw(st.sampled_from(LETTERS[: len(options)]), label="gold")
    reference = {"type": "multiple-choice", "answer": gold, "options": options}
    text = mmmu_prompt("Which one is it?", options)
    sample = benchmark_of(name)[0].item(key="q", parts=(text,), reference=reference).sample
    said = data.draw(answers(options), label="answer")
    earned = paid(rewards_of(name, tagged), question(sample, gold), Reply(text=said))
    score = scored(name, sample, TextPart(said))
    assert earned in ((0.0, score) if tagged else (score,))
    if tagged and said.startswith("<answer>") and said.endswith("</answer>"):
        assert earned == score


@pytest.mark.parametrize("name", GEN)
@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32), noise=st.sampled_from((0, 0, 8, 60)), extra=st.integers(0, 3))
def test_pictures_earn_what_they_score(name: str, seed: int, noise: int, extra: int) -> None:
    """Scenes at random and such as a prompt asks for, clean and spoiled by noise."""
    from pairuni_eval.tiny import name_prompts, prompts

    rng = random.Random(seed)
    sample = rng.choice(samples_of(name))
    row = dict(sample.reference)
    named = name_prompts.names_of(row)
    if named:
        drawn = name_prompts.name_scene(rng, named, extra=extra)
    else:
        drawn = prompts.sample_scene(rng, row, extra=extra)
    scene = rng.choice((drawn, world.random_scene(rng)))
    image = _spoiled(world.render(scene), noise, seed)
    half = Generation(
        id=sample.key, source="s", licence="l", prompt=row["prompt"], facts={"row": row}
    )
    earned = paid(rewards_of(name), half, Reply(image=image))
    assert earned == scored(name, sample, ImagePart("picture"), image)


def _spoiled(image: Image.Image, noise: int, seed: int) -> Image.Image:
    rng = np.random.default_rng(seed)
    pixels = np.asarray(image).astype(int) + rng.integers(-noise, noise + 1, (32, 32, 3))
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
