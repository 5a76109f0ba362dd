"""DPG-Bench from a file in upstream's form, with a judge and with a stand-in for ModelScope."""

from __future__ import annotations

import csv
import importlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from support.fake_judge import WrittenJudge, drawn, marked, ready

from pairuni_eval.benchmark import Benchmark
from pairuni_eval.errors import UserError
from pairuni_eval.records import Item, Status, TextPart
from pairuni_eval.stats.aggregate import GradedRows, make_aggregate

COLUMNS = [
    "item_id",
    "text",
    "keywords",
    "proposition_id",
    "dependency",
    "category_broad",
    "category_detailed",
    "tuple",
    "question_natural_language",
]
ROWS = [
    ("dog1", 1, "0", "entity - whole (dog)", "Is there a dog?"),
    ("dog1", 2, "1", "attribute - color (dog, red)", "Is the dog red?"),
    ("cats", 1, "0", "global - (oil painting)", "Is it an oil painting?"),
    ("cats", 2, "0", "other - count (cats, ==3)", "Are there three cats?"),
    ("cats", 3, "2", "entity - part (tails)", "Do the cats have tails?"),
]
# Answers from the wrong parent on: of the second item one question of three is valid.
SAID = {"Is there a dog?": "yes", "Is the dog red?": "yes", "Is it an oil painting?": "yes"}
SAID |= {"Are there three cats?": "no", "Do the cats have tails?": "yes"}


def write(folder: Path, rows: Any = ROWS) -> Path:
    path = folder / "dpg_bench" / "dpg_bench.csv"
    path.parent.mkdir(parents=True)
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(COLUMNS)
        for item, number, parents, about, question in rows:
            writer.writerow([item, f"text of {item}", "", number, parents, "", "", about, question])
    (path.parent / "prompts").mkdir()
    (path.parent / "prompts" / "cats.txt").write_text("three cats,\nin oil\n")
    return folder


@pytest.fixture
def picture() -> Image.Image:
    return Image.new("RGB", (8, 8), "green")


@pytest.fixture
def modelscope(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A package that answers through ModelScope's door; returns the folder of its model."""
    package = tmp_path / "packages" / "modelscope"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "pipelines.py").write_text(
        "import json, pathlib\n"
        "def pipeline(task, model, device):\n"
        "    assert task == 'visual-question-answering'\n"
        "    said = json.loads((pathlib.Path(model) / 'configuration.json').read_text())\n"
        "    return lambda asked: {'text': said[asked['question']]}\n"
    )
    monkeypatch.syspath_prepend(str(package.parent))
    importlib.invalidate_caches()
    yield tmp_path / "weights" / "mplug"
    for name in [one for one in sys.modules if one.partition(".")[0] == "modelscope"]:
        del sys.modules[name]


def answers(items: list[Item], picture: Image.Image) -> list[Any]:
    return [drawn(item, picture) for item in items]


def test_items_with_their_questions(tmp_path: Path) -> None:
    _, items = ready("dpg-bench", write(tmp_path))
    assert [item.sample.key for item in items] == ["dog1", "cats"]
    assert items[0].sample.parts == (TextPart("text of dog1"),)
    assert items[1].sample.parts == (TextPart("three cats,\nin oil"),)
    assert items[0].sample.tags == {
        "official_categories": "attribute",
        "official_categories_listed": "attribute",
        "categories": "entity, attribute",
        "categories_listed": "entity, attribute",
    }
    assert items[1].sample.tags["categories"] == "global, other, entity"


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (("../x", 1, "0", "entity - whole (x)", "?"), "item_id is '../x'"),
        (("x", "one", "0", "entity - whole (x)", "?"), "'one' in proposition_id or dependency"),
        (("x", 1, "1;2", "entity - whole (x)", "?"), "'1;2' in proposition_id or dependency"),
    ],
)
def test_rows_of_another_form_are_named(tmp_path: Path, row: Any, said: str) -> None:
    with pytest.raises(UserError, match=r"dpg_bench\.csv, line 2") as caught:
        ready("dpg-bench", write(tmp_path, [row]))
    assert said in caught.value.message


def test_a_complete_file_must_be_the_official_one(tmp_path: Path) -> None:
    rows = [(f"x{i}", 1, "0", "entity - whole (x)", "?") for i in range(1065)]
    with pytest.raises(UserError, match="another version of the file"):
        ready("dpg-bench", write(tmp_path, rows))


def test_the_judge_answers_every_question(tmp_path: Path, picture: Any) -> None:
    benchmark, items = ready("dpg-bench", write(tmp_path))
    told = {f"{asked} Answer with one word, yes or no.": said for asked, said in SAID.items()}
    judge = WrittenJudge(lambda question: told[question.prompt].title())
    marks = marked(benchmark, answers(items, picture), judge, "vlm")
    assert [len(batch) for batch in judge.batches] == [5]
    assert [row["score"].value for row in marks] == [1.0, pytest.approx(1 / 3)]
    assert marks[1]["score"].verdict == "no to question 2"
    assert [row["entity"].value for row in marks] == [1, 1]


def test_a_picture_with_an_unreadable_answer_has_no_score(tmp_path: Path, picture: Any) -> None:
    benchmark, items = ready("dpg-bench", write(tmp_path))
    judge = WrittenJudge(lambda question: "maybe" if "cats?" in question.prompt else "no")
    marks = marked(benchmark, answers(items, picture), judge, "vlm")
    assert [len(batch) for batch in judge.batches] == [5, 1, 1]
    assert marks[0]["score"].value == 0
    assert marks[1]["score"].status is Status.JUDGE_FAILED
    assert marks[1]["score"].verdict == "unreadable reply: maybe"


def test_mplugs_protocols_are_skipped_by_name_without_it(tmp_path: Path, picture: Any) -> None:
    benchmark, items = ready("dpg-bench", write(tmp_path))
    for protocol in ("official", "repaired"):
        marks = marked(benchmark, answers(items, picture), None, protocol)
        assert {mark.status for row in marks for mark in row.values()} == {Status.SKIPPED}
        assert "no mPLUG: The weights 'mplug'" in (marks[0]["score"].verdict or "")
    marks = marked(benchmark, answers(items, picture), None, "vlm")
    assert marks[0]["score"].verdict == "no judge"


def test_mplug_answers_through_modelscope(tmp_path: Path, picture: Any, modelscope: Path) -> None:
    modelscope.mkdir(parents=True)
    (modelscope / "configuration.json").write_text(json.dumps(SAID))
    benchmark, items = ready("dpg-bench", write(tmp_path))
    official = marked(benchmark, answers(items, picture), None, "official")
    # The first row is lost: the dog's color has no parent any more.
    assert official[0]["score"].status is Status.SKIPPED
    assert official[1]["score"].value == pytest.approx(1 / 3)
    assert (official[1]["score"].judge or "").startswith("mPLUG-large")
    repaired = marked(benchmark, answers(items, picture), None, "repaired")
    assert [row["score"].value for row in repaired] == [1.0, pytest.approx(1 / 3)]


def category(benchmark: Benchmark, protocol: str, name: str, rows: GradedRows) -> float:
    aggregate = make_aggregate(benchmark.card.protocols[protocol].metric(name), rows)
    return float(aggregate.finish(aggregate.features(rows).sum(axis=0)))


def test_categories_pool_questions_officially_of_the_last_picture(tmp_path: Path) -> None:
    benchmark, _ = ready("dpg-bench", write(tmp_path))
    cells = np.array(["entity, entity, other"] * 2 + ["entity"] * 2, dtype=object)
    tags = dict.fromkeys(("categories_listed", "official_categories_listed"), cells)
    draws = np.array([0, 3, 0, 3])
    rows = GradedRows(np.array([2.0, 1.0, 0.0, 0.0]), np.array([0, 0, 1, 1]), draws, tags)
    assert category(benchmark, "repaired", "entity", rows) == pytest.approx(3 / 6)
    assert category(benchmark, "official", "entity", rows) == pytest.approx(1 / 3)
    for name, number in (("repaired", 1.0), ("official", 1.0)):
        aggregate = make_aggregate(benchmark.card.protocols[name].metric("entity"), rows)
        ends = aggregate.extremes(rows)
        assert ends is not None
        assert category(benchmark, name, "entity", rows._replace(value=ends[1])) == number
