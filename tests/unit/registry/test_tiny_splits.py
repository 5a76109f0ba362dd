"""The held-out suite of the tiny world and its smaller sister for choosing settings."""

from __future__ import annotations

import io
import random
from collections import Counter, defaultdict
from functools import cache
from itertools import chain

import pytest
from PIL import Image

from pairuni_eval.benchmark import Answer, Benchmark, MetricValue
from pairuni_eval.catalog import find_suite, load_benchmark
from pairuni_eval.data import Data
from pairuni_eval.records import ImagePart, Item, Output, Picture, Status, TextPart
from pairuni_eval.tiny import names, prompts, world
from pairuni_eval.tiny.name_prompts import name_row, name_scene, names_of
from pairuni_eval.tiny.split_rows import split_prompts
from pairuni_eval.tiny.splits import split_of_prompt, split_of_scene, unit_of_prompt

QUESTIONS = ("tiny-heldout-questions", "tiny-tuning-questions")
DRAWINGS = ("tiny-heldout-drawings", "tiny-tuning-drawings")
SPLITS = ("heldout", "tuning")


@cache
def samples_of(name: str) -> tuple[Benchmark, tuple[Item, ...]]:
    benchmark = load_benchmark(name)
    return benchmark, tuple(benchmark.samples(Data(benchmark.card, benchmark.folder, None)))


def scene_of(item: Item) -> world.Scene:
    return world.read(Image.open(io.BytesIO(item.pictures[0].data)))


@cache
def scenes_of(name: str) -> tuple[world.Scene, ...]:
    return tuple(map(scene_of, samples_of(name)[1]))


def mark(
    item: Item, benchmark: Benchmark, *, text: str = "", image: Image.Image | None = None
) -> MetricValue:
    shelf = {} if image is None else {Picture.from_image(image).id: image}
    parts = (TextPart(text),) if image is None else tuple(map(ImagePart, shelf))
    output = Output(id="o", sample=item.sample.uid, draw=0, seed=0, decoding="d", parts=parts)
    answer = Answer(item.sample, output, shelf.__getitem__)
    ((one,),) = benchmark.score_under([answer], protocol="exact", judge=None)
    return one


@pytest.mark.parametrize("name", [*QUESTIONS, *DRAWINGS])
def test_samples_are_complete_and_as_the_card_counts_them(name: str) -> None:
    benchmark, items = samples_of(name)
    card = benchmark.card
    assert card.tiny
    assert list(card.protocols) == ["exact"]
    assert len({item.sample.uid for item in items}) == len(items) == card.expected
    assert (
        len({item.sample.key for item in items})
        == len({i.sample.unit for i in items})
        == len(items)
    )
    assert Counter(item.sample.tags["skill"] for item in items) == card.counted["skill"]
    for item in items:
        assert (item.sample.tags["concept"] == "none") == (item.sample.tags["skill"] == "common")


def test_sizes_are_what_a_difference_of_three_points_needs() -> None:
    assert len(samples_of("tiny-heldout-questions")[1]) == 1200
    drawn, items = samples_of("tiny-heldout-drawings")
    assert (len(items), drawn.card.draws) == (148, 8)
    assert find_suite("tiny-heldout").benchmarks == (
        "tiny-heldout-questions",
        "tiny-heldout-drawings",
    )
    assert find_suite("tiny-tuning").benchmarks == ("tiny-tuning-questions", "tiny-tuning-drawings")


def test_a_uid_is_pinned() -> None:
    """A change here means that old runs no longer meet new ones: raise the card's version."""
    uids = [samples_of(name)[1][0].sample.uid for name in (*QUESTIONS, *DRAWINGS)]
    assert uids == [
        "4f10f42cf8a872336f38bf4807f418a5",
        "d018961a537362a95b92954d225255b8",
        "b3d4c50b51f513471732d334dc573040",
        "85a73f56d547c6b35e522637494cb6ef",
    ]


@pytest.mark.parametrize(("name", "split"), zip(QUESTIONS, SPLITS, strict=True))
def test_every_scene_is_of_the_split_and_comes_once(name: str, split: str) -> None:
    scenes = scenes_of(name)
    assert {split_of_scene(scene) for scene in scenes} == {split}
    assert len(set(scenes)) == len(scenes)
    assert all(map(world.held_out, scenes))


@pytest.mark.parametrize(("name", "split"), zip(DRAWINGS, SPLITS, strict=True))
def test_every_prompt_is_of_the_split(name: str, split: str) -> None:
    rows = [item.sample.reference for item in samples_of(name)[1]]
    assert {split_of_prompt(row) for row in rows} == {split}
    pairs = [frozenset(names_of(row)) for row in rows if names_of(row)]
    assert len(set(pairs)) == len(pairs)  # one order of each
    assert {row["tag"] for row in rows} - {"two_names"} <= set(prompts.TAGS)


def test_the_two_suites_share_no_unit() -> None:
    heldout, tuning = (set(scenes_of(name)) for name in QUESTIONS)
    assert not heldout & tuning
    first, second = (
        {unit_of_prompt(i.sample.reference) for i in samples_of(name)[1]} for name in DRAWINGS
    )
    assert not first & second


@pytest.mark.parametrize("name", QUESTIONS)
def test_yes_and_no_are_balanced_for_every_name_and_kind(name: str) -> None:
    said: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    for item in samples_of(name)[1]:
        tags = item.sample.tags
        if tags["label"] in ("yes", "no"):
            said[tags["kind"], tags["concept"]][tags["label"]] += 1
    assert {one for _, one in said} == {*names.NAMES, "none"}
    assert all(counts["yes"] == counts["no"] > 0 for counts in said.values())


def test_every_name_is_asked_equally_often_and_drawn() -> None:
    asked = Counter(item.sample.tags["concept"] for item in samples_of(QUESTIONS[0])[1])
    assert asked == dict.fromkeys(names.NAMES, 30) | {"none": 480}
    concepts = (item.sample.tags["concept"].split(",") for item in samples_of(DRAWINGS[0])[1])
    drawn = Counter(chain.from_iterable(concepts))
    assert set(drawn) == {*names.NAMES, "none"}
    assert min(drawn.values()) >= 2


@pytest.mark.parametrize("name", QUESTIONS)
def test_gold_answers_score_full_with_and_without_a_thought(name: str) -> None:
    benchmark, items = samples_of(name)
    for item in items[::7]:
        gold = benchmark.gold(item.sample)
        assert gold is not None
        assert mark(item, benchmark, text=gold).value == 1.0
        assert mark(item, benchmark, text=f"<think> red circle </think> {gold}").value == 1.0
        wrong = {"yes": "no", "no": "yes", "A": "B", "red": "blue"}.get(gold, "A")
        assert mark(item, benchmark, text=f"<think> {gold} </think> {wrong}").value == 0.0
        assert mark(item, benchmark, text=f"<think> {gold}").status is Status.UNPARSED
        assert mark(item, benchmark, text=" ").status is Status.UNPARSED


@pytest.mark.parametrize("name", DRAWINGS)
def test_gold_pictures_score_full_and_one_more_thing_spoils_them(name: str) -> None:
    rng = random.Random(0)
    benchmark, items = samples_of(name)
    for item in items[::3]:
        row = item.sample.reference
        asked = names_of(row)
        scene = name_scene(rng, asked) if asked else prompts.sample_scene(rng, row)
        assert mark(item, benchmark, image=world.render(scene)).value == 1.0
        more = scene.with_thing(world.Thing("cross", "red", *scene.free_cells()[0]))
        spoiled = mark(item, benchmark, image=world.render(more))
        assert (spoiled.value, "asked for" in (spoiled.verdict or "")) == (0.0, True)


def test_a_split_without_enough_prompts_says_so() -> None:
    with pytest.raises(ValueError, match="arger than population"):
        list(split_prompts(random.Random(0), "tuning", new=74, common=10))


# As rewards


def test_a_training_half_is_graded_as_the_benchmark_grades() -> None:
    questions, items = samples_of(QUESTIONS[0])
    assert questions.reward_reference("Is it?", "yes", {}) == {"answer": "yes"}
    assert questions.reward_reference("a photo of a bafem", None, {}) is None
    assert {"answer"} == set(items[0].sample.reference)
    drawings, _ = samples_of(DRAWINGS[0])
    grade = drawings.reward_reference
    assert grade("a photo of a bafem and a dolib", None, {}) == name_row("bafem", "dolib")
    assert grade("a photo of a red circle", None, {})["tag"] == "colors"
    assert grade("a photo of a house", None, {}) is None
