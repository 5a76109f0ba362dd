"""The scorers' rules by example, each example worked out by hand."""

from __future__ import annotations

import pytest

from pairuni_eval.judges.judge import JudgeReply, Question
from pairuni_eval.records import Status
from pairuni_eval.scorers import choice, objects, rubric, vlmevalkit_rules, yes_no
from pairuni_eval.tiny.judge import TinyJudge
from pairuni_eval.tiny.world import Scene, Thing, render

OPTIONS = {"A": "a cat", "B": "a dog", "C": "a horse"}


def read_choice(text: str) -> str | None:
    return choice.mmmu_letter(text, "ABC", OPTIONS)


@pytest.mark.parametrize(
    ("text", "letter"),
    [
        ("B", "B"),
        ("(B) not (A)", "A"),  # the last bracket wins
        ("A or (C)", "C"),  # brackets before bare letters
        ("I would say it is a dog", "B"),  # seven words: the option's text is looked for
        ("a dog", None),  # too short for that
        ("b", None),
        ("", None),
    ],
)
def test_mmmu_reads_a_choice(text: str, letter: str | None) -> None:
    assert read_choice(text) == letter


def test_mmmu_guess_depends_on_the_sample_alone() -> None:
    guesses = [choice.mmmu_guess("ABCD", uid) for uid in ("s1", "s2", "s3", "s4", "s5", "s6")]
    assert guesses == [choice.mmmu_guess("ABCD", f"s{n}") for n in range(1, 7)]
    assert len(set(guesses)) > 1


def test_mmmu_official_draws_and_says_so() -> None:
    reference = {"type": "multiple-choice", "answer": "A", "options": ["x", "y"]}
    correct, guessed = choice.mmmu_marks("", reference, "sample", "official")
    assert correct.status is Status.SCORED
    assert guessed.value == 1.0
    assert "drawn" in (correct.verdict or "")
    correct, guessed = choice.mmmu_marks("", reference, "sample", "no-guess")
    assert (correct.status, correct.value, guessed.value) == (Status.UNPARSED, None, 0.0)
    with pytest.raises(ValueError, match="protocol"):
        choice.mmmu_marks("A", reference, "sample", "officious")


@pytest.mark.parametrize(
    ("response", "gold", "right"),
    [
        ("The answer is 42.", "42", True),
        ("about 3.14159", "3.14", True),  # the number inside, rounded to two decimals
        ("1,000", "1000", True),
        ("red", "red", True),
        ("It is a dark red shape", "red", True),  # gold inside the candidate
        ("", "red", False),
    ],
)
def test_mmmu_open_answers(response: str, gold: str, right: bool) -> None:
    assert choice.open_correct(gold, choice.open_candidates(response)) is right


@pytest.mark.parametrize(
    ("text", "official", "lmms"),
    [
        ("B", "B", "B"),
        ("(b) dog", "B", None),
        ("Option B.", "B", "B"),
        ("The answer is (B)", None, "B"),
        ("Cannot tell", "C", "C"),
        ("**B**", None, "B"),
        ("", None, None),
    ],
)
def test_mmstar_letters(text: str, official: str | None, lmms: str | None) -> None:
    assert choice.mmstar_letter(text) == official
    assert choice.lmms_letter(text) == lmms


@pytest.mark.parametrize(
    ("text", "lmms", "vlm"),
    [
        ("B", "B", "B"),
        ("DNA and so on", "A", None),  # a letter at the end of a word counts for lmms-eval alone
        ("[B]", None, "B"),
        ("A.b", "A", "A"),  # before a full stop
        ("A.B", "B", None),  # two letters as words: VLMEvalKit reads neither
        ("(C) or (B) of these", "B", None),
        ("It is a dog", None, "B"),  # five words: lmms-eval looks for no text yet
        ("a dog or a cat", None, None),  # two texts
        ("a dog " * 8, "B", None),  # longer than twice all options: no text is looked for
        ("B stands for what I see in the image", "B", None),  # the letter is too far from the end
        ("The answer is **c**, not A or B", "B", "C"),
        ("Cannot determine the answer", None, "Z"),
        ("Z", None, "Z"),
        ("", None, None),
    ],
)
def test_other_toolkits_read_a_choice(text: str, lmms: str | None, vlm: str | None) -> None:
    assert choice.lmms_mmmu_letter(text, "ABC", OPTIONS) == lmms
    assert vlmevalkit_rules.vlmevalkit_choice(text, OPTIONS) == vlm


def test_vlmevalkit_makes_a_choice_of_an_open_question() -> None:
    assert vlmevalkit_rules.vlmevalkit_question("7", []) == ({"A": "7", "B": "Other Answers"}, "A")
    assert vlmevalkit_rules.vlmevalkit_question("C", [])[1] == "C"
    assert vlmevalkit_rules.vlmevalkit_question("B", ["x", "y"]) == ({"A": "x", "B": "y"}, "B")
    reference = {"type": "open", "answer": "7", "options": []}
    values = {
        said: choice.mmmu_marks(said, reference, "sample", "vlmevalkit")[0].value
        for said in ("x = 7", "7", "8", "Other Answers")
    }
    assert values == {"x = 7": 1.0, "7": 1.0, "8": None, "Other Answers": 0.0}


@pytest.mark.parametrize(
    ("cell", "items"),
    [
        ("['24/7', '3.429']", ["24/7", "3.429"]),
        (" [1, 'b'] ", ["1", "b"]),
        ("[]", []),
        ("24/7", None),
        ("['open", None),
        ("['a', f()]", None),
        ("[" * 10_000, None),
    ],
)
def test_a_cell_may_spell_a_list(cell: str, items: list[str] | None) -> None:
    assert choice.spelled_list(cell) == items


@pytest.mark.parametrize(
    ("question", "options"),
    [
        ("Where?\nOptions: A: On it., B: Under it", {"A": "On it.", "B": "Under it"}),
        ("Options: 3?\nChoices:\n(A) 1\n(B) 2, or C: 3", {"A": "1", "B": "2, or C: 3"}),
        ("Which? A: cat, B: dog", {}),
        ("Options: B: cat, A: dog", {}),
        ("Options: A: cat", {}),
    ],
)
def test_mmstar_questions_list_their_options(question: str, options: dict[str, str]) -> None:
    assert choice.inline_options(question) == options


def test_mmstar_under_vlmevalkit() -> None:
    options = {"A": "a cat", "B": "a dog"}
    values = {
        said: choice.mmstar_marks(said, "B", "vlmevalkit", options)[0].value
        for said in ("**B**", "I see a dog", "A", "neither")
    }
    assert values == {"**B**": 1.0, "I see a dog": 1.0, "A": 0.0, "neither": None}
    assert choice.mmstar_marks("I see a dog", "B", "vlmevalkit")[0].status is Status.UNPARSED
    with pytest.raises(ValueError, match="protocol"):
        choice.mmstar_marks("B", "B", "officious")


@pytest.mark.parametrize(
    ("text", "official", "lmms", "vlm"),
    [
        ("Yes", "yes", "yes", "yes"),
        ("no", "no", "no", "no"),
        ("No.", "no", None, "no"),
        ("NO", "yes", "no", "no"),
        ("", "yes", None, None),
        ("There is not a dog", "no", None, None),
        ("Yes, there is no cat", "no", None, None),
        ("3,000 yes!", "yes", None, "yes"),
    ],
)
def test_pope_readings(text: str, official: str, lmms: str | None, vlm: str | None) -> None:
    assert yes_no.pope_label(text) == official
    assert yes_no.lmms_pope_label(text) == lmms
    assert yes_no.vlmevalkit_label(text) == vlm


def test_pope_marks_of_an_unreadable_answer() -> None:
    by_protocol = {p: yes_no.pope_marks("?", "no", p) for p in ("lmms-eval", "vlmevalkit")}
    lmms, vlm = by_protocol["lmms-eval"], by_protocol["vlmevalkit"]
    assert [(m.metric, m.value) for m in lmms] == [("correct", 0.0), ("said_yes", None)]
    assert [(m.status, m.value) for m in vlm] == [(Status.UNPARSED, None)] * 2
    official = yes_no.pope_marks("", "no", "official")
    assert [(m.metric, m.value) for m in official] == [("correct", 0.0), ("said_yes", 1.0)]


@pytest.mark.parametrize(
    ("text", "official", "lmms", "vlm"),
    [
        ("Not really", "no", "no", None),
        ("**Yes**", None, None, None),
        (" Y. ", None, "yes", None),
        ("The answer is yes", None, None, "yes"),
        ("yes or no", "yes", "yes", None),
    ],
)
def test_mme_readings(text: str, official: str | None, lmms: str | None, vlm: str | None) -> None:
    readings = {"official": official, "lmms-eval": lmms, "vlmevalkit": vlm}
    for protocol, label in readings.items():
        (mark,) = yes_no.mme_marks(text, "Yes", protocol)
        assert mark.value == (None if label is None else float(label == "yes"))
        assert mark.status is (Status.UNPARSED if label is None else Status.SCORED)
    with pytest.raises(ValueError, match="protocol"):
        yes_no.mme_marks(text, "Yes", "officious")


DOG = {"class": "dog", "count": 1}


def sight(*rows: tuple[str, list[float], str]) -> objects.Observation:
    """Detections as (class, row, color)."""
    by_class: dict[str, list[tuple[list[float], str]]] = {}
    for name, row, color in rows:
        by_class.setdefault(name, []).append((row, color))
    return objects.Observation(
        {name: [row for row, _ in found] for name, found in by_class.items()},
        lambda name, found: [by_class[name][thing.place][1] for thing in found],
    )


def test_geneval_threshold_is_strict_in_float32() -> None:
    metadata = {"tag": "single_object", "include": [DOG]}
    assert not objects.judge(metadata, sight(("dog", [0, 0, 9, 9, 0.3], "red"))).correct
    assert objects.judge(metadata, sight(("dog", [0, 0, 9, 9, 0.31], "red"))).correct
    counting = metadata | {"tag": "counting"}
    assert not objects.judge(counting, sight(("dog", [0, 0, 9, 9, 0.9], "red"))).correct


def test_geneval_looks_at_the_surest_object_only() -> None:
    metadata = {"tag": "colors", "include": [DOG | {"color": "red"}]}
    seen = sight(("dog", [0, 0, 9, 9, 0.5], "red"), ("dog", [20, 0, 29, 9, 0.8], "blue"))
    verdict = objects.judge(metadata, seen)
    assert verdict == (False, "expected red dog>=1, found 0 red; and 1 blue")


def test_geneval_positions_and_missing_anchors() -> None:
    cat = {"class": "cat", "count": 1, "position": ["left of", 0]}
    metadata = {"tag": "position", "include": [DOG, cat]}
    dog, left = ("dog", [100, 0, 109, 9, 0.9], "red"), ("cat", [0, 0, 9, 9, 0.9], "red")
    assert objects.judge(metadata, sight(dog, left)).correct
    right = ("cat", [200, 0, 209, 9, 0.9], "red")
    assert objects.judge(metadata, sight(dog, right)).reason.endswith("found right of target")
    assert "no target for cat" in objects.judge(metadata, sight(left)).reason


def test_geneval_equal_scores_put_the_later_detection_first() -> None:
    rows = {"dog": [[0, 0, 9, 9, 0.8], [20, 0, 29, 9, 0.8], [40, 0, 49, 9, 0.9]]}
    assert [thing.place for thing in objects.keep(rows, tag="colors")["dog"]] == [2, 1, 0]


def test_geneval_without_a_detector_scores_nothing() -> None:
    (mark,) = objects.geneval_marks({"tag": "colors", "include": [DOG]}, None)
    assert (mark.value, mark.status, mark.verdict) == (None, Status.SKIPPED, "no detector")


def test_wise_marks() -> None:
    reply = JudgeReply("Consistency: 2\nRealism: 1\nAesthetic Quality: 0")
    values = {mark.metric: mark.value for mark in rubric.wise_marks(reply)}
    assert values == {
        "consistency": 2.0,
        "realism": 1.0,
        "aesthetic_quality": 0.0,
        "wiscore": pytest.approx(0.8),
    }
    for verdict, status in (
        (JudgeReply("**Consistency:** 2"), Status.JUDGE_FAILED),
        (JudgeReply("I cannot", Status.REFUSED), Status.REFUSED),
    ):
        marks = rubric.wise_marks(verdict)
        assert {(mark.value, mark.status) for mark in marks} == {(None, status)}
    assert sum(rubric.WISE_WEIGHTS.values()) == pytest.approx(1.0)
    assert [rubric.wise_category(n) for n in (0, 1, 401, 1001)] == [None, "CULTURE", "TIME", None]


def test_imgedit_marks() -> None:
    assert rubric.imgedit_marks(JudgeReply("A: 5\nB: 4/5\nC: 4"))[0].value == 4.5
    for text in ("5, 4, 3", "A: ²"):
        (mark,) = rubric.imgedit_marks(JudgeReply(text))
        assert (mark.value, mark.status) == (None, Status.JUDGE_FAILED)


RED_CIRCLE = Thing("circle", "red", 1, 1)


def test_tiny_judge_on_knowledge() -> None:
    picture = render(Scene((RED_CIRCLE,)))
    ask = TinyJudge().ask
    asked = [
        Question(
            "",
            (picture,),
            {"wanted": {"include": [{"class": "circle", "count": 1, "color": color}]}},
        )
        for color in ("red", "blue")
    ]
    full, half = (rubric.wise_scores(verdict.text) for verdict in ask(asked))
    assert full == {"consistency": 2.0, "realism": 2.0, "aesthetic_quality": 2.0}
    assert half["consistency"] == 1.0


def test_tiny_judge_on_edits() -> None:
    source = render(Scene((RED_CIRCLE,)))
    blue = {"shape": "circle", "color": "blue", "row": 1, "col": 1}
    edit = {
        "edit_type": "adjust",
        "prompt": "make the circle blue",
        "old": blue | {"color": "red"},
        "new": blue,
    }
    done = render(Scene((Thing(**blue),)))
    asked = [Question("", (source, result), {"edit": edit}) for result in (done, source)]
    right, nothing = (rubric.imgedit_score(verdict.text) for verdict in TinyJudge().ask(asked))
    assert (right, nothing) == (5.0, 1.0)


def test_tiny_judge_declines_what_it_does_not_know() -> None:
    (verdict,) = TinyJudge().ask([Question("Is this nice?", (), {})])
    assert verdict.status is Status.JUDGE_FAILED
