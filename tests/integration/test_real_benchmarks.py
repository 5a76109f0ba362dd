"""Real benchmarks from files in the published schema, against numbers worked out by hand."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from support import geneval_rows

from pairuni_eval.prompts import mmstar_prompt, pope_prompt

# Question, photograph, gold answer, split, what the model says.
POPE = [
    ("Is there a cat in the image?", "chelsea.png", "yes", "random", "Yes, there is."),
    ("Is there a car in the image?", "chelsea.png", "no", "random", "No."),
    ("Is there a person in the image?", "astronaut.png", "yes", "popular", "yes"),
    ("Is there a dog in the image?", "astronaut.png", "no", "popular", "Yes"),
    ("Is there a cup in the image?", "coffee.png", "yes", "adversarial", "I see no cup."),
    ("Is there a fork in the image?", "coffee.png", "no", "adversarial", "no"),
    # The same question in two splits: asked once, counted in both.
    ("Is there a dog in the image?", "astronaut.png", "no", "adversarial", "Yes"),
]

# Question, photograph, gold, category, finer category, what the model says.
MMSTAR = [
    ("Which animal? A: cat, B: dog", "chelsea.png", "A", "coarse perception", "image topic", "A"),
    ("Which suit? A: red, B: orange", "astronaut.png", "B", "coarse perception", "style", "B: it"),
    ("What is it? A: tea, B: coffee", "coffee.png", "B", "fine-grained perception", "object", "A"),
    ("How many? A: one, B: two", "rocket.jpg", "A", "math", "counting", "I do not know"),
]


def pope_rows(photographs: Mapping[str, bytes]) -> list[dict[str, Any]]:
    return [
        {
            "id": str(i),
            "question_id": str(i),
            "question": question,
            "answer": answer,
            "image_source": Path(name).stem,
            "image": {"bytes": photographs[name], "path": name},
            "category": split,
        }
        for i, (question, name, answer, split, _) in enumerate(POPE)
    ]


def mmstar_rows(photographs: Mapping[str, bytes]) -> list[dict[str, Any]]:
    return [
        {
            "index": i,
            "question": question,
            "image": {"bytes": photographs[name], "path": None},
            "answer": gold,
            "category": category,
            "l2_category": finer,
            "meta_info": {"source": "test", "split": "val", "image_path": name},
        }
        for i, (question, name, gold, category, finer, _) in enumerate(MMSTAR)
    ]


@pytest.fixture
def summary(
    cli: Any,
    tmp_path: Path,
    photographs: dict[str, bytes],
    write_pope: Any,
    write_mmstar: Any,
    write_script: Any,
) -> dict[str, Any]:
    """The summary of a scripted run of both."""
    write_pope(tmp_path / "data", pope_rows(photographs))
    write_mmstar(tmp_path / "data", mmstar_rows(photographs))
    answers = {pope_prompt(row[0]): row[-1] for row in POPE}
    answers |= {mmstar_prompt(row[0]): row[-1] for row in MMSTAR}
    ran = cli(
        "run",
        *("--checkpoint", write_script(answers)),
        *("--benchmarks", "pope,mmstar", "--data", tmp_path / "data"),
        *("--out", "run", "--report", "report"),
    )
    assert ran.code == 0, ran.err
    found: dict[str, Any] = json.loads((tmp_path / "report" / "summary.json").read_text())
    return found


def values(summary: dict[str, Any], benchmark: str, protocol: str) -> dict[str, float | None]:
    metrics = summary["benchmarks"][benchmark]["protocols"][protocol]["metrics"]
    return {name: entry["value"] for name, entry in metrics.items()}


def test_numbers_from_real_files_are_those_worked_out_by_hand(
    summary: dict[str, Any], tmp_path: Path, photographs: dict[str, bytes]
) -> None:
    # POPE, official, 7 rows (the dog counts twice): said yes to cat, person, dog, dog; no to car,
    # cup ("no" is a word of the sentence) and fork. TP 2, FP 2, FN 1, TN 2.
    official = values(summary, "pope", "official")
    assert official["precision"] == pytest.approx(2 / 4)
    assert official["recall"] == pytest.approx(2 / 3)
    assert official["f1"] == pytest.approx(2 * (2 / 4) * (2 / 3) / (2 / 4 + 2 / 3))
    assert official["accuracy"] == pytest.approx(4 / 7)
    assert official["yes_ratio"] == pytest.approx(4 / 7)
    # random: TP 1, TN 1. popular: TP 1, FP 1. adversarial: FN 1, TN 1, FP 1.
    assert official["f1_random"] == pytest.approx(1.0)
    assert official["f1_popular"] == pytest.approx(2 / 3)
    assert not official["f1_adversarial"]
    # lmms-eval takes "Yes, there is.", "No." and "I see no cup." for neither.
    assert values(summary, "pope", "lmms-eval")["accuracy"] == pytest.approx(2 / 7)
    # MMStar, official: A right, "B: it" right, A wrong, and the last names no letter: wrong.
    star = values(summary, "mmstar", "official")
    assert star["accuracy"] == pytest.approx(2 / 4)
    # lmms-eval: means of the finer categories, 1, 1, 0, 0.
    finer = values(summary, "mmstar", "lmms-eval")
    assert finer["average"] == pytest.approx(2 / 4)
    assert finer["coarse"] == pytest.approx(1.0)
    assert finer["fine"] == pytest.approx(0.0)
    # Photographs are stored as published.
    stored = {path.read_bytes() for path in (tmp_path / "run" / "images").rglob("*/*")}
    assert stored == set(photographs.values())
    # A question of two splits is asked once.
    part = summary["benchmarks"]["pope"]
    assert (part["planned"], part["expected"], part["partial"]) == (6, 5127, True)
    # Clusters are photographs.
    assert part["protocols"]["official"]["metrics"]["f1"]["clusters"] == 3


def test_geneval_draws_four_pictures_a_prompt_and_skips_what_nobody_can_judge(
    cli: Any, untrained: Path, tmp_path: Path
) -> None:
    import pandas as pd

    ran = cli(
        "run",
        *("--checkpoint", untrained, "--benchmarks", "geneval", "--limit", 10),
        *("--data", geneval_rows.write(tmp_path / "data", 11)),
        *("--out", "run", "--report", "report"),
    )
    assert ran.code == 0, ran.err
    outputs = pd.read_parquet(tmp_path / "run" / "outputs.parquet")
    assert len(outputs) == 40
    assert sorted(outputs["draw"].unique()) == [0, 1, 2, 3]
    pictures = [json.loads(parts)[0]["image"] for parts in outputs["parts"]]
    assert all((tmp_path / "run" / "images" / p[:2] / p).is_file() for p in pictures)
    assert len(set(pictures)) > 25
    scores = pd.read_parquet(tmp_path / "run" / "scores.parquet")
    assert len(scores) == 80  # two protocols, each with a detector of its own
    assert set(scores["status"]) == {"skipped"}
    assert scores["verdict"].str.contains("DIR/weights/detector").all()
    assert scores["value"].isna().all()
    summary = json.loads((tmp_path / "report" / "summary.json").read_text())
    assert summary["partial"] is True
    assert summary["benchmarks"]["geneval"]["partial"] is True
    protocols = summary["benchmarks"]["geneval"]["protocols"]
    assert list(protocols) == ["official", "hf"]
    for protocol in protocols.values():
        (reason,) = protocol["statuses"]
        assert (reason["status"], reason["rows"]) == ("skipped", 40)
        assert all(metric["value"] is None for metric in protocol["metrics"].values())
    for name in ("report.html", "report.md"):
        assert "PARTIAL" in (tmp_path / "report" / name).read_text()
