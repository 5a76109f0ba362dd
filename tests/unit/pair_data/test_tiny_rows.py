"""The tiny world's rows, its reader of questions, and its completer, truthful and lied to."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from functools import cache

import pytest

from pairuni_eval.tiny import prompts, questions, world
from pairuni_eval.tiny.world import Scene, Thing
from pairuni_train.pair_data import tiny_answers, tiny_rows
from pairuni_train.pair_data.complete import (
    NOBODY,
    Completer,
    CompletionResult,
    Declined,
    Draft,
    NewPrompt,
    NewQuestion,
    RowRef,
    Verification,
    complete_clusters,
    halves_of,
)
from pairuni_train.pair_data.embed import decode
from pairuni_train.pair_data.record import Half, Side, Understanding
from pairuni_train.pair_data.tiny_completer import TinyCompleter

# A red circle at the top left, a blue square two columns to its right, a red cross at the bottom.
SCENE = Scene(
    (
        Thing("circle", "red", 0, 0),
        Thing("square", "blue", 0, 2),
        Thing("cross", "red", 3, 0),
    )
)


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("How many circles are there?\n(A) 0\n(B) 1\n(C) 2\n(D) 3\n\nAnswer with the option's "
         "letter from the given choices directly.", "B"),
        ("<image 1> How many red shapes are there?\n(A) 2\n(B) 3\n", "A"),
        ("How many shapes are there?", "3"),
        ("How many circles and crosses are there together?", "2"),
        ("What color is the square?\nOptions: A: red, B: green, C: blue, D: yellow\nAnswer with "
         "the option's letter from the given choices directly.", "C"),
        ("What color is the shape with four equal sides?", "blue"),
        ("What shape is blue?", "square"),
        ("What shape is red?", None),  # two of them
        ("Where is the circle relative to the square?", "left"),
        ("In which row is the cross?", "fourth"),
        ("In which column is the square?", "third"),
        ("Which kind of shape is there the most?", None),  # one of each
        ("Which shape is in the image?\n(A) red square\n(B) blue square\n", "B"),
        ("Is there a triangle in the image? Please answer yes or no.", "no"),
        ("Is there a red cross in the image?\nAnswer the question using a single word or phrase.",
         "yes"),
        ("Is there a blue cross in the image?", "no"),
        ("Is there a shape without corners in the image? Please answer yes or no.", "yes"),
        ("Is the number of crosses in the image 1? Please answer yes or no.", "yes"),
        ("Is the cross below the circle? Please answer yes or no.", "yes"),
        ("Is the circle right of the square? Please answer yes or no.", "no"),
        ("Is the square red? Please answer yes or no.", "no"),
        ("Are there more circles than triangles in the image? Please answer yes or no.", "yes"),
        ("What is the capital of France?", None),
    ],
)  # fmt: skip
def test_questions_are_answered_from_their_words(question: str, answer: str | None) -> None:
    assert tiny_answers.true_answer(question, SCENE) == answer


def test_every_question_of_the_world_is_answered_as_its_maker_does() -> None:
    for half in tiny_rows.understanding_rows(120, 5):
        scene = world.read(decode(half.image))
        assert tiny_answers.true_answer(half.question, scene) == half.answer


def test_forms_letters_and_words_are_spread() -> None:
    rows = list(tiny_rows.understanding_rows(300, 0))
    forms = Counter(half.facts["form"] for half in rows)
    assert set(forms) == {"mmmu", "mmstar", "mme", "pope"}
    assert min(forms.values()) > 40
    answers = Counter(half.answer for half in rows)
    assert set(answers) == {"A", "B", "C", "D", "yes", "no"}
    assert max(answers[letter] for letter in "ABCD") < 2 * min(answers[letter] for letter in "ABCD")
    tags = Counter(half.facts["row"]["tag"] for half in tiny_rows.generation_rows(60, 0))
    assert tags == dict.fromkeys(prompts.TAGS, 10)


@pytest.mark.parametrize(
    ("prompt", "question", "answer", "carried"),
    [
        ("a photo of two circles", "How many circles are there?", "2", True),
        ("a photo of two circles", "How many circles are there?", "3", False),
        ("a photo of a circle", "How many circles are there?", "1", True),
        ("a photo of a circle", "What color is the circle?", "red", False),
        ("a photo of a red circle", "What color is the circle?", "red", True),
        ("a photo of a red circle", "In which row is the circle?", "first", False),
        ("a photo of a circle left of a square", "Is the circle left of the square?", "yes", True),
        ("a photo of a circle left of a square", "Where is the circle relative to the square?",
         "left", True),
        ("a photo of a circle left of a square", "Where is the circle relative to the square?",
         "above", False),
        ("a photo of a house", "How many circles are there?", "0", False),
    ],
)  # fmt: skip
def test_a_prompt_carries_what_its_words_say(
    prompt: str, question: str, answer: str, carried: bool
) -> None:
    assert tiny_answers.carries(prompt, question, answer) is carried


# The completer

SIZE = 80


@cache
def rows() -> dict[Side, list[Half]]:
    return {
        "understanding": list(tiny_rows.understanding_rows(SIZE, 7)),
        "generation": list(tiny_rows.generation_rows(SIZE, 7)),
    }


class Liar:
    """Writes something false for every third row, and of the others what the truth is."""

    writer, verifier, usage = "liar", "tiny-verifier/1", ""

    def __init__(self) -> None:
        self._truthful = TinyCompleter(seed=0)
        self._rows = self.lies = 0

    def write(self, halves: Sequence[Half]) -> list[Draft | Declined]:
        drafts = []
        for half, draft in zip(halves, self._truthful.write(halves), strict=True):
            self._rows += 1
            lie = _lie(half, draft) if self._rows % 3 == 0 else None
            self.lies += lie is not None
            drafts.append(lie or draft)
        return drafts

    def verify(self, halves: Sequence[Half], drafts: Sequence[Draft]) -> list[Verification]:
        return self._truthful.verify(halves, drafts)


def _lie(half: Half, draft: Draft | Declined) -> Draft | None:
    """A prompt that the image does not show, or a wrong answer of the right form."""
    prompts_rows = tiny_answers.rows_by_prompt()
    if isinstance(half, Understanding):
        shown = tiny_answers.prompts_shown_by(world.read(decode(half.image)))
        false = next(prompt for prompt in prompts_rows if prompt not in shown)
        return Draft(NewPrompt(false), {"row": prompts_rows[false]})
    if not isinstance(draft, Draft):
        return None
    assert isinstance(draft.new, NewQuestion)
    wrong = {"yes": "no", "no": "yes", "A": "B", "B": "C", "C": "D", "D": "A"}
    return Draft(NewQuestion(draft.new.question, wrong[draft.new.answer]), draft.facts)


def completed(completer: Completer, *, verify: bool) -> CompletionResult:
    """Every row a cluster of its own."""
    clusters = [[RowRef(side, number)] for side in rows() for number in range(SIZE)]
    return complete_clusters(
        clusters, lambda row: rows()[row.side][row.number], completer, verify=verify
    )


def is_true(one: CompletionResult, place: int) -> bool:
    """Whether both halves fit the image: what neither writer nor verifier is asked."""
    completion = one.completions[place]
    asked, drawn = halves_of(completion, rows()[completion.side][completion.row])
    scene = world.read(decode(asked.image))
    said = tiny_answers.true_answer(asked.question, scene) == asked.answer
    return said and prompts.satisfies(drawn.facts["row"], world.detections_of(scene))


def test_the_truthful_completer_is_never_rejected_by_the_verifier() -> None:
    found = completed(TinyCompleter(seed=0), verify=True)
    assert found.tally.accepted == found.tally.written == len(found.completions)
    assert all(reason.startswith("writer: ") for reason in found.tally.rejected)
    assert found.tally.accepted > 0.7 * 2 * SIZE
    assert all(is_true(found, place) for place in range(len(found.completions)))
    provenance = found.completions[0].provenance
    assert (provenance.writer, provenance.verifier) == ("tiny-writer/1", "tiny-verifier/1")


def test_verification_catches_every_lie() -> None:
    liar = Liar()
    found = completed(liar, verify=True)
    assert 30 <= liar.lies <= 2 * SIZE // 3
    assert all(is_true(found, place) for place in range(len(found.completions)))
    reasons = found.tally.rejected
    caught = {reason: n for reason, n in reasons.items() if reason.startswith("verifier: ")}
    assert sum(caught.values()) == liar.lies == found.tally.written - found.tally.accepted
    assert set(caught) == {
        "verifier: the prompt names what the image does not show",
        "verifier: the answer is wrong",
    }
    assert sum(reasons.values()) == len(found.rejects)


def test_without_verification_lies_stand_and_are_counted_as_unchecked() -> None:
    liar = Liar()
    found = completed(liar, verify=False)
    false = [p for p in range(len(found.completions)) if not is_true(found, p)]
    assert len(false) == liar.lies >= 30
    assert found.tally.unverified == found.tally.accepted == len(found.completions)
    assert {one.provenance.verifier for one in found.completions} == {NOBODY}
    assert {one.provenance.writer for one in found.completions} == {"liar"}


def test_other_rows_of_a_cluster_make_up_for_one_without_a_pair() -> None:
    # What stands in which row no prompt carries; the other questions are carried.
    placed = [
        number
        for number, half in enumerate(rows()["understanding"])
        if half.facts["kind"] in ("row", "column")
    ]
    good = [
        number
        for number, half in enumerate(rows()["understanding"])
        if half.facts["kind"] in ("color", "knowledge")
    ]
    assert len(placed) >= 2
    assert len(good) >= 3

    def run(clusters: list[list[int]], wanted: int) -> list[int]:
        found = complete_clusters(
            [[RowRef("understanding", number) for number in cluster] for cluster in clusters],
            lambda row: rows()[row.side][row.number],
            TinyCompleter(seed=0),
            verify=True,
            wanted=wanted,
        )
        return [completion.row for completion in found.completions]

    assert run([[placed[0], good[0]], [good[1], good[2]]], 2) == [good[0], good[1]]
    assert run([[placed[0]], [good[1], good[2]]], 2) == [good[1], good[2]]
    assert run([[placed[0]], [good[1]]], 2) == [good[1]]


def test_questions_of_every_kind_can_be_read() -> None:
    rng = random.Random(0)
    for kind in questions.KINDS:
        _, question = questions.random_question(rng, kind)
        assert tiny_answers.stem_of(question.text) == question.text
