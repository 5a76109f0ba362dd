"""A benchmark's own rule as a reward: what it pays, and which rules are refused."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from pairuni_eval.benchmark import Benchmark
from pairuni_eval.catalog import all_cards, load_benchmark
from pairuni_eval.errors import UserError
from pairuni_eval.models.base import Reply
from pairuni_eval.prompts import LETTER_SUFFIX, mmmu_prompt
from pairuni_eval.records import Status
from pairuni_eval.tiny import world
from pairuni_train.config import find_recipe
from pairuni_train.extras import extras_of
from pairuni_train.grpo.config import RewardSpec
from pairuni_train.grpo.rewards import Judged, WeightedSum, load_rewards
from pairuni_train.pair_data.record import Generation, Understanding

QUESTION = mmmu_prompt("What color is it?", ("red", "green", "blue", "yellow"))


def answer(text: str, gold: str, *, question: str = QUESTION, form: str = "mmmu") -> Judged:
    half = Understanding(
        id="q",
        source="s",
        licence="l",
        image=b"",
        question=question,
        answer=gold,
        facts={"form": form},
    )
    return Judged(half, Reply(text=text))


def picture(image: Image.Image | None, row: dict[str, Any] | None) -> Judged:
    facts = {} if row is None else {"row": row}
    half = Generation(id="p", source="s", licence="l", prompt="two", facts=facts)
    return Judged(half, Reply(image=image))


def reward(name: str, **options: Any) -> WeightedSum:
    return load_rewards([RewardSpec(name=name, options=options)])


def paid(name: str, *judged: Judged, **options: Any) -> list[float]:
    return reward(name, **options)(judged)["total"]


@pytest.mark.parametrize(
    ("said", "value"),
    [
        ("B", 1.0),
        ("(B)", 1.0),
        ("The answer is B.", 1.0),
        ("The answer is C.", 0.0),
        ("It is green, I am sure of it.", 1.0),  # the option's text, as MMMU's rule reads it
        ("", 0.0),
        ("I cannot tell.", 0.0),
    ],
)
def test_mmmus_rule_without_a_guess(said: str, value: float) -> None:
    assert paid("scorer:mmmu@no-guess", answer(said, "B")) == [value]


@pytest.mark.parametrize(
    ("said", "value"),
    [
        ("<think>red? no</think><answer>B</answer>", 1.0),
        ("<think>x</think><answer>The answer is B</answer>", 1.0),
        ("<think>B</think><answer>A</answer>", 0.0),
        ("B", 0.0),  # right, but without the tags that were asked for
        ("<answer>B", 0.0),
        ("<think>B", 0.0),
    ],
)
def test_answer_tags_can_be_asked_for(said: str, value: float) -> None:
    assert paid("scorer:mmmu@reasoning", answer(said, "B"), tagged=True) == [value]


def test_a_reward_of_a_form_leaves_other_questions_alone() -> None:
    rewards = load_rewards(find_recipe("tiny").und.rewards)
    found = rewards([answer("B", "B"), answer("Yes", "yes", question="Is it red?", form="pope")])
    assert found["total"] == [1.0, 1.0]
    by_name = {name: values for name, values in found.items() if name != "total"}
    judged = {name: [not math.isnan(v) for v in values] for name, values in by_name.items()}
    assert judged["scorer:tiny-mmmu@no-guess"] == [True, False]
    assert judged["scorer:tiny-pope@lmms-eval"] == [False, True]
    assert judged["scorer:tiny-mme@official"] == [False, False]


def test_what_the_rule_cannot_grade_is_declined_and_not_zero() -> None:
    assert math.isnan(paid("scorer:mmmu@no-guess", answer("B", ""))[0])
    assert math.isnan(paid("scorer:mmmu@no-guess", answer("B", "B", question="Which?"))[0])
    assert math.isnan(paid("scorer:tiny-mme@official", answer("yes", "three"))[0])
    assert math.isnan(paid("scorer:tiny-geneval", picture(None, ROW))[0])
    assert math.isnan(paid("scorer:tiny-geneval", picture(Image.new("RGB", (32, 32)), None))[0])
    assert math.isnan(paid("scorer:tiny-geneval", answer("B", "B"))[0])


ROW = {
    "tag": "two_object",
    "include": [{"class": "circle", "count": 1}, {"class": "square", "count": 1}],
    "prompt": "a photo of a circle and a square",
}


@pytest.mark.parametrize(
    ("lines", "gold", "options", "letter"),
    [
        ("(A) cat\n(B) dog", "B", ["cat", "dog"], "B"),
        ("(a) cat\n(b) dog", "b", ["cat", "dog"], "B"),
        ("A. cat\nB. dog", "B. dog", ["cat", "dog"], "B"),
        ("  A) cat\n  B) dog", "(A)", ["cat", "dog"], "A"),
        ("(A) cat\n(B) dog", "Dog", ["cat", "dog"], "B"),
        ("(A) first line\nsecond line\n(B) dog", "A", ["first line\nsecond line", "dog"], "A"),
        ("A. red\nB. blue\n\n(A) warm\n(B) cool", "B", ["warm", "cool"], "B"),
        ("B. Obama said this.\n(A) cat\n(B) dog", "A", ["cat", "dog"], "A"),
        ("(A) cat\n(B) dog\n(C)", "B", ["cat", "dog", ""], "B"),
    ],
)
def test_options_are_read_back_from_the_text(
    lines: str, gold: str, options: list[str], letter: str
) -> None:
    asked = f"Which is it?\n{lines}\n\n{LETTER_SUFFIX}"
    reference = load_benchmark("mmmu").reward_reference(asked, gold, {})
    assert reference == {"type": "multiple-choice", "answer": letter, "options": options}


def test_what_lists_no_options_is_open_or_declined() -> None:
    mmmu = load_benchmark("mmmu")
    assert mmmu.reward_reference("How many?", "3", {}) == {
        "type": "open",
        "answer": "3",
        "options": [],
    }
    for gold in ("b", "B", ""):
        assert mmmu.reward_reference("Which letter?", gold, {}) is None
    assert mmmu.reward_reference("Which?\n(A) cat\n(B) dog", "hen", {}) is None


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"tagged": "false"}, "`tagged` of the reward 'scorer' is 'false', not true or false"),
        ({"data": 5}, "`data` of the reward 'scorer' is 5, not a text"),
        ({"data": "/nowhere/at/all"}, "there is no folder /nowhere/at/all"),
        ({"of": "pope@official"}, "says twice of what it is"),
    ],
)
def test_options_of_another_kind_are_refused(options: dict[str, Any], told: str) -> None:
    with pytest.raises(UserError) as refused:
        reward("scorer:mmmu@no-guess", **options)
    assert told in refused.value.message


def test_pictures_need_no_answer_tags() -> None:
    square = world.render(world.Scene((world.Thing("square", "red", 0, 0),)))
    row = {"tag": "single_object", "include": [{"class": "square", "count": 1}], "prompt": "a"}
    assert paid("scorer:tiny-geneval", picture(square, row), tagged=True) == [1.0]


def test_genevals_verdict_is_paid() -> None:
    circle, square = world.Thing("circle", "red", 0, 0), world.Thing("square", "blue", 1, 1)
    both = world.render(world.Scene((circle, square)))
    one = world.render(world.Scene((circle,)))
    assert paid("scorer:tiny-geneval", picture(both, ROW), picture(one, ROW)) == [1.0, 0.0]


NOTHING = "an answer that says nothing of the question may be right"


@pytest.mark.parametrize(
    ("name", "told", "hint"),
    [
        ("scorer", "does not say which benchmark's", "pairuni-eval list benchmarks"),
        ("scorer:mmu", "Did you mean 'mm", "pairuni-eval list benchmarks"),
        ("scorer:mmmu@no-gues", "Did you mean 'no-guess'", "pairuni-eval list benchmarks"),
        (
            "scorer:mmmu@official",
            NOTHING,
            "@no-guess",
        ),
        (
            "scorer:pope",
            NOTHING,
            "scorer:pope@lmms-eval",
        ),
        (
            "scorer:pope@reasoning",
            NOTHING,
            "@vlmevalkit",
        ),
        ("scorer:wise", "cannot be a reward: it asks a judge", ""),
    ],
)
def test_what_cannot_be_a_reward_is_refused_with_what_can(name: str, told: str, hint: str) -> None:
    with pytest.raises(UserError) as refused:
        reward(name)
    assert told in refused.value.message
    assert hint in (refused.value.hint or "")


def test_a_detector_that_is_not_there_stops_training(tmp_path: Path) -> None:
    rewards = reward("scorer:geneval", data=str(tmp_path))
    with pytest.raises(UserError, match="'scorer:geneval' failed: GenEval cannot grade"):
        rewards([picture(Image.new("RGB", (8, 8)), ROW)])


def test_the_extra_is_that_of_the_benchmark() -> None:
    recipe = find_recipe("tiny", {"gen.rewards": [{"name": "scorer:geneval"}]})
    assert extras_of(recipe) == ("train", "geneval")


def _rewarding() -> list[Benchmark]:
    found = [load_benchmark(card.name) for card in all_cards()]
    return [b for b in found if type(b).reward_reference is not Benchmark.reward_reference]


GOLDS = {"choice": ("A", "B", "C", "D"), "yes-no": ("yes", "no")}


@pytest.mark.parametrize("benchmark", _rewarding(), ids=lambda benchmark: benchmark.card.name)
def test_cards_say_rightly_where_an_empty_answer_may_be_right(benchmark: Benchmark) -> None:
    """Graded under every protocol with every gold answer; geneval's pictures are never empty."""
    questions = [(QUESTION, gold, "") for gold in GOLDS["choice"]]
    questions += [("Is it?", gold, "") for gold in GOLDS["yes-no"]]
    questions += [("What is it?", "red", "A")]  # a letter where no option was given
    for protocol, spec in benchmark.card.protocols.items():
        right = []
        for question, gold, said in questions:
            reference = benchmark.reward_reference(question, gold, {})
            if reference is None:
                continue
            for key in "abcdefghijkl":  # an option is drawn by the sample
                sample = benchmark.item(key=key, parts=(question,), reference=reference).sample
                right.append(_graded(benchmark, protocol, sample, said))
        assert any(right) == spec.counts_empty, f"{benchmark.card.name}@{protocol}"


def _graded(benchmark: Benchmark, protocol: str, sample: Any, said: str) -> bool:
    from pairuni_eval.benchmark import Answer
    from pairuni_eval.records import Output, TextPart

    output = Output(id="o", sample=sample.uid, draw=0, seed=0, decoding="", parts=(TextPart(said),))
    (marks,) = benchmark.score_under(
        [Answer(sample, output, lambda _: Image.new("RGB", (1, 1)))], protocol=protocol, judge=None
    )
    return any(m.metric == "correct" and m.status is Status.SCORED and m.value for m in marks)
