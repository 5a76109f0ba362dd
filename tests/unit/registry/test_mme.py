"""MME from files in the published schema, against numbers worked out by hand."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pairuni_eval.benchmark import Answer, Benchmark
from pairuni_eval.catalog import load_benchmark
from pairuni_eval.data import Data
from pairuni_eval.errors import UserError
from pairuni_eval.records import Item, Output, Status, TextPart

SCHEMA = pa.schema(
    [
        ("question_id", pa.string()),
        ("image", pa.struct([("bytes", pa.binary()), ("path", pa.string())])),
        ("question", pa.string()),
        ("answer", pa.string()),
        ("category", pa.string()),
    ]
)

Row = dict[str, Any]


def question(task: str, number: int, asked: str) -> str:
    return f"Task {task}, image {number}, {asked}? Please answer yes or no."


def row(task: str, number: int, answer: str, image: bytes = b"picture", asked: str = "") -> Row:
    return {
        "question_id": f"{task}/{number:04}.png",
        "image": {"bytes": image, "path": None},
        "question": question(task, number, asked or answer),
        "answer": answer,
        "category": task,
    }


def write(folder: Path, rows: Sequence[Row]) -> Path:
    path = folder / "data" / "test-00000-of-00001.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(list(rows), schema=SCHEMA), path)
    return path


def read(folder: Path, rows: Sequence[Row]) -> tuple[Benchmark, list[Item]]:
    write(folder, rows)
    benchmark = load_benchmark("mme")
    return benchmark, list(benchmark.samples(Data(benchmark.card, benchmark.folder, folder)))


def pair(task: str, number: int) -> list[Row]:
    return [row(task, number, "Yes"), row(task, number, "No")]


def test_the_questions_of_an_image_stand_together_whatever_the_order(tmp_path: Path) -> None:
    one, two = pair("count", 1), pair("count", 2)
    shuffled = [one[0], two[0], two[1], one[1]]
    benchmark, items = read(tmp_path, shuffled)
    assert [item.sample.key for item in items] == [
        *("count/0002.png:yes", "count/0002.png:no", "count/0001.png:yes", "count/0001.png:no")
    ]
    assert [item.sample.unit for item in items] == ["count/0002.png"] * 2 + ["count/0001.png"] * 2
    assert items[0].sample.text == "Task count, image 2, Yes? Please answer yes or no."
    # Answers by position belong to the rows in the file's own order.
    rows = benchmark.rows(Data(benchmark.card, benchmark.folder, tmp_path))
    assert list(rows or ()) == [items[n].sample.key for n in (2, 0, 1, 3)]


def test_an_image_of_two_tasks_is_a_pair_in_each(tmp_path: Path) -> None:
    rows = [*pair("count", 1), *pair("color", 1)]
    for one in rows:
        one["question_id"] = "0001.png"
    _, items = read(tmp_path, rows)
    assert [item.sample.key for item in items] == [
        *("count/0001.png:yes", "count/0001.png:no", "color/0001.png:yes", "color/0001.png:no")
    ]


def test_areas_are_those_of_the_official_tool(tmp_path: Path) -> None:
    tasks = ("OCR", "landmark", "code_reasoning", "text_translation")
    _, items = read(tmp_path, [one for task in tasks for one in pair(task, 1)])
    areas = {item.sample.tags["category"]: item.sample.tags["area"] for item in items}
    assert list(areas.values()) == ["perception", "perception", "cognition", "cognition"]


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        ([row("count", 1, "Yes")], "the image has 1 question in the data, MME asks two"),
        ([*pair("count", 1), row("count", 1, "Yes", asked="again")], "the image has 3 questions"),
        ([row("count", 1, "Yes"), row("count", 1, "perhaps")], "neither yes nor no"),
    ],
)
def test_a_row_that_cannot_be_graded_says_why(tmp_path: Path, rows: list[Row], told: str) -> None:
    benchmark, items = read(tmp_path, rows)
    assert len({item.sample.key for item in items}) == len(items) == len(rows)
    parts = (TextPart("Yes"),)
    output = Output(id="o", sample="s", draw=0, seed=0, decoding="d", parts=parts)
    answer = Answer(items[-1].sample, output, lambda key: pytest.fail(f"asked for image {key}"))
    for protocol in benchmark.card.protocols:
        ((mark,),) = benchmark.score_under([answer], protocol=protocol, judge=None)
        assert (mark.value, mark.status) == (None, Status.MISSING_OUTPUT)
        assert told in (mark.verdict or "")
    assert benchmark.gold(items[-1].sample) is None


def test_a_category_of_another_benchmark_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="none of its tasks"):
        read(tmp_path, pair("random", 1))


def test_a_missing_column_is_named(tmp_path: Path) -> None:
    path = write(tmp_path, pair("count", 1))
    pq.write_table(pq.read_table(path).drop_columns(["category"]), path)
    benchmark = load_benchmark("mme")
    with pytest.raises(UserError, match="column 'category' is missing"):
        list(benchmark.samples(Data(benchmark.card, benchmark.folder, tmp_path)))


# End to end: task, image, gold answer, what the model says.

ASKED = [
    ("existence", 1, "Yes", "Yes"),
    ("existence", 1, "No", "no."),
    ("existence", 2, "Yes", "yes, it is"),
    ("existence", 2, "No", "Yes"),
    ("count", 3, "Yes", "The answer is yes"),
    ("count", 3, "No", "No"),
    ("code_reasoning", 4, "Yes", "y"),
    ("code_reasoning", 4, "No", " N."),
    ("color", 5, "Yes", "yes"),
]


def run(
    cli: Any, folder: Path, photographs: Mapping[str, bytes], script: str, *options: object
) -> dict[str, Any]:
    names = sorted(photographs)
    rows = [row(t, n, gold, photographs[names[n % len(names)]]) for t, n, gold, _ in ASKED]
    write(folder / "data" / "mme", rows)
    ran = cli(
        *("run", "--checkpoint", script, "--benchmarks", "mme", "--data", folder / "data"),
        *("--out", "run", "--report", "report", *options),
    )
    assert ran.code == 0, ran.err
    found: dict[str, Any] = json.loads((folder / "report" / "summary.json").read_text())
    return dict(found["benchmarks"]["mme"])


@pytest.fixture
def script(write_script: Any) -> str:
    answers = {question(task, n, gold): said for task, n, gold, said in ASKED}
    return str(write_script(answers))


def test_numbers_are_those_worked_out_by_hand(
    cli: Any, tmp_path: Path, photographs: dict[str, bytes], script: str
) -> None:
    part = run(cli, tmp_path, photographs, script)
    assert (part["planned"], part["expected"]) == (9, 2374)
    found = {
        name: (rule["metrics"]["perception"]["value"], rule["metrics"]["cognition"]["value"])
        for name, rule in part["protocols"].items()
    }
    # existence: 3 of 4 right, 1 of 2 images whole: 125. count: by the first four characters 1 of
    # 2 and none whole, 50; by the word yes anywhere 200. code: only lmms-eval reads y and N.
    # color: one question of two, in no number.
    assert found == {
        "official": (175.0, 0.0),
        "lmms-eval": (175.0, 200.0),
        "vlmevalkit": (325.0, 0.0),
    }
    official = part["protocols"]["official"]
    assert official["metrics"]["perception"]["groups"]["existence"]["value"] == 125.0
    assert official["metrics"]["perception"]["scored"] == 6
    assert {"status": "missing_output", "rows": 1} in [
        {key: one[key] for key in ("status", "rows")}
        for one in official["statuses"]
        if one["reason"] == "the image has 1 question in the data, MME asks two"
    ]


@pytest.mark.parametrize(("limit", "planned"), [(1, 2), (2, 2), (3, 4)])
def test_a_limit_never_cuts_a_pair(
    cli: Any,
    tmp_path: Path,
    photographs: dict[str, bytes],
    script: str,
    limit: int,
    planned: int,
) -> None:
    part = run(cli, tmp_path, photographs, script, "--limit", limit)
    assert part["planned"] == planned
    rule = part["protocols"]["official"]
    # The first image is whole and right; with the second, 3 of 4 and 1 of 2.
    assert rule["metrics"]["perception"]["value"] == (200.0 if planned == 2 else 125.0)
