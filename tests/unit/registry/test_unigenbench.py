"""UniGenBench++ from files in upstream's form, with judges that misbehave."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pairuni_registry.unigenbench.judge_prompts import CHINESE, ENGLISH, ENGLISH_NAMES, Language
from PIL import Image
from support.fake_judge import WrittenJudge, drawn, marked, ready

from pairuni_eval.catalog import find_card
from pairuni_eval.errors import UserError
from pairuni_eval.records import Status, TextPart
from pairuni_eval.stats.aggregate import GradedRows, make_aggregate

LISTS = {
    "unigenbench": ("en", ENGLISH),
    "unigenbench-long": ("en_long", ENGLISH),
    "unigenbench-zh": ("zh", CHINESE),
    "unigenbench-zh-long": ("zh_long", CHINESE),
}
HAND = "Action - Hand (Character/Anthropomorphic)"
PROMPTS = [
    ("3", 'Two foxes, "drawn" in ink', [("Style", "ink"), ("Attribute - Quantity", "two foxes")]),
    ("7", "A waving clown\nwho jumps", [(HAND, "waving"), ("Action - State", "jumps")]),
    ("8", "A paper moon", [("Style", "paper")]),
]


def facts(language: Language, points: list[tuple[str, str]]) -> str:
    names = {ours: name for name, ours in ENGLISH_NAMES.items()}
    shown = [names[name] if language is CHINESE else name for name, _ in points]
    told = {language.points: shown, language.descriptions: [one for _, one in points]}
    return json.dumps({"Subjects": "Animal", **told}, ensure_ascii=False)


def write(folder: Path, name: str = "unigenbench", rows: Any = None) -> Path:
    ending, language = LISTS[name]
    made = rows or [(key, text, facts(language, points)) for key, text, points in PROMPTS]
    path = folder / "data" / f"test_prompts_{ending}.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["index", language.prompt, language.facts])
        writer.writerows(made)
    return folder


def verdict(*scores: object) -> str:
    analysis = json.dumps(["seen"] * len(scores))
    return f"<analysis>{analysis}</analysis><score>{list(scores)}</score>"


@pytest.fixture
def picture() -> Image.Image:
    return Image.new("RGB", (8, 8), "green")


@pytest.mark.parametrize("name", LISTS)
def test_rows_become_prompts_with_their_points(name: str, tmp_path: Path) -> None:
    benchmark, items = ready(name, write(tmp_path, name))
    assert [item.sample.key for item in items] == ["3", "7", "8"]
    assert items[0].sample.parts == (TextPart('Two foxes, "drawn" in ink'),)
    assert items[0].sample.tags == {
        "primary": "Style, Attribute",
        "primary_listed": "Style, Attribute",
        "point": "Style, Attribute - Quantity",
        "point_listed": "Style, Attribute - Quantity",
    }
    assert items[1].sample.tags["primary"] == "Action"
    assert items[1].sample.tags["primary_listed"] == "Action, Action"
    assert benchmark.card.draws == 4
    names = list(items[1].sample.reference["points"])
    assert names == (
        ["动作-人物/拟人手部动作", "动作-状态"] if "zh" in name else [HAND, "Action - State"]
    )


def test_the_judge_is_asked_in_the_lists_language(tmp_path: Path, picture: Any) -> None:
    for name, said in (
        ("unigenbench", "Checkpoints Description:"),
        ("unigenbench-zh", "考点描述说明:"),
    ):
        benchmark, items = ready(name, write(tmp_path, name))
        judge = WrittenJudge(lambda _: verdict(1, 0))
        marked(benchmark, [drawn(items[1], picture)], judge, "official")
        ((question,),) = judge.batches
        point = items[1].sample.reference["points"][0]
        assert f"{said}「\n{point}: waving\n" in question.prompt
        assert "A waving clown\nwho jumps" in question.prompt
        assert [image.size for image in question.images] == [(8, 8)]
        assert question.system == ""


def test_a_lost_comma_between_points_is_put_in(tmp_path: Path) -> None:
    whole = facts(ENGLISH, PROMPTS[0][2])
    broken = whole.replace('"Style", ', '"Style"\n ')
    with pytest.raises(ValueError, match="delimiter"):
        json.loads(broken)
    _, items = ready("unigenbench", write(tmp_path, rows=[("3", "x", broken)]))
    assert items[0].sample.reference["points"] == ["Style", "Attribute - Quantity"]


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (("x", "p", facts(ENGLISH, PROMPTS[0][2])), "index is 'x', not a whole number"),
        (("1", "p", "{"), "sub_dims_en: not a JSON object"),
        (("1", "p", "[]"), "sub_dims_en: not a JSON object"),
        (("1", "p", '{"Testpoints": "Style"}'), "'Testpoints' must be a list of texts"),
        (("1", "p", facts(ENGLISH, [])), "0 test points with 0 descriptions"),
        (("1", "p", facts(ENGLISH, [("Mood", "sad")])), "no test point is called 'Mood'"),
        (("1", "p", facts(ENGLISH, [("Style", "s")] * 16)), "there must be 1 to 15"),
    ],
)
def test_rows_of_another_form_are_named(tmp_path: Path, row: Any, said: str) -> None:
    with pytest.raises(UserError, match=re.escape(said)) as caught:
        ready("unigenbench", write(tmp_path, rows=[row]))
    assert "test_prompts_en.csv, line 2" in caught.value.message


def test_an_index_must_be_there_once_and_complete_files_official(tmp_path: Path) -> None:
    points = facts(ENGLISH, PROMPTS[0][2])
    with pytest.raises(UserError, match="index 1 occurs twice"):
        ready("unigenbench", write(tmp_path, rows=[("1", "a", points), ("1", "b", points)]))
    with pytest.raises(UserError, match="another version of the file"):
        ready("unigenbench", write(tmp_path, rows=[(str(i), "a", points) for i in range(600)]))


def test_unreadable_replies_are_asked_for_eleven_times(tmp_path: Path, picture: Any) -> None:
    benchmark, items = ready("unigenbench", write(tmp_path))
    replies = {"3": verdict(1, 0), "7": verdict(1), "8": verdict(1).replace('"seen"', "'it's'")}
    judge = WrittenJudge(lambda question: replies[question.facts["key"]])
    answers = [drawn(item, picture) for item in items]
    marks = marked(benchmark, answers, judge, "official")
    assert [len(batch) for batch in judge.batches] == [3] + [2] * 10
    assert [row["share"].value for row in marks] == [0.5, None, None]
    assert marks[1]["verdicts"].status is Status.JUDGE_FAILED
    judge = WrittenJudge(lambda question: replies[question.facts["key"]])
    marks = marked(benchmark, answers, judge, "repaired")
    assert [len(batch) for batch in judge.batches] == [3] + [1] * 10
    assert [row["share"].value for row in marks] == [0.5, None, 1.0]


def test_an_overall_by_hand(tmp_path: Path, picture: Any) -> None:
    benchmark, items = ready("unigenbench", write(tmp_path))
    replies = {"3": verdict(1, 0), "7": verdict(1, 0), "8": verdict(0)}
    judge = WrittenJudge(lambda question: replies[question.facts["key"]])
    marks = marked(benchmark, [drawn(item, picture) for item in items], judge, "official")
    values = np.array([row["verdicts"].value for row in marks])
    assert values.tolist() == [10, 10, 0]
    tags = {
        name: np.array([item.sample.tags[name] for item in items], dtype=object)
        for name in ("primary", "primary_listed", "point", "point_listed")
    }
    rows = GradedRows(values, np.arange(3), np.zeros(3, dtype=np.int64), tags)
    rule = benchmark.card.protocols["official"]

    def number(name: str) -> float:
        aggregate = make_aggregate(rule.metric(name), rows)
        return float(aggregate.finish(aggregate.features(rows).sum(axis=0)))

    # Style 1 of 2, attribute 0 of 1, action 1 of 2.
    assert number("overall") == pytest.approx((0.5 + 0 + 0.5) / 3)
    assert number("style") == pytest.approx(0.5)
    assert number("action_state") == 0.0


@pytest.mark.parametrize("name", LISTS)
def test_cards_count_the_points_that_the_judge_knows(name: str) -> None:
    card = find_card(name)
    assert set(ENGLISH_NAMES) == set(CHINESE.explanations)
    assert set(ENGLISH_NAMES.values()) == set(ENGLISH.explanations)
    primary = {point.partition(" - ")[0] for point in ENGLISH.explanations}
    assert set(card.counted["primary"]) == primary
    assert set(card.counted["primary"]) | set(card.counted["point"]) == primary | set(
        ENGLISH.explanations
    ) - {"Style", "World Knowledge", "Text Generation", "Logical Reasoning"}
    assert card.judge is not None
    assert (card.judge.snapshot, card.judge.temperature) == ("gemini-2.5-pro", None)
